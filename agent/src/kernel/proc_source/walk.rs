//! A walk over the descriptors of all processes, a part at a time, in memory that grows with the sockets by some bytes each.

use super::{
    Error,
    descriptors::{self, DescriptorReader, HoldingProcess, SocketDescriptor},
    namespaces::Namespaces,
    sampled::{self, Around},
};
use crate::{
    kernel::{clock, decode::Decoder},
    model::{
        observed::{
            event::Event,
            socket::{Owner, Socket},
        },
        table::agent_health::NotSeen,
    },
};
use rustix::{
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    io::Errno,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    vec,
};

/// The sockets that are read at once: some milliseconds, and half a megabyte.
const AT_ONCE: usize = 1024;

/// Processes that have sockets, and which.
type Holdings = VecDeque<(HoldingProcess, Vec<SocketDescriptor>)>;

/// The process whose sockets are read just now.
#[derive(Debug)]
struct LendingProcess {
    process: OwnedFd,
    is: HoldingProcess,
    rest: vec::IntoIter<SocketDescriptor>,
}

/// A walk in progress.
#[derive(Debug)]
pub(crate) struct ProcWalk {
    decoder: Decoder,
    pub(super) namespaces: Namespaces,
    holdings: Holdings,
    holder: Option<LendingProcess>,
    /// Sockets of which there is more than one descriptor, by inode: of each the sample, once it is taken.
    shared: HashMap<u32, Option<Socket>>,
    /// Sockets whose timer has fired since the table was read.
    late: Holdings,
    /// For them it may be read again so often.
    n_again: u8,
    /// Processes that do not show, or lend, their descriptors.
    pub(super) hiding: HashSet<u32>,
    /// Processes that show theirs.
    n_processes: u64,
    n_of_unread_namespaces: u64,
}

impl ProcWalk {
    /// Lists what processes have open.
    pub(super) fn begin(decoder: Decoder) -> Result<Self, Error> {
        let mut walk = Self {
            decoder,
            namespaces: Namespaces::default(),
            holdings: VecDeque::new(),
            holder: None,
            shared: HashMap::new(),
            late: VecDeque::new(),
            n_again: 3,
            hiding: HashSet::new(),
            n_processes: 0,
            n_of_unread_namespaces: 0,
        };
        walk.list()?;
        walk.shared = shared(&walk.holdings);
        for (holder, _) in &walk.holdings {
            if let Some(netns) = holder.netns {
                walk.namespaces.meet_process(holder.pid, netns);
            }
        }
        Ok(walk)
    }

    fn list(&mut self) -> Result<(), Error> {
        let mut reader = DescriptorReader::new();
        let mut found = Vec::new();
        for pid in descriptors::processes().map_err(Error::Processes)? {
            match reader.sockets_of(pid, &mut found) {
                Ok(()) => self.n_processes += 1,
                // It has ended.
                Err(Errno::NOENT | Errno::SRCH) => {}
                Err(_) if descriptors::has_program(pid) => drop(self.hiding.insert(pid)),
                Err(_) => {}
            }
            if !found.is_empty() {
                self.holdings.push_back((HoldingProcess::of(pid), std::mem::take(&mut found)));
            }
        }
        Ok(())
    }

    /// Reads the next sockets and passes them on, each once for each descriptor. False once it has read all.
    pub(crate) fn read(&mut self, mut each: impl FnMut(Event)) -> bool {
        for _ in 0..AT_ONCE {
            let Some(mut holder) = self.holder.take().or_else(|| self.next_holder()) else {
                return false;
            };
            let Some(descriptor) = holder.rest.next() else {
                continue;
            };
            match self.socket(&holder, descriptor) {
                Ok(Some(socket)) => each(Event::Seen(socket)),
                // Not TCP, or closed meanwhile.
                Ok(None) => {}
                Err(_) => {
                    self.hiding.insert(holder.is.pid);
                    continue;
                }
            }
            self.holder = Some(holder);
        }
        true
    }

