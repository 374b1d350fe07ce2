//! Connections that ended, and what they died of.

use crate::{
    metrics::{
        family::MetricFamily,
        label::{CAUSE, CONTAINER, DIRECTION, NAMESPACE, PATH, PROCESS, VERDICT, WORKLOAD},
        sample_writer::{CountWithLast, MetricKind},
    },
    model::{
        judgement::idle_limit::MAX_PATHS,
        table::counters::{MAX_DEATHS, QUIET_BOUNDS, occasions::MAX_OCCASIONS},
    },
};

pub(super) const FAMILIES: &[MetricFamily] = &[
    MetricFamily {
        name: "keepwatch_deaths",
        kind: MetricKind::Counter,
        help: "Connections that ended since the agent's start, by what they died of and what keepalive \
               did for them.",
        question: "What do our connections die of, and would keepalive have prevented it?",
        labels: &[DIRECTION, CAUSE, VERDICT, PATH, NAMESPACE, WORKLOAD, CONTAINER, PROCESS],
        max_rows: Some(MAX_DEATHS + 96),
        fill: |scrape, rows| {
            for ((direction, cause, verdict, path), owner, n, last) in
                scrape.totals.tally.deaths.iter()
            {
                let (direction, cause, verdict) =
                    (direction.as_str(), cause.as_str(), verdict.as_str());
                let path = scrape.path(path);
                let [namespace, workload, container, process] = owner.values();
                let labels =
                    [direction, cause, verdict, path, namespace, workload, container, process];
                rows.row(&labels, CountWithLast { n, last })?;
            }
            Ok(())
        },
    },
    MetricFamily {
        name: "keepwatch_idle_drop_occasions",
        kind: MetricKind::Counter,
        help: "Moments since the agent's start that it takes to explain all idle drops: what a single outage may have caused \
               is one, however many connections died.",
        question: "Does the path really forget quiet connections, or was there an outage?",
        labels: &[PATH, NAMESPACE, WORKLOAD, CONTAINER, PROCESS],
        max_rows: Some(MAX_OCCASIONS + MAX_PATHS + 2),
        fill: |scrape, rows| {
            for (path, owner, n, last) in scrape.totals.tally.occasions.counts.iter() {
                let [namespace, workload, container, process] = owner.values();
                let labels = [scrape.path(path), namespace, workload, container, process];
                rows.row(&labels, CountWithLast { n, last })?;
            }
            Ok(())
        },
    },
    MetricFamily {
        name: "keepwatch_quiet_before_death_seconds",
        kind: MetricKind::Histogram(QUIET_BOUNDS),
        help: "How long connections that ended since the agent's start had been quiet before their last \
               data, or before their end if none was in flight.",
        question: "After how much silence do connections turn out to be dead: where is the idle limit?",
        labels: &[CAUSE],
        max_rows: None,
        fill: |scrape, rows| {
            let mut times = scrape.totals.tally.quiet_before_death.iter();
            times.try_for_each(|(cause, times)| rows.row(&[cause.as_str()], times))
        },
    },
    MetricFamily {
        name: "keepwatch_connections_ended",
        kind: MetricKind::Counter,
        help: "Sockets that changed to CLOSE since the agent's start, failed handshakes included: exact, \
               whether or not events were lost.",
        question: "How much churn is there, and does keepwatch_deaths_total count all of it?",
        labels: &[],
        max_rows: None,
        fill: |scrape, rows| rows.row(&[], scrape.totals.health.n_ended),
    },
];
