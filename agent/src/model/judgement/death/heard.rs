//! Whether the peer was heard although what had been sent was not taken: then it was there.

use super::{Cause, Death, GivenUp};
use crate::model::observed::{
    ending::Unsent, probe_timing::window_probes::answers_window_probes, socket::Socket,
};

impl GivenUp {
    /// Whether the peer was heard clearly after the data was sent first that it did not answer.
    pub(super) const fn is_heard_meanwhile(&self) -> bool {
        /// What was on its way when the data was sent, and looks that are coarse.
        const CLEARLY_MS: u32 = 2000;
        self.silent_ms.saturating_add(CLEARLY_MS) < self.waited_ms
    }
}

impl Death {
    /// Of one whose data was never taken, and whose peer was heard all the same: how long before the end that was, or before
    /// this host closed it, milliseconds.
    pub fn heard_ms(&self, socket: &Socket) -> Option<u32> {
        const MOMENT_MS: u32 = 1000;
        let within = |most_ms: u32| Some(self.silent_ms).filter(|silent_ms| *silent_ms < most_ms);
        match self.cause {
            Cause::UserTimeout if self.window_closed() => {
                Some(self.silent_ms).filter(|_| self.answers_window_probes())
            }
            Cause::UserTimeout => {
                let timeout_ms = socket.own.user_timeout_ms;
                within((timeout_ms / 4).max(MOMENT_MS).min(timeout_ms / 2))
            }
            Cause::RetransmitTimeout => within(MOMENT_MS),
            Cause::Abandoned => {
                self.given_up.filter(GivenUp::is_heard_meanwhile).map(|it| it.silent_ms)
            }
            _ => None,
        }
    }

    /// Whether the peer had no room for what waited: its program did not read enough.
    pub(super) fn window_closed(&self) -> bool {
        self.ending.unsent == Unsent::WindowClosed
    }

    /// Whether the peer answered the last probe of its window.
    pub(super) fn answers_window_probes(&self) -> bool {
        let since_ms = self.ending.retransmitting_ms.unwrap_or_default();
        self.silent_ms < since_ms
            && answers_window_probes(since_ms.into(), self.silent_ms.into(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::{
        ending::{Ending, Unacked, tests_support::RESET},
        errno::ETIMEDOUT,
        setting::OwnSettings,
        socket::{State, tests_support::socket},
    };

    fn ended(user_timeout_ms: u32, silent_ms: u32, unsent: Unsent) -> (Option<u32>, String) {
        let own = OwnSettings { user_timeout_ms, ..OwnSettings::default() };
        let socket = Socket { own, silent_ms, ..socket() };
        let unacked = if unsent == Unsent::WindowClosed { Unacked::Nothing } else { Unacked::Data };
        let ending = Ending {
            errno: ETIMEDOUT,
            unacked,
            unsent,
            retransmits: 5,
            retransmitting_ms: Some(20_000),
            ..RESET
        };
        let death = Death::of(&socket, State::Established, ending, None).unwrap();
        assert_eq!(death.cause, Cause::UserTimeout);
        (death.heard_ms(&socket), death.evidence(&socket))
    }

    #[test]
    fn a_host_that_answers_each_probe_of_its_window_was_there_however_far_apart_they_come() {
        // Probes after 0.2, 0.6, 1.4, 3, 6.2 and 13.4 s; the next would come after 26 s.
        let (heard_ms, said) = ended(20_000, 6_600, Unsent::WindowClosed);
        assert_eq!(heard_ms, Some(6_600));
        assert!(said.ends_with("its host answered meanwhile, 6.6 s before the end"), "{said}");
        // The one after 13.4 s went unanswered.
        let (heard_ms, said) = ended(20_000, 13_800, Unsent::WindowClosed);
        assert_eq!(heard_ms, None);
        assert!(said.ends_with("nothing was received for 13 s"), "{said}");
    }

    #[test]
    fn of_data_that_is_repeated_a_peer_was_there_that_was_heard_shortly_before() {
        assert_eq!(ended(20_000, 4_000, Unsent::Nothing).0, Some(4_000));
        assert_eq!(ended(20_000, 6_600, Unsent::Nothing).0, None);
    }

    #[test]
    fn who_gave_up_knows_whether_the_peer_was_heard_meanwhile_by_how_long_the_data_had_waited() {
        let heard = |silent_ms| {
            let given_up = GivenUp { ago_ms: 0, silent_ms, waited_ms: 17_000 };
            given_up.is_heard_meanwhile()
        };
        assert!(heard(900) && heard(14_900));
        assert!(!heard(15_100) && !heard(60_000));
    }
}
