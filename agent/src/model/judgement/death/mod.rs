//! Why a connection ended: the cause, how sure that is, and the evidence.
//!
//! All of it is read from the socket while the kernel moves it to CLOSE (`tcp_set_state`). By then `sk_err` holds the application's
//! error, `snd_una` and `snd_nxt` still say whether something was in flight (`tcp_write_queue_purge` keeps them), and the keepalive timer
//! has left word if it was the one (`tcp_keepalive_timer`, `tcp_reset`, `tcp_write_err` and `tcp_close` in net/ipv4).

mod evidence;
mod explained;
mod given_up;
mod heard;
mod reset;
#[cfg(test)]
mod tests;
mod unreplied;
mod unseen;

pub use given_up::GivenUp;

use crate::model::{
    observed::{
        ending::{Ending, Reply, Unacked, Unsent},
        errno::{
            ECONNABORTED, ECONNREFUSED, ECONNRESET, EHOSTDOWN, EHOSTUNREACH, ENETDOWN, ENETUNREACH,
            EPIPE, ETIMEDOUT,
        },
        probe_timing::quiet_before::QuietBeforeProbe,
        socket::{Direction, Socket, State},
    },
    text::closed_set::closed_set,
};
pub use explained::OtherReason;
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
    /// When this host closed it while its last data, or probes, were unanswered, if it did and that was seen.
    pub given_up: Option<GivenUp>,
    /// Probes sent over its life, as far as seen.
    pub probes_sent: u32,
    /// Probes unanswered when it died.
    pub probes_unanswered: u8,
    /// The longest quiet time after which it was seen to go on, milliseconds.
    pub survived_ms: u32,
    /// It had been quiet for long enough that a path may have forgotten it, and for longer than it had survived before.
    pub could_be_forgotten: bool,
    /// How other connections to the same peer fared at that time.
    pub others: Others,
    /// What explains it as well as a path that forgot it.
    pub other_reason: Option<OtherReason>,
}

/// Other connections of this host to the same peer, while one of them died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// There were none that show anything.
    #[default]
    Unknown,
    /// This number of them was answered meanwhile: the peer lives, and so does the path.
    Answered(u32),
    /// This number of them to other services of the peer's host was answered meanwhile, and of none to the same service anything
    /// is known: the path lives, and so does the host, unless several stand behind one address.
    HostAnswered(u32),
    /// Nothing of the peer came in any more, also to this number of them that had not been quiet.
    Silent(u32),
}

impl Others {
    /// Whether somebody was answered meanwhile: the path to the host was there.
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Answered(_) | Self::HostAnswered(_))
    }
}

/// Below this, silence before data is ordinary.
pub const QUIET_MS: u32 = 3000;

/// No device forgets a connection sooner, unless it is known that the one on this path does.
pub const MIDDLEBOX_MS: u32 = 20_000;

