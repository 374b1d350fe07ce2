//! The way to a path, part by part.

use super::{Error, FileKind};
use rustix::{
    fs::{FileType, Mode, OFlags, Stat, fstat, mkdirat, open, openat, readlinkat},
    io::Errno,
    process::geteuid,
};
use std::{
    ffi::{OsStr, OsString},
    os::{
        fd::OwnedFd,
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Component, Path},
};

/// As the kernel has it (MAXSYMLINKS in include/linux/namei.h).
const MAX_LINKS: u32 = 40;

/// What is to be done about a folder that is missing on the way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Missing {
    Refuse,
    Make(Mode),
}

/// Where a path ends.
#[derive(Debug)]
pub(super) struct End {
    /// The folder of the last part.
    pub(super) folder: OwnedFd,
    /// The last part, which is no link.
    pub(super) name: OsString,
    /// What is there, if anything is.
    pub(super) found: Option<Stat>,
}

impl End {
    /// Opens what is there, and never waits for that.
    pub(super) fn open(&self, flags: OFlags, mode: Mode) -> Result<(OwnedFd, Stat), Error> {
        open_in(&self.folder, &self.name, flags, mode)
    }
}

/// Opens a name in a folder: no link, no terminal of ours, and without waiting.
pub(super) fn open_in(
    folder: &OwnedFd,
    name: &OsStr,
    flags: OFlags,
    mode: Mode,
) -> Result<(OwnedFd, Stat), Error> {
    let safe = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(folder, name, flags | safe, mode)?;
    let stat = fstat(&file)?;
    Ok((file, stat))
}

/// Goes along a path to its end.
pub(super) fn along(path: &Path, missing: Missing) -> Result<End, Error> {
    let mut todo = Vec::new();
    let mut folder = begin(path, &mut todo)?;
    let mut n_links = 0;
    while let Some(name) = todo.pop() {
        let is_last = todo.is_empty();
        let there = match openat(&folder, &name, STEP, Mode::empty()) {
            Ok(there) => there,
            Err(Errno::NOENT) if is_last => return Ok(End { folder, name, found: None }),
            Err(Errno::NOENT) => {
                let Missing::Make(mode) = missing else {
                    return Err(Errno::NOENT.into());
                };
                match mkdirat(&folder, &name, mode) {
                    Ok(()) | Err(Errno::EXIST) => todo.push(name),
                    Err(errno) => return Err(errno.into()),
                }
                continue;
            }
            Err(errno) => return Err(errno.into()),
        };
        let stat = fstat(&there)?;
        match FileKind::of(&stat) {
            FileKind(FileType::Symlink) => {
                n_links += 1;
                if n_links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                if ![0, geteuid().as_raw()].contains(&stat.st_uid) {
                    return Err(Error::Planted { name, uid: stat.st_uid });
                }
                let target = readlinkat(&there, "", Vec::new())?.into_bytes();
                let target = OsString::from_vec(target);
                if target.as_bytes().starts_with(b"/") {
                    folder = begin(Path::new(&target), &mut todo)?;
                } else {
                    push(Path::new(&target), &mut todo);
                }
            }
            _ if is_last => return Ok(End { folder, name, found: Some(stat) }),
            FileKind(FileType::Directory) => folder = there,
            _ => return Err(Errno::NOTDIR.into()),
        }
    }
    Err(Errno::NOENT.into())
}

/// One step: nothing is opened by it, so no device notices.
const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The folder where a path begins; its parts are put before what is still to do.
fn begin(path: &Path, todo: &mut Vec<OsString>) -> Result<OwnedFd, Error> {
    push(path, todo);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let start = if path.is_absolute() { "/" } else { "." };
    if path.is_absolute() && todo.is_empty() {
        todo.push(".".into());
    }
    Ok(open(start, flags, Mode::empty())?)
}

fn push(path: &Path, todo: &mut Vec<OsString>) {
    let parts = path.components().filter(|part| !matches!(part, Component::RootDir));
    todo.extend(parts.map(|part| part.as_os_str().to_owned()).rev());
}

/// A folder at the end of a path: held, which needs no right to list it.
pub(super) fn folder(path: &Path, missing: Missing) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    loop {
        let end = along(path, missing)?;
        match (end.found, missing) {
            (Some(stat), _) if FileKind::of(&stat) != FileKind(FileType::Directory) => {
                return Err(Error::Kind { found: FileKind::of(&stat), wanted: "a folder" });
            }
            (Some(_), _) => return Ok(end.open(flags, Mode::empty())?.0),
            (None, Missing::Refuse) => return Err(Errno::NOENT.into()),
            (None, Missing::Make(mode)) => match mkdirat(&end.folder, &end.name, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            },
        }
    }
}

/// The number of a descriptor of this process that a path means, as programs are given them:
/// `/dev/stdout`, `/dev/fd/63`.
pub(super) fn descriptor(path: &Path) -> Option<i32> {
    let path = path.to_str()?;
    match path {
        "/dev/stdin" => Some(0),
        "/dev/stdout" => Some(1),
        "/dev/stderr" => Some(2),
        _ => {
            let folders = ["/dev/fd/", "/proc/self/fd/"];
            let number = folders.iter().find_map(|folder| path.strip_prefix(folder))?;
            number.parse().ok().filter(|&number| number >= 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::statat;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_path_ends_where_the_kernel_says_that_it_does() {
        for path in ["/", "/usr", "/usr/", "/usr/..", "/usr/../usr/./bin", ".", "..", "src/lib.rs"]
        {
            let end = along(Path::new(path), Missing::Refuse).unwrap();
            let (found, told) = (end.found.unwrap(), std::fs::metadata(path).unwrap());
            let told = (told.dev(), told.ino());
            assert_eq!((found.st_dev, found.st_ino), told, "{path}");
            let again = statat(&end.folder, &end.name, rustix::fs::AtFlags::empty()).unwrap();
            assert_eq!((again.st_dev, again.st_ino), told, "{path}");
        }
    }

    #[test]
    fn what_is_missing_is_an_end_only_as_the_last_part() {
        let end = along(Path::new("src/no such"), Missing::Refuse).unwrap();
        assert!(end.found.is_none() && end.name == "no such");
        for path in ["", "no/such", "src/lib.rs/x"] {
            assert!(along(Path::new(path), Missing::Refuse).is_err(), "{path}");
        }
    }

    #[test]
    fn descriptors_are_known_by_their_names() {
        let numbers =
            ["/dev/stdout", "/dev/fd/63", "/proc/self/fd/0"].map(Path::new).map(descriptor);
        assert_eq!(numbers, [Some(1), Some(63), Some(0)]);
        for other in ["/dev/null", "/dev/fd/", "/dev/fd/-1", "/dev/fd/x", "dev/fd/1", "/dev/fd/1/2"]
        {
            assert_eq!(descriptor(Path::new(other)), None, "{other}");
        }
    }
}
