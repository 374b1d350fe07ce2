//! What the kernel does with the settings of a socket: when it probes, and when it gives up.

pub(crate) mod detection;
pub(crate) mod quiet_before;
pub(crate) mod timer_wheel;
pub(crate) mod window_probes;

use super::{
    setting::{Effective, NetnsSettings, effective},
    socket::{Socket, Time},
};
use quiet_before::{ProbeAfter, QuietBeforeProbe};

impl Socket {
    /// Silence before the first probe, seconds.
    pub const fn idle(&self) -> Effective {
        effective(self.own.idle_seconds, self.ambient.idle_seconds, self.ambient.is_known)
    }

    /// Time between probes, seconds.
    pub const fn interval(&self) -> Effective {
        effective(self.own.interval_seconds, self.ambient.interval_seconds, self.ambient.is_known)
    }

    /// Unanswered probes that end the connection, unless a user timeout does.
    pub fn count(&self) -> Effective {
        effective(self.own.count.into(), self.ambient.count.into(), self.ambient.is_known)
    }

    /// Milliseconds until the keepalive timer fires. Of a connection that no descriptor refers to the same timer waits for the
    /// FIN of the peer (`tcp_close` in net/ipv4/tcp.c).
    pub fn keepalive_timer_ms(&self) -> Option<u32> {
        self.timer_ms.filter(|_| self.keepalive && !self.is_orphan)
    }

    /// Silence at the first fire of a timer that was armed before the settings became what they are, seconds; else 0.
    fn armed_before_seconds(&self) -> u64 {
        let (idle, interval) = (u64::from(self.idle().value), u64::from(self.interval().value));
        let armed_ms = self.keepalive_timer_ms().map_or(0, u64::from) + u64::from(self.received_ms);
        // What the settings of today explain, and how late timers may be.
        let longest_ms = idle.max(interval) * 1000;
        // After a probe the timer counts intervals, while nothing is received.
        let counts_intervals = self.probes_unanswered > 0;
        if self.in_flight || counts_intervals || armed_ms <= fires_by_ms(longest_ms) {
            0
        } else {
            armed_ms.div_ceil(1000)
        }
    }

    /// Milliseconds from the first repetition of unanswered data until the kernel gives up, about: it looks only when it
    /// repeats once more (`retransmits_timed_out` in net/ipv4/tcp_timer.c).
    pub fn gives_up_repeating_ms(&self) -> u64 {
        match (self.own.user_timeout_ms, self.ambient) {
            (1.., _) => self.own.user_timeout_ms.into(),
            // `tcp_orphan_retries`: unset, it stands for 8.
            (0, NetnsSettings { orphan_retries: 0, .. }) if self.is_orphan => {
                repeating_ms(8, self.rto_max_ms)
            }
            (0, ambient) if self.is_orphan => repeating_ms(ambient.orphan_retries, self.rto_max_ms),
            (0, ambient) => repeating_ms(ambient.retries2, self.rto_max_ms),
        }
    }

    /// Milliseconds until the kernel gives up unanswered data, about, `since_ms` after the first repetition. It looks only when
    /// it repeats once more, and waits twice as long for that as before: the limit may be over long before.
    pub fn gives_up_repeating_in_ms(&self, since_ms: u64) -> u64 {
        let timeout_ms = self.gives_up_repeating_ms();
        // A user timeout shortens the last wait (`tcp_clamp_rto_to_user_timeout` in net/ipv4/tcp_timer.c), what this host
        // cannot send it tries again twice a second, and what ICMP answers soon after (`tcp_ld_RTO_revert` in
        // net/ipv4/tcp_ipv4.c).
        if self.own.user_timeout_ms > 0 || self.could_not_send || self.soft_errno != 0 {
            return timeout_ms.saturating_sub(since_ms);
        }
        let first_ms = 204 + u64::from(self.round_trip_ms);
        let longest_ms = u64::from(self.rto_max_ms).max(first_ms);
        let wait_ms = |n_repeated: u32| (first_ms << n_repeated.min(24)).min(longest_ms);
        let mut n_repeated = u32::from(self.retransmits).max(1);
        let next_ms: u64 = (1..=n_repeated).map(wait_ms).sum();
        // Repetitions that found no way out are counted, too, and took no time.
        let most_ms = since_ms + longest_ms.min(since_ms + 2 * first_ms);
        let mut next_ms = next_ms.clamp(since_ms, most_ms);
        while next_ms < timeout_ms {
            n_repeated += 1;
            next_ms += wait_ms(n_repeated);
        }
        next_ms - since_ms
    }

