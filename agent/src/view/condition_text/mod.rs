//! A condition in words: what can be seen of a connection now, since when, and what the kernel will do about it.

mod window;

use super::connection::{Connection, PathLimit, ms};
use crate::model::{
    judgement::{
        condition::{CANNOT_SEND, Condition},
        facts::ConnectionFacts as _,
        promise_text::probes_in_words,
        verdict::Verdict,
    },
    observed::socket::{Direction, State},
    text::{
        count::counted,
        duration::{duration, tenths},
    },
};

impl Connection {
    /// What its own probes do for it, in words; `it` is what the sentence calls it.
    pub(crate) fn probes_in_words(&self, it: &str) -> String {
        let PathLimit { idle_limit_seconds, idle_kept_seconds, idle_limit_from, .. } = &self.limit;
        // The gap of a row was reckoned when the row was made.
        let hz = 0;
        let known = (*idle_kept_seconds, *idle_limit_seconds, idle_limit_from.counts_bytes());
        probes_in_words(self, known, hz, it)
    }

    /// For how long the first of the probes that are unanswered is so, seconds; none if it may still be on its way, and where
    /// data is in flight.
    pub(crate) fn probe_unanswered_seconds(&self) -> Option<f64> {
        /// Longer than any round trip.
        const CLEARLY_SECONDS: f64 = 3.0;
        let since = self.unanswered_seconds?;
        // The answer may have come since the last look.
        (since - self.looked_at_seconds_ago >= CLEARLY_SECONDS).then_some(since)
    }

    /// Whether the peer has closed its half, and the program goes on sending: no leak.
    pub(crate) fn is_half_used(&self) -> bool {
        self.condition() == Condition::Fine && self.sent_since_peer_closed_seconds().is_some()
    }

    /// Where the peer has closed its half: how long ago the program sent data last, if that was after it.
    pub(crate) fn sent_since_peer_closed_seconds(&self) -> Option<f64> {
        let closed = self.peer_closed_seconds?;
        self.spoke_last_seconds.filter(|sent| *sent < closed)
    }

    /// How long ago this host sent the data that the peer has acknowledged and not answered by any: it may owe no answer. None
    /// while an answer may be on its way, and where the peer connected to us: what a server sends is the answer itself.
    pub(crate) fn unreplied_seconds(&self) -> Option<f64> {
        /// Longer than most answers take.
        const CLEARLY_SECONDS: f64 = 3.0;
        let may_ask = self.direction() == Direction::Outbound && !self.in_flight && self.is_open();
        let sent = self.spoke_last_seconds.filter(|_| may_ask)?;
        // The answer may have come since the last look.
        (sent - self.looked_at_seconds_ago >= CLEARLY_SECONDS).then_some(sent)
    }

    /// Since when, at least, the program of this host does not read what the peer has sent. None while it may be on it.
    pub(crate) fn unread_for_seconds(&self) -> Option<f64> {
        /// A program may be busy with what it read before.
        const CLEARLY_SECONDS: f64 = 5.0;
        let unread = self.unread_seconds.filter(|_| self.is_open())?;
        (unread - self.looked_at_seconds_ago >= CLEARLY_SECONDS).then_some(unread)
    }

    /// Unprotected, and never quiet for more than half of the limit since it is watched: it is not `kept` yet, because it
    /// was not watched for long enough.
    pub(crate) fn is_busy_so_far(&self) -> bool {
        let limit = f64::from(self.limit.idle_limit_seconds);
        self.verdict.is_some_and(Verdict::is_unprotected)
            && self.is_open()
            && !self.limit.idle_limit_from.counts_bytes()
            && self.watched_seconds >= limit
            && self.longest_seen_quiet_seconds() <= limit / 2.0
    }

    /// Whether the peer had closed it and has all that was written: what goes unanswered is this host's FIN.
    pub(crate) fn lacks_the_last_ack(&self) -> bool {
        self.fin_only && self.state == State::LastAck
    }

    /// Whether what was written waits because it could not be sent, or not repeated.
    pub(crate) fn is_held_back(&self) -> bool {
        let is_waiting = matches!(self.condition(), Condition::Stuck | Condition::Blocked);
        is_waiting && (self.in_flight && self.retransmits == 0 || self.could_not_send)
    }
}

