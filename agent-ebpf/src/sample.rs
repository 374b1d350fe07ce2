//! One socket as it is at this moment.

use crate::{
    read::{Cast, Copied, Raw, Read, Typed, at, current_process, global, with_current_task},
    report,
};
use aya_ebpf::helpers::generated;
use core::{arch::asm, ptr::write_volatile};
use keepwatch_ebpf::{
    abi::{
        AF_INET, AF_INET6, PF_KTHREAD, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_FIN_WAIT1,
        TCP_FIN_WAIT2, TCP_LISTEN, TCP_MAX_STATES,
    },
    layout::ABSENT,
    record::{SocketSample, Tag, flag},
};

/// Makes a number of an address, which user space may know: odd, so that no two addresses get the same;
/// random, so that no address can be told from it.
#[unsafe(no_mangle)]
static ADDRESS_KEY: u64 = 1;
/// Its inverse.
#[unsafe(no_mangle)]
static ADDRESS_KEY_INVERSE: u64 = 1;

/// The number that stands for an address.
#[inline(always)]
fn place_of(address: *const u8) -> u64 {
    let number: u64;
    // SAFETY: swaps no byte on a little-endian machine. But the verifier lets nobody calculate with a typed
    // pointer, and takes what comes out of this for a number (`check_alu_op` in kernel/bpf/verifier.c).
    unsafe { asm!("{0} = le64 {0}", inout(reg) address => number, options(pure, nomem, nostack)) };
    number.wrapping_mul(global(&ADDRESS_KEY))
}

/// The address that this number stands for.
#[inline(always)]
pub(crate) fn address_of(place: u64) -> Raw {
    Raw(place.wrapping_mul(global(&ADDRESS_KEY_INVERSE)) as *const u8)
}

/// A socket that can be sampled.
pub(crate) trait Sock: Read {
    /// Its id, asked for as `ss -e` does; 0 where it cannot be asked for and has none yet.
    fn id(self) -> u64;
    /// The number that stands for its address.
    fn place(self) -> u64;
}

impl Sock for Typed {
    #[inline(always)]
    fn place(self) -> u64 {
        place_of(self.0)
    }

    #[inline(always)]
    fn id(self) -> u64 {
        if at!(has_cookies) == 1 {
            // SAFETY: a helper call on a typed pointer.
            return unsafe { generated::bpf_get_socket_cookie(self.0.cast_mut().cast()) };
        }
        self.place()
    }
}

impl Sock for Raw {
    #[inline(always)]
    fn place(self) -> u64 {
        (self.0 as u64).wrapping_mul(global(&ADDRESS_KEY))
    }

    #[inline(always)]
    fn id(self) -> u64 {
        if at!(has_cookies) == 1 { self.load(at!(skc_cookie)) } else { self.place() }
    }
}

impl Sock for Cast {
    #[inline(always)]
    fn place(self) -> u64 {
        place_of(self.raw().0)
    }

    #[inline(always)]
    fn id(self) -> u64 {
        self.load(at!(skc_cookie)) // kernels that cast have cookies
    }
}

impl Sock for Copied {
    #[inline(always)]
    fn place(self) -> u64 {
        self.sk.place()
    }

    #[inline(always)]
    fn id(self) -> u64 {
        if at!(has_cookies) == 1 { self.load(at!(skc_cookie)) } else { self.sk.id() }
    }
}

