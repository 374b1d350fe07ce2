//! What evidence says of an idle limit, and how sure that is.

use super::{
    WINDOW_MS,
    evidence::{Evidence, QuietOutcome},
    peer_closes::PeerCloses,
    row::LimitRow,
    span::{Span, occasions},
};
use crate::model::{
    judgement::{
        destination::Destination,
        learned_limit::{Confidence, LearnedLimit},
        preset::PRESETS,
    },
    text::{duration::signed_seconds, wall_time::WallTime},
};

/// Nothing in between forgets a connection so soon that one could be sure of it.
const SURE_MS: i64 = 20_000;
/// Quiet times that differ by less than one part in this are one rhythm.
const ONE_RHYTHM: i64 = 50;
/// Who went on this number of times after a quiet time did not do so by chance, where one died of as much.
const MANY: u64 = 10;
const DAY_MS: i64 = 86_400_000;

/// What the evidence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Estimate {
    /// The longest quiet time that was survived.
    pub(super) longest_survived_ms: Option<i64>,
    /// The shortest that killed.
    pub(super) shortest_killed_ms: i64,
    /// The number of quiet times that were survived.
    pub(super) n_survivals: u64,
    /// Deaths that say so.
    pub(super) n_deaths: u64,
    /// Those of them while others with the same peer were answered.
    pub(super) n_singled_out: u64,
    /// Deaths after quiet times that others survived.
    pub(super) n_contradicted: u64,
    /// Deaths that something else explains.
    pub(super) n_explained: u64,
    /// Outages that would explain the deaths without a limit.
    pub(super) n_occasions: u64,
    /// The peer may close by itself sooner than that: after this time without data, as it did once or twice.
    pub(super) closes_after_ms: Option<i64>,
    /// The longest quiet time that was survived after these deaths, if that is longer than what killed: the path changes.
    pub(super) outlived_ms: Option<i64>,
    /// How far the evidence carries.
    pub(super) confidence: Confidence,
    /// When the last of it came, Unix milliseconds.
    pub(super) at_ms: i64,
}

impl Estimate {
    /// From all of the evidence of one destination; none if nothing was killed by a limit. `moments`: when connections
    /// with several peers were lost at once.
    pub(super) fn of(
        evidence: &[Evidence],
        moments: impl Iterator<Item = i64>,
        now_ms: i64,
    ) -> Option<Self> {
        let young = |sample: &&Evidence| now_ms - sample.span.ended_ms < WINDOW_MS;
        let evidence: Vec<Evidence> = evidence.iter().filter(young).copied().collect();
        let closes = PeerCloses::of(&evidence);
        let moments: Vec<i64> = moments.collect();
        let outages: Vec<Span> =
            evidence.iter().filter(|it| it.is_outage()).map(|it| it.span).collect();
        let may_be_closed =
            |it: &Evidence| closes.is_some_and(|closes| closes.is_over_after(it.span.ms()));
        let is_explained = |it: &Evidence| {
            let is_in_outage = outages.iter().any(|outage| outage.touches(it.span))
                || moments.iter().any(|&moment| it.span.contains(moment));
            closes.is_some_and(|closes| closes.explains(it.span))
                || is_in_outage && (it.outcome != QuietOutcome::SingledOut || may_be_closed(it))
        };
        let (kills, others): (Vec<Evidence>, Vec<Evidence>) =
            evidence.iter().partition(|it| it.is_kill());
        let (explained, mut kills): (Vec<Evidence>, Vec<Evidence>) =
            kills.into_iter().partition(is_explained);
        // That others were answered says nothing of a FIN that was lost before.
        for kill in kills.iter_mut().filter(|it| may_be_closed(it)) {
            if kill.outcome == QuietOutcome::SingledOut {
                kill.outcome = QuietOutcome::Killed;
            }
        }
        let is_doubtful = kills.iter().any(may_be_closed);
        let survivals: Vec<Evidence> = others.into_iter().filter(Evidence::is_survival).collect();
        let all = Self::of_consistent(&kills, &survivals);
        let n_explained = count(explained.len());
        let lasting = Self::since_it_was_made_shorter(&kills, &survivals).or(all);
        let passing = Self::before_it_was_made_longer(&kills, &survivals, now_ms).filter(|it| {
            lasting.is_none_or(|lasting| it.shortest_killed_ms < lasting.shortest_killed_ms)
        });
        passing.or(lasting).map(|estimate| Self {
            n_explained,
            closes_after_ms: closes.map(|it| it.after_ms).filter(|_| is_doubtful),
            confidence: match estimate.confidence {
                Confidence::Sure if is_doubtful => Confidence::Likely,
                confidence => confidence,
            },
            ..estimate
        })
    }

