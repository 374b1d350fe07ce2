//! Occasions of idle drops: the moments that must be assumed to explain them all.
//!
//! A path forgot a connection at some moment between its last packet and the first one that was never answered. What one
//! moment explains is one occasion, however many connections died: six that died together may be one outage, two that
//! lie apart may not. The rule is that of learned limits.

use super::owner_counts::OwnerCounts;
use crate::model::{
    judgement::{
        death::{Cause, Death},
        idle_limit::PathNumber,
        learned::Span,
    },
    observed::socket::{SocketId, Time},
    table::owner_label::{OwnerLabels, OwnerName},
};
use std::collections::BTreeMap;

/// Rows of owners with a name of their own.
pub const MAX_OCCASIONS: usize = 50;
/// Owners and paths whose last occasion is kept in mind.
const MAX_OPEN: usize = 1000;
/// An occasion longer ago than this makes room for another.
const FORGOTTEN_MS: i64 = 7 * 86_400_000;

/// Idle drops, counted by the moments that explain them.
#[derive(Clone, Debug)]
pub struct Occasions {
    /// Their number, by path and owner.
    pub counts: OwnerCounts<PathNumber>,
    /// The last one of each, in milliseconds of the monotonic clock.
    last: BTreeMap<(PathNumber, OwnerName), i64>,
    other: OwnerName,
}

impl Occasions {
    /// None yet.
    pub fn new(labels: OwnerLabels) -> Self {
        Self {
            counts: OwnerCounts::new(MAX_OCCASIONS, labels.other()),
            last: BTreeMap::new(),
            other: labels.other(),
        }
    }

    /// Names owners by these labels from now on.
    pub(super) fn relabel(&mut self, labels: OwnerLabels) {
        self.counts.relabel(labels);
        let before = std::mem::replace(&mut self.other, labels.other());
        for ((path, owner), at_ms) in std::mem::take(&mut self.last) {
            let owner = if owner == before { self.other.clone() } else { labels.reduced(&owner) };
            let last_ms = self.last.entry((path, owner)).or_insert(at_ms);
            *last_ms = at_ms.max(*last_ms);
        }
    }

    /// Takes a death in: it counts if it is an idle drop that the last occasion does not explain.
    pub fn record(
        &mut self,
        death: &Death,
        path: PathNumber,
        owner: OwnerName,
        at: Time,
        id: SocketId,
    ) {
        if death.cause != Cause::IdleDrop {
            return;
        }
        let unanswered_ms = death.unanswered_ms().unwrap_or_default();
        let ended_ms = milliseconds(at) - i64::from(unanswered_ms);
        let span = Span { began_ms: ended_ms - i64::from(death.quiet_ms), ended_ms };
        let place = (path, self.with_room(path, owner, ended_ms));
        if self.last.get(&place).is_some_and(|&last_ms| !span.is_another_occasion(last_ms)) {
            return;
        }
        let (_, owner) = &place;
        self.counts.add(path, owner.clone(), at, id);
        self.last.insert(place, ended_ms);
    }

    /// The owner, or what all owners past the bound are summed up in.
    fn with_room(&mut self, path: PathNumber, owner: OwnerName, now_ms: i64) -> OwnerName {
        let place = (path, owner);
        if self.last.len() >= MAX_OPEN && !self.last.contains_key(&place) {
            self.last.retain(|_, last_ms| now_ms - *last_ms < FORGOTTEN_MS);
            if self.last.len() >= MAX_OPEN {
                return self.other.clone();
            }
        }
        place.1
    }
}

fn milliseconds(at: Time) -> i64 {
    i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::death::QUIET_MS,
        observed::{
            ending::tests_support::RESET,
            owner_identity::NamedOwner,
            socket::{Comm, Socket, State, tests_support::socket},
        },
    };

    fn at(seconds: u32) -> Time {
        Time(u64::from(seconds) * 1_000_000_000)
    }

    fn owner(number: u8) -> OwnerName {
        let process = Comm::new([number.max(1); 16]);
        OwnerLabels::default().of(&NamedOwner { process, identity: None })
    }

    /// Quiet from one second to another; then its first data met a reset.
    fn dies(occasions: &mut Occasions, whose: u8, since: u32, until: u32) {
        let socket = Socket { silent_ms: (until - since) * 1000, ..socket() };
        let death = Death::of(&socket, State::Established, RESET, None).unwrap();
        occasions.record(&death, 1, owner(whose), at(until), SocketId(1));
    }

    fn counted(occasions: &Occasions) -> u64 {
        occasions.counts.iter().map(|(_, _, n, _)| n).sum()
    }

    #[test]
    fn deaths_that_one_outage_explains_are_one_occasion() {
        let mut occasions = Occasions::new(OwnerLabels::default());
        for until in [1000, 1000, 1000, 1001, 1001, 1060] {
            dies(&mut occasions, 1, until - 400, until);
        }
        assert_eq!(counted(&occasions), 1);
    }

    #[test]
    fn deaths_that_no_single_moment_explains_are_several() {
        let mut occasions = Occasions::new(OwnerLabels::default());
        dies(&mut occasions, 1, 0, 400);
        dies(&mut occasions, 1, 200, 600);
        assert_eq!(counted(&occasions), 1, "an outage at 300 explains both");
        dies(&mut occasions, 1, 410, 800);
        assert_eq!(counted(&occasions), 2, "but not this one");
        dies(&mut occasions, 2, 410, 800);
        assert_eq!(counted(&occasions), 3, "another owner has rows of its own");
    }

    #[test]
    fn other_deaths_are_no_occasion() {
        let mut occasions = Occasions::new(OwnerLabels::default());
        dies(&mut occasions, 1, 0, QUIET_MS / 1000);
        assert_eq!(counted(&occasions), 0, "a reset without much quiet before");
    }

    #[test]
    fn any_number_of_owners_takes_bounded_memory() {
        let mut occasions = Occasions::new(OwnerLabels::default());
        for path in 0..12 {
            for whose in 0..100 {
                let socket = Socket { silent_ms: 400_000, ..socket() };
                let death = Death::of(&socket, State::Established, RESET, None).unwrap();
                occasions.record(&death, path, owner(whose), at(1000), SocketId(1));
            }
        }
        assert!(occasions.last.len() <= MAX_OPEN + 12, "{}", occasions.last.len());
        let n_rows = occasions.counts.iter().count();
        assert!(n_rows <= MAX_OCCASIONS + 12, "{n_rows}");
    }
}
