//! Network namespaces that somebody has given a name: `ip netns` mounts each on a file in one folder.

use super::Root;
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, fstatfs, open, openat2};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

/// Where `ip netns add` makes names (ip-netns(8)).
const FOLDER: &str = "/run/netns";
/// The type of the file system that namespaces are files of (`NSFS_MAGIC` in include/uapi/linux/magic.h).
const NSFS_MAGIC: u64 = 0x6e73_6673;
/// What is mounted, as this process sees it.
const MOUNTS: &str = "/proc/self/mountinfo";
/// Names that an error lists.
const N_LISTED: usize = 12;
/// Names that are looked at.
const N_NAMED: usize = 4096;

/// Why a name leads to no namespace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoNamespace {
    /// Nothing has that name.
    #[error("no network namespace has the name {name} in {FOLDER}{}", listed(.known))]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// Names that are there.
        known: Vec<String>,
    },
    /// `ip netns` leaves an empty file behind if it is stopped half-way.
    #[error("{FOLDER}/{0} is a file on which no namespace is mounted")]
    Empty(String),
    /// The error of a system call.
    #[error("cannot look at {FOLDER}/{name}: {cause}")]
    System {
        /// The name that was asked for.
        name: String,
        /// What the kernel said.
        cause: io::Error,
    },
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; there is {}", known.join(", ")) }
}

/// The inode number of the network namespace with this name.
pub(crate) fn named_netns(name: &str) -> Result<u64, NoNamespace> {
    in_folder(Path::new(FOLDER), name)
}

fn in_folder(folder: &Path, name: &str) -> Result<u64, NoNamespace> {
    let system = |cause: io::Error| NoNamespace::System { name: name.to_owned(), cause };
    match inode(folder, name) {
        Ok(Some(inode)) => Ok(inode),
        Ok(None) => Err(NoNamespace::Empty(name.to_owned())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let known = Root::open(folder).map(|root| root.names(".", N_LISTED));
            let (name, mut known) = (name.to_owned(), known.unwrap_or_default());
            known.sort();
            Err(NoNamespace::Unknown { name, known })
        }
        Err(cause) => Err(system(cause)),
    }
}

/// The inode number of the namespace that is mounted there; none if another kind of file is.
fn inode(folder: &Path, name: &str) -> io::Result<Option<u64>> {
    let file = mounted(folder, name)?;
    Ok(file.map(fstat).transpose()?.map(|stat| stat.st_ino))
}

/// The namespace that is mounted there; none if another kind of file is. Nothing is opened for reading, and no link is followed.
fn mounted(folder: &Path, name: &str) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let folder = open(folder, flags | OFlags::DIRECTORY, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = openat2(folder, name, flags, Mode::empty(), resolve)?;
    let kind = fstatfs(&file)?.f_type;
    let is_namespace = u64::try_from(kind).is_ok_and(|kind| kind == NSFS_MAGIC);
    Ok(is_namespace.then_some(file))
}

/// The network namespaces that have a name, whether or not a process is in them.
pub(crate) fn all_named_netns() -> impl Iterator<Item = File> {
    named_in(Path::new(FOLDER))
}

fn named_in(folder: &Path) -> impl Iterator<Item = File> {
    let names = Root::open(folder).map(|root| root.names(".", N_NAMED)).unwrap_or_default();
    let mounts = if names.is_empty() { Ok(String::new()) } else { fs::read_to_string(MOUNTS) };
    let of_network = network_inodes(&mounts.unwrap_or_default());
    names.into_iter().filter_map(move |name| {
        let namespace = mounted(folder, &name).ok()??;
        let is_of_network = of_network.contains(&fstat(&namespace).ok()?.st_ino);
        is_of_network.then(|| reopened(&namespace).ok())?
    })
}

/// The inode numbers of network namespaces that are mounted: other kinds of namespaces can be, too.
fn network_inodes(mounts: &str) -> BTreeSet<u64> {
    // `net:[4026532384]` is what of nsfs is mounted there (`nsfs_show_path` in fs/nsfs.c; proc_pid_mountinfo(5)).
    let inode =
        |line: &str| line.split(' ').nth(3)?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok();
    mounts.lines().filter_map(inode).collect()
}

/// A namespace, opened so that it can be entered: the very file that was looked at, whatever has its name by now.
fn reopened(namespace: &OwnedFd) -> io::Result<File> {
    let itself = format!("/proc/self/fd/{}", namespace.as_raw_fd());
    Ok(open(itself, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType};
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn an_unknown_name_is_answered_with_those_that_are_there_and_a_plain_file_is_no_namespace() {
        let folder = std::env::temp_dir().join(format!("keepwatch-netns-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("left-over"), b"").unwrap();
        let unknown = in_folder(&folder, "shop").unwrap_err().to_string();
        let empty = in_folder(&folder, "left-over").unwrap_err();
        let outside = in_folder(&folder, "../../proc/self/ns/net");
        // What somebody may have planted is neither waited for nor entered.
        rustix::fs::mknodat(CWD, folder.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        std::os::unix::fs::symlink("/proc/self/ns/net", folder.join("link")).unwrap();
        let n_named = named_in(&folder).count();
        fs::remove_dir_all(&folder).unwrap();
        assert!(
            unknown.contains("name shop") && unknown.ends_with("there is left-over"),
            "{unknown}"
        );
        assert!(matches!(empty, NoNamespace::Empty(_)), "{empty}");
        assert!(outside.is_err(), "no way leads out of the folder");
        assert_eq!(n_named, 0, "none of these is a namespace");
    }

    #[test]
    fn of_what_is_mounted_only_network_namespaces_are_entered_and_each_as_the_file_that_was_looked_at()
     {
        let mounts = "25 30 0:4 / /sys rw - sysfs sysfs rw\n\
                      9 8 0:4 net:[4026532384] /run/netns/shop rw shared:1 - nsfs nsfs rw\n\
                      10 8 0:4 mnt:[4026532001] /run/snapd/ns/x rw - nsfs nsfs rw\n";
        assert_eq!(network_inodes(mounts), BTreeSet::from([4_026_532_384]));
        let path = "/proc/self/ns/net";
        let looked_at = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let inode = fstat(reopened(&looked_at).unwrap()).unwrap().st_ino;
        assert_eq!(inode, fs::metadata(path).unwrap().ino());
    }
}
