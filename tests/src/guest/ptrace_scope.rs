//! Yama, the security module that says who may look into a process: `kernel.yama.ptrace_scope`.

use super::is_guest;
use std::{fs, path::Path};

/// Of the kernel, Documentation/admin-guide/LSM/Yama.rst.
const FILE: &str = "/proc/sys/kernel/yama/ptrace_scope";

/// Yama of a guest. No other is ours to set: what is 3 stays so until the next boot.
#[derive(Debug)]
pub struct PtraceScope(());

impl PtraceScope {
    /// That of this machine, if it is such a guest and its kernel has Yama.
    pub fn of_guest() -> Option<Self> {
        (is_guest() && Path::new(FILE).is_file()).then_some(Self(()))
    }

    /// Sets it. From 3 there is no way back.
    pub fn set(&self, scope: u8) {
        fs::write(FILE, scope.to_string()).expect("kernel.yama.ptrace_scope of a guest");
    }
}