    /// Of data that this host cannot send, as known at `now`: milliseconds since it tried first. None if the peer has no room
    /// for it, or if it left this host.
    pub fn held_back_ms_at(&self, now: Time) -> Option<u32> {
        let is_held_back = self.could_not_send || (self.retransmits == 0 && !self.window_closed);
        let passed_ms = u32::try_from(now.ms_since(self.at)).unwrap_or(u32::MAX);
        self.retransmitting_ms
            .filter(|_| self.in_flight && is_held_back)
            .map(|ms| ms.saturating_add(passed_ms))
    }

    /// Milliseconds from the first SYN until the kernel gives up opening the connection, about: it looks only when it repeats
    /// the SYN once more (`tcp_write_timeout` in net/ipv4/tcp_timer.c).
    pub fn gives_up_opening_ms(&self) -> u64 {
        const FIRST_MS: u64 = 1000;
        let Self { syn_retries, rto_max_ms, .. } = *self;
        let syn_linear_timeouts = self.ambient.syn_linear_timeouts;
        let most = u32::from(syn_retries) + u32::from(syn_linear_timeouts);
        let timeout_ms = match self.own.user_timeout_ms {
            0 => repeating_from_ms(FIRST_MS, syn_retries, rto_max_ms),
            ms => ms.into(),
        };
        let (mut passed_ms, mut next_ms, mut n_repeated) = (FIRST_MS, FIRST_MS, 0);
        while n_repeated < most && passed_ms < timeout_ms {
            n_repeated += 1;
            if n_repeated > u32::from(syn_linear_timeouts) {
                next_ms = (next_ms * 2).min(u64::from(rto_max_ms).max(FIRST_MS));
            }
            passed_ms += next_ms;
        }
        passed_ms
    }

    /// Probes that the peer has left unanswered: an answer to each had its time to come before the last look. What was just sent
    /// is not one of them.
    pub fn probes_missed(&self) -> u8 {
        let sent = self.probes_unanswered;
        if !self.keepalive || self.in_flight {
            // They are probes of a closed window, and their times are not known.
            return if sent == 1 { 0 } else { sent };
        }
        let interval_ms = u64::from(self.interval().value) * 1000;
        let seen_ms = self.since_last_probe_ms().saturating_sub(self.watched.age_ms.into());
        let lacks_ms = self.answer_ms().saturating_sub(seen_ms);
        let on_their_way = lacks_ms.div_ceil(interval_ms.max(1));
        sent.saturating_sub(u8::try_from(on_their_way).unwrap_or(u8::MAX))
    }

    /// Milliseconds since the first of them was sent, if there is one.
    pub fn unanswered_ms(&self) -> Option<u64> {
        let is_so = self.keepalive && !self.in_flight && self.probes_missed() > 0;
        self.probing_ms().filter(|_| is_so)
    }

    /// The time for which an answer may be on its way, milliseconds.
    fn answer_ms(&self) -> u64 {
        /// As the kernel waits at the least, and before it has measured anything (`TCP_RTO_MIN`, `TCP_TIMEOUT_INIT`).
        const LEAST_MS: u64 = 200;
        const UNKNOWN_MS: u64 = 1000;
        match self.round_trip_ms {
            0 => UNKNOWN_MS,
            ms => LEAST_MS + 2 * u64::from(ms),
        }
    }

    /// Milliseconds since the first of the probes that are unanswered: by the interval, and the timer that runs since the
    /// last of them. Timers are late, so more may have passed.
    pub fn probing_ms(&self) -> Option<u64> {
        let (n, since_last_ms) = (self.probes_unanswered, self.since_last_probe_ms());
        let interval_ms = u64::from(self.interval().value) * 1000;
        let least_ms = u64::from(n.checked_sub(1)?) * interval_ms + since_last_ms;
        let quiet = self.quiet_before_probe(self.silent_ms.into(), n.into(), since_last_ms);
        Some(u64::from(self.silent_ms).saturating_sub(quiet.ms).max(least_ms))
    }

