//! A real Prometheus, until it is dropped.
#![expect(
    clippy::indexing_slicing,
    reason = "part of the tests: JSON answers null to what it has not"
)]

use crate::{answer::http, tool, wait::until};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

const READY_WITHIN: Duration = Duration::from_secs(30);

/// A Prometheus with a folder of its own.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tool::TemporaryFolder,
}

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct QueriedSeries {
    /// The labels by name.
    pub labels: BTreeMap<String, String>,
    /// Unix time and value, oldest first.
    pub points: Vec<(f64, f64)>,
}

impl Prometheus {
    /// Scrapes one address every second.
    #[track_caller]
    pub fn scraping(target: SocketAddr) -> Self {
        let folder = tool::TemporaryFolder::new();
        let config = format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs:\n- job_name: keepwatch\n  static_configs: [{{targets: ['{target}']}}]\n"
        );
        fs::write(folder.file("prometheus.yml"), config).expect("write a config");
        Self::in_folder(folder)
    }

    /// Starts with the `prometheus.yml` of this folder, and the blocks in its `data` if there are.
    #[track_caller]
    pub fn in_folder(folder: tool::TemporaryFolder) -> Self {
        let address = http::free_address();
        let log = fs::File::create(folder.file("log")).expect("a log");
        let child = Command::new(tool::program("prometheus"))
            .arg(format!("--config.file={}", folder.file("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.file("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus: run `cargo xtask setup`");
        let prometheus = Self { child, address, _folder: folder };
        until("Prometheus is ready", READY_WITHIN, || {
            let answer = http::get(address, "/-/ready", "*/*").ok()?;
            (answer.status == 200).then_some(())
        });
        prometheus
    }

    /// What its HTTP API answers; none if that is no success.
    pub fn ask(&self, path: &str) -> Option<Value> {
        let answer = http::get(self.address, path, "application/json").ok()?;
        let value: Value = serde_json::from_str(&answer.body).ok()?;
        (value["status"] == "success").then_some(value)
    }

    /// The series of an expression now.
    pub fn query(&self, expr: &str) -> Vec<QueriedSeries> {
        self.series(&format!("/api/v1/query?query={}", encoded(expr)))
    }

    /// The series of an expression at this Unix time.
    pub fn query_at(&self, expr: &str, end: u32) -> Vec<QueriedSeries> {
        self.series(&format!("/api/v1/query?query={}&time={end}", encoded(expr)))
    }

    /// The series of an expression over this time up to this Unix time, in 360 steps.
    pub fn query_range(&self, expr: &str, end: u32, seconds: u32) -> Vec<QueriedSeries> {
        let (expr, start, step) = (encoded(expr), end - seconds, (seconds / 360).max(1));
        self.series(&format!(
            "/api/v1/query_range?query={expr}&start={start}&end={end}&step={step}"
        ))
    }

    fn series(&self, path: &str) -> Vec<QueriedSeries> {
        self.ask(path).as_ref().map(series).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The series of an answer, of one moment or of a range. What is not a number is left out.
fn series(answer: &Value) -> Vec<QueriedSeries> {
    let result = answer["data"]["result"].as_array().into_iter().flatten();
    let point = |pair: &Value| {
        let value: f64 = pair[1].as_str()?.parse().ok()?;
        value.is_finite().then_some((pair[0].as_f64()?, value))
    };
    result
        .map(|one| QueriedSeries {
            labels: serde_json::from_value(one["metric"].clone()).unwrap_or_default(),
            points: match one["values"].as_array() {
                Some(values) => values.iter().filter_map(point).collect(),
                None => point(&one["value"]).into_iter().collect(),
            },
        })
        .filter(|series| !series.points.is_empty())
        .collect()
}

/// For a query string.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |sum, byte| {
        if byte.is_ascii_alphanumeric() {
            sum + &char::from(byte).to_string()
        } else {
            sum + &format!("%{byte:02X}")
        }
    })
}

/// `promtool ARGS`, and that it has nothing to say against what it was given.
#[track_caller]
pub fn promtool(folder: &std::path::Path, args: &[&str]) -> Output {
    let output = Command::new(tool::program("promtool"))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("promtool: run `cargo xtask setup`");
    let (data, talk) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success(),
        "promtool {}: {}: {data}{talk}",
        args.join(" "),
        output.status
    );
    output
}
