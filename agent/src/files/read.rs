//! Reading what a person wrote.

use super::{
    Error, must_be_plain,
    resolve_path::{self, End, Missing},
};
use rustix::{
    fs::{Mode, OFlags, fstat},
    io::Errno,
    process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open},
};
use std::{fs::File, io::Read as _, os::fd::OwnedFd, path::Path};

/// The text of a plain file; an error if it has more than `limit` bytes.
pub(crate) fn text(path: &Path, limit: usize) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let above = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    plain(path)?.take(above).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(Error::TooLarge(limit));
    }
    String::from_utf8(bytes).map_err(|_| Error::NotText)
}

/// Whether a path leads to a plain file, for what opens it itself.
pub(crate) fn check_plain(path: &Path) -> Result<(), Error> {
    found(path).map(drop)
}

fn plain(path: &Path) -> Result<File, Error> {
    let (file, stat) = if let Some(number) = resolve_path::descriptor(path) {
        let file = inherited(number)?;
        let stat = fstat(&file)?;
        (file, stat)
    } else {
        found(path)?.open(OFlags::RDONLY, Mode::empty())?
    };
    must_be_plain(&stat)?;
    Ok(file.into())
}

/// Not opened yet: a device may notice that.
fn found(path: &Path) -> Result<End, Error> {
    let end = resolve_path::along(path, Missing::Refuse)?;
    must_be_plain(end.found.as_ref().ok_or(Errno::NOENT)?)?;
    Ok(end)
}

/// A descriptor that this process was given, once more: to open its path again would be another file
/// position, and need other rights.
pub(super) fn inherited(number: i32) -> Result<OwnedFd, Error> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(this, number, PidfdGetfdFlags::empty())?)
}
