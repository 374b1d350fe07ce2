//! Records: what a hook says of one socket, sampled at that moment.
//!
//! The kernel half copies fields as they are; nothing is computed there that the user half can
//! compute. Times named `_jiffies` are in ticks of the kernel's clock.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a record is about: the first field of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// A [`SocketSample`] from the snapshot, once for each file descriptor.
    Snapshot = 1,
    /// A [`SocketSample`] taken while the socket's state changes.
    StateChange = 2,
    /// A [`SocketSample`] taken while the socket is destroyed.
    Destroy = 3,
    /// A [`TimerRecord`]: the keepalive timer has run.
    Fire = 4,
    /// A [`SetsockoptRecord`]: a setsockopt call returns.
    Call = 5,
    /// A [`SocketSample`] of a socket that was looked at by its address.
    Again = 6,
    /// A [`SocketSample`] from the list of a network namespace.
    Listed = 7,
    /// A [`ProcessFileRecord`]: a file of one process.
    ProcessFile = 8,
}

impl Tag {
    /// The number on the wire.
    #[expect(clippy::as_conversions, reason = "a fieldless enum's discriminant")]
    pub const fn wire(self) -> u32 {
        self as u32
    }

    /// The tag with this number, if it is one that this version knows.
    pub const fn from_wire(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Snapshot),
            2 => Some(Self::StateChange),
            3 => Some(Self::Destroy),
            4 => Some(Self::Fire),
            5 => Some(Self::Call),
            6 => Some(Self::Again),
            7 => Some(Self::Listed),
            8 => Some(Self::ProcessFile),
            _ => None,
        }
    }
}

/// What a fire of the keepalive timer came to (`tcp_keepalive_timer` in net/ipv4/tcp_timer.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerOutcome {
    /// A probe was sent.
    Sent,
    /// The socket was locked by its owner: the timer tries again in HZ/20.
    Deferred,
    /// Data waits to be sent or acknowledged: retransmission decides, keepalive waits.
    InFlight,
    /// Something was received less than the idle time ago.
    NotIdle,
    /// Not keepalive's: the timer also ends orphans in FIN_WAIT2, and runs on without effect when
    /// SO_KEEPALIVE was cleared or the connection is not there yet.
    NotOurs,
    /// A probe was due, but the host's own queue refused it: the timer tries again in HZ/2.
    Congested,
    /// Too many probes went unanswered: the connection was ended.
    Death,
}

impl TimerOutcome {
    /// Every outcome, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Sent,
        Self::Deferred,
        Self::InFlight,
        Self::NotIdle,
        Self::NotOurs,
        Self::Congested,
        Self::Death,
    ];

    /// The number on the wire.
    #[expect(clippy::as_conversions, reason = "a fieldless enum's discriminant")]
    pub const fn wire(self) -> u8 {
        self as u8
    }

    /// The outcome with this number.
    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// Bits of [`SocketSample::flags`].
pub mod flag {
    /// `SOCK_KEEPOPEN` is set: keepalive is on.
    pub const KEEPALIVE: u32 = 1;
    /// The keepalive timer is armed.
    pub const TIMER_PENDING: u32 = 1 << 1;
    /// More than one reference to the socket's file exists: it may have further owners.
    pub const SHARED: u32 = 1 << 2;
    /// The current task was the owner when the sample was taken.
    pub const OWNER_KNOWN: u32 = 1 << 3;
    /// `listen()` allowed an accept queue (`sk_max_ack_backlog`): a child keeps its listener's.
    pub const BACKLOG: u32 = 1 << 4;
    /// No descriptor refers to it any more (`SOCK_DEAD`).
    pub const ORPHAN: u32 = 1 << 5;
    /// The sample was taken inside the socket's own keepalive timer.
    pub const IN_KEEPALIVE_TIMER: u32 = 1 << 6;
    /// [`SetsockoptRecord::value`](super::SetsockoptRecord::value) was read: of what the kernel refused, if it
    /// could be.
    pub const VALUE_KNOWN: u32 = 1 << 7;
    /// No `struct socket` is in front of it: it waits in an accept queue, if it is no orphan.
    pub const UNATTACHED: u32 = 1 << 8;
    /// The kernel has made it for itself (`sk_kern_sock`), and not for MPTCP.
    pub const KERNEL: u32 = 1 << 9;
    /// It carries a part of an MPTCP connection (`tcp_sock.is_mptcp`).
    pub const MPTCP: u32 = 1 << 10;
    /// At the address where the socket was is another one, or none: of this record only the id counts.
    pub const GONE: u32 = 1 << 11;
    /// Nothing is in flight, and the peer's window has no room for what is to be sent next.
    pub const WINDOW_CLOSED: u32 = 1 << 12;
    /// It has no route (`sk_dst_cache`): the last try to send found none, or nothing was sent so far.
    pub const NO_ROUTE: u32 = 1 << 13;
    /// Nothing that was repeated is on its way (`tcp_sock.retrans_out` is 0).
    pub const NONE_REPEATED: u32 = 1 << 14;
    /// Data was sent, and none ever came (`tcp_sock.bytes_sent`, `bytes_received`): the stamp of received data is of the handshake.
    pub const NEVER_ANSWERED: u32 = 1 << 15;
    /// What was sent last was repeated by a tail loss probe, which is not counted, and that is not answered (`tcp_sock.tlp_high_seq`).
    pub const TAIL_REPEATED: u32 = 1 << 16;
    /// What is not acknowledged fills a segment (`tcp_sock.mss_cache`).
    pub const SEGMENT_UNACKED: u32 = 1 << 17;
    /// The peer never acknowledged data (`tcp_sock.bytes_acked`, which counts the SYN, too).
    pub const NEVER_ACKNOWLEDGED: u32 = 1 << 18;
    /// Data came that the program has not read (`tcp_sock.rcv_nxt`, `copied_seq`).
    pub const UNREAD: u32 = 1 << 19;
}

