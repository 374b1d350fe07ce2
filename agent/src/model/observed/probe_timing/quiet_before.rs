//! The quiet time before probes that nobody answered: what a path did not keep, if it has forgotten the connection.

use super::{
    fires_by_ms,
    timer_wheel::{period_ms, with_slack},
};

/// What the timer was armed with that sent a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeAfter {
    /// The idle time, since the peer was heard, or an older one.
    Idle,
    /// The interval, since a probe that was answered.
    Interval,
}

/// The quiet time before the first of the probes that nobody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietBeforeProbe {
    /// Milliseconds.
    pub ms: u64,
    /// What that was.
    pub after: ProbeAfter,
}

impl QuietBeforeProbe {
    /// From the last packet of the peer to the last of `n` times at which the timer fired, probes or the end: the first came
    /// after a quiet time, each other one an interval after the one before. An answered probe is followed by an interval, too,
    /// if that is longer than the idle time (`tcp_keepalive_timer` in net/ipv4/tcp_timer.c). Timers of one length are late by
    /// about as much each time.
    pub fn of(span_ms: u64, n: u32, idle_seconds: u32, interval_seconds: u32) -> Self {
        let n = u64::from(n.max(1));
        let (idle_ms, interval_ms) =
            (u64::from(idle_seconds) * 1000, u64::from(interval_seconds) * 1000);
        if interval_ms > idle_ms && is_of_intervals(span_ms, n, idle_ms, interval_ms) {
            return Self { ms: span_ms / n, after: ProbeAfter::Interval };
        }
        let latest_ms = fires_by_ms(interval_ms);
        let rest_ms = span_ms.saturating_sub((n - 1).saturating_mul(interval_ms));
        let late_ms = (n - 1).saturating_mul(latest_ms - interval_ms);
        let most_ms = fires_by_ms(idle_ms);
        let is_lateness = rest_ms <= most_ms.saturating_add(late_ms);
        let ms = if is_lateness { rest_ms.min(most_ms) } else { rest_ms };
        // No probe goes out before.
        Self { ms: ms.max(idle_ms.min(span_ms)), after: ProbeAfter::Idle }
    }
}

/// Whether `n` intervals explain this time better than the idle time and one interval less do: by how late a timer of that
/// length is on a kernel with a usual clock, else by how late it can be at all.
fn is_of_intervals(span_ms: u64, n: u64, idle_ms: u64, interval_ms: u64) -> bool {
    /// CONFIG_HZ, the most usual first.
    const CLOCKS: [u32; 4] = [250, 1000, 300, 100];
    // A look may be a moment late, and so may each fire.
    let slack_ms = 300 + 20 * n;
    let is_about = |from_ms: u64, to_ms: u64| {
        span_ms + slack_ms >= from_ms && span_ms <= to_ms.saturating_add(slack_ms)
    };
    let decides = |hz: u32| {
        let period_ms = period_ms(interval_ms, hz);
        let of_intervals = n.saturating_mul(period_ms);
        let after_first = (n - 1).saturating_mul(period_ms);
        let is_interval = is_about(of_intervals, of_intervals);
        let is_idle = is_about(after_first + idle_ms, after_first + with_slack(idle_ms, hz));
        (is_interval != is_idle).then_some(is_interval)
    };
    CLOCKS.into_iter().find_map(decides).unwrap_or_else(|| {
        let latest_ms = n.saturating_mul(fires_by_ms(interval_ms));
        (n.saturating_mul(interval_ms)..=latest_ms).contains(&span_ms)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quiet_time_before_lost_probes_is_that_of_the_timer_that_sent_the_first_however_late_all_are()
     {
        let found = |span_ms, n, idle, interval| {
            let QuietBeforeProbe { ms, after } = QuietBeforeProbe::of(span_ms, n, idle, interval);
            (ms, after)
        };
        // Measured on 6.18 (HZ=250): idle 20, interval 35. The probe at 20 s was answered, the others came 36.864 s apart.
        for n in 1..=10 {
            let (ms, after) = found(36_864 * u64::from(n), n, 20, 35);
            assert_eq!((ms, after), (36_864, ProbeAfter::Interval), "{n}");
        }
        // The look-alike: the first probe met silence.
        for n in 1..=10 {
            let (ms, after) = found(20_480 + 36_864 * u64::from(n - 1), n, 20, 35);
            assert!((20_000..=23_500).contains(&ms), "{n}: {ms}");
            assert_eq!(after, ProbeAfter::Idle, "{n}");
        }
        // An interval that is shorter says nothing of the quiet time.
        assert_eq!(found(60_416 + 3 * 10_240, 4, 60, 10), (61_136, ProbeAfter::Idle));
        // A timer that was armed before the settings became what they are.
        assert_eq!(found(7_200_000 + 75_000, 2, 30, 75), (7_200_000, ProbeAfter::Idle));
        assert_eq!(found(7_200_000, 1, 30, 75).0, 7_200_000);
    }
}
