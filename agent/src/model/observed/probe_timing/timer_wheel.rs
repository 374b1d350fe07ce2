//! When a timer of the kernel really fires: the wheel rounds up, the more the longer the time is.

/// A time with what a timer of it may be late.
pub(crate) fn with_slack(ms: u64, hz: u32) -> u64 {
    let hz = u64::from(hz.max(1));
    let ticks = (ms * hz).div_ceil(1000);
    (ticks + wheel_step(ticks)) * 1000 / hz
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

/// The time between two fires of a timer that is armed with `ms` whenever it has fired, milliseconds: it begins at a step of
/// the wheel, and ends at the next one after its time (`calc_index` in kernel/time/timer.c).
pub(super) fn period_ms(ms: u64, hz: u32) -> u64 {
    let hz = u64::from(hz.max(1));
    let ticks = (ms * hz).div_ceil(1000);
    let step = wheel_step(ticks);
    (ticks / step + 1) * step * 1000 / hz
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_is_armed_again_and_again_is_late_by_the_same_each_time() {
        // Measured on 6.18 (HZ=250): an interval of 35 s.
        assert_eq!(period_ms(35_000, 250), 36_864);
        assert_eq!((period_ms(35_000, 1000), period_ms(35_000, 100)), (36_864, 35_200));
        assert_eq!(period_ms(200, 250), 204);
        for hz in [100, 250, 300, 1000] {
            for ms in (1000..200_000).step_by(777) {
                let period = period_ms(ms, hz);
                assert!(period >= ms && period <= with_slack(ms, hz) + 10, "{ms} at {hz}");
            }
        }
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
