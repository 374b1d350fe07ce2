//! What evidence says of an idle limit, and how sure that is.

use super::WINDOW_MS;
use crate::model::{
    judgement::preset::PRESETS,
    text::{
        closed_set::closed_set,
        duration::{signed_seconds, tenths},
    },
};
use serde::{Deserialize, Serialize};

/// A quiet time, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When the last packet went either way.
    pub began_ms: i64,
    /// When the next was sent.
    pub ended_ms: i64,
}

impl Span {
    pub(super) const fn ms(self) -> i64 {
        self.ended_ms - self.began_ms
    }
}

/// What became of a connection after a quiet time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuietOutcome {
    /// The connection was dead after it.
    Killed,
    /// Probes met silence: what a peer that went dark looks like, too. Counts only beside others.
    Silenced,
    /// The connection went on; so did this number of others that day, after shorter times.
    Survived {
        /// The number of survivals, this one included.
        times: u64,
    },
}

impl QuietOutcome {
    /// The name on disk.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Silenced => "silenced",
            Self::Survived { .. } => "survived",
        }
    }
}

/// One piece of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The beginning and end of the quiet time.
    pub span: Span,
    /// What the first packet after it met.
    pub outcome: QuietOutcome,
}

impl Evidence {
    pub(super) const fn is_kill(&self) -> bool {
        !matches!(self.outcome, QuietOutcome::Survived { .. })
    }
}

closed_set! {
    /// How sure a learned limit is.
    pub enum Confidence {
        /// One outage of the peer would explain the deaths as well.
        Guess = "guess",
        /// It would take several outages.
        Likely = "likely",
        /// It would take three or more, and quiet times of at least half the limit were survived.
        Sure = "sure",
    }
}

/// What the evidence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The longest quiet time that was survived.
    pub longest_survived_ms: Option<i64>,
    /// The shortest that killed.
    pub shortest_killed_ms: i64,
    /// The number of quiet times that were survived.
    pub n_survivals: u64,
    /// Deaths that say so.
    pub n_deaths: u64,
    /// Deaths after quiet times that others survived.
    pub n_contradicted: u64,
    /// Outages that would explain the deaths without a limit.
    pub n_occasions: u64,
    /// How far the evidence carries.
    pub confidence: Confidence,
    /// When the last of it came, Unix milliseconds.
    pub at_ms: i64,
}

impl Estimate {
    /// From all of the evidence of one destination, or several; none if nothing was killed by a limit.
    pub(super) fn of(evidence: &[Evidence], now_ms: i64) -> Option<Self> {
        let young = |sample: &&Evidence| now_ms - sample.span.ended_ms < WINDOW_MS;
        let evidence: Vec<Evidence> = evidence.iter().filter(young).copied().collect();
        let all = Self::of_consistent(&evidence);
        // A limit that was made shorter: what was survived before does not count against it any more, once
        // enough has happened since.
        let newest = evidence.iter().filter(|it| it.is_kill()).max_by_key(|it| it.span.ended_ms)?;
        let contradicts = |it: &&Evidence| !it.is_kill() && it.span.ms() >= newest.span.ms();
        let last = evidence.iter().filter(contradicts).map(|it| it.span.ended_ms).max();
        let since = last.and_then(|last| {
            let later: Vec<Evidence> =
                evidence.iter().filter(|it| it.span.began_ms > last).copied().collect();
            Self::of_consistent(&later).filter(|later| later.n_occasions >= 3)
        });
        since.or(all)
    }

    fn of_consistent(evidence: &[Evidence]) -> Option<Self> {
        let survivals = || evidence.iter().filter(|sample| !sample.is_kill());
        let longest = survivals().map(|sample| sample.span.ms()).max();
        let n_survivals = survivals().map(|sample| match sample.outcome {
            QuietOutcome::Survived { times } => times,
            _ => 0,
        });
        let n_all = evidence.iter().filter(|sample| sample.is_kill()).count();
        let mut kills: Vec<&Evidence> = evidence
            .iter()
            .filter(|it| it.is_kill() && it.span.ms() > longest.unwrap_or(0))
            .collect();
        if !kills.iter().any(|kill| kill.outcome == QuietOutcome::Killed) {
            return None;
        }
        kills.sort_by_key(|kill| kill.span.ms());
        let spans: Vec<Span> = kills.iter().map(|kill| kill.span).collect();
        let n_occasions = occasions(&spans);
        // The shortest deaths that no single outage explains.
        let confirmed = (2..=spans.len())
            .find(|&n| spans.get(..n).is_some_and(|some| occasions(some) >= 2))
            .and_then(|n| spans.get(n - 1));
        let shortest = confirmed.or(spans.first())?.ms();
        let confidence = match n_occasions {
            0 | 1 => Confidence::Guess,
            2 => Confidence::Likely,
            _ if longest.is_some_and(|longest| longest.saturating_mul(2) >= shortest) => {
                Confidence::Sure
            }
            _ => Confidence::Likely,
        };
        Some(Self {
            longest_survived_ms: longest,
            shortest_killed_ms: shortest,
            n_survivals: n_survivals.sum(),
            n_deaths: count(kills.len()),
            n_contradicted: count(n_all - kills.len()),
            n_occasions,
            confidence,
            at_ms: evidence.iter().map(|it| it.span.ended_ms).max()?,
        })
    }

