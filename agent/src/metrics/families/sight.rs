//! What of its host the agent sees, and what it has given up.

use crate::{
    kernel::sandbox::Sandbox,
    metrics::{
        family::MetricFamily,
        label::{MetricLabel, closed},
        sample_writer::MetricKind,
    },
    model::table::agent_health::HostView,
};

const MECHANISM: MetricLabel = MetricLabel {
    name: "mechanism",
    meaning: "what bounds the agent: the paths that it opens (`landlock`), the system calls that it makes (`seccomp`)",
    values: closed!(Sandbox::MECHANISMS, it => *it),
};

pub(super) const FAMILIES: &[MetricFamily] = &[
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
