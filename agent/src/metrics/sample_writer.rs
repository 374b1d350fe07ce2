//! The rows of a family, as its function hands them to the encoder.

use super::label::MetricLabel;
use crate::model::{observed::socket::SocketId, table::histogram::Distribution};
use prometheus_client::{
    encoding::{
        EncodeCounterValue, EncodeGaugeValue, EncodeLabel as _, EncodeLabelSet, LabelSetEncoder,
        MetricEncoder, NoLabelSet,
    },
    metrics::exemplar::CounterWithExemplar,
};
use std::fmt;

/// What the numbers of a family mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It goes up and down.
    Gauge,
    /// It only goes up while the agent lives.
    Counter,
    /// How many values are at or under each of these bounds.
    Histogram(&'static [u32]),
    /// Always 1; the labels are what it says.
    Info,
}

impl MetricKind {
    /// The name in documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram(_) => "histogram",
            Self::Info => "info",
        }
    }
}

/// Writes the rows of one family.
pub(super) struct FamilyRows<'a> {
    pub(super) encoder: MetricEncoder<'a>,
    pub(super) kind: MetricKind,
    pub(super) labels: &'static [MetricLabel],
}

impl FamilyRows<'_> {
    /// Writes a row: the values of the family's labels in their order, and what is counted.
    pub(super) fn row(&mut self, values: &[&str], number: impl RowNumber) -> fmt::Result {
        debug_assert_eq!(self.labels.len(), values.len(), "{:?}", self.labels);
        let labels = RowLabels { labels: self.labels, values };
        match self.kind {
            MetricKind::Info => self.encoder.encode_info(&labels),
            kind if values.is_empty() => number.encode(&mut self.encoder, kind),
            kind => number.encode(&mut self.encoder.encode_family(&labels)?, kind),
        }
    }
}

/// Values for the labels of a family.
struct RowLabels<'a> {
    labels: &'static [MetricLabel],
    values: &'a [&'a str],
}

impl EncodeLabelSet for RowLabels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.labels
            .iter()
            .zip(self.values)
            .try_for_each(|(label, value)| (label.name, *value).encode(encoder.encode_label()))
    }
}

/// What a row can count with.
pub(super) trait RowNumber {
    fn encode(self, encoder: &mut MetricEncoder<'_>, kind: MetricKind) -> fmt::Result;
}

impl<N: EncodeGaugeValue + EncodeCounterValue> RowNumber for N {
    fn encode(self, encoder: &mut MetricEncoder<'_>, kind: MetricKind) -> fmt::Result {
        match kind {
            MetricKind::Counter => encoder.encode_counter::<NoLabelSet, N, f64>(&self, None),
            _ => encoder.encode_gauge(&self),
        }
    }
}

/// A count of connections, with the one that was counted last as its exemplar: to be asked `keepwatch why`.
pub(super) struct CountWithLast {
    pub(super) n: u64,
    pub(super) last: SocketId,
}

impl RowNumber for CountWithLast {
    fn encode(self, encoder: &mut MetricEncoder<'_>, _: MetricKind) -> fmt::Result {
        // An exemplar is made by nothing else.
        let last = CounterWithExemplar::<[(&str, String); 1]>::default();
        last.inc_by(1, Some([("id", self.last.to_string())]), None);
        let (_, exemplar) = last.get();
        encoder.encode_counter(&self.n, exemplar.as_ref())
    }
}

impl RowNumber for &Distribution {
    fn encode(self, encoder: &mut MetricEncoder<'_>, _: MetricKind) -> fmt::Result {
        let Distribution { bounds, counts, sum } = self;
        let bounds = bounds.iter().map(|&bound| f64::from(bound)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        #[expect(clippy::cast_precision_loss, reason = "a sum past 2^53 s may be rounded")]
        let sum = *sum as f64;
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }
}
