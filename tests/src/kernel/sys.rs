//! System calls that nothing wraps safely: the unsafe code of the tests, but for ptrace(2) (`halted_program`).
#![expect(unsafe_code, reason = "raw system calls")]

use io_uring::{IoUring, opcode, types};
use libc::{c_int, c_void};
use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

const INT_LEN: u32 = 4;
const PAGE: usize = 4096;

/// `setsockopt(2)`.
pub(crate) fn setsockopt(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    let value = (&raw const value).cast::<c_void>();
    // SAFETY: `value` points at an int that outlives the call.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value, INT_LEN) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The same with a value of any size.
pub(crate) fn setsockopt_of_bytes(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &[u8],
) -> io::Result<()> {
    let len = u32::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: `value` is that long and outlives the call.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The same with a value that is not in memory.
pub(crate) fn setsockopt_from_nowhere(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
) -> io::Result<()> {
    // SAFETY: the kernel finds nothing at the last address, and says so.
    let result = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, ptr::without_provenance(usize::MAX), INT_LEN)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The same by an io_uring command (`SOCKET_URING_OP_SETSOCKOPT`, since 6.7).
pub(crate) fn setsockopt_by_io_uring(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    let mut ring = IoUring::new(1)?;
    let (level, name) = (level.cast_unsigned(), name.cast_unsigned());
    let value_at = (&raw const value).cast::<c_void>();
    let entry = opcode::SetSockOpt::new(types::Fd(fd.as_raw_fd()), level, name, value_at, INT_LEN);
    // SAFETY: `value` lives until the completion, which the next line waits for.
    unsafe { ring.submission().push(&entry.build()) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let result = ring.completion().next().map(|entry| entry.result());
    match result {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
        None => Err(io::Error::other("no completion")),
    }
}

/// The same as a 32-bit program does it: `int 0x80`, with the value below 4 GiB.
#[cfg(target_arch = "x86_64")]
pub(crate) fn setsockopt_of_32_bits(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    const SETSOCKOPT: i32 = 366; // arch/x86/entry/syscalls/syscall_32.tbl
    // SAFETY: a new mapping, at no given address.
    let low = unsafe {
        libc::mmap(
            ptr::null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    if low == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the page is ours, writable and aligned.
    unsafe { low.cast::<c_int>().write(value) };
    let address = i32::try_from(low.addr()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads 4 bytes at `address`, which are ours.
    let result = unsafe { int_80(SETSOCKOPT, [fd.as_raw_fd(), level, name, address, 4]) };
    // SAFETY: the mapping made above, used by nobody any more.
    unsafe { libc::munmap(low, PAGE) };
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-result)) }
}

/// The 32-bit system call gate.
///
/// # Safety
/// As for the system call of that number; and the kernel must have `CONFIG_IA32_EMULATION`, or the
/// process gets SIGSEGV.
#[cfg(target_arch = "x86_64")]
unsafe fn int_80(number: i32, [ebx, ecx, edx, esi, edi]: [i32; 5]) -> i32 {
    let result: i32;
    // SAFETY: LLVM reserves rbx, so it is swapped in and out; the gate clobbers r8 to r11.
    unsafe {
        std::arch::asm!(
            "xchg {first}, rbx",
            "int 0x80",
            "xchg {first}, rbx",
            first = inout(reg) i64::from(ebx) => _,
            inlateout("eax") number => result,
            in("ecx") ecx,
            in("edx") edx,
            in("esi") esi,
            in("edi") edi,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
    result
}

/// Whether the kernel answers `int 0x80`. A child tries it, since a kernel that does not kills it.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_32_bit_syscalls() -> bool {
    const GETPID: i32 = 20;
    // SAFETY: the child calls nothing but two system calls.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: getpid takes no memory; `_exit` runs nothing of the parent's.
        unsafe {
            int_80(GETPID, [0; 5]);
            libc::_exit(0)
        };
    }
    let mut status = 0;
    // SAFETY: `status` is a valid place; the child is ours.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    waited == child && libc::WIFEXITED(status)
}

/// What of `TCP_INFO` the tests need.
pub(crate) fn tcp_info(fd: BorrowedFd<'_>) -> io::Result<libc::tcp_info> {
    // SAFETY: integers only; any bytes are a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = u32::try_from(size_of_val(&info)).unwrap_or_default();
    let at = (&raw mut info).cast::<c_void>();
    // SAFETY: the kernel writes at most `len` bytes there.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, at, &raw mut len)
    };
    if result == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}

/// A page that is not there yet (userfaultfd): a thread that copies to it in the kernel waits, with all
/// locks that it holds.
#[derive(Debug)]
pub(crate) struct MissingPage {
    faults: OwnedFd,
    at: usize,
}

impl MissingPage {
    pub(crate) fn new() -> io::Result<Self> {
        const API: libc::Ioctl = 0xc018_aa3f; // include/uapi/linux/userfaultfd.h
        const REGISTER: libc::Ioctl = 0xc020_aa00;
        const MODE_MISSING: u64 = 1;
        // SAFETY: takes no memory.
        let faults = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        let faults = RawFd::try_from(checked(faults)?).map_err(io::Error::other)?;
        // SAFETY: a new descriptor, nobody else's.
        let faults = unsafe { OwnedFd::from_raw_fd(faults) };
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at no given address.
        let at = unsafe { libc::mmap(ptr::null_mut(), PAGE, access, kind, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let page = Self { faults, at: at.expose_provenance() };
        page.ioctl(API, [0xaa, 0, 0, 0])?;
        page.ioctl(REGISTER, [page.at as u64, PAGE as u64, MODE_MISSING, 0])?;
        Ok(page)
    }

    /// `recv(2)` of one byte into it: waits for the page with the socket locked (`tcp_recvmsg`).
    pub(crate) fn receive(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let at = ptr::with_exposed_provenance_mut(self.at);
        // SAFETY: the page is ours and nothing else refers to it.
        checked(unsafe { libc::recv(fd.as_raw_fd(), at, 1, 0) } as i64).map(drop)
    }

    /// Puts a page of zeros there.
    pub(crate) fn fill(&self) -> io::Result<()> {
        const ZEROPAGE: libc::Ioctl = 0xc020_aa04;
        self.ioctl(ZEROPAGE, [self.at as u64, PAGE as u64, 0, 0])
    }

    /// Each of the structures is of three or four numbers of 64 bits.
    fn ioctl(&self, request: libc::Ioctl, mut argument: [u64; 4]) -> io::Result<()> {
        // SAFETY: the kernel reads and writes at most the four numbers.
        let result = unsafe { libc::ioctl(self.faults.as_raw_fd(), request, &raw mut argument) };
        checked(result.into()).map(drop)
    }
}

impl Drop for MissingPage {
    fn drop(&mut self) {
        // SAFETY: our mapping, and nothing refers to it.
        unsafe { libc::munmap(ptr::with_exposed_provenance_mut(self.at), PAGE) };
    }
}

fn checked(result: i64) -> io::Result<i64> {
    if result >= 0 { Ok(result) } else { Err(io::Error::last_os_error()) }
}

/// What `bpf(BPF_MAP_LOOKUP_ELEM)` says to this thread when it names no map.
pub(crate) fn bpf_without_map() -> io::Error {
    const LOOKUP: c_int = 1;
    // The map's descriptor, then where the key and the value are.
    let attributes = [u64::from(u32::MAX), 0, 0, 0];
    let (at, n_bytes) = (attributes.as_ptr(), size_of_val(&attributes));
    // SAFETY: the attributes outlive the call, which writes nothing to a map that is not there.
    unsafe { libc::syscall(libc::SYS_bpf, LOOKUP, at, n_bytes) };
    io::Error::last_os_error()
}

/// What a system call answers whose arguments are all 0.
pub(crate) fn call_with_nothing(number: libc::c_long) -> io::Result<()> {
    // SAFETY: no pointer leads anywhere, and no descriptor but 0 is named.
    let result = unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) };
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The version of landlock that is on in this kernel (landlock_create_ruleset(2)); none if none is.
pub(crate) fn landlock_version() -> Option<i64> {
    const VERSION: c_int = 1;
    let nowhere = ptr::null::<c_void>();
    // SAFETY: with this flag the kernel reads nothing, and makes nothing.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nowhere, 0_usize, VERSION) };
    (version > 0).then_some(version)
}

/// Puts the calling thread into a new network namespace.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: affects nothing but the network namespace of this thread; descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
        .map_err(io::Error::from)
}

/// Puts the children of the calling thread into a new pid namespace.
pub(crate) fn unshare_pids() -> io::Result<()> {
    // SAFETY: affects nothing but the children of this thread.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWPID) }
        .map_err(io::Error::from)
}

/// Puts the calling thread into a new mount namespace.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: affects nothing but this thread's view of the file system; descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
        .map_err(io::Error::from)
}

/// What a child used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usage {
    /// User and system time, seconds.
    pub(crate) cpu_seconds: f64,
    /// Largest resident set, MiB.
    pub(crate) peak_mib: f64,
    /// None if a signal ended it.
    pub(crate) exit_code: Option<i32>,
}

