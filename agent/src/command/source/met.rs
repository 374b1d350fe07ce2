//! What a walk has met: each socket once, with all its owners, and how many of each network namespace.

use crate::model::observed::socket::{Owner, Socket, SocketId, State};
use std::collections::BTreeMap;

/// What was met of the host.
#[derive(Debug, Default)]
pub(super) struct MetSockets {
    ids: SocketSet,
    /// How many that listen or are connected, by the inode number of their network namespace.
    n_open: BTreeMap<u32, u64>,
}

impl MetSockets {
    pub(super) fn add(&mut self, socket: &Socket) {
        if self.ids.insert(socket.id) && socket.state != State::Close {
            *self.n_open.entry(socket.netns).or_default() += 1;
        }
    }

    pub(super) fn contains(&self, id: SocketId) -> bool {
        self.ids.contains(id)
    }

    /// Whether a network namespace has more than were met, or may have.
    pub(super) fn lacks_some(&self, netns: Option<u32>, n_all: Option<u64>) -> bool {
        let n_met = netns.and_then(|netns| self.n_open.get(&netns).copied()).unwrap_or_default();
        n_all.is_none_or(|n_all| n_all > n_met)
    }
}

/// Sockets that several processes have, until all of these are known.
#[derive(Debug, Default)]
pub(super) struct SharedSockets {
    waiting: BTreeMap<SocketId, (Socket, Vec<Owner>)>,
    /// Those that wait, and those that were passed on.
    taken: SocketSet,
}

impl SharedSockets {
    /// Takes what was met with one of its owners. False if it is to be passed on now: nobody else has it.
    /// A process may fork during the walk, and its child may execute another program: then a socket that was passed on is met again, or
    /// one that waits is nobody else's any more. Either way it is one socket.
    pub(super) fn keeps(&mut self, socket: &Socket) -> bool {
        let is_first = self.taken.insert(socket.id);
        if socket.shared && is_first {
            self.waiting.insert(socket.id, (*socket, Vec::new()));
        }
        match self.waiting.get_mut(&socket.id) {
            Some((_, owners)) => owners.extend(socket.owner),
            None => return !is_first,
        }
        true
    }

    /// Those that wait, with all their owners.
    pub(super) fn waiting(self) -> impl Iterator<Item = (Socket, Vec<Owner>)> {
        self.waiting.into_values()
    }
}

/// Ids of sockets. Those that were made one after the other lie side by side: a bit each.
#[derive(Debug, Default)]
pub(super) struct SocketSet {
    words: BTreeMap<u64, u64>,
}

impl SocketSet {
    const fn place(SocketId(id): SocketId) -> (u64, u64) {
        (id / 64, 1 << (id % 64))
    }

    /// Adds a socket. Whether it is new.
    pub(super) fn insert(&mut self, id: SocketId) -> bool {
        let (word, bit) = Self::place(id);
        let word = self.words.entry(word).or_default();
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    pub(super) fn contains(&self, id: SocketId) -> bool {
        let (word, bit) = Self::place(id);
        self.words.get(&word).is_some_and(|word| word & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::socket::{Comm, tests_support::socket};

    #[test]
    fn a_socket_whose_process_forks_or_executes_during_the_walk_is_passed_on_once() {
        let owner = |pid| Some(Owner { pid, fd: None, comm: Comm::new([0; 16]) });
        let seen = |pid, shared| Socket { id: SocketId(1), owner: owner(pid), shared, ..socket() };
        let mut walk = SharedSockets::default();
        assert!(!walk.keeps(&seen(1, false)), "nobody else has it");
        assert!(walk.keeps(&seen(2, true)), "a child was forked since");
        assert!(walk.waiting.is_empty());

        let mut walk = SharedSockets::default();
        assert!(walk.keeps(&seen(1, true)));
        assert!(walk.keeps(&seen(2, false)), "its child has executed a program since");
        assert_eq!(walk.waiting[&SocketId(1)].1, [1, 2].map(|pid| owner(pid).expect("one")));
    }

    #[test]
    fn a_namespace_lacks_what_its_count_has_more() {
        let mut met = MetSockets::default();
        let of = |id, netns, state| Socket { id: SocketId(id), netns, state, ..socket() };
        for one in [of(1, 7, State::Listen), of(2, 7, State::Established), of(3, 7, State::Close)] {
            met.add(&one);
            met.add(&one);
        }
        assert!(!met.lacks_some(Some(7), Some(2)) && met.lacks_some(Some(7), Some(3)));
        assert!(!met.lacks_some(Some(8), Some(0)) && met.lacks_some(Some(8), Some(1)));
        assert!(met.lacks_some(Some(7), None), "the count is not known");
    }

    #[test]
    fn a_set_knows_what_it_was_given() {
        let mut set = SocketSet::default();
        let ids = [0, 1, 63, 64, u64::MAX].map(SocketId);
        assert!(ids.iter().all(|id| set.insert(*id)));
        assert!(!ids.iter().any(|id| set.insert(*id)));
        assert!(ids.iter().all(|id| set.contains(*id)));
        assert!(![2, 65, u64::MAX - 1].map(SocketId).iter().any(|id| set.contains(*id)));
    }
}
