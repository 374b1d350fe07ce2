//! Where the running kernel keeps what the hooks read.
//!
//! The user half resolves every [`FieldSource`] in the kernel's BTF and hands the result to the hooks as
//! one read-only global, whose values the verifier then knows as constants. Choices are made by what
//! BTF *has*, never by version: fields move inside stable branches, and the wrong one reads
//! plausible garbage.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How one field of [`Layout`] is found in BTF. Paths are `struct.member.member`; members of
/// anonymous structs and unions count as their parent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldSource {
    /// The byte offset of a member.
    Offset(&'static str),
    /// The size of a member, or of a whole struct, in bytes.
    Size(&'static str),
    /// The value of an enumerator: enum, name.
    Value(&'static str, &'static str),
    /// A given number, if the member exists.
    Given(u32, &'static str),
    /// A given number, if the kernel has the function.
    IfFunction(u32, &'static str),
    /// A given number, whatever the kernel has.
    Else(u32),
    /// The byte offset of a member plus this number of bytes: an element of an array.
    Inside(&'static str, u32),
    /// The BTF id of the struct that has the member, or of the function.
    Id(&'static str),
    /// The bit of a bitfield of one bit, counted from the first byte of its struct.
    Bit(&'static str),
}

impl core::fmt::Display for FieldSource {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Offset(path)
            | Self::Size(path)
            | Self::Given(_, path)
            | Self::Inside(path, _) => write!(f, "member {path}"),
            Self::IfFunction(_, name) => write!(f, "function {name}"),
            Self::Id(path) => write!(f, "type of {path}"),
            Self::Bit(path) => write!(f, "bit {path}"),
            Self::Else(number) => write!(f, "number {number}"),
            Self::Value(of_enum, name) => write!(f, "value {name} in enum {of_enum}"),
        }
    }
}

/// Written into an optional field that the kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Stands in the hooks as built for the function [`Layout::cast_id`]: no compiler or loader here knows
/// calls of kernel functions, so they are built with the call of a helper that no kernel has, and the
/// user half writes over it (Documentation/bpf/kfuncs.rst).
pub const CAST: i32 = 0x6b77_0001;

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
        pub const FIELDS: &[(&str, &[FieldSource])] = &[$((stringify!($field), &$sources),)*];
    };
}

use FieldSource::{Bit, Else, Given, Id, IfFunction, Inside, Offset, Size, Value};

layout! {
    /// Address family.
    skc_family: [Offset("sock_common.skc_family")];
    /// TCP state.
    skc_state: [Offset("sock_common.skc_state")];
    /// Bit set of `enum sock_flags`.
    skc_flags: [Offset("sock_common.skc_flags")];
    /// The bit that SO_KEEPALIVE sets.
    sock_keepopen: [Value("sock_flags", "SOCK_KEEPOPEN")];
    /// The bit of a socket without descriptor.
    sock_dead: [Value("sock_flags", "SOCK_DEAD")];
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
    /// The bit that says that the kernel made the socket for itself.
    sk_kern_sock: [Bit("sock.sk_kern_sock")];
    /// Of a listener, connections in its accept queue.
    sk_ack_backlog: [Offset("sock.sk_ack_backlog")];
    /// Length of the accept queue that `listen()` allowed.
    sk_max_ack_backlog: [Offset("sock.sk_max_ack_backlog")];
    /// Not 0 while a system call works on the socket.
    sk_owned: [Offset("sock.sk_lock.owned")];
    /// The error that the next system call of the application returns.
    sk_err: [Offset("sock.sk_err")];
    /// What was heard and not believed.
    sk_err_soft: [Offset("sock.sk_err_soft")];
    /// The `struct socket` in front of it.
    sk_socket: [Offset("sock.sk_socket")];
    /// The route that it sends by.
    sk_dst_cache: [Offset("sock.sk_dst_cache")];
    /// Local port, network order; still valid after `skc_num` was cleared.
    inet_sport: [Offset("inet_sock.inet_sport")];
    /// The keepalive timer. Since 6.19, and in stable branches, `sk_timer` is another timer.
    keepalive_timer: [
        Offset("inet_connection_sock.icsk_keepalive_timer"),
        Offset("sock.sk_timer"),
    ];
    /// TCP_USER_TIMEOUT in milliseconds.
    icsk_user_timeout: [Offset("inet_connection_sock.icsk_user_timeout")];
    /// Keepalive probes sent in a row without an answer.
    icsk_probes_out: [Offset("inet_connection_sock.icsk_probes_out")];
    /// Retransmissions in a row without an answer.
    icsk_retransmits: [Offset("inet_connection_sock.icsk_retransmits")];
    /// The first try to send what waits while nothing is in flight, in jiffies (since 5.11).
    icsk_probes_tstamp: [Offset("inet_connection_sock.icsk_probes_tstamp"), Else(ABSENT)];
    /// The longest time between two repetitions, in jiffies (since 6.15).
    icsk_rto_max: [Offset("inet_connection_sock.icsk_rto_max"), Else(ABSENT)];
    /// TCP_SYNCNT; 0 if unset.
    icsk_syn_retries: [Offset("inet_connection_sock.icsk_syn_retries")];
    /// When data was last received, in jiffies.
    icsk_ack_lrcvtime: [Offset("inet_connection_sock.icsk_ack.lrcvtime")];
    /// Bytes of a TCP socket.
    tcp_sock_len: [Size("tcp_sock")];
    /// The socket's own idle time; 0 if unset.
    keepalive_time: [Offset("tcp_sock.keepalive_time")];
    /// The socket's own interval; 0 if unset.
    keepalive_intvl: [Offset("tcp_sock.keepalive_intvl")];
    /// The socket's own count; 0 if unset.
    keepalive_probes: [Offset("tcp_sock.keepalive_probes")];
    /// Whether it carries a part of an MPTCP connection.
    is_mptcp: [Offset("tcp_sock.is_mptcp"), Else(ABSENT)];
    /// When an ACK was last received, in jiffies.
    rcv_tstamp: [Offset("tcp_sock.rcv_tstamp")];
    /// When data was last sent, in jiffies.
    lsndtime: [Offset("tcp_sock.lsndtime")];
    /// When a segment without data last came from outside the window, in jiffies.
    last_oow_ack_time: [Offset("tcp_sock.last_oow_ack_time")];
    /// Segments received.
    segs_in: [Offset("tcp_sock.segs_in")];
    /// Segments sent.
    segs_out: [Offset("tcp_sock.segs_out")];
    /// The smoothed round trip time.
    srtt_us: [Offset("tcp_sock.srtt_us")];
    /// The first sequence number that is not acknowledged.
    snd_una: [Offset("tcp_sock.snd_una")];
    /// The room that the peer has, from there on.
    snd_wnd: [Offset("tcp_sock.snd_wnd")];
    /// The most that is sent in one segment.
    mss_cache: [Offset("tcp_sock.mss_cache")];
    /// Bytes of data sent, repetitions included.
    bytes_sent: [Offset("tcp_sock.bytes_sent")];
    /// Bytes of data received; the peer's FIN counts as one.
    bytes_received: [Offset("tcp_sock.bytes_received")];
    /// The next byte that the peer will send.
    rcv_nxt: [Offset("tcp_sock.rcv_nxt")];
    /// The next byte that the program will read.
    copied_seq: [Offset("tcp_sock.copied_seq")];
    /// Bytes that the peer has acknowledged, with the SYN of ours.
    bytes_acked: [Offset("tcp_sock.bytes_acked")];
    /// Segments that were repeated and are on their way.
    retrans_out: [Offset("tcp_sock.retrans_out")];
    /// What a tail loss probe has to have acknowledged; 0 if none is unanswered.
    tlp_high_seq: [Offset("tcp_sock.tlp_high_seq")];
    /// The first repetition of what is not acknowledged; while it connects, the first SYN.
    retrans_stamp: [Offset("tcp_sock.retrans_stamp")];
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
    /// `net.ipv4.tcp_keepalive_probes`: `int` in 5.10, `u8` since; its low byte is in the same place.
    net_count: [Offset("net.ipv4.sysctl_tcp_keepalive_probes")];
    /// `net.ipv4.tcp_syn_retries`: the same.
    net_syn_retries: [Offset("net.ipv4.sysctl_tcp_syn_retries")];
    /// `net.ipv4.tcp_syn_linear_timeouts` (since 6.5).
    net_syn_linear: [Offset("net.ipv4.sysctl_tcp_syn_linear_timeouts"), Else(ABSENT)];
    /// `net.ipv4.tcp_retries2`: the same.
    net_retries2: [Offset("net.ipv4.sysctl_tcp_retries2")];
    /// `net.ipv4.tcp_orphan_retries`: the same.
    net_orphan_retries: [Offset("net.ipv4.sysctl_tcp_orphan_retries")];
    /// When a timer expires.
    timer_expires: [Offset("timer_list.expires")];
    /// Not null while a timer is pending.
    timer_pprev: [Offset("timer_list.entry.pprev")];
    /// What a timer calls.
    timer_function: [Offset("timer_list.function")];
    /// The function that gives an address a type: `bpf_rdonly_cast` (since 6.2), or 0.
    cast_id: [Id("bpf_rdonly_cast"), Else(0)];
    /// The type of TCP sockets.
    tcp_sock_id: [Id("tcp_sock.keepalive_time")];
    /// The type of files.
    file_id: [Id("file.private_data")];
    /// The type of `struct socket`.
    socket_id: [Id("socket.sk")];
    /// Whether `bpf_get_socket_cookie` may be called (since 5.12).
    has_cookies: [IfFunction(1, "bpf_get_socket_ptr_cookie"), Else(0)];
    /// Whether `bpf_sock_from_file` may be called (since 5.11).
    has_sock_from_file: [IfFunction(1, "bpf_sock_from_file"), Else(0)];
    /// The first TCP socket of an MPTCP connection.
    mptcp_first: [Offset("mptcp_sock.first"), Else(ABSENT)];
    /// The list of all of them.
    mptcp_list: [Offset("mptcp_sock.conn_list"), Else(ABSENT)];
    /// What links that list, within what describes one of them.
    subflow_node: [Offset("mptcp_subflow_context.node"), Else(ABSENT)];
    /// The TCP socket that this describes.
    subflow_sock: [Offset("mptcp_subflow_context.tcp_sock"), Else(ABSENT)];
    /// The socket behind a `struct socket`.
    socket_sk: [Offset("socket.sk")];
    /// The file in front of a `struct socket`.
    socket_file: [Offset("socket.file")];
    /// The inode of an open file.
    file_inode: [Offset("file.f_inode")];
    /// What a file stands for: of a socket, its `struct socket`.
    file_private: [Offset("file.private_data")];
    /// The kind of inode: socket, file or folder.
    inode_mode: [Offset("inode.i_mode")];
    /// Number of an inode.
    inode_number: [Offset("inode.i_ino")];
    /// The reference count of a file.
    file_refs: [Offset("file.f_ref.refcnt.counter"), Offset("file.f_count.counter")];
    /// What that count reads when one descriptor and the iterator hold the file: `file_ref_t`
    /// counts from 0 (include/linux/file_ref.h), `f_count` from 1.
    file_refs_alone: [Given(1, "file.f_ref"), Given(2, "file.f_count")];
    /// Whether `bpf_get_current_task_btf` may be called (since 5.11).
    has_typed_task: [IfFunction(1, "bpf_get_current_task_btf"), Else(0)];
    /// Process id.
    task_tgid: [Offset("task_struct.tgid")];
    /// The parent process: the one that started it, or has adopted it since.
    task_real_parent: [Offset("task_struct.real_parent")];
    /// The main thread of the process.
    task_group_leader: [Offset("task_struct.group_leader")];
    /// What kind of thread it is.
    task_flags: [Offset("task_struct.flags")];
    /// The name of a thread.
    task_comm: [Offset("task_struct.comm")];
    /// The first address of a mapping.
    vma_start: [Offset("vm_area_struct.vm_start")];
    /// What may be done with it.
    vma_flags: [Offset("vm_area_struct.vm_flags")];
    /// The file that is mapped; null for memory of the process's own.
    vma_file: [Offset("vm_area_struct.vm_file")];
    /// The name that a process gave to memory of its own (since 5.17, with CONFIG_ANON_VMA_NAME).
    vma_name: [Offset("vm_area_struct.anon_name"), Else(ABSENT)];
    /// Its text.
    vma_name_text: [Offset("anon_vma_name.name"), Else(ABSENT)];
    /// The address space that a mapping is in.
    vma_mm: [Offset("vm_area_struct.vm_mm")];
    /// The executable that a process runs.
    mm_exe_file: [Offset("mm_struct.exe_file")];
    /// Whether the iterator over mappings survives the end of the process: commit 7ff94f276f8e (6.2, and 6.1.8).
    vma_walk_is_safe: [Given(1, "bpf_iter_seq_task_vma_info.mm"), Else(0)];
    /// Whether an iterator can be bound to one process (since 6.1).
    has_task_iterators: [Given(1, "bpf_iter_link_info.task.tid"), Else(0)];
    /// Where Go's heap begins, in units of 4 GiB: x86-64, arm64 (`mallocinit` in Go's src/runtime/malloc.go, up to Go 1.25).
    go_heap: [Given(0xc0, "pt_regs.orig_ax"), Else(0x40)];
    /// The path of an open file.
    file_path: [Offset("file.f_path")];
    /// Its entry in a folder.
    file_entry: [Offset("file.f_path.dentry")];
    /// The name there.
    entry_name: [Offset("dentry.d_name.name")];
    /// The length of that name.
    entry_name_len: [Offset("dentry.d_name.len")];
    /// A task's open files.
    task_files: [Offset("task_struct.files")];
    /// The table of open files.
    files_table: [Offset("files_struct.fdt")];
    /// The number of slots of that table.
    table_len: [Offset("fdtable.max_fds")];
    /// Its array of files.
    table_files: [Offset("fdtable.fd")];
    /// Where a task says that it is in a system call of 32-bit programs ...
    compat_flags: [
        Offset("task_struct.thread_info.status"),
        Offset("task_struct.thread_info.flags"),
    ];
    /// ... and with which bit: TS_COMPAT (x86, arch/x86/include/asm/thread_info.h), TIF_32BIT (arm64).
    compat_bit: [Given(1, "task_struct.thread_info.status"), Else(22)];
    /// The number of a system call: x86-64, arm64.
    regs_syscall: [Offset("pt_regs.orig_ax"), Offset("pt_regs.syscallno")];
    /// The number of setsockopt(2).
    nr_setsockopt: [Given(54, "pt_regs.orig_ax"), Else(208)];
    /// First argument of a system call, and the others.
    regs_arg0: [Offset("pt_regs.di"), Offset("pt_regs.orig_x0")];
    /// The second argument of a system call.
    regs_arg1: [Offset("pt_regs.si"), Inside("pt_regs.regs", 8)];
    /// The third argument of a system call.
    regs_arg2: [Offset("pt_regs.dx"), Inside("pt_regs.regs", 16)];
    /// The fourth argument of a system call.
    regs_arg3: [Offset("pt_regs.r10"), Inside("pt_regs.regs", 24)];
    /// The fifth argument of a system call.
    regs_arg4: [Offset("pt_regs.r8"), Inside("pt_regs.regs", 32)];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_fields_are_read_from_one_place() {
        let places = || {
            FIELDS
                .iter()
                .flat_map(|(name, sources)| sources.iter().map(move |source| (name, source)))
        };
        for (at, (name, place)) in places().enumerate() {
            let twin = places().take(at).find(|(_, other)| *other == place);
            assert!(twin.is_none() || matches!(place, Else(_)), "{name} and {twin:?}");
        }
    }

    #[test]
    fn nothing_is_looked_for_after_what_is_always_there() {
        for (name, sources) in FIELDS {
            let always = sources.iter().position(|source| matches!(source, Else(_)));
            assert!(always.is_none_or(|at| at + 1 == sources.len()), "{name}");
        }
    }
}
