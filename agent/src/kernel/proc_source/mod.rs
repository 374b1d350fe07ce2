//! Every TCP socket that a process has open, without eBPF and BTF: by its descriptor in /proc, borrowed (`pidfd_getfd`, Linux
//! 5.6) and asked. For hosts where bpf(2) is refused: Fargate, Autopilot, lockdown.
//!
//! 1. [`descriptors`]: /proc/PID/fd gives the sockets of each process.
//! 2. [`namespaces`]: their network namespaces, with sysctls and the tables of [`connection_table`].
//! 3. [`asked_socket`] and [`sampled`]: what each socket answers becomes a record like those of the hooks.
//!
//! What has no descriptor is counted, not shown: its settings cannot be asked.

mod asked_socket;
mod connection_table;
mod descriptors;
mod namespaces;
mod sampled;

use super::{clock, decode::Decoder, host};
use crate::model::{
    observed::{
        event::Event,
        socket::{Owner, Socket},
    },
    text::count::counted,
};
use descriptors::{DescriptorReader, HoldingProcess, SocketDescriptor};
use namespaces::Namespaces;
use rustix::{
    fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    io::Errno,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open},
};
use sampled::Around;
use std::{collections::HashMap, fs::File, io};

/// Why sockets cannot be read so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no /proc, or it is not readable.
    #[error("list the processes in /proc: {0}; mount it: mount -t proc proc /proc")]
    Processes(#[source] io::Error),
    /// The kernel has no `pidfd_getfd`.
    #[error("read sockets from /proc: this kernel has no pidfd_getfd (Linux 5.6)")]
    NotSupported,
    /// Not even a descriptor of this process is given.
    #[error(
        "read sockets from /proc: pidfd_getfd is refused even for this process ({0}): a seccomp profile forbids it; \
         give the container SYS_PTRACE (Docker and containerd allow it then), or another profile"
    )]
    Refused(#[source] Errno),
}

/// What a walk did not see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NotSeen {
    /// Processes whose descriptors are not shown, or not lent, to us.
    pub(crate) processes: u64,
    /// Connections that no process has open.
    pub(crate) without_descriptor: u64,
    /// Further parts of MPTCP connections.
    pub(crate) subflows: u64,
    /// Sockets in namespaces whose sysctls cannot be read.
    pub(crate) of_unread_namespaces: u64,
}

/// Reads sockets from /proc.
#[derive(Debug)]
pub(crate) struct ProcSource {
    decoder: Decoder,
}

impl ProcSource {
    /// Tries whether descriptors can be borrowed at all.
    pub(crate) fn open() -> Result<Self, Error> {
        let file = File::open("/proc/self/stat").map_err(Error::Processes)?;
        let copied = pidfd_open(getpid(), PidfdFlags::empty())
            .and_then(|process| pidfd_getfd(process, file.as_raw_fd(), PidfdGetfdFlags::empty()));
        match copied {
            Ok(_) => Ok(Self { decoder: Decoder::new(clock::hz()) }),
            Err(Errno::NOSYS) => Err(Error::NotSupported),
            Err(errno) => Err(Error::Refused(errno)),
        }
    }

    /// Passes on every socket that a process has open, once for each descriptor.
    pub(crate) fn walk(&self, mut each: impl FnMut(Event)) -> Result<NotSeen, Error> {
        let mut unseen = NotSeen::default();
        let holdings = holdings(&mut unseen)?;
        let mut walk = ProcWalk {
            decoder: self.decoder,
            namespaces: Namespaces::default(),
            shared: shared(&holdings),
            late: Vec::new(),
            n_again: 3,
            unseen,
        };
        for (holder, _) in &holdings {
            if let Some(netns) = holder.netns {
                walk.namespaces.meet_process(holder.pid, netns);
            }
        }
        for (holder, sockets) in &holdings {
            walk.process(holder, sockets, &mut each);
        }
        walk.late(&mut each);
        walk.unseen.without_descriptor = walk.namespaces.n_without_descriptor;
        walk.unseen.subflows = walk.namespaces.n_further_subflows;
        Ok(walk.unseen)
    }
}

/// The processes that have sockets, and which.
type Holdings = Vec<(HoldingProcess, Vec<SocketDescriptor>)>;

fn holdings(unseen: &mut NotSeen) -> Result<Holdings, Error> {
    let mut reader = DescriptorReader::new();
    let mut holdings = Vec::new();
    let own_pid = std::process::id();
    let mut found = Vec::new();
    for pid in descriptors::processes().map_err(Error::Processes)? {
        if pid == own_pid {
            continue;
        }
        match reader.sockets_of(pid, &mut found) {
            // It has ended.
            Err(Errno::NOENT | Errno::SRCH) => {}
            Err(_) if descriptors::has_program(pid) => unseen.processes += 1,
            Err(_) | Ok(()) => {}
        }
        if !found.is_empty() {
            holdings.push((HoldingProcess::of(pid), std::mem::take(&mut found)));
        }
    }
    Ok(holdings)
}