    /// Milliseconds since the last probe went out, if one did since the peer was heard.
    pub fn since_last_probe_ms(&self) -> u64 {
        let interval_ms = u64::from(self.interval().value) * 1000;
        interval_ms.saturating_sub(self.timer_ms.unwrap_or(0).into())
    }

    /// The quiet time that the path has let pass, milliseconds, now that something answered a probe of this sample: at least
    /// that before the first of them.
    pub fn answered_after_ms(&self) -> u32 {
        let since_last_ms = self.timer_ms.map_or(0, |_| self.since_last_probe_ms());
        let n = self.probes_unanswered.into();
        let quiet = self.quiet_before_probe(self.silent_ms.into(), n, since_last_ms);
        let seconds = match quiet.after {
            ProbeAfter::Idle => self.idle().value,
            ProbeAfter::Interval => self.interval().value,
        };
        self.silent_ms.min(seconds.saturating_mul(1000))
    }

    /// The quiet time before the first of `n` unanswered probes, if nothing came from the peer for `silent_ms`, and the last of
    /// the probes went out `since_last_ms` ago.
    pub fn quiet_before_probe(
        &self,
        silent_ms: u64,
        n: u32,
        since_last_ms: u64,
    ) -> QuietBeforeProbe {
        let (idle, interval) = (self.idle().value, self.interval().value);
        QuietBeforeProbe::of(silent_ms.saturating_sub(since_last_ms), n, idle, interval)
    }

    /// Milliseconds from the sample until the next probe, if nothing is received meanwhile. None
    /// when none will be sent: keepalive is off, or data is in flight, when retransmissions decide.
    pub fn next_probe_ms(&self) -> Option<u64> {
        if !self.keepalive || self.in_flight {
            return None;
        }
        let timer_ms = u64::from(self.timer_ms?);
        if self.probes_unanswered > 0 {
            return Some(timer_ms);
        }
        // The timer is not pushed back by what arrives: it fires, sees that less than `idle` has
        // passed, and is set for the rest.
        let idle_ms = u64::from(self.idle().value) * 1000;
        Some(timer_ms.max(idle_ms.saturating_sub(self.received_ms.into())))
    }
}

/// When a timer of this time has fired at the latest, milliseconds: the steps of the kernel's wheel are up to an eighth of it
/// (`LVL_GRAN` in kernel/time/timer.c), and looks are a moment late.
pub(crate) const fn fires_by_ms(ms: u64) -> u64 {
    ms + ms / 8 + 1000
}

/// How long data is repeated before this number of repetitions counts as too many: each waits twice as long as the one
/// before, from 200 ms to the longest time (`tcp_model_timeout` in net/ipv4/tcp_timer.c).
pub(crate) fn repeating_ms(retries: u8, rto_max_ms: u32) -> u64 {
    repeating_from_ms(200, retries, rto_max_ms)
}

