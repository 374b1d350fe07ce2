//! The evidence for a cause of death, in words.

use super::{Cause, Death, GivenUp, MIDDLEBOX_MS, Others};
use crate::model::{
    judgement::condition::CANNOT_SEND,
    observed::{
        ending::{Discovery, Ending, Unacked},
        errno::{ECONNABORTED, ECONNRESET, EPIPE, ETIMEDOUT, errno_name},
        peer_closed::PeerClosed,
        probe_timing::quiet_before::ProbeAfter,
        socket::{Socket, State},
    },
    text::{
        count::counted,
        duration::{duration, tenths},
    },
};

impl Death {
    /// What says so, in words.
    pub fn evidence(&self, socket: &Socket) -> String {
        let mut evidence = format!("{}{}", self.own_evidence(socket), self.could_not_send(socket));
        if socket.was_closed_by_peer() && self.is_given_up() {
            evidence =
                format!("{}, and its program wrote into it; {evidence}", closed_before(socket));
        }
        if let Some(ms) = self.ending.held_back_ms
            && !evidence.contains(CANNOT_SEND)
        {
            let tried = tenths(ms);
            evidence = format!(
                "{evidence}; that had been tried for {tried}, and this host could not send it: {CANNOT_SEND}; what lies between may \
                 have forgotten the connection meanwhile"
            );
        }
        evidence += &self.other_reason_in_words();
        let n_others = |n: u32| counted(n, "other connection");
        match self.others {
            Others::Unknown => evidence,
            Others::Answered(n) => {
                format!("{evidence}; {} to the same peer: answered meanwhile", n_others(n))
            }
            Others::HostAnswered(n) => format!(
                "{evidence}; {} to other ports of the same host: answered meanwhile, so the path probably forgot this one",
                n_others(n)
            ),
            Others::Silent(n) => format!(
                "{evidence}; {} to the same peer that had not been quiet: silent since then, too; an outage of the peer or \
                 its path, not an idle limit",
                n_others(n)
            ),
        }
    }

    /// Whether nobody answered what was sent.
    const fn is_given_up(&self) -> bool {
        matches!(
            self.cause,
            Cause::IdleDrop | Cause::UserTimeout | Cause::RetransmitTimeout | Cause::Unreachable
        )
    }

    /// For how long this host tried, and could not send, what was never answered, milliseconds. None if that left this host.
    pub fn unsent_ms(&self, socket: &Socket) -> Option<u32> {
        let Ending { held_back_ms, retransmitting_ms, unacked, .. } = self.ending;
        let is_unsent = match self.cause {
            Cause::UserTimeout | Cause::RetransmitTimeout if self.window_closed() => false,
            Cause::UserTimeout if unacked == Unacked::Nothing => true,
            Cause::RetransmitTimeout if unacked != Unacked::Data => true,
            Cause::UserTimeout
            | Cause::RetransmitTimeout
            | Cause::Abandoned
            | Cause::KeepaliveTimeout
            | Cause::ConnectFailed
            | Cause::Unreachable => socket.could_not_send,
            _ => false,
        };
        let tried_ms =
            || retransmitting_ms.unwrap_or_else(|| self.silent_ms.saturating_sub(self.quiet_ms));
        held_back_ms.or_else(|| is_unsent.then(tried_ms))
    }

    /// That what went unanswered, or the last of it, did not leave this host.
    fn could_not_send(&self, socket: &Socket) -> String {
        let what = match self.cause {
            Cause::KeepaliveTimeout => "the probes",
            Cause::UserTimeout | Cause::RetransmitTimeout | Cause::Abandoned
                if self.ending.unacked != Unacked::Nothing =>
            {
                "the repetitions"
            }
            Cause::ConnectFailed => "the SYN",
            _ => return String::new(),
        };
        if socket.could_not_send {
            format!("; {what} could not be sent by this host: {CANNOT_SEND}")
        } else {
            String::new()
        }
    }

