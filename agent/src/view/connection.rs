//! A connection as people and programs see it, spelled out once: rows, events, lives and deaths flatten it.
//! Fields are only ever added.

pub(crate) use crate::model::text::duration::ms;
use crate::model::{
    judgement::{
        condition::{Condition, Diagnosis},
        gap::{Gap, GapFrom},
        idle_limit::{Applied, limit_in_words, limit_sentence},
        limit_source::LimitSource,
        limits_met::LimitInForce,
        verdict::{Surroundings, Verdict},
    },
    observed::{
        owner_identity::{Identity, IdentityPart},
        setting::{Effective, OwnValues, SettingOrigin},
        socket::{Comm, Direction, Owner, Socket, SocketKind, State, Time},
    },
    text::{duration::seconds, sanitize::escaped},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, net::SocketAddr};

/// A connection, or a socket without one yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Connection {
    /// The socket cookie, as `ss -e` writes it; null while it has none: before it connects.
    pub id: Option<String>,
    /// Inode number of its network namespace; 0 if that cannot be known.
    pub netns: u32,
    /// `ipv4` or `ipv6`; an IPv4-mapped address counts, and is shown, as IPv4.
    pub family: Cow<'static, str>,
    /// Address and port of our end.
    pub local: SocketAddr,
    /// Address and port of the peer.
    pub remote: SocketAddr,
    /// The TCP state when it was sampled; of one that died, the state before.
    pub state: State,
    /// No descriptor refers to it any more: the program has closed it, and the kernel ends it by itself.
    #[serde(default)]
    pub orphan: bool,
    /// What was repeated or probed with last did not leave this host: no route, an interface that is down, or its firewall.
    #[serde(default)]
    pub could_not_send: bool,
    /// What ICMP, or this host's routing, said to what was sent since the peer acknowledged data last, as `EHOSTUNREACH`; null: nothing.
    #[serde(default)]
    pub network_error: Option<String>,
    /// Nothing is in flight, and the peer has no room for what was written: its program does not read enough.
    #[serde(default)]
    pub window_closed: bool,
    /// Since the peer sent data last, where the program has not read all of it; null where it has, and without eBPF.
    #[serde(default)]
    pub unread_seconds: Option<f64>,
    /// Who sent the SYN; null before there was one.
    pub direction: Option<Direction>,
    /// A program made it, or MPTCP for one, or the kernel itself.
    #[serde(default)]
    pub made_by: SocketKind,
    /// The effective settings.
    #[serde(flatten)]
    pub settings: KeepaliveSettings,
    /// The longest time without a packet that its own probes allow; null while keepalive is off.
    pub gap_seconds: Option<f64>,
    /// What makes that as long as it is: `idle`, `interval`, `armed_timer` or `window_probe`.
    pub gap_from: Option<GapFrom>,
    /// What is promised of it on its path. Null without a peer.
    pub verdict: Option<Verdict>,
    /// Of one that waits to be accepted: by one of this number of listening sockets, whose owners are its `owners`; else null.
    pub listeners: Option<u8>,
    /// The idle limit of its path.
    #[serde(flatten)]
    pub limit: PathLimit,
    /// How it is at that moment: `stuck`, `peer_silent`, `overdue`, `blocked`, `unaccepted`, `peer_closed` or `fine`; null of
    /// one that died, and without a peer.
    pub condition: Option<Condition>,
    /// For how long that has been so; null while it is fine.
    pub condition_seconds: Option<f64>,
    /// Nobody saw that begin: `condition_seconds` is the least that it has lasted.
    pub condition_at_least: bool,
    /// About how long until the kernel gives up on it; null if nothing makes it.
    pub gives_up_seconds: Option<f64>,
    /// How long no packet went either way but repetitions of ours. Of an event, the quiet time that it
    /// is about: before the last data or the end of one that died, or the one that was survived.
    pub quiet_seconds: f64,
    /// It may have been quiet and silent for less: probes of the peer are not seen without eBPF.
    #[serde(default)]
    pub quiet_at_most: bool,
    /// How long nothing came from the peer.
    pub silent_seconds: f64,
    /// How long ago this host sent data last, if the peer has sent none since; null if it has, and while something is repeated.
    pub spoke_last_seconds: Option<f64>,
    /// How long ago the peer closed its half, at least if that was not seen; null if it has not, or not first.
    pub peer_closed_seconds: Option<f64>,
    /// The longest quiet time after which it was seen to go on.
    pub longest_quiet_seconds: f64,
    /// The longest time without a packet of the peer before one came, however much was repeated meanwhile.
    #[serde(default)]
    pub longest_silence_seconds: f64,
    /// For how long it was looked at; 0 without an agent.
    pub watched_seconds: f64,
    /// Time since the last look: what came meanwhile is not known.
    pub looked_at_seconds_ago: f64,
    /// Keepalive probes of the peer come in.
    pub peer_probes: bool,
    /// Time until the next probe; null when none is due: off, or data in flight.
    pub next_probe_seconds: Option<f64>,
    /// Probes in a row that the peer has not answered, although an answer had its time to come: not the one that was just sent.
    pub probes_unanswered: u8,
    /// Since the first of them was sent; null if there is none, and while data is in flight.
    pub unanswered_seconds: Option<f64>,
    /// Repetitions in a row of data that is not acknowledged.
    pub retransmits: u8,
    /// Data waits to be sent or acknowledged: keepalive waits meanwhile.
    pub in_flight: bool,
    /// What is not acknowledged is this host's FIN alone: the peer has all that was written.
    pub fin_only: bool,
    /// What its owner is part of.
    #[serde(flatten)]
    pub part_of: PartOf,
}

