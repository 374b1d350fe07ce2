//! What is demanded of connections, and how one falls short of it: the policy of `keepwatch check`.

use super::verdict::{Surroundings, Verdict};
use crate::model::{
    observed::{
        errno::errno_name,
        owner_identity::{Identity, IdentityPart},
        setsockopt::Call,
        socket::{Direction, Owner, Socket},
    },
    text::duration::duration,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Which connections are meant. Every condition must hold; an empty list means no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Peers in any of these networks.
    pub peers: Vec<IpNet>,
    /// Any of these ports of the peer.
    pub ports: Vec<u16>,
    /// Processes with any of these names.
    pub processes: Vec<String>,
    /// Names that parts of the owner's identity have.
    pub owner: Vec<(IdentityPart, String)>,
}

impl Scope {
    /// Whether it means this one.
    pub fn covers(&self, subject: &Subject) -> bool {
        let Subject { socket, owners, identity, .. } = subject;
        let addr = socket.remote.addr.to_canonical();
        let is_named = |name: &String| owners.iter().any(|owner| owner.is_named(name));
        (self.peers.is_empty() || self.peers.iter().any(|net| net.contains(&addr)))
            && (self.ports.is_empty() || self.ports.contains(&socket.remote.port))
            && (self.processes.is_empty() || self.processes.iter().any(is_named))
            && self.owner.iter().all(|(part, name)| {
                identity.as_ref().is_some_and(|identity| identity.is(*part, name))
            })
    }
}

/// What is demanded of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What to call it; the general rule has no name.
    pub name: Option<String>,
    /// The connections that it judges.
    pub scope: Scope,
    /// The first probe goes out before the idle limit of the path.
    pub protected: bool,
    /// The kernel notices a dead peer within this number of seconds.
    pub detection_seconds: Option<u64>,
    /// The kernel refused no setting.
    pub no_failed_calls: bool,
}

impl Default for Rule {
    /// Every connection is protected.
    fn default() -> Self {
        Self {
            name: None,
            scope: Scope::default(),
            protected: true,
            detection_seconds: None,
            no_failed_calls: false,
        }
    }
}

/// Connections exempt from every demand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// The connections that are exempt.
    pub scope: Scope,
    /// The reason that reports show.
    pub reason: Option<String>,
}

/// All that is demanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Nothing is demanded of these.
    pub allowed: Vec<Allowed>,
    /// The first that covers a connection judges it.
    pub rules: Vec<Rule>,
    /// The rule for connections that no other rule covers.
    pub general: Rule,
    /// Judge connections to this host as if a path were in between.
    pub include_local: bool,
}

/// What is judged: a connection, or a socket without one.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The last sample of the socket.
    pub socket: Socket,
    /// The processes that have it open; first the one that it is counted for.
    pub owners: Vec<Owner>,
    /// What that one is part of.
    pub identity: Option<Arc<Identity>>,
    /// Settings that were refused.
    pub failed: Vec<Call>,
    /// Only those are judged: it is no connection, or none any more.
    pub only_calls: bool,
}

/// How a connection falls short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Its path forgets it before the first probe.
    Unprotected,
    /// A dead peer is noticed too late.
    SlowDetection,
    /// The kernel refused a setting.
    FailedCall,
}

impl Fault {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unprotected => "unprotected",
            Self::SlowDetection => "slow_detection",
            Self::FailedCall => "failed_call",
        }
    }
}

/// One way in which a connection falls short.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The demand that is not met.
    pub fault: Fault,
    /// The rule that demands otherwise, if it has a name.
    pub rule: Option<String>,
    /// In words, with the numbers that decided it.
    pub reason: String,
}

/// The judgement of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judgement {
    /// It was judged; without findings it is fine.
    Judged(Vec<Violation>),
    /// The peer is on this host.
    Local,
    /// The policy allows it whatever it is.
    Allowed(Option<String>),
    /// No rule is about it.
    Uncovered,
}