/// Why what was written could not be sent, in words; none if it was sent, or nothing waits.
pub(crate) fn held_back_in_words(connection: &Connection) -> Option<&'static str> {
    connection.is_held_back().then_some(if connection.window_closed {
        "the peer's window is closed, and it does not answer probes of it"
    } else {
        CANNOT_SEND
    })
}

/// What ICMP says of what is unanswered, in words; nothing of what did not leave this host.
pub(crate) fn network_error_in_words(connection: &Connection) -> Option<String> {
    let is_unanswered = matches!(connection.condition(), Condition::Stuck | Condition::PeerSilent);
    let has_left = !connection.could_not_send && !connection.is_held_back();
    let error = connection.network_error.as_ref().filter(|_| is_unanswered && has_left)?;
    Some(match error.as_str() {
        "ECONNREFUSED" => format!("a firewall or the peer's host rejects it by ICMP ({error})"),
        _ => format!(
            "ICMP says that there is no way to the peer, or that a firewall rejects it ({error})"
        ),
    })
}

/// How a connection is now, in words; none if nothing is wrong.
pub(crate) fn condition_in_words(connection: &Connection) -> Option<String> {
    let since = connection.condition_seconds.unwrap_or_default();
    let for_long = for_long(connection);
    let gives_up = connection
        .gives_up_seconds
        .map_or_else(String::new, |rest| format!("; the kernel gives up {}", soon(rest)));
    let network =
        network_error_in_words(connection).map_or_else(String::new, |said| format!("; {said}"));
    let closed = if connection.lacks_the_last_ack() {
        "; the peer had closed it before this host did: nothing is lost"
    } else if connection.orphan {
        "; this host has closed it: nobody waits for it any more"
    } else {
        ""
    };
    Some(match connection.condition() {
        Condition::Stuck if connection.state == State::SynSent => {
            let n = u32::from(connection.retransmits) + 1;
            let syns = counted(n, "SYN");
            format!("it is being opened: {syns} got no answer, for {}{network}{gives_up}", time(since))
        }
        Condition::Stuck if let Some(why) = held_back_in_words(connection) => {
            format!("what was written could not be sent for {}: {why}{gives_up}", time(since))
        }
        Condition::Blocked => format!(
            "the peer's program does not read enough, for {}: its window is closed, {}{}{closed}{gives_up}",
            time(since),
            connection.window_probes_in_words(),
            connection.unread_for_seconds().map_or_else(String::new, |unread| format!(
                "; nor has the program here read what came {} ago",
                time(unread)
            ))
        ),
        Condition::Stuck => {
            let what = if connection.fin_only { "the FIN" } else { "data" };
            let before = connection.silent_seconds - since;
            let sent = if before >= 1.0 {
                format!(", sent after {} of silence,", time(before))
            } else {
                String::new()
            };
            let repeated = counted(connection.retransmits, "retransmission");
            let for_long = time(since);
            format!("{what}{sent} is unanswered for {for_long}, {repeated}{network}{closed}{gives_up}")
        }
        Condition::PeerSilent => {
            // Beside a user timeout the kernel does not count.
            let of = match connection.settings.user_timeout_ms {
                0 => format!(" of {}", connection.settings.count.probes),
                _ => String::new(),
            };
            let (what, are) = match connection.probes_unanswered {
                1 if of.is_empty() => ("probe", "is"),
                _ => ("probes", "are"),
            };
            let n = connection.probes_unanswered;
            let here = if connection.could_not_send {
                format!("; they do not leave this host: {CANNOT_SEND}")
            } else {
                network
            };
            format!("{n}{of} {what} {are} unanswered, for {}{here}{gives_up}", time(since))
        }
        Condition::Overdue if connection.quiet_at_most => {
            "quiet for longer than its path keeps it, unless the peer probes it, which is not seen without eBPF".to_owned()
        }
        Condition::Overdue => {
            "quiet for longer than its path keeps it: probably forgotten already".to_owned()
        }
        Condition::Unaccepted => {
            let of = one_of_listeners(connection).unwrap_or_default();
            format!("in the accept queue{of} {for_long}: the program does not take it")
        }
        Condition::PeerClosed => match connection.sent_since_peer_closed_seconds() {
            Some(sent) => format!(
                "the peer has closed its half, {for_long}, and the program ours not: it sent data last {} ago",
                time(sent)
            ),
            None => format!(
                "the peer has closed it, the program has not, {for_long}, nor sent anything since"
            ),
        },
        Condition::Fine => {
            let unread = || {
                let unread = time(connection.unread_for_seconds()?);
                Some(format!("the program here has not read what came {unread} ago"))
            };
            let said = unread().or_else(|| half_used(connection));
            return said.or_else(|| probe_on_its_way(connection)).or_else(|| {
                let since = connection.unreplied_seconds()?;
                Some(format!(
                    "the peer has sent no data since ours went out {} ago, which it acknowledged",
                    time(since)
                ))
            });
        }
    })
}