/// The keepalive settings that the kernel uses for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepaliveSettings {
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
    /// The same while data is in flight, when no probe goes out: the user timeout, else about what `tcp_retries2` of its
    /// network namespace allows.
    #[serde(default)]
    pub in_flight_detection_seconds: u64,
}

/// The idle limit of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathLimit {
    /// The quiet time after which the path forgets a connection.
    pub idle_limit_seconds: u32,
    /// The quiet time that it keeps for sure: shorter, if the limit was learned as between two times.
    pub idle_kept_seconds: u32,
    /// `default`, `learned`, or `preset NAME` or `configured`, then ` by flag`, ` by variable` or ` by config file`.
    pub idle_limit_from: LimitSource,
    /// The name of the configured path.
    pub path: Option<String>,
}

/// What a process is part of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartOf {
    /// systemd unit of the owner.
    pub unit: Option<String>,
    /// Container of the owner: its name, else the first digits of its id.
    pub container: Option<String>,
    /// The whole id of that container.
    #[serde(default)]
    pub container_id: Option<String>,
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

impl RowOwner {
    /// Whether it is a process with this name, of which the kernel keeps 15 bytes.
    pub fn is_named(&self, name: &str) -> bool {
        self.process == escaped(Comm::kept(name)) || self.process == name
    }
}

impl KeepaliveSettings {
    fn of(socket: &Socket) -> Self {
        let count = socket.count();
        let seconds = |Effective { value, from }| Seconds { seconds: value, from };
        Self {
            keepalive: socket.keepalive,
            idle: seconds(socket.idle()),
            interval: seconds(socket.interval()),
            count: Probes { probes: count.value, from: count.from },
            user_timeout_ms: socket.own.user_timeout_ms,
            detection_seconds: socket.detection_seconds(),
            in_flight_detection_seconds: socket.gives_up_repeating_ms().div_ceil(1000),
        }
    }

    /// The values of the socket itself; 0 is left to the namespace.
    pub fn own(&self) -> OwnValues {
        let own = |value, from| if from == SettingOrigin::Socket { value } else { 0 };
        OwnValues {
            keepalive: self.keepalive,
            idle: own(self.idle.seconds, self.idle.from),
            interval: own(self.interval.seconds, self.interval.from),
            count: own(self.count.probes, self.count.from),
            user_timeout_ms: self.user_timeout_ms,
        }
    }
}

impl PathLimit {
    /// The limit in words.
    pub(crate) fn in_words(&self) -> String {
        limit_in_words(self.idle_kept_seconds, self.idle_limit_seconds)
    }

    /// What the path does to `it` after that, in one sentence.
    pub(crate) fn sentence(&self, it: &str) -> String {
        limit_sentence(self.path.as_deref(), &self.in_words(), &self.idle_limit_from, it)
    }

    /// The same, to be compared with what was learned.
    pub(crate) fn in_force(&self) -> LimitInForce<'_> {
        LimitInForce {
            seconds: self.idle_limit_seconds,
            kept_seconds: self.idle_kept_seconds,
            from: &self.idle_limit_from,
            path: self.path.as_deref(),
        }
    }

    fn of(applied: &Applied) -> Self {
        Self {
            idle_limit_seconds: applied.seconds,
            idle_kept_seconds: applied.kept_seconds,
            idle_limit_from: applied.from.clone(),
            path: applied.path.clone(),
        }
    }
}

impl PartOf {
    /// The parts of an identity.
    pub fn of(identity: Option<&Identity>) -> Self {
        let Some(identity) = identity else {
            return Self::default();
        };
        let shown = |name: &Option<Box<str>>| name.as_deref().map(str::to_owned);
        Self {
            unit: shown(&identity.unit),
            container: shown(&identity.container),
            container_id: shown(&identity.container_id),
            namespace: shown(&identity.namespace),
            workload: shown(&identity.workload),
            pod: shown(&identity.pod),
        }
    }

    /// Whether this part has this name; of a container 12 digits or more of its id will do.
    pub fn is(&self, part: IdentityPart, name: &str) -> bool {
        let of = match part {
            IdentityPart::Container => &self.container,
            IdentityPart::Unit => &self.unit,
            IdentityPart::Namespace => &self.namespace,
            IdentityPart::Workload => &self.workload,
            IdentityPart::Pod => &self.pod,
        };
        part.is_meant(name, of.as_deref(), self.container_id.as_deref())
    }

