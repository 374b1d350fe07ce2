//! What decoding makes of the kernel's records: the only input of the table.

use super::{
    ending::Ending,
    setsockopt::Call,
    socket::{Owner, Socket, SocketId, State, Time},
};
use crate::model::text::closed_set::closed_set;

/// One observation of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The snapshot met the socket, with one of its owners.
    Seen(Socket),
    /// A socket without a descriptor was looked at by its address, or in the list of its network namespace.
    Found(Socket),
    /// A socket was looked at by its address, and is not there any more.
    Gone {
        /// The socket that was there.
        id: SocketId,
        /// When it was looked at.
        at: Time,
    },
    /// The socket's state changes from `old` to `socket.state`.
    StateChange {
        /// The socket at that moment.
        socket: Socket,
        /// The TCP state that it leaves.
        old: State,
        /// What tells why, if the new state is CLOSE.
        ending: Ending,
    },
    /// The socket is destroyed.
    Destroyed(Socket),
    /// Its keepalive timer has run, and did not end the connection.
    Fired {
        /// The socket after it.
        socket: Socket,
        /// What it came to.
        outcome: Fire,
        /// Unanswered probes before it.
        probes_before: u8,
    },
    /// A setsockopt call has returned.
    Called {
        /// The socket after it; its owner is the caller.
        socket: Socket,
        /// The option, the value and the result.
        call: Call,
    },
}

impl Event {
    /// The socket that it is about, unless that is gone.
    pub const fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Seen(socket)
            | Self::Found(socket)
            | Self::StateChange { socket, .. }
            | Self::Destroyed(socket)
            | Self::Fired { socket, .. }
            | Self::Called { socket, .. } => Some(socket),
            Self::Gone { .. } => None,
        }
    }

    /// The process that it names.
    pub fn owner(&self) -> Option<Owner> {
        self.socket().and_then(|socket| socket.owner)
    }
}

closed_set! {
    /// What a fire of the keepalive timer came to (`tcp_keepalive_timer` in net/ipv4/tcp_timer.c).
    pub enum Fire {
        /// A probe was sent.
        Sent = "sent",
        /// The socket was locked: the timer tries again in 50 ms.
        Deferred = "deferred",
        /// Data waits to be sent or acknowledged: retransmission decides, keepalive waits.
        DataInFlight = "data_in_flight",
        /// Something was received less than the idle time ago.
        NotIdle = "not_idle",
        /// Not keepalive's business: an orphan in FIN_WAIT2, or keepalive was switched off.
        NotOurs = "not_ours",
        /// A probe was due, but this host's own queue refused it: the timer tries again in 500 ms.
        Congested = "congested",
        /// Too many probes went unanswered: the connection was ended.
        Death = "death",
    }
}
