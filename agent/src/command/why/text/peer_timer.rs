//! The sentence about a case, with what the peer's own idle timer has to do with it.

use super::phrase::time;
use crate::{
    command::why::answer::Judged,
    model::judgement::{learned::PeerClosesRow, learned_limit::Confidence},
    view::life::Finding,
};

impl Judged {
    /// One sentence: how many connections, whose they were, what happened to them and why.
    pub(in crate::command::why) fn sentence(&self) -> String {
        let closed = self.closed_before().unwrap_or_default();
        format!("{}{closed}", self.finding_in_words())
    }

    /// That the peer may have closed them before what nobody answered was sent.
    fn closed_before(&self) -> Option<String> {
        // Of a reset it is said already.
        let timer = self.ended_by_timer.as_ref().filter(|_| self.finding != Finding::Failed)?;
        let PeerClosesRow { after_seconds, connections, confidence, .. } = timer;
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