/// That nobody can tell in whose queue it waits.
pub(crate) fn one_of_listeners(connection: &Connection) -> Option<String> {
    let n = connection.listeners.filter(|n| *n > 1)?;
    Some(format!(" of one of {n} listening sockets"))
}

/// For how long its condition has lasted.
fn for_long(connection: &Connection) -> String {
    let at_least = if connection.condition_at_least { "at least " } else { "" };
    format!("for {at_least}{}", time(connection.condition_seconds.unwrap_or_default()))
}

/// What is legal, and no leak.
fn half_used(connection: &Connection) -> Option<String> {
    let sent = connection.sent_since_peer_closed_seconds()?;
    Some(format!(
        "the peer has closed its half, and the program goes on sending: last {} ago, and it is acknowledged",
        time(sent)
    ))
}

fn probe_on_its_way(connection: &Connection) -> Option<String> {
    let since = connection.probe_unanswered_seconds().filter(|_| connection.is_open())?;
    let next = connection.next_probe_seconds.unwrap_or_default();
    Some(format!(
        "a probe was sent {} ago and is not answered yet; the next goes out {}",
        time(since),
        soon(next)
    ))
}

/// When something comes that is known only about.
pub(crate) fn soon(seconds: f64) -> String {
    if seconds < 1.0 {
        return "any moment now".to_owned();
    }
    format!("in about {}", duration(ms(seconds).div_ceil(1000)))
}

