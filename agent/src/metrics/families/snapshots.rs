//! Snapshots of all sockets: how often they come, how long they take, and which failed.

use crate::metrics::{family::MetricFamily, sample_writer::MetricKind};

pub(super) const FAMILIES: &[MetricFamily] = &[
    MetricFamily {
        name: "keepwatch_snapshot_seconds",
        kind: MetricKind::Gauge,
        help: "Wall time that the last snapshot of all sockets took.",
        question: "What does a snapshot cost on this host?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| rows.row(&[], scrape.totals.health.walk_seconds),
    },
    MetricFamily {
        name: "keepwatch_snapshots",
        kind: MetricKind::Counter,
        help: "Snapshots of all sockets finished since the agent's start.",
        question: "How often does the agent look?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| rows.row(&[], scrape.totals.health.n_walks),
    },
    MetricFamily {
        name: "keepwatch_snapshot_failures",
        kind: MetricKind::Counter,
        help: "Snapshots that failed since the agent's start.",
        question: "Is what the agent shows older than it should be?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| rows.row(&[], scrape.totals.health.n_failed_walks),
    },
    MetricFamily {
        name: "keepwatch_snapshot_timestamp_seconds",
        kind: MetricKind::Gauge,
        help: "Unix time at the end of the last snapshot of all sockets; 0 before the first.",
        question: "How old are the settings, owners and quiet times that I see?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| rows.row(&[], scrape.totals.health.walked_at_seconds),
    },
];
