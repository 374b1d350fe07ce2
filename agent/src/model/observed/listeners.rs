//! Listening sockets by namespace and port: what was accepted there is inbound, and what waits there is the listener's.

use super::socket::{Direction, DirectionFrom, Owner, Socket, SocketId, State};
use std::collections::BTreeMap;

/// Listening sockets, with one of their owners each.
#[derive(Debug, Default)]
pub struct Listeners {
    by_port: BTreeMap<(u32, u16), Vec<Listener>>,
}

#[derive(Clone, Copy, Debug)]
struct Listener {
    id: SocketId,
    owner: Option<Owner>,
}

impl Listeners {
    /// Adds a socket if it listens.
    pub fn add(&mut self, socket: &Socket) {
        if socket.state == State::Listen {
            self.by_port
                .entry(port(socket))
                .or_default()
                .push(Listener { id: socket.id, owner: socket.owner });
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

    /// A process that could accept this connection.
    pub fn owner_of(&self, socket: &Socket) -> Option<Owner> {
        let there = self.by_port.get(&port(socket))?;
        let owner = there.iter().find_map(|listener| listener.owner)?;
        Some(Owner { fd: None, ..owner })
    }
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
        assert_eq!(listeners.owner_of(&elsewhere), None, "another namespace");
        let expected = Some(Owner { pid: 7, fd: None, comm: Comm::default() });
        assert_eq!(listeners.owner_of(&socket()), expected);
        listeners.remove(&listener(1));
        assert_eq!(direction(&listeners), Direction::Inbound);
        listeners.remove(&listener(2));
        assert_eq!(direction(&listeners), Direction::Outbound);
        assert!(listeners.by_port.is_empty());
    }
}
