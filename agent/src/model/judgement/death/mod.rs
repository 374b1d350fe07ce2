//! Why a connection ended: the cause, how sure that is, and the evidence.
//!
//! All of it is read from the socket while the kernel moves it to CLOSE (`tcp_set_state`). By then
//! `sk_err` holds the error that the application will get, `snd_una` and `snd_nxt` still say whether
//! something was in flight (`tcp_write_queue_purge` does not touch them), and the keepalive timer has
//! left word if it was the one (`tcp_keepalive_timer`, `tcp_reset`, `tcp_write_err` and `tcp_close` in
//! net/ipv4).

mod evidence;
#[cfg(test)]
mod tests;

use crate::model::{
    observed::{
        ending::{Discovery, Ending},
        errno::{
            ECONNABORTED, ECONNREFUSED, ECONNRESET, EHOSTDOWN, EHOSTUNREACH, ENETDOWN, ENETUNREACH,
            EPIPE, ETIMEDOUT,
        },
        socket::{Socket, State},
    },
    text::closed_set::closed_set,
};
use serde::{Deserialize, Serialize};

closed_set! {
    /// What a connection died of: a closed set.
    pub enum Cause {
        /// Probes went unanswered.
        KeepaliveTimeout = "keepalive_timeout",
        /// A probe was answered by a reset.
        KeepaliveReset = "keepalive_reset",
        /// The first data after a quiet time met silence or a reset: a middlebox's signature.
        IdleDrop = "idle_drop",
        /// TCP_USER_TIMEOUT ran out while data was not acknowledged.
        UserTimeout = "user_timeout",
        /// Data was retransmitted until the kernel gave up.
        RetransmitTimeout = "retransmit_timeout",
        /// This host closed it, and its FIN or last data was never answered, or by a reset after silence.
        Abandoned = "abandoned",
        /// The peer reset it.
        PeerReset = "peer_reset",
        /// The network reported that the peer cannot be reached.
        Unreachable = "unreachable",
        /// It never came to be.
        ConnectFailed = "connect_failed",
        /// The peer closed it first.
        PeerClosed = "peer_closed",
        /// This host closed it first.
        LocalClosed = "local_closed",
        /// This host reset it.
        LocalReset = "local_reset",
        /// The kernel did not report its end, or not its reason.
        Unknown = "unknown",
    }
}

impl Cause {
    /// Whether one of the two ends wanted it so.
    pub const fn is_orderly(self) -> bool {
        matches!(self, Self::PeerClosed | Self::LocalClosed)
    }
}

/// How a cause is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// The kernel reported it.
    Exact,
    /// It follows from what the kernel reported, most probably.
    Inferred,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// What it died of.
    pub cause: Cause,
    /// How that is known.
    pub certainty: Certainty,
    /// The TCP state before CLOSE.
    pub old: State,
    /// What the hook read at the change to CLOSE.
    pub ending: Ending,
    /// How long it had been quiet before the last data went out; if nothing was in flight, when it
    /// died. Milliseconds.
    pub quiet_ms: u32,
    /// How long nothing had been received when it died, milliseconds.
    pub silent_ms: u32,
    /// Milliseconds since it was opened, if that was seen.
    pub age_ms: Option<u64>,
    /// Probes sent over its life, as far as seen.
    pub probes_sent: u32,
    /// Probes unanswered when it died.
    pub probes_unanswered: u8,
    /// The longest quiet time after which it was seen to go on, milliseconds.
    pub survived_ms: u32,
    /// How other connections to the same peer fared at that time.
    pub others: Others,
}

/// Other connections of this host to the same peer, while one of them died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// There were none that show anything.
    #[default]
    Unknown,
    /// This number of them was answered meanwhile: the peer lives, and so does the path.
    Answered(u32),
    /// Nothing of the peer came in any more, also to this number of them that had not been quiet.
    Silent(u32),
}

/// Below this, silence before data is ordinary.
pub const QUIET_MS: u32 = 3000;

/// No device forgets a connection sooner, unless it is known that the one on this path does.
pub const MIDDLEBOX_MS: u32 = 20_000;