    /// What was survived before a limit was made shorter does not count against it any more. One death after the last
    /// such survival may be an outage: it is a guess, but no reason to be silent.
    fn since_it_was_made_shorter(kills: &[Evidence], survivals: &[Evidence]) -> Option<Self> {
        let newest = kills.iter().max_by_key(|it| it.span.ended_ms)?;
        let contradicts = |it: &&Evidence| it.span.ms() >= newest.span.ms();
        let last = survivals.iter().filter(contradicts).map(|it| it.span.ended_ms).max()?;
        let later = |all: &[Evidence]| -> Vec<Evidence> {
            all.iter().filter(|it| it.span.began_ms > last).copied().collect()
        };
        let kills_later = later(kills);
        let n_contradicted = count(kills.len() - kills_later.len());
        let estimate = Self::of_consistent(&kills_later, &later(survivals))?;
        Some(Self { n_contradicted: estimate.n_contradicted + n_contradicted, ..estimate })
    }

    /// One long quiet time that was survived does not undo a limit that several met, each while others were answered: the path
    /// may change again, or there is more than one. For a day that is a guess.
    fn before_it_was_made_longer(
        kills: &[Evidence],
        survivals: &[Evidence],
        now_ms: i64,
    ) -> Option<Self> {
        let outlived = |kill: &Evidence| {
            let later = survivals.iter().filter(|it| it.span.ended_ms > kill.span.ended_ms);
            later.map(|it| it.span.ms()).max().filter(|longest| *longest >= kill.span.ms())
        };
        let of_today: Vec<Evidence> = kills
            .iter()
            .filter(|it| it.outcome == QuietOutcome::SingledOut)
            .filter(|it| now_ms - it.span.ended_ms < DAY_MS)
            .copied()
            .collect();
        let outlived_ms = of_today.iter().filter_map(outlived).max()?;
        let spans: Vec<Span> = of_today.iter().map(|it| it.span).collect();
        if occasions(&spans) < 2 {
            return None;
        }
        let shortest = spans.iter().map(|it| it.ms()).min()?;
        let shorter: Vec<Evidence> =
            survivals.iter().filter(|it| it.span.ms() < shortest).copied().collect();
        let estimate = Self::of_consistent(&of_today, &shorter)?;
        Some(Self { outlived_ms: Some(outlived_ms), confidence: Confidence::Guess, ..estimate })
    }

    fn of_consistent(kills: &[Evidence], survivals: &[Evidence]) -> Option<Self> {
        let went_on = survivals.iter().map(|it| it.span);
        let survived = went_on.max_by_key(|span| (span.ms(), span.ended_ms));
        let longest = survived.map(Span::ms);
        let n_all = kills.len();
        let mut kills: Vec<&Evidence> =
            kills.iter().filter(|it| it.span.ms() > longest.unwrap_or(0)).collect();
        if kills.iter().all(|kill| kill.outcome == QuietOutcome::Silenced) {
            return None;
        }
        kills.sort_by_key(|kill| kill.span.ms());
        let spans: Vec<Span> = kills.iter().map(|kill| kill.span).collect();
        let n_occasions = occasions(&spans);
        // The shortest deaths that no single outage explains.
        let confirmed = (2..=spans.len())
            .find(|&n| spans.get(..n).is_some_and(|some| occasions(some) >= 2))
            .and_then(|n| spans.get(n - 1));
        // That others were answered rules an outage out.
        let alone = kills.iter().filter(|kill| kill.outcome == QuietOutcome::SingledOut);
        let alone = alone.map(|kill| kill.span.ms()).min();
        let shortest = confirmed.or(spans.first())?.ms().min(alone.unwrap_or(i64::MAX));
        let is_near = longest.is_some_and(|longest| longest.saturating_mul(2) >= shortest);
        let confidence = match n_occasions {
            0 | 1 => Confidence::Guess,
            2 => Confidence::Likely,
            _ if is_near && shortest >= SURE_MS => Confidence::Sure,
            _ => Confidence::Likely,
        };
        let is_singled_out = |kill: &&&Evidence| kill.outcome == QuietOutcome::SingledOut;
        // What kills and what is survived by turns, again and again after the same time, is a rhythm of the program: the path
        // may have changed, and a limit just there would be a chance, unless devices have it.
        // So it is if all that died in the rhythm died before it was survived.
        let most = longest.map(|longest| longest + longest / ONE_RHYTHM);
        let is_of_rhythm = |span: &Span| most.is_some_and(|most| span.ms() <= most);
        let is_one_rhythm = survived.is_some_and(|survived| {
            let rhythm: Vec<&Span> = spans.iter().filter(|span| is_of_rhythm(span)).collect();
            let is_before = |span: &&Span| span.ended_ms < survived.ended_ms;
            rhythm.len() == spans.len() || rhythm.len() >= 2 && rhythm.iter().all(is_before)
        });
        let all = kills.iter().copied().chain(survivals);
        let estimate = Self {
            longest_survived_ms: longest,
            shortest_killed_ms: shortest,
            n_survivals: survivals.iter().map(|it| it.outcome.times()).sum(),
            n_deaths: count(kills.len()),
            n_singled_out: count(kills.iter().filter(is_singled_out).count()),
            n_contradicted: count(n_all - kills.len()),
            n_explained: 0,
            closes_after_ms: None,
            outlived_ms: None,
            n_occasions,
            confidence,
            at_ms: all.map(|it| it.span.ended_ms).max()?,
        };
        if estimate.devices().is_some() {
            return Some(estimate);
        }
        let others: Vec<Evidence> =
            kills.iter().filter(|kill| !is_of_rhythm(&kill.span)).map(|kill| **kill).collect();
        let n_of_rhythm = count(kills.len() - others.len());
        if n_of_rhythm > 0
            && n_survived_about(longest.unwrap_or_default(), survivals)
                >= n_of_rhythm.saturating_mul(MANY)
            && let Some(of_others) = Self::of_consistent(&others, survivals)
        {
            // The path lost its state once, as a firewall does that is started anew: the others show its limit.
            let n_contradicted = of_others.n_contradicted + estimate.n_contradicted + n_of_rhythm;
            return Some(Self { n_contradicted, ..of_others });
        }
        let confidence = if is_one_rhythm { Confidence::Guess } else { estimate.confidence };
        Some(Self { confidence, ..estimate })
    }