/// Writes every field of `sample` but owner, inode and state change from the socket `tcp`.
///
/// `sk` is the same socket as the hook got it: the cookie helper wants that pointer.
#[inline(always)]
pub(crate) fn fill<S: Sock>(sample: *mut SocketSample, tag: Tag, tcp: S, sk: S) {
    let net = tcp.follow(at!(skc_net));
    let timer = at!(keepalive_timer);
    let pprev: u64 = tcp.load(timer + at!(timer_pprev));
    let sk_flags: u64 = tcp.load(at!(skc_flags));
    let mut flags = 0;
    if sk_flags & (1 << at!(sock_keepopen)) != 0 {
        flags |= flag::KEEPALIVE;
    }
    if sk_flags & (1 << at!(sock_dead)) != 0 {
        flags |= flag::ORPHAN;
    }
    if tcp.load::<u64>(at!(sk_socket)) == 0 {
        flags |= flag::UNATTACHED;
    }
    if pprev != 0 {
        flags |= flag::TIMER_PENDING;
    }
    let is_mptcp = at!(is_mptcp) != ABSENT && tcp.load::<u8>(at!(is_mptcp)) != 0;
    let kern_sock: u8 = tcp.load(at!(sk_kern_sock) / 8);
    if is_mptcp {
        flags |= flag::MPTCP;
    } else if kern_sock & (1 << (at!(sk_kern_sock) % 8)) != 0 {
        flags |= flag::KERNEL;
    }
    if tcp.load::<u32>(at!(sk_max_ack_backlog)) != 0 {
        flags |= flag::BACKLOG;
    }
    let family: u16 = tcp.load(at!(skc_family));
    let snd_nxt: u32 = tcp.load(at!(snd_nxt));
    let unacked_bytes = snd_nxt.wrapping_sub(tcp.load(at!(snd_una)));
    let unsent_bytes = tcp.load::<u32>(at!(write_seq)).wrapping_sub(snd_nxt);
    // A segment goes out if all of it fits (`tcp_snd_wnd_test` in net/ipv4/tcp_output.c).
    let segment_bytes: u32 = tcp.load(at!(mss_cache));
    if unacked_bytes >= segment_bytes && segment_bytes > 0 {
        flags |= flag::SEGMENT_UNACKED;
    }
    if tcp.load::<u64>(at!(bytes_acked)) <= 1 {
        flags |= flag::NEVER_ACKNOWLEDGED;
    }
    // The peer's FIN takes a number, too, and is read like data (`tcp_inq` in include/net/tcp.h).
    let fin = match u32::from(tcp.load::<u8>(at!(skc_state))) {
        TCP_ESTABLISHED | TCP_FIN_WAIT1 | TCP_FIN_WAIT2 => 0,
        TCP_CLOSE_WAIT => 1,
        _ => u32::MAX,
    };
    if tcp.load::<u32>(at!(rcv_nxt)).wrapping_sub(tcp.load(at!(copied_seq))) > fin {
        flags |= flag::UNREAD;
    }
    let next_bytes = unsent_bytes.min(segment_bytes);
    if unacked_bytes == 0 && tcp.load::<u32>(at!(snd_wnd)) < next_bytes {
        flags |= flag::WINDOW_CLOSED;
    }
    if tcp.load::<u64>(at!(sk_dst_cache)) == 0 {
        flags |= flag::NO_ROUTE;
    }
    if tcp.load::<u32>(at!(retrans_out)) == 0 {
        flags |= flag::NONE_REPEATED;
    }
    if tcp.load::<u32>(at!(tlp_high_seq)) != 0 {
        flags |= flag::TAIL_REPEATED;
    }
    if tcp.load::<u64>(at!(bytes_received)) == 0 && tcp.load::<u64>(at!(bytes_sent)) != 0 {
        flags |= flag::NEVER_ANSWERED;
    }
    let tried_jiffies = if u32::from(tcp.load::<u8>(at!(skc_state))) == TCP_LISTEN {
        tcp.load(at!(sk_ack_backlog))
    } else {
        optional(tcp, at!(icsk_probes_tstamp))
    };
    let netns_syn_linear =
        if at!(net_syn_linear) == ABSENT { 0 } else { net.load(at!(net_syn_linear)) };
    // Field by field, in place: a whole record would be built on the stack first, which has 512 bytes.
    macro_rules! set {
        ($($field:ident: $value:expr,)*) => {$(
            // SAFETY: `sample` is a record that the caller owns.
            unsafe { (&raw mut (*sample).$field).write($value) };
        )*};
    }
    macro_rules! copy {
        ($from:ident; $($field:ident: $at:expr,)*) => {$(
            // SAFETY: `sample` is a record that the caller owns.
            $from.copy($at, unsafe { &raw mut (*sample).$field });
        )*};
    }
    set! {
        tag: tag.wire(),
        flags: flags,
        cookie: sk.id(),
        place: sk.place(),
        now_jiffies: generated::bpf_jiffies64(),
        at_ns: generated::bpf_ktime_get_ns(),
        cgroup: 0,
        family: family as u8,
        old_state: 0,
        netns_syn_linear: netns_syn_linear,
        unacked_bytes: unacked_bytes,
        unsent_bytes: unsent_bytes,
        tried_jiffies: tried_jiffies,
        rto_max_jiffies: optional(tcp, at!(icsk_rto_max)),
        inode: 0,
        pid: 0,
        fd: 0,
    }
    // SAFETY: as above; an IPv4 address stands in the first four bytes.
    let (local, remote, comm) = unsafe {
        (&raw mut (*sample).local_addr, &raw mut (*sample).remote_addr, &raw mut (*sample).comm)
    };
    for array in [local, remote, comm] {
        let words = array.cast::<u64>();
        // SAFETY: as above. Volatile, or it becomes a call of memset, a loop over bytes.
        unsafe {
            write_volatile(words, 0);
            write_volatile(words.add(1), 0);
        }
    }
    if family == AF_INET6 {
        tcp.bytes(at!(skc_v6_rcv_saddr), local);
        tcp.bytes(at!(skc_v6_daddr), remote);
    } else {
        tcp.copy(at!(skc_rcv_saddr), local.cast::<u32>());
        tcp.copy(at!(skc_daddr), remote.cast::<u32>());
    }
    copy! {
        tcp;
        timer_expires_jiffies: timer + at!(timer_expires),
        local_port_be: at!(inet_sport),
        remote_port_be: at!(skc_dport),
        state: at!(skc_state),
        own_idle_jiffies: at!(keepalive_time),
        own_interval_jiffies: at!(keepalive_intvl),
        own_count: at!(keepalive_probes),
        own_syn_retries: at!(icsk_syn_retries),
        probes_out: at!(icsk_probes_out),
        retransmits: at!(icsk_retransmits),
        user_timeout_ms: at!(icsk_user_timeout),
        acked_jiffies: at!(rcv_tstamp),
        received_jiffies: at!(icsk_ack_lrcvtime),
        out_of_window_jiffies: at!(last_oow_ack_time),
        sent_jiffies: at!(lsndtime),
        segs_in: at!(segs_in),
        segs_out: at!(segs_out),
        srtt_eighth_us: at!(srtt_us),
        retransmitted_ms: at!(retrans_stamp),
        error: at!(sk_err),
        soft_error: at!(sk_err_soft),
    }
    copy! {
        net;
        netns: at!(net_inum),
        netns_idle_jiffies: at!(net_idle),
        netns_interval_jiffies: at!(net_interval),
        netns_count: at!(net_count),
        netns_syn_retries: at!(net_syn_retries),
        netns_retries2: at!(net_retries2),
        netns_orphan_retries: at!(net_orphan_retries),
    }
    if report::is_on() {
        // SAFETY: as above; all of these are written.
        unsafe { doubt(&*sample, tag) };
    }
}

