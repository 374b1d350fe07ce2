//! Connections that are established now, by what keepalive does for them.

use crate::{
    metrics::{
        family::MetricFamily,
        label::{CONTAINER, DIRECTION, MetricLabel, NAMESPACE, PATH, PROCESS, VERDICT, WORKLOAD},
        sample_writer::{FamilyRows, MetricKind},
        scrape_input::Scrape,
    },
    model::{
        judgement::{idle_limit::MAX_PATHS, verdict::Verdict},
        observed::socket::Direction,
        table::{
            owner_label::MAX_OWNERS,
            sums::{ClassCounts, SocketSeries},
        },
    },
};
use std::{collections::BTreeMap, fmt};

const LABELS: &[MetricLabel] = &[DIRECTION, VERDICT, PATH, NAMESPACE, WORKLOAD, CONTAINER, PROCESS];

/// Rows by verdict and owner: what the budget of bytes leaves room for, and those of `~other` on each path.
const MAX_SOCKET_ROWS: usize = 384 + Direction::ALL.len() * Verdict::ALL.len() * (MAX_PATHS + 2);

pub(super) const FAMILIES: &[MetricFamily] = &[
    MetricFamily {
        name: "keepwatch_sockets",
        kind: MetricKind::Gauge,
        help: "Established connections now, by what keepalive does for them.",
        question: "Which of my services hold connections that a quiet hour will kill?",
        labels: LABELS,
        max_rows: Some(MAX_SOCKET_ROWS),
        fill: |scrape, rows| by_series(scrape, rows, |_, counts| Some(counts.sockets)),
    },
    MetricFamily {
        name: "keepwatch_sockets_quiet_past_limit",
        kind: MetricKind::Gauge,
        help: "Established connections that at the last snapshot had been quiet for longer than the \
               idle limit of their path: a middlebox has probably dropped them.",
        question: "Which connections in my pools are probably dead already?",
        labels: LABELS,
        max_rows: Some(MAX_SOCKET_ROWS),
        fill: |scrape, rows| {
            by_series(scrape, rows, |series, counts| {
                // There is no limit on the way to a peer on this host.
                (series.verdict != Verdict::Local).then_some(counts.past_limit)
            })
        },
    },
    MetricFamily {
        name: "keepwatch_sockets_probing",
        kind: MetricKind::Gauge,
        help: "Established connections with two or more unanswered keepalive probes in a row at the last \
               snapshot.",
        question: "Is a peer, or the path to it, gone right now?",
        labels: &[NAMESPACE, WORKLOAD, CONTAINER, PROCESS],
        max_rows: Some(MAX_OWNERS + 1),
        fill: |scrape, rows| {
            let mut probing: BTreeMap<[&str; 4], u64> = BTreeMap::new();
            for (series, counts) in &scrape.totals.series {
                *probing.entry(series.owner.values()).or_default() += counts.probing;
            }
            probing.iter().try_for_each(|(owner, n)| rows.row(owner, *n))
        },
    },
];

/// Only the classes that exist; of these, zeros too.
fn by_series(
    scrape: &Scrape,
    rows: &mut FamilyRows<'_>,
    count: impl Fn(&SocketSeries, &ClassCounts) -> Option<u64>,
) -> fmt::Result {
    for (series, counts) in &scrape.totals.series {
        if let Some(n) = count(series, counts) {
            let (direction, verdict) = (series.direction.as_str(), series.verdict.as_str());
            let path = scrape.path(series.path);
            let [namespace, workload, container, process] = series.owner.values();
            rows.row(&[direction, verdict, path, namespace, workload, container, process], n)?;
        }
    }
    Ok(())
}
