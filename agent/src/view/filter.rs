//! Which connections somebody wants to see.

use crate::model::{
    judgement::{
        given_limits::GivenLimits,
        verdict::{Surroundings, Verdict},
    },
    observed::{
        owner_identity::{Identity, IdentityPart},
        socket::{Direction, Owner, Socket, SocketId, State},
    },
    table::happening::{EventName, Happened, Happening},
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Every given condition must hold; within one condition, any of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[command(next_help_heading = "Filters")]
#[serde(default)]
pub(crate) struct Filter {
    /// Only connections that this host opened (outbound) or that the peer opened (inbound)
    #[arg(long, value_enum)]
    pub direction: Option<Direction>,
    /// Only connections with one of these verdicts
    #[arg(long, value_enum, value_delimiter = ',')]
    pub verdict: Vec<Verdict>,
    /// Only sockets in one of these TCP states [default: all but listen and close]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub state: Vec<State>,
    /// Also show sockets that are not connections: listeners, and sockets not connected yet
    #[arg(long)]
    pub all: bool,
    /// Only the connection with this id, as `ss -e` shows it: sk:1f
    #[arg(long, value_name = "ID")]
    pub id: Option<SocketId>,
    /// Only connections of processes with this name (the kernel keeps 15 bytes of it)
    #[arg(long, value_name = "NAME")]
    pub process: Option<String>,
    /// Only connections of the process with this id
    #[arg(long)]
    pub pid: Option<u32>,
    /// Only connections with this peer, or with peers in this network
    #[arg(long, value_name = "CIDR", value_parser = network)]
    pub peer: Option<IpNet>,
    /// Only connections with this port on either end
    #[arg(long)]
    pub port: Option<u16>,
    /// Only connections in the network namespace with this inode number (`readlink /proc/PID/ns/net`)
    #[arg(long, value_name = "INODE")]
    pub netns: Option<u32>,
    /// Only connections of this systemd unit
    #[arg(long, value_name = "NAME")]
    pub unit: Option<String>,
    /// Only connections of the container with this name or id (the first 12 digits are enough)
    #[arg(long, value_name = "NAME|ID")]
    pub container: Option<String>,
    /// Only connections of this Kubernetes namespace
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Only connections of this workload: a Deployment, StatefulSet, DaemonSet, Job or CronJob, or a
    /// service of Compose, Swarm, ECS or Nomad
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
    /// Only connections of this Kubernetes pod
    #[arg(long, value_name = "NAME")]
    pub pod: Option<String>,
    /// What verdicts are measured against, in place of the limits of the agent that answers.
    #[arg(skip)]
    pub measured_by: Option<GivenLimits>,
}

/// An address, or a network.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| "expected an address or a network, like 10.0.0.0/8 or 2001:db8::1".to_owned())
}

impl Filter {
    /// What verdicts are measured against, where these are the surroundings otherwise.
    pub(crate) fn surroundings(&self, otherwise: Arc<Surroundings>) -> Arc<Surroundings> {
        match &self.measured_by {
            Some(given) => Arc::new(given.in_place_of(&otherwise)),
            None => otherwise,
        }
    }

    /// Whether the conditions on the socket itself hold.
    pub(crate) fn admits(&self, socket: &Socket, around: &Surroundings) -> bool {
        (!self.state.is_empty() || self.all || socket.is_connection())
            && self.admits_in_any_state(socket, around)
    }

    /// The same where every state will do unless one is asked for.
    pub(crate) fn admits_in_any_state(&self, socket: &Socket, around: &Surroundings) -> bool {
        (self.state.is_empty() || self.state.contains(&socket.state))
            && self.id.is_none_or(|id| id == socket.id)
            && self.direction.is_none_or(|direction| direction == socket.direction)
            && self.port.is_none_or(|port| port == socket.local.port || port == socket.remote.port)
            && self.netns.is_none_or(|netns| netns == socket.netns)
            && self.peer.is_none_or(|peer| peer.contains(&socket.remote.addr.to_canonical()))
            && (self.verdict.is_empty() || self.verdict.contains(&around.verdict(socket)))
    }

    /// Whether the conditions on what the owner is part of hold.
    pub(crate) fn admits_identity(&self, identity: Option<&Identity>) -> bool {
        let wanted = [
            (IdentityPart::Unit, &self.unit),
            (IdentityPart::Container, &self.container),
            (IdentityPart::Namespace, &self.namespace),
            (IdentityPart::Workload, &self.workload),
            (IdentityPart::Pod, &self.pod),
        ];
        wanted.into_iter().all(|(part, name)| {
            name.as_ref()
                .is_none_or(|name| identity.is_some_and(|identity| identity.is(part, name)))
        })
    }

    /// Whether the conditions on the owners hold for one of them.
    pub(crate) fn admits_owner<'a>(&self, owners: impl IntoIterator<Item = &'a Owner>) -> bool {
        if self.pid.is_none() && self.process.is_none() {
            return true;
        }
        owners.into_iter().any(|owner| {
            self.pid.is_none_or(|pid| pid == owner.pid)
                && self.process.as_ref().is_none_or(|name| owner.is_named(name))
        })
    }
}

