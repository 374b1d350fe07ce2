//! Counts of what has happened since the agent's start, by label.

pub mod occasions;
mod owner_counts;

use self::{occasions::Occasions, owner_counts::OwnerCounts};
use super::{
    happening::{Happened, Happening},
    histogram::Distribution,
    owner_label::{OwnerLabels, OwnerName},
};
use crate::model::{
    judgement::{
        death::{Cause, Death},
        idle_limit::PathNumber,
        verdict::{Surroundings, Verdict},
    },
    observed::{
        setsockopt::{Call, SockOpt},
        socket::Direction,
    },
};
use std::collections::BTreeMap;

/// Upper bounds of the histogram of quiet times before death, seconds: the real idle limits.
pub const QUIET_BOUNDS: &[u32] =
    &[1, 5, 15, 30, 60, 120, 240, 300, 350, 600, 900, 1800, 3600, 7200];

/// Rows of deaths of owners with a name of their own.
pub const MAX_DEATHS: usize = 150;
/// Rows of setsockopt calls of owners with a name of their own.
pub const MAX_CALLS: usize = 100;
/// Everything that has been counted.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Ended connections, by cause and by what keepalive did for them.
    pub deaths: OwnerCounts<(Direction, Cause, Verdict, PathNumber)>,
    /// Moments that explain those of them that were idle drops.
    pub occasions: Occasions,
    /// Quiet times before them.
    pub quiet_before_death: BTreeMap<Cause, Distribution>,
    /// Calls of setsockopt, by error number.
    pub calls: OwnerCounts<(SockOpt, u16)>,
    /// Settings that changed without a call.
    pub changed: BTreeMap<SockOpt, u64>,
    /// Times that probes were answered.
    pub n_answered: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new(OwnerLabels::default())
    }
}

impl Counters {
    /// All counts at 0.
    pub fn new(labels: OwnerLabels) -> Self {
        Self {
            deaths: OwnerCounts::new(MAX_DEATHS, labels.other()),
            occasions: Occasions::new(labels),
            quiet_before_death: BTreeMap::new(),
            calls: OwnerCounts::new(MAX_CALLS, labels.other()),
            changed: BTreeMap::new(),
            n_answered: 0,
        }
    }

    /// Names owners by these labels from now on.
    pub(super) fn relabel(&mut self, labels: OwnerLabels) {
        self.deaths.relabel(labels);
        self.occasions.relabel(labels);
        self.calls.relabel(labels);
    }

    /// Takes an event in.
    pub fn record(
        &mut self,
        happening: &Happening,
        around: &Surroundings,
        owner: impl Fn() -> OwnerName,
    ) {
        let Happening { at, socket, what, .. } = happening;
        match what {
            Happened::Died(death) => {
                let Death { cause, quiet_ms, .. } = death;
                let (verdict, path) = (around.verdict(socket), around.path(socket));
                let key = (socket.direction, *cause, verdict, path);
                let owner = owner();
                self.occasions.record(death, path, owner.clone(), *at, socket.id);
                self.deaths.add(key, owner, *at, socket.id);
                self.quiet_before_death
                    .entry(*cause)
                    .or_insert_with(|| Distribution::new(QUIET_BOUNDS))
                    .add(u64::from(quiet_ms / 1000));
            }
            Happened::Setting(Call { option, errno, .. }) => {
                self.calls.add((*option, *errno), owner(), *at, socket.id);
            }
            Happened::Changed { option, .. } => *self.changed.entry(*option).or_default() += 1,
            Happened::ProbeAnswered { .. } => self.n_answered += 1,
            Happened::Opened
            | Happened::ProbeSent
            | Happened::TimerFired(_)
            | Happened::QuietSurvived { .. }
            | Happened::DataAnswered { .. }
            | Happened::VerdictChanged { .. }
            | Happened::GivenUp => {}
        }
    }
}
