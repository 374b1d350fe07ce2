//! Opening a result for writing.

use super::{
    Error, FileKind, must_have_one_name,
    read::inherited,
    resolve_path::{self, End, Missing},
};
use rustix::{
    fs::{
        FileType, Mode, OFlags, Stat, fcntl_getfl, fcntl_setfl, fstat, ftruncate, major, makedev,
    },
    io::Errno,
    process::geteuid,
};
use std::{
    fs::File,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

const WANTED: &str = "a plain file, a pipe, a terminal or /dev/null";

/// A file for a result: made, or emptied. A pipe that is read, a terminal and /dev/null do as well, and
/// descriptors that this process was given: `/dev/stdout`, `/dev/fd/N`.
pub(crate) fn output(path: &Path) -> Result<File, Error> {
    if let Some(number) = resolve_path::descriptor(path) {
        return given(number);
    }
    let end = resolve_path::along(path, Missing::Refuse)?;
    let may_be = |stat: &Stat| may_be_written(&end, stat);
    // Before it is opened: a device may notice that.
    end.found.as_ref().map_or(Ok(()), may_be)?;
    let create = if end.found.is_none() { OFlags::CREATE } else { OFlags::empty() };
    let mode = Mode::from_raw_mode(0o666);
    let (file, stat) = end.open(OFlags::WRONLY | create, mode).map_err(|error| match error {
        Error::System(cause) if cause.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            Error::NoReader
        }
        error => error,
    })?;
    may_be(&stat)?;
    // A write that has to wait for a reader waits.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    emptied(file, &stat)
}

/// A descriptor of this process.
fn given(number: i32) -> Result<File, Error> {
    let file = match number {
        1 => std::io::stdout().as_fd().try_clone_to_owned()?,
        2 => std::io::stderr().as_fd().try_clone_to_owned()?,
        _ => inherited(number)?,
    };
    if fcntl_getfl(&file)? & OFlags::ACCMODE == OFlags::RDONLY {
        return Err(Error::ReadOnly);
    }
    match FileKind::of(&fstat(&file)?) {
        found @ FileKind(FileType::Directory | FileType::BlockDevice) => {
            Err(Error::Kind { found, wanted: WANTED })
        }
        _ => Ok(file.into()),
    }
}

/// At once: a result that is never finished shall not look like one, nor leave an old one.
fn emptied(file: OwnedFd, stat: &Stat) -> Result<File, Error> {
    if FileKind::of(stat) == FileKind(FileType::RegularFile) {
        ftruncate(&file, 0)?;
    }
    Ok(file.into())
}

fn may_be_written(end: &End, stat: &Stat) -> Result<(), Error> {
    match FileKind::of(stat) {
        FileKind(FileType::RegularFile) => {
            must_have_one_name(stat)?;
            must_not_be_planted(end, stat)
        }
        FileKind(FileType::Fifo) => must_not_be_planted(end, stat),
        FileKind(FileType::CharacterDevice) if is_harmless(stat) => Ok(()),
        found => Err(Error::Kind { found, wanted: WANTED }),
    }
}

/// In a folder where everybody may make files, one of somebody else was made for others to write to: the
/// kernel's rule of fs.protected_regular and fs.protected_fifos, which may be switched off.
fn must_not_be_planted(end: &End, stat: &Stat) -> Result<(), Error> {
    let folder = fstat(&end.folder)?;
    let everybody = Mode::SVTX | Mode::WOTH;
    let is_open_to_all = Mode::from_raw_mode(folder.st_mode).contains(everybody);
    let is_trusted = [geteuid().as_raw(), folder.st_uid].contains(&stat.st_uid);
    if is_open_to_all && !is_trusted { Err(Error::Foreign(stat.st_uid)) } else { Ok(()) }
}

/// Terminals and /dev/null, by the numbers of Documentation/admin-guide/devices.txt.
fn is_harmless(stat: &Stat) -> bool {
    stat.st_rdev == makedev(1, 3) || matches!(major(stat.st_rdev), 4 | 5 | 136..=143)
}
