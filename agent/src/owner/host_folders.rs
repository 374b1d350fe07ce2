//! The folders below the host's root that are read while the agent runs: what a sandbox must leave it.

use super::{kubelet_logs, runtime_state};
use crate::{
    files::Root,
    kernel::sandbox::{Access, Reach},
};
use std::path::Path;

/// Cgroups by number.
const CGROUPS: [&str; 1] = ["sys/fs/cgroup"];
/// With too much of others in them: keys, the secrets of pods, databases.
const TOO_MUCH: [&str; 5] = ["", "sys", "var", "var/lib", "var/snap"];

/// Adds them. A runtime that has not started yet has no folder: the one above it stands for it, if that is not too much.
/// Where it is, the runtime's containers are shown by their ids until the agent is restarted.
pub(crate) fn reach(host: &Path, reach: &mut Reach) {
    let Ok(root) = Root::open(host) else {
        return;
    };
    let read = CGROUPS.iter().chain(&runtime_state::CONTAINERD);
    let read = read.chain(&runtime_state::STORAGE).chain(&runtime_state::DOCKER);
    let read = read.map(|path| (path, Access::Read));
    let listed = kubelet_logs::FOLDERS.iter().map(|path| (path, Access::List));
    for (path, access) in read.chain(listed) {
        if let Some(place) = root.nearest(path, &TOO_MUCH) {
            reach.add_open(place, access);
        }
    }
}