/// A reset by somebody without memory comes after one round trip. This much later it comes from a program.
const RESET_SLACK_MS: u32 = 14;

impl Death {
    /// Judges the change of `socket` from `old` to CLOSE. `limit_ms`: how long its path keeps a quiet connection, if that is
    /// configured or was learned for sure. None if it never was a connection: a listener, or a handshake that the peer began.
    pub fn of(socket: &Socket, old: State, ending: Ending, limit_ms: Option<u64>) -> Option<Self> {
        if matches!(old, State::Listen | State::SynRecv | State::Close) {
            return None;
        }
        let quiet_ms = ending.quiet_ms(socket);
        let survived_ms = socket.watched.longest_quiet_ms;
        let could_forget = quiet_ms >= MIDDLEBOX_MS
            || limit_ms.is_some_and(|limit_ms| u64::from(quiet_ms) >= limit_ms / 5 * 4);
        // What it survived before did not kill it now, but for the times of sampling.
        let is_forgotten = could_forget && quiet_ms / 5 * 4 > survived_ms;
        let (cause, certainty) = ending.cause(socket, old, is_forgotten);
        Some(Self {
            cause,
            certainty,
            old,
            ending,
            quiet_ms,
            silent_ms: socket.silent_ms,
            age_ms: None,
            probes_sent: 0,
            probes_unanswered: socket.probes_unanswered,
            survived_ms,
            others: Others::Unknown,
        })
    }

    /// Whether it matters, for the cause or for what is learned of it, how others to the same peer fared. Not if a reset answered
    /// the first data: the peer or the path spoke, and others had no time to be answered meanwhile.
    pub const fn asks_for_others(&self) -> bool {
        match self.cause {
            Cause::IdleDrop => self.ending.errno == ETIMEDOUT,
            Cause::KeepaliveTimeout
            | Cause::UserTimeout
            | Cause::RetransmitTimeout
            | Cause::Abandoned => true,
            _ => false,
        }
    }

    /// The same, knowing how others to the same peer fared. If they fell silent too, though they had not been quiet, it was an
    /// outage of the peer or of its path: then the cause is what ended the connection.
    #[must_use]
    pub fn beside(mut self, socket: &Socket, others: Others) -> Self {
        self.others = others;
        if let (Cause::IdleDrop, Others::Silent(_)) = (self.cause, others) {
            (self.cause, self.certainty) = self.ending.cause(socket, self.old, false);
        }
        self
    }

    /// Whether a path that forgot it explains the death best: the first data or probe after a quiet time that it had not
    /// survived before met nothing, and others to the same peer were answered meanwhile.
    pub const fn is_forgotten(&self, socket: &Socket) -> bool {
        match self.cause {
            Cause::IdleDrop | Cause::KeepaliveReset => true,
            Cause::KeepaliveTimeout => {
                let idle_ms = socket.idle().value.saturating_mul(1000);
                matches!(self.others, Others::Answered(_)) && self.survived_ms < idle_ms / 5 * 4
            }
            _ => false,
        }
    }

    /// When the first of what was never answered was sent, milliseconds before the end. None if nothing was in flight.
    pub fn unanswered_ms(&self) -> Option<u32> {
        self.ending.sent_first_ms()
    }

    /// A connection that is gone without a report of its end.
    pub const fn unseen(socket: &Socket, found: Discovery) -> Self {
        Self {
            cause: Cause::Unknown,
            certainty: Certainty::Inferred,
            old: socket.state,
            ending: Ending {
                found,
                errno: 0,
                soft_errno: 0,
                retransmits: 0,
                retransmitting_ms: None,
                sent_ms: None,
                round_trip_us: None,
                unacked: false,
                unsent: false,
                in_keepalive_timer: false,
            },
            quiet_ms: socket.quiet_ms,
            silent_ms: socket.silent_ms,
            age_ms: None,
            probes_sent: 0,
            probes_unanswered: socket.probes_unanswered,
            survived_ms: socket.watched.longest_quiet_ms,
            others: Others::Unknown,
        }
    }
}