    fn own_evidence(&self, socket: &Socket) -> String {
        let ending = &self.ending;
        if ending.found != Discovery::Reported {
            return self.evidence_of_unseen(socket);
        }
        let silent = tenths(self.silent_ms);
        let quiet = tenths(self.quiet_ms);
        let probes = counted(self.probes_unanswered, "probe");
        let repeated = self.repeated(socket);
        match self.cause {
            Cause::KeepaliveTimeout if socket.own.user_timeout_ms > 0 => format!(
                "the keepalive timer ended it: {probes} unanswered and nothing received for \
                 {silent}, longer than the user timeout of {} ms{}",
                socket.own.user_timeout_ms,
                self.sent_by_interval(socket)
            ),
            Cause::KeepaliveTimeout => format!(
                "the keepalive timer ended it: {probes} unanswered, nothing received for {silent}{}",
                self.sent_by_interval(socket)
            ),
            Cause::KeepaliveReset if self.could_be_forgotten => format!(
                "a reset answered the probe after {silent} of silence: the peer, or what stands in \
                 between, did not know the connection any more"
            ),
            Cause::KeepaliveReset => format!(
                "a reset answered the probe after {silent} of silence, which no path is known to forget after: most \
                 probably the peer was started anew"
            ),
            Cause::IdleDrop => self.evidence_of_idle_drop(socket, &quiet, &repeated),
            Cause::UserTimeout if self.window_closed() => {
                let timeout = socket.own.user_timeout_ms;
                format!(
                    "the peer's window stayed closed for the user timeout of {timeout} ms: its program did not read enough; {}",
                    self.heard_meanwhile(&silent),
                )
            }
            Cause::UserTimeout if ending.unacked == Unacked::Nothing => format!(
                "this host could not send what was written for the user timeout of {} ms{}: {CANNOT_SEND}",
                socket.own.user_timeout_ms,
                self.network(),
            ),
            Cause::UserTimeout => {
                let network = if socket.could_not_send { String::new() } else { self.network() };
                format!(
                    "data was not acknowledged for the user timeout of {} ms: {repeated}{network}",
                    socket.own.user_timeout_ms
                )
            }
            Cause::RetransmitTimeout if self.window_closed() => {
                format!("the peer's window stayed closed, and {probes} of it went unanswered")
            }
            Cause::RetransmitTimeout if ending.unacked != Unacked::Data => format!(
                "this host could not send what was written: {CANNOT_SEND}; nothing left it for {}",
                tenths(ending.retransmitting_ms.unwrap_or_default()),
            ),
            Cause::RetransmitTimeout => {
                format!("{repeated} unanswered, nothing received for {silent}")
            }
            Cause::Abandoned => self.evidence_of_abandoned(socket, &silent, &probes, &repeated),
            Cause::PeerReset if ending.is_reset_after_silence() => format!(
                "{repeated} unanswered for {}, sent after {quiet} of quiet, and then a reset came: the peer or its path was \
                 gone for a time, and when it was back the peer did not know the connection any more; it had closed it \
                 meanwhile, or was started anew",
                tenths(ending.sent_first_ms().unwrap_or_default())
            ),
            Cause::PeerReset if ending.is_reset_by_program() => self.evidence_of_unread(&quiet),
            Cause::PeerReset if let Some(quiet_ms) = ending.quiet_before_refusal_ms() => {
                self.evidence_of_refusal(quiet_ms)
            }
            Cause::PeerReset if ending.is_reset_after_repetition() => format!(
                "{repeated} unanswered, sent after {quiet} of quiet, and then a reset came: the peer, or what stands in between, \
                 did not know the connection any more; or it had been closed meanwhile, and a packet was lost"
            ),
            Cause::PeerReset if ending.unacked == Unacked::Data => format!(
                "a reset came {silent} after the last packet of the peer, and {} after data was sent that it had not \
                 acknowledged",
                tenths(ending.sent_first_ms().unwrap_or_default())
            ),
            Cause::PeerReset if self.silent_ms >= MIDDLEBOX_MS => format!(
                "a reset came {silent} after the last packet, with nothing in flight: a restart, a purge of a pool or a \
                 device that says when it forgets look the same"
            ),
            Cause::PeerReset => format!("a reset came {silent} after the last packet"),
            Cause::Unreachable
            | Cause::ConnectFailed
            | Cause::PeerClosed
            | Cause::LocalClosed
            | Cause::LocalReset
            | Cause::Unknown => self.other_evidence(socket, &repeated),
        }
    }

    /// How often it was repeated, or for how long: ICMP shortens the waits (RFC 6069, `tcp_ld_RTO_revert` in net/ipv4/tcp_ipv4.c),
    /// and the kernel counts no further than 255.
    fn repeated(&self, socket: &Socket) -> String {
        let waited_ms = self.ending.retransmitting_ms.filter(|_| socket.soft_errno != 0);
        waited_ms.map_or_else(
            || counted(self.ending.retransmits, "retransmission"),
            |ms| format!("retransmissions for {}", tenths(ms)),
        )
    }

