//! Counts of `fix --watch` for a monitoring system.

use super::FixReport;
use crate::{
    fix::{apply::FixOutcome, plan::LeftAlone},
    kernel::borrowed_socket::Refusal,
    metrics::{FIX, FIX_LEFT_ALONE, Textfile},
};
use std::collections::BTreeMap;

/// What was done since the watch began, and what is left alone now.
#[derive(Debug, Default)]
pub(super) struct Counts {
    done: BTreeMap<FixOutcome, u64>,
    refused: BTreeMap<Refusal, u64>,
    left: BTreeMap<LeftAlone, u64>,
}

impl Counts {
    /// Adds what one look did.
    pub(super) fn add(&mut self, report: &FixReport) {
        for (outcome, n) in &report.done {
            *self.done.entry(*outcome).or_default() += n;
        }
        for (why, n) in &report.refused {
            *self.refused.entry(*why).or_default() += n;
        }
    }

    /// Takes over what the last look left alone.
    pub(super) fn set_left(&mut self, report: &FixReport) {
        self.left.clone_from(&report.left);
    }

    /// All of them.
    pub(super) fn metrics(&self) -> Textfile {
        let of = |n: Option<&u64>| n.copied().unwrap_or(0);
        // What is refused is counted by its reasons.
        let is_counted = |it: &FixOutcome| !matches!(it, FixOutcome::Refused | FixOutcome::Undone);
        let done = FixOutcome::ALL.into_iter().filter(is_counted);
        let done = done.map(|outcome| (outcome.as_str(), of(self.done.get(&outcome))));
        let refused = Refusal::ALL.map(|why| (why.as_str(), of(self.refused.get(&why))));
        let left = LeftAlone::ALL.map(|why| (why.as_str(), of(self.left.get(&why))));
        let mut file = Textfile::default();
        file.add(&FIX, done.chain(refused));
        file.add(&FIX_LEFT_ALONE, left);
        file
    }
}
