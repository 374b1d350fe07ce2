//! A fleet that is made up, as a Prometheus has it after six hours: for panels whose metrics cannot
//! be had from one host in a minute. In it a deploy of `payments/checkout` loses its
//! keepalive settings, a middlebox in front of the sessions' store forgets early, a node falls dark.

use crate::{dashboards::prometheus::promtool, tool::TemporaryFolder};
use keepwatch::tested::{
    MetricKind, families, hooks::Signal, sandbox::Sandbox, table::agent_health::NotSeen,
};
use std::{collections::BTreeSet, fmt::Write as _, fs};

/// When the six hours end: 2026-03-10 15:00 UTC.
pub const END: u32 = 1_773_154_800;
/// How long they are.
pub const SECONDS: u32 = 6 * 3600;
const STEP_SECONDS: u32 = 60;
/// Steps before the six hours, so that rates have a beginning.
const BEFORE: u32 = 10;
const NODES: [&str; 6] = ["node-1", "node-2", "node-3", "node-4", "node-5", "node-6"];

/// By how much of the time is over, from 0 to 1.
type Course<'a> = Box<dyn Fn(f64) -> f64 + 'a>;
/// The same, of a constant.
type ShareOverTime = fn(f64) -> f64;

/// Labels and their values.
type SeriesLabels = Vec<(&'static str, String)>;

/// A workload on some of the nodes.
struct Workload {
    namespace: &'static str,
    name: &'static str,
    process: &'static str,
    path: &'static str,
    nodes: &'static [usize],
    /// Outbound connections on each node.
    size: f64,
    /// Shares that are off and late, by how much of the time is over.
    off: ShareOverTime,
    late: ShareOverTime,
    /// Those of them that are quiet past the limit.
    past: f64,
}

const DEPLOY: f64 = 0.62;
const DARK: (f64, f64) = (0.40, 0.46);
/// The part of the connections without keepalive that something else keeps.
const KEPT: f64 = 0.3;

const fn workload(
    of: (&'static str, &'static str, &'static str, &'static str),
    nodes: &'static [usize],
    size: f64,
    (off, late, past): (ShareOverTime, ShareOverTime, f64),
) -> Workload {
    let (namespace, name, process, path) = of;
    Workload { namespace, name, process, path, nodes, size, off, late, past }
}

#[rustfmt::skip]
const WORKLOADS: [Workload; 10] = [
    workload(("payments", "checkout", "java", "orders-db"), &[0, 1, 2, 3], 42.0,
        (|_| 0.0, |x| if x < DEPLOY { 0.02 } else { (0.02 + (x - DEPLOY) * 12.0).min(0.81) }, 0.22)),
    workload(("payments", "ledger", "java", "orders-db"), &[1, 2, 4], 30.0, (|_| 0.0, |_| 0.03, 0.1)),
    workload(("shop", "cart", "node", "sessions"), &[0, 2, 3, 5], 26.0, (|_| 0.72, |_| 0.0, 0.35)),
    workload(("shop", "search", "python3", "search"), &[3, 4, 5], 18.0, (|_| 0.1, |x| 0.55 - 0.2 * x, 0.15)),
    workload(("shop", "frontend", "envoy", "search"), &[0, 1, 2, 3, 4, 5], 64.0, (|_| 0.0, |_| 0.0, 0.0)),
    workload(("data", "exporter", "python3", "warehouse"), &[4, 5], 21.0, (|_| 0.05, |_| 0.9, 0.4)),
    workload(("data", "kafka-connect", "java", "warehouse"), &[4, 5], 47.0, (|_| 0.0, |_| 0.12, 0.05)),
    workload(("", "backup.service", "restic", "warehouse"), &[0, 1, 2, 3, 4, 5], 3.0, (|_| 0.7, |_| 0.0, 0.5)),
    workload(("", "kubelet.service", "kubelet", ""), &[0, 1, 2, 3, 4, 5], 9.0, (|_| 0.0, |_| 0.0, 0.0)),
    workload(("monitoring", "agent", "vector", ""), &[0, 1, 2, 3, 4, 5], 6.0, (|_| 0.0, |_| 0.2, 0.1)),
];

/// Somewhat restless, around 0, within 1.
fn wobble(x: f64, seed: f64) -> f64 {
    let wave = |times: f64| (x * times + seed * times).sin();
    0.4 * wave(11.0) + 0.3 * wave(47.0) + 0.2 * wave(131.0) + 0.1 * wave(433.0)
}

/// A Prometheus's data folder in `folder` that holds the fleet.
#[track_caller]
pub fn write_into(folder: &TemporaryFolder) {
    fs::write(folder.file("fleet.txt"), text()).expect("write the fleet");
    promtool(&folder.file(""), &["tsdb", "create-blocks-from", "openmetrics", "fleet.txt", "data"]);
    fs::write(folder.file("prometheus.yml"), "").expect("write an empty config");
}

/// All series, each with all its samples, as OpenMetrics.
pub fn text() -> String {
    let mut series = SeriesWriter::default();
    for (number, node) in NODES.into_iter().enumerate() {
        agent(&mut series, number, node);
        for workload in WORKLOADS.iter().filter(|workload| workload.nodes.contains(&number)) {
            connections(&mut series, node, workload);
            ends(&mut series, node, workload);
        }
    }
    sidecar(&mut series);
    uneventful(&mut series);
    series.text + "# EOF\n"
}

fn connections(series: &mut SeriesWriter, node: &str, of: &Workload) {
    let busy = 1.0 + 0.3 * wobble(f64::from(node.bytes().fold(0u8, u8::wrapping_add)), of.size);
    let size = |x: f64| busy * of.size * (1.0 + 0.12 * (x * 6.3).sin() + 0.04 * wobble(x, of.size));
    let (off, late) = (of.off, of.late);
    let protected = move |x: f64| 1.0 - off(x) - late(x);
    // Some of what sends no probe pings by its own protocol.
    let kept = move |x: f64| off(x) * KEPT;
    let shares: [(&str, Course<'_>); 4] = [
        ("off", Box::new(move |x| off(x) * (1.0 - KEPT))),
        ("late", Box::new(late)),
        ("kept", Box::new(kept)),
        ("protected", Box::new(protected)),
    ];
    for (verdict, share) in shares {
        if share(0.0) <= 0.0 && share(1.0) <= 0.0 {
            continue;
        }
        let judged = labels(
            node,
            Some(of),
            &[("direction", "outbound"), ("verdict", verdict), ("path", of.path)],
        );
        series.gauge("keepwatch_sockets", &judged, |x| (size(x) * share(x)).round());
    }
    let unprotected = |x: f64| size(x) * (off(x) * (1.0 - KEPT) + late(x));
    let past = |x: f64| (unprotected(x) * of.past * (0.8 + 0.4 * wobble(x, of.size))).round();
    let in_trouble = |condition, direction, path| {
        let more = [("condition", condition), ("direction", direction), ("path", path)];
        labels(node, Some(of), &more)
    };
    series.present(
        "keepwatch_sockets_in_trouble",
        &in_trouble("overdue", "outbound", of.path),
        past,
    );
    let inbound =
        labels(node, Some(of), &[("direction", "inbound"), ("verdict", "protected"), ("path", "")]);
    series.gauge("keepwatch_sockets", &inbound, |x| (size(x) * 0.4).round());
    let dark = of.path == "orders-db" && node == "node-3";
    let while_dark = |number: f64, x: f64| {
        if dark && (DARK.0..DARK.1 + 0.02).contains(&x) { number } else { 0.0 }
    };
    for (condition, number) in [("stuck", 4.0), ("peer_silent", 7.0)] {
        let labels = in_trouble(condition, "outbound", of.path);
        series.present("keepwatch_sockets_in_trouble", &labels, |x| while_dark(number, x));
    }
    // A leak, and clients that a slow server lets wait.
    if of.name == "search" {
        let closed = in_trouble("peer_closed", "inbound", "");
        series.present("keepwatch_sockets_in_trouble", &closed, |x| (30.0 * x).floor());
        let waiting = in_trouble("unaccepted", "inbound", "");
        let busy = |x: f64| if (0.7..0.72).contains(&x) { 12.0 } else { 0.0 };
        series.present("keepwatch_sockets_in_trouble", &waiting, busy);
    }
}

/// How often connections end, and what of. Per minute.
fn ends(series: &mut SeriesWriter, node: &str, of: &Workload) {
    let unprotected = |x: f64| of.size * ((of.off)(x) + (of.late)(x));
    let dark = of.path == "orders-db" && node == "node-3";
    let causes: [(&str, &str, Course<'_>); 7] = [
        ("idle_drop", "late", Box::new(move |x| unprotected(x) * of.past * 0.012)),
        (
            "keepalive_timeout",
            "protected",
            Box::new(
                move |x| {
                    if dark && x > DARK.0 && x < DARK.1 { 1.6 } else { of.size * 0.0004 }
                },
            ),
        ),
        ("peer_reset", "protected", Box::new(move |_| of.size * 0.0011)),
        (
            "retransmit_timeout",
            "protected",
            Box::new(move |x| of.size * if x > 0.8 { 0.0012 } else { 0.0003 }),
        ),
        (
            "abandoned",
            "protected",
            Box::new(move |x| if dark && x > DARK.0 && x < DARK.1 { 0.9 } else { 0.0 }),
        ),
        ("peer_closed", "protected", Box::new(move |_| of.size * 0.02)),
        ("local_closed", "protected", Box::new(move |_| of.size * 0.03)),
    ];
    for (cause, verdict, per_minute) in causes {
        let more =
            [("direction", "outbound"), ("verdict", verdict), ("path", of.path), ("cause", cause)];
        series.counter("keepwatch_deaths_total", &labels(node, Some(of), &more), &per_minute);
    }
    let owner_on_path = labels(node, Some(of), &[("path", of.path)]);
    let forgets = |x: f64| unprotected(x) * of.past * 0.004;
    series.counter("keepwatch_idle_drop_occasions_total", &owner_on_path, forgets);
    let keeps = of.size * 0.05;
    for (option, result, per_minute) in [
        ("SO_KEEPALIVE", "ok", keeps),
        ("TCP_KEEPIDLE", if of.process == "node" { "EINVAL" } else { "ok" }, keeps),
        ("TCP_KEEPINTVL", "ok", keeps * 0.8),
    ] {
        let call = labels(node, Some(of), &[("option", option), ("result", result)]);
        series.counter("keepwatch_setsockopt_total", &call, |_| per_minute);
    }
}

fn agent(series: &mut SeriesWriter, number: usize, node: &str) {
    let n = f64::from(u32::try_from(number).unwrap_or_default());
    let own = |more: &[(&'static str, &str)]| labels(node, None, more);
    let start = f64::from(END - SECONDS);
    series.gauge(
        "up",
        &own(&[]),
        |x| if number == 5 && (0.2..0.23).contains(&x) { 0.0 } else { 1.0 },
    );
    series.gauge(
        "keepwatch_build_info",
        &own(&[("version", if number == 5 { "0.1.1" } else { "0.1.0" })]),
        |_| 1.0,
    );
    for (name, value) in [
        ("keepwatch_sockets_tracked", 900.0 + 140.0 * n),
        ("keepwatch_snapshot_seconds", 0.004 + 0.0011 * n),
        ("process_resident_memory_bytes", 17.4e6 + 0.6e6 * n),
        ("process_start_time_seconds", start - 86_400.0 * (3.0 + n)),
        ("process_open_fds", 24.0),
    ] {
        series.gauge(name, &own(&[]), |x| {
            if value > 1.0 { value } else { value * (1.0 + 0.4 * wobble(x, n)) }
        });
    }
    series.gauge("keepwatch_snapshot_timestamp_seconds", &own(&[]), |x| {
        start + x * f64::from(SECONDS) - 4.0 - n
    });
    for file in ["config", "web_config"] {
        let file = own(&[("file", file)]);
        series.gauge("keepwatch_config_last_reload_successful", &file, |_| 1.0);
        series.gauge("keepwatch_config_last_reload_success_timestamp_seconds", &file, |_| {
            start - 86_400.0 * n
        });
    }
    let here = WORKLOADS.iter().filter(|workload| workload.nodes.contains(&number));
    let ended = here.map(|workload| workload.size * 0.0525).sum::<f64>() + 0.4;
    for (name, per_minute) in [
        ("keepwatch_probes_sent_total", 26.0 + 3.0 * n),
        ("keepwatch_probes_answered_total", 25.9 + 3.0 * n),
        ("keepwatch_connections_ended_total", ended),
        ("keepwatch_sockets_pruned_total", 0.02),
        ("keepwatch_snapshots_total", 4.0),
    ] {
        series.counter(name, &own(&[]), |_| per_minute);
    }
    series.cumulated("process_cpu_seconds_total", &own(&[]), |x| 0.11 + 0.05 * wobble(x, n));
    for (stage, share) in
        [("seen", 1.0), ("filtered", 0.2), ("submitted", 0.8), ("received", 0.8), ("decoded", 0.8)]
    {
        series.counter("keepwatch_events_total", &own(&[("stage", stage)]), |x| {
            share * (130.0 + 50.0 * wobble(x, n))
        });
    }
    series.counter("keepwatch_events_lost_total", &own(&[("stage", "ring_full")]), |x| {
        if number == 2 && x > 0.41 && x < 0.43 { 18.0 } else { 0.0 }
    });
    series.counter("keepwatch_events_lost_total", &own(&[("stage", "undecodable")]), |_| 0.0);
    for (reason, per_minute) in [("budget", 0.4), ("queue", 0.0), ("disk", 0.0), ("size", 0.2)] {
        let labels = own(&[("reason", reason), ("worth", "ordinary")]);
        series.counter("keepwatch_history_lost_total", &labels, |_| per_minute);
    }
    series.gauge("keepwatch_history_bytes", &own(&[]), |x| (40.0 + 20.0 * x) * 1e6);
    for (outcome, per_minute) in
        [("sent", 26.0), ("data_in_flight", 3.0), ("not_idle", 41.0), ("not_ours", 1.0)]
    {
        series
            .counter("keepwatch_timer_fires_total", &own(&[("outcome", outcome)]), |_| per_minute);
    }
    for option in ["SO_KEEPALIVE", "TCP_KEEPIDLE"] {
        series.counter(
            "keepwatch_settings_changed_unseen_total",
            &own(&[("option", option)]),
            |_| 0.01,
        );
    }
    hooks(series, node);
    settings(series, node, n);
    for (path, source, seconds) in [
        ("orders-db", "preset", 350.0),
        ("sessions", "preset", 350.0),
        ("sessions", "learned", 240.0),
        ("warehouse", "configured", 600.0),
        ("search", "configured", 900.0),
    ] {
        series.gauge(
            "keepwatch_path_idle_limit_seconds",
            &own(&[("path", path), ("source", source)]),
            |_| seconds,
        );
    }
}

/// An agent beside the programs of a pod, where eBPF is refused.
fn sidecar(series: &mut SeriesWriter) {
    let of_pod = |name, value| labels("pod-1", None, &[(name, value)]);
    series.gauge("keepwatch_source_info", &of_pod("source", "proc"), |_| 1.0);
    for (what, _) in NotSeen::NONE.counts() {
        let n = f64::from(u8::from(what == "without_descriptor"));
        series.gauge("keepwatch_not_seen", &of_pod("what", what), |_| n);
    }
}

/// Metrics without labels that have no part in the story are 0, so that their panels have an answer.
fn uneventful(series: &mut SeriesWriter) {
    let is_plain = |kind| matches!(kind, MetricKind::Gauge | MetricKind::Counter);
    for family in families().filter(|family| family.labels.is_empty() && is_plain(family.kind)) {
        let name = family.exported_name();
        if !series.names.contains(&name) {
            for node in NODES {
                series.gauge(&name, &labels(node, None, &[]), |_| 0.0);
            }
        }
    }
}

/// Each signal by its best hook, but for calls of setsockopt; one node has fewer, and is blind to those.
fn hooks(series: &mut SeriesWriter, node: &str) {
    let is_old = node == "node-6";
    for signal in Signal::ALL {
        let places = signal.places();
        let place = match signal {
            Signal::Setsockopt => places.last(),
            Signal::KeepaliveTimer if is_old => places.get(1),
            _ => places.first(),
        };
        let attached = f64::from(u8::from(!(is_old && signal == Signal::Setsockopt)));
        let names = [("signal", signal.as_str()), ("mechanism", place.expect("a place").name)];
        series.gauge("keepwatch_hook_attached", &labels(node, None, &names), |_| attached);
    }
    series.gauge("keepwatch_host_processes_visible", &labels(node, None, &[]), |_| 1.0);
    series.gauge("keepwatch_source_info", &labels(node, None, &[("source", "kernel")]), |_| 1.0);
    for mechanism in Sandbox::MECHANISMS {
        // The kernel of one node has no landlock.
        let is_in_force = f64::from(u8::from(!(is_old && mechanism == "landlock")));
        let names = [("mechanism", mechanism)];
        series.gauge("keepwatch_sandbox", &labels(node, None, &names), |_| is_in_force);
    }
    for label in ["owner", "netns"] {
        series.gauge(
            "keepwatch_label_values_folded",
            &labels(node, None, &[("label", label)]),
            |x| {
                if label == "owner" { (12.0 + 6.0 * (x * 5.0).sin()).round() } else { 0.0 }
            },
        );
    }
}

fn settings(series: &mut SeriesWriter, node: &str, n: f64) {
    let own = |more: &[(&'static str, &str)]| labels(node, None, more);
    for (netns, idle) in [("4026531840", 600.0), ("4026532177", 7200.0), ("4026532298", 7200.0)] {
        for (setting, seconds) in [("idle", idle), ("interval", 75.0)] {
            series.gauge(
                "keepwatch_netns_keepalive_seconds",
                &own(&[("netns", netns), ("setting", setting)]),
                |_| seconds,
            );
        }
        series.gauge("keepwatch_netns_keepalive_probes", &own(&[("netns", netns)]), |_| 9.0);
    }
    let outbound = own(&[("direction", "outbound")]);
    series.buckets(
        "keepwatch_idle_setting_seconds",
        &outbound,
        &[(15, 34.0 + n), (60, 61.0), (120, 9.0), (300, 22.0), (7200, 38.0 + 2.0 * n)],
    );
    series.buckets(
        "keepwatch_detection_seconds",
        &outbound,
        &[(30, 34.0), (120, 66.0 + n), (350, 14.0), (900, 12.0), (7875, 38.0)],
    );
    series.buckets(
        "keepwatch_quiet_before_death_seconds",
        &own(&[("cause", "idle_drop")]),
        &[(240, 9.0 + n), (350, 2.0), (600, 31.0 - n), (900, 17.0), (1800, 6.0)],
    );
}

fn labels(node: &str, of: Option<&Workload>, more: &[(&'static str, &str)]) -> SeriesLabels {
    let mut all: SeriesLabels = vec![
        ("cluster", "eu".into()),
        ("job", "keepwatch".into()),
        ("instance", format!("{node}:10077")),
    ];
    if let Some(of) = of {
        all.push(("namespace", of.namespace.into()));
        all.push(("workload", of.name.into()));
        // A unit of the host has no container.
        all.push(("container", if of.namespace.is_empty() { "" } else { of.name }.into()));
        all.push(("process", of.process.into()));
    }
    all.extend(more.iter().map(|(label, value)| (*label, (*value).to_owned())));
    all.retain(|(_, value)| !value.is_empty());
    all
}

#[derive(Default)]
struct SeriesWriter {
    text: String,
    names: BTreeSet<String>,
}

impl SeriesWriter {
    /// A gauge without rows where it is 0, as those have whose rows go with the last connection.
    fn present(&mut self, name: &str, labels: &SeriesLabels, value: impl Fn(f64) -> f64) {
        self.samples(name, labels, |x| Some(value(x)).filter(|&value| value > 0.0));
    }

    fn gauge(&mut self, name: &str, labels: &SeriesLabels, value: impl Fn(f64) -> f64) {
        self.samples(name, labels, |x| Some(value(x)));
    }

    fn samples(&mut self, name: &str, labels: &SeriesLabels, value: impl Fn(f64) -> Option<f64>) {
        self.names.insert(name.to_owned());
        let series: Vec<_> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let series = series.join(",");
        for second in (0..=SECONDS / STEP_SECONDS + BEFORE).map(|step| step * STEP_SECONDS) {
            let past = f64::from(second) - f64::from(BEFORE * STEP_SECONDS);
            let Some(value) = value(past / f64::from(SECONDS)) else { continue };
            let at = END - SECONDS - BEFORE * STEP_SECONDS + second;
            writeln!(self.text, "{name}{{{series}}} {value} {at}").expect("write to a string");
        }
    }

    /// A counter of whole things.
    fn counter(&mut self, name: &str, labels: &SeriesLabels, per_minute: impl Fn(f64) -> f64) {
        // Not all counters step in the same minute.
        let begin = f64::from(
            labels.iter().flat_map(|(_, value)| value.bytes()).fold(7u8, u8::wrapping_add),
        ) / 256.0;
        self.sum(name, labels, begin, per_minute, f64::floor);
    }

    fn cumulated(&mut self, name: &str, labels: &SeriesLabels, per_minute: impl Fn(f64) -> f64) {
        self.sum(name, labels, 0.0, per_minute, |sum| sum);
    }

    fn sum(
        &mut self,
        name: &str,
        labels: &SeriesLabels,
        begin: f64,
        per_minute: impl Fn(f64) -> f64,
        shown: fn(f64) -> f64,
    ) {
        let sum = std::cell::Cell::new(begin);
        self.gauge(name, labels, |x| {
            sum.set(sum.get() + per_minute(x) * f64::from(STEP_SECONDS) / 60.0);
            shown(sum.get())
        });
    }

    /// A histogram that grows from empty to these counts up to these bounds.
    fn buckets(&mut self, name: &str, labels: &SeriesLabels, counts: &[(u32, f64)]) {
        let kind = families().find(|family| family.name == name).map(|family| family.kind);
        let Some(MetricKind::Histogram(bounds)) = kind else { panic!("{name} is no histogram") };
        let grows = name.contains("death");
        let bounds = bounds.iter().map(|bound| (f64::from(*bound), bound.to_string()));
        for (bound, le) in bounds.chain([(f64::INFINITY, "+Inf".to_owned())]) {
            let count: f64 =
                counts.iter().filter(|(up_to, _)| f64::from(*up_to) <= bound).map(|(_, n)| n).sum();
            let labels = labels.iter().cloned().chain([("le", le)]).collect();
            self.gauge(&format!("{name}_bucket"), &labels, |x| {
                if grows { (count * x).floor() } else { count }
            });
        }
    }
}
