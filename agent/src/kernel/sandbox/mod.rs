//! What a process gives up for good once it runs: every path but those that it needs (landlock), and every system call but
//! those that it needs (seccomp). It holds for the calling thread and for all that this thread starts from then on.
//!
//! Each part works by itself, as far as the kernel has it: an old kernel does not keep an agent from running.

mod calls;
mod never;
mod paths;

pub use paths::{Access, Reach};

use serde::{Deserialize, Serialize};
use std::{fmt, fs};

/// Whether the sandbox is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SandboxMode {
    /// As far as the kernel has it
    On,
    /// Keep every right that the user of the agent has
    Off,
}

/// What of the sandbox is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// What bounds the paths that are opened.
    pub landlock: Confinement,
    /// What bounds the system calls.
    pub seccomp: Confinement,
}

/// One part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Whether it bounds this process.
    pub in_force: bool,
    /// What the kernel cannot refuse, or why nothing is refused; null if all of it is in force.
    #[serde(default)]
    pub missing: Option<String>,
}

impl Confinement {
    const WHOLE: Self = Self { in_force: true, missing: None };

    fn absent(why: impl fmt::Display) -> Self {
        Self { in_force: false, missing: Some(why.to_string()) }
    }
}

impl Sandbox {
    /// The mechanisms, as the metric and the log name them.
    pub const MECHANISMS: [&str; 2] = ["landlock", "seccomp"];

    /// Of a process that gives nothing up.
    pub fn off() -> Self {
        let off = || Confinement::absent("it is off, by --sandbox off");
        Self { landlock: off(), seccomp: off() }
    }

    /// Gives up all but this. To be called before the process has a second thread.
    pub fn enter(reach: &Reach) -> Self {
        let landlock = reach.enter();
        // From here on landlock's own calls are refused, too.
        Self { landlock, seccomp: refused(Borrowing::Refused) }
    }

    /// The same of an agent that borrows descriptors of other processes. Landlock would refuse it that
    /// (`hook_ptrace_access_check` in security/landlock/task.c), so it may open every path.
    pub fn enter_beside_proc() -> Self {
        let landlock = Confinement::absent(
            "it would refuse to read what other processes have open, by which an agent without eBPF sees connections",
        );
        Self { landlock, seccomp: refused(Borrowing::Allowed) }
    }

    /// Each mechanism with what is in force of it.
    pub const fn parts(&self) -> [(&'static str, &Confinement); 2] {
        let [landlock, seccomp] = Self::MECHANISMS;
        [(landlock, &self.landlock), (seccomp, &self.seccomp)]
    }

    /// The names of the mechanisms that are in force, with a comma; `none` without any.
    pub fn in_force(&self) -> String {
        let parts = self.parts().into_iter().filter(|(_, part)| part.in_force);
        let names: Vec<_> = parts.map(|(name, _)| name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(",") }
    }
}

/// Whether an agent borrows what other processes have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Borrowing {
    Refused,
    Allowed,
}

/// Refuses the calls that it does not need.
fn refused(borrowing: Borrowing) -> Confinement {
    match never::refuse(borrowing).and_then(|()| calls::allow(borrowing)) {
        Ok(()) => Confinement::WHOLE,
        Err(error) => Confinement::absent(format!("the kernel takes no filter: {error}")),
    }
}

/// What a sandbox on this kernel would have. Asked without entering one.
pub fn of_this_kernel() -> Sandbox {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let has = |action| actions.split_ascii_whitespace().any(|it| it == action);
    let seccomp = if has("kill_process") && has("errno") && has("allow") {
        Confinement::WHOLE
    } else {
        Confinement::absent("this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)")
    };
    Sandbox { landlock: paths::of_this_kernel(), seccomp }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_named() {
        let absent = || Confinement::absent("a test");
        let named = |landlock, seccomp| Sandbox { landlock, seccomp }.in_force();
        assert_eq!(named(Confinement::WHOLE, Confinement::WHOLE), "landlock,seccomp");
        assert_eq!(named(absent(), Confinement::WHOLE), "seccomp");
        assert_eq!(named(absent(), absent()), "none");
        assert_eq!(Sandbox::off().in_force(), "none");
    }
}
