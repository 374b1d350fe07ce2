//! A socket of another program, borrowed: a copy of its descriptor (`pidfd_getfd`, Linux 5.6), of which it is checked
//! that it is the socket that was meant.
//!
//! It takes CAP_SYS_PTRACE for programs of others (`__pidfd_fget` in kernel/pid.c asks `ptrace_may_access` with
//! PTRACE_MODE_ATTACH_REALCREDS), and no other capability. A copy keeps the connection open when its program closes it,
//! so it is held for microseconds.

use crate::model::{observed::socket::SocketId, text::closed_set::closed_set};
use rustix::{
    fd::{AsFd as _, OwnedFd, RawFd},
    io::Errno,
    net::{getpeername, getsockname, sockopt},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, hash_map::Entry},
    fs,
    net::SocketAddr,
    sync::OnceLock,
    time::Duration,
};

/// `IPPROTO_MPTCP` (include/uapi/linux/in.h): what its program has open is no TCP socket, and has a cookie of its own.
pub(super) const MPTCP: u32 = 262;

closed_set! {
    /// Why a socket was not borrowed.
    pub(crate) enum Refusal {
        /// The process, or its descriptor, is gone.
        Gone = "gone",
        /// The descriptor is another socket now, or another file.
        OtherSocket = "other_socket",
        /// No process has a descriptor of it.
        NoDescriptor = "no_descriptor",
        /// The kernel does not let this process have it.
        NotPermitted = "not_permitted",
        /// The kernel has no `pidfd_getfd`: it is older than 5.6.
        NotSupported = "not_supported",
        /// The kernel refused an option, or something else went wrong.
        Failed = "failed",
    }
}

impl Refusal {
    const fn of(errno: Errno) -> Self {
        match errno {
            Errno::SRCH => Self::Gone,
            // Not open, or no socket any more.
            Errno::BADF | Errno::NOTSOCK | Errno::NOTCONN | Errno::OPNOTSUPP => Self::OtherSocket,
            Errno::PERM | Errno::ACCESS => Self::NotPermitted,
            Errno::NOSYS => Self::NotSupported,
            _ => Self::Failed,
        }
    }
}

/// The socket that is meant: what it must be, whatever its descriptor is by then.
#[derive(Clone, Debug)]
pub(crate) struct WantedSocket {
    /// The cookie.
    pub(crate) id: SocketId,
    /// Our end.
    pub(crate) local: SocketAddr,
    /// The peer's.
    pub(crate) remote: SocketAddr,
    /// Whether it is a subflow of MPTCP: what its program has open has another cookie.
    pub(crate) is_mptcp: bool,
}

/// The keepalive options of a socket, as getsockopt answers: effective values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SocketOptions {
    /// Whether SO_KEEPALIVE is on.
    pub(crate) keepalive: bool,
    /// TCP_KEEPIDLE: silence before the first probe.
    pub(crate) idle_seconds: u32,
    /// TCP_KEEPINTVL: time between two probes.
    pub(crate) interval_seconds: u32,
    /// TCP_KEEPCNT: unanswered probes that end it.
    pub(crate) count: u32,
}

/// Processes whose sockets are borrowed. Each is opened once: a number that another process gets meanwhile leads to nobody.
#[derive(Debug, Default)]
pub(crate) struct OpenProcesses(HashMap<u32, OwnedFd>);

impl OpenProcesses {
    /// As many are open at a time: a service may have no more than 1024 descriptors.
    const MOST: usize = 64;

    /// Copies a descriptor of a process, if it is the socket that is meant.
    pub(crate) fn borrow(
        &mut self,
        pid: u32,
        fd: u32,
        wanted: &WantedSocket,
    ) -> Result<BorrowedSocket, Refusal> {
        let fd = RawFd::try_from(fd).map_err(|_| Refusal::NoDescriptor)?;
        let copy = pidfd_getfd(self.open(pid)?.as_fd(), fd, PidfdGetfdFlags::empty());
        let socket = BorrowedSocket(copy.map_err(Refusal::of)?);
        if socket.is(wanted).map_err(Refusal::of)? { Ok(socket) } else { Err(Refusal::OtherSocket) }
    }

