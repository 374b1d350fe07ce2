//! How the history is: what the writing thread and everybody else share.

use crate::model::text::closed_set::closed_set;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

closed_set! {
    /// Why something is not in the history.
    pub(crate) enum Loss {
        /// It was ordinary (an orderly end, a verdict that changed), and there was too much of that.
        Ordinary = "ordinary",
        /// The writing thread was behind.
        Queue = "queue",
        /// It could not be written.
        Disk = "disk",
    }
}

/// How the history is, as the agent shows it. Fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HistoryStatus {
    /// The state directory of the history.
    pub folder: PathBuf,
    /// Bytes that the history uses on disk.
    pub bytes: u64,
    /// What was written since the agent's start.
    pub written: u64,
    /// What was not, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Why nothing is written at the moment; null if all is well.
    pub trouble: Option<String>,
}

/// What the writing thread and everybody else share.
#[derive(Debug, Default)]
pub(crate) struct Health {
    folder: PathBuf,
    pub(super) n_waiting: AtomicUsize,
    pub(super) n_bytes: AtomicU64,
    pub(super) n_written: AtomicU64,
    n_lost: [AtomicU64; Loss::ALL.len()],
    trouble: Mutex<Option<String>>,
}

impl Health {
    /// Of a history in this folder.
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { folder, ..Self::default() }
    }

    /// What is not in the history for this reason.
    pub(crate) fn lost(&self, loss: Loss) -> u64 {
        self.n_lost.get(loss as usize).map_or(0, |n| n.load(Ordering::Relaxed))
    }

    pub(crate) fn lose(&self, loss: Loss, n: usize) {
        if let Some(lost) = self.n_lost.get(loss as usize) {
            lost.fetch_add(u64::try_from(n).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Bytes that the history uses on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.n_bytes.load(Ordering::Relaxed)
    }

    /// The counters as `/v1/status` shows them.
    pub(crate) fn status(&self) -> HistoryStatus {
        HistoryStatus {
            folder: self.folder.clone(),
            bytes: self.bytes(),
            written: self.n_written.load(Ordering::Relaxed),
            lost: Loss::ALL.map(|loss| (loss.as_str().to_owned(), self.lost(loss))).into(),
            trouble: self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub(super) fn is_in_trouble(&self) -> bool {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// The writing thread, to wait for.
#[derive(Debug)]
pub(crate) struct Writing {
    thread: JoinHandle<()>,
    health: Arc<Health>,
}

impl Writing {
    pub(super) const fn new(thread: JoinHandle<()>, health: Arc<Health>) -> Self {
        Self { thread, health }
    }

    /// Whether it has ended although the writer lives: it panicked, and nothing is written any more. The history's
    /// status says so from then on.
    pub(crate) fn is_dead(&self) -> bool {
        let is_dead = self.thread.is_finished();
        if is_dead {
            self.health.set_trouble(Some(DEAD.to_owned()));
        }
        is_dead
    }

    /// Waits until everything is written; the writer must be gone. An error is the thread's panic.
    pub(crate) fn finish(self) -> std::thread::Result<()> {
        self.thread.join()
    }
}

/// The trouble of a history that nobody writes.
const DEAD: &str = "the writing thread has ended: restart the agent";
