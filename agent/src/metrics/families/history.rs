//! What the agent remembers: the size of the history on disk, and what is missing there and in memory.

use crate::{
    metrics::{
        family::MetricFamily,
        label::{MetricLabel, closed},
        sample_writer::MetricKind,
    },
    store::Loss,
};

const REASON: MetricLabel = MetricLabel {
    name: "reason",
    meaning: "why it is not in the history: it was ordinary (an orderly end, a verdict that changed), \
              and there were more than a hundred a second of that (`ordinary`); the writing thread was \
              behind (`queue`); or it could not be written (`disk`)",
    values: closed!(Loss::ALL, it => it.as_str()),
};

pub(super) const FAMILIES: &[MetricFamily] = &[
    MetricFamily {
        name: "keepwatch_history_bytes",
        kind: MetricKind::Gauge,
        help: "Bytes that the history on disk uses now, within a few seconds.",
        question: "Does the history fit its place? (`--history-bytes` and `--history-days` bound it.)",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| rows.row(&[], scrape.history.bytes),
    },
    MetricFamily {
        name: "keepwatch_history_lost",
        kind: MetricKind::Counter,
        help: "Records (deaths, calls and others) that were not written to the history on disk, since the \
               agent's start.",
        question: "Does `keepwatch why` know everything? Is the disk full?",
        labels: &[REASON],
        max_rows: None,
        fill: |scrape, rows| {
            let mut lost = scrape.history.lost.iter();
            lost.try_for_each(|(reason, n)| rows.row(&[reason], *n))
        },
    },
    MetricFamily {
        name: "keepwatch_events_unremembered",
        kind: MetricKind::Counter,
        help: "Events of connections that the agent has not remembered since its start, because as many living \
               connections as `--max-histories` allows had a place. Totals count these events; `trace --past` \
               and the calls in `why` lack them.",
        question: "Is `--max-histories` too small for this host?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| rows.row(&[], scrape.totals.health.n_unrecorded),
    },
];
