//! Reading one socket: the only code that knows kernel structs.

use aya_ebpf::helpers::{bpf_probe_read_kernel, generated};
use core::ptr::read_volatile;
use keepwatch_ebpf::{
    layout::Layout,
    record::{Sample, flag},
};

/// Written by user space before the hooks load, constant to the verifier since. It must not be all
/// zeros, or it would become `.bss`.
#[unsafe(no_mangle)]
pub(crate) static LAYOUT: Layout = {
    // SAFETY: Layout is made of u32 only; any bytes are a value.
    unsafe { core::mem::transmute([0xffu8; size_of::<Layout>()]) }
};

/// The value of one field of the layout.
macro_rules! at {
    ($field:ident) => {
        $crate::sample::global(&$crate::sample::LAYOUT.$field)
    };
}
pub(crate) use at;

/// Loads a global that user space has overridden.
#[inline(always)]
pub(crate) fn global(value: &u32) -> u32 {
    // SAFETY: a reference; volatile, so that the compiler does not fold the placeholder in.
    unsafe { read_volatile(value) }
}

/// The BTF-typed pointer that an iterator or a `tp_btf` hook gave us, or one reached from it. The
/// verifier checks each load against the type, and the kernel survives a fault (it reads 0).
#[derive(Clone, Copy)]
pub(crate) struct Typed(pub(crate) *const u8);

impl Typed {
    /// Loads the scalar or pointer at an offset that BTF gave us.
    #[inline(always)]
    pub(crate) fn load<T: Copy>(self, offset: u32) -> T {
        // SAFETY: the verifier has proven that `offset` is a member of this size.
        unsafe { read_volatile(self.0.add(offset as usize).cast()) }
    }

    /// The typed pointer at an offset.
    #[inline(always)]
    pub(crate) fn follow(self, offset: u32) -> Self {
        Self(self.load(offset))
    }

    /// Copies an array member, which a typed load cannot.
    #[inline(always)]
    pub(crate) fn bytes(self, offset: u32) -> [u8; 16] {
        // SAFETY: a checked read of kernel memory.
        unsafe { bpf_probe_read_kernel(self.0.add(offset as usize).cast()) }.unwrap_or_default()
    }

    /// The full TCP socket behind this `struct sock`, if it is one (not a TIME_WAIT or request
    /// mini socket, not another protocol).
    #[inline(always)]
    pub(crate) fn tcp_sock(self) -> Option<Self> {
        // SAFETY: a helper call on a typed pointer.
        let tcp = unsafe { generated::bpf_skc_to_tcp_sock(self.0.cast_mut().cast()) };
        (!tcp.is_null()).then_some(Self(tcp.cast_const().cast()))
    }
}

const AF_INET6: u16 = 10;

/// Writes every field of `sample` but tag, owner and state change from the socket `tcp`.
///
/// `sk` is the same socket as the hook got it: the cookie helper wants that pointer.
#[inline(always)]
pub(crate) fn fill(sample: *mut Sample, tcp: Typed, sk: Typed) {
    let net = tcp.follow(at!(skc_net));
    let timer = at!(keepalive_timer);
    let pprev: u64 = tcp.load(timer + at!(timer_pprev));
    let sk_flags: u64 = tcp.load(at!(skc_flags));
    let mut flags = 0;
    if sk_flags & (1 << at!(sock_keepopen)) != 0 {
        flags |= flag::KEEPALIVE;
    }
    if pprev != 0 {
        flags |= flag::TIMER_PENDING;
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
    let write_seq: u32 = tcp.load(at!(write_seq));
    let snd_nxt: u32 = tcp.load(at!(snd_nxt));
    // SAFETY: helper calls.
    let (cookie, now_jiffies) = unsafe {
        (generated::bpf_get_socket_cookie(sk.0.cast_mut().cast()), generated::bpf_jiffies64())
    };
    // Field by field: a whole record at once would be built on the stack first, which has 512 bytes.
    macro_rules! set {
        ($($field:ident: $value:expr,)*) => {$(
            // SAFETY: `sample` is a record that the caller owns.
            unsafe { (&raw mut (*sample).$field).write($value) };
        )*};
    }
    set! {
        tag: 0,
        flags: flags,
        cookie: cookie,
        now_jiffies: now_jiffies,
        at_ns: 0,
        timer_expires_jiffies: tcp.load(timer + at!(timer_expires)),
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
        _pad: [0; 2],
        user_timeout_ms: tcp.load(at!(icsk_user_timeout)),
        acked_jiffies: tcp.load(at!(rcv_tstamp)),
        received_jiffies: tcp.load(at!(icsk_ack_lrcvtime)),
        sent_jiffies: tcp.load(at!(lsndtime)),
        packets_out: tcp.load(at!(packets_out)),
        unsent_bytes: write_seq.wrapping_sub(snd_nxt),
        listen_backlog: tcp.load(at!(sk_max_ack_backlog)),
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
