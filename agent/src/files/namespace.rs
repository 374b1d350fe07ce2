//! Network namespaces that somebody has given a name: `ip netns` mounts each on a file in one folder.

use super::Root;
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, fstatfs, open, openat2};
use std::{io, path::Path};

/// Where `ip netns add` makes names (ip-netns(8)).
const FOLDER: &str = "/run/netns";
/// The type of the file system that namespaces are files of (`NSFS_MAGIC` in include/uapi/linux/magic.h).
const NSFS_MAGIC: u64 = 0x6e73_6673;
/// Names that an error lists.
const N_LISTED: usize = 12;

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

/// The inode number of the namespace that is mounted there; none if another kind of file is. Nothing is opened for
/// reading, and no link is followed.
fn inode(folder: &Path, name: &str) -> io::Result<Option<u64>> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let folder = open(folder, flags | OFlags::DIRECTORY, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = openat2(folder, name, flags, Mode::empty(), resolve)?;
    let kind = fstatfs(&file)?.f_type;
    let is_namespace = u64::try_from(kind).is_ok_and(|kind| kind == NSFS_MAGIC);
    Ok(is_namespace.then_some(fstat(&file)?.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_those_that_are_there_and_a_plain_file_is_no_namespace() {
        let folder = std::env::temp_dir().join(format!("keepwatch-netns-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("left-over"), b"").unwrap();
        let unknown = in_folder(&folder, "shop").unwrap_err().to_string();
        let empty = in_folder(&folder, "left-over").unwrap_err();
        let outside = in_folder(&folder, "../../proc/self/ns/net");
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(
            unknown.contains("name shop") && unknown.ends_with("there is left-over"),
            "{unknown}"
        );
        assert!(matches!(empty, NoNamespace::Empty(_)), "{empty}");
        assert!(outside.is_err(), "no way leads out of the folder");
    }
}
