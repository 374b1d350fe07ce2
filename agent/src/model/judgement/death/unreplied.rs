//! Whether the program that closed a connection waited for an answer. Where the peer's kernel had acknowledged its last data and the
//! peer sent none since, and an answer was owed, it did, and gave up.

use super::{Cause, Death};
use crate::model::observed::{
    ending::{Discovery, Ending, Unacked},
    socket::{Direction, Socket},
};

impl Death {
    /// Of one that this host opened and closed: how long before that it had sent its last data, if the peer acknowledged that and
    /// sent none since, milliseconds. None where an answer may have been on its way.
    pub fn unreplied_ms(&self, socket: &Socket) -> Option<u32> {
        /// Longer than most answers take.
        const CLEARLY_MS: u32 = 3000;
        let ending = &self.ending;
        let is_closed = match self.cause {
            // A program that closed only its half reads until the peer's FIN.
            Cause::LocalClosed => socket.is_orphan,
            Cause::LocalReset => ending.errno == 0 && !ending.unaccepted,
            _ => false,
        };
        // What a server sends is the answer itself.
        let may_ask = socket.direction == Direction::Outbound
            && is_closed
            && ending.found == Discovery::Reported
            && !ending.has_unacked_data()
            && !ending.has_unsent()
            && ending.was_asked_last();
        ending.sent_ms.filter(|&ms| may_ask && ms >= CLEARLY_MS)
    }

    /// Of one that is abandoned: the peer had spoken last, and only the FIN went unanswered. Its program closed what was idle, as a
    /// pool does, or was tired of waiting: for events that nobody owed it, or for the rest of an answer.
    pub fn peer_spoke_last(&self, socket: &Socket) -> bool {
        let ending = &self.ending;
        self.cause == Cause::Abandoned
            && ending.unacked == Unacked::Fin
            && ending.was_told_last()
            && socket.probes_missed() == 0
            && self.answered_too_late().is_none()
    }
}

impl Ending {
    /// Whether the last data was the peer's. Neither this nor its opposite is known of data that both sent within a tick.
    fn was_told_last(&self) -> bool {
        self.received_data_ms
            .is_some_and(|received| self.sent_ms.is_none_or(|sent| received < sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::{
        ending::Reply,
        errno::ETIMEDOUT,
        socket::{State, tests_support::socket},
    };

    /// Data went out 30 s ago, the last of the peer's came 90 s ago.
    fn asked() -> Ending {
        Ending { sent_ms: Some(30_000), received_data_ms: Some(90_000), ..Ending::default() }
    }

    fn unreplied(socket: &Socket, old: State, ending: Ending) -> Option<u32> {
        Death::of(socket, old, ending, None).unwrap().unreplied_ms(socket)
    }

    #[test]
    fn a_request_that_was_given_up_is_known_by_its_age_and_an_answered_one_is_not_it() {
        let closed = Socket { is_orphan: true, silent_ms: 29_900, ..socket() };
        let closed_by = |ending| unreplied(&closed, State::FinWait2, ending);
        assert_eq!(closed_by(asked()), Some(30_000));
        assert_eq!(closed_by(Ending { received_data_ms: None, ..asked() }), Some(30_000));
        let of_handshake = Ending { received_data_ms: Some(30_000), ..asked() };
        assert_eq!(closed_by(Ending { reply: Reply::Acknowledged, ..of_handshake }), Some(30_000));
        assert_eq!(closed_by(of_handshake), None, "in one tick nobody can tell");
        // The peer answered; it says goodbye and closes.
        assert_eq!(closed_by(Ending { received_data_ms: Some(29_000), ..asked() }), None);
        assert_eq!(closed_by(Ending { sent_ms: Some(2), ..asked() }), None);
        assert_eq!(closed_by(Ending { sent_ms: None, ..asked() }), None);
        // A server's answer, and a half that the program has closed: it reads until the peer's FIN.
        let inbound = Socket { direction: Direction::Inbound, ..closed };
        assert_eq!(unreplied(&inbound, State::FinWait2, asked()), None);
        let half = Socket { is_orphan: false, ..closed };
        assert_eq!(unreplied(&half, State::FinWait2, asked()), None);
    }

    #[test]
    fn an_idle_close_whose_fin_is_lost_was_waited_for_by_nobody_and_a_request_or_a_probe_without_an_answer_was()
     {
        let closed = Socket { is_orphan: true, silent_ms: 160_000, ..socket() };
        let lost = Ending {
            errno: ETIMEDOUT,
            retransmits: 8,
            retransmitting_ms: Some(100_000),
            sent_ms: Some(160_100),
            received_data_ms: Some(160_000),
            unacked: Unacked::Fin,
            ..Ending::default()
        };
        let of = |socket: &Socket, ending| {
            let death = Death::of(socket, State::FinWait1, ending, None).unwrap();
            assert_eq!(death.cause, Cause::Abandoned);
            death.peer_spoke_last(socket)
        };
        assert!(of(&closed, lost));
        assert!(!of(&closed, Ending { sent_ms: Some(130_000), ..lost }), "a request");
        assert!(!of(&closed, Ending { received_data_ms: None, ..lost }), "never answered");
        let in_one_tick = Ending { sent_ms: lost.received_data_ms, ..lost };
        assert!(!of(&closed, in_one_tick), "nobody knows");
        let evidence = |ending| {
            let death = Death::of(&closed, State::FinWait1, ending, None).unwrap();
            death.evidence(&closed)
        };
        let said = evidence(in_one_tick);
        assert!(
            said.starts_with("this host closed it after 1 min of quiet, and its FIN"),
            "{said}"
        );
        let said = evidence(Ending { reply: Reply::Acknowledged, ..in_one_tick });
        assert!(said.contains("after 1 min without an answer, and its FIN"), "{said}");
        let probed = Socket { keepalive: true, probes_unanswered: 3, ..closed };
        assert!(!of(&probed, lost), "probes showed that it was lost");
    }

    #[test]
    fn a_program_that_gives_up_by_a_reset_has_waited_as_well_and_what_is_not_acknowledged_is_no_request()
     {
        let open = Socket { silent_ms: 29_900, ..socket() };
        assert_eq!(unreplied(&open, State::Established, asked()), Some(30_000));
        let unaccepted = Ending { unaccepted: true, ..asked() };
        assert_eq!(unreplied(&open, State::Established, unaccepted), None);
        let in_flight = Ending { unacked: Unacked::Data, ..asked() };
        assert_eq!(unreplied(&open, State::Established, in_flight), None);
        // The peer closed it first.
        assert_eq!(unreplied(&open, State::LastAck, asked()), None);
    }
}
