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
    text::{closed_set::closed_set, duration::tenths},
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
const MIDDLEBOX_MS: u32 = 20_000;

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
    pub fn is_forgotten(&self, socket: &Socket) -> bool {
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

impl Death {
    /// What says so, in words.
    pub fn evidence(&self, socket: &Socket) -> String {
        let evidence = self.own_evidence(socket);
        let n_others = |n: u32| match n {
            1 => "1 other connection".to_owned(),
            n => format!("{n} other connections"),
        };
        match self.others {
            Others::Unknown => evidence,
            Others::Answered(n) => {
                format!("{evidence}; {} to the same peer: answered meanwhile", n_others(n))
            }
            Others::Silent(n) => format!(
                "{evidence}; {} to the same peer that had not been quiet: silent since then, too; an outage of the peer or \
                 its path, not an idle limit",
                n_others(n)
            ),
        }
    }

    fn own_evidence(&self, socket: &Socket) -> String {
        let ending = &self.ending;
        let silent = tenths(self.silent_ms);
        let quiet = tenths(self.quiet_ms);
        let probes = match self.probes_unanswered {
            1 => "1 probe".to_owned(),
            n => format!("{n} probes"),
        };
        let repeated = match ending.retransmits {
            1 => "1 retransmission".to_owned(),
            n => format!("{n} retransmissions"),
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
            Cause::IdleDrop if ending.errno == ETIMEDOUT => {
                format!("quiet for {quiet}, then data met silence: {repeated} unanswered")
            }
            Cause::IdleDrop => format!("quiet for {quiet}, then the first data met a reset"),
            Cause::UserTimeout => {
                let network = match ending.errno {
                    ETIMEDOUT => String::new(),
                    errno => format!("; the network said {}", errno_name(errno)),
                };
                format!(
                    "data was not acknowledged for the user timeout of {} ms: {repeated}{network}",
                    socket.own.user_timeout_ms
                )
            }
            Cause::RetransmitTimeout if !ending.unacked => {
                format!("the peer's window stayed closed, and {probes} of it went unanswered")
            }
            Cause::RetransmitTimeout => {
                format!("{repeated} unanswered, nothing received for {silent}")
            }
            Cause::Abandoned => {
                let what = if ending.unacked { "its last data" } else { "its FIN" };
                let answer = match ending.errno {
                    ECONNRESET | EPIPE | ECONNREFUSED => "met a reset",
                    _ => "was never answered",
                };
                format!(
                    "this host closed it, and {what} {answer}: {repeated}, nothing received for {silent}; the path or the \
                     peer was gone"
                )
            }
            Cause::PeerReset if ending.is_reset_by_program() => format!(
                "a reset came {} after data was sent, later than a round trip: the peer closed it with that data unread, \
                 as a program does by an idle timeout of its own; it had been quiet for {quiet}",
                tenths(ending.sent_ms.unwrap_or_default())
            ),
            Cause::PeerReset if ending.unacked => format!(
                "a reset came {silent} after the last packet of the peer, and {} after data was sent that it had not \
                 acknowledged",
                tenths(ending.sent_first_ms().unwrap_or_default())
            ),
            Cause::PeerReset if self.silent_ms >= MIDDLEBOX_MS => format!(
                "a reset came {silent} after the last packet, with nothing in flight: a restart, a purge of a pool or a \
                 device that says when it forgets look the same"
            ),
            Cause::PeerReset => format!("a reset came {silent} after the last packet"),
            Cause::Unreachable => format!(
                "the network answered {}, and the kernel gave up after {repeated}",
                errno_name(ending.errno),
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
    use crate::model::observed::{
        setting::OwnSettings, socket::tests_support::socket, watched::Watched,
    };

    const RESET: Ending = Ending {
        found: Discovery::Reported,
        errno: ECONNRESET,
        soft_errno: 0,
        retransmits: 0,
        retransmitting_ms: None,
        sent_ms: Some(0),
        round_trip_us: Some(300),
        unacked: true,
        unsent: false,
        in_keepalive_timer: false,
    };
    /// Data was repeated for 13 s.
    const SILENCE: Ending = Ending {
        errno: ETIMEDOUT,
        retransmits: 5,
        retransmitting_ms: Some(13_000),
        sent_ms: Some(400),
        ..RESET
    };

    fn quiet(silent_ms: u32) -> Socket {
        Socket { silent_ms, ..socket() }
    }

    fn cause(socket: &Socket, old: State, ending: Ending, limit_ms: Option<u64>) -> Cause {
        Death::of(socket, old, ending, limit_ms).unwrap().cause
    }

    fn established(socket: &Socket, ending: Ending) -> Cause {
        cause(socket, State::Established, ending, None)
    }

    #[test]
    fn data_after_silence_is_an_idle_drop_unless_the_connection_survived_as_much_before() {
        let death = Death::of(&quiet(350_000), State::Established, RESET, None).unwrap();
        assert_eq!((death.cause, death.quiet_ms), (Cause::IdleDrop, 350_000));
        let watched = Watched { longest_quiet_ms: 349_000, ..Watched::default() };
        let survived = Socket { watched, ..quiet(350_000) };
        assert_eq!(established(&survived, RESET), Cause::PeerReset);
        let death = Death::of(&quiet(350_500), State::Established, SILENCE, None).unwrap();
        assert_eq!((death.cause, death.quiet_ms), (Cause::IdleDrop, 337_500));
        assert_eq!(established(&quiet(13_100), SILENCE), Cause::RetransmitTimeout);
    }

    #[test]
    fn an_idle_drop_takes_as_much_quiet_as_a_device_needs_to_forget() {
        // A ping each 3 s, and a cut wire.
        assert_eq!(established(&quiet(16_200), SILENCE), Cause::RetransmitTimeout);
        assert_eq!(established(&quiet(19_900), RESET), Cause::PeerReset);
        assert_eq!(established(&quiet(20_000), RESET), Cause::IdleDrop);
        // Unless the path is known for it.
        let of = |silent_ms| cause(&quiet(silent_ms), State::Established, RESET, Some(8_000));
        assert_eq!((of(6_500), of(6_300)), (Cause::IdleDrop, Cause::PeerReset));
        let own = OwnSettings { user_timeout_ms: 10_000, ..OwnSettings::default() };
        let timed = Socket { own, ..quiet(21_400) };
        assert_eq!(established(&timed, SILENCE), Cause::UserTimeout);
    }

    #[test]
    fn a_reset_later_than_a_round_trip_is_the_peers_program() {
        let after = |sent_ms| Ending { sent_ms: Some(sent_ms), ..RESET };
        assert_eq!(established(&quiet(60_000), after(28)), Cause::PeerReset);
        assert_eq!(established(&quiet(60_000), after(8)), Cause::IdleDrop);
        // Over the ocean a round trip takes its time.
        let far = Ending { round_trip_us: Some(150_000), ..after(160) };
        assert_eq!(established(&quiet(60_000), far), Cause::IdleDrop);
        let death = Death::of(&quiet(60_000), State::Established, after(28), None).unwrap();
        let evidence = death.evidence(&quiet(60_000));
        assert!(evidence.contains("with that data unread"), "{evidence}");
    }

    #[test]
    fn what_this_host_gave_up_is_no_orderly_end() {
        let fin = |errno| Ending { errno, unacked: false, retransmits: 3, ..RESET };
        let of = |silent_ms, old, errno| cause(&quiet(silent_ms), old, fin(errno), None);
        assert_eq!(of(20_000, State::FinWait1, ETIMEDOUT), Cause::Abandoned);
        assert_eq!(of(20_000, State::FinWait1, ECONNRESET), Cause::Abandoned);
        // The look-alikes: a busy connection that both ends drop, a FIN that was acknowledged.
        assert_eq!(of(500, State::FinWait1, ECONNRESET), Cause::LocalClosed);
        assert_eq!(of(20_000, State::FinWait2, ECONNRESET), Cause::LocalClosed);
        assert_eq!(of(20_000, State::FinWait2, 0), Cause::LocalClosed);
        // By a reset of its own, with its data unanswered; and without.
        let aborted = Ending { errno: 0, ..SILENCE };
        assert_eq!(established(&quiet(20_000), aborted), Cause::Abandoned);
        let orderly = Ending { errno: 0, unacked: false, ..RESET };
        assert_eq!(established(&quiet(20_000), orderly), Cause::LocalReset);
    }

    #[test]
    fn what_ended_it_is_named_beside_what_the_network_said() {
        let unreachable = Ending { errno: EHOSTUNREACH, ..SILENCE };
        assert_eq!(established(&quiet(13_500), unreachable), Cause::Unreachable);
        let own = OwnSettings { user_timeout_ms: 15_000, ..OwnSettings::default() };
        let timed = Socket { own, ..quiet(13_500) };
        let death = Death::of(&timed, State::Established, unreachable, None).unwrap();
        assert_eq!(death.cause, Cause::UserTimeout);
        let evidence = death.evidence(&timed);
        assert!(evidence.contains("15000 ms") && evidence.contains("EHOSTUNREACH"), "{evidence}");
    }

    #[test]
    fn others_to_the_same_peer_tell_an_outage_from_a_path_that_forgot() {
        let socket = quiet(73_000);
        let drop = Death::of(&socket, State::Established, SILENCE, None).unwrap();
        assert_eq!(drop.beside(&socket, Others::Answered(3)).cause, Cause::IdleDrop);
        let outage = drop.beside(&socket, Others::Silent(2));
        assert_eq!(outage.cause, Cause::RetransmitTimeout);
        assert!(outage.evidence(&socket).contains("an outage"), "{}", outage.evidence(&socket));
        let own = OwnSettings { idle_seconds: 60, ..OwnSettings::default() };
        let probed = Socket { keepalive: true, own, probes_unanswered: 3, ..quiet(75_000) };
        let ending = Ending { in_keepalive_timer: true, errno: ETIMEDOUT, unacked: false, ..RESET };
        let death = Death::of(&probed, State::Established, ending, None).unwrap();
        assert!(death.beside(&probed, Others::Answered(463)).is_forgotten(&probed));
        assert!(!death.beside(&probed, Others::Unknown).is_forgotten(&probed));
        // It survived that idle time before: so it is not what the path forgets after.
        let watched = Watched { longest_quiet_ms: 60_000, ..Watched::default() };
        let survivor = Socket { watched, ..probed };
        let death = Death::of(&survivor, State::Established, ending, None).unwrap();
        assert!(!death.beside(&survivor, Others::Answered(463)).is_forgotten(&survivor));
    }

    #[test]
    fn a_reset_is_told_by_what_it_answers() {
        let reset = Ending { unacked: false, ..RESET };
        let probing = Socket { keepalive: true, probes_unanswered: 1, ..socket() };
        let of = |socket: &Socket, old| cause(socket, old, reset, None);
        assert_eq!(of(&probing, State::Established), Cause::KeepaliveReset);
        assert_eq!(of(&socket(), State::Established), Cause::PeerReset);
        assert_eq!(of(&socket(), State::FinWait1), Cause::LocalClosed);
        assert_eq!(of(&socket(), State::CloseWait), Cause::PeerClosed);
        assert_eq!(of(&socket(), State::SynSent), Cause::ConnectFailed);
    }

    #[test]
    fn who_closed_first_is_told_by_the_state() {
        let of = |old| cause(&socket(), old, Ending::default(), None);
        assert_eq!(of(State::LastAck), Cause::PeerClosed);
        assert_eq!(of(State::FinWait2), Cause::LocalClosed);
        assert_eq!(of(State::Closing), Cause::LocalClosed);
        assert_eq!(of(State::Established), Cause::LocalReset);
        assert_eq!(Death::of(&socket(), State::Listen, Ending::default(), None), None);
    }
}
