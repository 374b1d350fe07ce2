//! Records of events on their way from the hooks to the table, and where they were lost.

use crate::{
    metrics::{
        family::MetricFamily,
        label::{MetricLabel, closed},
        sample_writer::MetricKind,
    },
    model::table::agent_health::EventFlow,
};

const REACHED: MetricLabel = MetricLabel {
    name: "stage",
    meaning: "how far records came: a hook ran (`seen`), had nothing to report (`filtered`), put a \
              record into the ring buffer (`submitted`), the agent took it out (`received`) and \
              understood it (`decoded`); seen = filtered + submitted + lost at `ring_full`, \
              received = decoded + lost at `undecodable`",
    values: closed!(EventFlow::NONE.reached(), stage => stage.0),
};

const LOST_AT: MetricLabel = MetricLabel {
    name: "stage",
    meaning: "where records were lost: the kernel did not run a hook that was due, as a later sample \
              shows (`unseen`: a lower bound; the kernel reports nothing), it skipped one that ran on the \
              CPU already (`skipped`), the ring buffer had no room (`ring_full`), or what came out of it was not \
              understood (`undecodable`)",
    values: closed!(EventFlow::NONE.lost(), stage => stage.0),
};

pub(super) const FAMILIES: &[MetricFamily] = &[
    MetricFamily {
        name: "keepwatch_events",
        kind: MetricKind::Counter,
        help: "Records of events at each stage of their way from the hooks to the table, since the \
               agent's start.",
        question: "How many connections open and close here, and does the agent keep up?",
        labels: &[REACHED],
        max_rows: None,
        fill: |scrape, rows| {
            let mut stages = scrape.totals.health.flow.reached().into_iter();
            stages.try_for_each(|(stage, n)| rows.row(&[stage], n))
        },
    },
    MetricFamily {
        name: "keepwatch_events_lost",
        kind: MetricKind::Counter,
        help: "Records of events lost on their way from the hooks to the table, since the agent's start; \
               the next snapshot corrects the table.",
        question: "May the agent have missed something? (`--ring-bytes` makes the ring buffer larger.)",
        labels: &[LOST_AT],
        max_rows: None,
        fill: |scrape, rows| {
            let mut stages = scrape.totals.health.flow.lost().into_iter();
            stages.try_for_each(|(stage, n)| rows.row(&[stage], n))
        },
    },
];
