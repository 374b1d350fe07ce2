//! The sentence about a case, with what the peer's own idle timer has to do with it.

use super::phrase::time;
use crate::{
    command::why::answer::Judged,
    model::judgement::{learned::PeerClosesRow, learned_limit::Confidence},
    view::life::{Finding, Life},
};

/// What is later than this many times what a timer says is not of that timer.
const CLEARLY: f64 = 1.2;

impl Judged {
    /// One sentence: how many connections, whose they were, what happened to them and why.
    pub(in crate::command::why) fn sentence(&self) -> String {
        let closed = self.closed_before().unwrap_or_default();
        format!("{}{closed}", self.finding_in_words())
    }

    /// Of those that live, and that the peer closes before the path forgets them, or should have.
    pub(super) fn closed_by_habit(&self, what: &str, it: &str, closes: &PeerClosesRow) -> String {
        let after = time(closes.after_seconds);
        let live = || self.case.live().map(|life| life.connection.quiet_seconds);
        let n = live().filter(|quiet| *quiet > CLEARLY * closes.after_seconds).count();
        if n == 0 {
            return format!(
                "{what} will be closed by the peer after {after} without data, as it does: sooner than the path forgets {it}"
            );
        }
        let of = if n == live().count() { String::new() } else { format!(" for {n} of them") };
        format!(
            "{what} will be closed by the peer after {after} without data, as it does; that is over{of}, and no FIN has come: it was \
             probably lost, and the next request meets nobody"
        )
    }

    /// That the peer may have closed them before what nobody answered was sent.
    fn closed_before(&self) -> Option<String> {
        let PeerClosesRow { after_seconds, connections, confidence, .. } =
            self.ended_by_timer.as_ref()?;
        // A reset at the time at which the peer closes is its close.
        let is_later = |life: &Life| life.quiet_before_end_seconds() > CLEARLY * after_seconds;
        if self.finding == Finding::Failed && !self.case.of(Finding::Failed).all(is_later) {
            return None;
        }
        let (after, n) = (time(*after_seconds), self.case.of(self.finding).count());
        let it = if n == 1 { "it" } else { "them" };
        Some(if *confidence == Confidence::Guess {
            let times = if *connections == 1 { "1 time" } else { &format!("{connections} times") };
            format!(
                "; or the peer had closed {it} after {after} without data, as it did before ({times} so far), and its FIN was lost: \
                 that looks the same"
            )
        } else {
            format!(
                "; the peer closes by itself after {after} without data, so it had probably closed {it}, and its FIN was lost"
            )
        })
    }
}
