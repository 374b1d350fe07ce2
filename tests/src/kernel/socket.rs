//! TCP sockets, made and set in every way that users do it.

use crate::{kernel::sys, skip::skip, tool, wait};
use libc::{
    IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL,
    TCP_USER_TIMEOUT,
};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, SendFlags, Shutdown, SocketAddrAny, SocketFlags, SocketType, accept_with,
        bind, connect, getsockname, listen, socket_with, sockopt,
    },
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

/// Which addresses, in which kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// AF_INET.
    V4,
    /// AF_INET6.
    V6,
    /// IPv4 through AF_INET6: `::ffff:127.0.0.1`.
    Mapped,
}

impl Family {
    /// All three families.
    pub const ALL: [Self; 3] = [Self::V4, Self::V6, Self::Mapped];

    const fn domain(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::INET,
            Self::V6 | Self::Mapped => AddressFamily::INET6,
        }
    }

    /// The loopback address with port 0: the kernel chooses one.
    pub const fn loopback(self) -> SocketAddr {
        match self {
            Self::V4 => SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            Self::V6 => SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0),
            Self::Mapped => {
                let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
                SocketAddr::new(std::net::IpAddr::V6(mapped), 0)
            }
        }
    }
}

/// A socket option that matters to keepalive.
#[expect(missing_docs, reason = "named as in socket(7) and tcp(7)")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    Keepalive,
    KeepIdle,
    KeepIntvl,
    KeepCnt,
    UserTimeout,
}

impl SocketOption {
    /// Level and name of the call.
    const fn number(self) -> (i32, i32) {
        match self {
            Self::Keepalive => (SOL_SOCKET, SO_KEEPALIVE),
            Self::KeepIdle => (IPPROTO_TCP, TCP_KEEPIDLE),
            Self::KeepIntvl => (IPPROTO_TCP, TCP_KEEPINTVL),
            Self::KeepCnt => (IPPROTO_TCP, TCP_KEEPCNT),
            Self::UserTimeout => (IPPROTO_TCP, TCP_USER_TIMEOUT),
        }
    }
}

/// Asks to set an option to a value that is not in memory.
pub fn set_from_nowhere(fd: impl AsFd, option: SocketOption) -> io::Result<()> {
    let (level, name) = option.number();
    sys::setsockopt_from_nowhere(fd.as_fd(), level, name)
}

/// By which road an option reaches the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// `setsockopt(2)` on the descriptor.
    Call,
    /// The same on a duplicate of it, closed afterwards.
    Duplicate,
    /// By a command of io_uring.
    IoUring,
    /// The system call of 32-bit programs.
    Call32,
}

impl Road {
    /// Sets an option by this road; fails the test if the kernel refuses.
    #[track_caller]
    pub fn set(self, fd: impl AsFd, option: SocketOption, value: u32) {
        self.try_set(fd, option, value)
            .unwrap_or_else(|error| panic!("{option:?} = {value} by {self:?}: {error}"));
    }

