//! The condition: how a connection is now.
//!
//! A verdict is a promise for the time in which nothing is said; a condition is what can be seen: data that is not
//! answered, probes that are not, a peer that has closed.

use crate::model::{
    observed::socket::{Socket, State},
    text::closed_set::closed_set,
};

closed_set! {
    /// How a connection is now, the most urgent first.
    pub enum Condition {
        /// Data, the SYN or the FIN of this host is repeated, and nothing answers.
        Stuck = "stuck",
        /// Two or more keepalive probes in a row went unanswered.
        PeerSilent = "peer_silent",
        /// Nothing protects it, and it has been quiet for longer than its path keeps it: probably forgotten already.
        Overdue = "overdue",
        /// The peer has had no room for what was written for some time: its program does not read enough.
        Blocked = "blocked",
        /// It waits in an accept queue: the program has not taken it.
        Unaccepted = "unaccepted",
        /// The peer has closed its half, and the program has neither closed ours nor sent anything for some time.
        PeerClosed = "peer_closed",
        /// None of the others.
        Fine = "fine",
    }
}

impl Condition {
    /// Whether somebody waits for an answer that will probably not come.
    pub const fn is_urgent(self) -> bool {
        matches!(self, Self::Stuck | Self::PeerSilent | Self::Overdue)
    }
}

/// A condition, since when, and what the kernel will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What it is.
    pub condition: Condition,
    /// For how long it has been so, milliseconds; as far as the socket remembers.
    pub since_ms: u64,
    /// Nobody saw it begin: it has been so for at least that long.
    pub is_least: bool,
    /// About how long until the kernel ends the connection, milliseconds. None if it will not.
    pub gives_up_ms: Option<u64>,
}

impl Diagnosis {
    /// Nothing is wrong.
    pub const FINE: Self =
        Self { condition: Condition::Fine, since_ms: 0, is_least: false, gives_up_ms: None };
}

/// Why this host cannot send what was written, as far as the socket shows.
pub const CANNOT_SEND: &str = "there is no route, its interface is down, its own address is gone, or a firewall of this host drops it";

/// A single packet may be lost, and a single probe may just have gone out: neither is a trouble yet.
const N_UNANSWERED: u8 = 2;

/// What is wrong with a connection now, whatever its path.
pub(super) fn diagnose(socket: &Socket) -> Option<Diagnosis> {
    if !socket.is_connection() || socket.state == State::SynRecv {
        return None;
    }
    let found = |condition, since_ms, gives_up_ms| {
        Some(Diagnosis { condition, since_ms, is_least: false, gives_up_ms })
    };
    let at_least = |condition, since_ms: u32, is_least| {
        Some(Diagnosis { condition, since_ms: since_ms.into(), is_least, gives_up_ms: None })
    };
    if socket.retransmits >= N_UNANSWERED {
        let since_ms = u64::from(socket.retransmitting_ms.unwrap_or(socket.quiet_ms));
        let gives_up_ms = match socket.state {
            State::SynSent => socket.gives_up_opening_ms().saturating_sub(since_ms),
            _ => socket.gives_up_repeating_in_ms(since_ms),
        };
        return found(Condition::Stuck, since_ms, Some(gives_up_ms));
    }
    let is_unanswered = socket.probes_unanswered >= N_UNANSWERED;
    if let (0, Some(since_ms)) = (socket.retransmits, socket.retransmitting_ms) {
        // Nothing is in flight: the peer has no room, or this host cannot send. Probes of the window tell.
        let since_ms = u64::from(since_ms);
        let gives_up_ms = socket.gives_up_sending_in_ms(since_ms);
        if is_unanswered {
            return found(Condition::Stuck, since_ms, gives_up_ms);
        }
        if socket.has_closed_window() {
            return found(Condition::Blocked, since_ms, gives_up_ms);
        }
    }
    if socket.probes_missed() >= N_UNANSWERED && socket.keepalive {
        let since_ms = socket.probing_ms().unwrap_or(socket.silent_ms.into());
        return found(Condition::PeerSilent, since_ms, socket.gives_up_probing_ms());
    }
    match socket.state {
        _ if socket.is_unaccepted => at_least(Condition::Unaccepted, socket.unaccepted_ms(), true),
        State::CloseWait if !socket.is_half_used() => {
            let (ms, is_seen) = socket
                .peer_closed
                .map_or((socket.silent_ms, false), |closed| (closed.ms, closed.is_seen));
            at_least(Condition::PeerClosed, ms, !is_seen)
        }
        _ => None,
    }
}
