//! Every metric in a dashboard, rule, alert or runbook is in the catalogue, with these labels and
//! values, and every metric of the catalogue is in one of them.

use keepwatch::tested::{LabelValues, MetricFamily, MetricKind, families, families_of_files};
use keepwatch_tests::dashboards::{
    mixin::{self, Mixin},
    promql::{self, Selector},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// Labels that come with every series from Prometheus.
const OF_THE_TARGET: [&str; 3] = ["cluster", "job", "instance"];

/// Every series that can be asked for by name: its labels, and the values of those whose set is closed.
type KnownSeries = BTreeMap<String, BTreeMap<&'static str, Option<&'static [&'static str]>>>;

fn known() -> KnownSeries {
    let mut known = KnownSeries::from([("up".to_owned(), BTreeMap::new())]);
    for metric in families().chain(families_of_files()) {
        let mut labels: BTreeMap<_, _> =
            metric.labels.iter().map(|label| (label.name, None)).collect();
        for label in metric.labels {
            if let LabelValues::Closed(values) = label.values {
                labels.insert(label.name, Some(values));
            }
        }
        let name = metric.exported_name();
        if matches!(metric.kind, MetricKind::Histogram(_)) {
            let with_le =
                labels.iter().map(|(label, values)| (*label, *values)).chain([("le", None)]);
            known.insert(format!("{name}_bucket"), with_le.collect());
            known.insert(format!("{name}_count"), labels.clone());
        }
        known.insert(name, labels);
    }
    known
}

/// Each expression, and where it stands.
fn expressions(mixin: &Mixin) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for board in mixin.dashboards.values() {
        for panel in &board.panels {
            all.extend(
                panel.targets.iter().map(|target| (panel.title.clone(), target.expr.clone())),
            );
        }
        for variable in &board.templating.list {
            let query = variable["query"].as_str().unwrap_or_default();
            if let Some(series) = query.strip_prefix("label_values(") {
                let (series, label) = series.rsplit_once(", ").unwrap();
                all.push((format!("variable {label}"), format!("sum by ({label}) ({series})")));
            }
        }
    }
    all.extend(mixin.rules.iter().map(|rule| (rule.record.clone(), rule.expr.clone())));
    all.extend(mixin.alerts.iter().map(|alert| (alert.alert.clone(), alert.expr.clone())));
    all
}

#[track_caller]
fn judge(known: &KnownSeries, what: &str, selector: &Selector) {
    let labels =
        known.get(&selector.name).unwrap_or_else(|| panic!("{what}: no metric {}", selector.name));
    for (label, operator, value) in &selector.matchers {
        if OF_THE_TARGET.contains(&label.as_str()) {
            continue;
        }
        let values = labels.get(label.as_str());
        let values =
            values.unwrap_or_else(|| panic!("{what}: {} has no label {label}", selector.name));
        if let (Some(values), false) = (values, value.starts_with('$')) {
            for one in value.split('|') {
                assert!(
                    values.contains(&one),
                    "{what}: {}{{{label}{operator}\"{value}\"}}",
                    selector.name
                );
            }
        }
    }
}

#[test]
fn what_is_used_is_in_the_catalogue_with_these_labels_and_values() {
    let mixin = Mixin::shipped();
    let mut known = known();
    // A recorded series has the labels that its rule groups by.
    for rule in &mixin.rules {
        let by = rule
            .record
            .split(':')
            .next()
            .unwrap()
            .split('_')
            .map(|label| &*label.to_owned().leak());
        known.insert(rule.record.clone(), by.map(|label| (label, None)).collect());
    }
    for (what, expr) in expressions(mixin) {
        let reading = promql::read(&expr);
        let mut labels: BTreeSet<&str> = OF_THE_TARGET.into();
        for selector in &reading.selectors {
            judge(&known, &what, selector);
            labels.extend(known[&selector.name].keys());
        }
        labels.extend(reading.made.iter().map(String::as_str));
        for label in &reading.labels {
            assert!(
                labels.contains(label.as_str()),
                "{what}: nothing has the label {label}: {expr}"
            );
        }
    }
}

#[test]
fn a_recorded_series_is_named_after_the_labels_that_it_has() {
    for rule in &Mixin::shipped().rules {
        let level: Vec<_> = rule.record.split(':').next().unwrap().split('_').collect();
        if rule.expr.contains(" by ") {
            assert!(rule.expr.contains(&format!("by ({})", level.join(", "))), "{}", rule.record);
        }
    }
}

#[test]
fn every_metric_of_the_catalogue_is_used() {
    let mixin = Mixin::shipped();
    let exprs = expressions(mixin);
    let used: BTreeSet<_> = exprs
        .iter()
        .flat_map(|(_, expr)| promql::read(expr).selectors)
        .map(|selector| selector.name.trim_end_matches("_bucket").to_owned())
        .collect();
    let arrived = families().map(MetricFamily::exported_name);
    let unused: Vec<_> = arrived.filter(|name| !used.contains(name)).collect();
    assert!(unused.is_empty(), "in no dashboard, rule or alert: {unused:?}");
}

#[test]
fn documents_name_only_metrics_that_there_are() {
    let known = known();
    let mut n_named = 0;
    for file in ["docs/RUNBOOK.md", "dashboards/README.md"] {
        let text = fs::read_to_string(mixin::folder().join("..").join(file)).unwrap();
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("keepwatch_") {
                n_named += 1;
                assert!(known.contains_key(word), "{file}: {word}");
            }
        }
    }
    assert!(n_named > 0);
}
