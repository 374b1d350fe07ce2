//! The guests' file system: an archive in the kernel's format (`cpio -H newc`, described in the
//! kernel's Documentation/driver-api/early-userspace/buffer-format.rst).

use crate::tool;
use anyhow::{Context as _, Result};
use std::{collections::BTreeSet, fs, path::Path};

const A_FOLDER: u32 = 0o040_755;
const A_PROGRAM: u32 = 0o100_755;

/// An archive that grows. A kernel unpacks several, one after the other, over each other.
#[derive(Clone, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    n_entries: u32,
    folders: BTreeSet<String>,
}

impl Archive {
    /// Adds a file, with the folders that lead to it.
    pub(crate) fn add(&mut self, path: &str, content: &[u8]) {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            let folder = path.get(..end).unwrap_or_default();
            if self.folders.insert(folder.into()) {
                self.entry(folder, A_FOLDER, &[]);
            }
        }
        self.entry(path, A_PROGRAM, content);
    }

    /// Adds a file of this machine.
    pub(crate) fn copy(&mut self, to: &str, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.add(to, &content);
        Ok(())
    }

    /// Adds a tool with its shared libraries, where a system has them.
    pub(crate) fn add_program(&mut self, name: &str) -> Result<()> {
        for (file, place) in tool::with_libraries(name)? {
            self.copy(&place, &file)?;
        }
        Ok(())
    }

    /// The archive with its trailer.
    pub(crate) fn finished(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.n_entries += 1;
        let (n_bytes, n_name) = (content.len(), path.len() + 1);
        let (inode, links) = (self.n_entries, 1);
        // magic ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let header = format!(
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{n_bytes:08x}\
             {0:08x}{0:08x}{0:08x}{0:08x}{n_name:08x}{0:08x}",
            0
        );
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn an_archive_has_folders_before_their_files_and_ends_with_the_trailer() {
        let mut archive = Archive::default();
        archive.add("/a/b/c", b"hello");
        archive.add("/a/b/d", b"");
        let bytes = archive.finished();
        let text = String::from_utf8_lossy(&bytes);
        let names: Vec<_> = ["a\0", "a/b\0", "a/b/c\0", "a/b/d\0", "TRAILER!!!\0"]
            .iter()
            .map(|name| text.find(&format!("00000000{name}")).expect(name))
            .collect();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(text.matches("070701").count(), 5);
        assert_eq!(bytes.len() % 4, 0);
    }
}
