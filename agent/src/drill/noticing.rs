//! When a program noticed that its path was cut, against what was promised.

use super::promise::Promise;
use crate::model::judgement::death::Cause;
use serde::Serialize;

/// What came of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DrillOutcome {
    /// It would be cut.
    Planned,
    /// It has no part in it.
    LeftOut,
    /// Its program learned it in the time that was promised, or sooner.
    Noticed,
    /// Its program learned it later.
    NoticedLate,
    /// Its program still believes to be connected, although its time is over, or nothing ever tells it.
    StillConnected,
    /// The drill ended before what was promised was due: nothing is shown.
    NotDue,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndedBy {
    /// The kernel, which then told the program.
    Kernel,
    /// The program itself, by a time of its own.
    Program,
}

/// The end of a connection, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SeenEnd {
    /// After the cut.
    pub(crate) after_ms: u64,
    /// Who ended it.
    pub(crate) by: Option<EndedBy>,
    /// The cause of its death.
    pub(crate) cause: Option<Cause>,
    /// The error that the program gets.
    pub(crate) errno: Option<String>,
}

/// A connection of a drill, as it is seen again and again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noticing {
    promise: Promise,
    /// Data was first seen to wait, this long after the cut.
    pub(crate) data_after_ms: Option<u64>,
    /// How it ended.
    pub(crate) end: Option<SeenEnd>,
    /// The end was reported by an agent, with its cause.
    pub(crate) is_explained: bool,
}

impl Noticing {
    pub(crate) fn new(promise: Promise) -> Self {
        Self { promise, ..Self::default() }
    }

    /// It is established at this time after the cut.
    pub(crate) const fn is_established(&mut self, after_ms: u64, in_flight: bool) {
        if in_flight && self.data_after_ms.is_none() {
            self.data_after_ms = Some(after_ms);
        }
    }

    /// It is not established any more. The first sight counts.
    pub(crate) fn has_left(&mut self, after_ms: u64, by: Option<EndedBy>) {
        self.end.get_or_insert(SeenEnd { after_ms, by, ..SeenEnd::default() });
    }

    /// An agent reports its end: it knows more, and the time is exact. What follows a first report does not change who ended it.
    pub(crate) fn is_reported(&mut self, end: SeenEnd) {
        match &mut self.end {
            Some(known) if self.is_explained => known.cause = known.cause.or(end.cause),
            _ => self.end = Some(end),
        }
        self.is_explained = true;
    }

    /// What is promised, by what has happened since.
    pub(crate) const fn promise(&self) -> Promise {
        match self.data_after_ms {
            Some(after_ms) => self.promise.with_data_after(after_ms.div_ceil(1000)),
            None => self.promise,
        }
    }

    /// What came of it in a drill of this length.
    pub(crate) fn outcome(&self, lasted_ms: u64) -> DrillOutcome {
        // Where nothing was promised, any time is soon.
        let broken_after = self.promise().broken_after_seconds();
        let Some(end) = &self.end else {
            let is_due = broken_after.is_none_or(|seconds| lasted_ms >= seconds * 1000);
            return if is_due { DrillOutcome::StillConnected } else { DrillOutcome::NotDue };
        };
        if broken_after.is_some_and(|seconds| end.after_ms > seconds * 1000) {
            DrillOutcome::NoticedLate
        } else {
            DrillOutcome::Noticed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::promise::PromiseBy;

    fn probed() -> Noticing {
        let (by, seconds) = (PromiseBy::Keepalive, Some(10));
        Noticing::new(Promise { by, seconds, seconds_of_data: 900 })
    }

    #[test]
    fn a_promise_is_kept_broken_or_not_over() {
        let at = |after_ms| {
            let mut it = probed();
            it.has_left(after_ms, None);
            it.outcome(after_ms)
        };
        assert_eq!(probed().outcome(14_000), DrillOutcome::StillConnected);
        assert_eq!(probed().outcome(13_999), DrillOutcome::NotDue, "the drill was too short");
        assert_eq!(at(9_500), DrillOutcome::Noticed);
        assert_eq!(at(14_000), DrillOutcome::Noticed, "an eighth, rounded up, and two seconds");
        assert_eq!(at(14_001), DrillOutcome::NoticedLate);
        let mut never = Noticing::new(Promise::default());
        never.has_left(500_000, Some(EndedBy::Program));
        assert_eq!(never.outcome(600_000), DrillOutcome::Noticed, "sooner than never");
        let never = Noticing::new(Promise::default());
        assert_eq!(never.outcome(1), DrillOutcome::StillConnected, "nothing ever tells it");
    }

    #[test]
    fn a_program_that_writes_meanwhile_is_promised_what_data_in_flight_promises() {
        let mut it = probed();
        it.is_established(2_000, false);
        it.is_established(4_000, true);
        it.is_established(5_000, true);
        it.has_left(600_000, None);
        assert_eq!((it.promise().by, it.promise().seconds), (PromiseBy::DataInFlight, Some(904)));
        assert_eq!(it.outcome(600_000), DrillOutcome::Noticed);
    }

    #[test]
    fn the_report_of_an_agent_counts_more_than_a_look_and_its_first_one_most() {
        let mut it = probed();
        it.has_left(9_000, None);
        it.has_left(10_000, None);
        assert_eq!(it.end.as_ref().map(|end| end.after_ms), Some(9_000));
        let given_up =
            SeenEnd { after_ms: 8_400, by: Some(EndedBy::Program), cause: None, errno: None };
        it.is_reported(given_up.clone());
        let cause = Some(Cause::Abandoned);
        it.is_reported(SeenEnd { after_ms: 30_000, by: Some(EndedBy::Kernel), cause, errno: None });
        assert_eq!(it.end, Some(SeenEnd { cause, ..given_up }));
    }
}
