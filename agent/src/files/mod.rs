//! Opening what a person named, and what a program may have planted there: each path as the kind of file
//! that it must be, to a limit, without waiting, and through no link that somebody else made.
//!
//! * [`text`] reads a config or a policy, [`output`] opens a result for writing.
//! * [`Folder`] holds files that belong to the agent alone: locks, the history, the API socket.
//! * [`SyncedLines`] are what `fix` and `drill` write down before they act.
//! * [`Root`] reads what container runtimes and the kernel write, below one folder.
//! * [`named_netns`] finds the network namespace behind a name of `ip netns`, [`all_named_netns`] those behind all
//!   of them, [`port`] the port of a service.
//!
//! A path is gone along part by part. A link on the way is followed if it belongs to this user or to root:
//! the kernel has that rule for sticky folders (fs.protected_symlinks), and may have it switched off.
//! `cargo xtask tidy` finds paths that are opened in another way.

mod folder;
mod namespace;
mod open_output;
mod read;
mod resolve_path;
mod root_dir;
mod services;
mod synced_lines;
mod users;

pub(crate) use folder::{Folder, Lock, Seat, replace};
pub(crate) use namespace::{all_named_netns, named_netns};
pub(crate) use open_output::output;
pub(crate) use read::{check_plain, text};
pub(crate) use root_dir::Root;
pub(crate) use services::port;
pub(crate) use synced_lines::{SyncedLines, json_lines};
pub(crate) use users::{fields_of, user};

use rustix::{
    fs::{FileType, Stat},
    io::Errno,
};
use std::{ffi::OsString, fmt, io};

/// Why a path was not opened. The path is not in it: the caller adds that.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is something else.
    #[error("it is {found}, and must be {wanted}")]
    Kind {
        /// The kind of file that is there.
        found: FileKind,
        /// What it must be.
        wanted: &'static str,
    },
    /// More than is read.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// Bytes that are no text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// A link on the way that somebody else made.
    #[error(
        "{} on its way is a link that uid {uid} made: remove the link, or name what it leads to",
        name.display()
    )]
    Planted {
        /// The link's own name.
        name: OsString,
        /// The user id of its owner.
        uid: u32,
    },
    /// It has more than one name.
    #[error(
        "it has {0} names (hard links), and writing would change what the others name: remove it"
    )]
    Names(libc::nlink_t),
    /// It is somebody else's.
    #[error("it belongs to uid {0}, not to this user: remove it")]
    Foreign(u32),
    /// Writing to it would wait for a reader.
    #[error("it is a fifo, and no program reads it")]
    NoReader,
    /// A descriptor of this process that cannot be written to.
    #[error("it is open for reading only")]
    ReadOnly,
    /// Another process has the lock.
    #[error("{}", by_whom(*.0))]
    Held(Option<u32>),
    /// The error of a system call.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

impl Error {
    /// Whether there is nothing at that path.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::System(cause) if cause.kind() == io::ErrorKind::NotFound)
    }
}

fn by_whom(pid: Option<u32>) -> String {
    let who = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    format!("{who} has it locked")
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileKind(FileType);

impl FileKind {
    const fn of(stat: &Stat) -> Self {
        Self(FileType::from_raw_mode(stat.st_mode))
    }

    /// Whether it is a unix socket.
    pub fn is_socket(self) -> bool {
        self.0 == FileType::Socket
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            FileType::RegularFile => "a plain file",
            FileType::Directory => "a folder",
            FileType::Symlink => "a link",
            FileType::Fifo => "a fifo or pipe",
            FileType::Socket => "a socket",
            FileType::CharacterDevice | FileType::BlockDevice => "a device",
            FileType::Unknown => "of no kind that is known",
        })
    }
}

const PLAIN: &str = "a plain file";

/// Whether it is a plain file.
const fn must_be_plain(stat: &Stat) -> Result<(), Error> {
    match FileKind::of(stat) {
        FileKind(FileType::RegularFile) => Ok(()),
        found => Err(Error::Kind { found, wanted: PLAIN }),
    }
}

/// Whether nothing else is changed when it is written to.
const fn must_have_one_name(stat: &Stat) -> Result<(), Error> {
    match stat.st_nlink {
        0 | 1 => Ok(()),
        n => Err(Error::Names(n)),
    }
}