    /// That the quiet time before the first of the probes was the interval, and that one after the idle time was answered.
    fn sent_by_interval(&self, socket: &Socket) -> String {
        let quiet = self.quiet_before_probe(socket);
        let quiet = quiet.filter(|quiet| quiet.after == ProbeAfter::Interval);
        quiet.map_or_else(String::new, |quiet| {
            format!(
                "; one that was sent after {} of quiet had been answered, and the first of these came {} later, by the interval",
                duration(socket.idle().value),
                tenths(quiet.ms)
            )
        })
    }

    fn evidence_of_unread(&self, quiet: &str) -> String {
        /// No server has a shorter idle timeout.
        const TIMEOUT_MS: u32 = 3000;
        let sent = milliseconds(self.ending.sent_ms.unwrap_or_default());
        let why = if self.quiet_ms >= TIMEOUT_MS {
            let or_device = if self.could_be_forgotten {
                "; a device that had forgotten it, and is slow to say so, looks the same"
            } else {
                ""
            };
            format!(
                "as a program does by an idle timeout of its own; it had been quiet for {quiet}{or_device}"
            )
        } else {
            format!(
                "as a program does that ends or is restarted; it had been quiet for {quiet} only"
            )
        };
        format!(
            "a reset came {sent} after data was sent, later than a round trip: the peer closed it with that data unread, {why}"
        )
    }

    fn evidence_of_refusal(&self, quiet_ms: u32) -> String {
        /// An idle timer that is due meets a request within this time, or never.
        const RACE_MS: u32 = 1000;
        let sent_ms = self.ending.sent_ms.unwrap_or_default();
        let why = if sent_ms <= RACE_MS {
            "as a program does that ends, is restarted, or whose own idle timeout is over"
        } else {
            "as a program does that ends, is restarted, or gives a request up"
        };
        format!(
            "a reset came {} after data was sent, which the peer had acknowledged: the peer closed it without an answer, {why}; \
             the peer had sent no data for {} before",
            milliseconds(sent_ms),
            tenths(quiet_ms),
        )
    }

    fn evidence_of_idle_drop(&self, socket: &Socket, quiet: &str, repeated: &str) -> String {
        if matches!(self.ending.errno, ECONNRESET | EPIPE) {
            let look_alike = match self.old {
                State::CloseWait | State::LastAck => {
                    " (a peer that had closed both halves looks the same)"
                }
                State::FinWait1 => {
                    " (and the FIN of this host with it: a peer that closes by a reset looks the same)"
                }
                _ => "",
            };
            let repeated = match self.ending.retransmits {
                0 => String::new(),
                _ => format!(", after {repeated} unanswered"),
            };
            return format!(
                "quiet for {quiet}, then the first data met a reset{repeated}{look_alike}"
            );
        }
        let ended_by = match socket.own.user_timeout_ms {
            0 => String::new(),
            ms => format!("; the user timeout of {ms} ms ended it"),
        };
        let network = self.network();
        let too_large = if self.may_be_too_large() {
            "; it filled a packet: a path that loses large packets, and does not say so, looks the same"
        } else {
            ""
        };
        format!(
            "quiet for {quiet}, then data met silence: {repeated} unanswered{network}{ended_by}{too_large}"
        )
    }

    fn evidence_of_abandoned(
        &self,
        socket: &Socket,
        silent: &str,
        probes: &str,
        repeated: &str,
    ) -> String {
        if let Some(given_up) = self.answered_too_late() {
            let GivenUp { ago_ms, silent_ms, waited_ms } = given_up;
            let so = if given_up.is_heard_meanwhile() {
                "the peer was heard meanwhile: what was sent did not get through"
            } else {
                "the peer answered after that: it or the path was gone for a time"
            };
            return format!(
                "this host closed it {} before its end, when data had been unanswered for {}, and nothing received for {}; {so}",
                tenths(u32::try_from(ago_ms).unwrap_or(u32::MAX)),
                tenths(waited_ms),
                tenths(silent_ms),
            );
        }
        if self.ending.unacked == Unacked::Nothing && self.ending.errno == 0 {
            return format!(
                "this host closed it by a reset while {probes} were unanswered, nothing received for {silent}; the path or the \
                 peer was gone"
            );
        }
        if self.window_closed() && !socket.could_not_send {
            let n_probes = counted(socket.probes_unanswered, "probe");
            return format!(
                "this host closed it while the peer's program did not read enough, and then {n_probes} of its window went unanswered, \
                 nothing received for {silent}{}; the path or the peer was gone",
                self.network()
            );
        }
        let what = if self.ending.has_unacked_data() { "its last data" } else { "its FIN" };
        let (answer, so) = match self.ending.errno {
            ECONNRESET | EPIPE => (
                "met a reset",
                "most probably the path or the peer was gone; a peer that closes by a reset looks the same",
            ),
            _ => ("was never answered", "the path or the peer was gone"),
        };
        let closed = match self.closed_after_ms().map(tenths) {
            None => "this host closed it".to_owned(),
            Some(after) if self.peer_spoke_last(socket) => {
                format!("this host closed it after {after} of quiet, when the peer had spoken last")
            }
            // Both sent data within a tick, or neither did: nobody knows whether it waited for an answer.
            Some(after) if !self.ending.was_asked_last() && self.probes_unanswered == 0 => {
                format!("this host closed it after {after} of quiet")
            }
            Some(after) => format!("this host closed it after {after} without an answer"),
        };
        let probes = match self.probes_unanswered {
            0 => String::new(),
            _ => format!("{probes} unanswered before, "),
        };
        if socket.could_not_send {
            return format!(
                "{closed}, and {what} {answer}: {probes}{repeated}, nothing received for {silent}"
            );
        }
        let network = self.network();
        format!(
            "{closed}, and {what} {answer}: {probes}{repeated}, nothing received for {silent}{network}; {so}"
        )
    }

