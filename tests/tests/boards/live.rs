//! The agent, a real Prometheus with the shipped scrape config and rules, and real connections with
//! keepalive on, late and off through a middlebox: every panel has an answer, and those alerts fire that should.

use keepwatch::tested::{MetricFamily, families};
use keepwatch_tests::{
    answer::{agent::Agent, truth::process_name},
    dashboards::{
        fleet,
        mixin::{self, Mixin},
        prometheus::Prometheus,
        promql,
    },
    kernel::socket::{self, Plan, Road, SocketOption},
    network::{
        ending::wait_for_quiet,
        middlebox::MiddleboxAnswer,
        path::{Ends, NetworkPath},
    },
    tool::TemporaryFolder,
    wait::{now, until, within},
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_mins(2);
/// What five scrapes a second apart fill.
const RANGE: &str = "5s";
/// Panels that compare with the beginning of the time range show a change for as long as that is.
const BEFORE: &str = "20s";
const BEFORE_SECONDS: f64 = 20.0;

/// Alerts that this traffic must cause; no other may fire.
const MUST_FIRE: [&str; 8] = [
    "KeepwatchIdleDrops",
    "KeepwatchKeepaliveTimeouts",
    "KeepwatchOverdue",
    "KeepwatchPeerClosed",
    "KeepwatchPeerSilent",
    "KeepwatchProtectionFell",
    "KeepwatchSettingRefused",
    "KeepwatchStuck",
];
/// Of these, those that the peer's silence must cause.
const IN_THE_DARK: [&str; 3] =
    ["KeepwatchKeepaliveTimeouts", "KeepwatchPeerSilent", "KeepwatchStuck"];

/// The middlebox forgets what is quiet for longer.
const FORGETS_AFTER: u32 = 2;
/// A path by a preset.
const ELSEWHERE: &str = "elsewhere=192.0.2.0/24=aws";
/// The same path in the options of the agent: idle drops are reported from 3 s on.
const PATH: &str = "behind-middlebox=10.77.0.0/16=4s";
/// Longer than both.
const QUIET: Duration = Duration::from_secs(5);
/// Deaths this far apart are two occasions.
const OCCASION: Duration = Duration::from_mins(1);
/// Connections that are never used.
const STAY_QUIET: usize = 12;
/// More seconds than setsockopt takes.
const REFUSED_IDLE: u32 = 40_000;

/// Connections from this process through a middlebox.
struct Traffic {
    path: NetworkPath,
    held: Vec<OwnedFd>,
    /// Unprotected, and not used yet.
    quiet: Vec<OwnedFd>,
    /// When one of them was used last.
    requested: Instant,
    /// When the first of them was found dead.
    first_dead: Option<Instant>,
    /// Another became quiet and died a minute later: no single outage explains both, so the idle limit is learned.
    has_learned: bool,
}

impl Traffic {
    fn connect(&mut self, n_connections: usize, plan: &Plan) {
        for _ in 0..n_connections {
            let Ends { client, accepted, .. } = self.path.connect(plan);
            let unprotected = plan.own.idle > FORGETS_AFTER || !plan.keepalive.is_on();
            let clients = if unprotected { &mut self.quiet } else { &mut self.held };
            clients.push(client);
            self.held.push(accepted);
        }
    }

    /// Without keepalive, but the peer probes: the path hears of them each second.
    fn connect_kept(&mut self, n_connections: usize) {
        for _ in 0..n_connections {
            let Ends { client, accepted, .. } = self.path.connect(&Plan::NOTHING);
            for option in [SocketOption::KeepIdle, SocketOption::KeepIntvl, SocketOption::Keepalive]
            {
                Road::Call.set(&accepted, option, 1);
            }
            self.held.extend([client, accepted]);
        }
    }

    /// The peer closes them, and this process does not.
    fn leak(&mut self, n_connections: usize) {
        for _ in 0..n_connections {
            let Ends { client, accepted, .. } = self.path.connect(&Plan::NOTHING);
            drop(accepted);
            socket::wait_for_state(&client, socket::CLOSE_WAIT, SOON);
            self.held.push(client);
        }
    }

    /// What programs do every day: a setting that the kernel refuses, a request on a connection that
    /// was forgotten meanwhile.
    fn go_on(&mut self) {
        let refused = Road::Call.try_set(&self.held[0], SocketOption::KeepIdle, REFUSED_IDLE);
        assert!(refused.is_err(), "{REFUSED_IDLE} s are taken");
        let is_time = self.requested.elapsed() > Duration::from_millis(500);
        if is_time && self.quiet.len() > STAY_QUIET {
            self.requested = now();
            let forgotten = self.quiet.remove(0);
            wait_for_quiet(&forgotten, QUIET);
            socket::send(&forgotten, b"are you there?");
            self.held.push(forgotten);
            self.first_dead.get_or_insert(self.requested);
        }
        let is_another_minute = self.first_dead.is_some_and(|at| at.elapsed() > OCCASION);
        if is_another_minute && !self.has_learned {
            self.has_learned = true;
            self.connect(1, &Plan::NOTHING);
            let later = self.quiet.pop().unwrap();
            wait_for_quiet(&later, QUIET);
            socket::send(&later, b"are you there?");
            self.held.push(later);
        }
    }
}

/// The shipped config with its rules, but for this agent and in a hurry.
fn prometheus(agent: SocketAddr) -> Prometheus {
    let hurry = json!({
        "patience": 0.01, "window": RANGE, "usually": "1m", "before": "5s",
        // A walk a second, and this machine may be busy.
        "snapshotAge": 30,
        "peerClosedAtMost": 0,
    });
    let folder = TemporaryFolder::new();
    let shipped = fs::read_to_string(mixin::folder().join("prometheus.yml")).unwrap();
    let config = shipped.replace("127.0.0.1:10077", &agent.to_string()).replace("15s", "1s");
    assert!(config.contains(&agent.to_string()) && config.contains("1s"), "{config}");
    // Whatever else goes on on this host is not part of the scene.
    let ours = process_name(std::process::id());
    let keep = format!("{{source_labels: [process], regex: '({ours}|~unknown)?', action: keep}}");
    let config = format!("{config}    metric_relabel_configs: [{keep}]\n");
    fs::write(folder.file("prometheus.yml"), config).unwrap();
    fs::create_dir(folder.file("generated")).unwrap();
    for (name, text) in Mixin::with(&hurry).files {
        fs::write(folder.file("generated").join(name), text).unwrap();
    }
    Prometheus::in_folder(folder)
}

/// Every alert that has fired so far.
fn fired(prometheus: &Prometheus) -> BTreeSet<String> {
    let ever = "count by (alertname) (max_over_time(ALERTS{alertstate=\"firing\"}[1h]))";
    prometheus.query(ever).into_iter().map(|series| series.labels["alertname"].clone()).collect()
}

/// Whether the agent has all that an expression reads.
fn has_arrived(expr: &str) -> bool {
    /// What is not seen without eBPF: this agent has it.
    const WITHOUT_EBPF: &str = "keepwatch_not_seen";
    let mut arrived: BTreeSet<_> = families().map(MetricFamily::exported_name).collect();
    arrived.remove(WITHOUT_EBPF);
    let selectors = promql::read(expr).selectors;
    let mut names = selectors.iter().map(|selector| selector.name.trim_end_matches("_bucket"));
    names.all(|name| name == "up" || arrived.contains(name))
}

#[test]
fn every_panel_has_an_answer_and_the_right_alerts_fire() {
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Reset) else {
        return;
    };
    let mut traffic = Traffic {
        path,
        held: Vec::new(),
        quiet: Vec::new(),
        requested: now(),
        first_dead: None,
        has_learned: false,
    };
    traffic.connect(12, &Plan::keepalive(1, 1, 100));
    traffic.connect(6, &Plan::keepalive(1, 1, 2));
    let agent = Agent::start(&["--interval", "1s", "--path", PATH, "--path", ELSEWHERE]);
    let prometheus = prometheus(agent.address());
    until("Prometheus has seen for a while that all are protected", SOON, || {
        let share = "cluster_namespace_workload_node:keepwatch_sockets:protected_ratio";
        let seen = prometheus.query(&format!("count_over_time({share}[1m])"));
        seen.iter().any(|series| series.points[0].1 > BEFORE_SECONDS).then_some(())
    });

    traffic.connect_kept(2);
    traffic.leak(2);
    traffic.connect(30, &Plan::NOTHING);
    traffic.connect(30, &Plan::keepalive(7200, 75, 9));
    let mixin = Mixin::shipped();
    let panels = mixin.dashboards.values().flat_map(|board| &board.panels);
    let mut open: Vec<_> = panels
        .flat_map(|panel| panel.targets.iter().map(|target| (&panel.title, &target.expr)))
        .filter(|(_, expr)| has_arrived(expr))
        .map(|(title, expr)| {
            let range = if expr.contains("offset $__range") { BEFORE } else { RANGE };
            (title, mixin::with_variables(expr, range, RANGE))
        })
        .collect();
    let n_exprs = open.len();
    let expected = |dark: bool| -> BTreeSet<String> {
        let alerts = MUST_FIRE.iter().filter(|alert| dark || !IN_THE_DARK.contains(alert));
        alerts.map(|alert| (*alert).to_owned()).collect()
    };
    until("the loss of protection is seen: it shows for as long as the time range", SOON, || {
        open.retain(|(_, expr)| prometheus.query(expr).is_empty());
        open.iter().all(|(title, _)| !title.contains("lost protection")).then_some(())
    });
    within(SOON, || {
        traffic.go_on();
        open.retain(|(_, expr)| prometheus.query(expr).is_empty());
        (open.is_empty() && fired(&prometheus).is_superset(&expected(false))).then_some(())
    });
    let limits = agent.ask("/v1/limits");
    assert!(open.is_empty(), "no series for {} of {n_exprs}: {open:#?}, {limits:#?}", open.len());
    assert_eq!(fired(&prometheus), expected(false));
    every_variable_has_values(&prometheus, mixin);

    traffic.path.darken();
    // A client that was answered until now.
    socket::send(&traffic.held[0], b"are you there?");
    within(SOON, || {
        traffic.go_on();
        fired(&prometheus).is_superset(&expected(true)).then_some(())
    });
    assert_eq!(fired(&prometheus), expected(true));
}

