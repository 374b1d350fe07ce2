//! The verdict: will the path see a packet of this connection in time, and why is that said.

use super::{
    facts::ConnectionFacts,
    host_addresses::HostAddresses,
    idle_limit::{Applied, Limits, PathNumber, is_kept_over, limit_in_words, limit_sentence},
    promise_text::probes_in_words,
};
use crate::model::text::{
    closed_set::closed_set,
    duration::{duration, tenths},
};

closed_set! {
    /// What keepwatch promises of a connection.
    pub enum Verdict {
        /// Keepalive is off.
        Off = "off",
        /// Keepalive is on, but the gap between two packets may be longer than the idle limit.
        Late = "late",
        /// Not protected by its own probes, but probes or traffic of others kept it so far.
        Kept = "kept",
        /// The gap is shorter than the idle limit.
        Protected = "protected",
        /// The peer is on this host.
        Local = "local",
    }
}

impl Verdict {
    /// Whether nothing keeps the path from forgetting it.
    pub const fn is_unprotected(self) -> bool {
        matches!(self, Self::Off | Self::Late)
    }
}

/// Everything outside a socket that its verdict depends on.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// How long each path keeps a quiet connection.
    pub limits: Limits,
    /// The addresses of this host.
    pub host: HostAddresses,
    /// Ticks of the kernel's clock per second (CONFIG_HZ).
    pub hz: u32,
}

/// A connection is watched for this number of idle limits before that counts.
pub(crate) const N_LIMITS_WATCHED: u32 = 3;
/// And it was never quiet for more than this part of one.
const QUIET_PART: u64 = 2;

impl Surroundings {
    /// Of a host whose addresses are not known.
    pub fn new(limits: Limits, hz: u32) -> Self {
        Self { limits, host: HostAddresses::default(), hz }
    }

    /// The verdict on a connection.
    pub fn verdict(&self, of: &impl ConnectionFacts) -> Verdict {
        if self.is_local(of) { Verdict::Local } else { self.verdict_on_path(of) }
    }

    /// The same as if the peer were on another host.
    pub fn verdict_on_path(&self, of: &impl ConnectionFacts) -> Verdict {
        let promise = self.promise(of);
        if promise.is_unprotected() && self.is_kept(of) { Verdict::Kept } else { promise }
    }

    /// What its own probes do for it.
    fn promise(&self, of: &impl ConnectionFacts) -> Verdict {
        let limit = self.limits.of(of);
        match of.gap(self.hz) {
            None => Verdict::Off,
            Some(gap)
                if is_kept_over(gap.ms, limit.kept_seconds, limit.seconds)
                    && !limit.from.counts_bytes() =>
            {
                Verdict::Protected
            }
            Some(_) => Verdict::Late,
        }
    }

    /// Whether it was watched for long enough to see that something else keeps it: the peer's probes, or traffic.
    fn is_kept(&self, of: &impl ConnectionFacts) -> bool {
        let limit = self.limits.of(of);
        let watched = of.watched();
        let longest_ms = longest_quiet_ms(of);
        // A path that counts bytes does not count what probes bring.
        let is_traffic = !watched.is_probed_by_peer()
            && of.gap(self.hz).is_none_or(|_| longest_ms < u64::from(of.idle().value) * 1000);
        of.is_open()
            && u64::from(watched.ms) >= u64::from(N_LIMITS_WATCHED) * limit.ms()
            && longest_ms <= limit.ms() / QUIET_PART
            && (is_traffic || !limit.from.counts_bytes())
    }

    /// The verdict in words, with the numbers that decided it.
    pub fn reason(&self, of: &impl ConnectionFacts) -> String {
        if self.is_local(of) {
            let unless = if of.is_loopback() {
                ""
            } else {
                ", unless the host passes it on (DNAT, a Service of Kubernetes)"
            };
            return format!("the peer's address is of this host: no middlebox in between{unless}");
        }
        let reason = self.reason_on_path(of);
        if self.host.passes_on(of.remote()) {
            return format!(
                "the peer's address is of this host, which passes it on: no socket here is the other end; {reason}"
            );
        }
        reason
    }

