//! What the agent itself costs, read from the kernel at each scrape.

use crate::kernel::clock;
use std::fs;

/// The agent's process now. What cannot be read is not shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AgentProcess {
    /// CPU time since the start.
    pub cpu_seconds: f64,
    /// Resident memory; none if /proc could not be read.
    pub resident_bytes: Option<u64>,
    /// Unix time of the start.
    pub started_at_seconds: f64,
    /// Open file descriptors; none if /proc could not be read.
    pub n_open_fds: Option<u64>,
}

impl AgentProcess {
    /// Reads the agent's own figures from /proc.
    pub(crate) fn read(started_at_seconds: f64) -> Self {
        Self {
            cpu_seconds: clock::cpu_seconds(),
            resident_bytes: fs::read_to_string("/proc/self/statm").ok().and_then(|statm| {
                let n_pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
                Some(n_pages * u64::try_from(rustix::param::page_size()).ok()?)
            }),
            started_at_seconds,
            // Not the one that lists them.
            n_open_fds: fs::read_dir("/proc/self/fd")
                .ok()
                .and_then(|fds| u64::try_from(fds.count().saturating_sub(1)).ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_descriptors_and_used_time() {
        let process = AgentProcess::read(1.0);
        assert!(process.resident_bytes.unwrap() > 1 << 20);
        assert!(process.n_open_fds.unwrap() >= 1);
        assert!(process.cpu_seconds > 0.0);
    }
}
