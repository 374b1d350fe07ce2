//! A line of `keepwatch sockets --json`, as a user's program reads it: by name, with what it needs.
//! A field that is missing or of another type fails the test.

use serde::Deserialize;
use std::net::SocketAddr;

/// A line of `sockets --json`.
#[expect(missing_docs, reason = "`keepwatch::view::row` describes each")]
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct SocketLine {
    pub id: String,
    pub netns: u32,
    pub family: String,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub state: String,
    pub direction: String,
    pub direction_from: String,
    pub keepalive: bool,
    pub idle: EffectiveSeconds,
    pub interval: EffectiveSeconds,
    pub count: EffectiveProbes,
    pub user_timeout_ms: u32,
    pub detection_seconds: Option<u64>,
    pub gap_seconds: Option<f64>,
    pub gap_from: Option<String>,
    pub verdict: String,
    pub condition: Option<String>,
    pub condition_seconds: Option<f64>,
    pub condition_at_least: bool,
    pub silent_seconds: f64,
    pub spoke_last_seconds: Option<f64>,
    pub peer_closed_seconds: Option<f64>,
    pub listeners: Option<u8>,
    pub could_not_send: bool,
    pub unread_seconds: Option<f64>,
    pub network_error: Option<String>,
    pub unanswered_seconds: Option<f64>,
    pub gives_up_seconds: Option<f64>,
    pub longest_quiet_seconds: f64,
    pub watched_seconds: f64,
    pub peer_probes: bool,
    pub retransmits: u8,
    pub meaning: String,
    pub idle_limit_seconds: u32,
    pub idle_limit_from: String,
    pub path: Option<String>,
    pub quiet_seconds: f64,
    pub next_probe_seconds: Option<f64>,
    pub until_limit_seconds: Option<f64>,
    pub probes_unanswered: u8,
    pub in_flight: bool,
    pub owners: Vec<SocketHolder>,
    pub unit: Option<String>,
    pub container: Option<String>,
    pub container_id: Option<String>,
    pub namespace: Option<String>,
    pub workload: Option<String>,
    pub pod: Option<String>,
}

/// An effective time, and whether it is the socket's own or the namespace's.
#[expect(missing_docs, reason = "as the type says")]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EffectiveSeconds {
    pub seconds: u32,
    pub from: String,
}

/// An effective count, and whether it is the socket's own or the namespace's.
#[expect(missing_docs, reason = "as the type says")]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct EffectiveProbes {
    pub probes: u32,
    pub from: String,
}

/// A process that has the socket open.
#[expect(missing_docs, reason = "as the type says")]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct SocketHolder {
    pub pid: u32,
    pub fd: Option<u32>,
    pub process: String,
}

impl SocketLine {
    /// Whether process `pid` has it as descriptor `fd`.
    pub fn is_held(&self, pid: u32, fd: u32) -> bool {
        self.owners.iter().any(|owner| owner.pid == pid && owner.fd == Some(fd))
    }
}
