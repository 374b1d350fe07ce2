//! Whether a file has changed since it was read, without reading it.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// What a file looks like from outside: equal if nobody has written it. None if it is not there.
pub(super) type FileStamp = Option<(u64, u64, i64, i64, u64)>;

/// What a file looks like now.
pub(super) fn stamp(file: &Path) -> FileStamp {
    let stat = fs::metadata(file).ok()?;
    Some((stat.dev(), stat.ino(), stat.mtime(), stat.mtime_nsec(), stat.size()))
}