    /// Devices with a limit in between, if all of them have the same and there is room for no other.
    fn devices(&self) -> Option<(u32, String)> {
        /// Clocks of middleboxes are coarse, and our times are those of timers.
        const SLACK_MS: i64 = 1000;
        let above = self.longest_survived_ms?;
        // Between 30 s and an hour there are all of them.
        if self.shortest_killed_ms > above + above / 4 {
            return None;
        }
        let fits = |seconds: u32| {
            let ms = i64::from(seconds) * 1000;
            ms > above && ms <= self.shortest_killed_ms + SLACK_MS
        };
        let mut fitting = PRESETS.iter().filter(|preset| fits(preset.seconds)).peekable();
        let seconds = fitting.peek()?.seconds;
        let mut names = Vec::new();
        for preset in fitting {
            if preset.seconds != seconds {
                return None;
            }
            names.push(preset.device());
        }
        Some((seconds, names.join(", or ")))
    }

    /// The limit to reckon with: that of the device that it looks like, else the shortest quiet time that
    /// killed.
    pub(super) fn seconds(&self) -> u32 {
        let known = self.devices().map(|(seconds, _)| seconds);
        known.unwrap_or_else(|| {
            let whole = self.shortest_killed_ms / 1000;
            let is_above = whole * 1000 > self.longest_survived_ms.unwrap_or(0);
            u32::try_from(if is_above { whole } else { whole + 1 }).unwrap_or(u32::MAX).max(1)
        })
    }

    pub(super) fn limit(&self) -> LearnedLimit {
        let seconds = self.seconds();
        let survived = self.longest_survived_ms.unwrap_or(0) / 1000;
        let kept_seconds = match self.devices() {
            Some((of_device, _)) => of_device,
            None => u32::try_from(survived).unwrap_or(0).min(seconds),
        };
        LearnedLimit { seconds, kept_seconds, confidence: self.confidence }
    }

    /// As it is shown.
    pub(super) fn row(&self, destination: Destination) -> LimitRow {
        let row = LimitRow {
            remote: destination.to_string(),
            netns: destination.netns,
            time: WallTime::of_unix_ms(self.at_ms),
            longest_survived_seconds: self.longest_survived_ms.map(signed_seconds),
            shortest_killed_seconds: signed_seconds(self.shortest_killed_ms),
            survivals: self.n_survivals,
            deaths: self.n_deaths,
            deaths_singled_out: self.n_singled_out,
            deaths_contradicted: self.n_contradicted,
            deaths_explained: self.n_explained,
            occasions: self.n_occasions,
            confidence: self.confidence,
            idle_limit_seconds: self.seconds(),
            looks_like: self.devices().map(|(_, devices)| devices),
            peer_closes_after_seconds: self.closes_after_ms.map(signed_seconds),
            outlived_seconds: self.outlived_ms.map(signed_seconds),
            meaning: String::new(),
        };
        let is_outage_ruled_out = self.n_singled_out > 0;
        LimitRow { meaning: row.in_words(is_outage_ruled_out), ..row }
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// How often connections went on after about the longest quiet time that was survived, milliseconds.
fn n_survived_about(longest_ms: i64, survivals: &[Evidence]) -> u64 {
    let is_of_it = |it: &&Evidence| it.span.ms() >= longest_ms - longest_ms / ONE_RHYTHM;
    survivals.iter().filter(is_of_it).map(|it| it.outcome.times()).sum()
}
