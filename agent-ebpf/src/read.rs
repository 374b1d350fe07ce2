//! Four ways to read kernel memory at offsets that BTF gave us: [`Typed`], [`Raw`], [`Cast`], [`Copied`].

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated};
use core::{arch::asm, mem::MaybeUninit, ptr::read_volatile};
use keepwatch_ebpf::{
    abi::{AF_INET, AF_INET6, IPPROTO_TCP},
    layout::{CAST, Layout},
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
        $crate::read::global(&$crate::read::LAYOUT.$field)
    };
}
pub(crate) use at;

/// Loads a global that user space has overridden.
#[inline(always)]
pub(crate) fn global<T: Copy>(value: &T) -> T {
    // SAFETY: a reference; volatile, so that the compiler does not fold the placeholder in.
    unsafe { read_volatile(value) }
}

/// A pointer into kernel memory.
pub(crate) trait Read: Copy {
    /// What a pointer leads to.
    type Far: Read;

    /// Loads the scalar at an offset.
    fn load<T: Copy + Default>(self, offset: u32) -> T;
    /// Copies the scalar at an offset to a place that the caller owns, with nothing on the stack.
    fn copy<T: Copy + Default>(self, offset: u32, to: *mut T);
    /// The pointer at an offset.
    fn follow(self, offset: u32) -> Self::Far;
    /// Copies an array of 16 bytes.
    fn bytes(self, offset: u32, to: *mut [u8; 16]);

    /// Whether this `struct sock` is a TCP socket.
    #[inline(always)]
    fn is_tcp(self) -> bool {
        let family: u16 = self.load(at!(skc_family));
        (family == AF_INET || family == AF_INET6)
            && self.load::<u16>(at!(sk_protocol)) == IPPROTO_TCP
    }
}

/// The BTF-typed pointer that an iterator or a `tp_btf` hook gave us, or one reached from it. The
/// verifier checks each load against the type, and the kernel survives a fault (it reads 0).
#[derive(Clone, Copy)]
pub(crate) struct Typed(pub(crate) *const u8);

impl Typed {
    /// The full TCP socket behind this `struct sock`, if it is one (not a TIME_WAIT or request
    /// mini socket, not another protocol).
    #[inline(always)]
    pub(crate) fn tcp_sock(self) -> Option<Self> {
        // SAFETY: a helper call on a typed pointer.
        let tcp = unsafe { generated::bpf_skc_to_tcp_sock(self.0.cast_mut().cast()) };
        (!tcp.is_null()).then_some(Self(tcp.cast_const().cast()))
    }

    /// The same pointer, with every load checked when it happens instead of by type.
    #[inline(always)]
    pub(crate) const fn raw(self) -> Raw {
        Raw(self.0)
    }
}

impl Read for Typed {
    type Far = Self;

    #[inline(always)]
    fn load<T: Copy + Default>(self, offset: u32) -> T {
        // SAFETY: the verifier has proven that `offset` is a member of this size.
        unsafe { read_volatile(self.0.add(offset as usize).cast()) }
    }

    #[inline(always)]
    fn copy<T: Copy + Default>(self, offset: u32, to: *mut T) {
        // SAFETY: the caller owns the place.
        unsafe { to.write(self.load(offset)) };
    }

    #[inline(always)]
    fn follow(self, offset: u32) -> Self {
        // SAFETY: as in `load`.
        Self(unsafe { read_volatile(self.0.add(offset as usize).cast()) })
    }

    #[inline(always)]
    fn bytes(self, offset: u32, to: *mut [u8; 16]) {
        self.raw().copy(offset, to); // a typed load cannot
    }
}

/// Any address, read through a helper that fails where there is nothing: then it reads 0.
#[derive(Clone, Copy)]
pub(crate) struct Raw(pub(crate) *const u8);

impl Raw {
    /// The address `bytes` behind: of a member.
    #[inline(always)]
    pub(crate) const fn after(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes as usize))
    }

    /// The address `bytes` before: `container_of`.
    #[inline(always)]
    pub(crate) const fn before(self, bytes: u32) -> Self {
        Self(self.0.wrapping_sub(bytes as usize))
    }
}

/// An address whose type the kernel knows by a cast: loads instead of calls, as with a [`Typed`] one, and
/// like there a fault reads 0. No helper takes it.
#[derive(Clone, Copy)]
pub(crate) struct Cast(Typed);

impl Cast {
    /// Whether the kernel can do that.
    #[inline(always)]
    pub(crate) fn is_possible() -> bool {
        at!(cast_id) != 0
    }

    /// What is at this address is of the type with this BTF id.
    #[inline(always)]
    pub(crate) fn of(address: *const u8, id: u32) -> Self {
        let typed: *const u8;
        // SAFETY: `bpf_rdonly_cast` takes any address; a call leaves no more than r6 to r9.
        unsafe {
            asm!(
                "call {}",
                const CAST,
                inlateout("r1") address => _,
                inlateout("r2") u64::from(id) => _,
                out("r0") typed,
                out("r3") _, out("r4") _, out("r5") _,
            );
        }
        Self(Typed(typed))
    }

    /// The TCP socket at this address, of this or any shorter type of socket.
    #[inline(always)]
    pub(crate) fn tcp_sock(sk: Raw) -> Self {
        Self::of(sk.0, at!(tcp_sock_id))
    }

    /// The same address, with every load checked when it happens instead of by type.
    #[inline(always)]
    pub(crate) const fn raw(self) -> Raw {
        self.0.raw()
    }
}

impl Read for Cast {
    type Far = Self;

    #[inline(always)]
    fn load<T: Copy + Default>(self, offset: u32) -> T {
        self.0.load(offset)
    }

