//! Resets: who sent one, by what it answers and when it came.

use super::{Cause, Certainty, MIDDLEBOX_MS, Quiet};
use crate::model::observed::{
    ending::{Ending, Unacked},
    errno::ECONNRESET,
    socket::{Socket, State},
};

/// A reset by somebody without memory comes after one round trip. This much later it comes from a program.
const RESET_SLACK_MS: u32 = 14;
/// The same after a probe, which a kernel that knows the connection acknowledges at once: a reset in place of that is no
/// program's, though the host is busy or the path uneven. A program hits this time only by chance.
const PROBE_SLACK_MS: u32 = 250;

impl Ending {
    /// Whether the reset came clearly later than an answer to the last probe would have.
    fn is_late_after_probe(&self, socket: &Socket) -> bool {
        socket.probes_unanswered > 0
            && socket.timer_ms.is_some()
            && socket.since_last_probe_ms() > u64::from(self.answer_ms() + PROBE_SLACK_MS)
    }

    /// An answer of somebody without memory comes within this time: a round trip, and what that may take longer.
    fn answer_ms(&self) -> u32 {
        let round_trip_ms = self.round_trip_us.unwrap_or(0) / 1000;
        round_trip_ms + round_trip_ms / 8 + RESET_SLACK_MS
    }

    /// Of a reset that came in place of the answer to data that the peer had acknowledged: how long the peer had sent no data
    /// before that was sent, milliseconds. Only somebody who knew the connection can have sent it so soon.
    pub fn quiet_before_refusal_ms(&self) -> Option<u32> {
        let is_refused = self.errno == ECONNRESET && self.unacked == Unacked::Nothing;
        let received_ms = self.received_data_ms.filter(|_| is_refused && !self.has_unsent())?;
        let sent_ms = self.sent_ms.filter(|&ms| ms < MIDDLEBOX_MS)?;
        received_ms.checked_sub(sent_ms).filter(|&ms| ms > 0)
    }

    /// Whether the reset came clearly later than a round trip after data was sent: a program sent it, which knew the connection.
    /// Not if the data was repeated: where a program has the connection, its kernel acknowledges what comes a second time at once
    /// (`tcp_data_queue` in net/ipv4/tcp_input.c).
    pub(super) fn is_reset_by_program(&self) -> bool {
        self.unacked == Unacked::Data
            && self.retransmits == 0
            && self.sent_ms.is_some_and(|ms| ms > self.answer_ms())
    }

    /// Whether a reset came after data had been repeated: nobody had acknowledged it.
    pub fn is_reset_after_repetition(&self) -> bool {
        self.errno == ECONNRESET && self.unacked == Unacked::Data && self.retransmits > 0
    }

    /// Whether data was repeated, and nobody answered, before the reset came: the peer or the path was gone for a time, and came back.
    pub fn is_reset_after_silence(&self) -> bool {
        /// One or two packets may be lost by chance.
        const MIN_REPEATED: u8 = 3;
        self.errno == ECONNRESET
            && self.unacked == Unacked::Data
            && self.retransmits >= MIN_REPEATED
            && self.retransmitting_ms.is_some_and(|ms| ms > self.answer_ms())
    }

