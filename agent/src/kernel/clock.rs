//! The one reader of clocks.

use crate::model::{observed::socket::Time, text::wall_time::WallTime};
use rustix::time::{ClockId, clock_getres, clock_gettime};
use std::time::Duration;

/// `CLOCK_MONOTONIC`: the clock of `bpf_ktime_get_ns`.
pub fn now() -> Time {
    let at = clock_gettime(ClockId::Monotonic);
    Time(u64::try_from(at.tv_sec * 1_000_000_000 + at.tv_nsec).unwrap_or_default())
}

/// Seconds since 1970.
pub fn unix_seconds() -> f64 {
    let at = clock_gettime(ClockId::Realtime);
    let millis = u32::try_from(at.tv_nsec / 1_000_000).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double exactly")]
    let seconds = at.tv_sec as f64;
    seconds + f64::from(millis) / 1000.0
}

/// CPU time of this process.
pub fn cpu_seconds() -> f64 {
    let at = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "fewer seconds than 2^52")]
    let seconds = at.tv_sec as f64;
    seconds + f64::from(u32::try_from(at.tv_nsec).unwrap_or_default()) / 1e9
}

/// CPU time of this thread.
pub fn thread_cpu() -> Duration {
    let at = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = at.tv_sec.saturating_mul(1_000_000_000).saturating_add(at.tv_nsec);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or_default())
}

/// Nanoseconds since 1970 minus nanoseconds of `CLOCK_MONOTONIC`, at this moment: what makes one of
/// the other until the wall clock is set.
pub fn unix_offset_ns() -> i64 {
    let wall = clock_gettime(ClockId::Realtime);
    let wall_ns = wall.tv_sec.saturating_mul(1_000_000_000).saturating_add(wall.tv_nsec);
    wall_ns.saturating_sub(i64::try_from(now().0).unwrap_or(i64::MAX))
}

/// Nanoseconds since 1970 of a time on the monotonic clock, with that offset.
pub fn unix_ns(at: Time, offset_ns: i64) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX).saturating_add(offset_ns)
}

/// The wall clock time of a time on the monotonic clock.
pub fn wall_time(at: Time) -> WallTime {
    WallTime::of_unix_ns(unix_ns(at, unix_offset_ns()))
}

/// The time of day of this host's zone minus UTC, milliseconds, as of now.
pub fn zone_ms() -> i64 {
    i64::from(jiff::Zoned::now().offset().seconds()) * 1000
}

/// Ticks of the kernel's clock per second: CONFIG_HZ, which is published nowhere. A coarse clock's
/// resolution is one tick (`posix_get_coarse_res` in kernel/time/posix-timers.c).
pub fn hz() -> u32 {
    let tick = clock_getres(ClockId::MonotonicCoarse);
    let tick_ns = u64::try_from(tick.tv_nsec).unwrap_or_default().max(1);
    u32::try_from((1_000_000_000 + tick_ns / 2) / tick_ns).unwrap_or(1)
}

/// Lets this much time pass.
#[expect(clippy::disallowed_methods, reason = "the one place where time is waited for")]
pub fn wait(time: Duration) {
    std::thread::sleep(time);
}
