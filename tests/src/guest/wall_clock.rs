//! A wall clock that a test may set.

use super::is_guest;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

const NANOS: i64 = 1_000_000_000;

/// The wall clock of a guest that `cargo xtask vm` has booted. No other is ours to set. It is right again when this is dropped.
#[derive(Debug)]
pub struct WallClock {
    /// Unix time minus monotonic time, nanoseconds, before it was set.
    right_ns: i64,
}

impl WallClock {
    /// That of this machine, if it is such a guest.
    pub fn of_guest() -> Option<Self> {
        is_guest().then(|| Self { right_ns: ns(ClockId::Realtime) - ns(ClockId::Monotonic) })
    }

    /// Sets it to this number of seconds after the right time, or before it.
    pub fn set_ahead(&self, seconds: i64) {
        let at = ns(ClockId::Monotonic) + self.right_ns + seconds * NANOS;
        let time = Timespec { tv_sec: at.div_euclid(NANOS), tv_nsec: at.rem_euclid(NANOS) };
        clock_settime(ClockId::Realtime, time).expect("clock_settime in a guest");
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        self.set_ahead(0);
    }
}

/// Unix time by this machine's clock, seconds.
#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "to the microsecond")]
pub fn unix_seconds() -> f64 {
    ns(ClockId::Realtime) as f64 / 1e9
}

fn ns(clock: ClockId) -> i64 {
    let at = clock_gettime(clock);
    at.tv_sec * NANOS + at.tv_nsec
}
