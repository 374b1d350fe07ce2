//! Giving memory back after start-up.

/// Returns freed memory to the system. Reading the kernel's types takes some 30 MB for a moment, and
/// glibc would keep the pages for later.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "glibc has no safe way to say it")]
pub fn give_back() {
    // SAFETY: malloc_trim touches only memory that nobody holds (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves.
#[cfg(not(target_env = "gnu"))]
pub const fn give_back() {}
