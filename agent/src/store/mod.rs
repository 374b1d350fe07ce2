//! The history on disk: deaths, verdicts that changed, calls, quiet times survived, late answers and what was learned of
//! them, in one SQLite file under the state directory. An agent writes it off the hot path; anybody who may read the file reads
//! it, with or without an agent. `docs/HISTORY.md` describes it for people with sqlite3.

mod budget;
mod columns;
mod database;
mod health;
mod insert;
mod learned;
mod not_kept;
mod query;
mod queue;
mod reader;
mod row;
mod schema;
mod trusted_clock;
mod writer;

pub(crate) use health::{Health, HistoryFileId, HistoryStatus, Writing};
pub use not_kept::{Loss, NotKept};
pub use query::Query;
pub use reader::HistoryReader;
pub use row::DeathRow;
pub(crate) use row::{CallRow, ConnectionRef, LateAnswer};
pub(crate) use writer::HistoryWriter;

use crate::{advice::kept_clues::KeptClues, files};
use rustix::fs::Mode;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The file in the state directory.
pub(crate) const FILE: &str = "history.db";

/// Where the history is, and how much of it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The state directory of the history.
    pub folder: PathBuf,
    /// What is older is deleted.
    pub days: u32,
    /// Above this size what is worth least is deleted.
    pub bytes: u64,
    /// What processes showed of themselves: it is kept with the deaths of their connections.
    pub clues: Arc<KeptClues>,
}

/// Why the history cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory has no history.
    #[error(
        "no history in {}: an agent keeps one with `keepwatch run`; name another folder with --state-dir",
        folder.display()
    )]
    None {
        /// Path of the state directory.
        folder: PathBuf,
    },
    /// It was written by another version.
    #[error(
        "the history {} has schema {found}, and this keepwatch knows {known}: use the version that wrote it, or move the file away",
        file.display(),
        known = schema::VERSION
    )]
    Schema {
        /// Path of the history.
        file: PathBuf,
        /// The version that it says it has.
        found: i64,
    },
    /// It is a database, and not ours.
    #[error("{} is a database of something else: name another folder with --state-dir", file.display())]
    Foreign {
        /// Path of the database.
        file: PathBuf,
    },
    /// The directory is not to be had.
    #[error("cannot use the state directory {}: {cause}; name another with --state-dir", folder.display())]
    Folder {
        /// Path of the state directory.
        folder: PathBuf,
        /// The error of the file layer.
        cause: files::Error,
    },
    /// The file is not what it must be.
    #[error("cannot open the history {}: {cause}; name another folder with --state-dir", file.display())]
    File {
        /// Path of the history.
        file: PathBuf,
        /// The error of the file layer.
        cause: files::Error,
    },
    /// Another agent writes there.
    #[error(
        "another keepwatch agent{} writes its history in {}: stop it, or give this one its own --state-dir",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        folder.display()
    )]
    Taken {
        /// Path of the state directory.
        folder: PathBuf,
        /// Its process id, if it can be seen.
        pid: Option<u32>,
    },
    /// There is no thread to write it.
    #[error("cannot start the thread of the history: {0}")]
    Thread(io::Error),
    /// SQLite returned an error.
    #[error("cannot {attempt} the history {}: {cause}", file.display())]
    Database {
        /// The step that failed, as a verb.
        attempt: &'static str,
        /// Path of the history.
        file: PathBuf,
        /// The error of SQLite.
        cause: rusqlite::Error,
    },
}

/// Makes the state directory, while that may still be allowed. A failure is reported later, by the code that needs
/// the directory.
pub(crate) fn make_folder(folder: &Path) {
    drop(files::Folder::make(folder, Mode::from_raw_mode(0o750)));
}

/// Makes the state directory this agent's own, until the lock is dropped.
fn claim(folder: &Path) -> Result<files::Lock, Error> {
    let lock = files::Folder::open(folder).and_then(|folder| folder.lock());
    lock.map_err(|cause| match cause {
        files::Error::Held(pid) => Error::Taken { folder: folder.to_owned(), pid },
        cause => Error::Folder { folder: folder.to_owned(), cause },
    })
}

impl Error {
    /// Whether somebody else has locked it.
    fn is_busy(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        let Self::Database { cause, .. } = self else {
            return false;
        };
        matches!(cause.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
    }

    /// Whether the file is broken: nothing can be read from it, and nothing written.
    pub fn is_corrupt(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let Self::Database { cause, .. } = self else {
            return false;
        };
        matches!(cause.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
    }
}

#[cfg(test)]
mod tests;
