//! The connections of a command, and how each was at its end. The hooks report those of the command's
//! processes alone.

use super::checked_connection::CheckedConnection;
use crate::model::{
    judgement::{check_policy::RefusedSetting, verdict::Surroundings},
    observed::{
        event::Event,
        setsockopt::Call,
        socket::{Direction, DirectionFrom, Socket, SocketId, State},
    },
};
use std::collections::HashMap;

/// Sockets that were refused a setting before they connected, or that never do.
const MAX_UNCONNECTED: usize = 4096;

/// A socket as it was sampled last, with the settings that were refused.
#[derive(Clone, Debug)]
pub(super) struct Sampled {
    pub(super) socket: Socket,
    pub(super) refused: Vec<RefusedSetting>,
    /// It was established at some time.
    is_established: bool,
    /// It was not seen to connect.
    is_unconnected: bool,
}

impl Sampled {
    const fn new(socket: Socket, refused: Vec<RefusedSetting>) -> Self {
        Self { socket, refused, is_established: false, is_unconnected: false }
    }

    /// What there is to judge.
    pub(super) fn judged(self, around: &Surroundings) -> CheckedConnection {
        let Self { socket, refused, is_unconnected, .. } = self;
        let judged = CheckedConnection::of_socket(&socket, socket.owner.as_slice(), None, around);
        CheckedConnection { refused, only_refused: is_unconnected, ..judged }
    }
}

/// What is known of the command's connections.
#[derive(Debug, Default)]
pub(super) struct Followed {
    live: HashMap<SocketId, Sampled>,
    /// By inode number: an unconnected socket has no id.
    unconnected: HashMap<u32, Sampled>,
    /// Attempts that ended before a connection was established.
    pub(super) n_never_connected: u64,
}

impl Followed {
    /// Takes an event. Returns the connection that ends with it.
    pub(super) fn apply(&mut self, event: &Event) -> Option<Sampled> {
        match *event {
            Event::StateChange { socket, old: State::Close, .. }
                if socket.state == State::SynSent =>
            {
                self.connects(socket);
                None
            }
            Event::StateChange { socket, .. } if socket.state == State::Close => {
                self.update(socket);
                self.end(socket.id)
            }
            Event::Destroyed(socket) => self.end(socket.id),
            Event::StateChange { socket, .. }
            | Event::Fired { socket, .. }
            | Event::Found(socket)
            | Event::Seen(socket) => {
                self.update(socket);
                None
            }
            Event::Gone { .. } => None,
            Event::Called { socket, call } => {
                self.called(socket, call);
                None
            }
        }
    }

    fn connects(&mut self, socket: Socket) {
        let unconnected = self.unconnected.remove(&socket.inode);
        let refused = unconnected.map(|sampled| sampled.refused).unwrap_or_default();
        let (direction, direction_from) = (Direction::Outbound, DirectionFrom::Seen);
        let socket = Socket { direction, direction_from, ..socket };
        self.live.insert(socket.id, Sampled::new(socket, refused));
    }

    /// The last sample counts; who connected, and to whom, stays.
    fn update(&mut self, socket: Socket) {
        if let Some(sampled) = self.live.get_mut(&socket.id) {
            let before = &sampled.socket;
            if socket.at < before.at {
                return;
            }
            sampled.is_established |= socket.state == State::Established;
            sampled.socket = Socket {
                local: if socket.local.port == 0 { before.local } else { socket.local },
                remote: before.remote,
                direction: before.direction,
                direction_from: before.direction_from,
                owner: before.owner,
                ..socket
            };
        }
    }

    fn called(&mut self, socket: Socket, call: Call) {
        self.update(socket);
        let Some(setting) = RefusedSetting::of(&call) else {
            return;
        };
        if let Some(sampled) = self.live.get_mut(&socket.id) {
            sampled.refused.push(setting);
        } else if let Some(sampled) = self.unconnected.get_mut(&socket.inode) {
            sampled.refused.push(setting);
        } else if self.unconnected.len() < MAX_UNCONNECTED {
            let sampled = Sampled { is_unconnected: true, ..Sampled::new(socket, vec![setting]) };
            self.unconnected.insert(socket.inode, sampled);
        }
    }

