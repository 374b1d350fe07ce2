//! Which connections somebody wants to see: the filters of `sockets`, `top`, `trace` and `check`, and of the API.

use super::{
    connection::{Connection, RowOwner},
    peer_pattern::{PeerPattern, network},
    value_enum::{ConditionChoice, VerdictChoice},
};
use crate::{
    files,
    model::{
        judgement::{given_limits::GivenLimits, verdict::Surroundings},
        observed::{
            owner_identity::{Identity, IdentityPart},
            socket::{Direction, Endpoint, Owner, Socket, SocketId, State},
        },
        text::typed_duration,
    },
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// Every given condition must hold; within one condition, any of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[command(next_help_heading = "Filters (several values: A,B)")]
#[serde(default)]
pub(crate) struct Filter {
    /// Only connections that this host opened (outbound) or that the peer opened (inbound)
    #[arg(long, value_enum)]
    pub direction: Option<Direction>,
    /// Only connections with one of these verdicts
    #[arg(long, value_enum, value_delimiter = ',')]
    pub verdict: Vec<VerdictChoice>,
    /// Only connections in one of these conditions now
    #[arg(long, value_enum, value_delimiter = ',')]
    pub condition: Vec<ConditionChoice>,
    /// Only connections that have been quiet for this time or longer
    #[arg(long, value_name = "TIME", value_parser = typed_duration::duration)]
    #[serde(rename = "quiet_for_seconds", with = "in_seconds")]
    pub quiet_for: Option<Duration>,
    /// Only sockets in one of these TCP states [default: all but listen and close]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub state: Vec<State>,
    /// Also show sockets that are not connections: listeners, and sockets not connected yet
    #[arg(long)]
    pub all: bool,
    /// Only the connection with this id, as `ss -e` shows it: sk:1f
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub id: Vec<SocketId>,
    /// Only connections of processes with this name (the kernel keeps 15 bytes of it)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub process: Vec<String>,
    /// Only connections of the process with this id
    #[arg(long, value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// Only connections of processes that run as this user: a number, or a name in /etc/passwd. What counts is the effective
    /// user id of the process that has the connection open, as this host counts it
    #[arg(long, value_name = "UID|NAME", value_delimiter = ',', value_parser = user)]
    pub uid: Vec<u32>,
    /// Only connections with this peer, or with peers in this network; :PORT at the end counts, too
    #[arg(long, value_name = "CIDR[:PORT]", value_delimiter = ',')]
    pub peer: Vec<PeerPattern>,
    /// Only connections with this address of this host, or with one in this network
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    pub local: Vec<IpNet>,
    /// Only connections with this port on either end: a number, or a service of /etc/services
    #[arg(long, value_name = "PORT|SERVICE", value_delimiter = ',', value_parser = port)]
    pub port: Vec<u16>,
    /// Only connections with this port on this host
    #[arg(long, value_name = "PORT|SERVICE", value_delimiter = ',', value_parser = port)]
    pub local_port: Vec<u16>,
    /// Only connections with this port of the peer
    #[arg(long, value_name = "PORT|SERVICE", value_delimiter = ',', value_parser = port)]
    pub remote_port: Vec<u16>,
    /// Only connections in this network namespace: its inode number (`readlink /proc/PID/ns/net`), or its name (`ip netns`)
    #[arg(long, value_name = "INODE|NAME", value_delimiter = ',', value_parser = netns)]
    pub netns: Vec<u32>,
    /// Only connections of this systemd unit; web means web.service, too
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub unit: Vec<String>,
    /// Only connections of the container with this name or id (the first 12 digits are enough)
    #[arg(long, value_name = "NAME|ID", value_delimiter = ',')]
    pub container: Vec<String>,
    /// Only connections of this Kubernetes namespace
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub namespace: Vec<String>,
    /// Only connections of this workload: a Deployment, StatefulSet, DaemonSet, Job or CronJob, or a
    /// service of Compose, Swarm, ECS or Nomad
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub workload: Vec<String>,
    /// Only connections of this Kubernetes pod
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub pod: Vec<String>,
    /// What verdicts are measured against, in place of the limits of the agent that answers.
    #[arg(skip)]
    pub measured_by: Option<GivenLimits>,
}

/// A port, given as a number or by the name of its service.
fn port(text: &str) -> Result<u16, String> {
    files::port(text).map_err(|error| error.to_string())
}

/// A user, given as a number or by name.
fn user(text: &str) -> Result<u32, String> {
    files::user(text).map_err(|error| error.to_string())
}

/// The inode number of a network namespace: given as such, as `readlink` prints it, or by name.
pub(crate) fn netns(text: &str) -> Result<u32, String> {
    let inside = text.strip_prefix("net:[").and_then(|text| text.strip_suffix(']'));
    if let Ok(inode) = inside.unwrap_or(text).parse() {
        return Ok(inode);
    }
    let inode = files::named_netns(text).map_err(|error| error.to_string())?;
    u32::try_from(inode).map_err(|_| format!("the inode number {inode} is too large"))
}

/// A time as JSON has times: a number of seconds, or null.
mod in_seconds {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};
    use std::time::Duration;

    #[expect(clippy::ref_option, reason = "as serde calls it")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| time.as_secs_f64()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(deserializer)?;
        seconds.map(Duration::try_from_secs_f64).transpose().map_err(D::Error::custom)
    }
}

