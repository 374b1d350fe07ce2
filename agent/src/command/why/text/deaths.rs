//! The deaths of a case: how many of which cause, when each was, and what is known of it.

use super::{
    WhyText,
    phrase::{cause_in_words, sure, time},
};
use crate::{
    command::why::answer::Judged,
    model::judgement::death::Cause,
    view::{connection_group::ConnectionTimes, life::LifeEnd},
};
use std::fmt;

/// Causes of one case whose evidence is printed.
const MOST_CAUSES: usize = 3;

impl WhyText<'_> {
    /// Nothing, if all live.
    pub(super) fn deaths(&self, f: &mut fmt::Formatter<'_>, case: &Judged) -> fmt::Result {
        let Some(worst) = case.case.worst_dead().and_then(|life| life.end.as_ref()) else {
            return Ok(());
        };
        let times = self.times(case);
        self.part(f, "died", &self.died(case, times.is_none()))?;
        if let Some(times) = times {
            self.part(f, "", &times)?;
        }
        for end in examples(case) {
            self.part(f, "", &format!("{}: {}", self.when(&end.at), end.evidence))?;
        }
        self.part(f, "sure", &sure(case, worst.cause, worst.certainty))
    }

    /// The case in one line: the worst first.
    pub(super) fn case_in_short(&self, case: &Judged) -> String {
        let lives = || case.live_in_words();
        let died = || self.died(case, true);
        let is_worst_live = case.case.of(case.finding).any(|life| life.end.is_none());
        let what = match (case.n_dead > 0, is_worst_live) {
            (false, _) => lives(),
            (true, false) => died(),
            (true, true) => format!("{}; died: {}", lives(), died()),
        };
        format!("{}: {what}", case.heading())
    }

    /// How many died of what, the most first. Each cause has its times, unless all are of one and its times follow.
    fn died(&self, case: &Judged, is_all: bool) -> String {
        let needs_times = is_all || case.causes.len() > 1;
        let counts: Vec<String> = case
            .causes
            .iter()
            .map(|count| {
                let when =
                    if needs_times { self.when_of(case, count.cause) } else { String::new() };
                let cause = count.cause;
                format!("{} {} ({}){when}", count.n, cause_in_words(cause), cause.as_str())
            })
            .collect();
        counts.join(", ")
    }

    /// When those died that died of this.
    fn when_of(&self, case: &Judged, cause: Cause) -> String {
        let ends = case.case.dead().filter_map(|life| life.end.as_ref());
        let mut times: Vec<&str> =
            ends.filter(|end| end.cause == cause).map(|end| end.at.as_str()).collect();
        times.sort_unstable();
        match (times.first(), times.last()) {
            (Some(first), Some(last)) if first.get(..19) == last.get(..19) => {
                format!(" {}", self.when(last))
            }
            (Some(first), Some(last)) => {
                format!(" between {} and {}", self.clock(first), self.clock(last))
            }
            _ => String::new(),
        }
    }

    /// When the last of those was that the answer begins with, if they died.
    pub(super) fn when_of_worst(&self, case: &Judged) -> Option<String> {
        let mut ends: Vec<&str> = case
            .case
            .of(case.finding)
            .map(|life| Some(life.end.as_ref()?.at.as_str()))
            .collect::<Option<_>>()?;
        ends.sort_unstable();
        let when = self.when(ends.last()?);
        Some(match ends.len() {
            1 => format!(" That was {when}."),
            _ => format!(" The last of them died {when}."),
        })
    }

    /// When the worst of a case died, and when that began.
    fn times(&self, case: &Judged) -> Option<String> {
        let ConnectionTimes {
            deaths,
            occasions,
            first_at,
            last_at,
            unanswered_since,
            last_packet_at,
            longest_wait_seconds: waited,
            given_up_at,
            lacks_fin,
            peer_spoke_last: _,
        } = case.case.times()?;
        let mut words = match deaths {
            1 => format!("died {}", self.when(&last_at)),
            n if first_at.get(..19) == last_at.get(..19) => {
                format!("{n} died {}", self.when(&last_at))
            }
            n => {
                let on = if occasions > 1 {
                    format!(" on {occasions} occasions")
                } else {
                    String::new()
                };
                format!(
                    "{n} died{on} between {} and {}",
                    self.clock(&first_at),
                    self.clock(&last_at)
                )
            }
        };
        // What was answered at once did not wait.
        let waited = waited.filter(|waited| *waited >= 1.0);
        let of_last = if occasions > 1 { "; the last time" } else { "," };
        words += &match (&unanswered_since, waited, &last_packet_at) {
            (Some(since), Some(waited), _) if lacks_fin => {
                let of_last = if occasions > 1 { " of the last" } else { "" };
                format!(
                    "; the FIN{of_last} went unanswered since {} ({})",
                    self.clock(since),
                    time(waited)
                )
            }
            (Some(since), Some(waited), _) if occasions > 1 => format!(
                ", after up to {} of waiting{of_last} waiting since {}",
                time(waited),
                self.clock(since)
            ),
            (Some(since), Some(waited), _) => {
                format!(", waiting since {} ({})", self.clock(since), time(waited))
            }
            (_, _, Some(last)) => format!("{of_last} last packet {}", self.when(last)),
            _ => String::new(),
        };
        if let Some(at) = given_up_at {
            let last = if deaths > 1 { "last " } else { "" };
            words += &format!(", {last}closed by this host {}", self.when(&at));
        }
        Some(words)
    }

    /// A time without its preposition.
    fn clock(&self, at: &str) -> String {
        let when = self.when(at);
        when.strip_prefix("at ").or_else(|| when.strip_prefix("on ")).unwrap_or(&when).to_owned()
    }
}

/// Of each cause the latest death: of the worst, and of others that were a loss.
fn examples(case: &Judged) -> impl Iterator<Item = &LifeEnd> {
    let mut shown: Vec<Cause> = Vec::new();
    let dead = case.case.dead().filter_map(|life| life.end.as_ref());
    dead.filter(move |end| {
        let is_new = !shown.contains(&end.cause);
        let is_loss = !end.cause.is_orderly() && end.cause != Cause::LocalReset;
        let is_told = is_new && shown.len() < MOST_CAUSES && (is_loss || shown.is_empty());
        if is_new {
            shown.push(end.cause);
        }
        is_told
    })
}
