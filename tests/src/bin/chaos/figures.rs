//! What an agent takes of its host.

use keepwatch_tests::answer::agent::Agent;
use std::fs;

/// Memory and descriptors of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessFigures {
    pub(crate) resident_mib: f64,
    /// The most that it ever had.
    pub(crate) peak_mib: f64,
    pub(crate) n_descriptors: usize,
}

impl ProcessFigures {
    pub(crate) fn of(agent: &Agent) -> Self {
        let proc = format!("/proc/{}", agent.pid());
        let status = fs::read_to_string(format!("{proc}/status")).expect("its status");
        let mib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("its memory");
            let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
            kib / 1024.0
        };
        let n_descriptors = fs::read_dir(format!("{proc}/fd")).expect("its descriptors").count();
        Self { resident_mib: mib("VmRSS:"), peak_mib: mib("VmHWM:"), n_descriptors }
    }
}
