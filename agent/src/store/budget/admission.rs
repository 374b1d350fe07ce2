//! The choice of what the history takes: all that died of silence, and of everyday life as much as there is room for,
//! without letting anybody's flood take the room of others.

use crate::model::{
    judgement::{
        death::{Death, QUIET_MS},
        verdict::Surroundings,
        worth::{Party, Worth},
    },
    observed::socket::Time,
    table::happening::{Happened, Happening},
};
use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

/// An orderly end of a connection that lived for less says nothing about quiet times.
const SHORT_MS: u64 = 60_000;

/// What a happening is worth in the history; none if it does not belong there.
pub(in crate::store) fn worth(happening: &Happening, around: &Surroundings) -> Option<Worth> {
    match &happening.what {
        Happened::Died(death) => (!is_short(death)).then(|| death.cause.worth()),
        Happened::Setting(call) if call.errno != 0 || happening.is_by_stranger() => {
            Some(Worth::Setting)
        }
        Happened::VerdictChanged { .. } => Some(Worth::Setting),
        Happened::GivenUp if happening.socket.owner.is_none() => None,
        Happened::QuietSurvived { .. } | Happened::DataAnswered { .. } | Happened::GivenUp
            if !around.is_local(&happening.socket) =>
        {
            Some(Worth::Setting)
        }
        _ => None,
    }
}

/// Closed in order, never quiet and never old.
fn is_short(death: &Death) -> bool {
    death.cause.is_orderly()
        && death.quiet_ms < QUIET_MS
        && death.survived_ms < QUIET_MS
        && death.age_ms.is_some_and(|age| age < SHORT_MS)
}

/// The budgets of all records.
#[derive(Debug)]
pub(in crate::store) struct Admission {
    /// By worth.
    budgets: [Budget; Worth::ALL.len()],
}

impl Admission {
    /// Full budgets.
    pub(in crate::store) fn new(now: Time) -> Self {
        let most = |worth| match worth {
            // A path that drops everything at once is news, too, and an outage of a large peer.
            Worth::Silence => 10_000,
            Worth::Setting | Worth::Ordinary => 1000,
        };
        Self { budgets: Worth::ALL.map(|worth| Budget::new(most(worth), now)) }
    }

    /// Whether one more record of this worth is within its budget.
    pub(in crate::store) fn allows(
        &mut self,
        worth: Worth,
        happening: &Happening,
        now: Time,
    ) -> bool {
        let party = Party::of(&happening.socket, happening.identity.as_deref());
        // As many budgets as worths.
        self.budgets.get_mut(worth as usize).is_none_or(|budget| budget.allows(&party, now))
    }
}

/// A hundred a second on average, and `most` at once. Who floods it finds it empty before others do.
#[derive(Debug)]
struct Budget {
    most: u32,
    left: u32,
    filled: Time,
    recent: Recent,
}

impl Budget {
    const A_SECOND: u64 = 100;

    fn new(most: u32, now: Time) -> Self {
        Self { most, left: most, filled: now, recent: Recent::new(now) }
    }

    fn allows(&mut self, party: &Party<'_>, now: Time) -> bool {
        let due = now.ms_since(self.filled).saturating_mul(Self::A_SECOND) / 1000;
        if due > 0 {
            let due = u32::try_from(due).unwrap_or(self.most);
            self.left = self.left.saturating_add(due).min(self.most);
            self.filled = now;
        }
        let reserved = match self.recent.see(party, now) {
            FloodBy::Nobody => 0,
            FloodBy::Either => self.most / 4,
            FloodBy::Both => self.most / 2,
        };
        let allows = self.left > reserved;
        self.left -= u32::from(allows);
        allows
    }
}

/// What of a party has more records than others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FloodBy {
    Nobody,
    /// Its owner has, with other peers; or its peer, with other owners.
    Either,
    /// This owner with this peer.
    Both,
}

/// The numbers of records of late, by owner, by peer, and by both.
#[derive(Debug)]
struct Recent {
    keys: RandomState,
    numbers: HashMap<u64, u32>,
    halved: Time,
}

impl Recent {
    /// More than this in about a minute is a flood.
    const MANY: u32 = 100;
    const HALF_LIFE_MS: u64 = 30_000;
    /// Numbers at most. Of parties that come when there are as many nothing is counted: they share the budget.
    const MOST: usize = 16_384;

    fn new(now: Time) -> Self {
        Self { keys: RandomState::new(), numbers: HashMap::new(), halved: now }
    }

