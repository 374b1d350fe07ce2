//! The history as its agent holds it: opened, written, kept within its bounds, set aside when it is broken.

use super::{
    Error, FILE, Options,
    insert::{self, Stamp},
    schema::{self, failed},
    trusted_clock::Calendar,
};
use crate::{
    advice::kept_clues::KeptClues,
    kernel::{clock, host},
    model::{
        judgement::{
            learned::{Lesson, LimitRow},
            verdict::Surroundings,
        },
        observed::socket::Time,
        table::happening::Happening,
    },
};
use rusqlite::Connection;
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};
use tracing::warn;

/// Broken files that are kept.
const MAX_CORRUPT: u32 = 3;
/// Rows that are deleted in one go.
const DELETE_ROWS: u32 = 4096;
/// Starts of agents that are remembered.
const MAX_RUNS: u32 = 10_000;
const DAY_NS: i64 = 86_400_000_000_000;
/// The tables that grow.
const TABLES: [&str; 4] = ["deaths", "calls", "verdict_changes", "survivals"];

/// What happened at about the same time.
#[derive(Debug)]
pub(super) struct Batch {
    /// Unix time minus monotonic time by then.
    pub(super) offset_ns: i64,
    /// What verdicts depended on.
    pub(super) around: Arc<Surroundings>,
    /// Events in their order.
    pub(super) happenings: Vec<Happening>,
}

/// What was learned, each the latest.
#[derive(Debug, Default)]
pub(super) struct Learning {
    /// New evidence about idle limits.
    pub(super) lessons: Vec<Lesson>,
    /// Every learned limit, if they changed.
    pub(super) limits: Option<Vec<LimitRow>>,
}

/// The history file, opened to write.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
    file: PathBuf,
    /// Device and inode of it when it was opened.
    place: Option<(u64, u64)>,
    run: i64,
    calendar: Calendar,
    keep_ns: i64,
    max_bytes: u64,
    clues: Arc<KeptClues>,
}

impl Database {
    /// Opens the file, or makes it. One that is broken is set aside, and one made anew.
    pub(super) fn open(options: &Options) -> Result<Self, Error> {
        match Self::open_as_is(options) {
            Err(error) if error.is_corrupt() => {
                set_aside(&options.folder, &error)?;
                Self::open_as_is(options)
            }
            opened => opened,
        }
    }

    fn open_as_is(options: &Options) -> Result<Self, Error> {
        let file = options.folder.join(FILE);
        let connection = schema::to_write(&options.folder)?;
        let (now, offset_ns) = (clock::now(), clock::unix_offset_ns());
        let keep_ns = i64::from(options.days).saturating_mul(DAY_NS);
        let begin = || -> rusqlite::Result<(i64, Option<i64>)> {
            let seen =
                connection.query_row("SELECT max(seen_ns) FROM clock", [], |row| row.get(0))?;
            connection.execute(
                "INSERT INTO runs (boot, version, pid, at_ns, monotonic_ns) VALUES (?, ?, ?, ?, ?)",
                rusqlite::params![
                    host::boot_id(),
                    env!("CARGO_PKG_VERSION"),
                    std::process::id(),
                    clock::unix_ns(now, offset_ns),
                    now.0
                ],
            )?;
            Ok((connection.last_insert_rowid(), seen))
        };
        let (run, seen_ns) = begin().map_err(failed("write", &file))?;
        let calendar = Calendar::new(seen_ns, keep_ns, offset_ns, now);
        let place = place(&file);
        Ok(Self {
            connection,
            file,
            place,
            run,
            calendar,
            keep_ns,
            max_bytes: options.bytes,
            clues: Arc::clone(&options.clues),
        })
    }

    /// Whether the file that it writes is still the one of this name.
    pub(super) fn is_in_place(&self) -> bool {
        place(&self.file) == self.place
    }

    /// What agents before this one learned.
    pub(super) fn lessons(&self) -> Result<Vec<Lesson>, Error> {
        insert::lessons(&self.connection).map_err(failed("read", &self.file))
    }

