//! What `keepwatch` can do on this host where eBPF is refused.

use super::{Check, Grade};
use crate::{
    kernel::{host, proc_source::ProcSource},
    serve::AgentStatus,
};

/// What an agent does not see that runs without hooks; none of one that has them.
pub(super) fn of_agent(status: &AgentStatus) -> Option<Check> {
    if status.source.as_deref() != Some("proc") {
        return None;
    }
    let not_seen = status.not_seen.join("; ");
    Some(match &status.ebpf_refused {
        Some(refused) => Check::graded(
            "agent source",
            Grade::Blind,
            format!("/proc, for eBPF was refused ({refused}): not seen are {not_seen}"),
            "give it what it needs for eBPF, or `--source proc` if this is meant",
        ),
        None => Check::ok("agent source", format!("/proc, without eBPF: not seen are {not_seen}")),
    })
}

/// What there is where hooks are refused.
pub(super) fn check() -> Check {
    const SEEN: &str = "`--source proc` reads settings, states and owners of what processes have open, and `run` so from look to look; not seen are \
                        events, deaths, who set what, probes of the peer, and sockets without a descriptor";
    let missing = host::missing_for_descriptors();
    match ProcSource::open() {
        Err(error) => Check::graded(
            "without eBPF",
            Grade::Note,
            error.to_string(),
            "only needed where eBPF is refused",
        ),
        Ok(_) if missing.is_empty() => Check::ok("without eBPF", SEEN),
        Ok(_) => Check::graded(
            "without eBPF",
            Grade::Note,
            format!("{SEEN}; only of some processes: it lacks {}", missing.join(" and ")),
            "where eBPF is refused, give the process what it lacks",
        ),
    }
}
