//! Lines of JSON that a program must find again after it was killed, or after the host was.

use super::{Error, Folder, Lock};
use rustix::fs::{Mode, fchmod, fdatasync};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
};

/// A file in a folder of ours, one JSON object a line, to which nobody else adds meanwhile. What was added is on disk.
#[derive(Debug)]
pub(crate) struct SyncedLines {
    folder: Folder,
    name: OsString,
    mode: Mode,
    file: File,
    n_bytes: usize,
    /// On the file that has the name.
    lock: Lock,
}

impl SyncedLines {
    /// Opens it, and makes it and its folder if there is none; with what it has. `mode`: its permissions.
    pub(crate) fn open<T: DeserializeOwned>(
        folder: &Path,
        name: &str,
        mode: Mode,
    ) -> Result<(Self, Vec<T>), Error> {
        let folder = Folder::make(folder, Mode::from_raw_mode(0o750))?;
        let name = OsString::from(name);
        let (mut file, lock) = loop {
            let file: File = folder.own(&name, mode)?.into();
            let lock = locked(&file, mode)?;
            // Whoever had the lock before may have put another file in its place.
            if folder.leads_to(&name, &file)? {
                break (file, lock);
            }
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            folder.sync()?;
        }
        let mut lines = Self { folder, name, mode, file, n_bytes: bytes.len(), lock };
        // What a kill cut off is ended, so that the next line is whole.
        if bytes.last().is_some_and(|byte| *byte != b'\n') {
            lines.write(b"\n")?;
        }
        Ok((lines, json_lines(&bytes)))
    }

    /// Its size.
    pub(crate) const fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Adds lines, and waits until they are on disk.
    pub(crate) fn add<'a, T: Serialize + 'a>(
        &mut self,
        lines: impl IntoIterator<Item = &'a T>,
    ) -> Result<(), Error> {
        self.write(&text_of(lines)?)
    }

    /// These lines in place of all that it has. At each moment one of the two is there, whole, whatever is killed: the new file is
    /// written and locked beside the old one, synced, and takes its name.
    pub(crate) fn replace<'a, T: Serialize + 'a>(
        &mut self,
        lines: impl IntoIterator<Item = &'a T>,
    ) -> Result<(), Error> {
        let text = text_of(lines)?;
        let mut heir = self.folder.heir(&self.name, self.mode)?;
        let lock = locked(&heir.file, self.mode)?;
        heir.file.write_all(&text)?;
        fdatasync(&heir.file)?;
        self.folder.install(&heir)?;
        // What is added from here on has to be in the file that has the name, also if the folder cannot be synced.
        (self.file, self.lock, self.n_bytes) = (heir.file, lock, text.len());
        self.folder.sync()
    }

    fn write(&mut self, text: &[u8]) -> Result<(), Error> {
        self.file.write_all(text)?;
        self.n_bytes += text.len();
        Ok(fdatasync(&self.file)?)
    }
}

/// Locks a file, and gives it these permissions whatever the umask left of them.
fn locked(file: &File, mode: Mode) -> Result<Lock, Error> {
    fchmod(file, mode)?;
    Lock::on(file.try_clone()?.into())
}

fn text_of<'a, T: Serialize + 'a>(
    lines: impl IntoIterator<Item = &'a T>,
) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line).map_err(io::Error::from)?;
        text.push(b'\n');
    }
    Ok(text)
}

/// The lines of such a file, without one that a kill cut off, or that a later version wrote.
pub(crate) fn json_lines<T: DeserializeOwned>(bytes: &[u8]) -> Vec<T> {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
        path::PathBuf,
    };

    const MODE: Mode = Mode::from_raw_mode(0o640);
    const NAME: &str = "lines.jsonl";

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("keepwatch-{}-{name}", std::process::id()));
        fs::remove_dir_all(&folder).ok();
        folder
    }

    fn open(folder: &Path) -> (SyncedLines, Vec<u32>) {
        SyncedLines::open(folder, NAME, MODE).unwrap()
    }

    #[test]
    fn what_was_added_is_found_again_and_a_line_that_was_cut_off_is_left_out() {
        let folder = folder("lines");
        let (mut lines, found) = open(&folder);
        assert!(found.is_empty());
        lines.add(&[1, 2]).unwrap();
        let held = SyncedLines::open::<u32>(&folder, NAME, MODE);
        assert!(matches!(held, Err(Error::Held(_))), "one at a time: {held:?}");
        drop(lines);
        let file = folder.join(NAME);
        let mut text = fs::read(&file).unwrap();
        text.extend(b"[3");
        fs::write(&file, text).unwrap();
        let (mut lines, found) = open(&folder);
        assert_eq!(found, [1, 2]);
        lines.add(&[4]).unwrap();
        drop(lines);
        assert_eq!(open(&folder).1, [1, 2, 4]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_takes_its_place_is_locked_and_has_its_permissions_and_whoever_has_the_old_one_open_knows()
     {
        let folder = folder("in-place");
        let (mut lines, _) = open(&folder);
        lines.add(&[1]).unwrap();
        let (path, fresh) = (folder.join(NAME), folder.join(".lines.jsonl.new"));
        let old = File::open(&path).unwrap();
        // What a kill has left behind, longer than what comes, and readable by nobody.
        fs::write(&fresh, "[ 7, 7, 7, 7, 7 ]").unwrap();
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o200)).unwrap();
        assert!(lines.folder.leads_to(NAME.as_ref(), &old).unwrap());
        lines.replace(&[2]).unwrap();
        assert!(!lines.folder.leads_to(NAME.as_ref(), &old).unwrap());
        assert_eq!((fs::read(&path).unwrap(), fresh.exists()), (b"2\n".to_vec(), false));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE.bits());
        let held = SyncedLines::open::<u32>(&folder, NAME, MODE);
        assert!(matches!(held, Err(Error::Held(_))), "{held:?}");
        drop(lines);
        assert_eq!(open(&folder).1, [2]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_cannot_be_replaced_stays() {
        let folder = folder("kept");
        let (mut lines, _) = open(&folder);
        lines.add(&[1]).unwrap();
        fs::create_dir(folder.join(".lines.jsonl.new")).unwrap();
        assert!(matches!(lines.replace(&[2]), Err(Error::Kind { .. })));
        lines.add(&[3]).unwrap();
        drop(lines);
        assert_eq!(open(&folder).1, [1, 3]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_replaced_leaves_nothing_before_the_new_lines() {
        let folder = folder("replaced");
        let (mut lines, _) = open(&folder);
        lines.add(&[1_000_000, 2_000_000]).unwrap();
        assert_eq!(lines.n_bytes(), 16);
        lines.replace(&[3]).unwrap();
        lines.add(&[4]).unwrap();
        assert_eq!(
            (lines.n_bytes(), fs::read(folder.join(NAME)).unwrap()),
            (4, b"3\n4\n".to_vec())
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
