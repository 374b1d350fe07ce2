//! What a program costs.

use crate::{
    kernel::{
        netns::NetworkNamespace,
        sys::{self, Usage},
    },
    wait,
};
use rustix::time::{ClockId, clock_gettime};
use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

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

/// Memory of a running process, MiB: `VmRSS` is what it has now, `VmHWM` the most that it ever had (proc_pid_status(5)).
#[track_caller]
pub fn memory_mib(pid: u32, key: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let value = |line: &str| {
        line.strip_prefix(key)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse().ok()
    };
    let kibibytes: f64 = status.lines().find_map(value).expect("its memory");
    kibibytes / 1024.0
}

/// User and system time that a running process has taken so far, in all its threads.
#[track_caller]
pub fn cpu_seconds(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    let nanoseconds = tasks.flatten().filter_map(|task| {
        // A thread may end meanwhile. The first number is its time (Documentation/scheduler/sched-stats.rst).
        let numbers = fs::read_to_string(task.path().join("schedstat")).ok()?;
        numbers.split(' ').next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}

/// User and system time that this thread has taken so far.
pub fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Runs a program to its end in a namespace, with its output thrown away.
#[track_caller]
pub fn measure(netns: &NetworkNamespace, command: &mut Command) -> Cost {
    measure_ending_with(netns, command, &[0])
}

/// The same of a program that may end with one of these exit codes.
#[track_caller]
#[expect(clippy::zombie_processes, reason = "waited for by wait4, which tells the usage")]
pub fn measure_ending_with(
    netns: &NetworkNamespace,
    command: &mut Command,
    exit_codes: &[i32],
) -> Cost {
    let began = wait::now();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = netns.run(|| command.spawn());
    let child = child.unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let Usage { cpu_seconds, peak_mib, exit_code } =
        sys::wait_for_usage(&child).expect("wait for our own child");
    let is_fine = exit_code.is_some_and(|code| exit_codes.contains(&code));
    assert!(is_fine, "{command:?} failed: {exit_code:?}");
    Cost { cpu_seconds, wall_seconds: began.elapsed().as_secs_f64(), peak_mib }
}
