//! What only a machine of our own may have done to it: a guest that `cargo xtask vm` has booted.

pub mod ptrace_scope;
pub mod wall_clock;

use std::{fs, path::Path};

/// Whether this is such a guest: its process 1 is our own `/init`, which reads `/plan`.
fn is_guest() -> bool {
    let init = fs::read_link("/proc/1/exe");
    init.is_ok_and(|init| init == Path::new("/init")) && Path::new("/plan").is_file()
}
