//! The condition of a connection on its path: what its socket shows, or that it was quiet for longer than the path keeps it.

use super::{
    condition::{Condition, Diagnosis},
    facts::ConnectionFacts,
    verdict::{Surroundings, Verdict},
};

impl Surroundings {
    /// How a connection is now.
    pub fn condition(&self, of: &impl ConnectionFacts) -> Diagnosis {
        let over_ms = || {
            let over_ms = self.until_limit_ms(of, of.seen_quiet_ms())?.checked_neg()?;
            u64::try_from(over_ms).ok().filter(|&ms| ms > 0)
        };
        of.diagnosis().unwrap_or_else(|| match self.verdict(of) {
            Verdict::Off | Verdict::Late if of.is_open() => {
                over_ms().map_or(Diagnosis::FINE, |since_ms| Diagnosis {
                    condition: Condition::Overdue,
                    since_ms,
                    is_least: false,
                    gives_up_ms: None,
                })
            }
            _ => Diagnosis::FINE,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::verdict::tests_support::around,
        observed::{
            peer_closed::PeerClosed,
            setting::OwnSettings,
            socket::{Socket, State, tests_support::socket},
        },
    };
    use std::collections::BTreeSet;

    fn condition(socket: &Socket) -> Condition {
        around(350).condition(socket).condition
    }

    #[test]
    fn unanswered_data_is_stuck_and_says_until_when() {
        let stuck = Socket {
            in_flight: true,
            retransmits: 7,
            retransmitting_ms: Some(38_800),
            quiet_ms: 39_000,
            silent_ms: 119_000,
            ..socket()
        };
        let trouble = around(350).condition(&stuck);
        assert_eq!(trouble.condition, Condition::Stuck);
        assert_eq!((trouble.since_ms, trouble.gives_up_ms), (38_800, Some(928_488 - 38_800)));
        // Also a FIN that nobody acknowledges.
        let closing = Socket { state: State::FinWait1, is_orphan: true, ..stuck };
        assert_eq!(condition(&closing), Condition::Stuck);
        // One lost packet is everyday life.
        assert_eq!(condition(&Socket { retransmits: 1, ..stuck }), Condition::Fine);
        // A connect that hangs: its SYN is repeated less often.
        let connecting = around(350).condition(&Socket { state: State::SynSent, ..stuck });
        let found = (connecting.condition, connecting.gives_up_ms);
        assert_eq!(found, (Condition::Stuck, Some(131_000 - 38_800)));
        let begins = Socket { state: State::SynSent, quiet_ms: 400_000, ..socket() };
        assert_eq!(condition(&begins), Condition::Fine, "it is no connection yet");
    }

    #[test]
    fn two_unanswered_probes_are_a_silent_peer_and_one_is_not() {
        let own =
            OwnSettings { idle_seconds: 60, interval_seconds: 10, count: 5, user_timeout_ms: 0 };
        let probed = |probes_unanswered| Socket {
            keepalive: true,
            own,
            probes_unanswered,
            timer_ms: Some(4_000),
            ..socket()
        };
        assert_eq!(condition(&probed(1)), Condition::Fine);
        let trouble = around(350).condition(&probed(2));
        assert_eq!(trouble.condition, Condition::PeerSilent);
        assert_eq!((trouble.since_ms, trouble.gives_up_ms), (16_000, Some(34_000)));
        // Data that waits while nothing is in flight, and probes of the window that nobody answers.
        let waits = Socket { in_flight: true, retransmitting_ms: Some(1_400), ..probed(2) };
        assert_eq!(condition(&waits), Condition::Stuck);
        let has_just_sent = Socket { in_flight: true, ..probed(2) };
        assert_eq!(condition(&has_just_sent), Condition::PeerSilent);
    }

    #[test]
    fn a_peer_that_does_not_read_blocks_and_one_that_reads_slowly_does_not() {
        let held = Socket {
            in_flight: true,
            window_closed: true,
            retransmitting_ms: Some(23_000),
            ..socket()
        };
        let trouble = around(350).condition(&held);
        assert_eq!(
            (trouble.condition, trouble.since_ms, trouble.gives_up_ms),
            (Condition::Blocked, 23_000, None)
        );
        let slow = Socket { retransmitting_ms: Some(800), ..held };
        assert_eq!(condition(&slow), Condition::Fine);
        // Its user timeout counts from the first probe of the window (`tcp_probe_timer`).
        let own = OwnSettings { user_timeout_ms: 30_000, ..OwnSettings::default() };
        let limited = around(350).condition(&Socket { own, ..held });
        assert_eq!(limited.gives_up_ms, Some(7_000));
    }

    #[test]
    fn what_this_host_cannot_send_is_stuck_until_the_kernel_gives_up() {
        let held = Socket {
            in_flight: true,
            probes_unanswered: 3,
            retransmitting_ms: Some(1_400),
            silent_ms: 61_400,
            ..socket()
        };
        let trouble = around(350).condition(&held);
        assert_eq!(
            (trouble.condition, trouble.since_ms, trouble.gives_up_ms),
            (Condition::Stuck, 1_400, Some(928_488 - 1_400))
        );
        let waits_for_nagle = Socket { probes_unanswered: 0, retransmitting_ms: None, ..held };
        assert_eq!(condition(&waits_for_nagle), Condition::Fine);
    }

    #[test]
    fn quiet_past_the_limit_is_overdue_unless_something_protects_it() {
        let quiet = Socket { quiet_ms: 360_000, silent_ms: 360_000, ..socket() };
        let trouble = around(350).condition(&quiet);
        assert_eq!((trouble.condition, trouble.since_ms), (Condition::Overdue, 10_000));
        assert_eq!(condition(&Socket { quiet_ms: 340_000, ..quiet }), Condition::Fine);
        let own = OwnSettings { idle_seconds: 60, ..OwnSettings::default() };
        assert_eq!(condition(&Socket { keepalive: true, own, ..quiet }), Condition::Fine);
        // A program that has closed its own half waits for the answer; what it has closed for good ends by itself.
        let half = Socket { state: State::FinWait2, ..quiet };
        assert_eq!(condition(&half), Condition::Overdue);
        assert_eq!(condition(&Socket { is_orphan: true, ..half }), Condition::Fine);
        let mut local = around(350);
        local.host = BTreeSet::from([quiet.remote.addr]).into();
        assert_eq!(local.condition(&quiet).condition, Condition::Fine);
    }

    #[test]
    fn what_the_peer_has_closed_is_not_overdue() {
        let since = |ms, is_seen| Some(PeerClosed { ms, is_seen });
        let closed = Socket {
            state: State::CloseWait,
            quiet_ms: 900_000,
            silent_ms: 900_000,
            peer_closed: since(900_000, true),
            ..socket()
        };
        let trouble = around(350).condition(&closed);
        let found = (trouble.condition, trouble.since_ms, trouble.is_least);
        assert_eq!(found, (Condition::PeerClosed, 900_000, false));
        // What came after the FIN, an answer to a probe, changes nothing.
        let probed = Socket { quiet_ms: 4_000, silent_ms: 4_000, received_ms: 4_000, ..closed };
        assert_eq!(around(350).condition(&probed), trouble);
        let unseen = Socket { peer_closed: since(900_000, false), ..closed };
        assert!(around(350).condition(&unseen).is_least);
        let waiting = Socket { is_unaccepted: true, ..closed };
        assert_eq!(condition(&waiting), Condition::Unaccepted);
    }

    #[test]
    fn a_half_that_is_still_used_is_fine_and_stuck_as_soon_as_nobody_answers() {
        let used = Socket {
            state: State::CloseWait,
            peer_closed: Some(PeerClosed { ms: 900_000, is_seen: true }),
            spoke_last_ms: Some(400),
            ..socket()
        };
        assert_eq!(condition(&used), Condition::Fine);
        let left = Socket { spoke_last_ms: Some(120_000), ..used };
        assert_eq!(condition(&left), Condition::PeerClosed);
        let dark = Socket {
            in_flight: true,
            retransmits: 3,
            retransmitting_ms: Some(1_400),
            spoke_last_ms: None,
            ..used
        };
        assert_eq!(condition(&dark), Condition::Stuck);
    }

    #[test]
    fn the_urgent_ones_come_first() {
        assert!(
            Condition::Stuck < Condition::PeerSilent && Condition::PeerSilent < Condition::Overdue
        );
        assert!(Condition::ALL.iter().is_sorted_by_key(|condition| !condition.is_urgent()));
    }
}
