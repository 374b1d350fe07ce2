//! Counts of `fix --watch` for a monitoring system: a file in the text format of Prometheus, replaced as a whole.

use super::{Error, FixReport};
use crate::{
    files,
    fix::{apply::FixOutcome, plan::LeftAlone},
    kernel::borrowed_socket::Refusal,
};
use rustix::fs::Mode;
use std::{collections::BTreeMap, path::Path};

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

    /// Writes the file.
    pub(super) fn write(&self, file: &Path) -> Result<(), Error> {
        files::replace(file, self.text().as_bytes(), Mode::from_raw_mode(0o644))
            .map_err(|cause| Error::Textfile { file: file.to_owned(), cause })
    }

    fn text(&self) -> String {
        let of = |n: Option<&u64>| n.copied().unwrap_or(0);
        let mut text = String::from(
            "# HELP keepwatch_fix_total Connections by what keepwatch fix did with them.\n\
             # TYPE keepwatch_fix_total counter\n",
        );
        // What is refused has its reasons below.
        let is_counted = |it: &FixOutcome| !matches!(it, FixOutcome::Refused | FixOutcome::Undone);
        for outcome in FixOutcome::ALL.into_iter().filter(is_counted) {
            let n = of(self.done.get(&outcome));
            text += &format!("keepwatch_fix_total{{outcome=\"{}\"}} {n}\n", outcome.as_str());
        }
        for why in Refusal::ALL {
            let n = of(self.refused.get(&why));
            text += &format!("keepwatch_fix_total{{outcome=\"{}\"}} {n}\n", why.as_str());
        }
        text += "# HELP keepwatch_fix_left_alone Connections that keepwatch fix leaves alone now, by reason.\n\
                 # TYPE keepwatch_fix_left_alone gauge\n";
        for why in LeftAlone::ALL {
            let n = of(self.left.get(&why));
            text += &format!("keepwatch_fix_left_alone{{reason=\"{}\"}} {n}\n", why.as_str());
        }
        text
    }
}