/// What one host cannot have in a minute, and what the agent does not have yet.
#[test]
fn every_panel_has_an_answer_from_a_whole_fleet() {
    let folder = TemporaryFolder::new();
    fleet::write_into(&folder);
    let prometheus = Prometheus::in_folder(folder);
    let range = format!("{}s", fleet::SECONDS);
    for board in Mixin::shipped().dashboards.values() {
        for panel in &board.panels {
            for target in &panel.targets {
                let expr = mixin::with_variables(&target.expr, &range, "5m");
                let answer = if target.instant {
                    prometheus.query_at(&expr, fleet::END)
                } else {
                    prometheus.query_range(&expr, fleet::END, fleet::SECONDS)
                };
                assert!(!answer.is_empty(), "{} / {}: {expr}", board.title, panel.title);
            }
        }
    }
}

fn every_variable_has_values(prometheus: &Prometheus, mixin: &Mixin) {
    let variables = mixin.dashboards.values().flat_map(|board| &board.templating.list);
    let queries = variables.filter_map(|one| one["query"].as_str()?.strip_prefix("label_values("));
    for query in queries {
        let (series, _) = query.rsplit_once(", ").unwrap();
        let series = mixin::with_variables(series, RANGE, RANGE);
        assert!(!prometheus.query(&series).is_empty(), "{series}");
    }
}