    fn see(&mut self, party: &Party<'_>, now: Time) -> FloodBy {
        let half_lives = now.ms_since(self.halved) / Self::HALF_LIFE_MS;
        if half_lives > 0 {
            self.halved = now;
            self.numbers.retain(|_, number| {
                *number =
                    number.checked_shr(u32::try_from(half_lives).unwrap_or(u32::MAX)).unwrap_or(0);
                *number > 0
            });
            self.numbers.shrink_to_fit();
        }
        let Party { owner, peer } = party;
        let keys = [
            self.keys.hash_one((owner, peer)),
            self.keys.hash_one(("owner", owner)),
            self.keys.hash_one(("peer", peer)),
        ];
        let [both, of_owner, of_peer] = keys.map(|key| self.is_many(key));
        match (both, of_owner || of_peer) {
            (true, _) => FloodBy::Both,
            (false, true) => FloodBy::Either,
            (false, false) => FloodBy::Nobody,
        }
    }

    fn is_many(&mut self, key: u64) -> bool {
        if self.numbers.len() >= Self::MOST && !self.numbers.contains_key(&key) {
            return false;
        }
        let number = self.numbers.entry(key).or_default();
        *number = number.saturating_add(1);
        *number > Self::MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    const fn at_ms(ms: u64) -> Time {
        Time((1_000_000 + ms) * 1_000_000)
    }

    fn party(owner: &str, peer: u32) -> Party<'_> {
        let peer = std::net::Ipv4Addr::from_bits(peer).to_ipv6_mapped();
        Party { owner: Cow::Borrowed(owner), peer }
    }

    /// A minute in which each party of `flood` has a thousand records a second, and the other one each five seconds:
    /// what is kept of both.
    fn minute<'a>(flood: impl Fn(u64) -> Party<'a>, other: &Party<'_>) -> (u32, u32) {
        let mut budget = Budget::new(1000, at_ms(0));
        let (mut n_flood, mut n_other) = (0, 0);
        for ms in 0..60_000 {
            n_flood += u32::from(budget.allows(&flood(ms), at_ms(ms)));
            if ms % 5000 == 4999 {
                n_other += u32::from(budget.allows(other, at_ms(ms)));
            }
        }
        (n_flood, n_other)
    }

    #[test]
    fn a_flood_is_kept_within_the_budget_and_takes_nothing_from_others() {
        for other in [party("b", 2), party("b", 1), party("a", 2)] {
            let (n_flood, n_other) = minute(|_| party("a", 1), &other);
            assert!((6000..=7000).contains(&n_flood), "{n_flood}");
            assert_eq!(n_other, 12, "{other:?}");
        }
    }

    #[test]
    fn nor_does_one_over_many_addresses_or_of_many_owners() {
        let peer = |ms: u64| party("a", u32::try_from(ms).unwrap());
        assert_eq!(minute(peer, &party("b", 70_000)).1, 12);
        let names: Vec<String> = (0..60_000).map(|n| format!("owner {n}")).collect();
        let owner = |ms: u64| party(&names[usize::try_from(ms).unwrap()], 1);
        assert_eq!(minute(owner, &party("b", 2)).1, 12);
    }

    #[test]
    fn without_a_flood_a_burst_is_kept_whole() {
        let mut budget = Budget::new(1000, at_ms(0));
        let all = (0..1000).all(|n| budget.allows(&party("a", n % 500), at_ms(0)));
        assert!(!all, "one owner leaves a quarter to others");
        let names: Vec<String> = (0..50).map(|n| format!("owner {n}")).collect();
        let mut budget = Budget::new(1000, at_ms(0));
        let mut each = (0..1000u32).map(|n| party(&names[n as usize % 50], n));
        assert!(each.all(|party| budget.allows(&party, at_ms(0))));
    }

    #[test]
    fn what_is_counted_is_bounded_and_forgotten() {
        let mut recent = Recent::new(at_ms(0));
        for n in 0..100_000 {
            recent.see(&party("a", n), at_ms(0));
        }
        assert!(recent.numbers.len() <= Recent::MOST);
        assert_eq!(recent.see(&party("a", 1), at_ms(1)), FloodBy::Either);
        assert_eq!(recent.see(&party("a", 1), at_ms(30 * 60_000)), FloodBy::Nobody);
        assert_eq!(recent.numbers.len(), 3);
    }
}
