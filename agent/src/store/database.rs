//! The history as its agent holds it: opened, written, kept within its bounds, set aside when it is broken.

use super::{
    Error, FILE, Health, Options,
    budget::bounds,
    insert::{self, Stamp},
    learned,
    not_kept::LossSums,
    queue::{Learning, Misfit, Record},
    schema::{self, failed},
    trusted_clock::Calendar,
};
use crate::{
    advice::kept_clues::KeptClues,
    kernel::{clock, heap_trim, host},
    model::{
        judgement::learned::Lesson, observed::socket::Time, table::orphan_owners::OrphanOwner,
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
/// Starts of agents that are remembered.
const MAX_RUNS: u32 = 10_000;
const DAY_NS: i64 = 86_400_000_000_000;
/// Time between two looks at owners of whom nothing is left.
const OWNERS_MS: u64 = 3_600_000;

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
    /// When owners were looked through.
    swept: Time,
}

impl Database {
    /// Opens the file, or makes it. One that is broken, or that an earlier version wrote, is set aside, and one made anew.
    pub(super) fn open(options: &Options) -> Result<Self, Error> {
        match Self::open_as_is(options) {
            Err(error) if error.is_corrupt() => {
                set_aside(&options.folder, &error)?;
                Self::open_as_is(options)
            }
            // A later version's is left alone: whoever went back to this one may go on again.
            Err(Error::Schema { found, .. }) if found < schema::VERSION => {
                set_earlier_aside(&options.folder, found)?;
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
            swept: now,
        })
    }

    /// Whether the file that it writes is still the one of this name.
    pub(super) fn is_in_place(&self) -> bool {
        place(&self.file) == self.place
    }

    /// Unix time minus monotonic time, as far as the wall clock is believed.
    pub(super) const fn believed_offset_ns(&self) -> i64 {
        self.calendar.offset_ns()
    }

    /// What agents before this one learned.
    pub(super) fn lessons(&self) -> Result<Vec<Lesson>, Error> {
        learned::read(&self.connection, &host::boot_id()).map_err(failed("read", &self.file))
    }

    /// Whose the connections were that an agent before this one saw closed without an answer.
    pub(super) fn orphans(&self) -> Result<Vec<OrphanOwner>, Error> {
        let now_ns = clock::unix_ns(clock::now(), clock::unix_offset_ns());
        learned::orphans(&self.connection, &host::boot_id(), now_ns)
            .map_err(failed("read", &self.file))
    }

    /// Writes all of it, or nothing, but for records that do not fit the tables: it gives their places. One of them, which anybody's
    /// connection may cause, takes no other with it.
    pub(super) fn write(
        &mut self,
        records: &[Record],
        learning: &Learning,
        unwritten: &LossSums,
    ) -> Result<Vec<Misfit>, Error> {
        let written = self.write_once(records, learning, unwritten, false);
        let written = match written {
            Err(cause) if Misfit::is(&cause) => self.write_once(records, learning, unwritten, true),
            written => written,
        };
        written.map_err(failed("write", &self.file))
    }

    /// `one_by_one`: a record that fails is left out.
    fn write_once(
        &mut self,
        records: &[Record],
        learning: &Learning,
        unwritten: &LossSums,
        one_by_one: bool,
    ) -> rusqlite::Result<Vec<Misfit>> {
        let (run, clues) = (self.run, &self.clues);
        let mut misfits = Vec::new();
        let mut all = self.connection.transaction()?;
        let insert = |into: &Connection, record: &Record| {
            let Record { offset_ns, around, worth, happening } = record;
            let stamp = Stamp { run, offset_ns: *offset_ns, worth: *worth };
            insert::happening(into, stamp, happening, around, clues)
        };
        for (place, record) in records.iter().enumerate() {
            if !one_by_one {
                insert(&all, record)?;
                continue;
            }
            let one = all.savepoint()?;
            match insert(&one, record) {
                Ok(()) => one.commit()?,
                Err(cause) if Misfit::is(&cause) => misfits.push(Misfit { place, cause }),
                Err(cause) => return Err(cause),
            }
        }
        for lesson in &learning.lessons {
            learned::write(&all, lesson, run)?;
        }
        if let Some(rows) = &learning.rows {
            learned::write_rows(&all, rows)?;
        }
        unwritten.write(&all)?;
        all.commit()?;
        Ok(misfits)
    }

    /// Bytes that the database uses.
    pub(super) fn bytes(&self) -> Result<u64, Error> {
        bounds::used_bytes(&self.connection).map_err(failed("read", &self.file))
    }

    /// Deletes what is too old, and what is too much.
    pub(super) fn keep_bounds(&mut self, now: Time, health: &Health) -> Result<(), Error> {
        self.calendar.look(clock::unix_offset_ns(), now);
        let today_ns = self.calendar.unix_ns(now);
        let mut keep = || -> rusqlite::Result<()> {
            bounds::delete_old(&mut self.connection, today_ns.saturating_sub(self.keep_ns))?;
            let has_shrunk = bounds::shrink(&mut self.connection, self.max_bytes, health)?;
            if has_shrunk {
                heap_trim::give_back();
            }
            if has_shrunk || now.ms_since(self.swept) >= OWNERS_MS {
                self.swept = now;
                bounds::delete_owners(&self.connection)?;
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
}

fn place(file: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(file).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Moves a broken file out of the way, and says so.
pub(super) fn set_aside(folder: &Path, error: &Error) -> Result<(), Error> {
    let place = |n| folder.join(format!("{FILE}.corrupt-{n}"));
    let number = (1..MAX_CORRUPT).find(|&n| !place(n).exists()).unwrap_or(MAX_CORRUPT);
    let aside = place(number);
    move_to(folder, &aside)?;
    warn!(cause = %error, aside = %aside.display(), "the history is broken, set aside and begun anew");
    Ok(())
}

/// The same with the file of an earlier version, under the number of its tables.
fn set_earlier_aside(folder: &Path, found: i64) -> Result<(), Error> {
    let aside = folder.join(format!("{FILE}.schema-{found}"));
    move_to(folder, &aside)?;
    let known = schema::VERSION;
    warn!(
        schema = found, known, aside = %aside.display(),
        "the history is of an earlier version, set aside and begun anew"
    );
    Ok(())
}

/// Moves the file, and what SQLite keeps beside it.
fn move_to(folder: &Path, aside: &Path) -> Result<(), Error> {
    let file = folder.join(FILE);
    fs::rename(&file, aside)
        .map_err(|cause| Error::Folder { folder: folder.to_owned(), cause: cause.into() })?;
    for suffix in ["-wal", "-shm"] {
        let beside = |file: &Path| PathBuf::from(format!("{}{suffix}", file.display()));
        // It may not be there. One that stayed would be taken for the new file's.
        match fs::rename(beside(&file), beside(aside)) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Folder { folder: folder.to_owned(), cause: cause.into() });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observed::socket::Direction,
        store::{
            Query,
            tests::{StateFolder, add, deaths, idle_drop, record},
        },
    };

    #[test]
    fn a_record_that_does_not_fit_is_left_out_and_takes_no_other_with_it() {
        let folder = StateFolder::new();
        let mut database = Database::open(&folder.options()).unwrap();
        let other = Connection::open(folder.options().folder.join(FILE)).unwrap();
        other.execute_batch("CREATE UNIQUE INDEX once ON deaths (socket)").unwrap();
        let records = [(1, 1000), (1, 1001), (2, 1002)];
        let records = records.map(|(id, at_seconds)| record(idle_drop(id, at_seconds)));
        let misfits = database.write(&records, &Learning::default(), &LossSums::default()).unwrap();
        assert_eq!(misfits.iter().map(|it| it.place).collect::<Vec<_>>(), [1], "{misfits:?}");
        assert_eq!(deaths(&folder, &Query::default()).len(), 2);
        let n_calls = "SELECT count(*) FROM calls";
        assert_eq!(other.query_row(n_calls, [], |row| row.get(0)), Ok(4), "two of each that fits");
    }

    #[test]
    fn what_connects_to_port_0_has_a_peer_all_the_same() {
        let folder = StateFolder::new();
        let mut failed = idle_drop(1, 1000);
        failed.socket.remote.port = 0;
        add(&mut Database::open(&folder.options()).unwrap(), [failed]);
        let [death] = deaths(&folder, &Query::default()).try_into().unwrap();
        assert_eq!(death.event.connection.direction, Some(Direction::Outbound));
    }
}
