//! Quiet times and what became of the connections after them: the pieces of evidence, and what is kept of one
//! destination.

use super::span::{Span, is_same, occasions};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;
/// Deaths remembered of each destination, and closings by the peer.
pub(super) const MAX_KILLS: usize = 32;
/// Outages remembered of each destination.
const MAX_OUTAGES: usize = 16;

/// What became of a connection after a quiet time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuietOutcome {
    /// The connection was dead after it.
    Killed,
    /// It was dead, while others with the same peer were answered: hardly an outage of the peer.
    SingledOut,
    /// Probes met silence: what a peer that went dark looks like, too. Counts only beside others.
    Silenced,
    /// The peer went dark in this time: it had answered after such quiet times before, or just now.
    Outage,
    /// The peer ended the connection by itself after it; so it did with others in that minute.
    PeerClosed {
        /// The number of connections, this one included.
        times: u64,
    },
    /// The peer reset it, with nothing in flight; so it did with others in that minute. A crash or a restart does that at any
    /// time: a habit is only what happens again and again.
    PeerReset {
        /// The number of connections, this one included.
        times: u64,
    },
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
            Self::SingledOut => "singled_out",
            Self::Silenced => "silenced",
            Self::Outage => "outage",
            Self::PeerClosed { .. } => "peer_closed",
            Self::PeerReset { .. } => "peer_reset",
            Self::Survived { .. } => "survived",
        }
    }

    /// The outcome of that name; none if this version does not know it.
    pub fn named(name: &str, times: u64) -> Option<Self> {
        let all = [
            Self::Killed,
            Self::SingledOut,
            Self::Silenced,
            Self::Outage,
            Self::PeerClosed { times },
            Self::PeerReset { times },
            Self::Survived { times },
        ];
        all.into_iter().find(|outcome| outcome.as_str() == name)
    }

    /// The number of connections that it stands for.
    pub const fn times(self) -> u64 {
        match self {
            Self::PeerClosed { times } | Self::PeerReset { times } | Self::Survived { times } => {
                times
            }
            _ => 1,
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
        matches!(
            self.outcome,
            QuietOutcome::Killed | QuietOutcome::SingledOut | QuietOutcome::Silenced
        )
    }

    pub(super) const fn is_survival(&self) -> bool {
        matches!(self.outcome, QuietOutcome::Survived { .. })
    }

    pub(super) const fn is_outage(&self) -> bool {
        matches!(self.outcome, QuietOutcome::Outage)
    }

    pub(super) const fn is_closing(&self) -> bool {
        matches!(self.outcome, QuietOutcome::PeerClosed { .. } | QuietOutcome::PeerReset { .. })
    }

    pub(super) const fn is_reset(&self) -> bool {
        matches!(self.outcome, QuietOutcome::PeerReset { .. })
    }
}

/// What is known of one destination.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) evidence: Vec<Evidence>,
    /// There is evidence that was not written yet.
    pub(super) is_news: bool,
}

impl Known {
    pub(super) fn has_kills(&self) -> bool {
        self.evidence.iter().any(Evidence::is_kill)
    }

    pub(super) fn last_ms(&self) -> i64 {
        self.evidence.iter().map(|sample| sample.span.ended_ms).max().unwrap_or(i64::MIN)
    }

    pub(super) fn kill(&mut self, kill: Evidence) {
        self.is_news = true;
        self.evidence.push(kill);
        let kills = || self.evidence.iter().enumerate().filter(|(_, it)| it.is_kill());
        if kills().count() <= MAX_KILLS {
            return;
        }
        // Of those that the same outage would explain the longest says least.
        let at_once = |it: &Evidence| occasions(&[it.span, kill.span]) == 1;
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

    /// The peer went dark within `span`. Of several spans of one outage what they have in common is kept.
    pub(super) fn went_dark(&mut self, span: Span) {
        self.is_news = true;
        let known = self.evidence.iter_mut().find(|it| it.is_outage() && it.span.touches(span));
        if let Some(known) = known {
            known.span.began_ms = known.span.began_ms.max(span.began_ms);
            known.span.ended_ms = known.span.ended_ms.min(span.ended_ms);
            return;
        }
        self.evidence.push(Evidence { span, outcome: QuietOutcome::Outage });
        self.keep_latest(Evidence::is_outage, MAX_OUTAGES);
    }

    /// The peer ended a connection by itself.
    pub(super) fn closed(&mut self, closing: Evidence) {
        self.is_news = true;
        let span = closing.span;
        for sample in self.evidence.iter_mut().rev() {
            if sample.is_reset() == closing.is_reset()
                && let QuietOutcome::PeerClosed { times } | QuietOutcome::PeerReset { times } =
                    &mut sample.outcome
                && sample.span.ended_ms / MINUTE_MS == span.ended_ms / MINUTE_MS
                && is_same(sample.span.ms(), span.ms())
            {
                *times += 1;
                return;
            }
        }
        self.evidence.push(closing);
        self.keep_latest(Evidence::is_closing, MAX_KILLS);
    }

    fn keep_latest(&mut self, is_of_kind: impl Fn(&Evidence) -> bool, max: usize) {
        let of_kind = || self.evidence.iter().enumerate().filter(|(_, it)| is_of_kind(it));
        let oldest = of_kind().min_by_key(|(_, it)| it.span.ended_ms).map(|(place, _)| place);
        if let Some(oldest) = oldest.filter(|_| of_kind().count() > max) {
            self.evidence.remove(oldest);
        }
    }

    /// Of each day the longest is kept. Whether it is longer than what was known.
    pub(super) fn survive(&mut self, span: Span) -> bool {
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

    pub(super) fn forget(&mut self, now_ms: i64) {
        self.evidence.retain(|sample| now_ms - sample.span.ended_ms < super::WINDOW_MS);
    }
}
