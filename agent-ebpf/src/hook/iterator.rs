//! What iterators have in common: what the kernel hands them, and how a descriptor is read.

use crate::read::{Read, Typed, at};
use core::ffi::c_void;
use keepwatch_ebpf::{
    abi::IPPROTO_MPTCP,
    layout::ABSENT,
    record::{SocketSample, flag},
};

/// `struct bpf_iter__task_file` (kernel/bpf/task_iter.c).
#[repr(C)]
pub(super) struct FileContext {
    pub(super) meta: *const Meta,
    pub(super) task: *const u8,
    pub(super) fd: u32,
    pub(super) file: *const u8,
}

/// `struct bpf_iter_meta` (include/linux/bpf.h).
#[repr(C)]
pub(super) struct Meta {
    pub(super) seq: *mut c_void,
    /// Differs from walk to walk.
    pub(super) session: u64,
    /// How many objects this walk has shown before.
    pub(super) seq_num: u64,
}

/// Names the process with this descriptor as the owner.
#[inline(always)]
pub(super) fn own_by_descriptor(sample: &mut SocketSample, task: Typed, fd: u32, file: Typed) {
    let leader = task.follow(at!(task_group_leader));
    let refs: u64 = file.load(at!(file_refs));
    if refs > u64::from(at!(file_refs_alone)) {
        sample.flags |= flag::SHARED;
    }
    sample.pid = task.load(at!(task_tgid));
    sample.fd = fd;
    sample.inode = file.follow(at!(file_inode)).load(at!(inode_number));
    leader.bytes(at!(task_comm), &raw mut sample.comm);
}

/// Whether this is an MPTCP connection as programs see it.
#[inline(always)]
pub(super) fn is_mptcp(sk: impl Read) -> bool {
    at!(mptcp_list) != ABSENT && sk.load::<u16>(at!(sk_protocol)) == IPPROTO_MPTCP
}
