//! The agent's own process: its version, and what it costs.

use crate::metrics::{
    family::MetricFamily,
    label::{LabelValues, MetricLabel},
    sample_writer::MetricKind,
};

const VERSION: MetricLabel = MetricLabel {
    name: "version",
    meaning: "the version of keepwatch",
    values: LabelValues::AtMost { n: 1, rest: "an agent has one version" },
};

pub(super) const FAMILIES: &[MetricFamily] = &[
    MetricFamily {
        name: "keepwatch_build",
        kind: MetricKind::Info,
        help: "The version of the agent that runs now; always 1.",
        question: "Which version runs where?",
        labels: &[VERSION],
        max_rows: None,
        fill: |_, rows| rows.row(&[env!("CARGO_PKG_VERSION")], 1_u64),
    },
    MetricFamily {
        name: "process_cpu_seconds",
        kind: MetricKind::Counter,
        help: "CPU time of the agent, in user and system mode, since its start.",
        question: "What does keepwatch cost?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| rows.row(&[], scrape.process.cpu_seconds),
    },
    MetricFamily {
        name: "process_resident_memory_bytes",
        kind: MetricKind::Gauge,
        help: "Resident memory of the agent now.",
        question: "What does keepwatch cost?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| {
            scrape.process.resident_bytes.map_or(Ok(()), |bytes| rows.row(&[], bytes))
        },
    },
    MetricFamily {
        name: "process_start_time_seconds",
        kind: MetricKind::Gauge,
        help: "Unix time of the agent's start.",
        question: "Did the agent restart, so that its counters began anew?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| rows.row(&[], scrape.process.started_at_seconds),
    },
    MetricFamily {
        name: "process_open_fds",
        kind: MetricKind::Gauge,
        help: "File descriptors that the agent has open now.",
        question: "Does keepwatch leak?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| {
            scrape.process.n_open_fds.map_or(Ok(()), |n_open_fds| rows.row(&[], n_open_fds))
        },
    },
];
