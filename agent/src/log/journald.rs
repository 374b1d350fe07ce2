//! Whether stderr goes to journald, which keeps the time itself and takes a line's priority from its beginning.

use std::{ffi::OsStr, os::fd::AsFd};
use tracing::Level;

/// Whether this descriptor is the journal that systemd connected it to: `JOURNAL_STREAM` names its device and inode
/// (systemd.exec(5)). Children inherit the variable, also those whose stderr goes elsewhere: so both are compared.
pub(super) fn has(descriptor: impl AsFd) -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(descriptor).is_ok_and(|is| names(&stream, is.st_dev, is.st_ino))
}

fn names(stream: &OsStr, device: u64, inode: u64) -> bool {
    let numbers = stream.to_str().and_then(|text| text.split_once(':'));
    numbers.is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

/// What a line begins with (sd-daemon(3)).
pub(super) const fn prefix(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn only_the_device_and_inode_of_the_journal_are_the_journal() {
        assert!(names("9:1234".as_ref(), 9, 1234));
        for other in ["9:1235", "8:1234", "9", "", ":", "9:1234:1", "x:y", "-9:1234", "09 :1234"] {
            assert!(!names(other.as_ref(), 9, 1234), "{other}");
        }
    }
}
