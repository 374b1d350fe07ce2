//! The tables, and how a file is opened so that both the agent and its readers get what they expect.

use super::{Error, FILE};
use crate::files::{self, Folder};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::Mode;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The version of the tables, in `PRAGMA user_version`.
pub(super) const VERSION: i64 = 11;
/// `PRAGMA application_id`: "keep".
const APPLICATION: i64 = 0x6b65_6570;
const SCHEMA: &str = include_str!("schema.sql");

/// KiB of pages that a connection holds.
const CACHE_KIB: i64 = 512;
/// How long a reader waits for a writer at most, and the writer for a checkpoint of another program.
const PATIENCE: Duration = Duration::from_secs(2);

/// What SQLite says of an attempt, as an error of the history.
pub(super) fn failed(attempt: &'static str, file: &Path) -> impl FnOnce(rusqlite::Error) -> Error {
    let file = file.to_owned();
    move |cause| Error::Database { attempt, file, cause }
}

/// What SQLite keeps beside a file (sqlite.org/tempfiles.html).
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Makes sure that the files are plain ones and the agent's own, for no more than it and its group. SQLite
/// gives the mode of the first to those beside it. The path is that of the folder without links.
fn prepare(folder: &Path) -> Result<PathBuf, Error> {
    const MODE: Mode = Mode::from_raw_mode(0o640);
    let of_folder = |cause| Error::Folder { folder: folder.to_owned(), cause };
    let place = Folder::open(folder).map_err(of_folder)?;
    let of_file = |name: &str| {
        let file = folder.join(name);
        move |cause| Error::File { file, cause }
    };
    if !place.has_own(FILE.as_ref(), MODE).map_err(of_file(FILE))? {
        place.own(FILE.as_ref(), MODE).map_err(of_file(FILE))?;
    }
    for suffix in BESIDE {
        let name = format!("{FILE}{suffix}");
        place.has_own(name.as_ref(), MODE).map_err(of_file(&name))?;
    }
    let real = folder.canonicalize().map_err(|cause| of_folder(cause.into()))?;
    Ok(real.join(FILE))
}

/// The history of a state directory, to write; it is made if there is none.
pub(super) fn to_write(folder: &Path) -> Result<Connection, Error> {
    let file = folder.join(FILE);
    let real = prepare(folder)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connect = || -> rusqlite::Result<Connection> {
        let database = Connection::open_with_flags(&real, flags)?;
        database.busy_timeout(PATIENCE)?;
        database.pragma_update(None, "cache_size", -CACHE_KIB)?;
        // Only counts in a file that is made now.
        database.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        database.pragma_update(None, "journal_mode", "WAL")?;
        // A power failure may take the last second, never the file (sqlite.org/wal.html).
        database.pragma_update(None, "synchronous", "NORMAL")?;
        // What is sorted is small, and no file is made outside of the state directory.
        database.pragma_update(None, "temp_store", "MEMORY")?;
        database.pragma_update(None, "journal_size_limit", 4 << 20)?;
        Ok(database)
    };
    let mut database = connect().map_err(failed("open", &file))?;
    match found(&database).map_err(failed("read", &file))? {
        (0, 0) if is_empty(&database).map_err(failed("read", &file))? => {
            make(&mut database).map_err(failed("make the tables of", &file))?;
        }
        versions => check(versions, &file)?,
    }
    Ok(database)
}

/// The history of a state directory, to read.
pub(super) fn to_read(folder: &Path) -> Result<Connection, Error> {
    let file = folder.join(FILE);
    // SQLite would wait for a fifo.
    match files::check_plain(&file) {
        Err(cause) if cause.is_not_found() => {
            return Err(Error::None { folder: folder.to_owned() });
        }
        checked => checked.map_err(|cause| Error::File { file: file.clone(), cause })?,
    }
    let connect = |target: &str| -> rusqlite::Result<(Connection, (i64, i64))> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(target, flags)?;
        database.busy_timeout(PATIENCE)?;
        database.pragma_update(None, "cache_size", -CACHE_KIB)?;
        database.pragma_update(None, "temp_store", "MEMORY")?;
        let found = found(&database)?;
        Ok((database, found))
    };
    let opened = match connect(&uri(&file, "mode=ro")) {
        // Beside a file in WAL mode two more are needed; on a file system that is read-only they cannot be made, and
        // nobody writes either.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
            connect(&uri(&file, "mode=ro&immutable=1"))
        }
        opened => opened,
    };
    let (database, versions) = opened.map_err(failed("open", &file))?;
    check(versions, &file)?;
    Ok(database)
}

/// A path as SQLite's URI (sqlite.org/uri.html).
fn uri(file: &Path, parameters: &str) -> String {
    let mut uri = "file:".to_owned();
    for &byte in std::os::unix::ffi::OsStrExt::as_bytes(file.as_os_str()) {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri + "?" + parameters
}

fn found(database: &Connection) -> rusqlite::Result<(i64, i64)> {
    let number = |name| database.pragma_query_value(None, name, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

fn is_empty(database: &Connection) -> rusqlite::Result<bool> {
    database.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

fn make(database: &mut Connection) -> rusqlite::Result<()> {
    let all = database.transaction()?;
    all.execute_batch(SCHEMA)?;
    all.pragma_update(None, "application_id", APPLICATION)?;
    all.pragma_update(None, "user_version", VERSION)?;
    all.commit()
}

fn check((application, version): (i64, i64), file: &Path) -> Result<(), Error> {
    let file: PathBuf = file.to_owned();
    match (application, version) {
        (APPLICATION, VERSION) => Ok(()),
        (APPLICATION, found) => Err(Error::Schema { file, found }),
        _ => Err(Error::Foreign { file }),
    }
}
