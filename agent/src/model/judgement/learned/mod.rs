//! Idle limits as learned: longer than the longest quiet time that connections survived, at most the
//! shortest that killed them.
//!
//! A peer that goes dark kills connections too, of every quiet time. But one outage explains only deaths whose
//! quiet times all contain the moment of that outage. So a limit is believed from the second occasion on:
//! when no single moment lies within all the quiet times that killed. Deaths after quiet times that others
//! survived say nothing of a limit and are left out, and so are those that something else explains: an outage that
//! was seen, the peer's own timer ([`peer_closes`]), a clean-up by the clock ([`clean_up`]).
//!
//! What was learned of one destination is never said of another: not of its neighbours, not of the same address in
//! another network namespace.

mod clean_up;
mod estimate;
mod evidence;
mod other_reason;
mod peer_closes;
mod row;
mod span;
#[cfg(test)]
mod tests;

use super::{
    death::{Cause, Death, OtherReason, Others, QUIET_MS},
    destination::Destination,
    idle_limit::{Limits, PathNumber},
    learned_limit::{Confidence, LearnedLimit},
};
use crate::model::observed::{
    ending::Discovery,
    socket::{Socket, Time},
};
pub use clean_up::{CleanUpRow, MassEnding};
use clean_up::{LostConnection, MassEndings};
use estimate::Estimate;
use evidence::Known;
pub use evidence::{Evidence, QuietOutcome};
pub use peer_closes::PeerClosesRow;
#[cfg(test)]
pub(crate) use row::tests_support;
pub use row::{LearnedRow, LimitRow};
pub use span::Span;

use hashbrown::HashMap;
use std::collections::BTreeMap;

/// Evidence that is older is forgotten: 7 days.
pub const WINDOW_MS: i64 = 7 * 86_400_000;
/// Destinations with evidence, at most; half of them may be of other network namespaces than the agent's.
const MAX_DESTINATIONS: usize = 1024;
/// Evidence that only confirms is written this often.
const TELL_MS: u64 = 60_000;

/// Something to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// Everything known of one destination.
    Peer(Destination, Vec<Evidence>),
    /// Every moment at which many connections were lost.
    MassEndings(Vec<MassEnding>),
}

impl Lesson {
    /// Whether this one replaces the other.
    pub fn is_of_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Peer(one, _), Self::Peer(another, _)) => one == another,
            (Self::MassEndings(_), Self::MassEndings(_)) => true,
            _ => false,
        }
    }
}

/// The host that learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Home {
    /// Unix milliseconds at the begin of the monotonic clock: fixed, so that a wall clock that is set does
    /// not tear the evidence apart.
    pub unix_offset_ms: i64,
    /// The agent's own network namespace.
    pub netns: Option<u32>,
    /// The host's time of day minus UTC, milliseconds.
    pub zone_ms: i64,
}

/// What was learned on this host.
#[derive(Debug, Default)]
pub struct Learned {
    home: Home,
    by_destination: HashMap<Destination, Known>,
    endings: MassEndings,
    told: Time,
    /// A death came since.
    is_urgent: bool,
}

impl Learned {
    /// Nothing yet.
    pub fn new(home: Home) -> Self {
        Self { home, ..Self::default() }
    }

    /// The agent's own network namespace.
    pub const fn netns(&self) -> Option<u32> {
        self.home.netns
    }

