//! After how much silence keepalive ends a connection.

use crate::model::observed::socket::Socket;

/// What decides how many probes go unanswered before the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndRules {
    /// Seconds before the first probe.
    idle: u64,
    /// Seconds between two.
    interval: u64,
    /// Unanswered probes.
    count: u64,
    /// TCP_USER_TIMEOUT; 0 is unset.
    user_timeout_ms: u64,
}

impl EndRules {
    /// Of these settings: seconds before the first probe and between two, their number, and a user timeout or 0.
    pub(crate) fn new(idle: u32, interval: u32, count: u32, user_timeout_ms: u32) -> Self {
        Self {
            idle: idle.into(),
            interval: interval.into(),
            count: count.into(),
            user_timeout_ms: user_timeout_ms.into(),
        }
    }

    /// Silence until the kernel gives up, at the most, where it is `detection` seconds after data: after a probe that was answered
    /// the next one comes after the interval, if that is longer than the idle time.
    pub(crate) fn at_most_seconds(self, detection: u64) -> u64 {
        let first = self.idle.max(self.interval);
        detection.max(first + self.interval * self.rounds_after(first))
    }

    /// How often the timer fires after the first probe, which comes after `first` seconds, until the kernel gives up.
    fn rounds_after(self, first: u64) -> u64 {
        match self.user_timeout_ms {
            0 => self.count,
            timeout_ms => self.rounds_within(timeout_ms.saturating_sub(first * 1000)).max(1),
        }
    }

    /// Intervals that take at least this time.
    const fn rounds_within(self, ms: u64) -> u64 {
        match self.interval * 1000 {
            0 => 0,
            interval_ms => ms.div_ceil(interval_ms),
        }
    }
}

impl Socket {
    fn end_rules(&self) -> EndRules {
        let (idle, interval, count) = (self.idle(), self.interval(), self.count());
        EndRules::new(idle.value, interval.value, count.value, self.own.user_timeout_ms)
    }

    /// Silence until the kernel gives up, seconds: `idle + count x interval`; with a user timeout
    /// the count does not matter, and the connection ends at the first fire of the timer that is
    /// both past the timeout and after one unanswered probe (`tcp_keepalive_timer` in
    /// net/ipv4/tcp_timer.c). None while keepalive is off.
    pub fn detection_seconds(&self) -> Option<u64> {
        let rules = self.end_rules();
        let first = rules.idle.max(self.armed_before_seconds());
        self.keepalive.then(|| first + rules.interval * rules.rounds_after(rules.idle))
    }

    /// The same at the most, seconds: also after a probe that was answered.
    pub fn detection_at_most_seconds(&self) -> Option<u64> {
        self.detection_seconds().map(|seconds| self.end_rules().at_most_seconds(seconds))
    }

    /// Milliseconds from the sample until the keepalive timer gives up, if probes go unanswered from here on. None if no probe
    /// went out, or none will.
    pub fn gives_up_probing_ms(&self) -> Option<u64> {
        if self.probes_unanswered == 0 || !self.keepalive {
            return None;
        }
        let (rules, next_ms) = (self.end_rules(), self.next_probe_ms()?);
        let rounds = match rules.user_timeout_ms {
            0 => rules.count.saturating_sub(self.probes_unanswered.into()),
            timeout_ms => {
                let silent_ms = u64::from(self.silent_ms).saturating_add(next_ms);
                rules.rounds_within(timeout_ms.saturating_sub(silent_ms))
            }
        };
        Some(next_ms.saturating_add(rules.interval * 1000 * rounds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::{setting::OwnSettings, socket::tests_support::socket};

    fn at(idle_seconds: u32, interval_seconds: u32, count: u8, user_timeout_ms: u32) -> Socket {
        let own = OwnSettings { idle_seconds, interval_seconds, user_timeout_ms, count };
        Socket { keepalive: true, own, ..socket() }
    }

    fn detection(idle: u32, interval: u32, count: u8, user_timeout_ms: u32) -> Option<u64> {
        at(idle, interval, count, user_timeout_ms).detection_seconds()
    }

    #[test]
    fn detection_is_idle_and_all_probes() {
        assert_eq!(detection(0, 0, 0, 0), Some(7200 + 9 * 75));
        assert_eq!(detection(60, 10, 3, 0), Some(90));
    }

    #[test]
    fn a_user_timeout_replaces_the_count_and_needs_one_probe() {
        // Measured on 6.18: idle 2, interval 1, count 2, user timeout 6.5 s ended after 7.1 s.
        assert_eq!(detection(2, 1, 2, 6_500), Some(7));
        // A timeout below idle never fires at the timeout: 0.5 s ended after 3.05 s.
        assert_eq!(detection(2, 1, 2, 500), Some(3));
    }

    #[test]
    fn after_a_probe_that_was_answered_the_next_one_comes_by_the_interval() {
        // Measured on 6.18, from the answer to a probe: 91.6 s, and 42 s with a user timeout of 15 s.
        let at_most = |idle, interval, count, user_timeout_ms| {
            at(idle, interval, count, user_timeout_ms).detection_at_most_seconds()
        };
        assert_eq!(at_most(5, 30, 2, 0), Some(90));
        assert_eq!(at_most(5, 20, 9, 15_000), Some(40));
        // Before any probe was answered the first one comes after the idle time, here at 5, 25 and 45 s.
        assert_eq!(at_most(5, 20, 9, 30_000), Some(45));
        assert_eq!(at_most(60, 10, 3, 0), Some(90), "as without an answer");
        assert_eq!(socket().detection_at_most_seconds(), None);
    }

    #[test]
    fn what_a_user_timeout_leaves_counts_from_the_last_packet() {
        let probing = |silent_ms, timer_ms| {
            let timer_ms = Some(timer_ms);
            let it = Socket { probes_unanswered: 1, silent_ms, timer_ms, ..at(5, 20, 9, 30_000) };
            it.gives_up_probing_ms()
        };
        assert_eq!(
            probing(9_000, 16_000),
            Some(36_000),
            "probes after 5 and 25 s, the end after 45 s"
        );
        assert_eq!(probing(24_000, 16_000), Some(16_000), "a probe after 20 s, the end after 40 s");
    }
}