    /// Skips a connection that was never established: nothing could be quiet there.
    fn end(&mut self, id: SocketId) -> Option<Sampled> {
        let sampled = self.live.remove(&id)?;
        if !sampled.is_established {
            self.n_never_connected += 1;
            return None;
        }
        Some(sampled)
    }

    /// Whether some still live.
    pub(super) fn has_live(&self) -> bool {
        !self.live.is_empty()
    }

    /// Those that live to the end, and sockets that were refused a setting and never connected.
    pub(super) fn rest(&mut self) -> Vec<Sampled> {
        let ids: Vec<SocketId> = self.live.keys().copied().collect();
        let live = ids.into_iter().filter_map(|id| self.end(id)).collect::<Vec<_>>();
        let unconnected = std::mem::take(&mut self.unconnected).into_values();
        live.into_iter().chain(unconnected).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::{
        ending::Ending,
        setsockopt::{SockOpt, When},
        socket::{Time, tests_support::socket},
    };

    fn at(second: u64, state: State) -> Socket {
        Socket { at: Time(second * 1_000_000_000), state, inode: 77, ..socket() }
    }

    fn change(socket: Socket, old: State) -> Event {
        Event::StateChange { socket, old, ending: Ending::default() }
    }

    fn refused(socket: Socket) -> Event {
        let call = Call {
            option: SockOpt::Idle,
            value: Some(0),
            errno: 22,
            by: None,
            when: When::BeforeConnect,
        };
        Event::Called { socket, call }
    }

    #[test]
    fn a_connection_is_judged_as_it_was_at_its_end() {
        let mut followed = Followed::default();
        assert!(followed.apply(&change(at(1, State::SynSent), State::Close)).is_none());
        assert!(followed.apply(&change(at(2, State::Established), State::SynSent)).is_none());
        let mut closed = Socket { keepalive: true, ..at(3, State::Close) };
        closed.remote.port = 0;
        let subject = followed.apply(&change(closed, State::LastAck)).unwrap();
        assert!(subject.socket.keepalive);
        assert_eq!(subject.socket.remote, socket().remote, "the kernel has cleared the port");
        assert_eq!(subject.socket.direction_from, DirectionFrom::Seen);
        assert!(!followed.has_live());
    }

    #[test]
    fn what_never_connected_is_left_out() {
        let mut followed = Followed::default();
        let begun = change(at(1, State::SynSent), State::Close);
        followed.apply(&begun);
        assert!(followed.apply(&change(at(2, State::Close), State::SynSent)).is_none());
        assert_eq!(followed.n_never_connected, 1);
        // A server's: it did not connect.
        followed.apply(&change(at(3, State::Established), State::SynRecv));
        assert!(followed.rest().is_empty());
    }

    #[test]
    fn refused_settings_join_the_connection_from_before_and_after_it_connects() {
        let mut followed = Followed::default();
        let unconnected = Socket { id: SocketId(0), ..at(1, State::Close) };
        followed.apply(&refused(unconnected));
        followed.apply(&change(at(2, State::SynSent), State::Close));
        followed.apply(&change(at(3, State::Established), State::SynSent));
        followed.apply(&refused(at(4, State::Established)));
        let listener = Socket { id: SocketId(9), inode: 79, ..at(5, State::Listen) };
        followed.apply(&refused(listener));
        let rest = followed.rest();
        assert_eq!(rest.iter().map(|one| one.refused.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(rest[1].socket.state, State::Listen);
    }

    #[test]
    fn an_older_sample_changes_nothing() {
        let mut followed = Followed::default();
        followed.apply(&change(at(1, State::SynSent), State::Close));
        followed.apply(&change(at(5, State::Established), State::SynSent));
        let older = Socket { keepalive: true, ..at(4, State::Established) };
        followed.apply(&Event::Seen(older));
        assert!(!followed.rest()[0].socket.keepalive);
    }
}
