//! When the kernel gives up what it cannot send while nothing is in flight: it probes the peer's window, waits twice as long
//! each time, and looks only when that timer fires (`tcp_probe_timer` in net/ipv4/tcp_timer.c).

use crate::model::observed::socket::Socket;

/// What `tcp_orphan_retries` stands for where it is unset, while the wait still grows.
const ORPHAN_RETRIES: u32 = 8;
/// The wait doubles at most this often: `tcp_retries2` bounds it, which is 15 unless somebody set it.
const MOST_DOUBLED: u32 = 24;

/// Whether a peer whose window is closed answered the last probe of it, `since_ms` after the first: by how long it is silent. The wait
/// for the next probe is as long as all before it, and never longer than `TCP_RTO_MAX` (`tcp_probe0_when` in include/net/tcp.h).
/// `age_ms`: since the last look, for an answer may have come since.
pub(crate) fn answers_window_probes(since_ms: u64, silent_ms: u64, age_ms: u64) -> bool {
    const LONGEST_MS: u64 = 120_000;
    const SLACK_MS: u64 = 1000;
    let until_answer_ms = since_ms.saturating_sub(silent_ms);
    let wait_ms = (until_answer_ms + SLACK_MS).min(LONGEST_MS);
    // A timer may be late by an eighth (kernel/time/timer.c).
    let most_ms = wait_ms * 115 / 100 + SLACK_MS;
    silent_ms.saturating_sub(age_ms) <= most_ms
}

impl Socket {
    /// Milliseconds until the kernel gives up, about, `since_ms` after the first try. None if nothing bounds it: the peer answers
    /// the probes of its window, and the program still has the connection.
    pub fn gives_up_sending_in_ms(&self, since_ms: u64) -> Option<u64> {
        if self.own.user_timeout_ms > 0 {
            // It shortens the last wait (`tcp_clamp_probe0_to_user_timeout`).
            return Some(u64::from(self.own.user_timeout_ms).saturating_sub(since_ms));
        }
        // An answer sets the count of probes to 0 (`tcp_ack`): one may be on its way.
        let n_unanswered = Some(self.probes_unanswered.into()).filter(|n| *n > 1).unwrap_or(0);
        if !self.is_orphan && n_unanswered == 0 && self.window_closed {
            return None;
        }
        let (mut n_fired, mut next_ms) = (0, 0);
        // An answer sets the timer anew (`tcp_ack_probe` in net/ipv4/tcp_input.c).
        let answered_ms = since_ms.checked_sub(self.silent_ms.into());
        let answered_ms = answered_ms.filter(|_| self.window_closed && self.probes_unanswered == 0);
        while next_ms <= answered_ms.unwrap_or(since_ms) {
            n_fired += 1;
            next_ms += self.window_wait_ms(n_fired);
        }
        if let Some(answered_ms) = answered_ms {
            next_ms = answered_ms + self.window_wait_ms(n_fired);
        }
        // What this host cannot send was answered never.
        let mut n_probes =
            if self.window_closed { n_unanswered } else { n_unanswered.max(n_fired) };
        while !self.is_given_up_after(n_probes, n_fired) {
            n_probes += u32::from(!self.is_orphan || n_unanswered > 0);
            n_fired += 1;
            next_ms += self.window_wait_ms(n_fired);
        }
        Some(next_ms.saturating_sub(since_ms))
    }

    /// The wait after this number of doublings.
    fn window_wait_ms(&self, n_doubled: u32) -> u64 {
        let first_ms = 204 + u64::from(self.round_trip_ms);
        let longest_ms = u64::from(self.rto_max_ms).max(first_ms);
        (first_ms << n_doubled.min(MOST_DOUBLED)).min(longest_ms)
    }

    /// What the kernel decides when the timer fires with these numbers of unanswered probes and of doublings.
    fn is_given_up_after(&self, n_probes: u32, n_doubled: u32) -> bool {
        let orphan_retries = u32::from(self.ambient.orphan_retries);
        if !self.is_orphan {
            return n_probes >= u32::from(self.ambient.retries2).max(1);
        }
        // Until the wait has reached its longest, the peer counts as alive, even of one that nobody has open.
        // No kernel has a longest wait that is never reached; a damaged record may.
        if n_doubled >= MOST_DOUBLED || self.window_wait_ms(n_doubled) >= u64::from(self.rto_max_ms)
        {
            return n_doubled >= orphan_retries;
        }
        n_probes >= if orphan_retries == 0 { ORPHAN_RETRIES } else { orphan_retries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::socket::tests_support::socket;

    fn waits() -> Socket {
        Socket { in_flight: true, window_closed: true, ..socket() }
    }

    /// Seconds from the first try.
    fn ends_at(socket: Socket, since_seconds: u64) -> Option<u64> {
        let rest_ms = socket.gives_up_sending_in_ms(since_seconds * 1000)?;
        Some((since_seconds * 1000 + rest_ms) / 1000)
    }

    #[test]
    fn a_peer_that_answers_is_waited_for_without_bound_and_one_that_does_not_is_not() {
        assert_eq!(ends_at(waits(), 400), None);
        let silent = |probes_unanswered| Socket { probes_unanswered, ..waits() };
        // Fifteen in vain, and the timer fires once more: from the beginning, or after it answered until then.
        assert_eq!(ends_at(silent(3), 2), Some(928));
        assert_eq!(ends_at(silent(1), 2), None, "its answer may be on its way");
        assert!(ends_at(silent(3), 400) > Some(1_700), "12 waits of 120 s are left");
        let mut by_time = waits();
        by_time.own.user_timeout_ms = 30_000;
        assert_eq!(ends_at(by_time, 23), Some(30));
    }

    #[test]
    fn a_longest_wait_that_is_never_reached_is_not_reckoned_for_ever() {
        let orphan = Socket { is_orphan: true, rto_max_ms: u32::MAX, ..waits() };
        assert!(orphan.gives_up_sending_in_ms(1).is_some());
    }

    #[test]
    fn what_nobody_has_open_ends_once_the_wait_has_grown_to_its_longest_and_never_any_moment_before()
     {
        let orphan = Socket { is_orphan: true, ..waits() };
        // 0.4 + 0.8 + ... + 104.4 s and one of 120 s, where eight probes in vain would have ended it after 104 s.
        let ends_after_answer = |since: u32, answered_ms: u32| {
            let silent_ms = since * 1000 - answered_ms;
            ends_at(Socket { silent_ms, ..orphan }, since.into())
        };
        for (since, answered_ms) in
            [(1, 408), (103, 51_816), (150, 104_040), (250, 208_488), (327, 208_488)]
        {
            assert_eq!(ends_after_answer(since, answered_ms), Some(328), "{since}");
        }
        // The timer is late: the next time is reckoned from the last answer, which begins the wait.
        assert_eq!(ends_after_answer(329, 212_000), Some(332));
        assert_eq!(ends_after_answer(333, 212_000), Some(333), "any moment");
        assert_eq!(ends_after_answer(400, 340_000), Some(460));
        let silent = |probes_unanswered| Socket { probes_unanswered, ..orphan };
        assert_eq!(ends_at(silent(7), 60), Some(208));
        assert_eq!(ends_at(silent(8), 60), Some(104));
        let mut few = silent(3);
        few.ambient.orphan_retries = 3;
        assert_eq!(ends_at(few, 1), Some(1), "the third");
    }
}