/// Which moments somebody wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default)]
pub(crate) struct EventFilter {
    /// Only these events [default: all, but not timer_fired where the timer found nothing to do]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub event: Vec<EventName>,
    /// Print past events of these connections first (needs an agent)
    #[arg(long)]
    pub past: bool,
    /// Only what is remembered: the stream ends with it.
    #[arg(skip)]
    pub past_only: bool,
    /// Only events of these connections.
    #[command(flatten)]
    pub filter: Filter,
}

impl EventFilter {
    /// Whether `happening` is wanted. Unlike `sockets`, any state will do unless one is asked for: the
    /// calls before a connection belong to it, and so does its end.
    pub(crate) fn admits(&self, happening: &Happening, around: &Surroundings) -> bool {
        let name = happening.what.name();
        let event = if self.event.is_empty() {
            happening.what.is_news()
        } else {
            self.event.contains(&name)
        };
        // An agent reports what changes by its own limits.
        let is_change = !matches!(happening.what, Happened::VerdictChanged { to, .. }
            if self.filter.measured_by.is_some() && to != around.verdict(&happening.socket));
        event
            && is_change
            && self.filter.admits_in_any_state(&happening.socket, around)
            && self.filter.admits_owner(happening.socket.owner.iter())
            && self.filter.admits_identity(happening.identity.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::idle_limit::{IdleLimit, Limits},
        observed::socket::{Comm, tests_support::socket},
    };
    use std::collections::BTreeSet;

    fn admits(filter: &Filter, socket: &Socket) -> bool {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        filter.admits(socket, &Surroundings { limits, host: BTreeSet::new(), hz: 250 })
    }

    #[test]
    fn by_default_connections_are_shown_and_listeners_are_not() {
        let listener = Socket { state: State::Listen, ..socket() };
        assert!(admits(&Filter::default(), &socket()));
        assert!(!admits(&Filter::default(), &listener));
        assert!(admits(&Filter { all: true, ..Filter::default() }, &listener));
        assert!(admits(&Filter { state: vec![State::Listen], ..Filter::default() }, &listener));
    }

    #[test]
    fn each_condition_excludes() {
        let excluding = [
            Filter { direction: Some(Direction::Inbound), ..Filter::default() },
            Filter { verdict: vec![Verdict::Late, Verdict::Local], ..Filter::default() },
            Filter { state: vec![State::CloseWait], ..Filter::default() },
            Filter { port: Some(80), ..Filter::default() },
            Filter { id: Some(SocketId(2)), ..Filter::default() },
            Filter { netns: Some(1), ..Filter::default() },
            Filter { peer: Some("10.0.0.0/8".parse().unwrap()), ..Filter::default() },
        ];
        for filter in excluding {
            assert!(!admits(&filter, &socket()), "{filter:?}");
        }
        let including = Filter {
            direction: Some(Direction::Outbound),
            verdict: vec![Verdict::Off],
            state: vec![State::Established],
            port: Some(2717),
            peer: Some("172.16.0.0/12".parse().unwrap()),
            ..Filter::default()
        };
        assert!(admits(&including, &socket()));
    }

    #[test]
    fn what_the_owner_is_part_of_may_be_asked_for() {
        let name = |name: &str| Some(name.into());
        let identity = Identity {
            unit: name("web.service"),
            container: name("server"),
            container_id: name("b43d92bf1e5c6f78bb9b7bc6f4072128"),
            namespace: name("shop"),
            workload: name("web"),
            pod: name("web-0"),
            ..Identity::default()
        };
        let filter = |field: &str, value: &str| -> Filter {
            serde_json::from_value(serde_json::json!({ field: value })).unwrap()
        };
        for (field, value) in [
            ("unit", "web.service"),
            ("container", "server"),
            ("container", "b43d92bf1e5c"),
            ("container", "b43d92bf1e5c6f78bb9b7bc6f4072128"),
            ("namespace", "shop"),
            ("workload", "web"),
            ("pod", "web-0"),
        ] {
            assert!(filter(field, value).admits_identity(Some(&identity)), "{field} {value}");
            let another = filter(field, &format!("{value}-2"));
            assert!(!another.admits_identity(Some(&identity)), "{field} {value}-2");
            assert!(!filter(field, value).admits_identity(None), "of nobody nothing is known");
        }
        assert!(!filter("container", "b43d").admits_identity(Some(&identity)), "a part of an id");
        assert!(Filter::default().admits_identity(None));
    }

    #[test]
    fn any_owner_may_match_and_a_long_name_is_cut_as_the_kernel_cuts_it() {
        let owner = |pid, name: &[u8]| {
            let mut bytes = [0; 16];
            bytes[..name.len()].copy_from_slice(name);
            Owner { pid, fd: None, comm: Comm::new(bytes) }
        };
        let owners = [owner(1, b"nginx"), owner(2, b"prometheus-node")];
        let process = |name: &str| Filter { process: Some(name.to_owned()), ..Filter::default() };
        assert!(process("nginx").admits_owner(&owners));
        assert!(process("prometheus-node-exporter").admits_owner(&owners));
        assert!(!process("ngin").admits_owner(&owners));
        assert!(Filter { pid: Some(2), ..Filter::default() }.admits_owner(&owners));
        assert!(!Filter { pid: Some(2), ..process("nginx") }.admits_owner(&owners));
    }
}
