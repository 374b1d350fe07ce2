//! What is demanded of connections, and how one falls short of it: the policy of `keepwatch check`.

use super::{
    facts::ConnectionFacts,
    verdict::{Surroundings, Verdict},
};
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
    /// Who opened them; without it those that this host opened.
    pub direction: Option<Direction>,
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
    /// Whether it means this one, whoever opened it.
    pub fn covers(&self, subject: &impl Subject) -> bool {
        let remote = subject.facts().remote();
        let addr = remote.addr.to_canonical();
        (self.peers.is_empty() || self.peers.iter().any(|net| net.contains(&addr)))
            && (self.ports.is_empty() || self.ports.contains(&remote.port))
            && (self.processes.is_empty()
                || self.processes.iter().any(|name| subject.is_of_process(name)))
            && self.owner.iter().all(|(part, name)| subject.is_part_of(*part, name))
            && self.direction.is_none_or(|it| subject.only_refused() || it == subject.direction())
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
    /// With data in flight, which keepalive does not watch, the kernel notices a dead peer within this number of
    /// seconds.
    pub in_flight_seconds: Option<u64>,
    /// One probe that gets lost does not end the connection.
    pub survive_lost_probe: bool,
    /// Seconds between two probes at least: each costs a packet, and wakes a phone.
    pub least_interval_seconds: Option<u32>,
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
            in_flight_seconds: None,
            survive_lost_probe: false,
            least_interval_seconds: None,
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

    /// `TCP_KEEPIDLE = 60000 s was refused with EINVAL`.
    pub fn words(&self) -> String {
        let Self { option, value, error } = self;
        let value = value.map_or_else(|| "?".to_owned(), |value| value.to_string());
        format!("{} = {value}{} was refused with {error}", option.as_str(), option.unit())
    }
}

/// What the kernel does with a connection that nobody answers on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// Whether SO_KEEPALIVE is on.
    pub keepalive: bool,
    /// Silence before the first probe, seconds.
    pub idle_seconds: u32,
    /// Time between two probes, seconds.
    pub interval_seconds: u32,
    /// Probes that end it if none is answered.
    pub count: u32,
    /// TCP_USER_TIMEOUT in milliseconds; 0 is unset.
    pub user_timeout_ms: u32,
    /// Seconds until the kernel gives up while data is in flight, by that or by `tcp_retries2`.
    pub in_flight_detection_seconds: u64,
}

/// What is judged: a connection, or a socket without one.
pub trait Subject {
    /// What verdicts look at.
    fn facts(&self) -> &impl ConnectionFacts;
    /// Who sent the SYN.
    fn direction(&self) -> Direction;
    /// The effective settings.
    fn settings(&self) -> ProbeSettings;
    /// The verdict as if the peer were on another host, and why.
    fn verdict_on_path(&self, around: &Surroundings) -> (Verdict, String) {
        (around.verdict_on_path(self.facts()), around.reason_on_path(self.facts()))
    }
    /// Whether a process with this name has it open.
    fn is_of_process(&self, name: &str) -> bool;
    /// Whether this part of its owner's identity has this name.
    fn is_part_of(&self, part: IdentityPart, name: &str) -> bool;
    /// Settings that were refused.
    fn refused(&self) -> &[RefusedSetting];
    /// Only those are judged: it is no connection, or none any more.
    fn only_refused(&self) -> bool;

    /// Whether it is a connection, and not only a setting that was refused.
    fn is_connection(&self) -> bool {
        !self.only_refused() && self.facts().remote().port != 0
    }
}

