//! Cgroups by number: what is left of a process that has ended is the number of the cgroup that it
//! was in, which is the inode number of the cgroup's folder (`cgroup_id` in include/linux/cgroup.h).

use crate::files::Root;
use std::collections::HashMap;

/// Where cgroup v2 is mounted: alone, or beside v1.
const MOUNTS: [&str; 2] = ["sys/fs/cgroup/unified", "sys/fs/cgroup"];
/// Folders that are read at most: some hundredths of a second.
const MAX_FOLDERS: usize = 16_384;
/// Look-ups between two readings of the tree, at least: pauses of the resolver, ten a second at most.
const PAUSES: u8 = 10;

/// The tree of cgroups, as it was when a number was not found in it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    paths: HashMap<u64, Box<[u8]>>,
    pauses_left: u8,
}

impl Tree {
    /// The path of a cgroup, as it would stand in `/proc/PID/cgroup`. None if there is no such cgroup any
    /// more, or the tree was read a moment ago and did not have it.
    pub(super) fn path(&mut self, host: &Root, number: u64) -> Option<Box<[u8]>> {
        if !self.paths.contains_key(&number) && self.pauses_left == 0 {
            self.pauses_left = PAUSES;
            self.paths = read(host);
        }
        self.paths.get(&number).cloned()
    }

    /// Counts a pause: after some of them the tree may be read again.
    pub(super) const fn pause(&mut self) {
        self.pauses_left = self.pauses_left.saturating_sub(1);
    }
}

fn read(host: &Root) -> HashMap<u64, Box<[u8]>> {
    let mut paths = HashMap::new();
    // A file that only the root of v2 has.
    let is_v2 = |mount: &&str| host.read(&format!("{mount}/cgroup.controllers"), 4096).is_some();
    let Some(mount) = MOUNTS.into_iter().find(is_v2) else {
        return paths;
    };
    let mut waiting = vec![String::new()];
    while let Some(path) = waiting.pop() {
        for (name, number) in host.folders(&format!("{mount}{path}"), MAX_FOLDERS) {
            if paths.len() >= MAX_FOLDERS {
                return paths;
            }
            let path = format!("{path}/{name}");
            paths.insert(number, path.as_bytes().into());
            waiting.push(path);
        }
    }
    paths
}