    fn ms(&self, at: Time) -> i64 {
        let ms = i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX);
        self.home.unix_offset_ms.saturating_add(ms)
    }

    /// What an agent before this one knew.
    pub fn remember(&mut self, lessons: Vec<Lesson>, now: Time) {
        let now_ms = self.ms(now);
        for lesson in lessons.into_iter().take(MAX_DESTINATIONS + 1) {
            match lesson {
                Lesson::Peer(destination, mut evidence) => {
                    // From when the clock was ahead.
                    evidence.retain(|sample| sample.span.ended_ms <= now_ms);
                    let known = self.by_destination.entry(destination).or_default();
                    known.evidence.splice(..0, evidence);
                    known.forget(now_ms);
                }
                Lesson::MassEndings(endings) => self.endings.remember(endings, now_ms),
            }
        }
    }

    /// A connection went on after it had been quiet until `at`.
    pub fn survived(&mut self, socket: &Socket, at: Time, quiet_ms: u32) {
        if quiet_ms < QUIET_MS {
            return;
        }
        let ended_ms = self.ms(at);
        let span = Span { began_ms: ended_ms - i64::from(quiet_ms), ended_ms };
        let destination = Destination::of(socket, self.home.netns);
        if let Some(known) = self.by_destination.get_mut(&destination) {
            known.is_news |= known.survive(span);
        } else if self.has_room_for(destination) {
            let known = self.by_destination.entry(destination).or_default();
            known.survive(span);
        }
    }

    /// The peer has closed a connection that it had not been sent anything on for that long.
    pub fn peer_closed(&mut self, socket: &Socket, at: Time, quiet_ms: u32) {
        if quiet_ms < QUIET_MS {
            return;
        }
        let ended_ms = self.ms(at);
        let span = Span { began_ms: ended_ms - i64::from(quiet_ms), ended_ms };
        let destination = Destination::of(socket, self.home.netns);
        if self.by_destination.contains_key(&destination) || self.has_room_for(destination) {
            let outcome = QuietOutcome::PeerClosed { times: 1 };
            self.by_destination.entry(destination).or_default().closed(Evidence { span, outcome });
        }
    }

    /// Learns from a death. `shortest_ms`: the shortest quiet time after which a path can have forgotten it.
    pub fn died(&mut self, socket: &Socket, at: Time, death: &Death, shortest_ms: u32) {
        // What it met last was not seen; or no path is needed to explain it.
        let is_explained = socket.was_closed_by_peer()
            || socket.could_not_send
            || death.ending.held_back_ms.is_some();
        if death.ending.found != Discovery::Reported || is_explained {
            return;
        }
        let Some(quiet) = self.quiet_before(socket, at, death) else { return };
        let destination = Destination::of(socket, self.home.netns);
        self.endings.note(LostConnection {
            netns: destination.netns,
            within: if death.cause == Cause::PeerReset && death.other_reason.is_none() {
                // Nobody doubts when it came.
                Span { began_ms: quiet.ended_ms, ..quiet }
            } else {
                quiet
            },
            peer: destination.addr,
            process: socket.owner.map(|owner| owner.comm.escaped().into()),
        });
        let was_answered = matches!(death.others, Others::Answered(_));
        let is_outage = matches!(death.others, Others::Silent(_));
        // What it survived before did not kill it now.
        let survived_as_much = i64::from(death.survived_ms) * 5 / 4 >= quiet.ms();
        let outcome = match death.cause {
            // No path had it.
            _ if death.other_reason == Some(OtherReason::NeverTaken) => return,
            // What else explains it stands beside it: a timer, or what went dark.
            _ if death.other_reason.is_some() => QuietOutcome::Killed,
            // Nobody acknowledged what was sent after the quiet time: that it was a timer of the peer is not known.
            Cause::PeerReset if death.ending.is_reset_after_repetition() => return,
            Cause::PeerReset => QuietOutcome::PeerReset { times: 1 },
            Cause::KeepaliveTimeout if death.probes_unanswered < 2 => return,
            // The peer was started anew, or its path was gone for a while.
            Cause::KeepaliveReset if survived_as_much => return,
            Cause::IdleDrop if death.may_be_too_large() => QuietOutcome::Silenced,
            Cause::IdleDrop | Cause::KeepaliveReset | Cause::KeepaliveTimeout if was_answered => {
                QuietOutcome::SingledOut
            }
            // Its client waited for nothing, while others were answered.
            Cause::Abandoned if was_answered && death.could_be_forgotten => {
                QuietOutcome::SingledOut
            }
            // That it was a limit is not said by one who died beside others.
            Cause::IdleDrop | Cause::KeepaliveReset if is_outage => return,
            Cause::IdleDrop | Cause::KeepaliveReset => QuietOutcome::Killed,
            Cause::KeepaliveTimeout if survived_as_much => QuietOutcome::Outage,
            Cause::KeepaliveTimeout if is_outage => return,
            // The host was there: evidence of a path, as far as no outage of this service explains it.
            Cause::KeepaliveTimeout if death.others.is_alive() => QuietOutcome::Killed,
            // The first probe went out after the idle time of silence. It was answered by nobody.
            Cause::KeepaliveTimeout => QuietOutcome::Silenced,
            Cause::UserTimeout | Cause::RetransmitTimeout if !was_answered => QuietOutcome::Outage,
            _ => return,
        };
        let is_kill = Evidence { span: quiet, outcome }.is_kill();
        let least_ms = match outcome {
            QuietOutcome::Outage => 0,
            _ if is_kill => shortest_ms.max(QUIET_MS),
            _ => QUIET_MS,
        };
        if quiet.ms() < i64::from(least_ms) {
            return;
        }
        self.make_room_for(destination);
        let known = self.by_destination.entry(destination).or_default();
        match outcome {
            QuietOutcome::Outage => known.went_dark(quiet),
            QuietOutcome::PeerReset { .. } => known.closed(Evidence { span: quiet, outcome }),
            _ => known.kill(Evidence { span: quiet, outcome }),
        }
        self.is_urgent = true;
    }

    /// The time in which a connection was lost: from the last packet of the peer to the first of ours that was not
    /// answered. None if it was not lost, but ended.
    fn quiet_before(&self, socket: &Socket, at: Time, death: &Death) -> Option<Span> {
        let quiet_ms = match death.cause {
            Cause::PeerClosed
            | Cause::LocalClosed
            | Cause::LocalReset
            | Cause::ConnectFailed
            | Cause::Unknown => return None,
            Cause::KeepaliveTimeout | Cause::KeepaliveReset => {
                death.quiet_before_probe_ms(socket).unwrap_or(death.quiet_ms)
            }
            _ => death.quiet_ms,
        };
        let silent_ms = death.silent_ms.max(quiet_ms);
        let began_ms = self.ms(at) - i64::from(silent_ms);
        Some(Span { began_ms, ended_ms: began_ms + i64::from(quiet_ms) })
    }

    fn has_room_for(&self, destination: Destination) -> bool {
        let is_foreign = |destination: &Destination| destination.netns.is_some();
        self.by_destination.len() < MAX_DESTINATIONS
            && (!is_foreign(&destination)
                || self.by_destination.keys().filter(|it| is_foreign(it)).count()
                    < MAX_DESTINATIONS / 2)
    }

    /// Forgets first what other namespaces taught, then destinations without a known death, then those that were
    /// silent for longest. Another namespace takes no place of ours.
    fn make_room_for(&mut self, destination: Destination) {
        if self.by_destination.contains_key(&destination) || self.has_room_for(destination) {
            return;
        }
        let may_go = |it: &Destination| it.netns.is_some() || destination.netns.is_none();
        let least = self
            .by_destination
            .iter()
            .filter(|(it, _)| may_go(it))
            .min_by_key(|(it, known)| (it.netns.is_none(), known.has_kills(), known.last_ms()))
            .map(|(&destination, _)| destination);
        if let Some(least) = least {
            self.by_destination.remove(&least);
        }
    }

    /// Evidence that was not handed out for writing before: at once after a death, else once a minute. What is
    /// old is forgotten meanwhile: such a lesson is empty.
    /// `all`: also what can wait.
    pub fn take_lessons(&mut self, now: Time, all: bool) -> Vec<Lesson> {
        let is_time = all || now.ms_since(self.told) >= TELL_MS;
        if !is_time && !self.is_urgent {
            return Vec::new();
        }
        self.is_urgent = false;
        let now_ms = self.ms(now);
        let mut lessons = Vec::new();
        if is_time {
            self.told = now;
            lessons.extend(self.endings.take_news(now_ms).map(Lesson::MassEndings));
        }
        self.by_destination.retain(|&destination, known| {
            let n_before = known.evidence.len();
            known.forget(now_ms);
            if known.is_news || known.evidence.len() < n_before {
                known.is_news = false;
                lessons.push(Lesson::Peer(destination, known.evidence.clone()));
            }
            !known.evidence.is_empty()
        });
        lessons
    }

    fn estimates(&self, now: Time) -> impl Iterator<Item = (Destination, Estimate)> {
        let now_ms = self.ms(now);
        let known = self.by_destination.iter().filter(|(_, known)| known.has_kills());
        known.filter_map(move |(&destination, known)| {
            let moments = self.endings.moments(destination.netns);
            Some((destination, Estimate::of(&known.evidence, moments, now_ms)?))
        })
    }

    /// Of each configured path the shortest limit that a single destination on it shows, as far as one outage does not
    /// explain that.
    pub fn seconds_of_paths(&self, limits: &Limits, now: Time) -> BTreeMap<PathNumber, u32> {
        let mut shortest = BTreeMap::new();
        for (destination, estimate) in self.estimates(now) {
            let number = limits.configured(destination.endpoint()).number;
            if number != 0 && estimate.confidence > Confidence::Guess {
                let seconds = shortest.entry(number).or_insert(u32::MAX);
                *seconds = estimate.seconds().min(*seconds);
            }
        }
        shortest
    }

    /// The limit of each destination, however sure it is.
    pub fn limits(&self, now: Time) -> BTreeMap<Destination, LearnedLimit> {
        self.estimates(now).map(|(destination, estimate)| (destination, estimate.limit())).collect()
    }

    /// Everything that was learned.
    pub fn rows(&self, now: Time) -> Vec<LearnedRow> {
        let limits: BTreeMap<_, _> = self.estimates(now).collect();
        let closes: BTreeMap<_, _> = self
            .by_destination
            .iter()
            .filter_map(|(&it, known)| Some((it, peer_closes::PeerCloses::of(&known.evidence)?)))
            // Clients go when they like: only a habit of theirs is worth a word.
            .filter(|(it, closes)| it.port != 0 || closes.is_habit())
            .collect();
        let limits = limits.iter().map(|(&it, limit)| LearnedRow::PathLimit(limit.row(it)));
        let closes = closes.iter().map(|(&it, closes)| LearnedRow::PeerCloses(closes.row(it)));
        let clean_ups = self.endings.rows(self.home.zone_ms).into_iter().map(LearnedRow::CleanUp);
        limits.chain(closes).chain(clean_ups).collect()
    }
}
