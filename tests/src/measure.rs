//! What a program costs.

use crate::{
    kernel::{
        netns::NetworkNamespace,
        sys::{self, Usage},
    },
    wait,
};
use std::process::{Command, Stdio};

/// The cost of one run, or the least of several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// User and system time.
    pub cpu_seconds: f64,
    /// From start to end.
    pub wall_seconds: f64,
    /// The largest resident set, MiB.
    pub peak_mib: f64,
}

impl Cost {
    /// The less of each.
    #[must_use]
    pub const fn least(self, other: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds.min(other.cpu_seconds),
            wall_seconds: self.wall_seconds.min(other.wall_seconds),
            peak_mib: self.peak_mib.min(other.peak_mib),
        }
    }
}

/// Runs a program to its end in a namespace, with its output thrown away.
#[track_caller]
#[expect(clippy::zombie_processes, reason = "waited for by wait4, which tells the usage")]
pub fn measure(netns: &NetworkNamespace, command: &mut Command) -> Cost {
    let began = wait::now();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = netns.run(|| command.spawn());
    let child = child.unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let Usage { cpu_seconds, peak_mib, success } =
        sys::wait_for_usage(&child).expect("wait for our own child");
    assert!(success, "{command:?} failed");
    Cost { cpu_seconds, wall_seconds: began.elapsed().as_secs_f64(), peak_mib }
}
