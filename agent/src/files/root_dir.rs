//! Reading files that programs wrote, below one root: no link leads out of it, whoever made the link.

use rustix::{
    fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2},
    io,
};
use std::{
    fs::File,
    io::Read as _,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

/// A folder below which paths are meant as absolute, links in it included.
#[derive(Debug)]
pub(crate) struct Root {
    folder: OwnedFd,
}

impl Root {
    /// Opens the folder as the root of all later paths.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { folder: open(folder, flags, Mode::empty())? })
    }

    fn at(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(self.folder.as_fd(), path, flags, Mode::empty(), resolve)
    }

    /// A path, held and not opened.
    fn held(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(self.folder.as_fd(), path, flags, Mode::empty(), resolve)
    }

    /// A path, held and not opened, or what is nearest above it, but for these.
    pub(crate) fn nearest(&self, path: &str, but: &[&str]) -> Option<OwnedFd> {
        let mut at = path;
        while !but.contains(&at) {
            match self.held(at) {
                Ok(place) => return Some(place),
                Err(io::Errno::NOENT | io::Errno::NOTDIR) => {
                    at = at.rsplit_once('/').map_or("", |(above, _)| above);
                }
                Err(_) => return None,
            }
        }
        None
    }

    /// The bytes of a plain file; none if it is larger than `limit`, or cannot be read.
    pub(crate) fn read(&self, path: &str, limit: usize) -> Option<Vec<u8>> {
        let file = self.at(path, OFlags::empty()).ok()?;
        if FileType::from_raw_mode(fstat(&file).ok()?.st_mode) != FileType::RegularFile {
            return None;
        }
        let mut bytes = Vec::new();
        let above = u64::try_from(limit).ok()?.saturating_add(1);
        File::from(file).take(above).read_to_end(&mut bytes).ok()?;
        (bytes.len() <= limit).then_some(bytes)
    }

    /// The number of the user whose a file or folder is.
    pub(crate) fn user(&self, path: &str) -> Option<u32> {
        Some(fstat(self.held(path).ok()?).ok()?.st_uid)
    }

    /// The folders in a folder, at most `limit`, by name and inode number; those whose names are UTF-8.
    pub(crate) fn folders(&self, path: &str, limit: usize) -> Vec<(String, u64)> {
        let folder = self.at(path, OFlags::DIRECTORY).and_then(Dir::new);
        let entries = folder.into_iter().flatten().map_while(Result::ok);
        let folders = entries.filter(|entry| entry.file_type() == FileType::Directory);
        let named =
            folders.filter_map(|it| Some((it.file_name().to_str().ok()?.to_owned(), it.ino())));
        named.filter(|(name, _)| !matches!(name.as_str(), "." | "..")).take(limit).collect()
    }

    /// The names in a folder, at most `limit`, that are UTF-8.
    pub(crate) fn names(&self, path: &str, limit: usize) -> Vec<String> {
        let folder = self.at(path, OFlags::DIRECTORY).and_then(Dir::new);
        let entries = folder.into_iter().flatten().map_while(Result::ok);
        let names = entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
        names.filter(|name| !matches!(name.as_str(), "." | "..")).take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn what_is_missing_is_its_nearest_folder_but_never_one_that_is_too_much() {
        let folder = std::env::temp_dir().join(format!("keepwatch-nearest-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("var/log")).unwrap();
        let root = Root::open(&folder).unwrap();
        let nearest = |path| root.nearest(path, &["", "var"]).map(|it| fstat(it).unwrap().st_ino);
        let log = std::fs::metadata(folder.join("var/log")).unwrap().ino();
        assert_eq!(nearest("var/log"), Some(log));
        assert_eq!(nearest("var/log/pods/x"), Some(log));
        assert_eq!(nearest("var/lib/docker"), None);
        assert_eq!(nearest("run/containerd"), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
