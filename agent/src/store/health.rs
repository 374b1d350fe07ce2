//! How the history is: what the writing thread and everybody else share.

use super::{
    FILE,
    not_kept::{Loss, LossSums},
    queue::{Misfit, Record},
};
use crate::model::judgement::worth::Worth;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    os::linux::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};
use tracing::error;

/// How the history is, as the agent shows it. Fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HistoryStatus {
    /// The state directory of the history.
    pub folder: PathBuf,
    /// Which file it is; null if there is none.
    #[serde(default)]
    pub file: Option<HistoryFileId>,
    /// Bytes that the history uses on disk.
    pub bytes: u64,
    /// What was written since the agent's start.
    pub written: u64,
    /// What was not, or was deleted to make room, by reason.
    pub lost: BTreeMap<String, u64>,
    /// The same by what it was worth, then by reason.
    #[serde(default)]
    pub lost_by_worth: BTreeMap<String, BTreeMap<String, u64>>,
    /// Why nothing is written at the moment; null if all is well.
    pub trouble: Option<String>,
}

/// Which file a history is, on this host and in whichever mount namespace: the same path may lead to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HistoryFileId {
    device: u64,
    inode: u64,
}

impl HistoryFileId {
    /// The one in this state directory, if there is one.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        let found = fs::metadata(folder.join(FILE)).ok()?;
        Some(Self { device: found.st_dev(), inode: found.st_ino() })
    }
}

/// What the writing thread and everybody else share.
#[derive(Debug, Default)]
pub(crate) struct Health {
    folder: PathBuf,
    pub(super) n_bytes: AtomicU64,
    pub(super) n_written: AtomicU64,
    /// By reason and worth.
    n_lost: [[AtomicU64; Worth::ALL.len()]; Loss::ALL.len()],
    /// Losses that the file does not know of yet.
    unwritten: Mutex<LossSums>,
    trouble: Mutex<Option<String>>,
}

impl Health {
    /// Of a history in this folder.
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { folder, ..Self::default() }
    }

    /// What is not in the history for this reason.
    pub(crate) fn lost(&self, loss: Loss) -> u64 {
        Worth::ALL.iter().map(|&worth| self.lost_of(loss, worth)).sum()
    }

    /// The same, of what is worth so much.
    fn lost_of(&self, loss: Loss, worth: Worth) -> u64 {
        let n_lost = self.n_lost.get(loss as usize).and_then(|lost| lost.get(worth as usize));
        n_lost.map_or(0, |n| n.load(Ordering::Relaxed))
    }

    /// Counts records that happened then (Unix time) and will not be in the history.
    pub(crate) fn lose(&self, loss: Loss, worth: Worth, at_ns: i64, n: u64) {
        self.count(loss, worth, n);
        self.unwritten().add(at_ns, worth, loss, n);
    }

    /// Counts a record that will not be in the history.
    pub(super) fn lose_record(&self, loss: Loss, record: &Record) {
        self.lose(loss, record.worth, record.at_ns(), 1);
    }

    /// Counts records that did not fit. The log shows the first one of an agent's life.
    pub(super) fn lose_misfits(&self, records: &[Record], misfits: &[Misfit]) {
        for Misfit { place, cause } in misfits {
            if self.lost(Loss::Invalid) == 0 {
                error!(%cause, "a record does not fit the history: please report this");
            }
            if let Some(record) = records.get(*place) {
                self.lose_record(Loss::Invalid, record);
            }
        }
    }

    /// Counts records of whose loss the file knows.
    pub(super) fn count(&self, loss: Loss, worth: Worth, n: u64) {
        let n_lost = self.n_lost.get(loss as usize).and_then(|lost| lost.get(worth as usize));
        if let Some(n_lost) = n_lost {
            n_lost.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Losses that the file does not know of yet.
    pub(super) fn unwritten(&self) -> MutexGuard<'_, LossSums> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that the history uses on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.n_bytes.load(Ordering::Relaxed)
    }

    /// The counters as `/v1/status` shows them.
    pub(crate) fn status(&self) -> HistoryStatus {
        HistoryStatus {
            folder: self.folder.clone(),
            file: HistoryFileId::of(&self.folder),
            bytes: self.bytes(),
            written: self.n_written.load(Ordering::Relaxed),
            lost: Loss::ALL.map(|loss| (loss.as_str().to_owned(), self.lost(loss))).into(),
            lost_by_worth: Worth::ALL
                .map(|worth| {
                    let lost = |loss: Loss| (loss.as_str().to_owned(), self.lost_of(loss, worth));
                    (worth.as_str().to_owned(), Loss::ALL.map(lost).into())
                })
                .into(),
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
pub(crate) struct Writing(JoinHandle<()>);

impl Writing {
    pub(super) const fn new(thread: JoinHandle<()>) -> Self {
        Self(thread)
    }

    /// Whether it has ended. While the writer lives that is a panic.
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits until everything is written; the writer must be gone. An error is the thread's panic.
    pub(crate) fn finish(self) -> std::thread::Result<()> {
        self.0.join()
    }
}
