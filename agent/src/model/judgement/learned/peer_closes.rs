//! "The peer closes after N s": a server's or proxy's own idle timer, seen as the peer ends connections again and again
//! after the same time without data. No probe prevents that; a pool whose idle time is shorter does.

use super::{
    evidence::Evidence,
    span::{APART_MS, Span, is_same},
};
use crate::model::{
    judgement::{destination::Destination, learned_limit::Confidence},
    text::{
        duration::{signed_seconds, tenths},
        wall_time::WallTime,
    },
};
use serde::{Deserialize, Serialize};

/// Occasions that make a habit.
const MIN_OCCASIONS: u64 = 3;
/// Occasions from which on there is no other explanation.
const SURE_OCCASIONS: u64 = 5;

/// What the closings of one destination say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeerCloses {
    /// The shortest of the times that are alike.
    pub(super) after_ms: i64,
    n_times: u64,
    n_occasions: u64,
    confidence: Confidence,
    at_ms: i64,
}

impl PeerCloses {
    /// From all of the evidence of one destination: a habit of the peer, or a guess of one from the first times; none if they
    /// differ.
    pub(super) fn of(evidence: &[Evidence]) -> Option<Self> {
        let mut closings: Vec<&Evidence> = evidence.iter().filter(|it| it.is_closing()).collect();
        closings.sort_by_key(|closing| closing.span.ms());
        // Restarts and errors end connections after any time: one timer ends most of them after the same.
        let alike = |from: usize| -> &[&Evidence] {
            let rest = closings.get(from..).unwrap_or_default();
            let Some(first) = rest.first() else { return rest };
            let n = rest.partition_point(|it| is_same(first.span.ms(), it.span.ms()));
            rest.get(..n).unwrap_or_default()
        };
        let most =
            (0..closings.len()).map(alike).max_by_key(|alike| (occasions(alike), alike.len()))?;
        let n_occasions = occasions(most);
        let is_habit = n_occasions >= MIN_OCCASIONS && most.len() * 2 > closings.len();
        // One or two may have any reason; with another one beside them they have, and resets alone have: a crash, a restart.
        let is_one_of_many = most.len() < closings.len();
        if !is_habit && (is_one_of_many || most.iter().all(|it| it.is_reset())) {
            return None;
        }
        let (first, last) = (most.first()?, most.last()?);
        let outlived = |it: &&Evidence| it.is_survival() && !is_same(it.span.ms(), last.span.ms());
        if evidence.iter().filter(outlived).any(|it| it.span.ms() > last.span.ms()) {
            return None;
        }
        let confidence = match n_occasions {
            _ if !is_habit => Confidence::Guess,
            SURE_OCCASIONS.. => Confidence::Sure,
            _ => Confidence::Likely,
        };
        Some(Self {
            after_ms: first.span.ms(),
            n_times: most.iter().map(|it| it.outcome.times()).sum(),
            n_occasions,
            confidence,
            at_ms: most.iter().map(|it| it.span.ended_ms).max()?,
        })
    }

    /// Whether it happened often enough to be more than a guess.
    pub(super) fn is_habit(&self) -> bool {
        self.confidence > Confidence::Guess
    }

    /// Whether this timer alone explains a death after that quiet time: the peer had closed it by then. A guess explains
    /// nothing.
    pub(super) fn explains(&self, quiet: Span) -> bool {
        self.is_habit() && self.is_over_after(quiet.ms())
    }

    /// Whether this timer was over after a quiet time, if it is one.
    pub(super) fn is_over_after(&self, quiet_ms: i64) -> bool {
        quiet_ms >= self.after_ms || is_same(quiet_ms, self.after_ms)
    }

    /// As it is shown.
    pub(super) fn row(&self, destination: Destination) -> PeerClosesRow {
        let after = tenths(self.after_ms.unsigned_abs());
        PeerClosesRow {
            remote: destination.to_string(),
            netns: destination.netns,
            time: WallTime::of_unix_ms(self.at_ms),
            after_seconds: signed_seconds(self.after_ms),
            connections: self.n_times,
            occasions: self.n_occasions,
            confidence: self.confidence,
            meaning: self.meaning(&after),
        }
    }

    fn meaning(&self, after: &str) -> String {
        let Self { n_times, n_occasions, confidence, .. } = self;
        if *confidence == Confidence::Guess {
            let times = if *n_times == 1 { "1 time" } else { &format!("{n_times} times") };
            return format!(
                "closed by the peer {after} after the last data ({times} so far): if that is its own idle timeout, keepalive \
                 does not change that"
            );
        }
        format!(
            "the peer closes connections {after} after the last data ({n_times} times on {n_occasions} occasions; {}): its own \
             idle timeout, which keepalive does not reach. Set the pool's idle time below {after}",
            confidence.as_str(),
        )
    }
}

/// The number of minutes or more that lie between closings.
fn occasions(closings: &[&Evidence]) -> u64 {
    let mut times: Vec<i64> = closings.iter().map(|it| it.span.ended_ms).collect();
    times.sort_unstable();
    let mut last = None;
    let mut n = 0;
    for at in times {
        if last.is_none_or(|last| at - last >= APART_MS) {
            last = Some(at);
            n += 1;
        }
    }
    n
}

/// The habit of a peer to close idle connections, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerClosesRow {
    /// An address, or an address and a port.
    pub remote: String,
    /// Inode number of the network namespace; null for the agent's own.
    pub netns: Option<u32>,
    /// When the last evidence came.
    #[serde(flatten)]
    pub time: WallTime,
    /// The peer closes after this time without data.
    pub after_seconds: f64,
    /// Connections that it closed so.
    pub connections: u64,
    /// Occasions on which it did, minutes apart.
    pub occasions: u64,
    /// How sure it is that this is a timer of the peer.
    pub confidence: Confidence,
    /// All of it, in one sentence.
    pub meaning: String,
}
