//! What is demanded of connections, and how one falls short of it: the policy of `keepwatch check`.

use super::{facts::ConnectionFacts, verdict::Surroundings};
use crate::model::{
    observed::{
        owner_identity::IdentityPart,
        setsockopt::{Call, SockOpt},
        socket::Direction,
    },
    text::{closed_set::closed_set, duration::duration},
};
use ipnet::IpNet;

/// Which connections are meant. Every condition must hold; an empty list means no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyScope {
    /// Peers in any of these networks.
    pub peers: Vec<IpNet>,
    /// Any of these ports of the peer.
    pub ports: Vec<u16>,
    /// Processes with any of these names.
    pub processes: Vec<String>,
    /// Names that parts of the owner's identity have.
    pub owner: Vec<(IdentityPart, String)>,
}

impl PolicyScope {
    /// Whether it means this one.
    pub fn covers(&self, subject: &impl Subject) -> bool {
        let remote = subject.facts().remote();
        let addr = remote.addr.to_canonical();
        (self.peers.is_empty() || self.peers.iter().any(|net| net.contains(&addr)))
            && (self.ports.is_empty() || self.ports.contains(&remote.port))
            && (self.processes.is_empty()
                || self.processes.iter().any(|name| subject.is_of_process(name)))
            && self.owner.iter().all(|(part, name)| subject.is_part_of(*part, name))
    }
}

/// What is demanded of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What to call it; the general rule has no name.
    pub name: Option<String>,
    /// The connections that it judges.
    pub scope: PolicyScope,
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
            scope: PolicyScope::default(),
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
    pub scope: PolicyScope,
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

/// A setting that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedSetting {
    /// The option that was to be set.
    pub option: SockOpt,
    /// The value asked for, if it could be read.
    pub value: Option<i32>,
    /// The name of the error.
    pub error: String,
}

impl RefusedSetting {
    /// The setting of a call, if it was refused.
    pub fn of(call: &Call) -> Option<Self> {
        let Call { option, value, .. } = *call;
        (call.errno != 0).then(|| Self { option, value, error: call.result() })
    }
}

/// What is judged: a connection, or a socket without one.
pub trait Subject {
    /// What verdicts look at.
    fn facts(&self) -> &impl ConnectionFacts;
    /// Who sent the SYN.
    fn direction(&self) -> Direction;
    /// Whether a process with this name has it open.
    fn is_of_process(&self, name: &str) -> bool;
    /// Whether this part of its owner's identity has this name.
    fn is_part_of(&self, part: IdentityPart, name: &str) -> bool;
    /// Settings that were refused.
    fn refused(&self) -> &[RefusedSetting];
    /// Only those are judged: it is no connection, or none any more.
    fn only_refused(&self) -> bool;

    /// Whether it is judged as a connection that this host opened.
    fn is_outbound(&self) -> bool {
        !self.only_refused()
            && self.facts().remote().port != 0
            && self.direction() == Direction::Outbound
    }
}

