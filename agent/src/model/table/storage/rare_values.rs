//! What few slots have, kept beside them by number: the address of a peer that is not IPv4, what is being repeated or
//! could not be sent or was not read, what ICMP said of it, when the peer closed its half, and what waits in the queue of a listener.

use crate::model::observed::{peer_closed::PeerClosed, socket::Socket};
use std::net::Ipv6Addr;

/// What a slot without a number of these has: an IPv4 peer, and nothing else of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rare {
    pub(super) remote: Ipv6Addr,
    pub(super) retransmitting_ms: Option<u32>,
    pub(super) peer_closed: Option<PeerClosed>,
    pub(super) could_not_send: bool,
    pub(super) fin_only: bool,
    pub(super) unread_ms: Option<u32>,
    pub(super) soft_errno: u16,
    pub(super) n_queued: u8,
    pub(super) n_listeners: u8,
}

impl Rare {
    const NONE: Self = Self::of_peer(Ipv6Addr::UNSPECIFIED);

    /// That of a socket.
    pub(super) const fn of(socket: &Socket) -> Self {
        Self {
            remote: socket.remote.addr,
            retransmitting_ms: socket.retransmitting_ms,
            peer_closed: socket.peer_closed,
            could_not_send: socket.could_not_send,
            fin_only: socket.fin_only,
            unread_ms: socket.unread_ms,
            soft_errno: socket.soft_errno,
            n_queued: socket.n_queued,
            n_listeners: socket.n_listeners,
        }
    }

    /// That of a socket of which only the peer is known.
    pub(super) const fn of_peer(remote: Ipv6Addr) -> Self {
        Self {
            remote,
            retransmitting_ms: None,
            peer_closed: None,
            could_not_send: false,
            fin_only: false,
            unread_ms: None,
            soft_errno: 0,
            n_queued: 0,
            n_listeners: 0,
        }
    }
}

/// Rare values by number. The holder of a number gives it back; nobody shares one.
#[derive(Debug, Default)]
pub(super) struct RareValues {
    values: Vec<Rare>,
    free: Vec<u32>,
}

impl RareValues {
    /// Puts a value in the place of the one with this number, or in a new one. The number of that place.
    pub(super) fn put(&mut self, before: Option<u32>, value: Rare) -> u32 {
        let number = before.or_else(|| self.free.pop()).unwrap_or_else(|| {
            self.values.push(value);
            // There are no more of them than slots, whose numbers are u32 too.
            u32::try_from(self.values.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.values.get_mut(index(number)) {
            *place = value;
        }
        number
    }

    /// Gives a number back.
    pub(super) fn give_back(&mut self, number: u32) {
        self.free.push(number);
        if self.free.len() == self.values.len() {
            *self = Self::default();
        }
    }

    /// The values with a number.
    pub(super) fn get(&self, number: u32) -> Rare {
        self.values.get(index(number)).copied().unwrap_or(Rare::NONE)
    }

    #[cfg(test)]
    pub(super) const fn len(&self) -> (usize, usize) {
        (self.values.len() - self.free.len(), self.values.len())
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rare(retransmitting_ms: u32) -> Rare {
        Rare { retransmitting_ms: Some(retransmitting_ms), ..Rare::NONE }
    }

    #[test]
    fn a_place_is_its_holders_alone_and_used_again_when_it_was_given_back() {
        let mut values = RareValues::default();
        let (first, second) = (values.put(None, rare(1)), values.put(None, rare(2)));
        assert_eq!(values.put(Some(first), rare(3)), first);
        assert_eq!((values.get(first), values.get(second)), (rare(3), rare(2)));
        values.give_back(first);
        assert_eq!(values.put(None, rare(4)), first);
        assert_eq!((values.get(second), values.len()), (rare(2), (2, 2)));
    }

    #[test]
    fn memory_is_given_back_with_the_last_of_them() {
        let mut values = RareValues::default();
        let numbers: Vec<u32> = (0..1000).map(|ms| values.put(None, rare(ms))).collect();
        for number in numbers {
            values.give_back(number);
        }
        assert_eq!(values.len(), (0, 0));
    }
}