impl Policy {
    /// Judges a connection, or the refused settings of a socket without one.
    pub fn judge(&self, subject: &Subject, policy: &Surroundings) -> Judgement {
        let socket = &subject.socket;
        if let Some(allowed) = self.allowed.iter().find(|allowed| allowed.scope.covers(subject)) {
            return Judgement::Allowed(allowed.reason.clone());
        }
        let mut rules = self.rules.iter().chain([&self.general]);
        let Some(rule) = rules.find(|rule| rule.scope.covers(subject)) else {
            return Judgement::Uncovered;
        };
        let finding = |fault, reason| Violation { fault, rule: rule.name.clone(), reason };
        let mut findings = Vec::new();
        let is_judged = subject.is_outbound() && (self.include_local || !policy.is_local(socket));
        if is_judged
            && rule.protected
            && let Verdict::Off | Verdict::Late = policy.verdict_on_path(socket)
        {
            findings.push(finding(Fault::Unprotected, policy.reason_on_path(socket)));
        }
        if is_judged
            && let Some(allowed) = rule.detection_seconds
            && let Some(reason) = too_slow(socket, allowed)
        {
            findings.push(finding(Fault::SlowDetection, reason));
        }
        if rule.no_failed_calls {
            let refused = |call: &Call| finding(Fault::FailedCall, refused(call));
            findings.extend(subject.failed.iter().map(refused));
        }
        findings.sort();
        findings.dedup();
        if findings.is_empty() && !is_judged && subject.is_outbound() {
            return Judgement::Local;
        }
        Judgement::Judged(findings)
    }

    /// Whether any rule asks for refused settings.
    pub fn want_failed_calls(&self) -> bool {
        self.rules.iter().chain([&self.general]).any(|rule| rule.no_failed_calls)
    }
}

impl Subject {
    /// Whether it is judged as a connection that this host opened.
    pub fn is_outbound(&self) -> bool {
        let Socket { remote, direction, .. } = &self.socket;
        !self.only_calls && remote.port != 0 && *direction == Direction::Outbound
    }
}

fn too_slow(socket: &Socket, allowed: u64) -> Option<String> {
    match socket.detection_seconds() {
        None => Some(format!(
            "keepalive is off: a dead peer is not noticed while nothing is sent, the policy allows {}",
            duration(allowed)
        )),
        Some(seconds) if seconds > allowed => Some(format!(
            "a dead peer is noticed after {} of silence, the policy allows {}",
            duration(seconds),
            duration(allowed)
        )),
        Some(_) => None,
    }
}

