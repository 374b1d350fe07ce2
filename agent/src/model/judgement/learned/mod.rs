//! Idle limits as learned: longer than the longest quiet time that connections survived, at most the
//! shortest that killed them.
//!
//! A peer that goes dark kills connections too, of every quiet time. But one outage explains only deaths whose
//! quiet times all contain the moment of that outage. So a limit is believed from the second occasion on:
//! when no single moment lies within all the quiet times that killed. Deaths after quiet times that others
//! survived say nothing of a limit and are left out. Orderly ends do not count at all.

mod estimate;
#[cfg(test)]
mod tests;

use super::{
    death::{Cause, Death, QUIET_MS},
    destination::Destination,
    idle_limit::{Limits, PathNumber},
};
use crate::model::observed::socket::{Socket, Time};
pub use estimate::{Confidence, Estimate, Evidence, LimitRow, QuietOutcome, Span};

use hashbrown::HashMap;
use std::collections::BTreeMap;

const DAY_MS: i64 = 86_400_000;
/// Evidence that is older is forgotten.
pub const WINDOW_MS: i64 = 7 * DAY_MS;
/// Destinations with evidence, at most.
const MAX_DESTINATIONS: usize = 1024;
/// Deaths remembered of each.
const MAX_KILLS: usize = 32;
/// Evidence that only confirms is written this often.
const TELL_MS: u64 = 60_000;

/// Everything known of one destination, to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lesson {
    /// The peer that the evidence is about.
    pub destination: Destination,
    /// What is known of it.
    pub evidence: Vec<Evidence>,
}

#[derive(Debug, Default)]
struct Known {
    evidence: Vec<Evidence>,
    /// There is evidence that was not written yet.
    is_news: bool,
}

impl Known {
    fn has_kills(&self) -> bool {
        self.evidence.iter().any(Evidence::is_kill)
    }

    fn last_ms(&self) -> i64 {
        self.evidence.iter().map(|sample| sample.span.ended_ms).max().unwrap_or(i64::MIN)
    }

    fn kill(&mut self, kill: Evidence) {
        self.is_news = true;
        self.evidence.push(kill);
        let kills = || self.evidence.iter().enumerate().filter(|(_, it)| it.is_kill());
        if kills().count() <= MAX_KILLS {
            return;
        }
        // Of those that the same outage would explain the longest says least.
        let at_once = |it: &Evidence| estimate::occasions(&[it.span, kill.span]) == 1;
        let same = kills().filter(|(_, it)| at_once(it));
        let least = if same.clone().count() > 1 {
            same.max_by_key(|(_, it)| it.span.ms())
        } else {
            kills().min_by_key(|(_, it)| it.span.ended_ms)
        };
        if let Some((place, _)) = least {
            self.evidence.remove(place);
        }
    }

    /// Of each day the longest is kept. Whether it is longer than what was known.
    fn survive(&mut self, span: Span) -> bool {
        let day = span.ended_ms / DAY_MS;
        for sample in self.evidence.iter_mut().rev() {
            if let QuietOutcome::Survived { times } = &mut sample.outcome
                && sample.span.ended_ms / DAY_MS == day
            {
                *times += 1;
                let is_longer = span.ms() > sample.span.ms();
                if is_longer {
                    sample.span = span;
                }
                return is_longer;
            }
        }
        self.evidence.push(Evidence { span, outcome: QuietOutcome::Survived { times: 1 } });
        true
    }

    fn forget(&mut self, now_ms: i64) {
        self.evidence.retain(|sample| now_ms - sample.span.ended_ms < WINDOW_MS);
    }
}

/// What was learned on this host.
#[derive(Debug)]
pub struct Learned {
    /// Unix milliseconds at the begin of the monotonic clock: fixed, so that a wall clock that is set does
    /// not tear the evidence apart.
    offset_ms: i64,
    by_destination: HashMap<Destination, Known>,
    told: Time,
    /// A death came since.
    is_urgent: bool,
}

impl Learned {
    /// Nothing yet. `offset_ms`: Unix time minus monotonic time.
    pub fn new(offset_ms: i64) -> Self {
        Self { offset_ms, by_destination: HashMap::new(), told: Time(0), is_urgent: false }
    }

