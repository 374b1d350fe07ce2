//! A snapshot for an answer: what is asked about now is not as old as the interval between two snapshots.

use super::Shared;
use crate::{
    kernel::clock,
    model::table::{agent_health::AgentHealth, sums::Totals},
};
use rustix::{
    event::{EventfdFlags, eventfd},
    io::{read, write},
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

/// The latest snapshot of a younger age is as good as another.
const YOUNG_SECONDS: f64 = 1.0;
/// A snapshot that took more CPU waits for its turn: by then an agent has 100,000 sockets to look at, or some 30,000 on a
/// slow machine.
const CHEAP_CPU_MS: u64 = 50;
/// An answer waits for a snapshot for no longer.
const PATIENCE: Duration = Duration::from_millis(300);

/// How servers ask the watching thread for a snapshot.
#[derive(Debug)]
pub(crate) struct FreshLook(OwnedFd);

impl FreshLook {
    /// Nobody has asked yet.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Asks, and wakes whoever waits for that. Whether that worked.
    fn ask(&self) -> bool {
        write(&self.0, &1_u64.to_ne_bytes()).is_ok()
    }

    /// Whether somebody has asked since the last call.
    pub(crate) fn was_asked(&self) -> bool {
        read(&self.0, &mut [0; 8]).is_ok()
    }
}

impl AsFd for FreshLook {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits for a snapshot that begins now, unless the latest is young, or another would be dear.
pub(super) async fn look_again(shared: &Shared) {
    let mut published = shared.snapshot.clone();
    let n_walks = {
        let health = &published.borrow().health;
        let is_of_use = is_of_use(health, clock::unix_seconds());
        if !is_of_use || !shared.fresh_look.ask() {
            return;
        }
        health.n_walks
    };
    let is_new = |totals: &Arc<Totals>| totals.health.n_walks > n_walks;
    // Without it the answer is as old as it is, and says so.
    drop(timeout(PATIENCE, published.wait_for(is_new)).await);
}

/// `now`: Unix time.
fn is_of_use(health: &AgentHealth, now: f64) -> bool {
    now - health.walked_at_seconds >= YOUNG_SECONDS && health.walk_cpu_ms <= CHEAP_CPU_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_taken_for_an_answer_if_the_last_is_old_and_was_cheap() {
        let of_use = |age: f64, walk_cpu_ms| {
            let health =
                AgentHealth { walked_at_seconds: 1e9, walk_cpu_ms, ..AgentHealth::default() };
            is_of_use(&health, 1e9 + age)
        };
        assert!(of_use(14.0, 3));
        assert!(!of_use(0.5, 3), "young");
        assert!(!of_use(14.0, 200), "dear");
    }

    #[test]
    fn a_question_is_heard_once() {
        let look = FreshLook::new().unwrap();
        assert!(!look.was_asked());
        assert!(look.ask() && look.ask());
        assert!(look.was_asked());
        assert!(!look.was_asked());
    }
}
