//! `iter/task_file` once more, for MPTCP: what programs have open is no TCP socket, but a connection made of some. Each
//! of these is shown with the descriptor of the whole, to which the program's calls go.

use super::{
    iterator::{FileContext, is_mptcp, own_by_descriptor},
    timer::learn_callback,
};
use crate::{
    read::{Cast, Raw, Read, Typed, at, sock_of_file},
    report,
    sample::{Sock, fill},
    wanted::{learn_walker, wants},
};
use aya_ebpf::{helpers::generated, macros::map, maps::PerCpuArray};
use core::{mem::MaybeUninit, ptr::read_volatile};
use keepwatch_ebpf::record::{SAMPLE_LEN, SocketSample, Tag};

/// Subflows of one connection that are shown: the kernel allows 8 more than the first (`MPTCP_SUBFLOWS_MAX` in
/// net/mptcp/pm_netlink.c).
const N_SUBFLOWS: u32 = 9;

/// Room for a sample, of which the stack has too little.
#[map]
static SAMPLE: PerCpuArray<MaybeUninit<SocketSample>> = PerCpuArray::with_max_entries(1, 0);

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn subflows(context: *const FileContext) -> i32 {
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
    let Some(msk) = mptcp_sock(Typed(file)) else {
        return 0;
    };
    let head = msk.after(at!(mptcp_list));
    let mut node: Raw = head.follow(0);
    // SAFETY: element 0 exists; one thread reads this iterator, and a program does not migrate.
    let Some(room) = SAMPLE.get_ptr_mut(0).and_then(|room| unsafe { room.as_mut() }) else {
        report::no_slot(report::word("SUBFLOWS"));
        return 0;
    };
    let sample = room.as_mut_ptr();
    for _ in 0..N_SUBFLOWS {
        if node.0 == head.0 || node.0.is_null() {
            break;
        }
        let sk: Raw = node.before(at!(subflow_node)).follow(at!(subflow_sock));
        node = node.follow(0);
        let is_filled = if Cast::is_possible() {
            fill_if_wanted(sample, Cast::tcp_sock(sk), sk)
        } else {
            fill_if_wanted(sample, sk, sk)
        };
        if !is_filled {
            continue;
        }
        // SAFETY: `fill` has written every field.
        let sample = unsafe { &mut *sample };
        own_by_descriptor(sample, Typed(task), fd, Typed(file));
        // SAFETY: `meta` and its sequence file are the iterator's.
        unsafe {
            generated::bpf_seq_write(
                (*meta).seq.cast(),
                (&raw const *sample).cast(),
                SAMPLE_LEN as u32,
            );
        }
    }
    0
}

/// The MPTCP socket behind a file.
#[inline(always)]
fn mptcp_sock(file: Typed) -> Option<Raw> {
    if at!(has_sock_from_file) == 0 {
        let file = file.raw();
        return sock_of_file(file, file.follow(at!(file_inode))).filter(|sk| is_mptcp(*sk));
    }
    // SAFETY: a helper call on a typed pointer.
    let socket = unsafe { generated::bpf_sock_from_file(file.0.cast_mut().cast()) };
    if socket.is_null() {
        return None;
    }
    let sk = Typed(socket.cast_const().cast()).follow(at!(socket_sk));
    if sk.0.is_null() || !is_mptcp(sk) {
        return None;
    }
    Some(Raw(sk.0))
}

/// One that nothing has seen yet has no cookie, which no program gives it by an address alone (the helper wants a pointer that the
/// verifier knows). It is shown all the same: user space then lists its namespace, as `listed` gives one to each that it sees.
#[inline(always)]
fn fill_if_wanted(sample: *mut SocketSample, tcp: impl Sock, sk: Raw) -> bool {
    if sk.0.is_null() || !tcp.is_tcp() {
        return false;
    }
    learn_callback(tcp);
    if !wants(tcp, sk.0) {
        return false;
    }
    fill(sample, Tag::Snapshot, tcp, tcp);
    true
}
