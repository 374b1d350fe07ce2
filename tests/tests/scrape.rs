//! The metrics endpoint, as a real Prometheus and people with curl meet it.
#![expect(clippy::expect_used, reason = "a test")]

use keepwatch_tests::{
    answer::{
        agent::Agent,
        http::{self, HttpAnswer},
    },
    dashboards::prometheus::Prometheus,
    kernel::{
        netns::NetworkNamespace,
        socket::{self, Family, Keepalive, Plan},
    },
    tool,
    wait::until,
};
use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(30);
const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0";
const TEXT: &str = "text/plain;version=0.0.4";

#[test]
fn a_real_prometheus_finds_the_target_up_and_the_series_there() {
    let netns = NetworkNamespace::new();
    let plan = Plan { keepalive: Keepalive::Before, ..Plan::NOTHING };
    let connection = netns.run(|| {
        let listener = socket::listener(Family::V4, Family::V4.loopback(), 1, &plan);
        let client = socket::connected(Family::V4, socket::local_address(&listener), &plan);
        (socket::accepted(&listener), client, listener)
    });
    let agent = Agent::start(&["--interval", "1s"]);
    let prometheus = Prometheus::scraping(agent.address());

    until("the target is up", SOON, || {
        let targets = prometheus.ask("/api/v1/targets?state=active")?;
        let target = targets.pointer("/data/activeTargets/0")?;
        assert_eq!(target.pointer("/lastError")?, "", "{target}");
        (target.pointer("/health")? == "up").then_some(())
    });
    let value =
        |query: &str| -> Option<f64> { Some(prometheus.query(query).first()?.points.first()?.1) };
    until("our connection is counted", SOON, || {
        value("sum(keepwatch_sockets{verdict=\"local\"})").filter(|&count| count >= 2.0)
    });
    for series in [
        "keepwatch_idle_setting_seconds_count",
        "keepwatch_netns_keepalive_seconds",
        "keepwatch_hook_attached",
        "keepwatch_events_lost_total",
        "keepwatch_build_info",
    ] {
        until(format!("there is {series}"), SOON, || value(series));
    }
    drop(connection);
}

#[test]
fn promtool_has_nothing_to_say_against_the_text() {
    let agent = Agent::start(&[]);
    let metrics = get(&agent, "/metrics", TEXT);
    let mut promtool = Command::new(tool::program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: run `cargo xtask setup`");
    let mut stdin = promtool.stdin.take().expect("its stdin");
    stdin.write_all(metrics.body.as_bytes()).expect("write to promtool");
    drop(stdin);
    let output = promtool.wait_with_output().expect("wait for promtool");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}: {said}", output.status);
}

#[test]
fn the_format_is_the_one_that_is_asked_for() {
    let agent = Agent::start(&[]);
    let openmetrics = get(&agent, "/metrics", OPENMETRICS);
    assert_eq!(openmetrics.status, 200);
    assert!(openmetrics.content_type.starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(openmetrics.body.ends_with("# EOF\n"));

    for accept in [TEXT, "*/*"] {
        let text = get(&agent, "/metrics", accept);
        assert_eq!(text.status, 200);
        assert!(
            text.content_type.starts_with("text/plain; version=0.0.4"),
            "{}",
            text.content_type
        );
        assert!(!text.body.contains("# EOF"));
    }
    for metrics in [&openmetrics.body, &get(&agent, "/metrics", TEXT).body] {
        assert!(metrics.contains("# TYPE keepwatch_sockets gauge"), "{metrics}");
        assert!(metrics.contains("# HELP keepwatch_sockets "), "{metrics}");
    }
}

#[test]
fn a_person_finds_the_way_and_an_orchestrator_its_answers() {
    let agent = Agent::start(&[]);
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(get(&agent, path, "*/*").status, 200, "{path}");
    }
    let landing = get(&agent, "/", "text/html");
    assert_eq!(landing.status, 200);
    assert!(landing.content_type.starts_with("text/html"));
    assert!(landing.body.contains("keepwatch") && landing.body.contains("/metrics"));
    assert_eq!(get(&agent, "/no-such-page", "*/*").status, 404);
}

#[track_caller]
fn get(agent: &Agent, path: &str, accept: &str) -> HttpAnswer {
    http::get(agent.address(), path, accept).expect("an answer")
}
