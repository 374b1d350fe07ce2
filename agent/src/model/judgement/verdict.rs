//! The verdict: does keepalive protect this connection on its path, and why is that said.

use super::{
    facts::ConnectionFacts,
    idle_limit::{Applied, Limits, PathNumber},
};
use crate::model::text::{closed_set::closed_set, duration::duration};
use std::{collections::BTreeSet, net::Ipv6Addr};

closed_set! {
    /// What keepwatch says of a connection.
    pub enum Verdict {
        /// Keepalive is off.
        Off = "off",
        /// Keepalive is on, but the first probe goes out after the idle limit.
        Late = "late",
        /// The first probe goes out before the idle limit.
        Protected = "protected",
        /// The peer is on this host.
        Local = "local",
    }
}

/// Everything outside a socket that its verdict depends on.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// How long each path keeps a quiet connection.
    pub limits: Limits,
    /// Addresses of this host, IPv4 as IPv4-mapped.
    pub host: BTreeSet<Ipv6Addr>,
    /// Ticks of the kernel's clock per second (CONFIG_HZ).
    pub hz: u32,
}

impl Surroundings {
    /// The verdict on a connection.
    pub fn verdict(&self, of: &impl ConnectionFacts) -> Verdict {
        if self.is_local(of) { Verdict::Local } else { self.verdict_on_path(of) }
    }

    /// The same as if the peer were on another host.
    pub fn verdict_on_path(&self, of: &impl ConnectionFacts) -> Verdict {
        let Some(idle_seconds) = of.probe_after_seconds() else {
            return Verdict::Off;
        };
        let limit_ms = u64::from(self.limits.of(of).seconds) * 1000;
        if self.latest_first_probe_ms(idle_seconds) < limit_ms {
            Verdict::Protected
        } else {
            Verdict::Late
        }
    }

    /// The same in words, with the numbers that decided it.
    pub fn reason(&self, of: &impl ConnectionFacts) -> String {
        if self.is_local(of) {
            return "the peer is on this host: no middlebox in between".to_owned();
        }
        self.reason_on_path(of)
    }

    /// The same as if the peer were on another host.
    pub fn reason_on_path(&self, of: &impl ConnectionFacts) -> String {
        let Applied { seconds, from, path, .. } = self.limits.of(of);
        let limit = match path {
            Some(path) => format!("the path {path} forgets it after {}", duration(*seconds)),
            None => format!("the path is taken to forget it after {} ({from})", duration(*seconds)),
        };
        let idle_seconds = of.probe_after_seconds().unwrap_or_default();
        let idle = u64::from(idle_seconds);
        match self.verdict_on_path(of) {
            Verdict::Off => format!("keepalive is off: no probe is ever sent; {limit}"),
            Verdict::Late if idle < u64::from(*seconds) => format!(
                "the first probe goes out after {} of silence, but the kernel's timer may be {} \
                 late; {limit}",
                duration(idle),
                duration(self.latest_first_probe_ms(idle_seconds).div_ceil(1000) - idle),
            ),
            Verdict::Late => {
                format!("keepalive is on, but the first probe is {} away; {limit}", duration(idle))
            }
            Verdict::Protected | Verdict::Local => {
                format!("the first probe goes out after {} of silence; {limit}", duration(idle))
            }
        }
    }

    /// Milliseconds until the path forgets the connection; negative when it has been quiet for
    /// longer. None on this host.
    pub fn until_limit_ms(&self, of: &impl ConnectionFacts, quiet_ms: u64) -> Option<i64> {
        if self.is_local(of) {
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
        of.is_loopback() || self.host.contains(&of.remote().addr)
    }

    /// The first probe at the latest: timers of the wheel fire up to one step of their level late.
    fn latest_first_probe_ms(&self, idle_seconds: u32) -> u64 {
        let hz = u64::from(self.hz.max(1));
        let ticks = u64::from(idle_seconds) * hz;
        (ticks + wheel_step(ticks)) * 1000 / hz
    }
}

/// How late a timer of `ticks` may fire, in ticks: level n of the wheel begins at 63 x 8^(n-1)
/// ticks and has steps of 8^n (`LVL_START`, `LVL_GRAN` in kernel/time/timer.c).
const fn wheel_step(ticks: u64) -> u64 {
    let mut step = 1;
    while ticks >= 63 * step {
        step *= 8;
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::idle_limit::IdleLimit,
        observed::{
            setting::OwnSettings,
            socket::{Socket, tests_support::socket},
        },
    };

    fn around() -> Surroundings {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        Surroundings { limits, host: BTreeSet::new(), hz: 250 }
    }

    fn with_idle(idle_seconds: u32) -> Socket {
        let own = OwnSettings { idle_seconds, ..OwnSettings::default() };
        Socket { keepalive: true, own, ..socket() }
    }

    #[test]
    fn without_keepalive_the_verdict_is_off() {
        assert_eq!(around().verdict(&socket()), Verdict::Off);
        assert!(around().reason(&socket()).contains("keepalive is off"));
    }

    #[test]
    fn system_defaults_on_a_350_s_path_are_late_and_the_reason_says_2_h() {
        let socket = with_idle(0);
        assert_eq!(around().verdict(&socket), Verdict::Late);
        let reason = around().reason(&socket);
        assert!(reason.contains("2 h away") && reason.contains("5 min 50 s"), "{reason}");
    }

    #[test]
    fn a_probe_before_the_limit_protects() {
        assert_eq!(around().verdict(&with_idle(60)), Verdict::Protected);
    }

    #[test]
    fn a_probe_that_the_timer_wheel_may_delay_past_the_limit_does_not() {
        // At 250 ticks a second a timer of 2 to 17 minutes fires up to 16.4 s late.
        assert_eq!(around().verdict(&with_idle(333)), Verdict::Protected);
        assert_eq!(around().verdict(&with_idle(334)), Verdict::Late);
        assert!(around().reason(&with_idle(349)).contains("17 s late"));
    }

    #[test]
    fn peers_on_this_host_are_local() {
        let mut around = around();
        around.host.insert(socket().remote.addr);
        assert_eq!(around.verdict(&socket()), Verdict::Local);
        assert_eq!(around.until_limit_ms(&socket(), 0), None);
        assert_eq!(around.verdict_on_path(&socket()), Verdict::Off, "as a path would find it");
        let mut loopback = socket();
        loopback.remote.addr = "::ffff:127.0.0.9".parse().unwrap();
        assert!(loopback.is_loopback());
    }

    #[test]
    fn past_the_limit_the_rest_is_negative() {
        assert_eq!(around().until_limit_ms(&socket(), 349_000), Some(1_000));
        assert_eq!(around().until_limit_ms(&socket(), 351_000), Some(-1_000));
    }

    #[test]
    fn the_wheel_has_the_steps_of_the_kernels_table() {
        // HZ=250 (kernel/time/timer.c): 16 s .. 129 s in steps of 2048 ms, then of 16384 ms.
        assert_eq!(wheel_step(62), 1);
        assert_eq!(wheel_step(63), 8);
        assert_eq!(wheel_step(16 * 250 + 32) * 4, 2048);
        assert_eq!(wheel_step(130 * 250) * 4, 16384);
    }
}
