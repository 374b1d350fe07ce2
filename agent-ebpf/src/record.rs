//! Records: what a hook says of one socket, sampled at that moment.
//!
//! The kernel half copies fields as they are; nothing is computed there that the user half can
//! compute. Times named `_jiffies` are in ticks of the kernel's clock.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a record is about: the first field of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// A [`Sample`] from the snapshot, once for each file descriptor.
    Snapshot = 1,
    /// A [`Sample`] taken while the socket's state changes.
    StateChange = 2,
    /// A [`Sample`] taken while the socket is destroyed.
    Destroy = 3,
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
            _ => None,
        }
    }
}

/// Bits of [`Sample::flags`].
pub mod flag {
    /// `SOCK_KEEPOPEN` is set: keepalive is on.
    pub const KEEPALIVE: u32 = 1;
    /// The keepalive timer is armed.
    pub const TIMER_PENDING: u32 = 1 << 1;
    /// More than one reference to the socket's file exists: it may have further owners.
    pub const SHARED: u32 = 1 << 2;
    /// The current task was the owner when the sample was taken.
    pub const OWNER_KNOWN: u32 = 1 << 3;
}

/// One TCP socket, as read from the kernel at one moment.
///
/// Address bytes are in network order, IPv4 in the first four. Settings are the socket's own
/// (0: unset) and those of its network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Sample {
    /// [`Tag`].
    pub tag: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// `bpf_get_socket_cookie`: the id that `ss -e` shows.
    pub cookie: u64,
    /// `jiffies64` now.
    pub now_jiffies: u64,
    /// `bpf_ktime_get_ns` now (`CLOCK_MONOTONIC`).
    pub at_ns: u64,
    /// `timer_list.expires` of the keepalive timer.
    pub timer_expires_jiffies: u64,
    /// `skc_rcv_saddr` or `skc_v6_rcv_saddr`.
    pub local_addr: [u8; 16],
    /// `skc_daddr` or `skc_v6_daddr`.
    pub remote_addr: [u8; 16],
    /// `inet_sport`, network order.
    pub local_port_be: u16,
    /// `skc_dport`, network order.
    pub remote_port_be: u16,
    /// `skc_family`.
    pub family: u16,
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
    /// `netns_ipv4.sysctl_tcp_keepalive_probes`.
    pub netns_count: u32,
    /// `tcp_sock.keepalive_probes`.
    pub own_count: u8,
    /// `icsk_probes_out`: probes (or zero-window probes) not yet answered.
    pub probes_out: u8,
    #[doc(hidden)]
    pub _pad: [u8; 2],
    /// `icsk_user_timeout`, milliseconds.
    pub user_timeout_ms: u32,
    /// `tcp_sock.rcv_tstamp`: the last ACK received, low 32 bits of jiffies.
    pub acked_jiffies: u32,
    /// `icsk_ack.lrcvtime`: the last data received, low 32 bits of jiffies.
    pub received_jiffies: u32,
    /// `tcp_sock.lsndtime`: the last data sent, low 32 bits of jiffies.
    pub sent_jiffies: u32,
    /// `tcp_sock.packets_out`: segments sent and not yet acknowledged.
    pub packets_out: u32,
    /// `write_seq - snd_nxt`: bytes written and not yet sent.
    pub unsent_bytes: u32,
    /// `sk_max_ack_backlog`: `listen()` sets it, and a child keeps its listener's.
    pub listen_backlog: u32,
    /// Process id of the owner, as the pid namespace of the agent's kernel sees it.
    pub pid: u32,
    /// File descriptor in that process; meaningful in a snapshot.
    pub fd: u32,
    /// `task_struct.comm` of the owner's main thread or of the current task.
    pub comm: [u8; 16],
}

/// Bytes of one [`Sample`].
pub const SAMPLE_LEN: usize = 160;
const _: () = assert!(size_of::<Sample>() == SAMPLE_LEN);