fn time(seconds: f64) -> String {
    tenths(ms(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observed::{
            errno::{ECONNREFUSED, EHOSTUNREACH},
            peer_closed::PeerClosed,
            socket::Socket,
        },
        view::life::tests_support::{app, live},
    };

    fn said(socket: &Socket) -> Option<String> {
        condition_in_words(&live(socket).connection)
    }

    #[test]
    fn what_is_about_to_come_comes_any_moment_and_is_never_said_to_a_tenth() {
        let said = [0.0, 0.9, 1.0, 9.1, 88.2].map(soon);
        let expected = [
            "any moment now",
            "any moment now",
            "in about 1 s",
            "in about 10 s",
            "in about 1 min 29 s",
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn what_hangs_says_since_when_after_what_and_until_when() {
        let stuck = Socket {
            in_flight: true,
            retransmits: 7,
            retransmitting_ms: Some(39_000),
            silent_ms: 119_000,
            ..app(1, None, 39_000)
        };
        let expected = "data, sent after 1 min 20 s of silence, is unanswered for 39 s, 7 retransmissions; the \
                        kernel gives up in about 14 min 50 s";
        assert_eq!(said(&stuck).as_deref(), Some(expected));
        let opening = said(&Socket { state: State::SynSent, ..stuck }).unwrap();
        let expected = "it is being opened: 8 SYNs got no answer, for 39 s; the kernel gives up in about 1 min 32 s";
        assert_eq!(opening, expected);
        let unread = Socket {
            retransmits: 0,
            window_closed: true,
            retransmitting_ms: Some(9_000),
            silent_ms: 3_000,
            ..stuck
        };
        let expected = "the peer's program does not read enough, for 9.0 s: its window is closed, its host answers";
        assert_eq!(said(&unread).as_deref(), Some(expected));
        let orphan = Socket { is_orphan: true, state: State::FinWait1, ..stuck };
        let said_of_orphan = said(&orphan).unwrap();
        assert!(said_of_orphan.contains("nobody waits for it any more"), "{said_of_orphan}");
        assert_eq!(said(&app(1, Some(60), 0)), None);
    }

    #[test]
    fn what_icmp_says_is_said_of_what_nobody_answers_and_of_nothing_else() {
        let stuck = Socket {
            in_flight: true,
            retransmits: 7,
            retransmitting_ms: Some(39_000),
            ..app(1, None, 39_000)
        };
        let with = |soft_errno, socket| said(&Socket { soft_errno, ..socket });
        let no_way = with(EHOSTUNREACH, stuck).unwrap();
        let expected = "7 retransmissions; ICMP says that there is no way to the peer, or that a firewall rejects it \
                        (EHOSTUNREACH); the kernel gives up";
        assert!(no_way.contains(expected), "{no_way}");
        let refused = with(ECONNREFUSED, stuck).unwrap();
        assert!(refused.contains("rejects it by ICMP (ECONNREFUSED)"), "{refused}");
        assert!(!said(&stuck).unwrap().contains("ICMP"));
        // It did not leave this host; or the peer answers.
        let here = with(EHOSTUNREACH, Socket { could_not_send: true, ..stuck }).unwrap();
        assert!(here.contains("there is no route") && !here.contains("ICMP"), "{here}");
        assert_eq!(with(EHOSTUNREACH, app(1, Some(60), 0)), None);
        // Probes: this host's own routing leaves the same error behind.
        let probed = |could_not_send| Socket {
            probes_unanswered: 3,
            silent_ms: 90_000,
            could_not_send,
            soft_errno: EHOSTUNREACH,
            ..app(1, Some(60), 90_000)
        };
        let in_words = |socket| network_error_in_words(&live(&socket).connection);
        assert!(in_words(probed(false)).is_some_and(|said| said.contains("ICMP")));
        assert_eq!(in_words(probed(true)), None);
    }

    #[test]
    fn what_cannot_be_sent_is_told_from_what_nobody_answers() {
        let held = Socket {
            in_flight: true,
            retransmitting_ms: Some(39_000),
            probes_unanswered: 3,
            ..app(1, None, 39_000)
        };
        let here = said(&held).unwrap();
        assert!(
            here.contains("39 s: there is no route, its") && here.contains("14 min 50 s"),
            "{here}"
        );
        let dark = said(&Socket { window_closed: true, ..held }).unwrap();
        assert!(dark.contains("does not answer probes"), "{dark}");
        let full = Socket { window_closed: true, probes_unanswered: 0, silent_ms: 13_000, ..held };
        let expected = "the peer's program does not read enough, for 39 s: its window is closed, its host answers";
        assert_eq!(said(&full).as_deref(), Some(expected));
    }

    #[test]
    fn what_the_peer_has_closed_says_since_when_and_whether_the_program_still_sends() {
        let since = |ms, is_seen| Some(PeerClosed { ms, is_seen });
        let closed = Socket {
            state: State::CloseWait,
            peer_closed: since(90_000, true),
            silent_ms: 4_000,
            ..app(1, Some(5), 4_000)
        };
        let text = said(&closed).unwrap();
        assert!(text.contains("the program has not, for 1 min 30 s, nor sent"), "{text}");
        let older = Socket { peer_closed: since(90_000, false), ..closed };
        let text = said(&older).unwrap();
        assert!(text.contains("for at least 1 min 30 s"), "{text}");
        let used = said(&Socket { spoke_last_ms: Some(400), ..closed }).unwrap();
        assert!(used.contains("goes on sending: last 0.4 s ago"), "{used}");
        let left = said(&Socket { spoke_last_ms: Some(70_000), ..closed }).unwrap();
        assert!(left.contains("it sent data last 1 min 10 s ago"), "{left}");
    }

    #[test]
    fn what_was_acknowledged_and_not_answered_is_said_and_an_idle_connection_is_not() {
        let asked = Socket { spoke_last_ms: Some(23_000), ..app(1, Some(60), 23_000) };
        let text = said(&asked).unwrap();
        assert_eq!(
            text,
            "the peer has sent no data since ours went out 23 s ago, which it acknowledged"
        );
        // The peer's answer came last, or may be on its way.
        assert_eq!(said(&Socket { spoke_last_ms: None, ..asked }), None);
        assert_eq!(said(&Socket { spoke_last_ms: Some(1_000), ..asked }), None);
        assert_eq!(said(&Socket { in_flight: true, ..asked }), None);
        // A server's answer: nobody owes one to that.
        assert_eq!(said(&Socket { direction: Direction::Inbound, ..asked }), None);
    }

    #[test]
    fn what_does_not_leave_this_host_is_said_of_repetitions_and_of_probes() {
        let repeated = Socket {
            in_flight: true,
            retransmits: 4,
            retransmitting_ms: Some(9_000),
            silent_ms: 9_200,
            ..app(1, None, 9_000)
        };
        let dark = said(&repeated).unwrap();
        assert!(!dark.contains("route") && dark.contains("4 retransmissions"), "{dark}");
        let here = said(&Socket { could_not_send: true, ..repeated }).unwrap();
        assert!(here.contains("could not be sent for 9.0 s: there is no route"), "{here}");
        let mut probed = Socket { probes_unanswered: 3, ..app(1, Some(10), 90_000) };
        probed.own.interval_seconds = 10;
        let text = said(&probed).unwrap();
        assert!(!text.contains("route"), "{text}");
        let text = said(&Socket { could_not_send: true, ..probed }).unwrap();
        assert!(text.contains("they do not leave this host: there is no route"), "{text}");
    }

    #[test]
    fn probes_are_counted_against_a_number_only_where_that_number_decides() {
        let mut silent = app(1, Some(10), 150_000);
        (silent.own.interval_seconds, silent.own.count) = (10, 9);
        let silent = Socket { probes_unanswered: 7, timer_ms: Some(5_000), ..silent };
        let counted = said(&silent).unwrap();
        assert!(counted.starts_with("7 of 9 probes are unanswered, for "), "{counted}");
        let mut by_time = Socket { probes_unanswered: 14, ..silent };
        by_time.own.user_timeout_ms = 300_000;
        let timed = said(&by_time).unwrap();
        assert!(timed.starts_with("14 probes are unanswered, for "), "{timed}");
    }

    #[test]
    fn a_single_probe_is_said_to_be_unanswered_once_it_can_not_be_on_its_way() {
        let sent = |ago_ms: u32| {
            let mut socket = app(1, Some(60), 60_000);
            socket.own.interval_seconds = 60;
            Socket { probes_unanswered: 1, timer_ms: Some(60_000 - ago_ms), ..socket }
        };
        let expected =
            "a probe was sent 44 s ago and is not answered yet; the next goes out in about 16 s";
        assert_eq!(said(&sent(44_000)).as_deref(), Some(expected));
        assert_eq!(said(&sent(2_000)), None);
        // Nobody has looked since it was sent.
        let mut unseen = sent(44_000);
        unseen.watched.age_ms = 43_000;
        assert_eq!(said(&unseen), None);
    }

    #[test]
    fn a_program_that_does_not_read_what_came_is_said_so_and_one_that_may_be_on_it_is_not() {
        let unread = |unread_ms| Socket { unread_ms, ..app(1, None, 0) };
        let text = said(&unread(Some(57_000))).unwrap();
        assert_eq!(text, "the program here has not read what came 57 s ago");
        assert_eq!(said(&unread(Some(4_000))), None, "it may be busy with what it read before");
        assert_eq!(said(&unread(None)), None);
        // Both ends write, and neither reads.
        let blocked = Socket {
            in_flight: true,
            window_closed: true,
            retransmitting_ms: Some(9_000),
            ..unread(Some(57_000))
        };
        let text = said(&blocked).unwrap();
        assert!(text.ends_with("; nor has the program here read what came 57 s ago"), "{text}");
    }
}