/// A refused setting in words.
fn refused(call: &Call) -> String {
    let value = call.value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    let Call { option, errno, .. } = call;
    format!(
        "{} = {value}{} was refused with {}",
        option.as_str(),
        option.unit(),
        errno_name(*errno)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::idle_limit::{IdleLimit, Limits},
        observed::{
            setsockopt::{SockOpt, When},
            setting::OwnSettings,
            socket::{Comm, tests_support::socket},
        },
    };
    use std::collections::BTreeSet;

    fn policy() -> Surroundings {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        Surroundings { limits, host: BTreeSet::new(), hz: 250 }
    }

    fn subject(idle_seconds: u32) -> Subject {
        let mut name = [0; 16];
        name[..3].copy_from_slice(b"web");
        let owner = Owner { pid: 7, fd: None, comm: Comm::new(name) };
        let own = OwnSettings { idle_seconds, ..OwnSettings::default() };
        let socket = Socket { keepalive: idle_seconds > 0, own, ..socket() };
        Subject {
            socket,
            owners: vec![owner],
            identity: None,
            failed: Vec::new(),
            only_calls: false,
        }
    }

    fn faults(demands: &Policy, subject: &Subject) -> Vec<Fault> {
        match demands.judge(subject, &policy()) {
            Judgement::Judged(findings) => findings.iter().map(|finding| finding.fault).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn by_default_every_outbound_connection_must_be_protected() {
        let demands = Policy::default();
        assert_eq!(faults(&demands, &subject(0)), [Fault::Unprotected]);
        assert_eq!(faults(&demands, &subject(7200)), [Fault::Unprotected]);
        assert_eq!(faults(&demands, &subject(60)), []);
        let mut inbound = subject(0);
        inbound.socket.direction = Direction::Inbound;
        assert_eq!(faults(&demands, &inbound), []);
    }

    #[test]
    fn a_local_peer_is_judged_only_when_asked_and_then_as_on_a_path() {
        let mut local = subject(0);
        local.socket.remote.addr = "::ffff:127.0.0.1".parse().unwrap();
        let demands = Policy::default();
        assert_eq!(demands.judge(&local, &policy()), Judgement::Local);
        let demands = Policy { include_local: true, ..demands };
        assert_eq!(faults(&demands, &local), [Fault::Unprotected]);
    }

    #[test]
    fn a_dead_peer_must_be_noticed_in_time() {
        let general = Rule { detection_seconds: Some(735), protected: false, ..Rule::default() };
        let demands = Policy { general, ..Policy::default() };
        // 60 s and 9 probes 75 s apart.
        assert_eq!(faults(&demands, &subject(60)), []);
        assert_eq!(faults(&demands, &subject(61)), [Fault::SlowDetection]);
        assert_eq!(faults(&demands, &subject(0)), [Fault::SlowDetection], "off: never");
    }

    #[test]
    fn refused_settings_count_if_asked_also_of_a_socket_that_is_no_connection() {
        let call = Call {
            option: SockOpt::Idle,
            value: Some(0),
            errno: 22,
            by: None,
            when: When::BeforeConnect,
        };
        let failed = Subject { failed: vec![call, call], ..subject(60) };
        assert_eq!(faults(&Policy::default(), &failed), []);
        let general = Rule { no_failed_calls: true, ..Rule::default() };
        let demands = Policy { general, ..Policy::default() };
        assert_eq!(faults(&demands, &failed), [Fault::FailedCall], "alike ones once");
        let mut alone = Subject { only_calls: true, ..failed };
        alone.socket.keepalive = false;
        let Judgement::Judged(findings) = demands.judge(&alone, &policy()) else { panic!() };
        assert_eq!(findings[0].reason, "TCP_KEEPIDLE = 0 s was refused with EINVAL");
    }

    #[test]
    fn the_first_rule_that_covers_a_connection_judges_it_and_what_is_allowed_comes_before_all() {
        let peer = |net: &str| Scope { peers: vec![net.parse().unwrap()], ..Scope::default() };
        let named = |name: &str| Some(name.to_owned());
        let rule = |name: &str, net, seconds| Rule {
            name: named(name),
            scope: peer(net),
            detection_seconds: Some(seconds),
            ..Rule::default()
        };
        let mut demands = Policy {
            rules: vec![rule("strict", "172.16.0.0/16", 90), rule("lax", "172.0.0.0/8", 9999)],
            general: Rule { scope: peer("10.0.0.0/8"), ..Rule::default() },
            ..Policy::default()
        };
        let Judgement::Judged(findings) = demands.judge(&subject(60), &policy()) else { panic!() };
        assert_eq!(findings[0].rule, named("strict"));
        let mut elsewhere = subject(60);
        elsewhere.socket.remote.addr = "::ffff:172.17.0.1".parse().unwrap();
        assert_eq!(faults(&demands, &elsewhere), []);
        elsewhere.socket.remote.addr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(demands.judge(&elsewhere, &policy()), Judgement::Uncovered);
        let scope =
            Scope { processes: vec!["web".to_owned()], ports: vec![2717], ..Scope::default() };
        demands.allowed.push(Allowed { scope, reason: named("short") });
        assert_eq!(demands.judge(&subject(0), &policy()), Judgement::Allowed(named("short")));
        let mut other_port = subject(0);
        other_port.socket.remote.port = 80;
        assert_eq!(faults(&demands, &other_port).len(), 2);
    }
}
