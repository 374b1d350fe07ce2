//! The network namespaces of this host, as far as processes are in them.

use rustix::{
    fd::AsFd as _,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::linux::fs::MetadataExt as _,
    thread,
};

/// Each namespace but this thread's own, once, and at most `n_most`.
pub(super) fn others(n_most: usize) -> Vec<File> {
    let inode = |file: &File| file.metadata().ok().map(|stat| stat.st_ino());
    let own = File::open("/proc/thread-self/ns/net").ok();
    let mut known: BTreeSet<u64> = own.as_ref().and_then(inode).into_iter().collect();
    let processes = fs::read_dir("/proc/").into_iter().flatten().flatten();
    let names = processes.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|pid| File::open(format!("/proc/{pid}/ns/net")).ok())
        .filter(|file| inode(file).is_some_and(|inode| known.insert(inode)))
        .take(n_most)
        .collect()
}

/// Does something in a namespace, on a thread that ends with it.
pub(super) fn inside<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let kind = Some(LinkNameSpaceType::Network);
    let inside = || {
        move_into_link_name_space(namespace.as_fd(), kind)?;
        Ok(work())
    };
    let done = thread::scope(|scope| scope.spawn(inside).join());
    done.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}
