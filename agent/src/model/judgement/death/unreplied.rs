//! What this host closed while the peer had not answered its last data, though its kernel had acknowledged it: where an answer was
//! owed, the program did not wait for it any longer.

use super::{Cause, Death};
use crate::model::observed::{
    ending::Discovery,
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::{
        ending::{Ending, Unacked},
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
