//! One socket as it is at this moment.

use crate::read::{Raw, Read, Typed, at, global};
use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, generated},
    macros::map,
    maps::PerCpuArray,
};
use keepwatch_ebpf::record::{Sample, Tag, flag};

/// Makes an id of an address where the kernel gives no cookies: odd, so that no two sockets get the
/// same; random, so that no address can be told from it.
#[unsafe(no_mangle)]
static ID_KEY: u64 = 1;

/// Where a pointer becomes a number: the verifier lets nobody calculate with a typed one.
#[map]
static ADDRESS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// A socket that can be sampled.
pub(crate) trait Sock: Read {
    /// Its id, asked for as `ss -e` does; 0 where it cannot be asked for and has none yet.
    fn id(self) -> u64;
}

impl Sock for Typed {
    #[inline(always)]
    fn id(self) -> u64 {
        if at!(has_cookies) == 1 {
            // SAFETY: a helper call on a typed pointer.
            return unsafe { generated::bpf_get_socket_cookie(self.0.cast_mut().cast()) };
        }
        // SAFETY: element 0 exists; the pointer is this CPU's own.
        let Some(address) = ADDRESS.get_ptr_mut(0).and_then(|at| unsafe { at.as_mut() }) else {
            return 0;
        };
        // SAFETY: a valid reference; volatile, so that the number goes through memory.
        unsafe {
            core::ptr::write_volatile(address, self.0 as u64);
            core::ptr::read_volatile(address).wrapping_mul(global(&ID_KEY))
        }
    }
}

impl Sock for Raw {
    #[inline(always)]
    fn id(self) -> u64 {
        if at!(has_cookies) == 1 {
            self.load(at!(skc_cookie))
        } else {
            (self.0 as u64).wrapping_mul(global(&ID_KEY))
        }
    }
}

const AF_INET6: u16 = 10;

/// Writes every field of `sample` but owner, inode and state change from the socket `tcp`.
///
/// `sk` is the same socket as the hook got it: the cookie helper wants that pointer.
#[inline(always)]
pub(crate) fn fill<S: Sock>(sample: *mut Sample, tag: Tag, tcp: S, sk: S) {
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
    if pprev != 0 {
        flags |= flag::TIMER_PENDING;
    }
    if tcp.load::<u32>(at!(sk_max_ack_backlog)) != 0 {
        flags |= flag::BACKLOG;
    }
    let family: u16 = tcp.load(at!(skc_family));
    let (local_addr, remote_addr) = if family == AF_INET6 {
        (tcp.bytes(at!(skc_v6_rcv_saddr)), tcp.bytes(at!(skc_v6_daddr)))
    } else {
        (ipv4(tcp.load(at!(skc_rcv_saddr))), ipv4(tcp.load(at!(skc_daddr))))
    };
    let netns_count = if at!(net_count_size) == 1 {
        u32::from(net.load::<u8>(at!(net_count)))
    } else {
        net.load(at!(net_count))
    };
    let snd_nxt: u32 = tcp.load(at!(snd_nxt));
    // Field by field: a whole record at once would be built on the stack first, which has 512 bytes.
    macro_rules! set {
        ($($field:ident: $value:expr,)*) => {$(
            // SAFETY: `sample` is a record that the caller owns.
            unsafe { (&raw mut (*sample).$field).write($value) };
        )*};
    }
    set! {
        tag: tag.wire(),
        flags: flags,
        cookie: sk.id(),
        now_jiffies: generated::bpf_jiffies64(),
        at_ns: generated::bpf_ktime_get_ns(),
        timer_expires_jiffies: tcp.load(timer + at!(timer_expires)),
        cgroup: 0,
        local_addr: local_addr,
        remote_addr: remote_addr,
        local_port_be: tcp.load(at!(inet_sport)),
        remote_port_be: tcp.load(at!(skc_dport)),
        family: family,
        state: tcp.load(at!(skc_state)),
        old_state: 0,
        netns: net.load(at!(net_inum)),
        own_idle_jiffies: tcp.load(at!(keepalive_time)),
        own_interval_jiffies: tcp.load(at!(keepalive_intvl)),
        netns_idle_jiffies: net.load(at!(net_idle)),
        netns_interval_jiffies: net.load(at!(net_interval)),
        netns_count: netns_count,
        own_count: tcp.load(at!(keepalive_probes)),
        probes_out: tcp.load(at!(icsk_probes_out)),
        retransmits: tcp.load(at!(icsk_retransmits)),
        _pad: 0,
        user_timeout_ms: tcp.load(at!(icsk_user_timeout)),
        acked_jiffies: tcp.load(at!(rcv_tstamp)),
        received_jiffies: tcp.load(at!(icsk_ack_lrcvtime)),
        sent_jiffies: tcp.load(at!(lsndtime)),
        unacked_bytes: snd_nxt.wrapping_sub(tcp.load(at!(snd_una))),
        unsent_bytes: tcp.load::<u32>(at!(write_seq)).wrapping_sub(snd_nxt),
        retransmitted_ms: tcp.load(at!(retrans_stamp)),
        inode: 0,
        error: tcp.load(at!(sk_err)),
        soft_error: tcp.load(at!(sk_err_soft)),
        pid: 0,
        fd: 0,
        comm: [0; 16],
    }
}

/// An IPv4 address as it stands in memory, in the first four bytes.
#[inline(always)]
fn ipv4(addr_be: u32) -> [u8; 16] {
    let [a, b, c, d] = addr_be.to_ne_bytes();
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// Names the current process as the owner.
#[inline(always)]
pub(crate) fn own_by_current(sample: &mut Sample) {
    // SAFETY: helper calls.
    let (task, cgroup) =
        unsafe { (generated::bpf_get_current_task(), generated::bpf_get_current_cgroup_id()) };
    sample.flags |= flag::OWNER_KNOWN;
    sample.pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    sample.cgroup = cgroup;
    // Of the process: its main thread, not the pool thread that calls.
    sample.comm = Raw(task as *const u8).follow(at!(task_group_leader)).bytes(at!(task_comm));
}
