//! What this process has in its memory: libraries, and what looks like a language's runtime.

use super::sys;
use std::{fs::File, io, os::fd::AsFd as _};

/// Where the heap of a Go program begins, up to Go 1.25 (`mallocinit` in src/runtime/malloc.go).
pub const GO_HEAP: usize =
    if cfg!(target_arch = "aarch64") { 0x40_0000_0000 } else { 0xc0_0000_0000 };

/// Maps a file as the dynamic loader maps the code of a library.
pub fn load(file: &File) -> io::Result<()> {
    sys::map_to_execute(file.as_fd())
}

/// Takes a page of memory at an address.
pub fn take(address: usize) -> io::Result<()> {
    sys::map_memory_at(address)
}