    fn open(&mut self, pid: u32) -> Result<&OwnedFd, Refusal> {
        if self.0.len() >= Self::MOST && !self.0.contains_key(&pid) {
            self.0.clear();
        }
        match self.0.entry(pid) {
            Entry::Occupied(it) => Ok(it.into_mut()),
            Entry::Vacant(it) => {
                let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Refusal::Gone)?;
                Ok(it.insert(pidfd_open(pid, PidfdFlags::empty()).map_err(Refusal::of)?))
            }
        }
    }
}

/// A copy of another program's descriptor.
#[derive(Debug)]
pub(crate) struct BorrowedSocket(OwnedFd);

impl BorrowedSocket {
    /// Its addresses count, too: a program may connect the same socket to another peer (`tcp_disconnect` in net/ipv4/tcp.c
    /// leaves the cookie).
    fn is(&self, wanted: &WantedSocket) -> Result<bool, Errno> {
        let has_id = if wanted.is_mptcp || !hooks_know_cookies() {
            let protocol = sockopt::socket_protocol(&self.0)?;
            protocol.is_some_and(|it| it.as_raw().get() == MPTCP) == wanted.is_mptcp
        } else {
            // No two sockets of any kind have one cookie (`__sock_gen_cookie` in net/core/sock_diag.c).
            sockopt::socket_cookie(&self.0)? == wanted.id.0
        };
        Ok(has_id
            && getpeername(&self.0)?.and_then(address) == Some(wanted.remote)
            && address(getsockname(&self.0)?) == Some(wanted.local))
    }

    /// Its options now.
    pub(crate) fn options(&self) -> Result<SocketOptions, Refusal> {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let read = || {
            Ok(SocketOptions {
                keepalive: sockopt::socket_keepalive(&self.0)?,
                idle_seconds: seconds(sockopt::tcp_keepidle(&self.0)?),
                interval_seconds: seconds(sockopt::tcp_keepintvl(&self.0)?),
                count: sockopt::tcp_keepcnt(&self.0)?,
            })
        };
        read().map_err(Refusal::of)
    }

    /// TCP_USER_TIMEOUT, milliseconds; 0 is unset. MPTCP does not say (`mptcp_getsockopt_sol_tcp`).
    pub(crate) fn user_timeout_ms(&self) -> Option<u32> {
        sockopt::tcp_user_timeout(&self.0).ok()
    }

    /// Sets what differs: first the times, then whether it is on, so that no probe goes out by half of them. Whoever is killed
    /// in between leaves a socket that is as it was, or has times that nothing uses.
    pub(crate) fn set(&self, now: SocketOptions, new: SocketOptions) -> Result<(), Refusal> {
        let set = || {
            if now.keepalive && !new.keepalive {
                sockopt::set_socket_keepalive(&self.0, false)?;
            }
            // The idle time always: that arms the timer anew (`tcp_sock_set_keepidle_locked`), which may run by an older one.
            let idle = Duration::from_secs(new.idle_seconds.into());
            sockopt::set_tcp_keepidle(&self.0, idle)?;
            if now.interval_seconds != new.interval_seconds {
                let interval = Duration::from_secs(new.interval_seconds.into());
                sockopt::set_tcp_keepintvl(&self.0, interval)?;
            }
            if now.count != new.count {
                sockopt::set_tcp_keepcnt(&self.0, new.count)?;
            }
            if new.keepalive && !now.keepalive {
                sockopt::set_socket_keepalive(&self.0, true)?;
            }
            Ok(())
        };
        set().map_err(Refusal::of)
    }
}

