//! The sockets that processes have open, by their descriptors in /proc.

use crate::model::observed::socket::Comm;
use rustix::{
    fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw},
    io::Errno,
};
use std::{
    fs,
    io::{self, Read as _},
    mem::MaybeUninit,
    os::linux::fs::MetadataExt as _,
};

/// A process that has a socket open.
#[derive(Clone, Copy, Debug)]
pub(super) struct HoldingProcess {
    /// Its id in the pid namespace of this /proc.
    pub(super) pid: u32,
    /// Inode of its network namespace, if that is shown to us.
    pub(super) netns: Option<u32>,
    /// The name of its main thread.
    pub(super) comm: Comm,
}

/// A descriptor of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketDescriptor {
    /// The descriptor.
    pub(super) fd: u32,
    /// The socket's inode.
    pub(super) inode: u32,
}

/// The processes there are, in the order of their ids: a process that accepts is mostly older than its workers.
pub(super) fn processes() -> io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc/")?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let mut pids: Vec<u32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    Ok(pids)
}

/// Whether it is a process that has a program: threads of the kernel have none, and no descriptors.
pub(super) fn has_program(pid: u32) -> bool {
    let mut first = [0];
    let file = fs::File::open(format!("/proc/{pid}/cmdline"));
    file.and_then(|mut file| file.read(&mut first)).is_ok_and(|n| n > 0)
}

impl HoldingProcess {
    /// What /proc says of a process.
    pub(super) fn of(pid: u32) -> Self {
        let netns = fs::metadata(format!("/proc/{pid}/ns/net")).ok();
        let mut comm = [0; 16];
        let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        let name = name.strip_suffix(b"\n").unwrap_or(&name);
        comm.iter_mut().zip(name.iter().take(15)).for_each(|(to, from)| *to = *from);
        Self {
            pid,
            netns: netns.and_then(|stat| u32::try_from(stat.st_ino()).ok()),
            comm: Comm::new(comm),
        }
    }
}

/// Reads the folders of descriptors, with room that is used again.
#[derive(Debug)]
pub(super) struct DescriptorReader {
    entries: Vec<MaybeUninit<u8>>,
    link: [MaybeUninit<u8>; 64],
}

impl DescriptorReader {
    pub(super) fn new() -> Self {
        Self { entries: vec![MaybeUninit::uninit(); 32 << 10], link: [MaybeUninit::uninit(); 64] }
    }

    /// The sockets of a process. An error if its folder, or what is in it, is not shown to us.
    pub(super) fn sockets_of(
        &mut self,
        pid: u32,
        found: &mut Vec<SocketDescriptor>,
    ) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, format!("/proc/{pid}/fd"), flags, Mode::empty())?;
        let mut entries = RawDir::new(&folder, &mut self.entries);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            let Some(fd) = name.to_str().ok().and_then(|name| name.parse().ok()) else {
                continue; // `.` and `..`
            };
            // Not stat: it would ask the file system behind a file, which may not answer.
            match readlinkat_raw(&folder, name, &mut self.link[..]) {
                Ok((link, _)) => {
                    found.extend(socket_inode(link).map(|inode| SocketDescriptor { fd, inode }));
                }
                // Closed meanwhile.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// `socket:[12345]`.
fn socket_inode(link: &[u8]) -> Option<u32> {
    let digits = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, os::fd::AsRawFd as _};

    #[test]
    fn only_a_socket_has_the_inode_of_one() {
        assert_eq!(socket_inode(b"socket:[4026]"), Some(4026));
        for other in [&b"pipe:[4026]"[..], b"socket:[x]", b"/tmp/socket:[1]", b"socket:[1", b""] {
            assert_eq!(socket_inode(other), None);
        }
    }

    #[test]
    fn the_sockets_of_this_process_are_found_and_a_file_is_left_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let file = fs::File::open("/dev/null").unwrap();
        let mut found = Vec::new();
        DescriptorReader::new().sockets_of(std::process::id(), &mut found).unwrap();
        let has = |fd: i32| found.iter().any(|it| it.fd == fd.cast_unsigned());
        assert!(has(listener.as_raw_fd()) && !has(file.as_raw_fd()));
        let gone = DescriptorReader::new().sockets_of(u32::MAX, &mut found);
        assert_eq!(gone, Err(Errno::NOENT));
    }

    #[test]
    fn a_process_has_its_name_and_a_thread_of_the_kernel_no_program() {
        let own = HoldingProcess::of(std::process::id());
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(own.comm.as_bytes(), name.trim_end().as_bytes());
        assert!(own.netns.is_some() && has_program(std::process::id()));
        // [kthreadd], where the host's processes are in sight.
        assert!(
            fs::read_to_string("/proc/2/comm").is_ok_and(|name| name != "kthreadd\n")
                || !has_program(2)
        );
    }
}
