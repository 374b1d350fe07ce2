//! Why a connection ended: the cause, how sure that is, and the evidence.
//!
//! All of it is read from the socket while the kernel moves it to CLOSE (`tcp_set_state`). By then
//! `sk_err` holds the error that the application will get, `snd_una` and `snd_nxt` still say whether
//! something was in flight (`tcp_write_queue_purge` does not touch them), and the keepalive timer has
//! left word if it was the one (`tcp_keepalive_timer`, `tcp_reset`, `tcp_write_err` and `tcp_close` in
//! net/ipv4).

use crate::model::{
    observed::{
        ending::{Discovery, Ending},
        errno::{
            ECONNABORTED, ECONNREFUSED, ECONNRESET, EHOSTDOWN, EHOSTUNREACH, ENETDOWN, ENETUNREACH,
            EPIPE, ETIMEDOUT, errno_name,
        },
        socket::{Socket, State},
    },
    text::{
        closed_set::closed_set,
        duration::{duration, tenths},
    },
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
}

/// Below this, silence before data is ordinary: no middlebox forgets a connection so soon.
pub const QUIET_MS: u32 = 3000;

impl Death {
    /// Judges the change of `socket` from `old` to CLOSE. `survived_ms`: the longest quiet time after
    /// which this connection was seen to go on. None if it never was a connection: a listener, or a
    /// handshake that the peer began.
    pub fn of(socket: &Socket, old: State, ending: Ending, survived_ms: u32) -> Option<Self> {
        if matches!(old, State::Listen | State::SynRecv | State::Close) {
            return None;
        }
        let quiet_ms = ending.quiet_ms(socket);
        // What it survived before did not kill it now, but for the times of sampling.
        let is_quiet = quiet_ms >= QUIET_MS && quiet_ms / 5 * 4 > survived_ms;
        let (cause, certainty) = ending.cause(socket, old, is_quiet);
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
        })
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
                unacked: false,
                unsent: false,
                in_keepalive_timer: false,
            },
            quiet_ms: socket.quiet_ms,
            silent_ms: socket.silent_ms,
            age_ms: None,
            probes_sent: 0,
            probes_unanswered: socket.probes_unanswered,
            survived_ms: 0,
        }
    }
}

impl Ending {
    /// Silence before what was in flight was first sent; before now, if nothing was.
    fn quiet_ms(&self, socket: &Socket) -> u32 {
        let sent_first_ms = match (self.unacked, self.retransmitting_ms) {
            (true, Some(ms)) => ms,
            (true, None) => self.sent_ms.unwrap_or_default(),
            (false, _) => {
                return self.sent_ms.map_or(socket.silent_ms, |ms| ms.min(socket.silent_ms));
            }
        };
        socket.silent_ms.saturating_sub(sent_first_ms)
    }

    fn cause(&self, socket: &Socket, old: State, is_quiet: bool) -> (Cause, Certainty) {
        use Certainty::{Exact, Inferred};
        if self.in_keepalive_timer {
            return (Cause::KeepaliveTimeout, Exact);
        }
        if old == State::SynSent {
            return (Cause::ConnectFailed, Exact);
        }
        let peer_closed = matches!(old, State::CloseWait | State::LastAck);
        let we_closed = matches!(old, State::FinWait1 | State::FinWait2 | State::Closing);
        match self.errno {
            0 if peer_closed => (Cause::PeerClosed, Exact),
            0 if we_closed || old == State::TimeWait => (Cause::LocalClosed, Exact),
            0 | ECONNABORTED => (Cause::LocalReset, Exact),
            ECONNRESET | EPIPE | ECONNREFUSED if peer_closed => (Cause::PeerClosed, Exact),
            ECONNRESET | EPIPE | ECONNREFUSED => {
                let probing = socket.keepalive && socket.probes_unanswered > 0;
                match (self.unacked || self.unsent, probing) {
                    (false, true) => (Cause::KeepaliveReset, Exact),
                    (true, _) if is_quiet => (Cause::IdleDrop, Inferred),
                    _ if we_closed => (Cause::LocalClosed, Exact),
                    _ => (Cause::PeerReset, Exact),
                }
            }
            ETIMEDOUT if old == State::LastAck => (Cause::PeerClosed, Exact),
            // Nobody acknowledged our FIN, but no data was lost by it.
            ETIMEDOUT if we_closed && !self.unacked => (Cause::LocalClosed, Exact),
            ETIMEDOUT if self.unacked && is_quiet => (Cause::IdleDrop, Inferred),
            ETIMEDOUT if socket.own.user_timeout_ms > 0 => (Cause::UserTimeout, Exact),
            ETIMEDOUT if self.unacked || self.unsent => (Cause::RetransmitTimeout, Exact),
            ENETDOWN | ENETUNREACH | EHOSTDOWN | EHOSTUNREACH => (Cause::Unreachable, Exact),
            _ => (Cause::Unknown, Inferred),
        }
    }
}

