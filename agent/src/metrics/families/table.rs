//! The agent's table of sockets: how full it is, and what it or a scrape leaves out.

use super::settings::{MAX_NAMESPACES, NETNS};
use crate::metrics::{
    family::MetricFamily,
    label::{LabelValues, MetricLabel},
    sample_writer::MetricKind,
};

const OWNERS: &str = "owner";

const FOLDED: MetricLabel = MetricLabel {
    name: "label",
    meaning: "what exceeds its bound: combinations of the labels that name owners (`owner`), or \
              network namespaces (`netns`)",
    values: LabelValues::Closed(&[OWNERS, NETNS.name]),
};

pub(super) const FAMILIES: &[MetricFamily] = &[
    MetricFamily {
        name: "keepwatch_sockets_tracked",
        kind: MetricKind::Gauge,
        help: "TCP sockets of any state in the agent's table now, listeners included.",
        question: "How much does this agent watch, and how near is it to its bound?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| rows.row(&[], scrape.totals.n_tracked),
    },
    MetricFamily {
        name: "keepwatch_sockets_untracked",
        kind: MetricKind::Gauge,
        help: "TCP sockets that the last snapshot met and the full table could not take.",
        question: "Are there connections that keepwatch leaves out?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| rows.row(&[], scrape.totals.n_untracked),
    },
    MetricFamily {
        name: "keepwatch_sockets_pruned",
        kind: MetricKind::Counter,
        help: "Sockets removed since the agent's start because a snapshot did not meet them any more, \
               without an event that reported their end.",
        question: "Do events report everything, or do snapshots have to correct them?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| rows.row(&[], scrape.totals.health.n_pruned),
    },
    MetricFamily {
        name: "keepwatch_label_values_folded",
        kind: MetricKind::Gauge,
        help: "Owners, and network namespaces, past the bound now: they have no rows of their own. Such owners \
               are summed up in ~other, such namespaces are left out.",
        question: "Is the owner that I look for hidden in ~other?",
        labels: &[FOLDED],
        max_rows: None,
        fill: |scrape, rows| {
            rows.row(&[OWNERS], scrape.totals.n_folded)?;
            let n_left_out = scrape.totals.netns.len().saturating_sub(MAX_NAMESPACES);
            rows.row(&[NETNS.name], n_left_out)
        },
    },
];
