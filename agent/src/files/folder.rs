//! Files that are this program's own, in a folder that may be open to others.

use super::{
    Error, FileKind, must_be_plain, must_have_one_name,
    resolve_path::{self, Missing},
};
use rustix::{
    fs::{
        AtFlags, FlockOperation, Gid, Mode, OFlags, Stat, chmod, chownat, fchmod, flock, fstat,
        fsync, openat, renameat, statat, unlinkat,
    },
    io::Errno,
    process::geteuid,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Write as _,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

/// A folder: what is in it is opened by its name, and through no link.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

/// Holds a lock until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    #[expect(dead_code, reason = "the lock is held for as long as the file is open")]
    file: OwnedFd,
}

/// A name in a folder with what has it at one moment.
#[derive(Debug)]
pub(crate) struct Seat {
    name: OsString,
    stat: Stat,
}

/// A file that is to take the place of another, under a name of its own until then.
#[derive(Debug)]
pub(super) struct Heir {
    pub(super) file: File,
    fresh: OsString,
    name: OsString,
}

impl Folder {
    /// Opens a folder that exists; links of other users on the way are refused.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        resolve_path::folder(path, Missing::Refuse).map(Self)
    }

    /// Opens it; what is missing of it is made.
    pub(crate) fn make(path: &Path, mode: Mode) -> Result<Self, Error> {
        resolve_path::folder(path, Missing::Make(mode)).map(Self)
    }

    /// A file of this user, made if there is none, to read and write; nobody gets more rights to it than
    /// `mode` gives.
    pub(crate) fn own(&self, name: &OsStr, mode: Mode) -> Result<OwnedFd, Error> {
        if let Some(seat) = self.seat(name)? {
            must_be_own(&seat.stat)?;
        }
        let (file, stat) =
            resolve_path::open_in(&self.0, name, OFlags::CREATE | OFlags::RDWR, mode)?;
        must_be_own(&stat)?;
        let found = Mode::from_raw_mode(stat.st_mode);
        if !mode.contains(found) {
            fchmod(&file, found & mode)?;
        }
        Ok(file)
    }

    /// Whether there is such a file of this user, with no more rights to it than `mode` gives. It is not
    /// opened: to close it again would end all locks that this process has on it (fcntl_locking(2)).
    pub(crate) fn has_own(&self, name: &OsStr, mode: Mode) -> Result<bool, Error> {
        let Some(seat) = self.seat(name)? else {
            return Ok(false);
        };
        must_be_own(&seat.stat)?;
        let found = Mode::from_raw_mode(seat.stat.st_mode);
        if !mode.contains(found) {
            change_mode(&self.hold(&seat)?, found & mode)?;
        }
        Ok(true)
    }

    /// What has a name, if anything has.
    pub(crate) fn seat(&self, name: &OsStr) -> Result<Option<Seat>, Error> {
        match statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Seat { name: name.to_owned(), stat })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes the name if it still is what it was.
    pub(crate) fn remove(&self, seat: &Seat) -> Result<(), Error> {
        let now = self.seat(&seat.name)?;
        if now.is_some_and(|now| now.is(seat)) {
            unlinkat(&self.0, &seat.name, AtFlags::empty())?;
        }
        Ok(())
    }

    /// Puts a file with these bytes in the place of the one with the name: a reader sees the old one or the new one, whole.
    fn replace(&self, name: &OsStr, bytes: &[u8], mode: Mode) -> Result<(), Error> {
        let mut heir = self.heir(name, mode)?;
        heir.file.write_all(bytes)?;
        heir.file.sync_data()?;
        self.install(&heir)
    }

    /// An empty file beside the one with the name. One that a kill left behind is taken.
    pub(super) fn heir(&self, name: &OsStr, mode: Mode) -> Result<Heir, Error> {
        let mut fresh = OsString::from(".");
        fresh.push(name);
        fresh.push(".new");
        let file: File = self.own(&fresh, mode)?.into();
        file.set_len(0)?;
        Ok(Heir { file, fresh, name: name.to_owned() })
    }

    /// Gives a file the name that it was made for.
    pub(super) fn install(&self, heir: &Heir) -> Result<(), Error> {
        Ok(renameat(&self.0, &heir.fresh, &self.0, &heir.name)?)
    }

    /// Waits until the names in it are on disk: to sync a file does not sync its name (fsync(2)).
    pub(super) fn sync(&self) -> Result<(), Error> {
        // What is held is no open folder.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fsync(openat(&self.0, ".", flags, Mode::empty())?)?)
    }

    /// Whether a name still leads to an open file.
    pub(super) fn leads_to(&self, name: &OsStr, file: &File) -> Result<bool, Error> {
        let there = Seat { name: name.to_owned(), stat: fstat(file)? };
        Ok(self.seat(name)?.is_some_and(|seat| seat.is(&there)))
    }

    /// Whether this user may say what is in it.
    pub(crate) fn is_own(&self) -> bool {
        fstat(&self.0).is_ok_and(|stat| stat.st_uid == geteuid().as_raw())
    }

    /// Gives a socket to a group, and then lets it be used.
    pub(crate) fn grant(&self, seat: &Seat, group: Option<Gid>, mode: Mode) -> Result<(), Error> {
        let there = self.hold(seat)?;
        chownat(&there, "", None, group, AtFlags::EMPTY_PATH)?;
        change_mode(&there, mode)
    }

    /// What has the name, if it still is what it was: held, not opened.
    fn hold(&self, seat: &Seat) -> Result<OwnedFd, Error> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let there = openat(&self.0, &seat.name, flags, Mode::empty())?;
        let found = Seat { name: seat.name.clone(), stat: fstat(&there)? };
        if found.is(seat) { Ok(there) } else { Err(Errno::STALE.into()) }
    }

    /// The lock on the folder itself.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Lock::on(openat(&self.0, ".", flags, Mode::empty())?)
    }
}

