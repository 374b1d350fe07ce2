//! The agent, a real Prometheus with the shipped scrape config and rules, and real connections with
//! keepalive on, late and off: every panel has an answer, and those alerts fire that should.

use keepwatch::model::catalogue::CATALOGUE;
use keepwatch_tests::{
    agent::Agent,
    mixin::{self, Mixin},
    netns::Netns,
    prometheus::Prometheus,
    promql,
    socket::{self, Family, Keepalive, Own, Plan},
    tool::Folder,
    wait::{until, within},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, net::SocketAddr, os::fd::OwnedFd, time::Duration};

const SOON: Duration = Duration::from_mins(1);
/// What five scrapes a second apart fill.
const RANGE: &str = "5s";

/// Alerts that this traffic must cause as soon as their metrics are there.
const MUST_FIRE: [&str; 3] =
    ["KeepwatchQuietPastLimit", "KeepwatchHalfDead", "KeepwatchProtectionFell"];

const fn plan(keepalive: Keepalive, idle: u32, interval: u32, count: u32) -> Plan {
    Plan { keepalive, own: Own { idle, interval, count, user_timeout_ms: 0 }, ..Plan::NOTHING }
}
const PROTECTED: Plan = plan(Keepalive::Before, 1, 1, 100);
const LATE: Plan = plan(Keepalive::Before, 7200, 75, 9);

/// Connections from this process, over a cable that is a path of the configuration.
struct Traffic {
    near: Netns,
    far: Netns,
    listener: OwnedFd,
    held: Vec<OwnedFd>,
}

impl Traffic {
    fn new() -> Self {
        let (near, far) = Netns::pair();
        let any = SocketAddr::from(([10, 77, 0, 2], 0));
        let listener = far.run(|| socket::listener(Family::V4, any, 128, &Plan::NOTHING));
        Self { near, far, listener, held: Vec::new() }
    }

    fn connect(&mut self, n_connections: usize, plan: &Plan) {
        let address = socket::local_address(&self.listener);
        for _ in 0..n_connections {
            let client = self.near.run(|| socket::connected(Family::V4, address, plan));
            self.held.extend([client, socket::accepted(&self.listener)]);
        }
    }
}

/// The shipped config with its rules, but for this agent and in a hurry.
fn prometheus(agent: SocketAddr) -> Prometheus {
    let hurry = json!({
        "patience": 0, "window": RANGE, "usually": "10s", "before": "2s",
        // A walk a second, and this machine may be busy.
        "snapshotAge": 30,
    });
    let folder = Folder::new();
    let shipped = fs::read_to_string(mixin::folder().join("prometheus.yml")).unwrap();
    let config = shipped.replace("127.0.0.1:10077", &agent.to_string()).replace("15s", "1s");
    assert!(config.contains(&agent.to_string()) && config.contains("1s"), "{config}");
    fs::write(folder.file("prometheus.yml"), config).unwrap();
    fs::create_dir(folder.file("generated")).unwrap();
    for (name, text) in Mixin::with(&hurry).files {
        fs::write(folder.file("generated").join(name), text).unwrap();
    }
    Prometheus::in_folder(folder)
}

fn firing(prometheus: &Prometheus) -> BTreeSet<String> {
    let answer = prometheus.ask("/api/v1/alerts").unwrap_or_default();
    let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
    firing.filter_map(|alert| Some(alert["labels"]["alertname"].as_str()?.to_owned())).collect()
}

/// Whether the agent has all that an expression reads.
fn has_arrived(expr: &str) -> bool {
    let arrived: BTreeSet<_> = CATALOGUE.iter().map(|metric| metric.exported_name()).collect();
    let selectors = promql::read(expr).selectors;
    let mut names = selectors.iter().map(|selector| selector.name.trim_end_matches("_bucket"));
    names.all(|name| name == "up" || arrived.contains(name))
}

#[test]
fn every_panel_has_an_answer_and_the_right_alerts_fire() {
    let mut traffic = Traffic::new();
    traffic.connect(12, &PROTECTED);
    let agent = Agent::start(&["--interval", "1s", "--path", "cable=10.77.0.0/24=3s"]);
    let prometheus = prometheus(agent.address());
    until("Prometheus has seen that all are protected", SOON, || {
        let share = prometheus.query(
            "count_over_time(cluster_namespace_workload:keepwatch_sockets:protected_ratio[1m])",
        );
        share.iter().any(|series| series.points[0].1 >= 3.0).then_some(())
    });

    traffic.connect(20, &Plan::NOTHING);
    traffic.connect(20, &LATE);
    let mixin = Mixin::shipped();
    let panels = mixin.dashboards.values().flat_map(|board| &board.panels);
    let mut open: Vec<_> = panels
        .flat_map(|panel| panel.targets.iter().map(|target| (&panel.title, &target.expr)))
        .filter(|(_, expr)| has_arrived(expr))
        .map(|(title, expr)| (title, mixin::with_variables(expr, RANGE, RANGE)))
        .collect();
    let n_panels = open.len();
    within(SOON, || {
        open.retain(|(_, expr)| prometheus.query(expr).is_empty());
        open.is_empty().then_some(())
    });
    assert!(open.is_empty(), "no series for {} of {n_panels}: {open:#?}", open.len());

    // The peer falls silent: probes go unanswered from now on.
    traffic.far.silence("10.77.0.1");
    let mut seen = BTreeSet::new();
    until("the alerts fire that should", SOON, || {
        seen.extend(firing(&prometheus));
        MUST_FIRE.iter().all(|alert| seen.contains(*alert)).then_some(())
    });
    let expected: BTreeSet<_> = MUST_FIRE.map(str::to_owned).into();
    assert_eq!(seen, expected, "alerts that fired");
    every_variable_has_values(&prometheus, mixin);
}

fn every_variable_has_values(prometheus: &Prometheus, mixin: &Mixin) {
    for variable in mixin.dashboards.values().flat_map(|board| &board.templating.list) {
        let Some(query) =
            variable["query"].as_str().and_then(|query| query.strip_prefix("label_values("))
        else {
            continue;
        };
        let (series, _) = query.rsplit_once(", ").unwrap();
        let series = mixin::with_variables(series, RANGE, RANGE);
        assert!(!prometheus.query(&series).is_empty(), "{}: {series}", variable["name"]);
        assert_ne!(variable["name"], Value::Null);
    }
}