/// Waits for a child and tells what it used.
#[expect(clippy::cast_precision_loss, reason = "seconds, microseconds and KiB of one process")]
pub(crate) fn wait_for_usage(child: &std::process::Child) -> io::Result<Usage> {
    let pid = RawFd::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    // SAFETY: integers only; any bytes are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid places; the child is ours and not waited for yet.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    if waited != pid {
        return Err(io::Error::last_os_error());
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Usage {
        cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        peak_mib: usage.ru_maxrss as f64 / 1024.0,
        exit_code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
    })
}

/// The commands of `bpf(2)` that are used here (`enum bpf_cmd` in include/uapi/linux/bpf.h).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bpf {
    CreateMap = 0,
    LookUp = 1,
    LoadProgram = 5,
    OpenRawTracepoint = 17,
}

/// `bpf(2)`: what it returns, a descriptor or 0. Fields that `attributes` is too short for are 0 to the kernel.
///
/// # Safety
/// `attributes` is the command's part of `union bpf_attr`, its padding included, and every address in it is of
/// memory that is as long as the command expects.
pub(crate) unsafe fn bpf<T>(command: Bpf, attributes: &mut T) -> io::Result<i32> {
    let size = size_of::<T>();
    // SAFETY: as promised by the caller.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as c_int, ptr::from_mut(attributes), size) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        i32::try_from(result).map_err(io::Error::other)
    }
}