/// Puts a file with these bytes in the place of what a path names: see [`Folder::replace`].
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: Mode) -> Result<(), Error> {
    let name = path.file_name().ok_or(Errno::ISDIR)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Folder::open(folder.unwrap_or(Path::new(".")))?.replace(name, bytes, mode)
}

impl Seat {
    /// The kind of file that is there.
    pub(crate) const fn kind(&self) -> FileKind {
        FileKind::of(&self.stat)
    }

    /// Whether it belongs to this user.
    pub(crate) fn is_own(&self) -> bool {
        self.stat.st_uid == geteuid().as_raw()
    }

    /// The user id of the owner.
    pub(crate) const fn uid(&self) -> u32 {
        self.stat.st_uid
    }

    fn is(&self, other: &Self) -> bool {
        let of = |stat: &Stat| (stat.st_dev, stat.st_ino);
        of(&self.stat) == of(&other.stat)
    }
}

impl Lock {
    /// Locks an open file, if no other process has.
    pub(crate) fn on(file: OwnedFd) -> Result<Self, Error> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { file }),
            Err(Errno::WOULDBLOCK) => Err(Error::Held(holder(&fstat(&file)?))),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The process that has a file locked (proc_locks(5)), if it is of our pid namespace.
fn holder(stat: &Stat) -> Option<u32> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    let file = format!("{major:02x}:{minor:02x}:{}", stat.st_ino);
    locks.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "FLOCK").skip(3);
        let (pid, of) = (words.next()?, words.next()?);
        (of == file).then(|| pid.parse().ok().filter(|&pid| pid > 0))?
    })
}

/// chmod(2) knows no NOFOLLOW before Linux 6.6; the link in /proc leads to what is held.
fn change_mode(held: &OwnedFd, mode: Mode) -> Result<(), Error> {
    Ok(chmod(format!("/proc/self/fd/{}", held.as_raw_fd()), mode)?)
}

fn must_be_own(stat: &Stat) -> Result<(), Error> {
    must_be_plain(stat)?;
    if stat.st_uid != geteuid().as_raw() {
        return Err(Error::Foreign(stat.st_uid));
    }
    must_have_one_name(stat)
}
