//! The one reader of clocks.

use crate::model::socket::Time;
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

/// The wall clock time of a time on the monotonic clock, RFC 3339 in UTC to the microsecond.
pub fn wall_time(at: Time) -> String {
    let since = Duration::from_nanos(now().0.saturating_sub(at.0));
    let wall = clock_gettime(ClockId::Realtime);
    let nanos = i128::from(wall.tv_sec) * 1_000_000_000 + i128::from(wall.tv_nsec);
    let then = nanos - i128::try_from(since.as_nanos()).unwrap_or_default();
    jiff::Timestamp::from_nanosecond(then).map(|time| format!("{time:.6}")).unwrap_or_default()
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
