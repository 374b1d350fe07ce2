//! A connection that is gone without a report of its end: why, as far as the last look at it shows.

use super::{Cause, Certainty, Death, Others, Quiet};
use crate::model::{
    observed::{
        ending::{Discovery, Ending, Unacked},
        socket::{Socket, State, Time},
    },
    text::duration::tenths,
};

/// A single packet may be lost, and a single probe may just have gone out.
const N_UNANSWERED: u8 = 2;

impl Death {
    /// A connection that is found at `at` to be gone. `socket`: as it was seen last.
    pub fn unseen(socket: &Socket, found: Discovery, at: Time) -> Self {
        let unseen_ms = u32::try_from(at.ms_since(socket.at)).unwrap_or(u32::MAX);
        let later = |ms: u32| ms.saturating_add(unseen_ms);
        let survived_ms = socket.watched.longest_quiet_ms;
        let silent_ms = later(socket.silent_ms);
        let repeated_ms = socket.retransmitting_ms.filter(|_| is_repeating(socket));
        let quiet_ms = match (repeated_ms, socket.probing_ms()) {
            (Some(ms), _) => socket.silent_ms.saturating_sub(ms),
            (None, Some(ms)) if is_probing(socket) => {
                socket.silent_ms.saturating_sub(u32::try_from(ms).unwrap_or(u32::MAX))
            }
            _ => later(socket.quiet_ms),
        };
        let quiet = Quiet::of(quiet_ms, survived_ms, None);
        Self {
            cause: cause(socket, found, unseen_ms, quiet),
            certainty: Certainty::Inferred,
            old: socket.state,
            ending: Ending {
                found,
                unseen_ms,
                retransmits: if is_repeating(socket) { socket.retransmits } else { 0 },
                retransmitting_ms: repeated_ms.map(later),
                unacked: repeated_ms.map_or(Unacked::Nothing, |_| Unacked::Data),
                ..Ending::default()
            },
            quiet_ms,
            silent_ms,
            age_ms: None,
            given_up: None,
            probes_sent: 0,
            probes_unanswered: socket.probes_missed(),
            survived_ms,
            could_be_forgotten: quiet >= Quiet::Long
                && (is_repeating(socket) || is_probing(socket)),
            others: Others::Unknown,
            other_reason: None,
        }
    }

    /// How the end was found out, and what was known before.
    pub(super) fn evidence_of_unseen(&self, socket: &Socket) -> String {
        let found = match self.ending.found {
            Discovery::Reported | Discovery::Freed => "known only because the socket was freed",
            Discovery::Closed => "found closed by a snapshot",
            Discovery::Gone => "found gone by a snapshot",
        };
        let known = self.last_known(socket).map_or_else(String::new, |known| {
            format!("; as seen last, {} before: {known}", tenths(self.ending.unseen_ms))
        });
        format!("the kernel did not report it; {found}{known}")
    }

    fn last_known(&self, socket: &Socket) -> Option<String> {
        let closed = match self.old {
            State::CloseWait | State::LastAck => "the peer had closed it",
            State::FinWait1 | State::FinWait2 | State::Closing | State::TimeWait => {
                "this host had closed it"
            }
            _ if socket.is_orphan => "this host had closed it",
            _ => "",
        };
        let quiet = tenths(self.quiet_ms);
        let silent = tenths(self.silent_ms.saturating_sub(self.ending.unseen_ms));
        let unanswered = if self.ending.retransmits > 0 {
            format!(
                "{} retransmissions unanswered, nothing received for {silent}, quiet for {quiet} before the first of it",
                self.ending.retransmits
            )
        } else if is_probing(socket) {
            format!("{} probes unanswered, nothing received for {silent}", self.probes_unanswered)
        } else {
            String::new()
        };
        let known: Vec<&str> =
            [closed, &unanswered].into_iter().filter(|known| !known.is_empty()).collect();
        (!known.is_empty()).then(|| known.join(", "))
    }
}

const fn is_repeating(socket: &Socket) -> bool {
    socket.retransmits >= N_UNANSWERED && socket.retransmitting_ms.is_some()
}

fn is_probing(socket: &Socket) -> bool {
    socket.keepalive && !socket.in_flight && socket.probes_missed() >= N_UNANSWERED
}