/// A field that not every kernel has; else 0.
#[inline(always)]
fn optional(tcp: impl Sock, offset: u32) -> u32 {
    if offset == ABSENT { 0 } else { tcp.load(offset) }
}

/// Reports a sample that no TCP socket can give: then the layout is not this kernel's.
#[inline(always)]
fn doubt(sample: &SocketSample, tag: Tag) {
    /// `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL` (include/net/tcp.h), at 1000 ticks a second.
    const MAX_JIFFIES: u32 = 32_767 * 1000;
    /// `MAX_TCP_KEEPCNT`.
    const MAX_COUNT: u8 = 127;
    let SocketSample {
        family,
        state,
        own_count,
        own_idle_jiffies,
        own_interval_jiffies,
        cookie,
        ..
    } = *sample;
    // One branch: each may double what a verifier has to look at.
    let is_odd = (state.wrapping_sub(1) >= TCP_MAX_STATES as u8 - 1)
        | ((family != AF_INET as u8) & (family != AF_INET6 as u8))
        | (own_count > MAX_COUNT)
        | (own_idle_jiffies > MAX_JIFFIES)
        | (own_interval_jiffies > MAX_JIFFIES);
    if is_odd {
        let record = match tag {
            Tag::Snapshot => report::word("snapshot"),
            Tag::StateChange => report::word("state"),
            Tag::Destroy => report::word("destroy"),
            Tag::Fire => report::word("fire"),
            Tag::Call => report::word("call"),
            // What is there may be no socket any more, or never was one.
            Tag::Again | Tag::ProcessFile => return,
            Tag::Listed => report::word("listed"),
        };
        let small = u64::from(state) | u64::from(own_count) << 8 | u64::from(family) << 32;
        report::odd_fields(record, small, own_idle_jiffies, own_interval_jiffies, cookie);
    }
}

/// Names the current process as the owner, unless the kernel works for itself.
#[inline(always)]
pub(crate) fn own_by_current(sample: &mut SocketSample) {
    let flags: u32 = with_current_task!(|task| task.load(at!(task_flags)));
    if flags & PF_KTHREAD != 0 || sample.flags & flag::KERNEL != 0 {
        return;
    }
    sample.flags |= flag::OWNER_KNOWN;
    sample.pid = current_process();
    // SAFETY: a helper call.
    sample.cgroup = unsafe { generated::bpf_get_current_cgroup_id() };
    // Of the process: its main thread, not the pool thread that calls.
    with_current_task!(|task| {
        let leader = task.follow(at!(task_group_leader));
        leader.bytes(at!(task_comm), &raw mut sample.comm);
    });
}