/// The same for commands that return a new descriptor.
///
/// # Safety
/// As for [`bpf`].
unsafe fn bpf_descriptor<T>(command: Bpf, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: as promised by the caller.
    let fd = unsafe { bpf(command, attributes) }?;
    // SAFETY: the kernel made it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A map with one value of this size for each CPU.
pub(crate) fn bpf_value_by_cpu(value_size: u32) -> io::Result<OwnedFd> {
    const PERCPU_ARRAY: u32 = 6;
    let [key_size, n_entries] = [4, 1];
    // SAFETY: map_type, key_size, value_size, max_entries; no addresses.
    unsafe { bpf_descriptor(Bpf::CreateMap, &mut [PERCPU_ARRAY, key_size, value_size, n_entries]) }
}

/// The values of [`bpf_value_by_cpu`], of all CPUs. The size is a multiple of 8.
pub(crate) fn bpf_values(map: BorrowedFd<'_>, value_size: usize) -> io::Result<Vec<u64>> {
    #[repr(C)]
    struct Attributes {
        map: u64,
        key: *const u32,
        value: *mut u64,
        flags: u64,
    }
    let n_cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let mut values = vec![0_u64; n_cpus * value_size / size_of::<u64>()];
    let map = u64::try_from(map.as_raw_fd()).map_err(io::Error::other)?;
    let mut attributes =
        Attributes { map, key: &raw const FIRST, value: values.as_mut_ptr(), flags: 0 };
    // SAFETY: map_fd and its padding, a key of 4 bytes, room for every possible CPU's value.
    unsafe { bpf(Bpf::LookUp, &mut attributes) }?;
    Ok(values)
}

/// The only key of such a map.
static FIRST: u32 = 0;

/// Loads a program for raw tracepoints and attaches it, until the descriptors are closed.
pub(crate) fn bpf_on_raw_tracepoint(name: &CStr, program: &[u64]) -> io::Result<[OwnedFd; 2]> {
    #[repr(C)]
    struct Load {
        kind: u32,
        n_instructions: u32,
        instructions: *const u64,
        license: *const libc::c_char,
    }
    #[repr(C)]
    struct Attach {
        name: *const libc::c_char,
        program: u64,
    }
    const RAW_TRACEPOINT: u32 = 17;
    let mut load = Load {
        kind: RAW_TRACEPOINT,
        n_instructions: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr(),
        license: c"GPL".as_ptr(),
    };
    // SAFETY: `n_instructions` instructions of 8 bytes, and a text that ends in 0.
    let program = unsafe { bpf_descriptor(Bpf::LoadProgram, &mut load) }?;
    let fd = u64::try_from(program.as_raw_fd()).map_err(io::Error::other)?;
    // SAFETY: a text that ends in 0, and prog_fd with its padding.
    let link = unsafe {
        bpf_descriptor(Bpf::OpenRawTracepoint, &mut Attach { name: name.as_ptr(), program: fd })
    }?;
    Ok([program, link])
}

/// `mmap(2)` of the first page of a file, to be executed; it stays.
pub(crate) fn map_to_execute(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a new mapping, where the kernel wants it, which nothing refers to.
    let at = unsafe {
        libc::mmap(
            ptr::null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_PRIVATE,
            file.as_raw_fd(),
            0,
        )
    };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `mmap(2)` of a page of memory at this address, where nothing is; it stays.
pub(crate) fn map_memory_at(address: usize) -> io::Result<()> {
    // SAFETY: a new mapping; the kernel refuses if something is there.
    let at = unsafe {
        libc::mmap(
            ptr::without_provenance_mut(address),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        )
    };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}