/// Sockets of which there is more than one descriptor, by inode: of each the sample, once it is taken.
fn shared(holdings: &Holdings) -> HashMap<u32, Option<Socket>> {
    let mut inodes: Vec<u32> =
        holdings.iter().flat_map(|(_, sockets)| sockets.iter().map(|it| it.inode)).collect();
    inodes.sort_unstable();
    let twice = inodes.windows(2).filter(|two| matches!(two, [a, b] if a == b));
    twice.filter_map(|two| Some((*two.first()?, None))).collect()
}

/// A walk in progress.
struct ProcWalk {
    decoder: Decoder,
    namespaces: Namespaces,
    shared: HashMap<u32, Option<Socket>>,
    /// Sockets whose timer has fired since the table was read.
    late: Holdings,
    /// For them it may be read again so often.
    n_again: u8,
    unseen: NotSeen,
}

impl ProcWalk {
    /// Asks again those whose timer had fired since the table was read.
    fn late(&mut self, each: &mut impl FnMut(Event)) {
        while !self.late.is_empty() {
            self.n_again -= 1;
            let late = std::mem::take(&mut self.late);
            let inodes = late.iter().flat_map(|(_, sockets)| sockets.iter().map(|it| it.inode));
            let namespaces =
                inodes.filter_map(|inode| Some(self.namespaces.listed(inode)?.netns)).collect();
            self.namespaces.read_again(&namespaces);
            for (holder, sockets) in &late {
                self.process(holder, sockets, each);
            }
        }
    }

    /// Keeps a socket for later, if its timer has fired.
    fn is_late(
        &mut self,
        holder: &HoldingProcess,
        descriptor: SocketDescriptor,
        sampled: &Socket,
    ) -> bool {
        let timer = self.namespaces.listed(descriptor.inode).and_then(|listed| listed.timer);
        let has_fired = timer.is_some_and(|timer| timer.left_ms(sampled.at).is_none());
        if !has_fired || self.n_again == 0 {
            return false;
        }
        let late = &mut self.late;
        match late.last_mut() {
            Some((last, sockets)) if last.pid == holder.pid => sockets.push(descriptor),
            _ => late.push((*holder, vec![descriptor])),
        }
        true
    }

    fn process(
        &mut self,
        holder: &HoldingProcess,
        sockets: &[SocketDescriptor],
        each: &mut impl FnMut(Event),
    ) {
        let pid = i32::try_from(holder.pid).ok().and_then(Pid::from_raw);
        let Some(process) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
            return; // It has ended.
        };
        for descriptor in sockets {
            let socket = match self.shared.get(&descriptor.inode) {
                Some(Some(known)) => {
                    let fd = Some(descriptor.fd);
                    let owner = Owner { pid: holder.pid, fd, comm: holder.comm };
                    Some(Socket { owner: Some(owner), ..*known })
                }
                _ => match self.borrow(&process, holder, *descriptor) {
                    Ok(socket) => socket,
                    Err(Errno::PERM | Errno::ACCESS) => {
                        self.unseen.processes += 1;
                        return;
                    }
                    // Closed meanwhile.
                    Err(_) => None,
                },
            };
            if let Some(socket) = socket {
                each(Event::Seen(socket));
            }
        }
    }

    /// Borrows a socket and asks it. None if it does not speak TCP.
    fn borrow(
        &mut self,
        process: &OwnedFd,
        holder: &HoldingProcess,
        descriptor: SocketDescriptor,
    ) -> Result<Option<Socket>, Errno> {
        let fd = i32::try_from(descriptor.fd).map_err(|_| Errno::BADF)?;
        let copy = pidfd_getfd(process.as_fd(), fd, PidfdGetfdFlags::empty())?;
        // Closed meanwhile, and used again for another one.
        if rustix::fs::fstat(&copy)?.st_ino != u64::from(descriptor.inode) {
            return Ok(None);
        }
        self.ask(copy.as_fd(), holder, descriptor).or(Ok(None))
    }

    fn ask(
        &mut self,
        socket: BorrowedFd<'_>,
        holder: &HoldingProcess,
        descriptor: SocketDescriptor,
    ) -> Result<Option<Socket>, Errno> {
        let is_listed = self.namespaces.listed(descriptor.inode).is_some();
        let Some(is_mptcp) = sampled::is_mptcp(socket, is_listed)? else {
            return Ok(None);
        };
        let netns = self.namespaces.of_socket(socket, descriptor.inode);
        let around = Around {
            namespaces: &self.namespaces,
            netns,
            holder: *holder,
            descriptor,
            is_mptcp,
            is_shared: self.shared.contains_key(&descriptor.inode),
        };
        let sampled = sampled::sample(socket, self.decoder, &around, clock::now())?;
        if let Some(sampled) = &sampled
            && self.is_late(holder, descriptor, sampled)
        {
            return Ok(None);
        }
        if let Some(entry) = self.shared.get_mut(&descriptor.inode) {
            *entry = sampled;
        }
        let is_unread = sampled.is_some_and(|socket| !socket.ambient.is_known);
        self.unseen.of_unread_namespaces += u64::from(is_unread);
        Ok(sampled)
    }
}

