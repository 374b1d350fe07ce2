//! Connections of now: by what is promised of them, and by what is the matter with them.

use crate::{
    metrics::{
        family::MetricFamily,
        label::{
            CONTAINER, DIRECTION, MetricLabel, NAMESPACE, PATH, PROCESS, VERDICT, WORKLOAD, closed,
        },
        sample_writer::MetricKind,
    },
    model::{
        judgement::{condition::Condition, idle_limit::MAX_PATHS, verdict::Verdict},
        observed::socket::Direction,
    },
};

/// Rows by verdict and owner: what the budget of bytes leaves room for, and those of `~other` on each path.
const MAX_SOCKET_ROWS: usize = 346 + Direction::ALL.len() * Verdict::ALL.len() * (MAX_PATHS + 2);
const MAX_TROUBLE_ROWS: usize = 320 + Direction::ALL.len() * CONDITIONS * (MAX_PATHS + 2);
/// All but `fine`.
const CONDITIONS: usize = Condition::ALL.len() - 1;

const CONDITION: MetricLabel = MetricLabel {
    name: "condition",
    meaning: "`stuck`: data or the FIN of this host is repeated and nothing answers; `peer_silent`: two or more probes in \
              a row went unanswered; `overdue`: nothing protects it, and it was quiet for longer than its path keeps it; \
              `blocked`: the peer has had no room for what was written for 5 s; `unaccepted`: it waits in an accept \
              queue; `peer_closed`: the peer has closed it, and the program has not",
    values: closed!(TROUBLES, it => it.as_str()),
};
const TROUBLES: [Condition; CONDITIONS] = [
    Condition::Stuck,
    Condition::PeerSilent,
    Condition::Overdue,
    Condition::Blocked,
    Condition::Unaccepted,
    Condition::PeerClosed,
];

pub(super) const FAMILIES: &[MetricFamily] = &[
    MetricFamily {
        name: "keepwatch_sockets",
        kind: MetricKind::Gauge,
        help: "Established connections now, by what is promised of them.",
        question: "Which of my services hold connections that a quiet hour will kill?",
        labels: &[DIRECTION, VERDICT, PATH, NAMESPACE, WORKLOAD, CONTAINER, PROCESS],
        max_rows: Some(MAX_SOCKET_ROWS),
        fill: |scrape, rows| {
            scrape.totals.sockets.iter().try_for_each(|(series, n)| {
                let [namespace, workload, container, process] = series.owner.values();
                let (direction, verdict) = (series.direction.as_str(), series.verdict.as_str());
                let path = scrape.path(series.path);
                rows.row(&[direction, verdict, path, namespace, workload, container, process], *n)
            })
        },
    },
    MetricFamily {
        name: "keepwatch_sockets_in_trouble",
        kind: MetricKind::Gauge,
        help: "Connections that are not fine at the last snapshot, by what is the matter. There is no row where there is \
               no such connection.",
        question: "Which connections hang right now, and which are probably dead already?",
        labels: &[CONDITION, DIRECTION, PATH, NAMESPACE, WORKLOAD, CONTAINER, PROCESS],
        max_rows: Some(MAX_TROUBLE_ROWS),
        fill: |scrape, rows| {
            scrape.totals.troubles.iter().try_for_each(|(series, n)| {
                let [namespace, workload, container, process] = series.owner.values();
                let (condition, direction) = (series.condition.as_str(), series.direction.as_str());
                let path = scrape.path(series.path);
                rows.row(&[condition, direction, path, namespace, workload, container, process], *n)
            })
        },
    },
];
