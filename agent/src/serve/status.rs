//! `GET /v1/status`: what the agent says of itself. Fields are only ever added.

use super::Shared;
use crate::{
    kernel::{hooks::Signal, proc_source, sandbox::Sandbox},
    model::{
        judgement::given_limits::GivenPath,
        table::agent_health::{EventFlow, WithoutEbpf},
    },
    store,
};
use serde::{Deserialize, Serialize};

/// The answer of `/v1/status`: the agent that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AgentStatus {
    /// Its version, like `0.1.0`.
    pub version: String,
    /// Its process id, as it sees it itself.
    pub pid: u32,
    /// Unix time of its start.
    pub started_unix_seconds: f64,
    /// What connections are read by: `kernel`, by eBPF, or `proc`, without; null of an agent that can only do the first.
    #[serde(default)]
    pub source: Option<String>,
    /// Why eBPF is refused, if it was wanted; null if not.
    #[serde(default)]
    pub ebpf_refused: Option<String>,
    /// What is not seen without eBPF, each in words: in general, and by the last snapshot.
    #[serde(default)]
    pub not_seen: Vec<String>,
    /// Of these what is hidden for want of rights: a part of the host is not all of it.
    #[serde(default)]
    pub hidden: Option<String>,
    /// What carries each signal.
    pub hooks: Vec<Hook>,
    /// Down to which level what goes wrong inside them is logged; null of an agent that cannot.
    #[serde(default)]
    pub log_hooks: Option<String>,
    /// Records at each stage since its start.
    pub flow: EventFlow,
    /// Sockets in its table.
    pub sockets: u64,
    /// Sockets that its last snapshot met and its full table could not take.
    pub sockets_untracked: u64,
    /// Unix time at the end of its last snapshot; 0 before the first.
    pub snapshot_unix_seconds: f64,
    /// Why it is not ready; null if it is.
    pub unready: Option<String>,
    /// How the history on disk is; null of an agent that keeps none.
    #[serde(default)]
    pub history: Option<store::HistoryStatus>,
    /// The configured paths.
    #[serde(default)]
    pub paths: Vec<GivenPath>,
    /// What it has given up; null of an agent that cannot.
    #[serde(default)]
    pub sandbox: Option<Sandbox>,
}

fn not_seen(without: &WithoutEbpf) -> Vec<String> {
    let words = without.not_seen.words().into_iter();
    [proc_source::NEVER_SEEN_BY_AGENT.to_owned()].into_iter().chain(words).collect()
}

/// One way to carry a signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hook {
    /// The name of the signal.
    pub signal: String,
    /// The name of the kernel mechanism.
    pub mechanism: String,
    /// Whether it is attached.
    pub attached: bool,
}

impl AgentStatus {
    /// Whether a hook of it carries this signal.
    pub(crate) fn carries(&self, signal: Signal) -> bool {
        self.hooks.iter().any(|hook| hook.signal == signal.as_str() && hook.attached)
    }

    /// What this process says of itself.
    pub(super) fn new(shared: &Shared) -> Self {
        let snapshot = shared.totals();
        let health = &snapshot.health;
        let without = health.without_ebpf.as_ref();
        let hooks = health.hooks.iter().map(|&(signal, mechanism, attached)| Hook {
            signal: signal.to_owned(),
            mechanism: mechanism.to_owned(),
            attached,
        });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_unix_seconds: shared.started(),
            source: Some(health.source().to_owned()),
            ebpf_refused: without.and_then(|without| without.refused.clone()),
            not_seen: without.map_or_else(Vec::new, not_seen),
            hidden: without.and_then(|without| without.not_seen.hidden()),
            hooks: hooks.collect(),
            log_hooks: Some(shared.log_hooks.to_owned()),
            flow: health.flow,
            sockets: snapshot.n_tracked,
            sockets_untracked: snapshot.n_untracked,
            snapshot_unix_seconds: health.walked_at_seconds,
            unready: shared.unready(),
            history: Some(shared.history.health.status()),
            paths: shared.configured_paths(),
            sandbox: Some(shared.sandbox.clone()),
        }
    }
}