impl Death {
    /// Judges the change of `socket` from `old` to CLOSE. `limit_ms`: how long its path keeps a quiet connection, if that is
    /// configured or was learned for sure. None if it never was a connection: a listener, or a handshake that the peer began.
    pub fn of(socket: &Socket, old: State, ending: Ending, limit_ms: Option<u64>) -> Option<Self> {
        if matches!(old, State::Listen | State::SynRecv | State::Close) {
            return None;
        }
        let quiet_ms = ending.quiet_ms(socket);
        let survived_ms = socket.watched.longest_quiet_ms;
        let quiet = match Quiet::of(quiet_ms, survived_ms, limit_ms) {
            // No path is needed to explain what becomes of data for a peer that has closed.
            // What did not leave this host no path has forgotten.
            _ if ending.held_back_ms.is_some() => Quiet::Short,
            _ if socket.was_closed_by_peer() && socket.direction == Direction::Outbound => {
                Quiet::Short
            }
            quiet => quiet,
        };
        let (cause, certainty) = ending.cause(socket, old, quiet);
        Some(Self {
            cause,
            certainty,
            old,
            ending,
            quiet_ms,
            silent_ms: socket.silent_ms,
            age_ms: None,
            given_up: None,
            probes_sent: 0,
            probes_unanswered: socket.probes_missed(),
            survived_ms,
            could_be_forgotten: quiet >= Quiet::Long,
            others: Others::Unknown,
            other_reason: None,
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
            | Cause::Unreachable
            | Cause::Abandoned => true,
            _ => false,
        }
    }

    /// The same, knowing how others to the same peer fared. If they fell silent too, though they had not been quiet, it was an
    /// outage of the peer or of its path: then the cause is what ended the connection.
    #[must_use]
    pub fn beside(mut self, socket: &Socket, others: Others) -> Self {
        self.others = others;
        match (self.cause, others) {
            (Cause::IdleDrop, Others::Silent(_)) => {
                (self.cause, self.certainty) = self.ending.cause(socket, self.old, Quiet::Short);
            }
            // Something in between says that there is no way, of this connection only: it does not know it any more.
            (Cause::Unreachable, Others::Answered(_))
                if self.could_be_forgotten && self.ending.unacked == Unacked::Data =>
            {
                (self.cause, self.certainty) = (Cause::IdleDrop, Certainty::Inferred);
            }
            _ => {}
        }
        self
    }

    /// Whether a path that forgot it explains the death best: the first data or probe after a quiet time that it had not
    /// survived before met nothing, and others to the same host were answered meanwhile.
    pub fn is_forgotten(&self, socket: &Socket) -> bool {
        match self.cause {
            _ if self.other_reason.is_some() => false,
            Cause::IdleDrop => true,
            // Where its probes had been answered after as much, the peer was started anew.
            Cause::KeepaliveReset => self.could_be_forgotten,
            Cause::KeepaliveTimeout => {
                let quiet_ms = self.quiet_before_probe_ms(socket).unwrap_or_default();
                // One probe may get lost on any path.
                self.others.is_alive()
                    && self.probes_unanswered >= 2
                    && self.survived_ms < quiet_ms / 5 * 4
            }
            Cause::Abandoned => {
                self.could_be_forgotten
                    && self.others.is_alive()
                    && self.answered_too_late().is_none()
            }
            _ => false,
        }
    }

    /// Of one that its probes ended: the quiet time before the first of them that nobody answered.
    fn quiet_before_probe(&self, socket: &Socket) -> Option<QuietBeforeProbe> {
        let times = (socket.idle().value, socket.interval().value);
        quiet_before_probe(self.cause, self.silent_ms.into(), self.probes_unanswered, times)
    }

    /// The same in milliseconds.
    pub fn quiet_before_probe_ms(&self, socket: &Socket) -> Option<u32> {
        u32::try_from(self.quiet_before_probe(socket)?.ms).ok()
    }

    /// When the first of what was never answered was sent, milliseconds before the end. None if nothing was in flight.
    pub fn unanswered_ms(&self) -> Option<u32> {
        if let Some(given_up) = self.answered_too_late() {
            return u32::try_from(given_up.ago_ms + u64::from(given_up.waited_ms)).ok();
        }
        self.ending.is_unanswered().then(|| self.silent_ms.saturating_sub(self.quiet_ms))
    }
}

/// The quiet time before the first of the probes that a connection died of; none if it died of something else.
/// `unanswered`: how many there were, with one that a reset answered.
pub fn quiet_before_probe(
    cause: Cause,
    silent_ms: u64,
    unanswered: u8,
    (idle_seconds, interval_seconds): (u32, u32),
) -> Option<QuietBeforeProbe> {
    // The timer fires once more to end it.
    let n_fires = match cause {
        Cause::KeepaliveTimeout => u32::from(unanswered).max(1) + 1,
        Cause::KeepaliveReset => u32::from(unanswered).max(1),
        _ => return None,
    };
    Some(QuietBeforeProbe::of(silent_ms, n_fires, idle_seconds, interval_seconds))
}

/// What a quiet time may have done on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Quiet {
    /// No device forgets so soon, or this connection had survived as much.
    Short,
    /// There are devices that forget after that.
    Long,
    /// The path is known to forget after that.
    PastLimit,
}

impl Quiet {
    fn of(quiet_ms: u32, survived_ms: u32, limit_ms: Option<u64>) -> Self {
        // What it survived before did not kill it now, but for the times of sampling.
        let is_survived = quiet_ms / 5 * 4 <= survived_ms;
        match limit_ms {
            _ if is_survived => Self::Short,
            Some(limit_ms) if u64::from(quiet_ms) >= limit_ms / 5 * 4 => Self::PastLimit,
            _ if quiet_ms >= MIDDLEBOX_MS => Self::Long,
            _ => Self::Short,
        }
    }
}

impl Ending {
    /// Whether data or our FIN was not acknowledged.
    const fn is_unanswered(&self) -> bool {
        matches!(self.unacked, Unacked::Fin | Unacked::Data)
    }

    /// How long ago the first of what is not acknowledged was sent, milliseconds.
    fn sent_first_ms(&self) -> Option<u32> {
        match (self.is_unanswered(), self.retransmitting_ms) {
            (true, Some(ms)) => Some(ms),
            (true, None) if self.unacked == Unacked::Data => Some(self.sent_ms.unwrap_or_default()),
            // A FIN leaves no stamp, and is repeated soon.
            (true, None) => Some(0),
            (false, _) => None,
        }
    }

    /// Silence before the first of what was never answered, data, FIN or probe; before now, if there was nothing.
    fn quiet_ms(&self, socket: &Socket) -> u32 {
        let Some(sent_ms) = self.sent_first_ms() else {
            return self.sent_ms.map_or(socket.silent_ms, |ms| ms.min(socket.silent_ms));
        };
        let before_sent_ms = socket.silent_ms.saturating_sub(sent_ms);
        let n_unanswered = u32::from(socket.probes_unanswered);
        if n_unanswered == 0 || !socket.keepalive {
            return before_sent_ms;
        }
        let (idle_ms, interval_ms) = (
            socket.idle().value.saturating_mul(1000),
            socket.interval().value.saturating_mul(1000),
        );
        // One was answered after the idle time, and the next ones came an interval apart.
        let is_of_intervals = interval_ms > idle_ms
            && socket.watched.longest_quiet_ms >= idle_ms / 10 * 9
            && before_sent_ms >= interval_ms.saturating_mul(n_unanswered);
        before_sent_ms.min(if is_of_intervals { interval_ms } else { idle_ms })
    }

