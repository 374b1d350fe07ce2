//! Waiting for a condition, never for a time: but for a random one, at which something is killed.

use std::{
    fmt::Display,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// The monotonic clock: tests compare times by it alone.
#[expect(clippy::disallowed_methods, reason = "the tests' one reader of the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Asks again and again until there is an answer, and fails the test when `deadline` is over first.
#[track_caller]
pub fn until<T>(what: impl Display, deadline: Duration, ask: impl FnMut() -> Option<T>) -> T {
    let Some(answer) = within(deadline, ask) else {
        panic!("not within {deadline:?}: {what}");
    };
    answer
}

/// The same; none when `deadline` is over first.
pub fn within<T>(deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let began = now();
    loop {
        let answer = ask();
        if answer.is_some() || began.elapsed() >= deadline {
            return answer;
        }
        pause();
    }
}

/// Waits for a time of random length, shorter than this.
pub fn for_a_moment(shorter_than: Duration) {
    let random = RandomState::new().build_hasher().finish();
    let most = u64::try_from(shorter_than.as_millis()).unwrap_or(u64::MAX).max(1);
    let _: Option<()> = within(Duration::from_millis(random % most), || None);
}

/// Sets a flag at its end, so that what another thread does until then stops also when a test fails on the way.
pub struct StopAtEnd<'a>(pub &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// So that waiting leaves the CPU to what is waited for.
#[expect(clippy::disallowed_methods, reason = "between two questions, not instead of one")]
fn pause() {
    thread::sleep(Duration::from_millis(5));
}
