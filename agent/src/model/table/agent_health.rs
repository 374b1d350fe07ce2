//! The agent's own figures: its hooks, its walks, and the records at each stage.

use crate::model::observed::{event::Fire, socket::Time};
use serde::{Deserialize, Serialize};

/// The agent's own figures.
#[derive(Clone, Debug, Default)]
pub struct AgentHealth {
    /// When these figures were published.
    pub published: Time,
    /// What of the host's processes is in sight.
    pub host_view: HostView,
    /// Without eBPF: why, and what is not seen. None of an agent with hooks.
    pub without_ebpf: Option<WithoutEbpf>,
    /// Signal, mechanism, whether it is attached.
    pub hooks: Vec<(&'static str, &'static str, bool)>,
    /// Records at each stage.
    pub flow: EventFlow,
    /// Walks that were finished.
    pub n_walks: u64,
    /// Walks that ended with an error.
    pub n_failed_walks: u64,
    /// Walks that ended with an error since the last that did not.
    pub n_failed_in_a_row: u64,
    /// CPU time of the last walk.
    pub walk_cpu_ms: u64,
    /// Wall time of the last walk.
    pub walk_seconds: f64,
    /// Seconds since 1970 at the end of the last walk; 0 before the first.
    pub walked_at_seconds: f64,
    /// Sockets removed without an event that reported their end.
    pub n_pruned: u64,
    /// Moments that found no room in a history.
    pub n_unrecorded: u64,
    /// Fires of keepalive timers by outcome, exact whether or not events were lost.
    pub fires: [u64; Fire::ALL.len()],
    /// Connections that ended, exact whether or not events were lost.
    pub n_ended: u64,
}

impl AgentHealth {
    /// What connections are read by, as metrics and the API name it.
    pub const fn source(&self) -> &'static str {
        let [kernel, proc] = Self::SOURCES;
        if self.without_ebpf.is_some() { proc } else { kernel }
    }

    /// By hooks, and without.
    pub const SOURCES: [&'static str; 2] = ["kernel", "proc"];
}

/// An agent that reads /proc in place of hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WithoutEbpf {
    /// Why eBPF is refused; none if nobody wanted it.
    pub refused: Option<String>,
    /// What the last walk did not see.
    pub not_seen: NotSeen,
    /// Processes whose descriptors the last walk has read.
    pub n_processes: u64,
}

/// What a walk without eBPF did not see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotSeen {
    /// Processes whose descriptors are not shown, or not lent, to us.
    pub processes: u64,
    /// Connections that no process has open.
    pub without_descriptor: u64,
    /// Further parts of MPTCP connections.
    pub subflows: u64,
    /// Sockets in namespaces whose sysctls cannot be read.
    pub of_unread_namespaces: u64,
}

impl NotSeen {
    /// How many of each kind, by its name in metrics.
    pub const fn counts(&self) -> [(&'static str, u64); 4] {
        let Self { processes, without_descriptor, subflows, of_unread_namespaces } = *self;
        [
            ("processes", processes),
            ("without_descriptor", without_descriptor),
            ("subflows", subflows),
            ("origin_of_settings", of_unread_namespaces),
        ]
    }

    /// Of none.
    pub const NONE: Self =
        Self { processes: 0, without_descriptor: 0, subflows: 0, of_unread_namespaces: 0 };
}

/// What of the host's processes is in sight: a walk finds sockets by the processes that have them open, and /proc says whose
/// they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostView {
    /// All of them.
    #[default]
    Whole,
    /// Only those of another pid namespace than the host's.
    OtherPidNamespace,
    /// There is no /proc that says it.
    NoProc,
}

/// Records at each stage since the start. Conservation: `seen = submitted + dropped + filtered`,
/// `submitted = received` (once the ring is empty), `received = decoded + undecodable`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFlow {
    /// Runs of event hooks.
    pub seen: u64,
    /// Records put into the ring buffer.
    pub submitted: u64,
    /// Records for which it had no room.
    pub dropped: u64,
    /// Runs that the kernel skipped, because the hook ran on that CPU already.
    #[serde(default)]
    pub skipped: u64,
    /// Runs that never happened, as snapshots found out: a lower bound.
    #[serde(default)]
    pub unseen: u64,
    /// Runs that needed no record.
    pub filtered: u64,
    /// Records taken out of the ring buffer.
    pub received: u64,
    /// Records that became events.
    pub decoded: u64,
    /// Records that could not be understood, and were skipped.
    pub undecodable: u64,
}

impl EventFlow {
    /// Of an agent that has just started.
    pub const NONE: Self = Self {
        seen: 0,
        submitted: 0,
        dropped: 0,
        skipped: 0,
        unseen: 0,
        filtered: 0,
        received: 0,
        decoded: 0,
        undecodable: 0,
    };

    /// What came this far, by stage.
    pub const fn reached(&self) -> [(&'static str, u64); 5] {
        let Self { seen, filtered, submitted, received, decoded, .. } = *self;
        [
            ("seen", seen),
            ("filtered", filtered),
            ("submitted", submitted),
            ("received", received),
            ("decoded", decoded),
        ]
    }

    /// What was lost, by stage.
    pub const fn lost(&self) -> [(&'static str, u64); 4] {
        let Self { unseen, skipped, dropped, undecodable, .. } = *self;
        [
            ("unseen", unseen),
            ("skipped", skipped),
            ("ring_full", dropped),
            ("undecodable", undecodable),
        ]
    }

    /// All that was lost: the one number for "events lost", wherever it stands.
    pub const fn n_lost(&self) -> u64 {
        let Self { unseen, skipped, dropped, undecodable, .. } = *self;
        unseen + skipped + dropped + undecodable
    }
}
