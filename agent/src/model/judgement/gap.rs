//! The gap: the longest time that may pass on the path without a packet if both programs say nothing from now on, by the
//! probes of this end.
//!
//! After each probe the timer is armed with the interval, and compares with the idle time only when it fires
//! (`tcp_keepalive_timer` in net/ipv4/tcp_timer.c): so the gap is the longer of the two. And a timer that was armed before
//! keeps its time: a shorter sysctl, interval or count reaches a live connection only after it has fired. Only
//! TCP_KEEPIDLE arms it anew (`tcp_sock_set_keepidle_locked` in net/ipv4/tcp.c).

use crate::model::{
    observed::{probe_timing::timer_wheel::with_slack, socket::Socket},
    text::closed_set::closed_set,
};

closed_set! {
    /// What makes the gap as long as it is.
    pub enum GapFrom {
        /// The silence before the first probe.
        Idle = "idle",
        /// The time between two probes, which is longer than that.
        Interval = "interval",
        /// The timer as it was armed before the settings became what they are.
        ArmedTimer = "armed_timer",
        /// The time between two probes of a closed window, which go out instead.
        WindowProbe = "window_probe",
    }
}

/// The longest time between two packets that probes of this end leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Milliseconds, with what the kernel's timer may be late.
    pub ms: u64,
    /// What makes it as long as that.
    pub from: GapFrom,
}