impl NotSeen {
    /// What was not seen, each in words.
    pub(crate) fn words(&self) -> Vec<String> {
        let Self { processes, without_descriptor, subflows, of_unread_namespaces } = *self;
        let needs = match host::missing_for_descriptors().as_slice() {
            [] => String::new(),
            missing => format!(" (needs {})", missing.join(" and ")),
        };
        let of_processes = match processes {
            1 => "the sockets of 1 process".to_owned(),
            n => format!("the sockets of {n} processes"),
        };
        let open = counted(without_descriptor, "connection");
        let origins = counted(of_unread_namespaces, "socket");
        [
            (processes, format!("{of_processes}{needs}")),
            (
                without_descriptor,
                format!("{open} that no process has open (waiting to be accepted, or closing)"),
            ),
            (subflows, format!("{} of MPTCP", counted(subflows, "further subflow"))),
            (
                of_unread_namespaces,
                format!("where settings come from, of {origins} in other network namespaces (needs CAP_SYS_ADMIN)"),
            ),
        ]
        .into_iter()
        .filter_map(|(n, words)| (n > 0).then_some(words))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::socket::{Direction, State};
    use std::{
        net::{TcpListener, TcpStream},
        os::{fd::AsRawFd, linux::fs::MetadataExt as _},
        time::Duration,
    };

    fn walk_of(fd: &impl AsRawFd, is_shared: bool) -> ProcWalk {
        let inode = inode(fd);
        let mut namespaces = Namespaces::default();
        namespaces.meet_process(std::process::id(), host::own_netns().unwrap());
        ProcWalk {
            decoder: Decoder::new(clock::hz()),
            namespaces,
            shared: is_shared.then_some((inode, None)).into_iter().collect(),
            late: Vec::new(),
            n_again: 0,
            unseen: NotSeen::default(),
        }
    }

    fn inode(fd: &impl AsRawFd) -> u32 {
        let link = std::fs::metadata(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        u32::try_from(link.st_ino()).unwrap()
    }

    fn seen(walk: &mut ProcWalk, descriptors: &[SocketDescriptor]) -> Vec<Socket> {
        let mut found = Vec::new();
        walk.process(&HoldingProcess::of(std::process::id()), descriptors, &mut |event| {
            found.extend(event.socket().copied());
        });
        found
    }

    fn descriptor(fd: &impl AsRawFd) -> SocketDescriptor {
        SocketDescriptor { fd: fd.as_raw_fd().cast_unsigned(), inode: inode(fd) }
    }

    #[test]
    fn a_socket_is_sampled_with_its_settings_and_a_datagram_socket_is_left_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        drop(listener);
        rustix::net::sockopt::set_socket_keepalive(&stream, true).unwrap();
        rustix::net::sockopt::set_tcp_keepidle(&stream, Duration::from_secs(77)).unwrap();
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut walk = walk_of(&stream, false);
        let all = [descriptor(&stream), descriptor(&accepted), descriptor(&datagrams)];
        let [out, into] = seen(&mut walk, &all).try_into().unwrap();
        assert_eq!(out.id.0, rustix::net::sockopt::socket_cookie(&stream).unwrap());
        assert!(out.keepalive && !into.keepalive);
        assert_eq!((out.own.idle_seconds, out.own.interval_seconds), (77, 0));
        assert_eq!(out.remote.socket_addr(), accepted.local_addr().unwrap());
        assert_eq!(out.state, State::Established);
        // The listener is gone: the count of bytes tells.
        assert_eq!((out.direction, into.direction), (Direction::Outbound, Direction::Inbound));
        let ms = out.timer_ms.unwrap();
        assert!((60_000..=77_000 * 9 / 8).contains(&ms), "{ms} ms until the first probe");
        assert_eq!(into.timer_ms, None);
    }

    #[test]
    fn a_second_descriptor_is_another_owner_of_the_same_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let again = listener.try_clone().unwrap();
        let mut walk = walk_of(&listener, true);
        let found = seen(&mut walk, &[descriptor(&listener), descriptor(&again)]);
        let fds: Vec<_> = found.iter().filter_map(|socket| socket.owner?.fd).collect();
        assert_eq!(fds, [descriptor(&listener).fd, descriptor(&again).fd]);
        assert!(found.iter().all(|socket| socket.shared && socket.id == found[0].id));
    }

    #[test]
    fn a_descriptor_that_has_become_another_socket_is_passed_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let stale = SocketDescriptor { inode: inode(&other), ..descriptor(&listener) };
        let mut walk = walk_of(&listener, false);
        assert_eq!(seen(&mut walk, &[stale]), []);
        assert_eq!(seen(&mut walk, &[descriptor(&listener)]).len(), 1);
    }

    #[test]
    fn what_was_not_seen_is_said_in_numbers_and_nothing_is_said_of_nothing() {
        assert_eq!(NotSeen::default().words(), [""; 0]);
        let unseen = NotSeen { without_descriptor: 2, subflows: 1, ..NotSeen::default() };
        let words = unseen.words();
        assert!(words[0].starts_with("2 connections that no process has open"), "{words:?}");
        assert_eq!(words[1], "1 further subflow of MPTCP");
    }
}