    /// The same as if the peer were on another host.
    pub fn reason_on_path(&self, of: &impl ConnectionFacts) -> String {
        let promise = self.reason_of_promise(of);
        if self.verdict_on_path(of) != Verdict::Kept {
            return promise;
        }
        let watched = of.watched();
        let by =
            if watched.is_probed_by_peer() { "probes of the peer keep" } else { "traffic keeps" };
        format!(
            "{by} it so far: never seen quiet for more than {} in the {} that it was watched; if that stops: {promise}",
            tenths(longest_quiet_ms(of)),
            duration(u64::from(watched.ms) / 1000),
        )
    }

    fn reason_of_promise(&self, of: &impl ConnectionFacts) -> String {
        let &Applied { seconds, kept_seconds, ref from, ref path, .. } = self.limits.of(of);
        let after = limit_in_words(kept_seconds, seconds);
        let limit = limit_sentence(path.as_deref(), &after, from, "it");
        let known = (kept_seconds, seconds, from.counts_bytes());
        format!("{}; {limit}", probes_in_words(of, known, self.hz, "it"))
    }

    /// Milliseconds until the path forgets the connection; negative when it has been quiet for
    /// longer. None on this host, and of what is not open yet or not any more.
    pub fn until_limit_ms(&self, of: &impl ConnectionFacts, quiet_ms: u64) -> Option<i64> {
        if self.is_local(of) || !of.is_open() {
            return None;
        }
        let limit_ms = i64::from(self.limits.of(of).seconds) * 1000;
        Some(limit_ms - i64::try_from(quiet_ms).unwrap_or(i64::MAX))
    }

    /// The path to the peer; 0 on this host.
    pub fn path(&self, of: &impl ConnectionFacts) -> PathNumber {
        if self.is_local(of) { 0 } else { self.limits.of(of).number }
    }

    /// Whether the peer is on this host.
    pub fn is_local(&self, of: &impl ConnectionFacts) -> bool {
        let (local, remote) = (of.local(), of.remote());
        let is_same = local.addr == remote.addr && !self.host.passes_on(remote);
        of.is_loopback() || is_same || self.host.has(remote)
    }
}

/// The longest that it was seen to be quiet, milliseconds: up to the last look.
fn longest_quiet_ms(of: &impl ConnectionFacts) -> u64 {
    of.seen_quiet_ms().max(of.watched().longest_quiet_ms.into())
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;
    use crate::model::judgement::idle_limit::IdleLimit;

    /// Paths that forget after this number of seconds.
    pub(crate) fn around(seconds: u32) -> Surroundings {
        let limits = Limits::new(Vec::new(), IdleLimit { seconds, preset: None }, true);
        Surroundings::new(limits, 250)
    }
}

#[cfg(test)]
mod tests {
    use super::{tests_support::around, *};
    use crate::model::{
        judgement::{idle_limit::IdleLimit, limit_source::LimitSource},
        observed::{
            setting::OwnSettings,
            socket::{Socket, tests_support::socket},
            watched::Watched,
        },
    };
    use std::collections::BTreeSet;

    fn with(idle_seconds: u32, interval_seconds: u32) -> Socket {
        let own = OwnSettings { idle_seconds, interval_seconds, ..OwnSettings::default() };
        Socket { keepalive: true, own, ..socket() }
    }

    #[test]
    fn without_keepalive_the_verdict_is_off() {
        assert_eq!(around(350).verdict(&socket()), Verdict::Off);
        assert!(around(350).reason(&socket()).contains("keepalive is off"));
    }