/// One TCP socket, as read from the kernel at one moment.
///
/// Address bytes are in network order, IPv4 in the first four. Settings are the socket's own
/// (0: unset) and those of its network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SocketSample {
    /// [`Tag`].
    pub tag: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// `bpf_get_socket_cookie`: the id that `ss -e` shows; 0 if it has none yet. On a kernel that gives
    /// no cookies to tracing programs (before 5.12), a number made of the socket's address.
    pub cookie: u64,
    /// Its address, as a number that only the hooks can turn back: where to look at it again.
    pub place: u64,
    /// `jiffies64` now.
    pub now_jiffies: u64,
    /// `bpf_ktime_get_ns` now (`CLOCK_MONOTONIC`).
    pub at_ns: u64,
    /// `timer_list.expires` of the keepalive timer.
    pub timer_expires_jiffies: u64,
    /// The cgroup of the current task, if it is the owner.
    pub cgroup: u64,
    /// `skc_rcv_saddr` or `skc_v6_rcv_saddr`.
    pub local_addr: [u8; 16],
    /// `skc_daddr` or `skc_v6_daddr`.
    pub remote_addr: [u8; 16],
    /// `inet_sport`, network order.
    pub local_port_be: u16,
    /// `skc_dport`, network order.
    pub remote_port_be: u16,
    /// `skc_family`, which is small.
    pub family: u8,
    /// The low byte of `netns_ipv4.sysctl_tcp_orphan_retries`.
    pub netns_orphan_retries: u8,
    /// `skc_state`; in a state change, the new state.
    pub state: u8,
    /// In a state change, the state before; else 0.
    pub old_state: u8,
    /// `skc_net.net->ns.inum`.
    pub netns: u32,
    /// `tcp_sock.keepalive_time`.
    pub own_idle_jiffies: u32,
    /// `tcp_sock.keepalive_intvl`.
    pub own_interval_jiffies: u32,
    /// `netns_ipv4.sysctl_tcp_keepalive_time`.
    pub netns_idle_jiffies: u32,
    /// `netns_ipv4.sysctl_tcp_keepalive_intvl`.
    pub netns_interval_jiffies: u32,
    /// The low byte of `netns_ipv4.sysctl_tcp_keepalive_probes`.
    pub netns_count: u8,
    /// `netns_ipv4.sysctl_tcp_syn_retries`.
    pub netns_syn_retries: u8,
    /// `netns_ipv4.sysctl_tcp_syn_linear_timeouts`; 0 before 6.5.
    pub netns_syn_linear: u8,
    /// `icsk_syn_retries`: TCP_SYNCNT; 0 if unset.
    pub own_syn_retries: u8,
    /// `tcp_sock.keepalive_probes`.
    pub own_count: u8,
    /// `icsk_probes_out`: probes (or zero-window probes) not yet answered.
    pub probes_out: u8,
    /// `icsk_retransmits`: retransmissions of what is not acknowledged.
    pub retransmits: u8,
    /// The low byte of `netns_ipv4.sysctl_tcp_retries2`.
    pub netns_retries2: u8,
    /// `icsk_user_timeout`, milliseconds.
    pub user_timeout_ms: u32,
    /// `tcp_sock.rcv_tstamp`: the last ACK received, low 32 bits of jiffies.
    pub acked_jiffies: u32,
    /// `icsk_ack.lrcvtime`: the last data received, low 32 bits of jiffies.
    pub received_jiffies: u32,
    /// `tcp_sock.last_oow_ack_time`: the last segment without data that came from outside the window, as a keepalive
    /// probe of the peer does (`tcp_oow_rate_limited` in net/ipv4/tcp_input.c); low 32 bits of jiffies, 0: none came.
    pub out_of_window_jiffies: u32,
    /// `tcp_sock.lsndtime`: the last data sent, repeated data included; low 32 bits of jiffies.
    pub sent_jiffies: u32,
    /// `tcp_sock.segs_in`: segments received, probes and their answers included.
    pub segs_in: u32,
    /// `tcp_sock.segs_out`: segments sent.
    pub segs_out: u32,
    /// `tcp_sock.srtt_us`: the smoothed round trip time, eighths of a microsecond; 0 if none was measured.
    pub srtt_eighth_us: u32,
    /// `snd_nxt - snd_una`: sequence numbers sent and not acknowledged. Unlike `packets_out` it
    /// outlives `tcp_write_queue_purge`, which runs before a connection's last change of state.
    pub unacked_bytes: u32,
    /// `write_seq - snd_nxt`: bytes written and not yet sent.
    pub unsent_bytes: u32,
    /// `tcp_sock.retrans_stamp`: the first retransmission of what is not acknowledged, milliseconds
    /// of `CLOCK_MONOTONIC`, low 32 bits; 0 if there was no retransmission.
    pub retransmitted_ms: u32,
    /// `icsk_probes_tstamp`: the first try to send what waits while nothing is in flight, low 32 bits of jiffies; 0 if
    /// there was none, and before 5.11. Of a listener the number of connections in its accept queue, `sk_ack_backlog`.
    pub tried_jiffies: u32,
    /// `icsk_rto_max`: the longest time between two repetitions; 0 before 6.15.
    pub rto_max_jiffies: u32,
    /// `i_ino` of the socket's file, where it was at hand: it joins what happens before a socket has
    /// a cookie with what follows.
    pub inode: u32,
    /// `sk_err`: the error that the next system call of the application returns.
    pub error: u16,
    /// `sk_err_soft`: what was heard and not believed, ICMP mostly.
    pub soft_error: u16,
    /// Process id of the owner, as the pid namespace of the agent's kernel sees it.
    pub pid: u32,
    /// File descriptor in that process; meaningful in a snapshot.
    pub fd: u32,
    /// `task_struct.comm` of the owner's main thread or of the current task.
    pub comm: [u8; 16],
}

