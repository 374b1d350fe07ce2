//! Listening sockets by namespace and port: what was accepted there is inbound, and what waits there is the listener's.

use super::socket::{Direction, DirectionFrom, Owner, Socket, SocketId, State, Time};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
};

/// Listening sockets.
#[derive(Debug, Default)]
pub struct Listeners {
    by_port: BTreeMap<(u32, u16), Vec<Listener>>,
}

/// A listening socket.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// It.
    pub id: SocketId,
    /// One of its owners.
    pub owner: Option<Owner>,
    addr: Ipv6Addr,
    /// Connections in its queue, and when that was so.
    n_queued: u8,
    at: Time,
}

impl Listener {
    /// Whether this connection can be in its queue: not if that was empty while the connection waited.
    fn may_hold(&self, socket: &Socket) -> bool {
        self.n_queued > 0 || self.at < socket.at.ms_before(socket.unaccepted_ms())
    }
}

impl Listeners {
    /// Adds a socket if it listens.
    pub fn add(&mut self, socket: &Socket) {
        if socket.state == State::Listen {
            let Socket { id, owner, at, n_queued, .. } = *socket;
            let listener = Listener { id, owner, addr: socket.local.addr, n_queued, at };
            self.by_port.entry(port(socket)).or_default().push(listener);
        }
    }

    /// Removes a socket if it listens.
    pub fn remove(&mut self, socket: &Socket) {
        if socket.state == State::Listen
            && let Some(there) = self.by_port.get_mut(&port(socket))
        {
            there.retain(|listener| listener.id != socket.id);
            if there.is_empty() {
                self.by_port.remove(&port(socket));
            }
        }
    }

    /// Corrects a direction that was inferred: `listen(fd, 0)` leaves no backlog to infer from; the listener itself does.
    pub fn infer_direction(&self, socket: &mut Socket) {
        if socket.direction_from == DirectionFrom::Inferred
            && socket.is_connection()
            && self.by_port.contains_key(&port(socket))
        {
            socket.direction = Direction::Inbound;
        }
    }

    /// The listening sockets in one of whose accept queues this connection waits. The kernel prefers those at its own address
    /// (`inet_lookup_listener` in net/ipv4/inet_hashtables.c), and of several with SO_REUSEPORT takes any. The connection does
    /// not show which, but the lengths of their queues may.
    pub fn of(&self, socket: &Socket) -> Vec<Listener> {
        let there = self.by_port.get(&port(socket)).map(Vec::as_slice).unwrap_or_default();
        let at = |addr: Ipv6Addr| -> Vec<Listener> {
            there.iter().filter(|listener| listener.addr == addr).copied().collect()
        };
        let any_ipv4 = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
        let mut ranks = vec![socket.local.addr, Ipv6Addr::UNSPECIFIED];
        if socket.local.is_ipv4() {
            ranks.insert(1, any_ipv4);
        }
        let found = ranks.into_iter().map(at).find(|found| !found.is_empty()).unwrap_or_default();
        let may: Vec<Listener> = found.iter().filter(|it| it.may_hold(socket)).copied().collect();
        if may.is_empty() { found } else { may }
    }
}

impl Socket {
    /// The number of listening sockets in one of whose queues it waits.
    pub fn waits_at(&self) -> Option<u8> {
        Some(self.n_listeners).filter(|n| *n > 0 && self.is_unaccepted)
    }
}

/// Gives a connection that waits to be accepted the first of the owners of the sockets that listen for it, and returns the
/// others. Of several sockets whose owners are not alike, none counts: nobody can tell whose it will be.
pub fn share(
    socket: &mut Socket,
    listeners: &[Listener],
    owners: impl Iterator<Item = Owner>,
    is_alike: impl Fn(&Owner, &Owner) -> bool,
) -> Vec<Owner> {
    let ids: BTreeSet<SocketId> = listeners.iter().map(|listener| listener.id).collect();
    socket.n_listeners = u8::try_from(ids.len()).unwrap_or(u8::MAX);
    let owners: BTreeSet<Owner> = owners.map(|owner| Owner { fd: None, ..owner }).collect();
    let mut owners: Vec<Owner> = owners.into_iter().collect();
    let are_alike = owners.windows(2).all(|two| matches!(two, [a, b] if is_alike(a, b)));
    let is_clear = !owners.is_empty() && (ids.len() <= 1 || are_alike);
    socket.owner = is_clear.then(|| owners.remove(0));
    owners
}