    #[test]
    fn system_defaults_on_a_350_s_path_are_late_and_the_reason_says_2_h() {
        let socket = with(0, 0);
        assert_eq!(around(350).verdict(&socket), Verdict::Late);
        let reason = around(350).reason(&socket);
        assert!(
            reason.contains("comes only after 2 h") && reason.contains("5 min 50 s"),
            "{reason}"
        );
    }

    #[test]
    fn probes_that_always_come_before_the_limit_protect() {
        assert_eq!(around(350).verdict(&with(60, 0)), Verdict::Protected);
        assert_eq!(around(350).verdict(&with(10, 60)), Verdict::Protected);
    }

    #[test]
    fn a_first_probe_in_time_does_not_protect_when_the_next_ones_come_too_late() {
        assert_eq!(around(45).verdict(&with(10, 60)), Verdict::Late);
        assert_eq!(around(45).verdict(&with(10, 40)), Verdict::Protected);
        let reason = around(45).reason(&with(10, 60));
        assert!(
            reason.contains("after 10 s of silence, but while the peer stays quiet"),
            "{reason}"
        );
        assert!(reason.contains("every 1 min"), "{reason}");
    }

    #[test]
    fn a_shorter_sysctl_protects_once_the_timer_that_runs_has_fired() {
        let mut socket = with(0, 0);
        (socket.ambient.idle_seconds, socket.ambient.interval_seconds) = (60, 10);
        (socket.quiet_ms, socket.received_ms) = (1_098_900, 1_098_900);
        socket.timer_ms = Some(6_101_000);
        assert_eq!(around(350).verdict(&socket), Verdict::Late);
        let reason = around(350).reason(&socket);
        assert!(reason.contains("1 min of silence by the sysctl"), "{reason}");
        assert!(reason.contains("fires only in 1 h 41 min"), "{reason}");
        // The look-alike: the timer was armed with the same sysctl.
        (socket.quiet_ms, socket.received_ms, socket.timer_ms) = (20_000, 20_000, Some(40_000));
        assert_eq!(around(350).verdict(&socket), Verdict::Protected);
    }

    #[test]
    fn between_what_a_path_was_seen_to_keep_and_what_it_was_seen_to_forget_nothing_is_promised() {
        let applied = Applied {
            seconds: 55,
            kept_seconds: 30,
            from: LimitSource::Learned,
            path: None,
            number: 0,
        };
        let around = Surroundings { limits: Limits::only(applied), ..around(55) };
        assert_eq!(around.verdict(&with(27, 10)), Verdict::Protected);
        // As that whose probes taught it.
        assert_eq!(around.verdict(&with(30, 10)), Verdict::Protected);
        assert_eq!(around.verdict(&with(34, 10)), Verdict::Late);
        assert_eq!(around.verdict(&with(50, 10)), Verdict::Late);
        let reason = around.reason(&with(50, 10));
        assert!(reason.contains("only after 50 s") && reason.contains("30 s to 55 s"), "{reason}");
        // It is probably forgotten only after what was seen to kill.
        assert_eq!(around.until_limit_ms(&with(50, 10), 40_000), Some(15_000));
    }

    #[test]
    fn a_closed_window_lets_no_probe_out_and_probes_of_it_come_two_minutes_apart() {
        let held = Socket {
            in_flight: true,
            window_closed: true,
            retransmitting_ms: Some(30_000),
            ..with(5, 5)
        };
        assert_eq!(around(350).verdict(&held), Verdict::Protected);
        assert_eq!(around(30).verdict(&held), Verdict::Late);
        let reason = around(30).reason(&held);
        assert!(reason.contains("the peer's window is closed"), "{reason}");
        // For a moment it is closed often.
        let short = Socket { retransmitting_ms: Some(800), ..held };
        assert_eq!(around(30).verdict(&short), Verdict::Protected);
    }