/// Bytes of one [`SocketSample`].
pub const SAMPLE_LEN: usize = 208;
const _: () = assert!(size_of::<SocketSample>() == SAMPLE_LEN);

/// The keepalive timer has run: the socket after it, and what it came to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct TimerRecord {
    /// The socket after the timer has run.
    pub sample: SocketSample,
    /// [`TimerOutcome`].
    pub outcome: u8,
    /// `icsk_probes_out` before it ran.
    pub probes_before: u8,
    #[doc(hidden)]
    pub _pad: [u8; 6],
}

/// Bytes of one [`TimerRecord`].
pub const TIMER_LEN: usize = SAMPLE_LEN + 8;
const _: () = assert!(size_of::<TimerRecord>() == TIMER_LEN);

/// A setsockopt call returns: the socket after it, and what was asked.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct SetsockoptRecord {
    /// The socket after the call; the caller is its owner.
    pub sample: SocketSample,
    /// `level` of the call.
    pub level: u32,
    /// `optname` of the call.
    pub option: u32,
    /// The value that was refused; what was taken is in the sample.
    pub value: i32,
    /// 0, or a negative error number.
    pub result: i32,
}

/// Bytes of one [`SetsockoptRecord`].
pub const SETSOCKOPT_LEN: usize = SAMPLE_LEN + 16;
const _: () = assert!(size_of::<SetsockoptRecord>() == SETSOCKOPT_LEN);

/// How a process uses the file of a [`ProcessFileRecord`].
pub mod usage {
    /// It is the executable that the process runs.
    pub const EXECUTABLE: u32 = 1;
    /// It is mapped, to be executed: a library, or the executable.
    pub const MAPPED: u32 = 2;
    /// A descriptor leads to it.
    pub const OPEN: u32 = 3;
    /// No file: memory of Go's runtime.
    pub const GO_MEMORY: u32 = 4;
}

/// A file of one process, by its path as `/proc/PID/maps` shows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct ProcessFileRecord {
    /// [`Tag`].
    pub tag: u32,
    /// One of [`usage`].
    pub usage: u32,
    /// Bytes of the path with the zero at its end, or a negative error number: of a longer one -36 (ENAMETOOLONG).
    pub path_len: i32,
    #[doc(hidden)]
    pub _pad: u32,
    /// The path; what stands behind its end means nothing.
    pub path: [u8; PATH_LEN],
}

/// Bytes of the longest path that a record can hold, with the zero at its end.
pub const PATH_LEN: usize = 1008;
/// Bytes of one [`ProcessFileRecord`].
pub const PROCESS_FILE_LEN: usize = PATH_LEN + 16;
const _: () = assert!(size_of::<ProcessFileRecord>() == PROCESS_FILE_LEN);