/// An address as rows have it: an IPv4-mapped one is IPv4, and there is no scope.
fn address(any: rustix::net::SocketAddrAny) -> Option<SocketAddr> {
    let addr = SocketAddr::try_from(any).ok()?;
    Some(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
}

/// Whether ids of rows are cookies: before 5.12 the kernel gives hooks none, and an id is made of the socket's place in
/// memory (`has_cookies` of the layout).
pub(crate) fn hooks_know_cookies() -> bool {
    *HOOKS_KNOW_COOKIES.get_or_init(|| {
        const NAME: &[u8] = b"bpf_get_socket_ptr_cookie\0";
        // Where BTF cannot be read, the stricter check.
        let btf = fs::read("/sys/kernel/btf/vmlinux");
        btf.map_or(true, |btf| btf.windows(NAME.len()).any(|part| part == NAME))
    })
}

/// Whoever has read the kernel's BTF says it: to read and search its megabytes again takes as much CPU as to fix a thousand connections.
pub(super) fn note_hooks_know_cookies(is_known: bool) {
    // One kernel runs.
    HOOKS_KNOW_COOKIES.set(is_known).ok();
}

static HOOKS_KNOW_COOKIES: OnceLock<bool> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        net::{TcpListener, TcpStream},
        os::fd::AsRawFd,
    };

    fn connection(listener: &TcpListener) -> (TcpStream, WantedSocket) {
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let wanted = WantedSocket {
            id: SocketId(sockopt::socket_cookie(&socket).unwrap()),
            local: socket.local_addr().unwrap(),
            remote: socket.peer_addr().unwrap(),
            is_mptcp: false,
        };
        (socket, wanted)
    }

    fn borrow(of: &impl AsRawFd, wanted: &WantedSocket) -> Result<BorrowedSocket, Refusal> {
        let fd = u32::try_from(of.as_raw_fd()).unwrap();
        OpenProcesses::default().borrow(std::process::id(), fd, wanted)
    }

    #[test]
    fn a_socket_is_borrowed_only_if_it_is_the_one_that_is_meant() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ((one, wanted), (other, _)) = (connection(&listener), connection(&listener));
        assert!(borrow(&one, &wanted).is_ok());
        assert_eq!(borrow(&other, &wanted).err(), Some(Refusal::OtherSocket));
        assert_eq!(borrow(&listener, &wanted).err(), Some(Refusal::OtherSocket));
        let file = File::open("/dev/null").unwrap();
        assert_eq!(borrow(&file, &wanted).err(), Some(Refusal::OtherSocket));
        let none = OpenProcesses::default().borrow(std::process::id(), 1_000_000, &wanted);
        assert_eq!(none.err(), Some(Refusal::OtherSocket));
        // No process has this number: pid_max is at most 2^22.
        let gone = OpenProcesses::default().borrow(i32::MAX.unsigned_abs(), 0, &wanted);
        assert_eq!(gone.err(), Some(Refusal::Gone));
        let mptcp = WantedSocket { is_mptcp: true, ..wanted.clone() };
        assert_eq!(borrow(&one, &mptcp).err(), Some(Refusal::OtherSocket));
        let elsewhere = WantedSocket { remote: wanted.local, ..wanted };
        assert_eq!(borrow(&one, &elsewhere).err(), Some(Refusal::OtherSocket));
    }

    #[test]
    fn what_is_set_is_what_the_program_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (socket, wanted) = connection(&listener);
        let before = borrow(&socket, &wanted).unwrap().options().unwrap();
        let new = SocketOptions { keepalive: true, idle_seconds: 7, interval_seconds: 3, count: 4 };
        borrow(&socket, &wanted).unwrap().set(before, new).unwrap();
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&socket).unwrap(), Duration::from_secs(7));
        assert_eq!(sockopt::tcp_keepintvl(&socket).unwrap(), Duration::from_secs(3));
        assert_eq!(sockopt::tcp_keepcnt(&socket).unwrap(), 4);
        borrow(&socket, &wanted).unwrap().set(new, before).unwrap();
        assert_eq!(borrow(&socket, &wanted).unwrap().options(), Ok(before));
    }
}
