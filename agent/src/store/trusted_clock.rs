//! Which time it is, for what is deleted by age: a wall clock that jumps must not empty the history.

use crate::model::observed::socket::Time;

/// A clock that is off by less was set, or the host slept for a moment.
const SLACK_NS: i64 = HOUR_NS;
/// A clock that is off by more is believed after this time.
const BELIEVED_AFTER_MS: u64 = 24 * 3_600_000;
const HOUR_NS: i64 = 3_600_000_000_000;

/// The wall clock, as far as it is believed. Offsets are Unix time minus monotonic time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calendar {
    believed_ns: i64,
    doubted: Option<(i64, Time)>,
}

impl Calendar {
    /// At the start. `seen_ns`: the last time that was believed; a clock before it, or further after it than
    /// anything is kept, is doubted.
    pub(super) fn new(seen_ns: Option<i64>, keep_ns: i64, offset_ns: i64, now: Time) -> Self {
        let monotonic_ns = i64::try_from(now.0).unwrap_or(i64::MAX);
        let wall_ns = monotonic_ns.saturating_add(offset_ns);
        match seen_ns {
            Some(seen_ns)
                if wall_ns < seen_ns.saturating_sub(SLACK_NS)
                    || wall_ns > seen_ns.saturating_add(keep_ns) =>
            {
                let believed_ns = seen_ns.saturating_sub(monotonic_ns);
                Self { believed_ns, doubted: Some((offset_ns, now)) }
            }
            _ => Self { believed_ns: offset_ns, doubted: None },
        }
    }

    /// Looks at the wall clock.
    pub(super) fn look(&mut self, offset_ns: i64, now: Time) {
        let agree = |one: i64, other: i64| one.abs_diff(other) < SLACK_NS.unsigned_abs();
        if agree(offset_ns, self.believed_ns) {
            *self = Self { believed_ns: offset_ns, doubted: None };
            return;
        }
        match self.doubted {
            Some((doubted, since)) if agree(offset_ns, doubted) => {
                if now.ms_since(since) >= BELIEVED_AFTER_MS {
                    *self = Self { believed_ns: offset_ns, doubted: None };
                }
            }
            _ => self.doubted = Some((offset_ns, now)),
        }
    }

    /// Unix time minus monotonic time, as far as it is believed.
    pub(super) const fn offset_ns(self) -> i64 {
        self.believed_ns
    }

    /// Unix time as far as it is believed.
    pub(super) fn unix_ns(self, now: Time) -> i64 {
        i64::try_from(now.0).unwrap_or(i64::MAX).saturating_add(self.believed_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_NS: i64 = 24 * HOUR_NS;
    const KEEP_NS: i64 = 30 * DAY_NS;
    const START_NS: i64 = 20_000 * DAY_NS;

    const fn after_hours(hours: u64) -> Time {
        Time(hours * 3_600_000_000_000)
    }

    #[test]
    fn a_clock_that_jumps_for_a_moment_is_not_believed() {
        let mut calendar = Calendar::new(None, KEEP_NS, START_NS, Time(0));
        for wrong in [START_NS + 365 * DAY_NS, START_NS - 365 * DAY_NS] {
            calendar.look(wrong, after_hours(1));
            assert_eq!(calendar.unix_ns(after_hours(2)), START_NS + 2 * HOUR_NS);
            calendar.look(START_NS, after_hours(3));
        }
    }

    #[test]
    fn one_that_stays_set_is_believed_after_a_day() {
        let mut calendar = Calendar::new(None, KEEP_NS, START_NS, Time(0));
        let set = START_NS + 2 * DAY_NS;
        calendar.look(set, after_hours(1));
        calendar.look(set, after_hours(24));
        assert_eq!(calendar.unix_ns(after_hours(24)), START_NS + DAY_NS);
        calendar.look(set, after_hours(25));
        assert_eq!(calendar.unix_ns(after_hours(25)), set + DAY_NS + HOUR_NS);
    }

    #[test]
    fn at_the_start_the_last_time_counts_that_was_believed() {
        let at_start = |wall_ns| {
            Calendar::new(Some(START_NS), KEEP_NS, wall_ns, Time(0)).unix_ns(Time(0)) - START_NS
        };
        assert_eq!(at_start(START_NS + 29 * DAY_NS), 29 * DAY_NS);
        assert_eq!(at_start(START_NS + 31 * DAY_NS), 0);
        assert_eq!(at_start(0), 0, "a host without a battery for its clock");
    }
}
