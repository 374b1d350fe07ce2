//! The network namespaces of this host, as far as processes are in them or `ip netns` has given them names.

use super::host;
use crate::files;
use rustix::{
    fd::AsFd as _,
    fs::{Mode, OFlags, open},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io, iter,
    os::linux::fs::MetadataExt as _,
    thread,
};

/// A network namespace that a process is in, or that has a name.
#[derive(Debug)]
pub(crate) struct OtherNamespace {
    pub(crate) file: File,
    pub(crate) inode: u32,
    /// One of its processes, as /proc names it.
    process: Option<String>,
}

impl OtherNamespace {
    /// TCP sockets there that listen or are connected, as [`host::n_tcp_sockets`] counts them.
    pub(crate) fn n_tcp_sockets(&self) -> Option<u64> {
        match &self.process {
            Some(process) => host::n_tcp_sockets(process),
            None => inside(&self.file, || host::n_tcp_sockets("thread-self")).ok()?,
        }
    }
}

/// Each namespace but this thread's own, once.
pub(crate) fn others() -> impl Iterator<Item = OtherNamespace> {
    let own = File::open("/proc/thread-self/ns/net").ok();
    let mut known: BTreeSet<u32> = own.as_ref().and_then(inode).into_iter().collect();
    let of_process = |pid: String| {
        let file = File::open(format!("/proc/{pid}/ns/net")).ok()?;
        Some((file, Some(pid)))
    };
    let of_processes = processes().filter_map(of_process);
    of_processes.chain(named().map(|file| (file, None))).filter_map(move |(file, process)| {
        let inode = inode(&file).filter(|inode| known.insert(*inode))?;
        Some(OtherNamespace { file, inode, process })
    })
}

/// Those that have a name; nothing is looked at before the first is asked for.
fn named() -> impl Iterator<Item = File> {
    iter::once_with(files::all_named_netns).flatten()
}

/// The namespace with this inode number, if one of these processes is in it or has it open, another one is in it, or it has a name.
pub(crate) fn with_inode(wanted: u32, holders: &[u32]) -> Option<File> {
    let is_it = |file: &File| inode(file) == Some(wanted);
    let of = |pid: String| File::open(format!("/proc/{pid}/ns/net")).ok().filter(is_it);
    let in_it = holders.iter().find_map(|pid| of(pid.to_string()));
    let has_open = || holders.iter().find_map(|pid| open_in(*pid, wanted).filter(is_it));
    in_it.or_else(has_open).or_else(|| processes().find_map(of)).or_else(|| named().find(is_it))
}

/// A descriptor of a process that is the namespace with this inode number, opened anew.
fn open_in(pid: u32, wanted: u32) -> Option<File> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd/")).ok()?;
    let name = format!("net:[{wanted}]");
    let mut paths = entries.flatten().map(|entry| entry.path());
    let path = paths
        .find(|path| fs::read_link(path).is_ok_and(|link| link.as_os_str() == name.as_str()))?;
    let fd = path.file_name()?.to_str()?;
    // It may be another file by now: a fifo is not waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open(format!("/proc/{pid}/fd/{fd}"), flags, Mode::empty());
    file.ok().map(File::from)
}

/// The ids of all processes.
fn processes() -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/proc/").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A number of 32 bits, whatever stat(2) has room for (`struct ns_common` in include/linux/ns_common.h).
fn inode(file: &File) -> Option<u32> {
    file.metadata().ok().and_then(|stat| u32::try_from(stat.st_ino()).ok())
}

/// Does something in a namespace, on a thread that ends with it.
pub(crate) fn inside<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let kind = Some(LinkNameSpaceType::Network);
    let inside = || {
        move_into_link_name_space(namespace.as_fd(), kind)?;
        Ok(work())
    };
    let done = thread::scope(|scope| scope.spawn(inside).join());
    done.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}
