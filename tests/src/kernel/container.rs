//! What a container lacks of its host: the host's pid namespace, /proc, most rights.

use super::{netns::require_root, sys};
use rustix::{
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount_bind, mount_change, mount_remount,
        unmount,
    },
    thread::{
        CapabilitySet, capability_is_in_bounding_set, remove_capability_from_bounding_set,
        set_no_new_privs,
    },
};
use std::{path::Path, thread};

/// Runs this in a thread whose children are in a pid namespace of their own.
pub fn with_own_pids<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    require_root();
    in_thread(|| {
        sys::unshare_pids().expect("unshare(CLONE_NEWPID)");
        body()
    })
}

/// Runs this in a thread with a mount namespace of its own. Its argument takes /proc away, from its children too.
pub fn with_own_mounts<T: Send>(body: impl FnOnce(fn()) -> T + Send) -> T {
    require_root();
    in_thread(|| {
        sys::unshare_mounts().expect("unshare(CLONE_NEWNS)");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).expect("keep changes to ourselves");
        body(take_proc_away)
    })
}

/// Runs this in a thread whose children have the rights of a container's first process: these capabilities at most, and a root
/// that is read-only but for one folder.
pub fn with_rights_of_a_container<T: Send>(
    capabilities: CapabilitySet,
    writable: &Path,
    body: impl FnOnce() -> T + Send,
) -> T {
    require_root();
    in_thread(|| {
        sys::unshare_mounts().expect("unshare(CLONE_NEWNS)");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).expect("keep changes to ourselves");
        mount_bind(writable, writable).expect("a mount of its own");
        mount_remount("/", MountFlags::BIND | MountFlags::RDONLY, c"").expect("a read-only root");
        for capability in CapabilitySet::all().difference(capabilities).iter() {
            if capability_is_in_bounding_set(capability).unwrap_or(false) {
                remove_capability_from_bounding_set(capability).expect("a smaller bounding set");
            }
        }
        set_no_new_privs(true).expect("no_new_privs");
        body()
    })
}

fn take_proc_away() {
    unmount("/proc", UnmountFlags::DETACH).expect("unmount our /proc");
}

fn in_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let done = thread::scope(|scope| scope.spawn(body).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
