//! What `keepwatch` can do on this host where eBPF is refused.

use super::{Check, Grade};
use crate::kernel::{host, proc_source::ProcSource};

/// What there is where hooks are refused.
pub(super) fn check() -> Check {
    const SEEN: &str = "`--source proc` reads settings, states and owners of what processes have open; not seen there are \
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
            format!("{SEEN}; only of this user's processes: no {}", missing.join(", no ")),
            "where eBPF is refused, give the process these capabilities",
        ),
    }
}