    #[inline(always)]
    fn copy<T: Copy + Default>(self, offset: u32, to: *mut T) {
        self.0.copy(offset, to);
    }

    #[inline(always)]
    fn follow(self, offset: u32) -> Self {
        Self(self.0.follow(offset))
    }

    #[inline(always)]
    fn bytes(self, offset: u32, to: *mut [u8; 16]) {
        self.0.bytes(offset, to);
    }
}

/// The `struct sock` behind a file with this inode, if it is a socket's (`sock_from_file` in
/// net/socket.c, by the kind of the inode instead of the file's operations).
#[inline(always)]
pub(crate) fn sock_of_file(file: impl Read, inode: impl Read) -> Option<Raw> {
    const S_IFMT: u16 = 0o170_000;
    const S_IFSOCK: u16 = 0o140_000;
    if inode.load::<u16>(at!(inode_mode)) & S_IFMT != S_IFSOCK {
        return None;
    }
    let socket = Raw(file.load::<u64>(at!(file_private)) as *const u8);
    if socket.0.is_null() {
        return None;
    }
    let sk = if Cast::is_possible() {
        Cast::of(socket.0, at!(socket_id)).follow(at!(socket_sk)).raw()
    } else {
        socket.follow(at!(socket_sk))
    };
    (!sk.0.is_null()).then_some(sk)
}

/// Runs `$body` with the current task as `$task`: a typed one where the kernel hands that out, for
/// each load of a raw one is a call.
macro_rules! with_current_task {
    (|$task:ident| $body:expr) => {{
        use aya_ebpf::helpers::generated;
        if $crate::read::at!(has_typed_task) == 1 {
            // SAFETY: a helper call.
            let task = unsafe { generated::bpf_get_current_task_btf() };
            let $task = $crate::read::Typed(task.cast_const().cast());
            $body
        } else {
            // SAFETY: a helper call.
            let $task =
                $crate::read::Raw(unsafe { generated::bpf_get_current_task() } as *const u8);
            $body
        }
    }};
}
pub(crate) use with_current_task;

/// The id of the current process, as the initial pid namespace numbers it.
#[inline(always)]
pub(crate) fn current_process() -> u32 {
    // The low half is the thread's.
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// The file of one of a task's descriptors.
#[inline(always)]
pub(crate) fn file_of<R: Read<Far = R>>(task: R, fd: u32) -> Option<Raw> {
    let table = task.follow(at!(task_files)).follow(at!(files_table));
    if fd >= table.load::<u32>(at!(table_len)) {
        return None;
    }
    // An array of pointers has no type.
    let files = table.load::<u64>(at!(table_files)) as *const u8;
    let file = Raw(files.wrapping_add(fd as usize * size_of::<u64>())).follow(0);
    (!file.0.is_null()).then_some(file)
}

impl Read for Raw {
    type Far = Self;

    #[inline(always)]
    fn load<T: Copy + Default>(self, offset: u32) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        self.copy(offset, value.as_mut_ptr());
        // SAFETY: `copy` has written all of it.
        unsafe { value.assume_init() }
    }

    #[inline(always)]
    fn copy<T: Copy + Default>(self, offset: u32, to: *mut T) {
        let from = self.0.wrapping_add(offset as usize);
        // No branch on failure: thirty of them in a row are 2^30 ways to the verifier of 5.10.
        // SAFETY: the caller owns the place. The helper writes all of it: zeros where it cannot read
        // (`bpf_probe_read_kernel_common` in kernel/trace/bpf_trace.c).
        unsafe { generated::bpf_probe_read_kernel(to.cast(), size_of::<T>() as u32, from.cast()) };
    }

    #[inline(always)]
    fn follow(self, offset: u32) -> Self {
        Self(self.load::<u64>(offset) as *const u8)
    }

    #[inline(always)]
    fn bytes(self, offset: u32, to: *mut [u8; 16]) {
        self.copy(offset, to);
    }
}

/// A TCP socket's memory as it was a moment ago: one call of a helper instead of forty.
#[derive(Clone, Copy)]
pub(crate) struct Copied {
    bytes: *const u8,
    /// Where it was copied from.
    pub(crate) sk: Raw,
}

impl Copied {
    /// Copies the `struct tcp_sock` at `sk`.
    #[inline(always)]
    pub(crate) fn of(sk: Raw, room: &'static mut Room) -> Self {
        let bytes = (&raw mut room.0).cast::<u8>();
        // SAFETY: the verifier knows the length and that it fits. Where it cannot be read, the helper
        // writes zeros.
        unsafe {
            generated::bpf_probe_read_kernel(bytes.cast(), at!(tcp_sock_len), sk.0.cast());
        }
        Self { bytes, sk }
    }
}

/// Room for a `struct tcp_sock`: in a map, the stack has 512 bytes.
#[repr(C, align(8))]
pub(crate) struct Room([u8; 4096]);

impl Read for Copied {
    type Far = Raw;

    #[inline(always)]
    fn load<T: Copy + Default>(self, offset: u32) -> T {
        // SAFETY: within the copy, as the verifier sees.
        unsafe { read_volatile(self.bytes.add(offset as usize).cast()) }
    }

    #[inline(always)]
    fn copy<T: Copy + Default>(self, offset: u32, to: *mut T) {
        // SAFETY: the caller owns the place.
        unsafe { to.write(self.load(offset)) };
    }

    #[inline(always)]
    fn follow(self, offset: u32) -> Raw {
        Raw(self.load::<u64>(offset) as *const u8)
    }

    #[inline(always)]
    fn bytes(self, offset: u32, to: *mut [u8; 16]) {
        // SAFETY: the caller owns the place, and addresses are aligned to four bytes.
        unsafe { to.cast::<[u32; 4]>().write(self.load(offset)) };
    }
}