impl Death {
    /// What says so, in words.
    pub fn evidence(&self, socket: &Socket) -> String {
        let ending = &self.ending;
        let silent = tenths(self.silent_ms);
        let quiet = duration(self.quiet_ms / 1000);
        let probes = match self.probes_unanswered {
            1 => "1 probe".to_owned(),
            n => format!("{n} probes"),
        };
        match self.cause {
            Cause::KeepaliveTimeout if socket.own.user_timeout_ms > 0 => format!(
                "the keepalive timer ended it: {probes} unanswered and nothing received for \
                 {silent}, longer than the user timeout of {} ms",
                socket.own.user_timeout_ms
            ),
            Cause::KeepaliveTimeout => format!(
                "the keepalive timer ended it: {probes} unanswered, nothing received for {silent}"
            ),
            Cause::KeepaliveReset => format!(
                "a reset answered the probe after {silent} of silence: the peer, or what stands in \
                 between, did not know the connection any more"
            ),
            Cause::IdleDrop if ending.errno == ETIMEDOUT => format!(
                "quiet for {quiet}, then data met silence: {} retransmissions unanswered",
                ending.retransmits
            ),
            Cause::IdleDrop => format!("quiet for {quiet}, then the first data met a reset"),
            Cause::UserTimeout => format!(
                "data was not acknowledged for the user timeout of {} ms: {} retransmissions",
                socket.own.user_timeout_ms, ending.retransmits
            ),
            Cause::RetransmitTimeout if !ending.unacked => {
                format!("the peer's window stayed closed, and {probes} of it went unanswered")
            }
            Cause::RetransmitTimeout => format!(
                "{} retransmissions unanswered, nothing received for {silent}",
                ending.retransmits
            ),
            Cause::PeerReset => format!("a reset came {silent} after the last packet"),
            Cause::Unreachable => format!(
                "the network answered {}; {} retransmissions",
                errno_name(ending.errno),
                ending.retransmits
            ),
            Cause::ConnectFailed if ending.errno == 0 => {
                "the program gave up connecting".to_owned()
            }
            Cause::ConnectFailed => {
                format!("connecting ended with {}", errno_name(ending.errno))
            }
            Cause::PeerClosed if ending.errno != 0 => {
                format!("the peer closed it first; then {}", errno_name(ending.errno))
            }
            Cause::PeerClosed => "the peer closed it first".to_owned(),
            Cause::LocalClosed if ending.errno != 0 => {
                format!("this host closed it first; then {}", errno_name(ending.errno))
            }
            Cause::LocalClosed => "this host closed it first".to_owned(),
            Cause::LocalReset if ending.errno == ECONNABORTED => {
                "it was aborted from outside the program, as `ss -K` does".to_owned()
            }
            Cause::LocalReset => {
                "the program closed it with unread data, or with SO_LINGER 0".to_owned()
            }
            Cause::Unknown if ending.errno != 0 => {
                format!("it ended with {}", errno_name(ending.errno))
            }
            Cause::Unknown => match ending.found {
                Discovery::Reported => "the kernel gave no reason".to_owned(),
                Discovery::Freed => {
                    "the kernel did not report it; known only because the socket was freed"
                        .to_owned()
                }
                Discovery::Closed => {
                    "the kernel did not report it; found closed by a snapshot".to_owned()
                }
                Discovery::Gone => {
                    "the kernel did not report it; found gone by a snapshot".to_owned()
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::socket::tests_support::socket;

    fn judged(socket: &Socket, old: State, ending: Ending, survived_ms: u32) -> (Cause, Certainty) {
        let death = Death::of(socket, old, ending, survived_ms).unwrap();
        (death.cause, death.certainty)
    }

    #[test]
    fn data_after_silence_is_an_idle_drop_unless_the_connection_survived_as_much_before() {
        let silent = Socket { silent_ms: 350_500, ..socket() };
        let reset =
            Ending { errno: ECONNRESET, unacked: true, sent_ms: Some(500), ..Ending::default() };
        let death = Death::of(&silent, State::Established, reset, 0).unwrap();
        assert_eq!((death.cause, death.quiet_ms), (Cause::IdleDrop, 350_000));
        let survived = judged(&silent, State::Established, reset, 349_000);
        assert_eq!(survived, (Cause::PeerReset, Certainty::Exact));
        let silence = Ending {
            errno: ETIMEDOUT,
            unacked: true,
            retransmits: 5,
            retransmitting_ms: Some(13_000),
            sent_ms: Some(400),
            ..Ending::default()
        };
        let death = Death::of(&silent, State::Established, silence, 0).unwrap();
        assert_eq!((death.cause, death.quiet_ms), (Cause::IdleDrop, 337_500));
        let busy = Socket { silent_ms: 13_100, ..socket() };
        let busy = judged(&busy, State::Established, silence, 0);
        assert_eq!(busy, (Cause::RetransmitTimeout, Certainty::Exact));
    }

    #[test]
    fn a_reset_is_told_by_what_it_answers() {
        let reset = Ending { errno: ECONNRESET, ..Ending::default() };
        let probing = Socket { keepalive: true, probes_unanswered: 1, ..socket() };
        let of = |socket: &Socket, old| judged(socket, old, reset, 0).0;
        assert_eq!(of(&probing, State::Established), Cause::KeepaliveReset);
        assert_eq!(of(&socket(), State::Established), Cause::PeerReset);
        assert_eq!(of(&socket(), State::FinWait1), Cause::LocalClosed);
        assert_eq!(of(&socket(), State::CloseWait), Cause::PeerClosed);
        assert_eq!(of(&socket(), State::SynSent), Cause::ConnectFailed);
    }

    #[test]
    fn who_closed_first_is_told_by_the_state() {
        let of = |old| judged(&socket(), old, Ending::default(), 0).0;
        assert_eq!(of(State::LastAck), Cause::PeerClosed);
        assert_eq!(of(State::FinWait2), Cause::LocalClosed);
        assert_eq!(of(State::Closing), Cause::LocalClosed);
        assert_eq!(of(State::Established), Cause::LocalReset);
        assert_eq!(Death::of(&socket(), State::Listen, Ending::default(), 0), None);
    }
}
