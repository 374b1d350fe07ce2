//! Which processes are the command's: by a cgroup of its own, else by descent.
//!
//! A process begins in the cgroup of its parent, and hooks tell the cgroup of who connects: that is
//! exact, also of a process that is gone the next moment or was given away to init. Where no cgroup
//! can be made, the parents of each process that connects are read from /proc while it lives.

use super::Follow;
use crate::model::socket::Owner;
use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Whether a process is the command's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belongs {
    Yes,
    No,
    /// It was gone before that could be read.
    Unknown,
}

/// The processes of a command.
#[derive(Debug)]
pub(super) enum Tree {
    Cgroup(Cgroup),
    Descent(Descent),
}

impl Tree {
    /// Of a command that is not started yet. Why there is no cgroup, where one was hoped for.
    pub(super) fn new(follow: Follow) -> io::Result<(Self, Option<io::Error>)> {
        match follow {
            Follow::Cgroup => Ok((Self::Cgroup(Cgroup::new()?), None)),
            Follow::Descent => Ok((Self::Descent(Descent::new()?), None)),
            Follow::Auto => match Cgroup::new() {
                Ok(cgroup) => Ok((Self::Cgroup(cgroup), None)),
                Err(error) => Ok((Self::Descent(Descent::new()?), Some(error))),
            },
        }
    }

    /// What it goes by.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Cgroup(_) => "cgroup",
            Self::Descent(_) => "descent",
        }
    }

    /// Starts what becomes the root of the tree.
    pub(super) fn plant<T>(&self, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Cgroup(cgroup) => cgroup.within(start),
            Self::Descent(_) => start(),
        }
    }

    /// Whether the process that did something belongs to it.
    pub(super) fn has(&mut self, cgroup: u64, owner: Option<Owner>) -> Belongs {
        match (self, owner) {
            (Self::Cgroup(tree), _) => tree.has(cgroup),
            (Self::Descent(tree), Some(owner)) => tree.has(owner.pid),
            (Self::Descent(_), None) => Belongs::No,
        }
    }
}

const PREFIX: &str = "keepwatch-check-";

/// A cgroup (v2) below our own, removed with this value.
#[derive(Debug)]
pub(super) struct Cgroup {
    own: PathBuf,
    folder: PathBuf,
    /// Ids of it and of those below.
    ours: HashSet<u64>,
    others: HashSet<u64>,
}

impl Cgroup {
    fn new() -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let cgroups = fs::read_to_string("/proc/self/cgroup")?;
        let own = folder_of(&mounts, &cgroups)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "cgroup v2 is not mounted"))?;
        sweep(&own);
        let folder = own.join(format!("{PREFIX}{}", std::process::id()));
        let named = |cause: io::Error| {
            io::Error::new(
                cause.kind(),
                format!("cannot make the cgroup {}: {cause}", folder.display()),
            )
        };
        fs::create_dir(&folder).map_err(named)?;
        // The id that hooks see is the inode number (`cgroup_id` in include/linux/cgroup.h).
        let id = fs::metadata(&folder)?.ino();
        Ok(Self { own, folder, ours: HashSet::from([id]), others: HashSet::new() })
    }

    /// A process is born into its parent's cgroup: we go there, start it, and come back.
    fn within<T>(&self, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        fs::write(self.folder.join("cgroup.procs"), "0")?;
        let started = start();
        fs::write(self.own.join("cgroup.procs"), "0")?;
        started
    }

    fn has(&mut self, id: u64) -> Belongs {
        if !self.ours.contains(&id) && !self.others.contains(&id) {
            // The command may make cgroups of its own.
            let mut below = Vec::new();
            folders(&self.folder, &mut below);
            let ids = below.iter().filter_map(|folder| fs::metadata(folder).ok());
            self.ours.extend(ids.map(|folder| folder.ino()));
            if !self.ours.contains(&id) {
                self.others.insert(id);
            }
        }
        if self.ours.contains(&id) { Belongs::Yes } else { Belongs::No }
    }
}

impl Drop for Cgroup {
    /// What the command left behind lives on where we are.
    fn drop(&mut self) {
        let mut below = Vec::new();
        folders(&self.folder, &mut below);
        for folder in below.iter().rev().chain([&self.folder]) {
            for pid in fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default().lines() {
                fs::write(self.own.join("cgroup.procs"), pid).ok();
            }
            fs::remove_dir(folder).ok();
        }
    }
}

/// All folders below, each before what is in it.
fn folders(of: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(of).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
            folders(&entry.path(), found);
        }
    }
}

/// Removes what a killed check has left: only an empty cgroup can be removed.
fn sweep(own: &Path) {
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            fs::remove_dir(entry.path()).ok();
        }
    }
}

/// The folder of our own cgroup in v2's tree: alone, or beside v1's.
fn folder_of(mounts: &str, cgroups: &str) -> Option<PathBuf> {
    let own = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        if after.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = before.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        let below = if root == "/" { own } else { own.strip_prefix(root)? };
        Some(Path::new(mount).join(below.trim_start_matches('/')))
    })
}

/// Processes whose parents' parents are this one.
#[derive(Debug)]
pub(super) struct Descent {
    root: u32,
    ours: HashSet<u32>,
}

impl Descent {
    fn new() -> io::Result<Self> {
        // Whoever loses its parent becomes ours, not init's.
        let us = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(us))?;
        Ok(Self { root: std::process::id(), ours: HashSet::new() })
    }

    fn has(&mut self, pid: u32) -> Belongs {
        if self.ours.contains(&pid) {
            return Belongs::Yes;
        }
        let mut line = vec![pid];
        let belongs = loop {
            let Some(last) = line.last().copied() else {
                break Belongs::Unknown;
            };
            match parent(last) {
                None => break Belongs::Unknown,
                Some(parent) if parent == self.root || self.ours.contains(&parent) => {
                    break Belongs::Yes;
                }
                Some(0 | 1) => break Belongs::No,
                Some(parent) => line.push(parent),
            }
        };
        if belongs == Belongs::Yes {
            self.ours.extend(line);
        }
        belongs
    }
}

/// From `/proc/PID/stat`, where the name may hold anything.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_cgroup_is_found_in_v2_alone_in_a_hybrid_and_in_a_container() {
        let alone = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
        let found = folder_of(alone, "0::/user.slice/session-3.scope\n");
        assert_eq!(found, Some("/sys/fs/cgroup/user.slice/session-3.scope".into()));
        let hybrid = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = folder_of(hybrid, "1:cpu:/x\n0::/\n");
        assert_eq!(found, Some("/sys/fs/cgroup/unified/".into()));
        let container = "9 8 0:26 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(folder_of(container, "0::/docker/ab/x\n"), Some("/sys/fs/cgroup/x".into()));
        assert_eq!(folder_of(container, "0::/elsewhere\n"), None);
        assert_eq!(folder_of("", "0::/\n"), None);
        assert_eq!(folder_of(alone, "1:cpu:/\n"), None);
    }

    #[test]
    fn a_process_has_a_parent() {
        assert_eq!(parent(std::process::id()), Some(std::os::unix::process::parent_id()));
        assert_eq!(parent(u32::MAX), None);
    }
}
