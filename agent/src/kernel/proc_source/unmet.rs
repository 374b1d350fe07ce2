//! Connections that a walk did not meet, because no process that is in sight has them open any more. The table of their
//! namespace tells which of them the kernel still has, and how they are: only what is not in it is gone.

use super::{
    connection_table::{TableLine, TimerKind},
    walk::ProcWalk,
};
use crate::model::observed::socket::{Endpoint, Socket, SocketId, State, Time};
use std::collections::HashMap;

/// By what a socket is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnmetSocket {
    id: SocketId,
    netns: u32,
    inode: u32,
    ends: (Endpoint, Endpoint),
    pid: Option<u32>,
    is_connection: bool,
}

impl UnmetSocket {
    /// By what this socket is looked for.
    pub(crate) fn of(socket: &Socket) -> Self {
        Self {
            id: socket.id,
            netns: socket.netns,
            inode: socket.inode,
            ends: (socket.local, socket.remote),
            pid: socket.owner.map(|owner| owner.pid),
            is_connection: socket.is_connection(),
        }
    }
}

/// What became of an unmet socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// The kernel has it still.
    Listed(TableLine),
    /// The kernel does not have it any more, or nobody who has it is in sight.
    Gone,
    /// Neither can be told now.
    Unknown,
}

impl ProcWalk {
    /// Looks for these sockets in the tables of their namespaces, each of which is read once.
    pub(crate) fn look_for(
        &self,
        unmet: &[UnmetSocket],
        mut each: impl FnMut(SocketId, Whereabouts),
    ) {
        let mut by_netns: HashMap<u32, Vec<&UnmetSocket>> = HashMap::new();
        for socket in unmet {
            by_netns.entry(socket.netns).or_default().push(socket);
        }
        for (netns, sockets) in by_netns {
            let by_ends: HashMap<_, _> =
                sockets.iter().map(|socket| (socket.ends, *socket)).collect();
            let mut listed: HashMap<SocketId, TableLine> = HashMap::new();
            let read = self.namespaces.lines(netns, |line| {
                let socket = by_ends.get(&(line.local, line.remote));
                if let Some(socket) = socket.filter(|socket| is_of(line, socket.inode)) {
                    listed.insert(socket.id, line);
                }
            });
            for socket in sockets {
                let hides = socket.pid.is_some_and(|pid| self.hiding.contains(&pid));
                let found = match (listed.get(&socket.id), &read) {
                    // A socket without a peer is in no table, unless it listens; nothing is told of its end.
                    _ if !socket.is_connection => Whereabouts::Gone,
                    (Some(line), _) => Whereabouts::Listed(*line),
                    (None, Some(Err(_))) => Whereabouts::Unknown,
                    // Nobody is there any more who could have it open.
                    (None, None) if hides => Whereabouts::Unknown,
                    (None, Some(Ok(())) | None) => Whereabouts::Gone,
                };
                each(socket.id, found);
            }
        }
    }
}

/// Whether a line is of the socket with this inode, and not of another one with the same ends: a socket whose program has
/// closed it has no inode any more, and is closing; one that waits to be accepted has none yet.
const fn is_of(line: TableLine, inode: u32) -> bool {
    if line.inode != 0 {
        return line.inode == inode;
    }
    line.state.is_closing() && !matches!(line.state, State::TimeWait)
}

/// A socket that was seen before, as the table shows it now: settings are those of then.
pub(crate) fn as_listed(before: &Socket, line: &TableLine, now: Time) -> Socket {
    let aged = before.aged(now);
    let keepalive_timer = line.timer.filter(|timer| timer.kind == TimerKind::Keepalive);
    Socket {
        state: line.state,
        is_orphan: line.inode == 0,
        in_flight: line.unacked > 0,
        retransmits: line.retransmits,
        // As long as it was seen, at least.
        retransmitting_ms: (line.retransmits > 0).then(|| aged.retransmitting_ms.unwrap_or(0)),
        window_closed: false,
        unread_ms: None,
        could_not_send: false,
        probes_unanswered: line.probes,
        timer_ms: keepalive_timer.and_then(|timer| timer.left_ms(now)),
        spoke_last_ms: None,
        peer_closed: aged.peer_closed.filter(|_| line.state == State::CloseWait),
        quiet_at_most: true,
        ..aged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kernel::{clock, decode::Decoder, host},
        model::observed::socket::tests_support::socket,
    };
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
        os::{fd::AsRawFd as _, linux::fs::MetadataExt as _},
    };

    fn whereabouts(of: Socket) -> Whereabouts {
        let walk = ProcWalk::begin(Decoder::new(clock::hz())).unwrap();
        let mut found = Vec::new();
        walk.look_for(&[UnmetSocket::of(&of)], |id, found_at| found.push((id, found_at)));
        let [(id, found_at)] = found[..] else { panic!("{found:?}") };
        assert_eq!(id, of.id);
        found_at
    }

    fn of(stream: &TcpStream) -> Socket {
        let link = std::fs::metadata(format!("/proc/self/fd/{}", stream.as_raw_fd())).unwrap();
        Socket {
            netns: host::own_netns().unwrap(),
            inode: u32::try_from(link.st_ino()).unwrap(),
            local: stream.local_addr().unwrap().into(),
            remote: stream.peer_addr().unwrap().into(),
            ..socket()
        }
    }

    #[test]
    fn what_somebody_has_open_and_what_closes_is_there_and_what_has_ended_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let known = of(&stream);
        let Whereabouts::Listed(line) = whereabouts(known) else { panic!("it is open") };
        assert_eq!((line.state, line.inode), (State::Established, known.inode));
        let another = Socket { inode: known.inode + 1, ..known };
        assert_eq!(whereabouts(another), Whereabouts::Gone, "another one with the same ends");
        // Nobody has accepted it: the peer's end is no socket of a program yet.
        let peer = Socket { local: known.remote, remote: known.local, ..known };
        assert_eq!(whereabouts(peer), Whereabouts::Gone);
        // Its peer does not close: it waits for that in FIN_WAIT2.
        stream.write_all(b"x").unwrap();
        drop(stream);
        let Whereabouts::Listed(line) = whereabouts(known) else { panic!("it is closing") };
        assert!(line.state.is_closing() && line.inode == 0, "{line:?}");
        let closing = as_listed(&known, &line, known.at.ms_after(5000));
        assert!(closing.is_orphan && closing.quiet_at_most);
        assert_eq!((closing.state, closing.quiet_ms), (line.state, known.quiet_ms + 5000));
        // The data was never read: its peer answers with a reset.
        drop(listener);
        assert_eq!(whereabouts(known), Whereabouts::Gone);
    }

    #[test]
    fn of_a_namespace_out_of_sight_it_is_gone_unless_its_process_hides_what_it_has() {
        let mut walk = ProcWalk::begin(Decoder::new(clock::hz())).unwrap();
        let owner = crate::model::observed::socket::Owner {
            pid: 77,
            fd: Some(3),
            comm: crate::model::observed::socket::Comm::default(),
        };
        let elsewhere = Socket { netns: 1, owner: Some(owner), ..socket() };
        let look = |walk: &ProcWalk| {
            let mut found = None;
            walk.look_for(&[UnmetSocket::of(&elsewhere)], |_, it| found = Some(it));
            found.unwrap()
        };
        walk.hiding.clear();
        assert_eq!(look(&walk), Whereabouts::Gone);
        walk.hiding.insert(77);
        assert_eq!(look(&walk), Whereabouts::Unknown);
    }
}
