//! Histograms of times: how many values are at or under each bound.

/// Upper bounds of the idle histogram, seconds: the real idle limits, and what runtimes set.
pub const IDLE_BOUNDS: &[u32] =
    &[15, 30, 60, 120, 240, 300, 350, 600, 900, 1200, 1800, 3600, 7200, 7440];

/// Upper bounds of the detection time histogram, seconds.
pub const DETECTION_BOUNDS: &[u32] =
    &[30, 60, 120, 240, 350, 600, 900, 1800, 3600, 7200, 7875, 14400, 86400];

/// How many sockets have a value up to each bound, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Upper bounds, ascending; above the last is one more count.
    pub bounds: &'static [u32],
    /// One count a bound, not cumulative, and one above.
    pub counts: Vec<u64>,
    /// Sum of the values, seconds.
    pub sum: u64,
}

impl Distribution {
    pub(super) fn new(bounds: &'static [u32]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0 }
    }

    pub(super) fn add(&mut self, value: u64) {
        self.change(value, Sign::Plus);
    }

    pub(super) fn change(&mut self, value: u64, sign: Sign) {
        let bucket = self.bounds.partition_point(|&bound| u64::from(bound) < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            sign.apply(count, 1);
        }
        sign.apply(&mut self.sum, value);
    }
}

/// Whether something comes or goes.
#[derive(Clone, Copy)]
pub(super) enum Sign {
    Plus,
    Minus,
}

impl Sign {
    pub(super) const fn apply(self, to: &mut u64, amount: u64) {
        *to = match self {
            Self::Plus => to.saturating_add(amount),
            Self::Minus => to.saturating_sub(amount),
        };
    }
}