    /// Writes all of it, or nothing.
    pub(super) fn write(&mut self, batches: &[Batch], learning: &Learning) -> Result<(), Error> {
        let run = self.run;
        let mut write = || -> rusqlite::Result<()> {
            let all = self.connection.transaction()?;
            for Batch { offset_ns, around, happenings } in batches {
                let stamp = Stamp { run, offset_ns: *offset_ns };
                for happening in happenings {
                    insert::happening(&all, stamp, happening, around, &self.clues)?;
                }
            }
            for lesson in &learning.lessons {
                insert::lesson(&all, lesson)?;
            }
            if let Some(limits) = &learning.limits {
                insert::limits(&all, limits)?;
            }
            all.commit()
        };
        write().map_err(failed("write", &self.file))
    }

    /// Bytes that the database uses.
    pub(super) fn bytes(&self) -> Result<u64, Error> {
        self.used_bytes().map_err(failed("read", &self.file))
    }

    fn used_bytes(&self) -> rusqlite::Result<u64> {
        let number = |name| -> rusqlite::Result<u64> {
            self.connection.pragma_query_value(None, name, |row| row.get(0))
        };
        let n_pages = number("page_count")?.saturating_sub(number("freelist_count")?);
        Ok(n_pages.saturating_mul(number("page_size")?))
    }

    /// Deletes what is too old, and what is too much.
    pub(super) fn keep_bounds(&mut self, now: Time) -> Result<(), Error> {
        self.calendar.look(clock::unix_offset_ns(), now);
        let today_ns = self.calendar.unix_ns(now);
        let keep = || -> rusqlite::Result<()> {
            let oldest_ns = today_ns.saturating_sub(self.keep_ns);
            for table in TABLES {
                while self.delete_oldest(table, oldest_ns, DELETE_ROWS)? == DELETE_ROWS {}
            }
            while self.used_bytes()? > self.max_bytes {
                let mut n_deleted = 0;
                for table in TABLES {
                    let n: u32 = self.connection.query_row(
                        &format!("SELECT count(*) / 16 + 1 FROM {table}"),
                        [],
                        |row| row.get(0),
                    )?;
                    n_deleted += self.delete_oldest(table, i64::MAX, n)?;
                }
                if n_deleted == 0 {
                    break;
                }
            }
            self.connection.execute(
                "DELETE FROM runs WHERE id <= (SELECT max(id) FROM runs) - ?",
                [MAX_RUNS],
            )?;
            self.connection.execute("REPLACE INTO clock VALUES (0, ?)", [today_ns])?;
            // Gives pages back to the file system; each step of the statement one.
            let mut vacuum = self.connection.prepare_cached("PRAGMA incremental_vacuum")?;
            let mut freed = vacuum.query([])?;
            while freed.next()?.is_some() {}
            Ok(())
        };
        keep().map_err(failed("tidy up", &self.file))
    }

    fn delete_oldest(&self, table: &str, before_ns: i64, n: u32) -> rusqlite::Result<u32> {
        let sql = format!(
            "DELETE FROM {table} WHERE id IN \
             (SELECT id FROM {table} WHERE at_ns < ? ORDER BY at_ns LIMIT ?)"
        );
        let n_deleted = self.connection.prepare_cached(&sql)?.execute((before_ns, n))?;
        Ok(u32::try_from(n_deleted).unwrap_or(u32::MAX))
    }
}

fn place(file: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(file).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Moves a broken file out of the way, and says so.
pub(super) fn set_aside(folder: &Path, error: &Error) -> Result<(), Error> {
    let file = folder.join(FILE);
    let place = |n| folder.join(format!("{FILE}.corrupt-{n}"));
    let number = (1..MAX_CORRUPT).find(|&n| !place(n).exists()).unwrap_or(MAX_CORRUPT);
    let aside = place(number);
    fs::rename(&file, &aside)
        .map_err(|cause| Error::Folder { folder: folder.to_owned(), cause: cause.into() })?;
    for suffix in ["-wal", "-shm"] {
        let beside = |file: &Path| PathBuf::from(format!("{}{suffix}", file.display()));
        // It may not be there. One that stayed would be taken for the new file's.
        match fs::rename(beside(&file), beside(&aside)) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Folder { folder: folder.to_owned(), cause: cause.into() });
            }
            _ => {}
        }
    }
    warn!(cause = %error, aside = %aside.display(), "the history is broken, set aside and begun anew");
    Ok(())
}