    #[test]
    fn a_probe_that_the_timer_wheel_may_delay_past_the_limit_does_not() {
        // At 250 ticks a second a timer of 2 to 17 minutes fires up to 16.4 s late.
        assert_eq!(around(350).verdict(&with(333, 75)), Verdict::Protected);
        assert_eq!(around(350).verdict(&with(334, 75)), Verdict::Late);
        assert!(around(350).reason(&with(349, 75)).contains("17 s late"));
    }

    #[test]
    fn what_counts_bytes_is_not_fed_by_probes() {
        let proxy = IdleLimit { seconds: 600, preset: Some("nginx-stream") };
        let around = Surroundings { limits: Limits::new(Vec::new(), proxy, true), ..around(600) };
        assert_eq!(around.verdict(&with(15, 15)), Verdict::Late);
        assert!(around.reason(&with(15, 15)).contains("counts bytes only"));
        // Traffic does; and nothing that may have been a probe of either end is taken for it.
        let busy = Watched { ms: 1_800_000, longest_quiet_ms: 10_000, ..Watched::default() };
        let watched = |socket: Socket, watched| around.verdict(&Socket { watched, ..socket });
        assert_eq!(watched(socket(), busy), Verdict::Kept);
        assert_eq!(watched(with(15, 15), busy), Verdict::Kept);
        assert_eq!(watched(with(9, 9), busy), Verdict::Late);
        assert_eq!(watched(socket(), Watched { peer_probes: 9, ..busy }), Verdict::Off);
    }

    #[test]
    fn what_something_else_kept_so_far_is_kept_until_that_stops() {
        let pinged = Watched { ms: 24_000, longest_quiet_ms: 3_200, ..Watched::default() };
        let kept = Socket { watched: pinged, quiet_ms: 1_000, ..socket() };
        assert_eq!(around(8).verdict(&kept), Verdict::Kept);
        let reason = around(8).reason(&kept);
        assert!(
            reason.starts_with("traffic keeps it so far: never seen quiet for more than 3.2 s"),
            "{reason}"
        );
        assert!(reason.contains("if that stops: keepalive is off"), "{reason}");
        // It stops.
        assert_eq!(around(8).verdict(&Socket { quiet_ms: 4_100, ..kept }), Verdict::Off);
        // Not watched for long enough, or quiet for longer before.
        let watched = |watched| around(8).verdict(&Socket { watched, ..kept });
        assert_eq!(watched(Watched { ms: 23_000, ..pinged }), Verdict::Off);
        assert_eq!(watched(Watched { longest_quiet_ms: 4_100, ..pinged }), Verdict::Off);
        let probed = Socket { watched: Watched { peer_probes: 2, ..pinged }, ..kept };
        assert!(around(8).reason(&probed).starts_with("probes of the peer keep it so far"));
        // Its own probes are a promise, which is more.
        assert_eq!(
            around(8).verdict(&Socket { watched: pinged, ..with(3, 1) }),
            Verdict::Protected
        );
    }

    #[test]
    fn peers_on_this_host_are_local() {
        let mut around = around(350);
        around.host = BTreeSet::from([socket().remote.addr]).into();
        assert_eq!(around.verdict(&socket()), Verdict::Local);
        assert_eq!(around.until_limit_ms(&socket(), 0), None);
        assert_eq!(around.verdict_on_path(&socket()), Verdict::Off, "as a path would find it");
        let mut loopback = socket();
        loopback.remote.addr = "::ffff:127.0.0.9".parse().unwrap();
        assert!(loopback.is_loopback());
        // An address that is not of loopback may be one of a Service, which a pod elsewhere answers.
        let is_hedged = |socket: &Socket| around.reason(socket).contains("unless the host passes");
        assert!(is_hedged(&socket()) && !is_hedged(&loopback));
    }

    #[test]
    fn past_the_limit_the_rest_is_negative() {
        assert_eq!(around(350).until_limit_ms(&socket(), 349_000), Some(1_000));
        assert_eq!(around(350).until_limit_ms(&socket(), 351_000), Some(-1_000));
    }
}