    fn ms(&self, at: Time) -> i64 {
        self.offset_ms.saturating_add(i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX))
    }

    /// What an agent before this one knew.
    pub fn remember(&mut self, lessons: Vec<Lesson>, now: Time) {
        let now_ms = self.ms(now);
        for Lesson { destination, mut evidence } in lessons.into_iter().take(MAX_DESTINATIONS) {
            // From when the clock was ahead.
            evidence.retain(|sample| sample.span.ended_ms <= now_ms);
            let known = self.by_destination.entry(destination).or_default();
            known.evidence.splice(..0, evidence);
            known.forget(now_ms);
        }
    }

    /// A connection went on after it had been quiet until `at`.
    pub fn survived(&mut self, socket: &Socket, at: Time, quiet_ms: u32) {
        if quiet_ms < QUIET_MS {
            return;
        }
        let ended_ms = self.ms(at);
        let span = Span { began_ms: ended_ms - i64::from(quiet_ms), ended_ms };
        let destination = Destination::of(socket);
        if let Some(known) = self.by_destination.get_mut(&destination) {
            known.is_news |= known.survive(span);
        } else if self.by_destination.len() < MAX_DESTINATIONS {
            let known = self.by_destination.entry(destination).or_default();
            known.survive(span);
        }
    }

    /// Learns from a death after a quiet time.
    pub fn died(&mut self, socket: &Socket, at: Time, death: &Death) {
        let probe_ms = socket.idle().value.saturating_mul(1000);
        let (quiet_ms, outcome) = match death.cause {
            Cause::IdleDrop => (death.quiet_ms, QuietOutcome::Killed),
            // The first probe went out after the idle time of silence. It was answered by what did not know
            // the connection any more, or by nobody.
            Cause::KeepaliveReset => (probe_ms, QuietOutcome::Killed),
            Cause::KeepaliveTimeout => (probe_ms, QuietOutcome::Silenced),
            _ => return,
        };
        if quiet_ms < QUIET_MS || death.silent_ms < quiet_ms {
            return;
        }
        let began_ms = self.ms(at) - i64::from(death.silent_ms);
        let span = Span { began_ms, ended_ms: began_ms + i64::from(quiet_ms) };
        let destination = Destination::of(socket);
        if !self.by_destination.contains_key(&destination) {
            self.make_room();
        }
        self.by_destination.entry(destination).or_default().kill(Evidence { span, outcome });
        self.is_urgent = true;
    }

    /// Forgets first the destinations without a known death, then those that were silent for longest.
    fn make_room(&mut self) {
        if self.by_destination.len() < MAX_DESTINATIONS {
            return;
        }
        let least = self
            .by_destination
            .iter()
            .min_by_key(|(_, known)| (known.has_kills(), known.last_ms()))
            .map(|(&destination, _)| destination);
        if let Some(least) = least {
            self.by_destination.remove(&least);
        }
    }

    /// Evidence that was not handed out for writing before: at once after a death, else once a minute. What is
    /// old is forgotten meanwhile: such a lesson is empty.
    /// `all`: also what can wait.
    pub fn take_lessons(&mut self, now: Time, all: bool) -> Vec<Lesson> {
        if !all && !self.is_urgent && now.ms_since(self.told) < TELL_MS {
            return Vec::new();
        }
        self.is_urgent = false;
        self.told = now;
        let now_ms = self.ms(now);
        let mut lessons = Vec::new();
        self.by_destination.retain(|&destination, known| {
            let n_before = known.evidence.len();
            known.forget(now_ms);
            if known.is_news || known.evidence.len() < n_before {
                known.is_news = false;
                lessons.push(Lesson { destination, evidence: known.evidence.clone() });
            }
            !known.evidence.is_empty()
        });
        lessons
    }

    /// What is known of several destinations: the shortest limit of any by itself, else what all of them say
    /// together. One of them may be reached another way, and contradict the others.
    fn of_several(members: &[&Known], now_ms: i64) -> Option<Estimate> {
        members
            .iter()
            .filter_map(|known| Estimate::of(&known.evidence, now_ms))
            .filter(|it| it.confidence > Confidence::Guess)
            .min_by_key(Estimate::seconds)
            .or_else(|| {
                let all: Vec<Evidence> =
                    members.iter().flat_map(|known| known.evidence.iter().copied()).collect();
                Estimate::of(&all, now_ms)
            })
    }

    /// Of each path the limit that was learned, as far as one outage does not explain it; elsewhere the
    /// shortest of any destination.
    pub fn seconds_of_paths(&self, limits: &Limits, now: Time) -> BTreeMap<PathNumber, u32> {
        let now_ms = self.ms(now);
        let mut groups: BTreeMap<(PathNumber, Option<Destination>), Vec<&Known>> = BTreeMap::new();
        for (&destination, known) in &self.by_destination {
            let number = limits.of(destination.endpoint()).number;
            let key = (number, (number == 0).then_some(destination));
            groups.entry(key).or_default().push(known);
        }
        let mut shortest = BTreeMap::new();
        for ((number, _), members) in groups {
            let learned = Self::of_several(&members, now_ms);
            if let Some(it) = learned.filter(|it| it.confidence > Confidence::Guess) {
                let seconds = shortest.entry(number).or_insert(u32::MAX);
                *seconds = it.seconds().min(*seconds);
            }
        }
        shortest
    }

    /// The limits that are sure, seconds by destination.
    pub fn sure(&self, now: Time) -> BTreeMap<Destination, u32> {
        let now_ms = self.ms(now);
        let known = self.by_destination.iter().filter(|(_, known)| known.has_kills());
        known
            .filter_map(|(&destination, known)| {
                let estimate = Estimate::of(&known.evidence, now_ms)?;
                (estimate.confidence == Confidence::Sure).then(|| (destination, estimate.seconds()))
            })
            .collect()
    }

    /// Every limit that was learned. `path`: the name of the configured path to a destination.
    pub fn rows(&self, path: impl Fn(Destination) -> Option<String>, now: Time) -> Vec<LimitRow> {
        /// What belongs together, and how many members with deaths make it worth a row.
        #[derive(Default)]
        struct EvidenceGroup<'a> {
            n_needed: usize,
            n_killed: usize,
            members: Vec<&'a Known>,
        }
        let now_ms = self.ms(now);
        let mut groups: BTreeMap<String, EvidenceGroup<'_>> = BTreeMap::new();
        for (&destination, known) in &self.by_destination {
            let wider = match path(destination) {
                Some(path) => (path, 1),
                // A network of one says nothing that its one does not.
                None => (destination.network().to_string(), 2),
            };
            for (name, n_needed) in [(destination.to_string(), 1), wider] {
                let group = groups.entry(name).or_default();
                group.n_needed = n_needed;
                group.n_killed += usize::from(known.has_kills());
                group.members.push(known);
            }
        }
        groups.retain(|_, group| group.n_killed >= group.n_needed);
        let row = |(name, group): (String, EvidenceGroup<'_>)| {
            Self::of_several(&group.members, now_ms).map(|estimate| estimate.row(name))
        };
        groups.into_iter().filter_map(row).collect()
    }
}
