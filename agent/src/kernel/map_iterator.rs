//! An iterator over the elements of a map, or over what one process has: aya begins only those that are bound to nothing.
//!
//! Two commands of bpf(2), as include/uapi/linux/bpf.h has them (`link_create`, `iter_create`).

use rustix::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::io;

const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;
const BPF_TRACE_ITER: u32 = 28;

/// `struct { ... } link_create` of `union bpf_attr`.
#[repr(C)]
struct LinkCreate {
    program: RawFd,
    target: u32,
    attach_type: u32,
    flags: u32,
    info: *const [u32; 3],
    info_len: u32,
    padding: u32,
}

/// `struct { ... } iter_create` of `union bpf_attr`.
#[repr(C)]
struct IterCreate {
    link: RawFd,
    flags: u32,
}

/// Binds an iterator program, loaded for `bpf_map_elem`, to a map.
pub(super) fn attach(program: impl AsFd, map: impl AsFd) -> io::Result<OwnedFd> {
    // `struct { __u32 map_fd; } map` of `union bpf_iter_link_info`.
    bind(program, &[map.as_fd().as_raw_fd().cast_unsigned(), 0, 0])
}

/// Binds an iterator program over tasks, their files or their mappings to the main thread of one process (since 6.1).
pub(super) fn attach_to_process(program: impl AsFd, pid: u32) -> io::Result<OwnedFd> {
    // `struct { __u32 tid; __u32 pid; __u32 pid_fd; } task` of that union.
    bind(program, &[pid, 0, 0])
}

fn bind(program: impl AsFd, info: &[u32; 3]) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        program: program.as_fd().as_raw_fd(),
        target: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        info: &raw const *info,
        info_len: u32::try_from(size_of_val(info)).unwrap_or_default(),
        padding: 0,
    };
    bpf(BPF_LINK_CREATE, &attributes)
}

/// Begins to read. Each time is a new one: an iterator reads once.
pub(super) fn begin(link: impl AsFd) -> io::Result<OwnedFd> {
    bpf(BPF_ITER_CREATE, &IterCreate { link: link.as_fd().as_raw_fd(), flags: 0 })
}

#[expect(unsafe_code, reason = "aya has no call for it, and rustix none for bpf(2)")]
fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads the attributes while the call runs, all of which outlive it.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    let fd = RawFd::try_from(answer).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both commands return a new descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
