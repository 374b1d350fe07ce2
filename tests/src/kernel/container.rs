//! What a container lacks of its host: the host's pid namespace, or /proc.

use super::{netns::require_root, sys};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use std::thread;

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

fn take_proc_away() {
    unmount("/proc", UnmountFlags::DETACH).expect("unmount our /proc");
}

fn in_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let done = thread::scope(|scope| scope.spawn(body).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