    /// That it was closed while the peer's program had not answered.
    fn without_a_reply(&self, socket: &Socket) -> String {
        self.unreplied_ms(socket).map_or_else(String::new, |ms| {
            format!(
                ", {} after its last data, which the peer had acknowledged and not answered by any",
                tenths(ms)
            )
        })
    }

    fn heard_meanwhile(&self, silent: &str) -> String {
        if self.answers_window_probes() {
            format!("its host answered meanwhile, {silent} before the end")
        } else {
            format!("nothing was received for {silent}")
        }
    }

    /// What ICMP said meanwhile.
    fn network(&self) -> String {
        match self.ending.errno {
            0 | ETIMEDOUT | ECONNRESET | EPIPE => String::new(),
            errno => format!("; the network said {}", errno_name(errno)),
        }
    }

    /// The evidence for what is not silence.
    fn other_evidence(&self, socket: &Socket, repeated: &str) -> String {
        let ending = &self.ending;
        match self.cause {
            Cause::Unreachable if socket.could_not_send => format!(
                "this host could not send what was written, and gave up with {}: {CANNOT_SEND}",
                errno_name(ending.errno),
            ),
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
            Cause::PeerClosed if ending.has_unacked_data() => format!(
                "{}; its program wrote into it, and a reset answered",
                closed_before(socket)
            ),
            Cause::PeerClosed if ending.errno != 0 => {
                format!("the peer closed it first; then {}", errno_name(ending.errno))
            }
            Cause::PeerClosed => "the peer closed it first".to_owned(),
            Cause::LocalClosed if self.window_closed() => format!(
                "this host closed it while the peer's program did not read enough: its window stayed closed, and neither the last of \
                 what was written nor the FIN was ever taken; {}",
                self.heard_meanwhile(&tenths(self.silent_ms))
            ),
            Cause::LocalClosed if ending.errno != 0 => format!(
                "this host closed it first{}; then {}",
                self.without_a_reply(socket),
                errno_name(ending.errno)
            ),
            Cause::LocalClosed => {
                format!("this host closed it first{}", self.without_a_reply(socket))
            }
            Cause::LocalReset if ending.errno == ECONNABORTED => {
                "it was aborted from outside the program, as `ss -K` does".to_owned()
            }
            Cause::LocalReset if ending.unaccepted => {
                "nobody had accepted it: its listening socket was closed".to_owned()
            }
            Cause::LocalReset => format!(
                "the program closed it with unread data, or with SO_LINGER 0, or has moved it away (TCP_REPAIR, as CRIU does){}",
                self.without_a_reply(socket)
            ),
            Cause::Unknown if ending.errno != 0 => {
                format!("it ended with {}", errno_name(ending.errno))
            }
            Cause::Unknown => "the kernel gave no reason".to_owned(),
            _ => String::new(),
        }
    }
}

/// A short time, to the millisecond.
fn milliseconds(ms: u32) -> String {
    if ms < 1000 { format!("{ms} ms") } else { tenths(ms) }
}

/// That the peer had closed it, and when.
fn closed_before(socket: &Socket) -> String {
    match socket.peer_closed {
        Some(PeerClosed { ms, is_seen: true }) => {
            format!("the peer had closed it {} before", tenths(ms))
        }
        Some(PeerClosed { ms, is_seen: false }) => {
            format!("the peer had closed it at least {} before", tenths(ms))
        }
        None => "the peer had closed it".to_owned(),
    }
}