const fn port(socket: &Socket) -> (u32, u16) {
    (socket.netns, socket.local.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::socket::{Comm, Endpoint, tests_support::socket};

    #[test]
    fn what_is_accepted_at_a_listener_is_inbound_and_its_own_until_the_last_one_is_gone() {
        let owner = Some(Owner { pid: 7, fd: Some(3), comm: Comm::default() });
        let remote = Endpoint { port: 0, ..socket().remote };
        let listener =
            |id| Socket { id: SocketId(id), state: State::Listen, owner, remote, ..socket() };
        let mut listeners = Listeners::default();
        listeners.add(&socket());
        let direction = |listeners: &Listeners| {
            let mut child = socket();
            listeners.infer_direction(&mut child);
            child.direction
        };
        assert_eq!(direction(&listeners), Direction::Outbound);
        listeners.add(&listener(1));
        listeners.add(&listener(2));
        assert_eq!(direction(&listeners), Direction::Inbound);
        let elsewhere = Socket { netns: 3, ..socket() };
        assert!(listeners.of(&elsewhere).is_empty(), "another namespace");
        let ids = |listeners: &Listeners| -> Vec<u64> {
            listeners.of(&socket()).iter().map(|listener| listener.id.0).collect()
        };
        assert_eq!(ids(&listeners), [1, 2], "no socket shows which");
        listeners.remove(&listener(1));
        assert_eq!(direction(&listeners), Direction::Inbound);
        listeners.remove(&listener(2));
        assert_eq!(direction(&listeners), Direction::Outbound);
        assert!(listeners.by_port.is_empty());
    }

    #[test]
    fn a_connection_waits_at_the_listener_of_its_own_address_before_one_of_any() {
        let at = |id, addr: &str| {
            let remote = Endpoint { port: 0, ..socket().remote };
            let local = Endpoint { addr: addr.parse().unwrap(), ..socket().local };
            Socket { id: SocketId(id), state: State::Listen, remote, local, ..socket() }
        };
        let mut listeners = Listeners::default();
        let found = |listeners: &Listeners, socket: &Socket| -> Vec<u64> {
            listeners.of(socket).iter().map(|listener| listener.id.0).collect()
        };
        listeners.add(&at(1, "::"));
        assert_eq!(found(&listeners, &socket()), [1]);
        listeners.add(&at(2, "::ffff:0.0.0.0"));
        listeners.add(&at(3, "::ffff:127.0.0.1"));
        assert_eq!(found(&listeners, &socket()), [2]);
        listeners.add(&at(4, "::ffff:10.0.0.5"));
        assert_eq!(found(&listeners, &socket()), [4]);
        let v6 = Endpoint { addr: "2001:db8::5".parse().unwrap(), ..socket().local };
        assert_eq!(found(&listeners, &Socket { local: v6, ..socket() }), [1]);
    }

    #[test]
    fn a_listener_whose_queue_was_empty_meanwhile_does_not_have_it() {
        let at = |id, n_queued, seconds: u64| {
            let remote = Endpoint { port: 0, ..socket().remote };
            let at = socket().at.ms_after(seconds * 1000);
            Socket { id: SocketId(id), state: State::Listen, remote, n_queued, at, ..socket() }
        };
        let waits = Socket { at: socket().at.ms_after(10_000), silent_ms: 5_000, ..socket() };
        let found = |listeners: [Socket; 3]| -> Vec<u64> {
            let mut all = Listeners::default();
            for listener in &listeners {
                all.add(listener);
            }
            all.of(&waits).iter().map(|listener| listener.id.0).collect()
        };
        assert_eq!(found([at(1, 0, 9), at(2, 3, 9), at(3, 0, 9)]), [2]);
        assert_eq!(found([at(1, 1, 9), at(2, 3, 9), at(3, 0, 9)]), [1, 2]);
        // It was looked at before the connection came.
        assert_eq!(found([at(1, 0, 4), at(2, 3, 9), at(3, 0, 9)]), [1, 2]);
        assert_eq!(found([at(1, 0, 9), at(2, 0, 9), at(3, 0, 9)]), [1, 2, 3]);
    }
}
