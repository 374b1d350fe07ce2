//! What a policy demands, and of which connections.

use super::*;
use crate::model::{
    judgement::idle_limit::{IdleLimit, Limits},
    observed::{
        setsockopt::SockOpt,
        setting::OwnSettings,
        socket::{Socket, tests_support::socket},
    },
};

fn around() -> Surroundings {
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    Surroundings::new(limits, 250)
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

    fn settings(&self) -> ProbeSettings {
        let Socket { keepalive, own, .. } = self.socket;
        ProbeSettings {
            keepalive,
            idle_seconds: self.socket.idle().value,
            interval_seconds: self.socket.interval().value,
            count: self.socket.count().value,
            user_timeout_ms: own.user_timeout_ms,
            in_flight_detection_seconds: self.socket.gives_up_repeating_ms().div_ceil(1000),
        }
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
    assert_eq!(policy.judge(&inbound, &around()), Judgement::OtherDirection);
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
    let general = Rule { detection_seconds: Some(750), protected: false, ..Rule::default() };
    let policy = Policy { general, ..Policy::default() };
    // 60 s, or 75 s after a probe that was answered, and 9 probes 75 s apart.
    assert_eq!(faults(&policy, &subject(60)), []);
    assert_eq!(faults(&policy, &subject(76)), [Fault::SlowDetection]);
    let hasty = Rule { detection_seconds: Some(735), ..policy.general.clone() };
    let hasty = Policy { general: hasty, ..Policy::default() };
    assert_eq!(faults(&hasty, &subject(60)), [Fault::SlowDetection]);
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

fn demand(rule: Rule) -> Policy {
    Policy { general: Rule { protected: false, ..rule }, ..Policy::default() }
}

/// First probe after 10 s, then every 5 s.
fn probed(count: u8, user_timeout_ms: u32) -> OfWeb {
    let own = OwnSettings { idle_seconds: 10, interval_seconds: 5, count, user_timeout_ms };
    let socket = Socket { keepalive: true, own, ..socket() };
    OfWeb { socket, ..subject(0) }
}

#[test]
fn a_server_that_never_notices_dead_clients_is_a_finding_if_the_policy_is_about_inbound_ones() {
    let scope = PolicyScope { direction: Some(Direction::Inbound), ..PolicyScope::default() };
    let policy = demand(Rule { scope, detection_seconds: Some(60), ..Rule::default() });
    let mut inbound = subject(0);
    inbound.socket.direction = Direction::Inbound;
    assert_eq!(faults(&policy, &inbound), [Fault::SlowDetection]);
    assert_eq!(policy.judge(&subject(0), &around()), Judgement::Uncovered, "this host opened it");
    assert!(policy.judges_inbound() && !Policy::default().judges_inbound());
}

#[test]
fn with_data_in_flight_a_user_timeout_or_the_namespace_notices_in_time() {
    let policy = demand(Rule { in_flight_seconds: Some(30), ..Rule::default() });
    assert_eq!(faults(&policy, &probed(3, 30_000)), []);
    assert_eq!(faults(&policy, &probed(3, 30_001)), [Fault::SlowInFlight]);
    assert_eq!(faults(&policy, &probed(3, 0)), [Fault::SlowInFlight], "however often it probes");
    let mut tuned = probed(3, 0);
    tuned.socket.ambient.retries2 = 5;
    assert_eq!(faults(&policy, &tuned), [], "12.6 s");
}

#[test]
fn a_single_lost_probe_must_not_end_it_by_its_count_or_its_user_timeout() {
    let policy = demand(Rule { survive_lost_probe: true, ..Rule::default() });
    assert_eq!(faults(&policy, &probed(2, 0)), []);
    assert_eq!(faults(&policy, &probed(1, 0)), [Fault::FragileProbes]);
    assert_eq!(faults(&policy, &probed(9, 15_000)), [Fault::FragileProbes]);
    assert_eq!(faults(&policy, &probed(1, 15_001)), [], "the user timeout takes the count's place");
    assert_eq!(faults(&policy, &subject(0)), [], "without probes none gets lost");
}

#[test]
fn probing_too_often_is_a_cost() {
    let policy = demand(Rule { least_interval_seconds: Some(10), ..Rule::default() });
    assert_eq!(faults(&policy, &probed(3, 0)), []);
    let mut often = probed(3, 0);
    often.socket.own.idle_seconds = 4;
    assert_eq!(faults(&policy, &often), [Fault::BusyProbes]);
    // As Node sets it: each second only while nobody answers.
    often.socket.own = OwnSettings { idle_seconds: 60, interval_seconds: 1, ..often.socket.own };
    assert_eq!(faults(&policy, &often), []);
    assert_eq!(faults(&policy, &subject(0)), [], "off");
}