    /// Devices with a limit in between, if all of them have the same.
    fn devices(&self) -> Option<(u32, String)> {
        /// Clocks of middleboxes are coarse, and our times are those of timers.
        const SLACK_MS: i64 = 1000;
        let above = self.longest_survived_ms.unwrap_or(0);
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
    pub fn seconds(&self) -> u32 {
        let known = self.devices().map(|(seconds, _)| seconds);
        known.unwrap_or_else(|| {
            let whole = self.shortest_killed_ms / 1000;
            let is_above = whole * 1000 > self.longest_survived_ms.unwrap_or(0);
            u32::try_from(if is_above { whole } else { whole + 1 }).unwrap_or(u32::MAX).max(1)
        })
    }

    /// All of it, in one sentence.
    fn meaning(&self) -> String {
        let time = |ms: i64| tenths(u64::try_from(ms).unwrap_or_default());
        let shortest = time(self.shortest_killed_ms);
        let interval = match self.longest_survived_ms {
            Some(longest) => format!("between {} and {shortest}", time(longest)),
            None => format!("at {shortest} or before"),
        };
        let deaths = match self.n_deaths {
            1 => "1 death".to_owned(),
            n => format!("{n} deaths"),
        };
        let looks = match self.devices() {
            Some((_, devices)) => format!(": as {devices}"),
            None => String::new(),
        };
        let sure = match self.confidence {
            Confidence::Guess => "; a guess: one outage of the peer would explain it too",
            Confidence::Likely => "; likely",
            Confidence::Sure => "; sure",
        };
        format!("quiet connections are dropped {interval}, {deaths}{looks}{sure}")
    }

    /// As it is shown.
    pub(super) fn row(&self, destination: String) -> LimitRow {
        LimitRow {
            destination,
            unix_seconds: signed_seconds(self.at_ms),
            longest_survived_seconds: self.longest_survived_ms.map(signed_seconds),
            shortest_killed_seconds: signed_seconds(self.shortest_killed_ms),
            survivals: self.n_survivals,
            deaths: self.n_deaths,
            deaths_contradicted: self.n_contradicted,
            occasions: self.n_occasions,
            confidence: self.confidence,
            seconds: self.seconds(),
            looks_like: self.devices().map(|(_, devices)| devices),
            meaning: self.meaning(),
        }
    }
}

/// The fewest moments so that each span contains one.
pub(super) fn occasions(spans: &[Span]) -> u64 {
    let mut spans = spans.to_vec();
    spans.sort_by_key(|span| span.ended_ms);
    let mut last = i64::MIN;
    let mut n = 0;
    for span in spans {
        if span.began_ms > last {
            last = span.ended_ms;
            n += 1;
        }
    }
    n
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// An idle limit as learned, as it is shown. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitRow {
    /// An address, an address and a port, a network, or the name of a configured path.
    pub destination: String,
    /// When the last evidence came: Unix time.
    pub unix_seconds: f64,
    /// The longest quiet time that was survived; null if none was.
    pub longest_survived_seconds: Option<f64>,
    /// The shortest that killed.
    pub shortest_killed_seconds: f64,
    /// The number of quiet times that were survived.
    pub survivals: u64,
    /// Deaths that say so.
    pub deaths: u64,
    /// Deaths that were left out, because as long a quiet time was survived.
    pub deaths_contradicted: u64,
    /// Outages of the peer that would be needed to explain the deaths without a limit.
    pub occasions: u64,
    /// How sure it is.
    pub confidence: Confidence,
    /// The limit that is reckoned with.
    pub seconds: u32,
    /// Devices with such a limit.
    pub looks_like: Option<String>,
    /// All of it, in one sentence.
    pub meaning: String,
}