impl Gap {
    /// The gap of a connection by its settings and the armed timer. `hz`: ticks of the kernel's clock a second. None while
    /// keepalive is off.
    pub fn of(socket: &Socket, hz: u32) -> Option<Self> {
        if !socket.keepalive {
            return None;
        }
        let (idle, interval) = (socket.idle().value, socket.interval().value);
        let from = if interval > idle { GapFrom::Interval } else { GapFrom::Idle };
        let steady_ms = with_slack(u64::from(idle.max(interval)) * 1000, hz);
        // While something waits to be sent no keepalive probe goes out (`tcp_keepalive_timer`), and each probe of the window
        // waits twice as long as the one before.
        let between_ms = with_slack(socket.rto_max_ms.into(), hz);
        if socket.has_closed_window() && between_ms > steady_ms {
            return Some(Self { ms: between_ms, from: GapFrom::WindowProbe });
        }
        // A timer that is due fires now: what it was armed with is over.
        let armed_ms = socket.keepalive_timer_ms().filter(|&ms| ms > 0).map(|timer_ms| {
            let rest_ms = u64::from(idle) * 1000;
            let rest_ms = rest_ms.saturating_sub(socket.received_ms.into());
            // While data is in flight the timer only starts over: the quiet time begins when that is answered.
            // Probes that repeat one are packets, too: it was armed with the last of them.
            let since_ms = match socket.probes_unanswered {
                _ if socket.in_flight => 0,
                0 => socket.quiet_ms.into(),
                _ => (u64::from(interval) * 1000).saturating_sub(timer_ms.into()),
            };
            with_slack(u64::from(timer_ms).max(rest_ms) + since_ms, hz)
        });
        // In the steady state the armed timer says the same, within the lateness of timers.
        Some(match armed_ms {
            Some(ms) if ms > with_slack(steady_ms, hz) => Self { ms, from: GapFrom::ArmedTimer },
            _ => Self { ms: steady_ms, from },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::{
        setting::OwnSettings,
        socket::{State, tests_support::socket},
    };

    #[test]
    fn a_timer_that_starts_over_or_is_no_keepalive_timer_makes_no_gap_longer() {
        let own =
            OwnSettings { idle_seconds: 5, interval_seconds: 5, count: 3, user_timeout_ms: 0 };
        let probed = Socket { keepalive: true, own, timer_ms: Some(4_000), ..socket() };
        let steady = Gap::of(&probed, 250);
        let stuck = Socket { in_flight: true, quiet_ms: 126_000, silent_ms: 126_000, ..probed };
        assert_eq!(Gap::of(&stuck, 250), steady);
        // `tcp_fin_timeout` of a connection that nobody has open: the same timer of the socket.
        let closing =
            Socket { is_orphan: true, state: State::FinWait2, timer_ms: Some(60_000), ..probed };
        assert_eq!(Gap::of(&closing, 250), steady);
        let half_closed = Socket { is_orphan: false, ..closing };
        assert_eq!(Gap::of(&half_closed, 250).map(|gap| gap.from), Some(GapFrom::ArmedTimer));
    }

    fn gap(
        idle_seconds: u32,
        interval_seconds: u32,
        changes: impl Fn(&mut Socket),
    ) -> (u64, GapFrom) {
        let own = OwnSettings { idle_seconds, interval_seconds, ..OwnSettings::default() };
        let mut socket = Socket { keepalive: true, own, ..socket() };
        changes(&mut socket);
        let gap = Gap::of(&socket, 250).unwrap();
        (gap.ms / 1000, gap.from)
    }

    #[test]
    fn the_gap_is_the_longer_of_idle_and_interval() {
        assert_eq!(gap(60, 10, |_| ()), (62, GapFrom::Idle));
        // Measured on 6.18: idle 10, interval 60: the second probe came 60.16 s after the first.
        assert_eq!(gap(10, 60, |_| ()), (62, GapFrom::Interval));
    }

    #[test]
    fn a_timer_that_was_armed_before_counts_and_one_of_the_same_settings_does_not() {
        // A sysctl of 3 s, and a timer that was armed with 2 h.
        let armed = |socket: &mut Socket| {
            (socket.timer_ms, socket.quiet_ms, socket.received_ms) =
                (Some(7_195_000), 5_000, 5_000);
        };
        assert_eq!(gap(3, 1, armed).1, GapFrom::ArmedTimer);
        assert!(gap(3, 1, armed).0 >= 7200);
        // Healthy: 60 s from the last packet on, whenever it is looked at.
        for quiet_ms in (0..60_000).step_by(500) {
            let healthy = |socket: &mut Socket| {
                (socket.quiet_ms, socket.received_ms) = (quiet_ms, quiet_ms);
                socket.timer_ms = Some(60_000 - quiet_ms);
            };
            assert_eq!(gap(60, 10, healthy), (62, GapFrom::Idle), "quiet for {quiet_ms} ms");
        }
        // A timer of 300 s that is 10 s late: it fires now.
        let late = |socket: &mut Socket| {
            (socket.quiet_ms, socket.received_ms, socket.timer_ms) = (310_000, 310_000, Some(0));
        };
        assert_eq!(gap(300, 10, late), (316, GapFrom::Idle));
    }

    #[test]
    fn while_probes_go_unanswered_the_gap_is_that_of_the_settings() {
        let silent = |socket: &mut Socket| {
            (socket.quiet_ms, socket.received_ms, socket.timer_ms) = (46_000, 106_000, Some(4_000));
            socket.probes_unanswered = 5;
        };
        assert_eq!(gap(60, 10, silent), (62, GapFrom::Idle));
    }

    #[test]
    fn the_timer_fires_early_when_data_came_meanwhile_and_then_waits_for_the_rest() {
        // Armed 50 s ago with 60 s; something came 1 s ago.
        let busy = |socket: &mut Socket| {
            (socket.quiet_ms, socket.received_ms, socket.timer_ms) = (1_000, 1_000, Some(10_000));
        };
        assert_eq!(gap(60, 10, busy), (62, GapFrom::Idle));
        // Probes of the peer leave the timer's clock alone: our probe comes no later for them.
        let probed = |socket: &mut Socket| {
            (socket.quiet_ms, socket.received_ms, socket.timer_ms) = (1_000, 59_000, Some(1_000));
        };
        assert_eq!(gap(60, 10, probed), (62, GapFrom::Idle));
    }

    #[test]
    fn without_keepalive_there_is_no_probe_and_no_gap() {
        assert_eq!(Gap::of(&socket(), 250), None);
    }
}