    /// `NAMESPACE/POD/CONTAINER`, as kubectl takes them; else the unit.
    pub fn words(&self) -> Option<String> {
        let parts = [&self.namespace, &self.pod, &self.container];
        let text = parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("/");
        if text.is_empty() { self.unit.clone() } else { Some(text) }
    }
}

impl Connection {
    /// The connection of `socket` at `now`.
    pub fn new(
        socket: &Socket,
        identity: Option<&Identity>,
        around: &Surroundings,
        now: Time,
    ) -> Self {
        let socket = &socket.aged(now);
        let gap = Gap::of(socket, around.hz);
        let watched = socket.watched;
        let mut connection = Self {
            id: Some(socket.id.to_string()),
            netns: socket.netns,
            family: Cow::Borrowed(if socket.local.is_ipv4() { "ipv4" } else { "ipv6" }),
            local: socket.local.socket_addr(),
            remote: socket.remote.socket_addr(),
            state: socket.state,
            orphan: socket.is_orphan,
            could_not_send: socket.could_not_send,
            fin_only: socket.fin_only,
            network_error: socket.network_error(),
            window_closed: socket.window_closed,
            unread_seconds: socket.unread_ms.map(seconds),
            direction: Some(socket.direction),
            made_by: socket.kind,
            settings: KeepaliveSettings::of(socket),
            gap_seconds: gap.map(|gap| seconds(gap.ms)),
            gap_from: gap.map(|gap| gap.from),
            verdict: Some(around.verdict(socket)),
            listeners: socket.waits_at(),
            limit: PathLimit::of(around.limits.of(socket)),
            condition: None,
            condition_seconds: None,
            condition_at_least: false,
            gives_up_seconds: None,
            quiet_seconds: seconds(socket.quiet_ms),
            quiet_at_most: socket.quiet_at_most,
            silent_seconds: seconds(socket.silent_ms),
            spoke_last_seconds: socket.spoke_last_ms.map(seconds),
            peer_closed_seconds: socket.peer_closed.map(|closed| seconds(closed.ms)),
            longest_quiet_seconds: seconds(watched.longest_quiet_ms),
            longest_silence_seconds: seconds(watched.longest_silence_ms),
            watched_seconds: seconds(watched.ms),
            looked_at_seconds_ago: seconds(watched.age_ms),
            peer_probes: watched.is_probed_by_peer(),
            next_probe_seconds: socket.next_probe_ms().map(seconds),
            probes_unanswered: socket.probes_missed(),
            unanswered_seconds: socket.unanswered_ms().map(seconds),
            retransmits: socket.retransmits,
            in_flight: socket.in_flight,
            part_of: PartOf::of(identity),
        };
        connection.set_condition(around.condition(socket));
        connection
    }

    fn set_condition(&mut self, trouble: Diagnosis) {
        let Diagnosis { condition, since_ms, is_least, gives_up_ms } = trouble;
        self.condition = Some(condition);
        self.condition_seconds = (condition != Condition::Fine).then(|| seconds(since_ms));
        self.condition_at_least = is_least;
        self.gives_up_seconds = gives_up_ms.map(seconds);
    }

    /// The same, measured against other limits than those of the agent that made it.
    #[must_use]
    pub(crate) fn measured(mut self, around: &Surroundings) -> Self {
        self.limit = PathLimit::of(around.limits.of(&self));
        self.verdict = self.verdict.map(|_| around.verdict(&self));
        if self.condition.is_some() {
            self.set_condition(around.condition(&self));
        }
        self
    }

    /// The longest quiet time that was seen, seconds: up to the last look.
    pub(crate) fn longest_seen_quiet_seconds(&self) -> f64 {
        self.longest_quiet_seconds.max(self.quiet_seconds - self.looked_at_seconds_ago)
    }

    /// How it is now; what nothing is known of is fine.
    pub fn condition(&self) -> Condition {
        self.condition.unwrap_or(Condition::Fine)
    }

    /// Who sent the SYN; a socket that never had a peer is counted as ours.
    pub fn direction(&self) -> Direction {
        self.direction.unwrap_or(Direction::Outbound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_that_of_its_owner_wherever_the_kernel_cuts_it() {
        for name in
            ["a-name-of-over-15-bytes", "\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}", "short"]
        {
            let mut bytes = [0; 16];
            bytes[..Comm::kept(name).len()].copy_from_slice(Comm::kept(name));
            let owner = Owner { pid: 7, fd: None, comm: Comm::new(bytes) };
            let row = RowOwner::from(&owner);
            assert!(owner.is_named(name) && row.is_named(name), "{name}");
            assert!(row.is_named(&row.process), "as it is shown");
            let other = format!("x{name}");
            assert!(!owner.is_named(&other) && !row.is_named(&other), "{other}");
        }
    }
}