    /// Sets an option, if the kernel takes it.
    pub fn try_set(self, fd: impl AsFd, option: SocketOption, value: u32) -> io::Result<()> {
        let fd = fd.as_fd();
        let (level, name) = option.number();
        let value = value.cast_signed();
        match self {
            Self::Call => sys::setsockopt(fd, level, name, value),
            Self::Duplicate => fd
                .try_clone_to_owned()
                .and_then(|duplicate| sys::setsockopt(duplicate.as_fd(), level, name, value)),
            Self::IoUring => sys::setsockopt_by_io_uring(fd, level, name, value),
            Self::Call32 => call32(fd, level, name, value),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn call32(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    sys::setsockopt_of_32_bits(fd, level, name, value)
}

#[cfg(not(target_arch = "x86_64"))]
fn call32(_: BorrowedFd<'_>, _: i32, _: i32, _: i32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether this kernel takes options by io_uring (since 6.7), or its answer.
pub fn takes_io_uring_commands() -> io::Result<()> {
    let fd = unconnected(Family::V4, &Plan::NOTHING);
    sys::setsockopt_by_io_uring(fd.as_fd(), SOL_SOCKET, SO_KEEPALIVE, 0)
}

/// Whether this kernel takes 32-bit system calls. False only where it says itself that it does not:
/// a kernel that is built with them and refuses fails the test.
pub fn takes_32_bit_calls() -> bool {
    #[cfg(target_arch = "x86_64")]
    if sys::has_32_bit_syscalls() {
        return true;
    }
    let built_in = tool::kernel_has(&["IA32_EMULATION"]);
    let boot = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    assert!(
        !built_in || boot.contains("ia32_emulation=0"),
        "CONFIG_IA32_EMULATION=y, yet `int 0x80` fails"
    );
    false
}

/// What is set on a socket itself; 0 is unset, which no program can set.
#[expect(missing_docs, reason = "named as in tcp(7)")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketSettings {
    pub idle: u32,
    pub interval: u32,
    pub count: u32,
    pub user_timeout_ms: u32,
}

impl SocketSettings {
    /// These values where `mask` has a bit: 1 idle, 2 interval, 4 count, 8 user timeout.
    #[must_use]
    pub fn masked(self, mask: u8) -> Self {
        let keep = |bit: u8, value: u32| if mask & bit == 0 { 0 } else { value };
        Self {
            idle: keep(1, self.idle),
            interval: keep(2, self.interval),
            count: keep(4, self.count),
            user_timeout_ms: keep(8, self.user_timeout_ms),
        }
    }

    #[track_caller]
    fn apply(self, road: Road, fd: BorrowedFd<'_>) {
        for (option, value) in [
            (SocketOption::KeepIdle, self.idle),
            (SocketOption::KeepIntvl, self.interval),
            (SocketOption::KeepCnt, self.count),
            (SocketOption::UserTimeout, self.user_timeout_ms),
        ] {
            if value != 0 {
                road.set(fd, option, value);
            }
        }
    }
}

/// When SO_KEEPALIVE is set; the other options go with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keepalive {
    /// Never; the other options are set before connecting or listening.
    Off,
    /// Before connecting or listening.
    Before,
    /// After connecting or listening.
    After,
    /// Set before, cleared after.
    OnThenOff,
}

impl Keepalive {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Off, Self::Before, Self::After, Self::OnThenOff];

    /// Whether it is on in the end.
    pub const fn is_on(self) -> bool {
        matches!(self, Self::Before | Self::After)
    }
}

/// What a program does to a socket.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// When keepalive is set.
    pub keepalive: Keepalive,
    /// What else is set.
    pub own: SocketSettings,
    /// The road by which options are set.
    pub road: Road,
}

impl Plan {
    /// A program that sets nothing.
    pub const NOTHING: Self = Self {
        keepalive: Keepalive::Off,
        own: SocketSettings { idle: 0, interval: 0, count: 0, user_timeout_ms: 0 },
        road: Road::Call,
    };

    /// A program that turns keepalive on before it connects, with these settings of its own.
    pub const fn keepalive(idle: u32, interval: u32, count: u32) -> Self {
        let own = SocketSettings { idle, interval, count, user_timeout_ms: 0 };
        Self { keepalive: Keepalive::Before, own, road: Road::Call }
    }

    /// Sets all of it now, on a connection that is there: the first probe is due the idle time from now.
    #[track_caller]
    pub fn turn_on(&self, fd: &OwnedFd) {
        self.own.apply(self.road, fd.as_fd());
        self.road.set(fd, SocketOption::Keepalive, 1);
    }

    #[track_caller]
    fn before(&self, fd: &OwnedFd) {
        if self.keepalive != Keepalive::After {
            self.own.apply(self.road, fd.as_fd());
        }
        if matches!(self.keepalive, Keepalive::Before | Keepalive::OnThenOff) {
            self.road.set(fd, SocketOption::Keepalive, 1);
        }
    }

    #[track_caller]
    fn after(&self, fd: &OwnedFd) {
        match self.keepalive {
            Keepalive::Off | Keepalive::Before => {}
            Keepalive::After => {
                self.road.set(fd, SocketOption::Keepalive, 1);
                self.own.apply(self.road, fd.as_fd());
            }
            Keepalive::OnThenOff => self.road.set(fd, SocketOption::Keepalive, 0),
        }
    }
}