    /// The peer, or somebody in between, answered by a reset.
    pub(super) fn cause_of_reset(
        &self,
        socket: &Socket,
        old: State,
        quiet: Quiet,
    ) -> (Cause, Certainty) {
        use Certainty::{Exact, Inferred};
        let probing = socket.keepalive && socket.probes_unanswered > 0;
        // A peer that had closed both halves answers data by a reset.
        let is_closed_by_peer = match old {
            State::CloseWait => quiet < Quiet::PastLimit || socket.was_closed_by_peer(),
            State::LastAck => quiet < Quiet::PastLimit,
            _ => false,
        };
        if is_closed_by_peer {
            let certainty = if quiet < Quiet::PastLimit { Exact } else { Inferred };
            return (Cause::PeerClosed, certainty);
        }
        // A program that closed only its own half still waits for the answer.
        let is_closed = matches!(old, State::FinWait1 | State::Closing)
            || old == State::FinWait2 && socket.is_orphan;
        // A program that closes by a reset does so as soon as it sees our FIN: so that alone shows nothing.
        let needs = if self.was_asked_last() { Quiet::Long } else { Quiet::PastLimit };
        match (self.unacked == Unacked::Data || self.has_unsent(), probing) {
            // Somebody without memory would have answered the last probe at once.
            (false, true) if self.unacked != Unacked::Fin && !self.is_late_after_probe(socket) => {
                (Cause::KeepaliveReset, Exact)
            }
            // This host closed it while what it had sent was repeated in vain.
            _ if is_closed && quiet < Quiet::PastLimit && self.is_reset_after_silence() => {
                (Cause::Abandoned, Exact)
            }
            // A path that is known to forget by then has done so, whatever came later.
            (true, _) if quiet == Quiet::Long && self.is_reset_after_silence() => {
                (Cause::PeerReset, Exact)
            }
            (true, _) if quiet >= Quiet::Long && !self.is_reset_by_program() => {
                (Cause::IdleDrop, Inferred)
            }
            _ if old == State::FinWait1 && quiet >= needs => (Cause::Abandoned, Inferred),
            _ if is_closed => (Cause::LocalClosed, Exact),
            // A device that has forgotten it, and is slow to say so, looks the same.
            (true, _) if quiet >= Quiet::Long => (Cause::PeerReset, Inferred),
            _ => (Cause::PeerReset, Exact),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Death,
        tests::{cause, established, quiet},
    };
    use super::*;
    use crate::model::observed::{
        ending::tests_support::RESET, setting::OwnSettings, socket::tests_support::socket,
    };

    #[test]
    fn a_reset_after_repetitions_that_nobody_answered_is_no_idle_drop_unless_the_path_is_known_to_forget()
     {
        // Quiet for 25 s, then data that was repeated for 54 s, and then a reset.
        let back = |retransmits| Ending { retransmits, retransmitting_ms: Some(54_000), ..RESET };
        let death = Death::of(&quiet(79_000), State::Established, back(7), None).unwrap();
        assert_eq!((death.cause, death.quiet_ms), (Cause::PeerReset, 25_000));
        let said = death.evidence(&quiet(79_000));
        assert!(
            said.contains("was gone for a time") && said.contains("7 retransmissions"),
            "{said}"
        );
        // One that has forgotten it answers at once: a repetition or two get lost by chance.
        let soon = |retransmits| Ending { retransmits, retransmitting_ms: Some(600), ..RESET };
        for retransmits in [0, 1, 2] {
            assert_eq!(established(&quiet(79_000), soon(retransmits)), Cause::IdleDrop);
        }
        let of_limit =
            |limit_ms| cause(&quiet(79_000), State::Established, back(7), Some(limit_ms));
        assert_eq!((of_limit(25_000), of_limit(60_000)), (Cause::IdleDrop, Cause::PeerReset));
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
        // A device may have forgotten it by then, or may not.
        assert_eq!(death.certainty, Certainty::Inferred);
        assert!(evidence.contains("a device that had forgotten it, and is slow"), "{evidence}");
        let soon = Death::of(&quiet(6_000), State::Established, after(28), None).unwrap();
        assert_eq!((soon.cause, soon.certainty), (Cause::PeerReset, Certainty::Exact));
        assert!(!soon.evidence(&quiet(6_000)).contains("device"));
    }

    #[test]
    fn a_late_reset_after_a_repetition_is_no_programs_also_if_only_a_tail_loss_probe_repeated_it() {
        // Nobody acknowledged the data, which was repeated after 0.2 s; the reset came 88 ms after that.
        let late = Ending { retransmits: 1, sent_ms: Some(88), ..RESET };
        let death = Death::of(&quiet(75_000), State::Established, late, None).unwrap();
        assert_eq!((death.cause, death.certainty), (Cause::IdleDrop, Certainty::Inferred));
        let said = death.evidence(&quiet(75_000));
        assert!(said.ends_with("met a reset, after 1 retransmission unanswered"), "{said}");
        // Not after so little quiet; but nor does it show a program.
        let death = Death::of(&quiet(8_000), State::Established, late, None).unwrap();
        assert_eq!(death.cause, Cause::PeerReset);
        let said = death.evidence(&quiet(8_000));
        assert!(
            said.contains("did not know the connection any more") && !said.contains("unread"),
            "{said}"
        );
        // A server's own timer that raced the request: nothing had to be repeated.
        let race = Ending { retransmits: 0, ..late };
        assert_eq!(established(&quiet(75_000), race), Cause::PeerReset);
    }

    #[test]
    fn a_reset_is_told_by_what_it_answers() {
        let reset = Ending { unacked: Unacked::Nothing, ..RESET };
        let probing = Socket { keepalive: true, probes_unanswered: 1, ..socket() };
        let of = |socket: &Socket, old| cause(socket, old, reset, None);
        assert_eq!(of(&probing, State::Established), Cause::KeepaliveReset);
        // Long after the probe: by a program, which knew the connection.
        let own = OwnSettings { interval_seconds: 20, ..OwnSettings::default() };
        let after = |timer_ms| Socket { own, timer_ms: Some(timer_ms), ..probing };
        assert_eq!(of(&after(13_200), State::Established), Cause::PeerReset);
        // 4 ms after it, and by a busy host.
        assert_eq!(of(&after(19_996), State::Established), Cause::KeepaliveReset);
        assert_eq!(of(&after(19_800), State::Established), Cause::KeepaliveReset);
        assert_eq!(of(&after(19_600), State::Established), Cause::PeerReset);
        assert_eq!(of(&socket(), State::Established), Cause::PeerReset);
        assert_eq!(of(&socket(), State::FinWait1), Cause::LocalClosed);
        assert_eq!(of(&socket(), State::CloseWait), Cause::PeerClosed);
        assert_eq!(of(&socket(), State::SynSent), Cause::ConnectFailed);
    }
}