/// Whether one of the values is meant; without values everything is.
fn any<T>(values: &[T], is_meant: impl FnMut(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(is_meant)
}

impl Filter {
    /// What verdicts are measured against, where these are the surroundings otherwise.
    pub(crate) fn surroundings(&self, otherwise: Arc<Surroundings>) -> Arc<Surroundings> {
        match &self.measured_by {
            Some(given) => Arc::new(given.in_place_of(&otherwise)),
            None => otherwise,
        }
    }

    /// Whether the conditions on the socket itself hold, `quiet_ms` after its last packet.
    pub(crate) fn admits(&self, socket: &Socket, around: &Surroundings, quiet_ms: u64) -> bool {
        (!self.state.is_empty() || self.all || socket.is_connection())
            && self.admits_in_any_state(socket, around, quiet_ms)
    }

    /// The same where every state will do unless one is asked for.
    pub(crate) fn admits_in_any_state(
        &self,
        socket: &Socket,
        around: &Surroundings,
        quiet_ms: u64,
    ) -> bool {
        let Endpoint { port: local, .. } = socket.local;
        let Endpoint { port: remote, .. } = socket.remote;
        any(&self.state, |state| *state == socket.state)
            && any(&self.id, |id| *id == socket.id)
            && self.direction.is_none_or(|direction| direction == socket.direction)
            && any(&self.port, |port| *port == local || *port == remote)
            && any(&self.local_port, |port| *port == local)
            && any(&self.remote_port, |port| *port == remote)
            && self.admits_netns(socket)
            && any(&self.peer, |peer| peer.means(socket.remote))
            && any(&self.local, |net| net.contains(&socket.local.addr.to_canonical()))
            && self.quiet_for.is_none_or(|time| u128::from(quiet_ms) >= time.as_millis())
            && (self.condition.is_empty() || {
                // Of what changes with time only the quiet time makes a condition.
                let quiet_ms = u32::try_from(quiet_ms).unwrap_or(u32::MAX);
                let now = around.condition(&Socket { quiet_ms, ..*socket }).condition;
                any(&self.condition, |choice| choice.means(now))
            })
            && (self.verdict.is_empty() || {
                let verdict = around.verdict(socket);
                any(&self.verdict, |choice| choice.means(verdict))
            })
    }

    /// The same of a connection as it is shown, with the processes that had it open. What is not shown of it holds of none: the
    /// user, and the condition of one that is dead.
    pub(crate) fn admits_shown(&self, of: &Connection, owners: &[RowOwner]) -> bool {
        let (local, remote) = (of.local.port(), of.remote.port());
        let is_part_of = |(part, names): (IdentityPart, &Vec<String>)| {
            any(names, |name| of.part_of.is(part, name))
        };
        any(&self.state, |state| *state == of.state)
            && any(&self.id, |id| of.id.as_ref() == Some(&id.to_string()))
            && self.direction.is_none_or(|direction| of.direction == Some(direction))
            && any(&self.port, |port| *port == local || *port == remote)
            && any(&self.local_port, |port| *port == local)
            && any(&self.remote_port, |port| *port == remote)
            && any(&self.netns, |netns| *netns == of.netns)
            && any(&self.peer, |peer| peer.means(of.remote.into()))
            && any(&self.local, |net| net.contains(&of.local.ip().to_canonical()))
            && self.quiet_for.is_none_or(|time| of.quiet_seconds >= time.as_secs_f64())
            && any(&self.condition, |choice| of.condition.is_some_and(|it| choice.means(it)))
            && any(&self.verdict, |choice| of.verdict.is_some_and(|it| choice.means(it)))
            && self.uid.is_empty()
            && self.parts_of_identity().into_iter().all(is_part_of)
            && (self.pid.is_empty() && self.process.is_empty()
                || owners.iter().any(|owner| {
                    any(&self.pid, |pid| *pid == owner.pid)
                        && any(&self.process, |name| owner.is_named(name))
                }))
    }

    /// Whether it asks for hosts as a whole: with each connection that it admits it admits all of that direction, in that network namespace,
    /// with the same host.
    pub(crate) fn is_of_whole_hosts(&self) -> bool {
        let Self { direction, ref peer, ref netns, ref measured_by, .. } = *self;
        let of_hosts = Self {
            direction,
            peer: peer.clone(),
            netns: netns.clone(),
            measured_by: measured_by.clone(),
            ..Self::default()
        };
        *self == of_hosts && peer.iter().all(|peer| peer.port.is_none())
    }

    /// What is asked of the parts of an identity.
    const fn parts_of_identity(&self) -> [(IdentityPart, &Vec<String>); 5] {
        [
            (IdentityPart::Unit, &self.unit),
            (IdentityPart::Container, &self.container),
            (IdentityPart::Namespace, &self.namespace),
            (IdentityPart::Workload, &self.workload),
            (IdentityPart::Pod, &self.pod),
        ]
    }

    /// Whether the condition on the network namespace holds: the only one that a socket without a peer decides.
    pub(crate) fn admits_netns(&self, socket: &Socket) -> bool {
        any(&self.netns, |netns| *netns == socket.netns)
    }

    /// Whether the conditions on what the owner is part of hold.
    pub(crate) fn admits_identity(&self, identity: Option<&Identity>) -> bool {
        self.parts_of_identity().into_iter().all(|(part, names)| {
            any(names, |name| identity.is_some_and(|identity| identity.is(part, name)))
        }) && any(&self.uid, |uid| identity.is_some_and(|identity| identity.uid == Some(*uid)))
    }

    /// Whether the conditions on the owners hold for one of them.
    pub(crate) fn admits_owner<'a>(&self, owners: impl IntoIterator<Item = &'a Owner>) -> bool {
        if self.pid.is_empty() && self.process.is_empty() {
            return true;
        }
        owners.into_iter().any(|owner| {
            any(&self.pid, |pid| *pid == owner.pid)
                && any(&self.process, |name| owner.is_named(name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::{
            condition::Condition,
            idle_limit::{IdleLimit, Limits},
            verdict::Verdict,
        },
        observed::socket::{Comm, tests_support::socket},
    };

    fn admits(filter: &Filter, socket: &Socket) -> bool {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings::new(limits, 250);
        filter.admits(socket, &around, socket.quiet_ms.into())
    }

    fn admits_shown(filter: &Filter, socket: &Socket) -> bool {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings::new(limits, 250);
        filter.admits_shown(&Connection::new(socket, None, &around, socket.at), &[])
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
    fn whole_hosts_are_asked_for_by_direction_address_and_namespace_and_by_nothing_else() {
        let peer = |text: &str| Filter { peer: vec![text.parse().unwrap()], ..Filter::default() };
        let direction = Some(Direction::Outbound);
        let in_netns = Filter { netns: vec![1], direction, ..peer("10.0.0.0/8") };
        for whole in [Filter::default(), Filter { direction, ..Filter::default() }, in_netns] {
            assert!(whole.is_of_whole_hosts(), "{whole:?}");
        }
        let parts = [
            peer("10.0.0.9:5432"),
            Filter { process: vec!["checkout".to_owned()], ..Filter::default() },
            Filter { verdict: vec![VerdictChoice::Unprotected], ..Filter::default() },
            Filter { state: vec![State::Established], ..Filter::default() },
            Filter { local_port: vec![1], ..Filter::default() },
            Filter { all: true, ..Filter::default() },
        ];
        for part in parts {
            assert!(!part.is_of_whole_hosts(), "{part:?}");
        }
    }

    #[test]
    fn each_condition_excludes() {
        let excluding = [
            Filter { direction: Some(Direction::Inbound), ..Filter::default() },
            Filter {
                verdict: [Verdict::Late, Verdict::Local].map(VerdictChoice::One).to_vec(),
                ..Filter::default()
            },
            Filter { state: vec![State::CloseWait], ..Filter::default() },
            Filter { port: vec![80], ..Filter::default() },
            Filter { local_port: vec![2717], ..Filter::default() },
            Filter { remote_port: vec![44307], ..Filter::default() },
            Filter { id: vec![SocketId(2)], ..Filter::default() },
            Filter { netns: vec![1], ..Filter::default() },
            Filter { peer: vec!["10.0.0.0/8".parse().unwrap()], ..Filter::default() },
            Filter { peer: vec!["172.16.0.15:5432".parse().unwrap()], ..Filter::default() },
            Filter { local: vec!["172.16.0.0/12".parse().unwrap()], ..Filter::default() },
            Filter { quiet_for: Some(Duration::from_millis(1)), ..Filter::default() },
        ];
        for filter in excluding {
            assert!(!admits(&filter, &socket()), "{filter:?}");
            assert!(!admits_shown(&filter, &socket()), "{filter:?}");
        }
        let including = Filter {
            direction: Some(Direction::Outbound),
            verdict: vec![VerdictChoice::Unprotected],
            state: vec![State::Established],
            port: vec![2717],
            local_port: vec![44307],
            remote_port: vec![2717],
            peer: vec!["172.16.0.15:2717".parse().unwrap()],
            local: vec!["10.0.0.0/8".parse().unwrap()],
            quiet_for: Some(Duration::from_mins(5)),
            ..Filter::default()
        };
        for (quiet_ms, is_admitted) in [(300_000, true), (299_999, false)] {
            let socket = Socket { quiet_ms, ..socket() };
            assert_eq!(admits(&including, &socket), is_admitted);
            assert_eq!(admits_shown(&including, &socket), is_admitted);
        }
    }

    #[test]
    fn a_condition_is_that_of_now_however_old_the_sample_is() {
        let overdue = Filter {
            condition: vec![ConditionChoice::One(Condition::Overdue)],
            ..Filter::default()
        };
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings::new(limits, 250);
        assert!(!overdue.admits(&socket(), &around, 349_000));
        assert!(overdue.admits(&socket(), &around, 351_000));
        let fine =
            Filter { condition: vec![ConditionChoice::One(Condition::Fine)], ..Filter::default() };
        assert!(fine.admits(&socket(), &around, 349_000));
    }

    #[test]
    fn of_several_values_any_will_do() {
        let filter = Filter { port: vec![80, 2717], netns: vec![7, 8], ..Filter::default() };
        assert!(!admits(&filter, &socket()), "every condition counts");
        assert!(admits(&filter, &Socket { netns: 8, ..socket() }));
    }

    #[test]
    fn the_command_line_takes_what_the_api_takes() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            filter: Filter,
        }
        let words = "x --verdict unprotected,local --condition urgent,fine --peer 10.0.0.9:5432,10.1.0.0/16 --port 1,2 --quiet-for 5m \
                     --netns net:[4026531840],7 --id sk:1f --process a,b --pid 1,2 --uid 0,root,1000 --local 10.0.0.0/8 --unit u,v";
        let line = <Line as clap::Parser>::try_parse_from(words.split_whitespace()).unwrap().filter;
        let json = serde_json::json!({
            "verdict": ["unprotected", "local"], "condition": ["urgent", "fine"], "peer": ["10.0.0.9:5432", "10.1.0.0/16"], "port": [1, 2],
            "quiet_for_seconds": 300, "netns": [4_026_531_840_u32, 7], "id": ["sk:1f"],
            "process": ["a", "b"], "pid": [1, 2], "uid": [0, 0, 1000], "local": ["10.0.0.0/8"], "unit": ["u", "v"],
        });
        assert_eq!(serde_json::from_value::<Filter>(json).unwrap(), line);
        let unknown = "x --netns no-such-name";
        let error = <Line as clap::Parser>::try_parse_from(unknown.split_whitespace());
        let error = error.err().unwrap().to_string();
        assert!(error.contains("no network namespace has the name no-such-name"), "{error}");
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
            serde_json::from_value(serde_json::json!({ field: ["x", value] })).unwrap()
        };
        for (field, value) in [
            ("unit", "web.service"),
            ("unit", "web"),
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
            let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
            let around = Surroundings::new(limits, 250);
            let shown = Connection::new(&socket(), Some(&identity), &around, socket().at);
            assert!(filter(field, value).admits_shown(&shown, &[]), "{field} {value}");
            assert!(!another.admits_shown(&shown, &[]), "{field} {value}-2");
        }
        assert!(!filter("container", "b43d").admits_identity(Some(&identity)), "a part of an id");
        let of_user = |uid| Filter { uid: vec![33, uid], ..Filter::default() };
        let run_by_1000 = Identity { uid: Some(1000), ..identity };
        assert!(of_user(1000).admits_identity(Some(&run_by_1000)));
        for (uid, of) in
            [(1001, Some(&run_by_1000)), (1000, Some(&Identity::default())), (1000, None)]
        {
            assert!(!of_user(uid).admits_identity(of), "{uid} {of:?}");
        }
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
        let process = |name: &str| Filter { process: vec![name.to_owned()], ..Filter::default() };
        assert!(process("nginx").admits_owner(&owners));
        assert!(process("prometheus-node-exporter").admits_owner(&owners));
        assert!(!process("ngin").admits_owner(&owners));
        assert!(Filter { pid: vec![2], ..Filter::default() }.admits_owner(&owners));
        assert!(!Filter { pid: vec![2], ..process("nginx") }.admits_owner(&owners));
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings::new(limits, 250);
        let connection = Connection::new(&socket(), None, &around, socket().at);
        let shown = |filter: &Filter| {
            filter.admits_shown(&connection, &owners.each_ref().map(RowOwner::from))
        };
        assert!(
            shown(&process("prometheus-node-exporter"))
                && shown(&Filter { pid: vec![2], ..Filter::default() })
        );
        assert!(!shown(&process("ngin")) && !shown(&Filter { pid: vec![2], ..process("nginx") }));
    }
}