closed_set! {
    /// How a connection falls short.
    pub enum Fault {
        /// Its path forgets it before the first probe.
        Unprotected = "unprotected",
        /// A dead peer is noticed too late.
        SlowDetection = "slow_detection",
        /// A dead peer is noticed too late while data is in flight.
        SlowInFlight = "slow_in_flight",
        /// One lost probe ends it.
        FragileProbes = "fragile_probes",
        /// It probes too often.
        BusyProbes = "busy_probes",
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
    /// The other end opened it, and no rule is about that.
    OtherDirection,
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
        let is_meant = subject.is_connection() && rule.direction() == subject.direction();
        let is_judged = is_meant && (self.include_local || !around.is_local(subject.facts()));
        if is_judged {
            let found = rule.faults(subject, around).into_iter();
            findings.extend(found.map(|(fault, reason)| finding(fault, reason)));
        }
        if rule.no_failed_calls {
            let refused = |setting: &RefusedSetting| finding(Fault::FailedCall, setting.words());
            findings.extend(subject.refused().iter().map(refused));
        }
        findings.sort();
        findings.dedup();
        if findings.is_empty() && !is_judged && subject.is_connection() {
            return if is_meant { Judgement::Local } else { Judgement::OtherDirection };
        }
        Judgement::Judged(findings)
    }

    /// Whether any rule judges connections that the peer opened.
    pub fn judges_inbound(&self) -> bool {
        self.rules.iter().chain([&self.general]).any(|rule| rule.direction() == Direction::Inbound)
    }

    /// Whether it has conditions: then connections may be under none of its rules.
    pub fn is_partial(&self) -> bool {
        self.general.scope != PolicyScope::default()
    }

    /// Whether any rule asks for refused settings.
    pub fn want_failed_calls(&self) -> bool {
        self.rules.iter().chain([&self.general]).any(|rule| rule.no_failed_calls)
    }
}

impl Rule {
    /// Who opened the connections that it judges.
    fn direction(&self) -> Direction {
        self.scope.direction.unwrap_or(Direction::Outbound)
    }

    fn faults(&self, subject: &impl Subject, around: &Surroundings) -> Vec<(Fault, String)> {
        let settings = subject.settings();
        let unprotected = || {
            let (verdict, reason) = subject.verdict_on_path(around);
            verdict.is_unprotected().then_some(reason)
        };
        let within = |limit: Option<u64>| limit.map(|allowed| (allowed, settings));
        let found = [
            (Fault::Unprotected, self.protected.then(unprotected).flatten()),
            (
                Fault::SlowDetection,
                self.detection_seconds.and_then(|allowed| too_slow(subject, allowed)),
            ),
            (
                Fault::SlowInFlight,
                within(self.in_flight_seconds)
                    .and_then(|(allowed, of)| too_slow_in_flight(of, allowed)),
            ),
            (Fault::FragileProbes, self.survive_lost_probe.then(|| fragile(settings)).flatten()),
            (
                Fault::BusyProbes,
                self.least_interval_seconds.and_then(|least| too_busy(settings, least)),
            ),
        ];
        found.into_iter().filter_map(|(fault, reason)| Some((fault, reason?))).collect()
    }
}

/// While data is in flight no probe goes out: the user timeout decides, else `tcp_retries2`.
fn too_slow_in_flight(settings: ProbeSettings, allowed: u64) -> Option<String> {
    let ProbeSettings { user_timeout_ms, in_flight_detection_seconds: seconds, .. } = settings;
    let by = match user_timeout_ms {
        0 => "tcp_retries2: keepalive does not watch then, and no TCP_USER_TIMEOUT is set",
        _ => "TCP_USER_TIMEOUT",
    };
    (seconds > allowed).then(|| {
        format!(
            "with data in flight a dead peer is noticed after about {} ({by}), the policy allows {}",
            duration(seconds),
            duration(allowed)
        )
    })
}

/// Whether one probe that gets lost ends it: there is no second one before the kernel gives up.
fn fragile(settings: ProbeSettings) -> Option<String> {
    let ProbeSettings { keepalive, idle_seconds, interval_seconds, count, user_timeout_ms, .. } =
        settings;
    let second_probe_ms = (u64::from(idle_seconds) + u64::from(interval_seconds)) * 1000;
    match u64::from(user_timeout_ms) {
        _ if !keepalive => None,
        // The user timeout takes the place of the count.
        0 if count <= 1 => Some("a single lost probe ends it: TCP_KEEPCNT is 1".to_owned()),
        ms if ms > 0 && ms <= second_probe_ms => Some(format!(
            "a single lost probe ends it: TCP_USER_TIMEOUT is {ms} ms, and the second probe would go out after {}",
            duration(second_probe_ms / 1000)
        )),
        _ => None,
    }
}

fn too_busy(settings: ProbeSettings, least: u32) -> Option<String> {
    let ProbeSettings { keepalive, idle_seconds, interval_seconds, .. } = settings;
    // The interval alone counts while probes go unanswered.
    let gap = idle_seconds.max(interval_seconds);
    (keepalive && gap < least).then(|| {
        format!(
            "it probes every {} (idle {}, interval {}), the policy asks for at least {} between probes",
            duration(gap),
            duration(idle_seconds),
            duration(interval_seconds),
            duration(least)
        )
    })
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

#[cfg(test)]
mod tests;
