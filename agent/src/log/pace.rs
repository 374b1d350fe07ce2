//! How often something is said. What happens often is said at once, then as a sum; what comes and goes is said when
//! it begins and when it is over. Pure: times are arguments.

use crate::model::observed::socket::Time;

/// Between two lines of one kind.
pub(crate) const PACE_MS: u64 = 10_000;

/// Something that is counted: the first is reported at once, then at most one line each 10 s has the sum since the last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paced {
    total: u64,
    n_told: u64,
    told: Option<Time>,
}

impl Paced {
    /// Takes the counter as it is now. Returns how many were not reported yet, if a report is due.
    pub(crate) fn see(&mut self, total: u64, now: Time) -> Option<u64> {
        self.total = self.total.max(total);
        let rests = self.told.is_some_and(|told| now.ms_since(told) < PACE_MS);
        if rests { None } else { self.rest(now) }
    }

    /// Counts an occurrence; returns the number to report if a report is due.
    pub(crate) fn count(&mut self, now: Time) -> Option<u64> {
        self.see(self.total.saturating_add(1), now)
    }

    /// Returns how many were not reported yet, whatever the time: for the end.
    pub(crate) fn rest(&mut self, now: Time) -> Option<u64> {
        let n_more = self.total - std::mem::replace(&mut self.n_told, self.total);
        if n_more > 0 {
            self.told = Some(now);
        }
        (n_more > 0).then_some(n_more)
    }

    /// All that there were.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }
}

/// What to report about a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The state has begun.
    Begins,
    /// The state is over.
    Ends,
}

/// A trouble that comes and goes. It begins at once, and is over when it has stayed away for 10 s: one that flickers
/// is one trouble.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spell {
    is_on: bool,
    away_since: Option<Time>,
}

impl Spell {
    /// Takes the state as it is now. Returns the change to report, if any.
    pub(crate) fn see(&mut self, is_here: bool, now: Time) -> Option<Turn> {
        if is_here {
            self.away_since = None;
            return (!std::mem::replace(&mut self.is_on, true)).then_some(Turn::Begins);
        }
        let since = *self.away_since.get_or_insert(now);
        if now.ms_since(since) < PACE_MS { None } else { self.finish() }
    }

    /// Returns the end if it is not reported yet, whatever the time: for the end of the process.
    pub(crate) const fn finish(&mut self) -> Option<Turn> {
        if self.is_on && self.away_since.is_some() {
            self.is_on = false;
            return Some(Turn::Ends);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Time {
        Time((1_000_000 + ms) * 1_000_000)
    }

    #[test]
    fn the_first_is_told_at_once_then_one_line_in_ten_seconds_has_the_sum() {
        let mut paced = Paced::default();
        assert_eq!(paced.see(0, at(0)), None);
        assert_eq!(paced.see(3, at(100)), Some(3));
        assert_eq!(paced.see(3, at(200)), None);
        assert_eq!(paced.see(10, at(300)), None);
        assert_eq!(paced.see(25, at(10_099)), None);
        assert_eq!(paced.see(25, at(10_100)), Some(22));
        assert_eq!(paced.see(25, at(30_000)), None, "nothing new");
        assert_eq!(paced.see(26, at(30_001)), Some(1), "at once: the last line is long ago");
    }

    #[test]
    fn whatever_the_times_the_lines_sum_up_to_the_counter() {
        let (mut paced, mut sum, mut total, mut now) = (Paced::default(), 0, 0, 0);
        for step in 0_u64..5000 {
            total += step * 7919 % 5;
            now += step * 104_729 % 997;
            sum += paced.see(total, at(now)).unwrap_or(0);
            assert!(sum <= total);
        }
        sum += paced.rest(at(now)).unwrap_or(0);
        assert_eq!((sum, paced.total()), (total, total));
        assert_eq!(paced.rest(at(now)), None);
    }

    #[test]
    fn a_counter_that_steps_back_is_not_told_twice() {
        let mut paced = Paced::default();
        assert_eq!(paced.see(5, at(0)), Some(5));
        assert_eq!(paced.see(4, at(20_000)), None);
        assert_eq!(paced.see(5, at(40_000)), None);
    }

    #[test]
    fn a_trouble_is_told_once_when_it_begins_and_once_when_it_is_over() {
        let mut spell = Spell::default();
        assert_eq!(spell.see(false, at(0)), None, "nothing was wrong");
        assert_eq!(spell.see(true, at(1)), Some(Turn::Begins));
        assert_eq!(spell.see(true, at(60_000)), None);
        assert_eq!(spell.see(false, at(61_000)), None);
        assert_eq!(spell.see(false, at(71_000)), Some(Turn::Ends));
        assert_eq!(spell.see(false, at(99_000)), None);
        assert_eq!(spell.see(true, at(99_001)), Some(Turn::Begins), "another one");
    }

    #[test]
    fn a_trouble_that_flickers_is_one() {
        let mut spell = Spell::default();
        let turns = (0..1000).filter_map(|second| spell.see(second % 2 == 0, at(second * 1000)));
        assert_eq!(turns.collect::<Vec<_>>(), [Turn::Begins]);
        assert_eq!(spell.finish(), Some(Turn::Ends), "it was away at the last look");
        assert_eq!(spell.finish(), None);
        let mut lasting = Spell::default();
        lasting.see(true, at(0));
        assert_eq!(lasting.finish(), None, "it is still there");
    }
}
