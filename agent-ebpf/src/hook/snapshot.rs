//! `iter/task_file` (since 5.8): every open file of every process, in all network namespaces.
//!
//! It cannot see a socket that no descriptor refers to: orphans that are still closing, connections
//! in an accept queue, kernel sockets. `look_again` and `listed` do, and `subflows` what is behind MPTCP.

use super::{
    iterator::{FileContext, is_mptcp, own_by_descriptor},
    timer::learn_callback,
};
use crate::{
    atomic::bump,
    emit::counts,
    read::{Raw, Read, Typed, at, sock_of_file},
    sample::{Sock, fill},
    wanted::{learn_walker, walks, wants},
};
use aya_ebpf::helpers::generated;
use core::ptr::read_volatile;
use keepwatch_ebpf::record::{SAMPLE_LEN, SocketSample, Tag};

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn snapshot(context: *const FileContext) -> i32 {
    // Field by field: the verifier allows no load of the padding behind `fd`.
    // SAFETY: the kernel calls an iterator program with its context.
    let (meta, task, fd, file) = unsafe {
        (
            read_volatile(&raw const (*context).meta),
            read_volatile(&raw const (*context).task),
            read_volatile(&raw const (*context).fd),
            read_volatile(&raw const (*context).file),
        )
    };
    if task.is_null() || file.is_null() {
        return 0;
    }
    learn_walker();
    let mut sample = core::mem::MaybeUninit::<SocketSample>::uninit();
    if !fill_from_file(sample.as_mut_ptr(), file, Typed(task)) {
        return 0;
    }
    // SAFETY: `fill` has written every field.
    let sample = unsafe { sample.assume_init_mut() };
    own_by_descriptor(sample, Typed(task), fd, Typed(file));
    // SAFETY: `meta` and its sequence file are the iterator's. When the buffer is full the kernel
    // keeps nothing of this record and shows the same file again (kernel/bpf/bpf_iter.c).
    unsafe {
        generated::bpf_seq_write(
            (*meta).seq.cast(),
            (&raw const *sample).cast(),
            SAMPLE_LEN as u32,
        );
    }
    0
}

/// Samples the TCP socket behind a file, if there is one that is wanted.
#[inline(always)]
fn fill_from_file(sample: *mut SocketSample, file: *const u8, task: Typed) -> bool {
    if at!(has_sock_from_file) == 0 {
        let file = Raw(file);
        let sk = sock_of_file(file, file.follow(at!(file_inode)));
        return sk.is_some_and(|sk| {
            if !sk.is_tcp() {
                count_mptcp(sk);
                return false;
            }
            fill_if_wanted(sample, sk, sk.0, task)
        });
    }
    // SAFETY: a helper call on a typed pointer.
    let socket = unsafe { generated::bpf_sock_from_file(file.cast_mut().cast()) };
    if socket.is_null() {
        return false;
    }
    let sk = Typed(socket.cast_const().cast()).follow(at!(socket_sk));
    let Some(tcp) = sk.tcp_sock() else {
        count_mptcp(sk);
        return false;
    };
    fill_if_wanted(sample, tcp, tcp.0, task)
}

/// Counts a socket behind which others are: user space walks over those, too, if there are any.
#[inline(always)]
fn count_mptcp(sk: impl Read) {
    if is_mptcp(sk)
        && let Some(counts) = counts()
    {
        bump(&mut counts.mptcp);
    }
}

#[inline(always)]
fn fill_if_wanted(
    sample: *mut SocketSample,
    tcp: impl Sock,
    address: *const u8,
    task: Typed,
) -> bool {
    learn_callback(tcp);
    if !wants(tcp, address) && !walks(task) {
        return false;
    }
    fill(sample, Tag::Snapshot, tcp, tcp);
    true
}