/// The same, where the first repetition comes after `min_ms`.
fn repeating_from_ms(min_ms: u64, retries: u8, rto_max_ms: u32) -> u64 {
    let max_ms = u64::from(rto_max_ms).max(min_ms);
    let retries = u32::from(retries);
    let n_doubled = retries.min((max_ms / min_ms).ilog2());
    ((2 << n_doubled) - 1) * min_ms + u64::from(retries - n_doubled) * max_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::setting::{OwnSettings, SettingOrigin, TCP_RTO_MAX_MS};
    use crate::model::observed::socket::tests_support::socket;

    #[test]
    fn the_kernel_gives_up_at_a_repetition_and_not_before() {
        let repeats = |retransmits| Socket { retransmits, ..socket() };
        // 925 s by the limit: the first repetition after that is the 16th.
        let seconds = |socket: Socket, since: u64| {
            socket.gives_up_repeating_in_ms(since * 1000).div_ceil(1000) + since
        };
        assert_eq!((seconds(repeats(7), 39), seconds(repeats(11), 400)), (929, 929));
        // Closed by its program: eight repetitions were enough, and the limit is over. The next one comes after 120 s.
        let orphan = Socket { is_orphan: true, ..repeats(11) };
        assert_eq!(orphan.gives_up_repeating_ms(), 102_200);
        assert_eq!(orphan.gives_up_repeating_in_ms(405_000), 43_488);
        assert_eq!(orphan.gives_up_repeating_in_ms(460_000), 0, "any moment");
        // Each of them failed at once, and then one got out.
        let held_back = Socket { could_not_send: true, ..repeats(90) };
        assert_eq!(held_back.gives_up_repeating_in_ms(924_000), 600);
        assert_eq!(repeats(90).gives_up_repeating_in_ms(924_000), 120_000);
        // Each was answered by ICMP "host unreachable": they come some seconds apart.
        let refused = Socket { soft_errno: 113, ..repeats(4) };
        assert_eq!(refused.gives_up_repeating_in_ms(9_800), 924_600 - 9_800);
        let mut by_time = repeats(7);
        by_time.own.user_timeout_ms = 40_000;
        assert_eq!(by_time.gives_up_repeating_in_ms(39_000), 1_000);
    }

    #[test]
    fn an_unset_value_is_the_namespaces() {
        let mut socket = socket();
        socket.ambient = NetnsSettings {
            idle_seconds: 600,
            interval_seconds: 30,
            count: 4,
            ..NetnsSettings::default()
        };
        socket.own.interval_seconds = 7;
        assert_eq!(socket.idle(), Effective { value: 600, from: SettingOrigin::Netns });
        assert_eq!(socket.interval(), Effective { value: 7, from: SettingOrigin::Socket });
        assert_eq!(socket.count(), Effective { value: 4, from: SettingOrigin::Netns });
    }

    #[test]
    fn a_timer_armed_before_the_settings_fires_first_and_a_probe_ends_its_say() {
        let own =
            OwnSettings { idle_seconds: 18, interval_seconds: 10, count: 3, user_timeout_ms: 0 };
        let armed = Socket {
            keepalive: true,
            own,
            timer_ms: Some(6_329_000),
            received_ms: 871_000,
            ..socket()
        };
        assert_eq!(armed.detection_seconds(), Some(7200 + 30));
        let probing = Socket { timer_ms: Some(9_000), received_ms: 39_000, ..armed };
        let probing = Socket { probes_unanswered: 3, ..probing };
        assert_eq!(probing.detection_seconds(), Some(48));
    }

    #[test]
    fn without_keepalive_nothing_is_ever_detected() {
        assert_eq!(socket().detection_seconds(), None);
        assert_eq!(socket().next_probe_ms(), None);
    }

    #[test]
    fn the_next_probe_waits_for_idle_since_the_last_receive() {
        let mut socket = socket();
        socket.keepalive = true;
        socket.own.idle_seconds = 60;
        socket.timer_ms = Some(5_000);
        socket.received_ms = 10_000;
        assert_eq!(socket.next_probe_ms(), Some(50_000));
        socket.probes_unanswered = 1;
        assert_eq!(socket.next_probe_ms(), Some(5_000));
        socket.in_flight = true;
        assert_eq!(socket.next_probe_ms(), None);
    }

    #[test]
    fn data_is_repeated_for_as_long_as_the_namespace_says_or_a_user_timeout() {
        let mut socket = socket();
        // ip-sysctl.rst, tcp_retries2: 15 is 924.6 s.
        assert_eq!(socket.gives_up_repeating_ms(), 924_600);
        socket.ambient.retries2 = 5;
        assert_eq!(socket.gives_up_repeating_ms(), 12_600);
        // Measured on 6.18 with a sysctl of 2 s: 27.5 s, and with a socket option of 1 s 15.0 s.
        (socket.ambient.retries2, socket.rto_max_ms) = (15, 2000);
        assert_eq!(socket.gives_up_repeating_ms(), 27_000);
        socket.rto_max_ms = 1000;
        assert_eq!(socket.gives_up_repeating_ms(), 14_400);
        (socket.ambient, socket.rto_max_ms) = (NetnsSettings::default(), TCP_RTO_MAX_MS);
        socket.is_orphan = true;
        assert_eq!(socket.gives_up_repeating_ms(), 102_200);
        socket.own.user_timeout_ms = 30_000;
        assert_eq!(socket.gives_up_repeating_ms(), 30_000);
    }

    #[test]
    fn a_syn_is_repeated_for_as_long_as_the_namespace_or_the_socket_says() {
        let opening = |syn_retries, syn_linear_timeouts| {
            let ambient = NetnsSettings { syn_linear_timeouts, ..NetnsSettings::default() };
            Socket { ambient, syn_retries, ..socket() }
        };
        // ip-sysctl.rst, tcp_syn_retries: 131 s with 4 linear timeouts, 127 s before there were any.
        assert_eq!(opening(6, 4).gives_up_opening_ms(), 131_000);
        assert_eq!(opening(6, 0).gives_up_opening_ms(), 127_000);
        // After 1, 2, 3, 4, 5 and 7 s, by which two doubled ones would be over.
        assert_eq!(opening(2, 4).gives_up_opening_ms(), 7_000);
        assert_eq!(opening(2, 0).gives_up_opening_ms(), 7_000);
        let mut limited = opening(6, 4);
        limited.own.user_timeout_ms = 4_500;
        assert_eq!(limited.gives_up_opening_ms(), 5_000);
    }

    #[test]
    fn a_probe_that_was_just_sent_is_not_unanswered() {
        let own =
            OwnSettings { idle_seconds: 60, interval_seconds: 10, count: 5, user_timeout_ms: 0 };
        let sent = |probes_unanswered, ago_ms: u32| Socket {
            keepalive: true,
            own,
            probes_unanswered,
            timer_ms: Some(10_000 - ago_ms),
            round_trip_ms: 300,
            ..socket()
        };
        let missed = |socket: Socket| socket.probes_missed();
        assert_eq!((missed(sent(0, 0)), missed(sent(1, 0)), missed(sent(1, 799))), (0, 0, 0));
        assert_eq!((missed(sent(1, 800)), missed(sent(2, 0)), missed(sent(3, 9_000))), (1, 1, 3));
        // Nobody has looked since: the answer may have come.
        assert_eq!(missed(sent(1, 100).aged(socket().at.ms_after(5_000))), 0);
        assert_eq!(missed(sent(1, 900).aged(socket().at.ms_after(5_000))), 1);
        // A round trip that is longer than the interval: several are on their way.
        let far = Socket { round_trip_ms: 12_000, ..sent(4, 0) };
        assert_eq!((missed(far), missed(Socket { probes_unanswered: 2, ..far })), (1, 0));
        // The timer that gave up does not run any more.
        assert_eq!(missed(Socket { timer_ms: None, ..sent(5, 0) }), 5);
        // Without a round trip measured, and of a closed window.
        assert_eq!(missed(Socket { round_trip_ms: 0, ..sent(1, 900) }), 0);
        let window = Socket { in_flight: true, ..sent(1, 9_000) };
        assert_eq!((missed(window), missed(Socket { probes_unanswered: 2, ..window })), (0, 2));
    }

    #[test]
    fn an_answered_probe_is_a_quiet_time_survived_as_long_as_the_timer_that_sent_it() {
        let own =
            OwnSettings { idle_seconds: 20, interval_seconds: 35, count: 9, user_timeout_ms: 0 };
        let sent = |silent_ms, timer_ms| Socket {
            keepalive: true,
            own,
            probes_unanswered: 1,
            silent_ms,
            timer_ms,
            ..socket()
        };
        assert_eq!(sent(20_400, None).answered_after_ms(), 20_000);
        assert_eq!(sent(36_864, Some(35_000)).answered_after_ms(), 35_000);
        assert_eq!(sent(37_900, Some(34_000)).answered_after_ms(), 35_000);
        // Seen a while after it went out: it was the first one.
        assert_eq!(sent(38_400, Some(17_000)).answered_after_ms(), 20_000);
        assert_eq!(sent(19_000, None).answered_after_ms(), 19_000);
    }

    #[test]
    fn unanswered_probes_say_since_when_and_until_when() {
        let own =
            OwnSettings { idle_seconds: 60, interval_seconds: 10, count: 5, user_timeout_ms: 0 };
        let socket = Socket { keepalive: true, own, timer_ms: Some(4_000), ..socket() };
        assert_eq!((socket.probing_ms(), socket.gives_up_probing_ms()), (None, None));
        let third = Socket { probes_unanswered: 3, ..socket };
        assert_eq!(third.probing_ms(), Some(26_000));
        // The fourth in 4 s, then one more and a last wait, 10 s each.
        assert_eq!(third.gives_up_probing_ms(), Some(24_000));
        // Window probes are counted in the same place; they do not end it so.
        assert_eq!(Socket { keepalive: false, ..third }.gives_up_probing_ms(), None);
    }
}
