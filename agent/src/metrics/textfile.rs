//! Metrics that are not scraped: a command writes them into a file, as node_exporter's textfile collector reads it.

use super::{
    family::MetricFamily,
    label::{LabelValues, MetricLabel, closed},
    sample_writer::MetricKind,
};
use crate::{
    fix::{apply::FixOutcome, plan::LeftAlone},
    kernel::borrowed_socket::Refusal,
    model::text::closed_set::closed_set,
};

closed_set! {
    /// What a row is, compared with getsockopt on the very socket.
    pub(crate) enum VerifyResult {
        /// Both say the same.
        Agree = "agree",
        /// They do not, twice.
        Differ = "differ",
        /// The socket was not reached.
        NotReached = "not_reached",
    }
}

/// What is refused is counted by its reason.
const FIX_OUTCOMES: [&str; 8] = [
    FixOutcome::Fixed.as_str(),
    FixOutcome::ChangedSince.as_str(),
    Refusal::Gone.as_str(),
    Refusal::OtherSocket.as_str(),
    Refusal::NoDescriptor.as_str(),
    Refusal::NotPermitted.as_str(),
    Refusal::NotSupported.as_str(),
    Refusal::Failed.as_str(),
];

/// `keepwatch doctor --verify --textfile`
pub(crate) static VERIFIED_SOCKETS: MetricFamily = of_file(
    "keepwatch_verified_sockets",
    MetricKind::Gauge,
    "Sockets of the last run of keepwatch doctor --verify, by whether their row says what getsockopt answers on the very socket.",
    "Is what keepwatch says of this host's sockets true?",
    &[MetricLabel {
        name: "result",
        meaning: "`agree`: the row says what getsockopt answers; `differ`: it does not, in two looks; `not_reached`: the \
                  socket was gone or not to be reached",
        values: closed!(VerifyResult::ALL, it => it.as_str()),
    }],
);

/// The same.
pub(crate) static VERIFIED_TIMESTAMP: MetricFamily = of_file(
    "keepwatch_verified_timestamp_seconds",
    MetricKind::Gauge,
    "Unix time at which keepwatch doctor --verify has compared rows with sockets last.",
    "Does anybody still check whether the rows are true?",
    &[],
);

/// `keepwatch fix --watch --textfile`
pub(crate) static FIX: MetricFamily = of_file(
    "keepwatch_fix",
    MetricKind::Counter,
    "Connections by what keepwatch fix --watch did with them since it began.",
    "How many connections were given keepalive from outside, and how many could not be?",
    &[MetricLabel {
        name: "outcome",
        meaning: "`fixed`; `changed_since`: its program has set something meanwhile; the others are reasons why it was not \
                  reached or set (docs/FIX.md)",
        values: LabelValues::Closed(&FIX_OUTCOMES),
    }],
);

/// The same.
pub(crate) static FIX_LEFT_ALONE: MetricFamily = of_file(
    "keepwatch_fix_left_alone",
    MetricKind::Gauge,
    "Connections that keepwatch fix --watch leaves alone now.",
    "Why is a connection without keepalive not fixed?",
    &[MetricLabel {
        name: "reason",
        meaning: "why it is left alone (docs/FIX.md)",
        values: closed!(LeftAlone::ALL, it => it.as_str()),
    }],
);

/// Every family that is in a file, in the order of documentation.
pub fn families_of_files() -> impl Iterator<Item = &'static MetricFamily> {
    [&VERIFIED_SOCKETS, &VERIFIED_TIMESTAMP, &FIX, &FIX_LEFT_ALONE].into_iter()
}

const fn of_file(
    name: &'static str,
    kind: MetricKind,
    help: &'static str,
    question: &'static str,
    labels: &'static [MetricLabel],
) -> MetricFamily {
    // No scrape has rows of it.
    MetricFamily { name, kind, help, question, labels, max_rows: None, fill: |_, _| Ok(()) }
}

/// A file to be, in the text format of Prometheus.
#[derive(Debug, Default)]
pub(crate) struct Textfile(String);

impl Textfile {
    /// Adds a family with its rows: the values of its label, if it has one, and numbers.
    pub(crate) fn add<'a>(
        &mut self,
        family: &MetricFamily,
        rows: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        let (name, kind) = (family.exported_name(), family.kind.as_str());
        self.0 += &format!("# HELP {name} {}\n# TYPE {name} {kind}\n", family.help);
        for (value, n) in rows {
            self.0 += &match family.labels {
                [label, ..] => format!("{name}{{{}=\"{value}\"}} {n}\n", label.name),
                [] => format!("{name} {n}\n"),
            };
        }
    }

    /// What is to stand in it.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_head_once_and_a_row_for_each_value() {
        let mut file = Textfile::default();
        file.add(&VERIFIED_SOCKETS, [("agree", 998), ("differ", 2)]);
        file.add(&VERIFIED_TIMESTAMP, [("", 1_795_000_000)]);
        let lines: Vec<&str> = file.text().lines().filter(|it| !it.starts_with("# HELP")).collect();
        let expected = [
            "# TYPE keepwatch_verified_sockets gauge",
            "keepwatch_verified_sockets{result=\"agree\"} 998",
            "keepwatch_verified_sockets{result=\"differ\"} 2",
            "# TYPE keepwatch_verified_timestamp_seconds gauge",
            "keepwatch_verified_timestamp_seconds 1795000000",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn every_reason_of_a_refusal_is_counted() {
        let is_there = |why: Refusal| FIX_OUTCOMES.contains(&why.as_str());
        assert!(Refusal::ALL.into_iter().all(is_there));
    }
}
