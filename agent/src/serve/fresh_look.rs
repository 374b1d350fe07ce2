//! An answer of now: what the hooks had noted before the question is in it, and a snapshot that is not as old as the
//! interval between two.

use super::Shared;
use crate::{
    kernel::clock,
    model::table::{agent_health::AgentHealth, sums::Totals},
};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use rustix::{
    event::{EventfdFlags, eventfd},
    io::{read, write},
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::timeout};

/// The latest snapshot of a younger age is as good as another, if no event was lost since.
/// One question of a command is several of ours.
const YOUNG_SECONDS: f64 = 0.3;
/// A snapshot that took more CPU waits for its turn: by then an agent has 200,000 sockets to look at, or some 60,000 on a
/// slow machine. Whoever asks, snapshots keep to their share of a CPU.
const CHEAP_CPU_MS: u64 = 100;
/// An answer waits for the watching thread for no longer: a moment on an idle host, this on a very busy one.
const PATIENCE: Duration = Duration::from_secs(1);

/// How servers ask the watching thread for what the hooks noted, and for a snapshot.
#[derive(Debug)]
pub(crate) struct FreshLook {
    wake: OwnedFd,
    wants_walk: AtomicBool,
    n_asked: AtomicU64,
    taken_in: watch::Sender<TakenIn>,
}

/// What the watching thread has taken in.
#[derive(Debug, Default, Clone, Copy)]
struct TakenIn {
    /// All that the ring had when this number had asked.
    n_asked: u64,
    /// Events were lost, and no snapshot has found out since what they said.
    is_behind: bool,
}

impl FreshLook {
    /// Nobody has asked yet.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            wants_walk: AtomicBool::new(false),
            n_asked: AtomicU64::new(0),
            taken_in: watch::Sender::new(TakenIn::default()),
        })
    }

    /// Wakes the watching thread. Whether that worked.
    fn wake(&self) -> bool {
        write(&self.wake, &1_u64.to_ne_bytes()).is_ok()
    }

    /// Asks for a snapshot. Whether that worked.
    fn ask_for_walk(&self) -> bool {
        self.wants_walk.store(true, Ordering::Release);
        self.wake()
    }

    /// Waits until all is taken in that the hooks had noted before; whether what they lost is still unknown.
    async fn catch_up(&self) -> bool {
        let mut taken_in = self.taken_in.subscribe();
        let ticket = self.n_asked.fetch_add(1, Ordering::AcqRel) + 1;
        if !self.wake() {
            return false;
        }
        let is_it = |taken_in: &TakenIn| taken_in.n_asked >= ticket;
        let found = timeout(PATIENCE, taken_in.wait_for(is_it)).await;
        found.is_ok_and(|found| found.is_ok_and(|found| found.is_behind))
    }

    /// Whether somebody has asked for a snapshot since the last call.
    pub(crate) fn take_walk(&self) -> bool {
        // It has nothing to read when nobody has asked.
        read(&self.wake, &mut [0; 8]).ok();
        self.wants_walk.swap(false, Ordering::AcqRel)
    }

    /// How many have asked until now. To be read before the ring is.
    pub(crate) fn n_asked(&self) -> u64 {
        self.n_asked.load(Ordering::Acquire)
    }

    /// Answers this number of questions: the ring was read after them.
    pub(crate) fn answer(&self, n_asked: u64, is_behind: bool) {
        self.taken_in.send_if_modified(|taken_in| {
            let is_news = taken_in.n_asked < n_asked;
            *taken_in = TakenIn { n_asked: taken_in.n_asked.max(n_asked), is_behind };
            is_news
        });
    }
}

impl AsFd for FreshLook {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// Answers with what the hooks had noted before the question.
pub(super) async fn caught_up(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    shared.fresh_look.catch_up().await;
    next.run(request).await
}

/// Waits for a snapshot that begins now, unless the latest is young and nothing was lost since, or another would be dear.
pub(super) async fn look_again(shared: &Shared) {
    let is_behind = shared.fresh_look.catch_up().await;
    let mut published = shared.snapshot.clone();
    let n_walks = {
        let health = &published.borrow().health;
        let is_of_use = is_of_use(health, is_behind, clock::unix_seconds());
        if !is_of_use || !shared.fresh_look.ask_for_walk() {
            return;
        }
        health.n_walks
    };
    let is_new = |totals: &Arc<Totals>| totals.health.n_walks > n_walks;
    // Without it the answer is as old as it is, and says so.
    drop(timeout(PATIENCE, published.wait_for(is_new)).await);
}

/// `now`: Unix time.
fn is_of_use(health: &AgentHealth, is_behind: bool, now: f64) -> bool {
    // After a wall clock was set back, nobody knows.
    let is_old = !(0.0..YOUNG_SECONDS).contains(&(now - health.walked_at_seconds));
    (is_old || is_behind) && health.walk_cpu_ms <= CHEAP_CPU_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_snapshot_is_taken_for_an_answer_if_the_last_is_old_or_misses_events_and_was_cheap() {
        let of_use = |age: f64, is_behind, walk_cpu_ms| {
            let health =
                AgentHealth { walked_at_seconds: 1e9, walk_cpu_ms, ..AgentHealth::default() };
            is_of_use(&health, is_behind, 1e9 + age)
        };
        assert!(of_use(14.0, false, 3));
        assert!(!of_use(0.2, false, 3), "young");
        assert!(of_use(-7200.0, false, 3), "the clock was set back since");
        assert!(of_use(0.2, true, 3), "young, and events were lost since");
        assert!(!of_use(14.0, true, 200), "dear");
    }

    #[test]
    fn a_question_for_a_snapshot_is_heard_once() {
        let look = FreshLook::new().unwrap();
        assert!(!look.take_walk());
        assert!(look.ask_for_walk() && look.ask_for_walk());
        assert!(look.take_walk());
        assert!(!look.take_walk());
    }

    #[tokio::test]
    async fn an_answer_waits_for_a_reading_of_the_ring_that_began_after_the_question() {
        let look = Arc::new(FreshLook::new().unwrap());
        // One that began before does not count.
        let before = look.n_asked();
        let watching = thread::spawn({
            let look = Arc::clone(&look);
            move || {
                while look.n_asked() == 0 {
                    thread::yield_now();
                }
                look.answer(before, true);
                let n_asked = look.n_asked();
                look.answer(n_asked, false);
            }
        });
        assert!(!look.catch_up().await, "of the second answer");
        watching.join().unwrap();
        assert!(!look.catch_up().await, "nobody answers any more");
    }
}
