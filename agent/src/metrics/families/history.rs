//! What the agent remembers: the size of the history on disk, and what is missing there and in memory.

use crate::{
    metrics::{
        family::MetricFamily,
        label::{MetricLabel, closed},
        sample_writer::MetricKind,
    },
    model::judgement::worth::Worth,
    store::Loss,
};

const REASON: MetricLabel = MetricLabel {
    name: "reason",
    meaning: "why it is not in the history: there was more of that than its budget allows (`budget`); the writing \
              thread was behind (`queue`); it could not be written (`disk`); it did not fit the tables (`invalid`: please report that); it made \
              room for others, because the history was larger than `--history-bytes` (`size`); or the agent never got it from the kernel \
              (`kernel`: of any kind, counted as the worst)",
    values: closed!(Loss::ALL, it => it.as_str()),
};

const WORTH: MetricLabel = MetricLabel {
    name: "worth",
    meaning: "what the record was about: a death of silence (`silence`); a refused call, a verdict that changed or a \
              quiet time survived (`setting`); a reset, a failure or an orderly end (`ordinary`)",
    values: closed!(Worth::ALL, it => it.as_str()),
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
        help: "Records (deaths, calls and others) that were not written to the history on disk, or deleted from it to \
               make room, since the agent's start.",
        question: "Does `keepwatch why` know everything? Is the disk full?",
        labels: &[REASON, WORTH],
        max_rows: None,
        fill: |scrape, rows| {
            for (worth, lost) in &scrape.history.lost_by_worth {
                for (reason, n) in lost {
                    rows.row(&[reason, worth], *n)?;
                }
            }
            Ok(())
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
