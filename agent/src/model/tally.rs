//! What has happened since the agent's start, counted by label: counters only go up, so a name that
//! was shown once stays, and what comes after the budget is spent is summed up.

use super::{
    call::{Call, SockOpt},
    death::{Cause, Death},
    moment::{Moment, What},
    snapshot::{Distribution, OTHER, UNKNOWN},
    socket::{Comm, Direction},
    verdict::{Policy, Verdict},
};
use std::{collections::BTreeMap, fmt};

/// Upper bounds of the histogram of quiet times before death, seconds: the real idle limits.
pub const QUIET_BOUNDS: &[u32] =
    &[1, 5, 15, 30, 60, 120, 240, 300, 350, 600, 900, 1800, 3600, 7200];

/// Rows of deaths with a process name of their own.
pub const MAX_DEATHS: usize = 150;
/// Rows of setsockopt calls with a process name of their own.
pub const MAX_CALLS: usize = 100;

/// A process name in a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// This one; empty is unknown.
    Of(Comm),
    /// One of those past the budget.
    Other,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(comm) if *comm == Comm::default() => f.write_str(UNKNOWN),
            Self::Of(comm) => f.write_str(&comm.escaped()),
            Self::Other => f.write_str(OTHER),
        }
    }
}

/// Counts by key, of which at most so many have a name of their own.
#[derive(Clone, Debug)]
pub struct Counts<K> {
    max: usize,
    rows: BTreeMap<(K, Name), u64>,
}

impl<K: Ord + Copy> Counts<K> {
    const fn new(max: usize) -> Self {
        Self { max, rows: BTreeMap::new() }
    }

    fn add(&mut self, key: K, name: Comm) {
        if let Some(n) = self.rows.get_mut(&(key, Name::Of(name))) {
            *n += 1;
            return;
        }
        let name = if self.rows.len() < self.max { Name::Of(name) } else { Name::Other };
        *self.rows.entry((key, name)).or_default() += 1;
    }

    /// Every row.
    pub fn iter(&self) -> impl Iterator<Item = (K, Name, u64)> {
        self.rows.iter().map(|(&(key, name), &n)| (key, name, n))
    }
}

/// Everything that has been counted.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Ends of connections.
    pub deaths: Counts<(Direction, Cause, Verdict)>,
    /// Quiet times before them.
    pub quiet_before_death: BTreeMap<Cause, Distribution>,
    /// Calls of setsockopt, by error number.
    pub calls: Counts<(SockOpt, u16)>,
    /// Settings that changed without a call.
    pub changed: BTreeMap<SockOpt, u64>,
    /// Times that probes were answered.
    pub n_answered: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            deaths: Counts::new(MAX_DEATHS),
            quiet_before_death: BTreeMap::new(),
            calls: Counts::new(MAX_CALLS),
            changed: BTreeMap::new(),
            n_answered: 0,
        }
    }
}

impl Tally {
    /// Takes a moment in.
    pub fn record(&mut self, moment: &Moment, policy: &Policy) {
        let Moment { socket, what, .. } = moment;
        let name = socket.owner.map(|owner| owner.comm).unwrap_or_default();
        match what {
            What::Died(Death { cause, quiet_ms, .. }) => {
                self.deaths.add((socket.direction, *cause, policy.verdict(socket)), name);
                self.quiet_before_death
                    .entry(*cause)
                    .or_insert_with(|| Distribution::new(QUIET_BOUNDS))
                    .add(u64::from(quiet_ms / 1000));
            }
            What::Setting(Call { option, errno, .. }) => self.calls.add((*option, *errno), name),
            What::Changed { option, .. } => *self.changed.entry(*option).or_default() += 1,
            What::ProbeAnswered { .. } => self.n_answered += 1,
            What::Opened | What::ProbeSent | What::TimerFired(_) | What::QuietSurvived { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_budget_names_are_summed_up_and_no_count_is_lost() {
        let mut counts = Counts::new(2);
        for n in 0..10_u8 {
            counts.add((), Comm::new([n; 16]));
            counts.add((), Comm::new([0; 16]));
        }
        let rows: Vec<_> = counts.iter().collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows.iter().map(|(.., n)| n).sum::<u64>(), 20);
        assert_eq!(rows.last().map(|&((), name, n)| (name, n)), Some((Name::Other, 8)));
    }
}
