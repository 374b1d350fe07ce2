//! A family of metrics: its definition, and the function that fills it.

use super::{
    label::MetricLabel,
    sample_writer::{FamilyRows, MetricKind},
    scrape_input::Scrape,
};
use prometheus_client::{encoding::DescriptorEncoder, metrics::MetricType, registry::Unit};
use std::fmt;

/// No family has more series than this, histogram buckets included.
#[cfg(test)]
pub(crate) const MAX_SERIES: usize = 512;

/// What a number can be counted in: the last word of the family's name.
const UNITS: [(&str, Unit); 2] = [("seconds", Unit::Seconds), ("bytes", Unit::Bytes)];

/// A family of series: everything about it but the numbers.
#[derive(Debug)]
pub struct MetricFamily {
    /// Its name: with the unit, without `_total` or `_info`.
    pub name: &'static str,
    /// What its numbers mean.
    pub kind: MetricKind,
    /// What it says, from when until when.
    pub help: &'static str,
    /// The question that it answers.
    pub question: &'static str,
    /// Its labels, in the order in which a row gives their values.
    pub labels: &'static [MetricLabel],
    /// The bound of its rows, where that is lower than what its labels could make.
    pub max_rows: Option<usize>,
    /// Writes its rows.
    pub(super) fill: fn(&Scrape, &mut FamilyRows<'_>) -> fmt::Result,
}

impl MetricFamily {
    /// The name to query: with the suffix of the kind.
    pub fn exported_name(&self) -> String {
        match self.kind {
            MetricKind::Gauge | MetricKind::Histogram(_) => self.name.to_owned(),
            MetricKind::Counter => format!("{}_total", self.name),
            MetricKind::Info => format!("{}_info", self.name),
        }
    }

    /// The unit of its numbers: seconds or bytes; none for things.
    pub fn unit(&self) -> Option<&'static str> {
        self.stem_and_unit().1.map(|(unit, _)| *unit)
    }

    fn stem_and_unit(&self) -> (&'static str, Option<&'static (&'static str, Unit)>) {
        let stem = |unit: &str| self.name.strip_suffix(unit)?.strip_suffix('_');
        let found = UNITS.iter().find_map(|unit| Some((stem(unit.0)?, Some(unit))));
        found.unwrap_or((self.name, None))
    }

    /// How many series it can become.
    pub fn max_series(&self) -> usize {
        let each = match self.kind {
            // The buckets, the one above, the sum and the count.
            MetricKind::Histogram(bounds) => bounds.len() + 3,
            _ => 1,
        };
        let n_rows = self.labels.iter().map(|label| label.values.bound()).product::<usize>();
        self.max_rows.map_or(n_rows, |max_rows| max_rows.min(n_rows)) * each
    }

    /// Writes its head and its rows.
    pub(super) fn encode(&self, scrape: &Scrape, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.kind {
            MetricKind::Gauge => MetricType::Gauge,
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Histogram(_) => MetricType::Histogram,
            MetricKind::Info => MetricType::Info,
        };
        let (stem, unit) = self.stem_and_unit();
        let unit = unit.map(|(_, unit)| unit);
        let encoder = out.encode_descriptor(stem, self.help, unit, kind)?;
        (self.fill)(scrape, &mut FamilyRows { encoder, kind: self.kind, labels: self.labels })
    }
}
