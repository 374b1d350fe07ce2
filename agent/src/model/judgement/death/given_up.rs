//! What this host closed before an answer came: no orderly end, although the answer came after that.

use super::{Cause, Certainty, Death};
use crate::model::observed::ending::{Ending, Unacked};

/// A close while the last data, or probes, were unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Milliseconds before the end.
    pub ago_ms: u64,
    /// How long nothing had been received by then, milliseconds.
    pub silent_ms: u32,
    /// For how long data had been repeated by then, milliseconds; 0 if none was.
    pub waited_ms: u32,
}

impl Death {
    /// The close of one that had waited for an answer, if that came after the close: it was no orderly end.
    pub fn answered_too_late(&self) -> Option<GivenUp> {
        /// One or two packets may be lost by chance.
        const CLEARLY_MS: u32 = 5000;
        let is_it =
            |it: &GivenUp| it.waited_ms >= CLEARLY_MS && u64::from(self.silent_ms) < it.ago_ms;
        let is_closed = matches!(self.cause, Cause::LocalClosed | Cause::Abandoned);
        self.given_up.filter(|it| is_closed && is_it(it))
    }

    /// Of one that this host closed before an answer came: the silence until then, if that is known.
    pub fn closed_after_ms(&self) -> Option<u32> {
        if let Some(given_up) = self.answered_too_late() {
            return Some(given_up.silent_ms);
        }
        let Ending { unacked: Unacked::Fin, retransmitting_ms, .. } = self.ending else {
            return None;
        };
        let is_abandoned = self.cause == Cause::Abandoned;
        retransmitting_ms.filter(|_| is_abandoned).map(|ms| self.silent_ms.saturating_sub(ms))
    }

    /// The same, called by its name: its quiet time is the one before what had waited.
    #[must_use]
    pub fn named(mut self) -> Self {
        if let Some(GivenUp { silent_ms, waited_ms, .. }) = self.answered_too_late() {
            (self.cause, self.certainty) = (Cause::Abandoned, Certainty::Exact);
            self.quiet_ms = silent_ms.saturating_sub(waited_ms);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::{
        ending::tests_support::RESET,
        socket::{Socket, State, tests_support::socket},
    };

    #[test]
    fn a_peer_that_was_heard_while_data_waited_was_not_gone_and_one_that_was_silent_as_long_was() {
        let orphan = Socket { silent_ms: 10, ..socket() };
        let ending = Ending { unacked: Unacked::Nothing, ..RESET };
        let death = Death::of(&orphan, State::FinWait1, ending, None).unwrap();
        // Closed 2 s before its end, when data had been repeated for 17 s.
        let of = |silent_ms| {
            let given_up = Some(GivenUp { ago_ms: 2_000, silent_ms, waited_ms: 17_000 });
            let death = Death { given_up, ..death }.named();
            (death.cause, death.unanswered_ms(), death.evidence(&orphan))
        };
        let (cause, unanswered_ms, said) = of(900);
        assert_eq!((cause, unanswered_ms), (Cause::Abandoned, Some(19_000)));
        assert!(said.contains("the peer was heard meanwhile") && !said.contains("gone"), "{said}");
        let (cause, unanswered_ms, said) = of(17_300);
        assert_eq!((cause, unanswered_ms), (Cause::Abandoned, Some(19_000)));
        assert!(said.contains("it or the path was gone for a time"), "{said}");
    }
}