/// A new, unconnected socket with everything of the plan that comes before connecting.
#[track_caller]
pub fn unconnected(family: Family, plan: &Plan) -> OwnedFd {
    let fd = socket_with(family.domain(), SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let fd = fd.expect("socket");
    plan.before(&fd);
    fd
}

/// A socket that listens on `address`.
#[track_caller]
pub fn listener(family: Family, address: SocketAddr, backlog: i32, plan: &Plan) -> OwnedFd {
    let fd = unconnected(family, plan);
    if family == Family::Mapped {
        sockopt::set_ipv6_v6only(&fd, false).expect("IPV6_V6ONLY");
    }
    bind(&fd, &address).unwrap_or_else(|error| panic!("bind {address}: {error}"));
    listen(&fd, backlog).expect("listen");
    plan.after(&fd);
    fd
}

/// A socket connected to `address`.
#[track_caller]
pub fn connected(family: Family, address: SocketAddr, plan: &Plan) -> OwnedFd {
    let fd = unconnected(family, plan);
    connect(&fd, &address).unwrap_or_else(|error| panic!("connect {address}: {error}"));
    plan.after(&fd);
    fd
}

/// The next connection of a listener.
#[track_caller]
pub fn accepted(listener: &OwnedFd) -> OwnedFd {
    accept_with(listener, SocketFlags::CLOEXEC).expect("accept")
}

/// The address that a socket is bound to.
#[track_caller]
pub fn local_address(fd: &OwnedFd) -> SocketAddr {
    standard(getsockname(fd).expect("getsockname"))
}

/// In the type of the standard library.
#[track_caller]
pub(crate) fn standard(address: SocketAddrAny) -> SocketAddr {
    address.try_into().expect("an IP address")
}

/// A socket on its way to an `address` where nobody answers: SYN_SENT.
#[track_caller]
pub fn connecting(family: Family, address: SocketAddr, plan: &Plan) -> OwnedFd {
    let fd = unconnected(family, plan);
    rustix::io::ioctl_fionbio(&fd, true).expect("FIONBIO");
    assert_eq!(connect(&fd, &address), Err(Errno::INPROGRESS), "connect {address}");
    plan.after(&fd);
    fd
}

/// Sends all of the data.
#[track_caller]
pub fn send(fd: &OwnedFd, data: &[u8]) {
    let n_sent = rustix::net::send(fd, data, SendFlags::NOSIGNAL).expect("send");
    assert_eq!(n_sent, data.len());
}

/// Closes our direction: FIN_WAIT here, CLOSE_WAIT there.
#[track_caller]
pub fn end_sending(fd: &OwnedFd) {
    rustix::net::shutdown(fd, Shutdown::Write).expect("shutdown");
}

/// The number of the TCP state, as in `enum tcp_state`.
#[track_caller]
pub fn tcp_state(fd: &OwnedFd) -> u8 {
    sys::tcp_info(fd.as_fd()).expect("TCP_INFO").tcpi_state
}

/// The number of a TCP state, as in `enum tcp_state`.
pub const ESTABLISHED: u8 = 1;
/// Our direction is closed, and the peer knows.
pub const FIN_WAIT2: u8 = 5;
/// No connection, or no more.
pub const CLOSE: u8 = 7;
/// The peer's direction is closed.
pub const CLOSE_WAIT: u8 = 8;

/// Waits until it is in a state.
#[track_caller]
pub fn wait_for_state(fd: &OwnedFd, state: u8, deadline: Duration) {
    wait::until(format!("TCP state {state}"), deadline, || (tcp_state(fd) == state).then_some(()));
}

/// Probes sent and not answered.
#[track_caller]
pub fn probes_unanswered(fd: &OwnedFd) -> u8 {
    sys::tcp_info(fd.as_fd()).expect("TCP_INFO").tcpi_probes
}

/// Repetitions of data in a row that nobody has answered.
#[track_caller]
pub fn retransmits(fd: &OwnedFd) -> u8 {
    sys::tcp_info(fd.as_fd()).expect("TCP_INFO").tcpi_retransmits
}

/// Repetitions of data over its life, tail loss probes included.
#[track_caller]
pub fn repetitions(fd: &OwnedFd) -> u32 {
    sys::tcp_info(fd.as_fd()).expect("TCP_INFO").tcpi_total_retrans
}

/// Segments that came for it.
pub fn segments_received(fd: &OwnedFd) -> u32 {
    sys::tcp_info(fd.as_fd()).expect("TCP_INFO").tcpi_segs_in
}

/// Whether an answer to a probe is younger than all data, by more than the time between two ticks.
#[track_caller]
pub fn was_probed_since_data(fd: &OwnedFd) -> bool {
    let info = sys::tcp_info(fd.as_fd()).expect("TCP_INFO");
    info.tcpi_last_ack_recv + 500 < info.tcpi_last_data_recv.min(info.tcpi_last_data_sent)
}

/// Its id as `ss -e` and keepwatch write it.
#[track_caller]
pub fn id(fd: &OwnedFd) -> String {
    format!("sk:{:x}", sockopt::socket_cookie(fd).expect("SO_COOKIE"))
}

/// Whether an event's id is a socket's: its cookie, where hooks can tell cookies; else any, which is
/// said.
pub fn is_id(told: Option<&str>, id: &str) -> bool {
    if tool::kernel_has_cookies_for_hooks() {
        return told == Some(id);
    }
    skip("socket cookies", "which this kernel does not make for hooks");
    told.is_some_and(|told| told.starts_with("sk:"))
}

/// Lets this process and its children have as many descriptors as the host admits.
pub fn allow_many() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, all).expect("RLIMIT_NOFILE up to its hard limit");
}
