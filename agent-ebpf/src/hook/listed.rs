//! `iter/tcp` (since 5.9): every TCP socket of one network namespace, that of the thread that began it. Here are those
//! that are older than the agent and that nobody has open: the kernel's own, orphans, connections in an accept queue.

use super::iterator::Meta;
use crate::{read::Typed, sample::fill, wanted::wants};
use aya_ebpf::helpers::generated;
use core::ptr::read_volatile;
use keepwatch_ebpf::record::{SAMPLE_LEN, SocketSample, Tag};

/// `struct bpf_iter__tcp` (net/ipv4/tcp_ipv4.c).
#[repr(C)]
struct ListContext {
    meta: *const Meta,
    sk_common: *const u8,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
extern "C" fn listed(context: *const ListContext) -> i32 {
    // SAFETY: the kernel calls an iterator program with its context.
    let (meta, sk) = unsafe {
        (read_volatile(&raw const (*context).meta), read_volatile(&raw const (*context).sk_common))
    };
    if sk.is_null() {
        return 0;
    }
    // Not of TIME_WAIT and handshakes, which have no settings.
    let Some(tcp) = Typed(sk).tcp_sock() else {
        return 0;
    };
    if !wants(tcp, tcp.0) {
        return 0;
    }
    let mut sample = core::mem::MaybeUninit::<SocketSample>::uninit();
    fill(sample.as_mut_ptr(), Tag::Listed, tcp, tcp);
    // SAFETY: `fill` has written every field; `meta` and its sequence file are the iterator's.
    unsafe {
        generated::bpf_seq_write((*meta).seq.cast(), sample.as_ptr().cast(), SAMPLE_LEN as u32);
    }
    0
}
