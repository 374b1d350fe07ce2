//! One connection as it is shown: in JSON, in text, over the API. Fields are only ever added.

use crate::model::{
    judgement::verdict::{Surroundings, Verdict},
    observed::{
        owner_identity::Identity,
        setting::{Effective, SettingOrigin},
        socket::{Direction, DirectionFrom, Owner, Socket, State, Time},
    },
    text::duration::{seconds, signed_seconds},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, net::SocketAddr};

/// A connection, its settings, and what follows from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The socket cookie, as `ss -e` writes it.
    pub id: String,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// `ipv4` or `ipv6`; an IPv4-mapped address counts, and is shown, as IPv4.
    pub family: Cow<'static, str>,
    /// Address and port of our end.
    pub local: SocketAddr,
    /// Address and port of the peer.
    pub remote: SocketAddr,
    /// The TCP state when it was sampled.
    pub state: State,
    /// Who sent the SYN.
    pub direction: Direction,
    /// Whether the agent saw that, or inferred it.
    pub direction_from: DirectionFrom,
    /// Whether SO_KEEPALIVE is on.
    pub keepalive: bool,
    /// Quiet time before the first probe, and whose setting it is.
    pub idle: Seconds,
    /// Time between two probes, and whose setting it is.
    pub interval: Seconds,
    /// Effective number of probes.
    pub count: Probes,
    /// TCP_USER_TIMEOUT in milliseconds; 0 is unset.
    pub user_timeout_ms: u32,
    /// Silence until the kernel gives up; null while keepalive is off.
    pub detection_seconds: Option<u64>,
    /// Does keepalive protect it on its path?
    pub verdict: Verdict,
    /// The verdict in words, with the numbers behind it.
    pub reason: String,
    /// How long the path keeps a quiet connection.
    pub idle_limit_seconds: u32,
    /// `default`, `learned`, or `preset NAME` or `configured`, then ` by flag`, ` by variable` or ` by config file`.
    pub idle_limit_from: String,
    /// The name of the configured path.
    pub path: Option<String>,
    /// How long no packet went either way, as far as the socket remembers.
    pub quiet_seconds: f64,
    /// Time until the next probe; null when none is due: off, or data in flight.
    pub next_probe_seconds: Option<f64>,
    /// Time until the path forgets it; negative when it probably has. Null for local peers.
    pub until_limit_seconds: Option<f64>,
    /// Probes sent in a row without an answer.
    pub probes_unanswered: u8,
    /// Data waits to be sent or acknowledged: keepalive waits meanwhile.
    pub in_flight: bool,
    /// Processes that have it open; first the one that it is counted for.
    pub owners: Vec<RowOwner>,
    /// systemd unit of the owner.
    pub unit: Option<String>,
    /// Container of the owner: its name, else the first digits of its id.
    pub container: Option<String>,
    /// Kubernetes namespace of the owner.
    pub namespace: Option<String>,
    /// Kubernetes workload of the owner, or the service of Compose, Swarm, ECS or Nomad.
    pub workload: Option<String>,
    /// Kubernetes pod of the owner.
    pub pod: Option<String>,
}

/// An effective time and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seconds {
    /// The effective value in seconds.
    pub seconds: u32,
    /// The socket itself, or its network namespace.
    pub from: SettingOrigin,
}

/// An effective count and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// The effective number of probes.
    pub probes: u32,
    /// The socket itself, or its network namespace.
    pub from: SettingOrigin,
}

/// A process that has the socket open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowOwner {
    /// The process id in the initial pid namespace.
    pub pid: u32,
    /// Name, harmless to print.
    pub process: String,
    /// Descriptor, if it was seen.
    pub fd: Option<u32>,
}

impl From<&Owner> for RowOwner {
    fn from(owner: &Owner) -> Self {
        Self { pid: owner.pid, process: owner.comm.escaped(), fd: owner.fd }
    }
}

impl From<Effective> for Seconds {
    fn from(Effective { value, from }: Effective) -> Self {
        Self { seconds: value, from }
    }
}

impl Row {
    /// What is shown of `socket` at `now`, with all its owners.
    pub fn new<'a>(
        socket: &Socket,
        owners: impl IntoIterator<Item = &'a Owner>,
        around: &Surroundings,
        now: Time,
    ) -> Self {
        let age_ms = now.ms_since(socket.at);
        let quiet_ms = u64::from(socket.quiet_ms) + age_ms;
        let limit = around.limits.of(socket.remote);
        let count = socket.count();
        Self {
            id: socket.id.to_string(),
            netns: socket.netns,
            family: Cow::Borrowed(if socket.local.is_ipv4() { "ipv4" } else { "ipv6" }),
            local: socket.local.socket_addr(),
            remote: socket.remote.socket_addr(),
            state: socket.state,
            direction: socket.direction,
            direction_from: socket.direction_from,
            keepalive: socket.keepalive,
            idle: socket.idle().into(),
            interval: socket.interval().into(),
            count: Probes { probes: count.value, from: count.from },
            user_timeout_ms: socket.own.user_timeout_ms,
            detection_seconds: socket.detection_seconds(),
            verdict: around.verdict(socket),
            reason: around.reason(socket),
            idle_limit_seconds: limit.seconds,
            idle_limit_from: limit.from.clone(),
            path: limit.path.clone(),
            quiet_seconds: seconds(quiet_ms),
            next_probe_seconds: socket.next_probe_ms().map(|ms| seconds(ms.saturating_sub(age_ms))),
            until_limit_seconds: around.until_limit_ms(socket, quiet_ms).map(signed_seconds),
            probes_unanswered: socket.probes_unanswered,
            in_flight: socket.in_flight,
            owners: owners.into_iter().map(RowOwner::from).collect(),
            unit: None,
            container: None,
            namespace: None,
            workload: None,
            pod: None,
        }
    }

    /// The same, with what its owner is part of.
    #[must_use]
    pub fn of(mut self, identity: Option<&Identity>) -> Self {
        if let Some(identity) = identity {
            let shown = |name: &Option<Box<str>>| name.as_deref().map(str::to_owned);
            self.unit = shown(&identity.unit);
            self.container = shown(&identity.container);
            self.namespace = shown(&identity.namespace);
            self.workload = shown(&identity.workload);
            self.pod = shown(&identity.pod);
        }
        self
    }
}

/// `NAMESPACE/POD/CONTAINER`, as kubectl takes them; else the unit.
pub fn part_of(path: [&Option<String>; 3], unit: Option<&String>) -> Option<String> {
    let path: Vec<&str> = path.into_iter().flatten().map(String::as_str).collect();
    if path.is_empty() { unit.cloned() } else { Some(path.join("/")) }
}

/// The arrow between our end and the peer: who sent the SYN.
pub const fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => "->",
        Direction::Inbound => "<-",
    }
}