closed_set! {
    /// How a connection falls short.
    pub enum Fault {
        /// Its path forgets it before the first probe.
        Unprotected = "unprotected",
        /// A dead peer is noticed too late.
        SlowDetection = "slow_detection",
        /// The kernel refused a setting.
        FailedCall = "failed_call",
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
    pub fn judge(&self, subject: &impl Subject, around: &Surroundings) -> Judgement {
        if let Some(allowed) = self.allowed.iter().find(|allowed| allowed.scope.covers(subject)) {
            return Judgement::Allowed(allowed.reason.clone());
        }
        let mut rules = self.rules.iter().chain([&self.general]);
        let Some(rule) = rules.find(|rule| rule.scope.covers(subject)) else {
            return Judgement::Uncovered;
        };
        let finding = |fault, reason| Violation { fault, rule: rule.name.clone(), reason };
        let mut findings = Vec::new();
        let is_judged =
            subject.is_outbound() && (self.include_local || !around.is_local(subject.facts()));
        if is_judged && rule.protected && around.verdict_on_path(subject.facts()).is_unprotected() {
            findings.push(finding(Fault::Unprotected, around.reason_on_path(subject.facts())));
        }
        if is_judged
            && let Some(allowed) = rule.detection_seconds
            && let Some(reason) = too_slow(subject, allowed)
        {
            findings.push(finding(Fault::SlowDetection, reason));
        }
        if rule.no_failed_calls {
            let refused = |setting| finding(Fault::FailedCall, refused(setting));
            findings.extend(subject.refused().iter().map(refused));
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

fn too_slow(subject: &impl Subject, allowed: u64) -> Option<String> {
    match subject.facts().detected_after_seconds() {
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
fn refused(RefusedSetting { option, value, error }: &RefusedSetting) -> String {
    let value = value.map_or_else(|| "?".to_owned(), |value| value.to_string());
    format!("{} = {value}{} was refused with {error}", option.as_str(), option.unit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::idle_limit::{IdleLimit, Limits},
        observed::{
            setsockopt::SockOpt,
            setting::OwnSettings,
            socket::{Socket, tests_support::socket},
        },
    };
    use std::collections::BTreeSet;

    fn around() -> Surroundings {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        Surroundings { limits, host: BTreeSet::new(), hz: 250 }
    }

    /// A socket of `web`.
    #[derive(Clone)]
    struct OfWeb {
        socket: Socket,
        refused: Vec<RefusedSetting>,
        only_refused: bool,
    }

    impl Subject for OfWeb {
        fn facts(&self) -> &impl ConnectionFacts {
            &self.socket
        }

        fn direction(&self) -> Direction {
            self.socket.direction
        }

        fn is_of_process(&self, name: &str) -> bool {
            name == "web"
        }

        fn is_part_of(&self, _: IdentityPart, _: &str) -> bool {
            false
        }

        fn refused(&self) -> &[RefusedSetting] {
            &self.refused
        }

        fn only_refused(&self) -> bool {
            self.only_refused
        }
    }

    fn subject(idle_seconds: u32) -> OfWeb {
        let own = OwnSettings { idle_seconds, ..OwnSettings::default() };
        let socket = Socket { keepalive: idle_seconds > 0, own, ..socket() };
        OfWeb { socket, refused: Vec::new(), only_refused: false }
    }

    fn faults(policy: &Policy, subject: &OfWeb) -> Vec<Fault> {
        match policy.judge(subject, &around()) {
            Judgement::Judged(findings) => findings.iter().map(|finding| finding.fault).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn by_default_every_outbound_connection_must_be_protected() {
        let policy = Policy::default();
        assert_eq!(faults(&policy, &subject(0)), [Fault::Unprotected]);
        assert_eq!(faults(&policy, &subject(7200)), [Fault::Unprotected]);
        assert_eq!(faults(&policy, &subject(60)), []);
        let mut inbound = subject(0);
        inbound.socket.direction = Direction::Inbound;
        assert_eq!(faults(&policy, &inbound), []);
    }

    #[test]
    fn a_local_peer_is_judged_only_when_asked_and_then_as_on_a_path() {
        let mut local = subject(0);
        local.socket.remote.addr = "::ffff:127.0.0.1".parse().unwrap();
        let policy = Policy::default();
        assert_eq!(policy.judge(&local, &around()), Judgement::Local);
        let policy = Policy { include_local: true, ..policy };
        assert_eq!(faults(&policy, &local), [Fault::Unprotected]);
    }

    #[test]
    fn a_dead_peer_must_be_noticed_in_time() {
        let general = Rule { detection_seconds: Some(735), protected: false, ..Rule::default() };
        let policy = Policy { general, ..Policy::default() };
        // 60 s and 9 probes 75 s apart.
        assert_eq!(faults(&policy, &subject(60)), []);
        assert_eq!(faults(&policy, &subject(61)), [Fault::SlowDetection]);
        assert_eq!(faults(&policy, &subject(0)), [Fault::SlowDetection], "off: never");
    }

    #[test]
    fn refused_settings_count_if_asked_also_of_a_socket_that_is_no_connection() {
        let setting =
            RefusedSetting { option: SockOpt::Idle, value: Some(0), error: "EINVAL".to_owned() };
        let failed = OfWeb { refused: vec![setting.clone(), setting], ..subject(60) };
        assert_eq!(faults(&Policy::default(), &failed), []);
        let general = Rule { no_failed_calls: true, ..Rule::default() };
        let policy = Policy { general, ..Policy::default() };
        assert_eq!(faults(&policy, &failed), [Fault::FailedCall], "alike ones once");
        let mut alone = OfWeb { only_refused: true, ..failed };
        alone.socket.keepalive = false;
        let Judgement::Judged(findings) = policy.judge(&alone, &around()) else { panic!() };
        assert_eq!(findings[0].reason, "TCP_KEEPIDLE = 0 s was refused with EINVAL");
    }

    #[test]
    fn the_first_rule_that_covers_a_connection_judges_it_and_what_is_allowed_comes_before_all() {
        let peer =
            |net: &str| PolicyScope { peers: vec![net.parse().unwrap()], ..PolicyScope::default() };
        let named = |name: &str| Some(name.to_owned());
        let rule = |name: &str, net, seconds| Rule {
            name: named(name),
            scope: peer(net),
            detection_seconds: Some(seconds),
            ..Rule::default()
        };
        let mut policy = Policy {
            rules: vec![rule("strict", "172.16.0.0/16", 90), rule("lax", "172.0.0.0/8", 9999)],
            general: Rule { scope: peer("10.0.0.0/8"), ..Rule::default() },
            ..Policy::default()
        };
        let Judgement::Judged(findings) = policy.judge(&subject(60), &around()) else { panic!() };
        assert_eq!(findings[0].rule, named("strict"));
        let mut elsewhere = subject(60);
        elsewhere.socket.remote.addr = "::ffff:172.17.0.1".parse().unwrap();
        assert_eq!(faults(&policy, &elsewhere), []);
        elsewhere.socket.remote.addr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(policy.judge(&elsewhere, &around()), Judgement::Uncovered);
        let scope = PolicyScope {
            processes: vec!["web".to_owned()],
            ports: vec![2717],
            ..PolicyScope::default()
        };
        policy.allowed.push(Allowed { scope, reason: named("short") });
        assert_eq!(policy.judge(&subject(0), &around()), Judgement::Allowed(named("short")));
        let mut other_port = subject(0);
        other_port.socket.remote.port = 80;
        assert_eq!(faults(&policy, &other_port).len(), 2);
    }
}
