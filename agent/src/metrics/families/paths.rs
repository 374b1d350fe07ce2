//! Idle limits: how long each path keeps a quiet connection, and how that is known.

use crate::{
    metrics::{
        family::MetricFamily,
        label::{LabelValues, MetricLabel, PATH},
        sample_writer::MetricKind,
    },
    model::judgement::{idle_limit::Applied, limit_source::LimitSource},
};
use std::collections::BTreeMap;

const SOURCE: MetricLabel = MetricLabel {
    name: "source",
    meaning: "how the limit is known: the configuration gives a time (`configured`) or the name of a \
              device or cloud (`preset`); nothing gives it, so the default is taken (`default`); \
              or it follows from quiet times that connections survived and died of (`learned`: the \
              shortest of any destination on a configured path, beside what is configured)",
    values: LabelValues::Closed(&LimitSource::KINDS),
};

pub(super) const FAMILIES: &[MetricFamily] = &[MetricFamily {
    name: "keepwatch_path_idle_limit_seconds",
    kind: MetricKind::Gauge,
    help: "How long each path keeps a quiet connection, as far as is known now. The row without \
           a path is for all other paths.",
    question: "Against which limits are my connections judged?",
    labels: &[PATH, SOURCE],
    max_rows: None,
    fill: |scrape, rows| {
        let limits = scrape.totals.around.iter().flat_map(|around| around.limits.all());
        // Of each path the shortest: one name may stand for several networks.
        let mut shortest: BTreeMap<[&str; 2], u32> = BTreeMap::new();
        for Applied { seconds, from, number, .. } in limits {
            let limit = shortest.entry([scrape.path(*number), from.kind()]).or_insert(*seconds);
            *limit = (*limit).min(*seconds);
        }
        for (number, seconds) in &scrape.totals.learned {
            shortest.insert([scrape.path(*number), LimitSource::Learned.kind()], *seconds);
        }
        shortest
            .iter()
            .try_for_each(|(path_and_source, seconds)| rows.row(path_and_source, *seconds))
    },
}];