    /// The next process that lives. After the last those come again whose timers had fired since the table was read.
    fn next_holder(&mut self) -> Option<LendingProcess> {
        loop {
            if self.holdings.is_empty() && !self.late.is_empty() {
                self.n_again -= 1;
                self.holdings = std::mem::take(&mut self.late);
                let inodes =
                    self.holdings.iter().flat_map(|(_, sockets)| sockets.iter().map(|it| it.inode));
                let namespaces =
                    inodes.filter_map(|inode| Some(self.namespaces.listed(inode)?.netns)).collect();
                self.namespaces.read_again(&namespaces);
            }
            let (is, sockets) = self.holdings.pop_front()?;
            let pid = i32::try_from(is.pid).ok().and_then(Pid::from_raw);
            if let Some(process) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) {
                return Some(LendingProcess { process, is, rest: sockets.into_iter() });
            }
        }
    }

    /// A socket of this process; none if it does not speak TCP or is closed by now. An error if the process lends nothing.
    fn socket(
        &mut self,
        holder: &LendingProcess,
        descriptor: SocketDescriptor,
    ) -> Result<Option<Socket>, Errno> {
        if let Some(Some(known)) = self.shared.get(&descriptor.inode) {
            let HoldingProcess { pid, comm, .. } = holder.is;
            let owner = Owner { pid, fd: Some(descriptor.fd), comm };
            return Ok(Some(Socket { owner: Some(owner), ..*known }));
        }
        match self.borrow(holder, descriptor) {
            Err(refused @ (Errno::PERM | Errno::ACCESS)) => Err(refused),
            other => Ok(other.unwrap_or(None)),
        }
    }

    /// Keeps a socket for later, if its timer has fired.
    fn is_late(
        &mut self,
        holder: &LendingProcess,
        descriptor: SocketDescriptor,
        sampled: &Socket,
    ) -> bool {
        let timer = self.namespaces.listed(descriptor.inode).and_then(|listed| listed.timer);
        let has_fired = timer.is_some_and(|timer| timer.left_ms(sampled.at).is_none());
        if !has_fired || self.n_again == 0 {
            return false;
        }
        match self.late.back_mut() {
            Some((last, sockets)) if last.pid == holder.is.pid => sockets.push(descriptor),
            _ => self.late.push_back((holder.is, vec![descriptor])),
        }
        true
    }

    /// Borrows a socket and asks it.
    fn borrow(
        &mut self,
        holder: &LendingProcess,
        descriptor: SocketDescriptor,
    ) -> Result<Option<Socket>, Errno> {
        let fd = i32::try_from(descriptor.fd).map_err(|_| Errno::BADF)?;
        let copy = pidfd_getfd(holder.process.as_fd(), fd, PidfdGetfdFlags::empty())?;
        // Closed meanwhile, and used again for another one.
        if rustix::fs::fstat(&copy)?.st_ino != u64::from(descriptor.inode) {
            return Ok(None);
        }
        self.ask(copy.as_fd(), holder, descriptor).or(Ok(None))
    }

    fn ask(
        &mut self,
        socket: BorrowedFd<'_>,
        holder: &LendingProcess,
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
            holder: holder.is,
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
        self.n_of_unread_namespaces += u64::from(is_unread);
        Ok(sampled)
    }

    /// What it has not seen so far.
    pub(crate) fn not_seen(&self) -> NotSeen {
        NotSeen {
            processes: u64::try_from(self.hiding.len()).unwrap_or(u64::MAX),
            without_descriptor: self.namespaces.n_without_descriptor,
            subflows: self.namespaces.n_further_subflows,
            of_unread_namespaces: self.n_of_unread_namespaces,
        }
    }

    /// The processes whose descriptors it could read.
    pub(crate) const fn n_processes(&self) -> u64 {
        self.n_processes
    }
}

/// Sockets of which there is more than one descriptor, by inode.
fn shared(holdings: &Holdings) -> HashMap<u32, Option<Socket>> {
    let mut inodes: Vec<u32> =
        holdings.iter().flat_map(|(_, sockets)| sockets.iter().map(|it| it.inode)).collect();
    inodes.sort_unstable();
    let twice = inodes.windows(2).filter(|two| matches!(two, [a, b] if a == b));
    twice.filter_map(|two| Some((*two.first()?, None))).collect()
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::{
        kernel::host,
        model::observed::socket::{Direction, State},
    };
    use std::{
        net::{TcpListener, TcpStream},
        os::{fd::AsRawFd, linux::fs::MetadataExt as _},
        time::Duration,
    };

    fn walk_of(fd: &impl AsRawFd, is_shared: bool) -> ProcWalk {
        let inode = inode(fd);
        let mut walk = ProcWalk::begin(Decoder::new(clock::hz())).unwrap();
        walk.namespaces.meet_process(std::process::id(), host::own_netns().unwrap());
        walk.shared = is_shared.then_some((inode, None)).into_iter().collect();
        walk.n_again = 0;
        walk
    }

    fn inode(fd: &impl AsRawFd) -> u32 {
        let link = std::fs::metadata(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        u32::try_from(link.st_ino()).unwrap()
    }

    fn seen(walk: &mut ProcWalk, descriptors: &[SocketDescriptor]) -> Vec<Socket> {
        walk.holdings = [(HoldingProcess::of(std::process::id()), descriptors.to_vec())].into();
        let mut found = Vec::new();
        while walk.read(|event| found.extend(event.socket().copied())) {}
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
}