/// What it died of most probably, `unseen_ms` after it was seen last.
fn cause(socket: &Socket, found: Discovery, unseen_ms: u32, quiet: Quiet) -> Cause {
    // What a walk finds closed is still open in a process: the program did not close it.
    let is_over = |left_ms: u64| found == Discovery::Closed || left_ms <= u64::from(unseen_ms);
    let we_closed = socket.is_orphan
        || matches!(
            socket.state,
            State::FinWait1 | State::FinWait2 | State::Closing | State::TimeWait
        );
    match socket.state {
        State::LastAck => return Cause::PeerClosed,
        // It may have come to be, and ended, in between.
        State::SynSent if !is_repeating(socket) => return Cause::Unknown,
        State::SynSent => return Cause::ConnectFailed,
        _ => {}
    }
    if is_repeating(socket) {
        let since_ms = u64::from(socket.retransmitting_ms.unwrap_or_default());
        let left_ms = socket.gives_up_repeating_ms().saturating_sub(since_ms);
        return match () {
            () if we_closed => Cause::Abandoned,
            () if quiet >= Quiet::Long && !socket.could_not_send => Cause::IdleDrop,
            () if !is_over(left_ms) => Cause::Abandoned,
            () if socket.own.user_timeout_ms > 0 => Cause::UserTimeout,
            () => Cause::RetransmitTimeout,
        };
    }
    if is_probing(socket) {
        let is_given_up =
            found == Discovery::Closed || socket.gives_up_probing_ms().is_some_and(is_over);
        return if is_given_up { Cause::KeepaliveTimeout } else { Cause::Abandoned };
    }
    match socket.state {
        State::CloseWait => Cause::PeerClosed,
        _ if we_closed => Cause::LocalClosed,
        _ => Cause::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::{setting::OwnSettings, socket::tests_support::socket};

    /// Quiet for a minute, then something was sent that nobody has answered for 39 s.
    fn stuck() -> Socket {
        Socket {
            in_flight: true,
            retransmits: 7,
            retransmitting_ms: Some(39_000),
            silent_ms: 99_000,
            quiet_ms: 39_000,
            ..socket()
        }
    }

    fn found(socket: &Socket, found: Discovery, seconds: u64) -> Death {
        Death::unseen(socket, found, socket.at.ms_after(seconds * 1000))
    }

    fn gone(socket: &Socket, seconds: u64) -> Cause {
        found(socket, Discovery::Gone, seconds).cause
    }

    #[test]
    fn what_hung_after_a_quiet_time_and_is_gone_was_dropped_and_says_what_was_known() {
        let death = found(&stuck(), Discovery::Gone, 4);
        assert_eq!((death.cause, death.certainty), (Cause::IdleDrop, Certainty::Inferred));
        assert_eq!((death.quiet_ms, death.silent_ms), (60_000, 103_000));
        assert_eq!(death.unanswered_ms(), Some(43_000));
        assert_eq!(
            death.evidence(&stuck()),
            "the kernel did not report it; found gone by a snapshot; as seen last, 4.0 s before: 7 retransmissions \
             unanswered, nothing received for 1 min 39 s, quiet for 1 min before the first of it"
        );
        let orphan = Socket { is_orphan: true, state: State::FinWait1, ..stuck() };
        assert_eq!(gone(&orphan, 4), Cause::Abandoned);
        assert!(
            found(&orphan, Discovery::Gone, 4)
                .evidence(&orphan)
                .contains("this host had closed it, 7")
        );
    }

    #[test]
    fn what_hung_without_a_quiet_time_was_given_up_by_the_kernel_or_by_its_program() {
        let busy = Socket { silent_ms: 39_500, ..stuck() };
        assert_eq!(gone(&busy, 4), Cause::Abandoned);
        assert_eq!(gone(&busy, 900), Cause::RetransmitTimeout);
        assert_eq!(found(&busy, Discovery::Closed, 0).cause, Cause::RetransmitTimeout);
        let own = OwnSettings { user_timeout_ms: 41_000, ..OwnSettings::default() };
        assert_eq!(gone(&Socket { own, ..busy }, 4), Cause::UserTimeout);
    }

    #[test]
    fn a_peer_that_answered_no_probe_is_a_keepalive_timeout_once_its_time_is_over() {
        let own =
            OwnSettings { idle_seconds: 60, interval_seconds: 10, count: 5, user_timeout_ms: 0 };
        let probed = Socket {
            keepalive: true,
            own,
            probes_unanswered: 3,
            timer_ms: Some(4_000),
            silent_ms: 86_000,
            quiet_ms: 26_000,
            ..socket()
        };
        assert_eq!(
            (gone(&probed, 24), gone(&probed, 3)),
            (Cause::KeepaliveTimeout, Cause::Abandoned)
        );
        // It closed in the timer, which has not been set again.
        let closed = Socket { timer_ms: None, ..probed };
        assert_eq!(found(&closed, Discovery::Closed, 0).cause, Cause::KeepaliveTimeout);
        assert_eq!(gone(&Socket { probes_unanswered: 1, ..probed }, 99), Cause::Unknown);
    }

    #[test]
    fn nothing_is_said_of_what_was_well_when_it_was_seen_last() {
        let quiet = Socket { silent_ms: 900_000, quiet_ms: 900_000, ..socket() };
        let death = found(&quiet, Discovery::Gone, 15);
        assert_eq!((death.cause, death.could_be_forgotten), (Cause::Unknown, false));
        assert_eq!(
            death.evidence(&quiet),
            "the kernel did not report it; found gone by a snapshot"
        );
        // One lost packet is everyday life.
        assert_eq!(gone(&Socket { retransmits: 1, ..stuck() }, 4), Cause::Unknown);
        let state = |state| Socket { state, ..socket() };
        assert_eq!(gone(&state(State::CloseWait), 4), Cause::PeerClosed);
        assert_eq!(gone(&state(State::FinWait2), 4), Cause::LocalClosed);
        // It may have connected and ended in between; not if nobody answered its SYN.
        assert_eq!(gone(&state(State::SynSent), 4), Cause::Unknown);
        assert_eq!(gone(&Socket { state: State::SynSent, ..stuck() }, 4), Cause::ConnectFailed);
    }
}
