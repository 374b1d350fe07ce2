//! Times between two packets: what they have in common, and how many occasions they are.

/// Occasions are at least this far apart: what happens within a minute has one reason.
pub(super) const APART_MS: i64 = 60_000;

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

    pub(super) const fn contains(self, moment_ms: i64) -> bool {
        self.began_ms <= moment_ms && moment_ms <= self.ended_ms
    }

    pub(super) const fn touches(self, other: Self) -> bool {
        self.began_ms <= other.ended_ms && other.began_ms <= self.ended_ms
    }
}

impl Span {
    /// Whether this moment, or one within a minute, does not explain it: it takes another occasion.
    pub const fn is_another_occasion(self, moment_ms: i64) -> bool {
        self.began_ms > moment_ms && self.ended_ms - moment_ms >= APART_MS
    }
}

/// Whether two times can be of one timer.
pub(super) fn is_same(one_ms: i64, other_ms: i64) -> bool {
    let shorter = one_ms.min(other_ms);
    (one_ms - other_ms).abs() <= (shorter / 20).max(500)
}

/// The fewest moments, minutes apart, so that each span contains one or ends within a minute of one that does.
pub(super) fn occasions(spans: &[Span]) -> u64 {
    let mut spans = spans.to_vec();
    spans.sort_by_key(|span| span.ended_ms);
    let mut last: Option<i64> = None;
    let mut n = 0;
    for span in spans {
        if last.is_none_or(|last| span.is_another_occasion(last)) {
            last = Some(span.ended_ms);
            n += 1;
        }
    }
    n
}
