//! The order in which dead connections make room: those that are worth least first; of one worth, of the owner who has
//! the most of them, with the peer with whom it has the most, the one that died first.

use crate::model::{
    judgement::worth::{Party, Worth},
    observed::socket::SocketId,
};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    net::Ipv6Addr,
};

/// The dead, by worth.
#[derive(Debug, Default)]
pub(super) struct Dead {
    keys: RandomState,
    of_worth: [Parties; Worth::ALL.len()],
}

/// A name as a number.
type OwnerKey = u64;

/// Dead connections that are worth the same.
#[derive(Debug, Default)]
struct Parties {
    n: usize,
    ids: HashMap<(OwnerKey, Ipv6Addr), VecDeque<SocketId>>,
    numbers: HashMap<OwnerKey, usize>,
    /// Owners by their number.
    owners: BTreeSet<(usize, OwnerKey)>,
    /// Of each owner the peers by their number.
    peers: BTreeSet<(OwnerKey, usize, Ipv6Addr)>,
}

impl Dead {
    /// Adds one that died now.
    pub(super) fn push(&mut self, id: SocketId, worth: Worth, party: &Party<'_>) {
        let owner = self.keys.hash_one(&party.owner);
        if let Some(parties) = self.of_worth.get_mut(worth as usize) {
            parties.push(id, owner, party.peer);
        }
    }

    /// Deaths of silence.
    pub(super) fn n_of_silence(&self) -> usize {
        self.of_worth.get(Worth::Silence as usize).map_or(0, |parties| parties.n)
    }

    /// Takes out the one that makes room. `n_kept`: that number of deaths of silence makes room for nothing else.
    pub(super) fn pop(&mut self, n_kept: usize) -> Option<SocketId> {
        Worth::LEAST_FIRST.into_iter().find_map(|worth| {
            let n_kept = if worth == Worth::Silence { n_kept } else { 0 };
            let parties = self.of_worth.get_mut(worth as usize)?;
            if parties.n > n_kept { parties.pop() } else { None }
        })
    }
}

impl Parties {
    fn push(&mut self, id: SocketId, owner: OwnerKey, peer: Ipv6Addr) {
        self.n += 1;
        let ids = self.ids.entry((owner, peer)).or_default();
        ids.push_back(id);
        let n = ids.len();
        self.peers.remove(&(owner, n - 1, peer));
        self.peers.insert((owner, n, peer));
        let number = self.numbers.entry(owner).or_default();
        self.owners.remove(&(*number, owner));
        *number += 1;
        self.owners.insert((*number, owner));
    }

    fn pop(&mut self) -> Option<SocketId> {
        let (n_of_owner, owner) = self.owners.pop_last()?;
        self.n = self.n.saturating_sub(1);
        let of_owner =
            (owner, 0, Ipv6Addr::UNSPECIFIED)..=(owner, usize::MAX, Ipv6Addr::from_bits(u128::MAX));
        let most = *self.peers.range(of_owner).next_back()?;
        self.peers.remove(&most);
        let (_, n, peer) = most;
        if n_of_owner > 1 {
            self.owners.insert((n_of_owner - 1, owner));
            self.numbers.insert(owner, n_of_owner - 1);
        } else {
            self.numbers.remove(&owner);
        }
        let ids = self.ids.get_mut(&(owner, peer))?;
        let id = ids.pop_front();
        if n > 1 {
            self.peers.insert((owner, n - 1, peer));
        } else {
            self.ids.remove(&(owner, peer));
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn push(dead: &mut Dead, id: u64, worth: Worth, owner: &str, peer: u32) {
        let peer = std::net::Ipv4Addr::from_bits(peer).to_ipv6_mapped();
        dead.push(SocketId(id), worth, &Party { owner: Cow::Borrowed(owner), peer });
    }

    fn rest(mut dead: Dead) -> Vec<u64> {
        std::iter::from_fn(|| dead.pop(0)).map(|id| id.0).collect()
    }

    #[test]
    fn what_is_worth_least_goes_first_and_of_that_the_oldest() {
        let mut dead = Dead::default();
        push(&mut dead, 1, Worth::Silence, "a", 1);
        push(&mut dead, 2, Worth::Ordinary, "a", 1);
        push(&mut dead, 3, Worth::Setting, "a", 1);
        push(&mut dead, 4, Worth::Ordinary, "a", 1);
        assert_eq!(rest(dead), [2, 4, 3, 1]);
        let mut dead = Dead::default();
        push(&mut dead, 1, Worth::Silence, "a", 1);
        push(&mut dead, 2, Worth::Ordinary, "a", 1);
        assert_eq!(
            [dead.pop(1), dead.pop(1), dead.pop(0)].map(|id| id.map(|id| id.0)),
            [Some(2), None, Some(1)]
        );
    }

    #[test]
    fn the_owner_with_the_most_makes_room_until_others_have_as_many() {
        let mut dead = Dead::default();
        push(&mut dead, 1, Worth::Ordinary, "a", 1);
        for id in 2..=5 {
            push(&mut dead, id, Worth::Ordinary, "flood", 2);
        }
        push(&mut dead, 6, Worth::Ordinary, "flood", 3);
        let order = rest(dead);
        assert_eq!(order[..3], [2, 3, 4], "with the peer that has the most");
        assert_eq!(order.len(), 6);
    }

    #[test]
    fn nothing_is_left_of_those_that_are_gone() {
        let mut dead = Dead::default();
        for id in 0..10_000 {
            push(&mut dead, u64::from(id), Worth::Ordinary, "a", id % 700);
            if id >= 100 {
                dead.pop(0).unwrap();
            }
        }
        let parties = &dead.of_worth[Worth::Ordinary as usize];
        assert!(parties.ids.len() <= 100 && parties.peers.len() == parties.ids.len());
        assert_eq!((parties.numbers.len(), parties.owners.len()), (1, 1));
        assert_eq!(rest(dead).len(), 100);
    }
}