    /// Whether the last data was ours: the program waited for an answer to it.
    const fn was_asked_last(&self) -> bool {
        match (self.sent_ms, self.received_data_ms) {
            (Some(sent_ms), Some(received_ms)) => {
                !matches!(self.reply, Reply::Data) || sent_ms < received_ms
            }
            (sent_ms, None) => sent_ms.is_some(),
            (None, Some(_)) => false,
        }
    }

    /// Whether the peer had no room for what waits, and its host answered every probe of its window: its program does not read enough.
    const fn is_unread(&self, socket: &Socket) -> bool {
        matches!(self.unsent, Unsent::WindowClosed)
            && socket.probes_unanswered == 0
            && !socket.could_not_send
    }

    /// Whether the kernel gave up repeating, and names what ICMP said meanwhile (`tcp_write_err` in
    /// net/ipv4/tcp_timer.c). A reset never leaves such an error behind on a connection (`tcp_reset` in
    /// net/ipv4/tcp_input.c).
    const fn is_told_by_network(&self, socket: &Socket) -> bool {
        match self.errno {
            0 | ECONNRESET | EPIPE | ECONNABORTED | ETIMEDOUT => false,
            ECONNREFUSED | ENETDOWN | ENETUNREACH | EHOSTDOWN | EHOSTUNREACH => true,
            errno => errno == socket.soft_errno,
        }
    }

    fn cause(&self, socket: &Socket, old: State, quiet: Quiet) -> (Cause, Certainty) {
        use Certainty::{Exact, Inferred};
        if self.in_keepalive_timer {
            return (Cause::KeepaliveTimeout, Exact);
        }
        if old == State::SynSent {
            return (Cause::ConnectFailed, Exact);
        }
        let peer_closed = old.is_closed_by_peer();
        let we_closed = matches!(old, State::FinWait1 | State::FinWait2 | State::Closing);
        let is_waiting = self.unacked == Unacked::Data && self.retransmits >= 2;
        let probes_missed = socket.keepalive && socket.probes_missed() >= 2;
        match self.errno {
            0 if peer_closed => (Cause::PeerClosed, Exact),
            0 if we_closed || old == State::TimeWait => (Cause::LocalClosed, Exact),
            // The program did not wait any longer for an answer to its data, or nobody answered its probes.
            0 if is_waiting => (Cause::Abandoned, Exact),
            0 if probes_missed => (Cause::Abandoned, Inferred),
            0 | ECONNABORTED => (Cause::LocalReset, Exact),
            // Its own FIN is all that is missing. A peer that closed only its half waits for data.
            _ if peer_closed && self.unacked != Unacked::Data => (Cause::PeerClosed, Exact),
            ECONNRESET | EPIPE => self.cause_of_reset(socket, old, quiet),
            ETIMEDOUT => self.cause_of_giving_up(socket, old, quiet),
            _ if self.is_told_by_network(socket) => self.cause_of_giving_up(socket, old, quiet),
            _ => (Cause::Unknown, Inferred),
        }
    }

    /// The kernel repeated what was not answered until it gave up.
    fn cause_of_giving_up(&self, socket: &Socket, old: State, quiet: Quiet) -> (Cause, Certainty) {
        use Certainty::{Exact, Inferred};
        let is_in_flight = self.unacked == Unacked::Data || self.has_unsent();
        // A host or a network that cannot be reached is away for others, too; a port is refused where nobody knows the connection.
        // What never left this host no path has forgotten.
        let is_away = socket.could_not_send
            || matches!(self.errno, ENETDOWN | ENETUNREACH | EHOSTDOWN | EHOSTUNREACH);
        match old {
            // Both had closed it, and what was written in between met nobody.
            State::LastAck if socket.was_closed_by_peer() => (Cause::PeerClosed, Inferred),
            _ if self.unacked == Unacked::Data && quiet >= Quiet::Long && !is_away => {
                (Cause::IdleDrop, Inferred)
            }
            // At a probe that is due the kernel drops what no program has open any more (`tcp_probe_timer` in net/ipv4/tcp_timer.c):
            // nobody was silent.
            State::FinWait1 | State::Closing if socket.is_orphan && self.is_unread(socket) => {
                (Cause::LocalClosed, Exact)
            }
            State::FinWait1 | State::Closing => (Cause::Abandoned, Exact),
            State::FinWait2 if socket.is_orphan => (Cause::LocalClosed, Exact),
            _ if socket.own.user_timeout_ms > 0 && is_in_flight => (Cause::UserTimeout, Exact),
            _ if self.errno != ETIMEDOUT => (Cause::Unreachable, Exact),
            _ if is_in_flight => (Cause::RetransmitTimeout, Exact),
            _ => (Cause::Unknown, Inferred),
        }
    }
}
