//! What an agent takes of its host.

use keepwatch_tests::{answer::agent::Agent, measure::memory_mib};
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
        let mib = |key| memory_mib(agent.pid(), key);
        let fds = fs::read_dir(format!("/proc/{}/fd", agent.pid())).expect("its descriptors");
        Self { resident_mib: mib("VmRSS"), peak_mib: mib("VmHWM"), n_descriptors: fds.count() }
    }
}
