//! What of its host the agent sees, and what it has given up.

use crate::{
    kernel::sandbox::Sandbox,
    metrics::{
        family::MetricFamily,
        label::{MetricLabel, closed},
        sample_writer::MetricKind,
    },
    model::table::agent_health::{AgentHealth, HostView, NotSeen},
};

const MECHANISM: MetricLabel = MetricLabel {
    name: "mechanism",
    meaning: "what bounds the agent: the paths that it opens (`landlock`), the system calls that it makes (`seccomp`)",
    values: closed!(Sandbox::MECHANISMS, it => *it),
};

const SOURCE: MetricLabel = MetricLabel {
    name: "source",
    meaning: "what connections are read by: eBPF (`kernel`), or /proc where that is refused or not wanted (`proc`): then there \
              are no events, and every metric that needs them is absent",
    values: closed!(AgentHealth::SOURCES, it => *it),
};

const WHAT: MetricLabel = MetricLabel {
    name: "what",
    meaning: "what is not seen without eBPF: processes that do not show what they have open (`processes`), connections that \
              no process has open (`without_descriptor`), further parts of MPTCP connections (`subflows`), and of how many \
              sockets it is not known whether settings are their own (`origin_of_settings`)",
    values: closed!(NotSeen::NONE.counts(), it => it.0),
};

pub(super) const FAMILIES: &[MetricFamily] = &[
    MetricFamily {
        name: "keepwatch_source",
        kind: MetricKind::Info,
        help: "What connections are read by since the agent's start; always 1.",
        question: "Which agents have no eBPF, so that alerts on events and causes of death cannot fire there?",
        labels: &[SOURCE],
        max_rows: Some(1),
        fill: |scrape, rows| rows.row(&[scrape.totals.health.source()], 1_u64),
    },
    MetricFamily {
        name: "keepwatch_not_seen",
        kind: MetricKind::Gauge,
        help: "What the last snapshot did not see, of an agent without eBPF; absent of others.",
        question: "How much of this host is out of sight of an agent without eBPF?",
        labels: &[WHAT],
        max_rows: None,
        fill: |scrape, rows| {
            let not_seen =
                scrape.totals.health.without_ebpf.iter().flat_map(|it| it.not_seen.counts());
            not_seen.into_iter().try_for_each(|(what, n)| rows.row(&[what], n))
        },
    },
    MetricFamily {
        name: "keepwatch_host_processes_visible",
        kind: MetricKind::Gauge,
        help: "Whether the agent sees the processes of the whole host at the last snapshot: 1 yes, 0 no.",
        question: "Is this host quiet, or does its agent lack the host's pid namespace or /proc?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| {
            rows.row(&[], u64::from(scrape.totals.health.host_view == HostView::Whole))
        },
    },
    MetricFamily {
        name: "keepwatch_sandbox",
        kind: MetricKind::Gauge,
        help: "Whether a part of the sandbox has been in force since the agent's start: 1 yes, 0 no.",
        question: "What could an agent do that somebody has taken over? (`keepwatch doctor` says what is missing.)",
        labels: &[MECHANISM],
        max_rows: None,
        fill: |scrape, rows| {
            let mut parts = scrape.sandbox.parts().into_iter();
            parts.try_for_each(|(name, part)| rows.row(&[name], u64::from(part.in_force)))
        },
    },
];
