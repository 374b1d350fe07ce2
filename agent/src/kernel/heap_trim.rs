//! Giving memory back: what start-up, a burst or a walk over many takes for a moment is not kept.

/// Has blocks from 128 KiB up returned as soon as they are free. glibc raises that bound to 32 MB with
/// the first such block that is freed (mallopt(3)), and from then on keeps them.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "glibc has no safe way to say it")]
pub(crate) fn keep_little() {
    // SAFETY: sets a number of the allocator's.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10) };
}

/// Other allocators have no such bound that moves.
#[cfg(not(target_env = "gnu"))]
pub const fn keep_little() {}

/// Returns freed memory to the system. Reading the kernel's types takes some 30 MB for a moment, and
/// glibc would keep the pages for later.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "glibc has no safe way to say it")]
pub(crate) fn give_back() {
    // SAFETY: malloc_trim touches only memory that nobody holds (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves.
#[cfg(not(target_env = "gnu"))]
pub const fn give_back() {}
