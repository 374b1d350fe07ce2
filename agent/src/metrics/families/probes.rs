//! Keepalive probes, and what the runs of keepalive timers came to.

use crate::{
    metrics::{
        family::MetricFamily,
        label::{MetricLabel, closed},
        sample_writer::MetricKind,
        scrape_input::Scrape,
    },
    model::observed::event::Fire,
};

const OUTCOME: MetricLabel = MetricLabel {
    name: "outcome",
    meaning: "what a run of the timer came to: `sent` a probe; `deferred` the socket was locked; \
              `data_in_flight` retransmission decides; `not_idle` something was received meanwhile; \
              `not_ours` keepalive is off, or the socket is closing; `congested` this host's own \
              queue refused the probe; `death` too many probes went unanswered",
    values: closed!(Fire::ALL, it => it.as_str()),
};

pub(super) const FAMILIES: &[MetricFamily] = &[
    MetricFamily {
        name: "keepwatch_probes_sent",
        kind: MetricKind::Counter,
        help: "Keepalive probes sent on this host since the agent's start: exact, whether or not events \
               were lost.",
        question: "Is keepalive at work at all, and how much traffic does it make?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| {
            let sent = fires(scrape).find(|(outcome, _)| *outcome == Fire::Sent);
            rows.row(&[], sent.map_or(0, |(_, n)| n))
        },
    },
    MetricFamily {
        name: "keepwatch_probes_answered",
        kind: MetricKind::Counter,
        help: "Times since the agent's start that a peer answered after one or more unanswered probes, \
               as far as events reported them.",
        question: "Do peers answer probes, or do probes go into the void?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| rows.row(&[], scrape.totals.tally.n_answered),
    },
    MetricFamily {
        name: "keepwatch_timer_fires",
        kind: MetricKind::Counter,
        help: "Runs of keepalive timers on this host since the agent's start, by what they came to: \
               exact, whether or not events were lost.",
        question: "Why do connections with keepalive on not send probes?",
        labels: &[OUTCOME],
        max_rows: None,
        fill: |scrape, rows| {
            fires(scrape).try_for_each(|(outcome, n)| rows.row(&[outcome.as_str()], n))
        },
    },
];

fn fires(scrape: &Scrape) -> impl Iterator<Item = (Fire, u64)> {
    Fire::ALL.into_iter().zip(scrape.totals.health.fires)
}
