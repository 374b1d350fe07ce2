//! Where the running kernel keeps what the hooks read.
//!
//! The user half resolves every [`Source`] in the kernel's BTF and hands the result to the hooks as
//! one read-only global, whose values the verifier then knows as constants. Choices are made by what
//! BTF *has*, never by version: fields move inside stable branches, and the wrong one reads
//! plausible garbage.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How one field of [`Layout`] is found in BTF. Paths are `struct.member.member`; members of
/// anonymous structs and unions count as their parent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The byte offset of a member.
    Offset(&'static str),
    /// The size of a member in bytes.
    Size(&'static str),
    /// The value of an enumerator: enum, name.
    Value(&'static str, &'static str),
    /// A given number, if the member exists.
    Given(u32, &'static str),
}

impl core::fmt::Display for Source {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Offset(path) | Self::Size(path) | Self::Given(_, path) => {
                write!(f, "member {path}")
            }
            Self::Value(of_enum, name) => write!(f, "value {name} in enum {of_enum}"),
        }
    }
}

/// Written into an optional field that the kernel does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! layout {
    ($($(#[$doc:meta])* $field:ident: $sources:expr;)*) => {
        /// Offsets, sizes and values of one kernel. All `tcp_sock` members, those of the structs it
        /// begins with included, are relative to the socket's address: each is the first member of
        /// the next (`include/linux/tcp.h`, `include/net/inet_connection_sock.h`).
        #[repr(C)]
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
        )]
        pub struct Layout { $($(#[$doc])* pub $field: u32,)* }

        /// The fields of [`Layout`] in order: name, and where to look, best first.
        pub const FIELDS: &[(&str, &[Source])] = &[$((stringify!($field), &$sources),)*];
    };
}

use Source::{Given, Offset, Size, Value};

layout! {
    /// Address family.
    skc_family: [Offset("sock_common.skc_family")];
    /// TCP state.
    skc_state: [Offset("sock_common.skc_state")];
    /// Bit set of `enum sock_flags`.
    skc_flags: [Offset("sock_common.skc_flags")];
    /// The bit that SO_KEEPALIVE sets.
    sock_keepopen: [Value("sock_flags", "SOCK_KEEPOPEN")];
    /// Remote IPv4 address.
    skc_daddr: [Offset("sock_common.skc_daddr")];
    /// Local IPv4 address.
    skc_rcv_saddr: [Offset("sock_common.skc_rcv_saddr")];
    /// Remote IPv6 address.
    skc_v6_daddr: [Offset("sock_common.skc_v6_daddr")];
    /// Local IPv6 address.
    skc_v6_rcv_saddr: [Offset("sock_common.skc_v6_rcv_saddr")];
    /// Remote port, network order.
    skc_dport: [Offset("sock_common.skc_dport")];
    /// Pointer to the network namespace.
    skc_net: [Offset("sock_common.skc_net.net")];
    /// The socket cookie; 0 until somebody asks for it.
    skc_cookie: [Offset("sock_common.skc_cookie.counter")];
    /// Protocol number.
    sk_protocol: [Offset("sock.sk_protocol")];
    /// Length of the accept queue that `listen()` allowed.
    sk_max_ack_backlog: [Offset("sock.sk_max_ack_backlog")];
    /// Local port, network order; still valid after `skc_num` was cleared.
    inet_sport: [Offset("inet_sock.inet_sport")];
    /// The keepalive timer. Since 6.19, and in stable branches, `sk_timer` is another timer.
    keepalive_timer: [
        Offset("inet_connection_sock.icsk_keepalive_timer"),
        Offset("sock.sk_timer"),
    ];
    /// TCP_USER_TIMEOUT in milliseconds.
    icsk_user_timeout: [Offset("inet_connection_sock.icsk_user_timeout")];
    /// Unanswered probes.
    icsk_probes_out: [Offset("inet_connection_sock.icsk_probes_out")];
    /// Last data received.
    icsk_ack_lrcvtime: [Offset("inet_connection_sock.icsk_ack.lrcvtime")];
    /// Own idle time.
    keepalive_time: [Offset("tcp_sock.keepalive_time")];
    /// Own interval.
    keepalive_intvl: [Offset("tcp_sock.keepalive_intvl")];
    /// Own count.
    keepalive_probes: [Offset("tcp_sock.keepalive_probes")];
    /// Last ACK received.
    rcv_tstamp: [Offset("tcp_sock.rcv_tstamp")];
    /// Last data sent.
    lsndtime: [Offset("tcp_sock.lsndtime")];
    /// Segments in flight.
    packets_out: [Offset("tcp_sock.packets_out")];
    /// End of what was written.
    write_seq: [Offset("tcp_sock.write_seq")];
    /// End of what was sent.
    snd_nxt: [Offset("tcp_sock.snd_nxt")];
    /// Inode number of a network namespace.
    net_inum: [Offset("net.ns.inum")];
    /// `net.ipv4.tcp_keepalive_time`.
    net_idle: [Offset("net.ipv4.sysctl_tcp_keepalive_time")];
    /// `net.ipv4.tcp_keepalive_intvl`.
    net_interval: [Offset("net.ipv4.sysctl_tcp_keepalive_intvl")];
    /// `net.ipv4.tcp_keepalive_probes`.
    net_count: [Offset("net.ipv4.sysctl_tcp_keepalive_probes")];
    /// Its size: `int` in 5.10, `u8` since 6.1.
    net_count_size: [Size("net.ipv4.sysctl_tcp_keepalive_probes")];
    /// When a timer expires.
    timer_expires: [Offset("timer_list.expires")];
    /// Not null while a timer is pending.
    timer_pprev: [Offset("timer_list.entry.pprev")];
    /// The socket behind a `struct socket`.
    socket_sk: [Offset("socket.sk")];
    /// The reference count of a file.
    file_refs: [Offset("file.f_ref.refcnt.counter"), Offset("file.f_count.counter")];
    /// What that count reads when one descriptor and the iterator hold the file: `file_ref_t`
    /// counts from 0 (include/linux/file_ref.h), `f_count` from 1.
    file_refs_alone: [Given(1, "file.f_ref"), Given(2, "file.f_count")];
    /// Process id.
    task_tgid: [Offset("task_struct.tgid")];
    /// The main thread.
    task_group_leader: [Offset("task_struct.group_leader")];
    /// The name of a thread.
    task_comm: [Offset("task_struct.comm")];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_fields_is_the_struct() {
        assert_eq!(FIELDS.len() * size_of::<u32>(), size_of::<Layout>());
    }
}
