//! Documents that are generated from definitions, and the test that they are fresh.
//! `cargo xtask codegen` runs it with `KEEPWATCH_BLESS=1`, which writes them.

mod json_fields;

use crate::{
    command::reference,
    metrics::{
        LabelValues, MAX_SERIES, MetricFamily, MetricKind, MetricLabel, families, families_of_files,
    },
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every generated document: its path in the repository, and what belongs there.
fn documents() -> Vec<(&'static str, String)> {
    vec![
        ("docs/METRICS.md", metrics()),
        ("docs/COMMANDS.md", reference::commands()),
        ("docs/CONFIG.md", reference::config_file()),
        ("docs/HISTORY.md", history()),
        ("docs/JSON.md", json_fields::document()),
        ("deploy/config.toml", reference::example_config()),
    ]
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn generated_docs_are_fresh() {
    let root = root();
    let bless = std::env::var_os("KEEPWATCH_BLESS").is_some();
    let mut stale = Vec::new();
    for (path, fresh) in documents() {
        let file = root.join(path);
        if fs::read_to_string(&file).is_ok_and(|found| found == fresh) {
            continue;
        }
        if bless {
            fs::write(&file, fresh).unwrap();
        } else {
            stale.push(path);
        }
    }
    assert!(stale.is_empty(), "{} stale: run `cargo xtask codegen`", stale.join(", "));
}

/// docs/HISTORY.md, with the tables of schema.sql at its end. What stands before them is written by hand.
fn history() -> String {
    const BEGIN: &str = "\n```sql\n-- The history of";
    let found = fs::read_to_string(root().join("docs/HISTORY.md")).unwrap();
    let (by_hand, _) = found.split_once(BEGIN).unwrap();
    format!("{by_hand}\n```sql\n{}```\n", include_str!("../store/schema.sql"))
}

/// docs/METRICS.md, from the definitions.
fn metrics() -> String {
    let families: String = families().map(family).collect();
    let in_files: String = families_of_files().map(family).collect();
    format!(
        "# Metrics

<!-- Generated from agent/src/metrics/families by `cargo xtask codegen`: edit that. -->

`GET /metrics` answers with OpenMetrics 1.0, or with Prometheus text 0.0.4 where `Accept` does not \
ask for OpenMetrics. A scrape reads sums that are kept while the agent watches and published once a \
second. So its cost grows with the number of series, not of sockets. Settings, owners and quiet times are as \
old as the last snapshot of all sockets, or as the last event of the socket if that is younger.

No family has more than {MAX_SERIES} series (with the default bounds), and no label tells one \
connection from another: for single connections there is `keepwatch sockets`. In OpenMetrics each row of \
`keepwatch_deaths_total` carries the id of the last dead connection as exemplar (`id=\"sk:1f\"`): pass it to \
`keepwatch why`. Prometheus keeps exemplars with `--enable-feature=exemplar-storage`.

The two histograms describe the connections that exist now. They go up and down, so ask \
`histogram_quantile(0.5, sum by (le) (keepwatch_idle_setting_seconds_bucket))`, without `rate`.

## Families

{families}## In files

No scrape of the agent has these: `keepwatch fix --watch` ([FIX.md](FIX.md#always)) and `keepwatch doctor --verify` ([VERIFY.md](VERIFY.md)) write them with `--textfile FILE.prom`, as node_exporter's textfile collector reads it. Their `job` and `instance` are those of node_exporter.

{in_files}## Labels

{labels}",
        labels = labels(),
    )
}

/// One family.
fn family(family: &MetricFamily) -> String {
    let labels: Vec<_> = family.labels.iter().map(|label| format!("`{}`", label.name)).collect();
    let unit = family.unit().map(|unit| format!(" in {unit}")).unwrap_or_default();
    let mut text = format!(
        "### {}\n\n{} *{}*\n\n* {}{unit}, labels: {}; at most {} series\n",
        family.exported_name(),
        family.help,
        family.question,
        family.kind.as_str(),
        if labels.is_empty() { "none".to_owned() } else { labels.join(", ") },
        family.max_series(),
    );
    if let MetricKind::Histogram(bounds) = family.kind {
        let bounds: Vec<_> = bounds.iter().map(u32::to_string).collect();
        text += &format!("* bounds: {}\n", bounds.join(", "));
    }
    text + "\n"
}

/// Each label, and where it means what. The same name may mean different things in two families.
fn labels() -> String {
    let mut labels: Vec<(&MetricLabel, Vec<String>)> = Vec::new();
    for metric in families().chain(families_of_files()) {
        for label in metric.labels {
            match labels.iter_mut().find(|(known, _)| *known == label) {
                Some((_, names)) => names.push(metric.exported_name()),
                None => labels.push((label, vec![metric.exported_name()])),
            }
        }
    }
    let mut text = "| label | meaning | values | in |\n|---|---|---|---|\n".to_owned();
    for (MetricLabel { name, meaning, values }, names) in labels {
        let values = match values {
            LabelValues::Closed(values) => {
                values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
            }
            LabelValues::AtMost { n, rest } => format!("at most {n}; {rest}"),
        };
        text += &format!("| `{name}` | {meaning} | {values} | {} |\n", names.join(", "));
    }
    text
}

#[test]
fn every_line_of_the_log_is_in_its_docs_and_no_others() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(source.join("../docs/LOGS.md")).unwrap();
    let folders = ["agent", "config", "store", "log"].map(|part| source.join("src").join(part));
    let mut said: Vec<String> = folders.iter().flat_map(|folder| messages(folder)).collect();
    assert!(said.len() > 12, "{said:?}");
    let table = page.split_once("## What to do").unwrap().1;
    let rows = table.lines().filter_map(|line| line.split(" | ").nth(1));
    let mut written: Vec<String> =
        rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    said.sort_unstable();
    written.sort_unstable();
    assert_eq!(said, written, "docs/LOGS.md");
}

/// The messages of all lines at `info` and above that are written in this folder.
fn messages(folder: &Path) -> Vec<String> {
    let mut messages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            messages.extend(self::messages(&path));
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for name in ["error!(", "warn!(", "info!("] {
            messages.extend(code.split(name).skip(1).map(|call| last_text(call).to_owned()));
        }
    }
    messages
}

/// The last text in the outermost brackets of a call that has begun.
fn last_text(call: &str) -> &str {
    let (mut depth, mut begins, mut last) = (1, None, "");
    for (at, byte) in call.bytes().enumerate() {
        match (byte, begins) {
            (b'"', None) => begins = Some(at + 1),
            (b'"', Some(begin)) => {
                begins = None;
                if depth == 1 {
                    last = call.get(begin..at).unwrap();
                }
            }
            (b'(', None) => depth += 1,
            (b')', None) => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    last
}
