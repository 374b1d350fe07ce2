//! The guests' file system: an archive in the kernel's format (`cpio -H newc`, described in the
//! kernel's Documentation/driver-api/early-userspace/buffer-format.rst).

use crate::tool;
use anyhow::{Context as _, Result};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
};

const A_FOLDER: u32 = 0o040_755;
const A_PROGRAM: u32 = 0o100_755;

/// Whose an entry is, what it is, and who may do what with it.
#[derive(Clone, Copy)]
struct EntryKind {
    mode: u32,
    owner: u32,
    group: u32,
}

impl EntryKind {
    const fn ours(mode: u32) -> Self {
        Self { mode, owner: 0, group: 0 }
    }
}

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
                self.entry(folder, EntryKind::ours(A_FOLDER), &[]);
            }
        }
        self.entry(path, EntryKind::ours(A_PROGRAM), content);
    }

    /// Adds a file of this machine.
    pub(crate) fn copy(&mut self, to: &str, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.add(to, &content);
        Ok(())
    }

    /// Adds all that is below a folder, with owners, modes and links, but for devices and sockets.
    pub(crate) fn add_tree(&mut self, root: &Path) -> Result<()> {
        let listed = || format!("list {}", root.display());
        let mut folders = vec![root.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).with_context(listed)? {
                let path = entry.with_context(listed)?.path();
                let about = fs::symlink_metadata(&path).with_context(listed)?;
                let content = if about.is_dir() {
                    folders.push(path.clone());
                    Vec::new()
                } else if about.is_symlink() {
                    let target = fs::read_link(&path).with_context(listed)?;
                    target.as_os_str().as_bytes().to_vec()
                } else if about.is_file() {
                    fs::read(&path).with_context(|| format!("read {}", path.display()))?
                } else {
                    continue;
                };
                let within = path.strip_prefix(root).ok().and_then(Path::to_str);
                let within = within.with_context(|| format!("{} is no text", path.display()))?;
                let kind = EntryKind { mode: about.mode(), owner: about.uid(), group: about.gid() };
                self.entry(within, kind, &content);
            }
        }
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
        self.entry("TRAILER!!!", EntryKind::ours(0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, kind: EntryKind, content: &[u8]) {
        let EntryKind { mode, owner, group } = kind;
        self.n_entries += 1;
        let (n_bytes, n_name) = (content.len(), path.len() + 1);
        let (inode, links) = (self.n_entries, 1);
        // magic ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let header = format!(
            "070701{inode:08x}{mode:08x}{owner:08x}{group:08x}{links:08x}{0:08x}{n_bytes:08x}\
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
    use std::{
        env, fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

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

    #[test]
    fn a_tree_keeps_modes_and_links() {
        let folder = env::temp_dir().join(format!("xtask-initramfs-{}", std::process::id()));
        fs::create_dir_all(folder.join("bin")).expect("a folder");
        fs::write(folder.join("bin/tool"), b"works").expect("a file");
        fs::set_permissions(folder.join("bin/tool"), fs::Permissions::from_mode(0o4750))
            .expect("a mode");
        symlink("bin/tool", folder.join("link")).expect("a link");
        let mut archive = Archive::default();
        let added = archive.add_tree(&folder);
        fs::remove_dir_all(&folder).expect("our folder");
        added.expect("a tree");
        let bytes = archive.finished();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("000089e8"), "a file of mode 4750: {text}");
        assert!(text.contains("bin/tool\0\0works"), "{text}");
        assert!(text.contains("0000a1ff") && text.contains("link\0\0bin/tool"), "{text}");
        let place = |name: &str| text.find(&format!("00000000{name}\0")).expect(name);
        assert!(place("bin") < place("bin/tool"));
    }
}