impl Ending {
    /// How long ago the first of what is not acknowledged was sent, milliseconds.
    fn sent_first_ms(&self) -> Option<u32> {
        match (self.unacked, self.retransmitting_ms) {
            (true, Some(ms)) => Some(ms),
            (true, None) => Some(self.sent_ms.unwrap_or_default()),
            (false, _) => None,
        }
    }

    /// Silence before what was in flight was first sent; before now, if nothing was.
    fn quiet_ms(&self, socket: &Socket) -> u32 {
        self.sent_first_ms().map_or_else(
            || self.sent_ms.map_or(socket.silent_ms, |ms| ms.min(socket.silent_ms)),
            |ms| socket.silent_ms.saturating_sub(ms),
        )
    }

    /// Whether the reset came clearly later than a round trip after data was sent: a program sent it, which knew the
    /// connection. Somebody without memory answers at once.
    fn is_reset_by_program(&self) -> bool {
        let round_trips_ms = self.round_trip_us.unwrap_or(0) / 1000 * 2;
        self.unacked && self.sent_ms.is_some_and(|ms| ms > round_trips_ms.max(RESET_SLACK_MS))
    }

    fn cause(&self, socket: &Socket, old: State, is_forgotten: bool) -> (Cause, Certainty) {
        use Certainty::{Exact, Inferred};
        if self.in_keepalive_timer {
            return (Cause::KeepaliveTimeout, Exact);
        }
        if old == State::SynSent {
            return (Cause::ConnectFailed, Exact);
        }
        let peer_closed = matches!(old, State::CloseWait | State::LastAck);
        let we_closed = matches!(old, State::FinWait1 | State::FinWait2 | State::Closing);
        let is_waiting = self.unacked && self.retransmits >= 2;
        match self.errno {
            0 if peer_closed => (Cause::PeerClosed, Exact),
            0 if we_closed || old == State::TimeWait => (Cause::LocalClosed, Exact),
            // The program did not wait any longer for an answer to its data.
            0 if is_waiting => (Cause::Abandoned, Exact),
            0 | ECONNABORTED => (Cause::LocalReset, Exact),
            ECONNRESET | EPIPE | ECONNREFUSED if peer_closed => (Cause::PeerClosed, Exact),
            ECONNRESET | EPIPE | ECONNREFUSED => {
                let probing = socket.keepalive && socket.probes_unanswered > 0;
                match (self.unacked || self.unsent, probing) {
                    (false, true) => (Cause::KeepaliveReset, Exact),
                    (true, _) if is_forgotten && !self.is_reset_by_program() => {
                        (Cause::IdleDrop, Inferred)
                    }
                    // A peer that knew the connection would have acknowledged the FIN first.
                    _ if old == State::FinWait1 && socket.silent_ms >= QUIET_MS => {
                        (Cause::Abandoned, Inferred)
                    }
                    _ if we_closed => (Cause::LocalClosed, Exact),
                    _ => (Cause::PeerReset, Exact),
                }
            }
            ETIMEDOUT if old == State::LastAck => (Cause::PeerClosed, Exact),
            ETIMEDOUT if self.unacked && is_forgotten => (Cause::IdleDrop, Inferred),
            ETIMEDOUT if matches!(old, State::FinWait1 | State::Closing) => {
                (Cause::Abandoned, Exact)
            }
            ETIMEDOUT if we_closed && !self.unacked => (Cause::LocalClosed, Exact),
            // `tcp_write_err` (net/ipv4/tcp_timer.c) ends it with what the network said, if it said something; but only
            // because the time is over.
            ETIMEDOUT | ENETDOWN | ENETUNREACH | EHOSTDOWN | EHOSTUNREACH
                if socket.own.user_timeout_ms > 0 && (self.unacked || self.unsent) =>
            {
                (Cause::UserTimeout, Exact)
            }
            ETIMEDOUT if self.unacked || self.unsent => (Cause::RetransmitTimeout, Exact),
            ENETDOWN | ENETUNREACH | EHOSTDOWN | EHOSTUNREACH => (Cause::Unreachable, Exact),
            _ => (Cause::Unknown, Inferred),
        }
    }
}
