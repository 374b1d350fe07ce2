//! Each cause of death, by real packets: what the kernel tells the program, and what keepwatch says
//! of it. Beside each, what looks alike and is another cause.
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

use keepwatch_tests::{
    answer::{
        event::{TracedDeath, TracedEvent, TracedKind},
        trace::{Trace, list},
        truth::process_name,
    },
    kernel::socket::{self, Family, Keepalive, Plan, Road, SocketSettings},
    network::{
        ending::{self, exchange, forget, wait_for_quiet},
        middlebox::MiddleboxAnswer,
        path::{Ends, NetworkPath},
    },
    skip::skip,
    tool,
};
use rustix::io::Errno;
use std::{net::SocketAddr, os::fd::OwnedFd, process::Command, time::Duration};

/// The middlebox of these tests forgets what is quiet for longer.
const FORGETS_AFTER: u32 = 2;
/// The option that describes the path to keepwatch.
const IDLE_LIMIT: [&str; 2] = ["--idle-limit", "4s"];
/// Longer than both.
const QUIET: Duration = Duration::from_secs(5);
/// Attempts of retransmission: about 3 s instead of a quarter of an hour.
const FEW_RETRIES: u32 = 2;

#[test]
fn keepalive_timeout_the_peer_is_dark_and_nothing_is_in_flight() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    let ends = path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    path.darken();
    // Not before: none is to be answered.
    Plan::keepalive(1, 1, 2).turn_on(&ends.client);
    let death = ExpectedDeath { cause: "keepalive_timeout", errno: Some(Errno::TIMEDOUT) }.of(
        &trace,
        &path,
        &ends,
        "protected",
    );
    assert_eq!(death.certainty, "exact");
    assert_eq!((death.probes_sent, death.probes_unanswered), (2, 2));
    assert!(!death.in_flight);
    assert_about("silent", death.silent_seconds, 3.0);
    assert_eq!(death.settings.detection_seconds, Some(3));
}

#[test]
fn keepalive_reset_the_peer_has_forgotten_the_connection_and_answers_the_probe_by_rst() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    let ends = path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    let Ends { client, accepted, local } = ends;
    forget(accepted);
    Plan::keepalive(2, 1, 3).turn_on(&client);
    let death = ExpectedDeath { cause: "keepalive_reset", errno: Some(Errno::CONNRESET) }
        .at_end_of(&trace, &path, &client, local, "protected");
    // The reset is its answer.
    assert_eq!((death.probes_sent, death.probes_unanswered), (1, 0));
    assert!(!death.in_flight);
    assert_about("silent", death.silent_seconds, 2.0);
}

#[test]
fn keepalive_reset_also_after_unanswered_probes_when_the_peer_comes_back_without_its_memory() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
    path.darken();
    ending::reset(accepted);
    Plan::keepalive(1, 1, 9).turn_on(&client);
    trace.wait_for("two probes unanswered", |events| {
        let second =
            |event: &&TracedEvent| matches!(event.what, TracedKind::ProbeSent { probe: 2.., .. });
        events.iter().find(second).map(drop)
    });
    path.lighten();
    let death = ExpectedDeath { cause: "keepalive_reset", errno: Some(Errno::CONNRESET) }
        .at_end_of(&trace, &path, &client, local, "protected");
    // The reset is the answer to the last one.
    assert_eq!(death.probes_sent, death.probes_unanswered + 1);
    assert!(death.probes_sent >= 3, "{death:?}");
}

#[test]
fn idle_drop_a_middlebox_forgot_the_quiet_connection_and_swallows_the_first_data() {
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Silence) else {
        return;
    };
    path.near.set("ipv4/tcp_retries2", FEW_RETRIES);
    let trace = Trace::of(&path.near, &IDLE_LIMIT);
    let ends = path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    wait_for_quiet(&ends.client, QUIET);
    socket::send(&ends.client, b"are you there?");
    let death = ExpectedDeath { cause: "idle_drop", errno: Some(Errno::TIMEDOUT) }
        .of(&trace, &path, &ends, "off");
    assert_eq!(death.certainty, "inferred");
    assert!(death.in_flight);
    assert_eq!(death.probes_sent, 0);
    assert_about("quiet", death.quiet_seconds, QUIET.as_secs_f64());
    assert!(death.silent_seconds > death.quiet_seconds, "{death:?}");
}

#[test]
fn idle_drop_a_middlebox_forgot_the_quiet_connection_and_answers_the_first_data_by_rst() {
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Reset) else {
        return;
    };
    let trace = Trace::of(&path.near, &IDLE_LIMIT);
    // On, but with a first probe long after the connection is forgotten.
    let ends = path.connect(&Plan::keepalive(60, 1, 3));
    exchange(&ends.client, &ends.accepted);
    wait_for_quiet(&ends.client, QUIET);
    socket::send(&ends.client, b"are you there?");
    let death = ExpectedDeath { cause: "idle_drop", errno: Some(Errno::CONNRESET) }
        .of(&trace, &path, &ends, "late");
    assert_eq!(death.certainty, "inferred");
    assert!(death.in_flight);
    assert_about("quiet", death.quiet_seconds, QUIET.as_secs_f64());
    assert_eq!(death.settings.detection_seconds, Some(63));
}

#[test]
fn a_connection_that_is_probed_in_time_survives_the_same_middlebox() {
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Silence) else {
        return;
    };
    let trace = Trace::of(&path.near, &IDLE_LIMIT);
    let ends = path.connect(&Plan::keepalive(1, 1, 3));
    trace.wait_for("probes for longer than the middlebox remembers", |events| {
        let n_answered = events.iter().filter(|event| event.name() == "probe_answered").count();
        (n_answered > 4).then_some(())
    });
    exchange(&ends.client, &ends.accepted);
    let events = trace.events_of(ends.local);
    assert!(events.iter().all(|event| event.death().is_none()), "{}", list(&events));
}

#[test]
fn user_timeout_data_is_in_flight_for_longer_than_the_program_allows() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    let own = SocketSettings { user_timeout_ms: 1500, ..SocketSettings::default() };
    let plan = Plan { keepalive: Keepalive::Off, own, road: Road::Call };
    let ends = path.connect(&plan);
    exchange(&ends.client, &ends.accepted);
    path.darken();
    socket::send(&ends.client, b"lost");
    let death = ExpectedDeath { cause: "user_timeout", errno: Some(Errno::TIMEDOUT) }
        .of(&trace, &path, &ends, "off");
    assert!(death.in_flight);
    assert_eq!((death.probes_sent, death.settings.user_timeout_ms), (0, 1500));
    assert_about("silent", death.silent_seconds, 1.5);
}

#[test]
fn retransmit_timeout_data_is_in_flight_and_the_peer_is_dark() {
    let path = NetworkPath::cable();
    path.near.set("ipv4/tcp_retries2", FEW_RETRIES);
    let trace = Trace::of(&path.near, &[]);
    let ends = path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    path.darken();
    socket::send(&ends.client, b"lost");
    let death = ExpectedDeath { cause: "retransmit_timeout", errno: Some(Errno::TIMEDOUT) }
        .of(&trace, &path, &ends, "off");
    assert!(death.in_flight);
    assert_eq!(death.probes_sent, 0);
    assert!(death.quiet_seconds.is_some_and(|quiet| quiet < 3.0), "{death:?}");
}

#[test]
fn peer_reset_in_the_middle_of_a_conversation() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    let Ends { client, accepted, local } = path.connect(&Plan::keepalive(60, 1, 3));
    exchange(&client, &accepted);
    ending::reset(accepted);
    let death = ExpectedDeath { cause: "peer_reset", errno: Some(Errno::CONNRESET) }.at_end_of(
        &trace,
        &path,
        &client,
        local,
        "protected",
    );
    assert_eq!(death.probes_sent, 0);
    assert!(!death.in_flight);
}

#[test]
fn peer_reset_out_of_the_quiet_without_being_asked_is_no_idle_drop() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &IDLE_LIMIT);
    let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
    exchange(&client, &accepted);
    wait_for_quiet(&client, QUIET);
    ending::reset(accepted);
    let death = ExpectedDeath { cause: "peer_reset", errno: Some(Errno::CONNRESET) }
        .at_end_of(&trace, &path, &client, local, "off");
    assert!(!death.in_flight);
    assert_about("quiet", death.quiet_seconds, QUIET.as_secs_f64());
}

#[test]
fn connect_failed_refused() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    let nobody = SocketAddr::new(path.server.ip(), 9);
    assert_connect_fails(&trace, &path, nobody, Errno::CONNREFUSED);
}

#[test]
fn connect_failed_nobody_answers() {
    let path = NetworkPath::cable();
    path.near.set("ipv4/tcp_syn_retries", 1);
    let trace = Trace::of(&path.near, &[]);
    path.darken();
    assert_connect_fails(&trace, &path, path.server, Errno::TIMEDOUT);
}

#[test]
fn connect_failed_a_router_has_no_route() {
    let path = NetworkPath::router();
    path.lose_route_to("10.88.0.0/16");
    let trace = Trace::of(&path.near, &[]);
    let unknown = SocketAddr::new([10, 88, 0, 1].into(), 80);
    assert_connect_fails(&trace, &path, unknown, Errno::HOSTUNREACH);
}

#[test]
fn unreachable_a_router_loses_its_route_under_a_live_connection() {
    let path = NetworkPath::router();
    path.near.set("ipv4/tcp_retries2", FEW_RETRIES);
    let trace = Trace::of(&path.near, &[]);
    let ends = path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    path.lose_route_to("10.77.2.1/32");
    socket::send(&ends.client, b"lost");
    let death = ExpectedDeath { cause: "unreachable", errno: Some(Errno::HOSTUNREACH) }
        .of(&trace, &path, &ends, "off");
    assert!(death.in_flight);
    assert_eq!(death.probes_sent, 0);
}

#[test]
fn peer_closed_first() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
    exchange(&client, &accepted);
    drop(accepted);
    let soon = Duration::from_mins(1);
    socket::wait_for_state(&client, socket::CLOSE_WAIT, soon);
    drop(client);
    ExpectedDeath { cause: "peer_closed", errno: None }.at(&trace, &path, local, "off");
}

#[test]
fn local_closed_first() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
    exchange(&client, &accepted);
    drop(client);
    socket::wait_for_state(&accepted, socket::CLOSE_WAIT, Duration::from_mins(1));
    drop(accepted);
    ExpectedDeath { cause: "local_closed", errno: None }.at(&trace, &path, local, "off");
}

#[test]
fn a_close_while_probes_are_unanswered_makes_it_no_death_of_keepalive() {
    let path = NetworkPath::cable();
    path.near.set("ipv4/tcp_orphan_retries", 1);
    let trace = Trace::of(&path.near, &[]);
    let Ends { client, accepted: _accepted, local } = path.connect(&Plan::keepalive(1, 1, 9));
    path.darken();
    trace.wait_for("two probes unanswered", |events| {
        let second =
            |event: &&TracedEvent| matches!(event.what, TracedKind::ProbeSent { probe: 2.., .. });
        events.iter().find(second).map(drop)
    });
    drop(client);
    let (_, death) = trace.death_of(local);
    // The FIN is repeated in vain.
    assert_eq!(death.cause, "abandoned", "{death:?}");
}

#[test]
fn local_reset_by_lingering_for_no_time() {
    local_reset(|client, _| ending::reset(client));
}

#[test]
fn local_reset_by_closing_with_data_unread() {
    local_reset(|client, accepted| {
        socket::send(accepted, b"never read");
        ending::wait_for_data(&client);
        drop(client);
    });
}

#[test]
fn local_reset_by_a_listener_that_closes_before_it_has_accepted() {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.far, &[]);
    let server = SocketAddr::new(path.server.ip(), 2718);
    let listener = path.far.run(|| socket::listener(Family::V4, server, 8, &Plan::NOTHING));
    let client = path.near.run(|| socket::connected(Family::V4, server, &Plan::NOTHING));
    drop(listener);
    let (_, death) = trace.death_of(server);
    assert_eq!(death.cause, "local_reset");
    assert!(death.evidence.contains("nobody had accepted it"), "{death:?}");
    drop(client);
}

#[test]
fn local_reset_by_disconnecting() {
    local_reset(|client, _| {
        rustix::net::connect_unspec(&client).expect("connect(AF_UNSPEC)");
    });
}

#[test]
fn local_reset_by_an_administrator() {
    let path = NetworkPath::cable();
    // Set-up brings ss.
    let ss =
        |words: &[&str]| path.near.run(|| Command::new(tool::program("ss")).args(words).output());
    let trace = Trace::of(&path.near, &[]);
    let ends = path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    let killed = ss(&["-K", "-Htn", "dport", "=", ":2717"]).expect("start ss");
    if killed.stdout.is_empty() {
        assert!(!tool::kernel_has(&["INET_DIAG_DESTROY"]), "{killed:?}");
        skip("ss -K", "which this kernel does not do");
        return;
    }
    ExpectedDeath { cause: "local_reset", errno: Some(Errno::CONNABORTED) }
        .of(&trace, &path, &ends, "off");
}

#[track_caller]
fn local_reset(end: impl FnOnce(OwnedFd, &OwnedFd)) {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    // The peer's end stays open: while another test starts a program, ours may close a moment late.
    let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
    exchange(&client, &accepted);
    end(client, &accepted);
    let (event, death) = trace.death_of(local);
    assert_eq!(death.cause, "local_reset", "{event:?}");
    assert!(!death.in_flight, "{event:?}");
    assert!(!death.evidence.contains("accepted"), "{death:?}");
    assert_common(&event, &path, "off");
}

#[track_caller]
fn assert_connect_fails(trace: &Trace, path: &NetworkPath, to: SocketAddr, errno: Errno) {
    let fd = path.near.run(|| {
        let fd = socket::unconnected(Family::V4, &Plan::keepalive(60, 1, 3));
        assert_eq!(rustix::net::connect(&fd, &to), Err(errno));
        fd
    });
    let (event, death) = trace.wait_for("the attempt's end", |events| {
        events.iter().find_map(|event| Some((event.clone(), event.death()?.clone())))
    });
    assert_eq!((death.cause.as_str(), death.errno), ("connect_failed", Some(name(errno))));
    assert_eq!((event.remote, event.netns), (to, path.near.inode()));
    assert_eq!(event.direction.as_deref(), Some("outbound"));
    assert_eq!(event.owners.first().map(|owner| owner.pid), Some(std::process::id()));
    assert_eq!((death.probes_sent, death.probes_unanswered), (0, 0));
    let events = trace.events();
    assert!(events.iter().all(|event| event.name() != "opened"), "{}", list(&events));
    drop(fd);
}

/// What must be said of a death.
struct ExpectedDeath {
    cause: &'static str,
    /// What the kernel tells the program, too.
    errno: Option<Errno>,
}

impl ExpectedDeath {
    /// Of a connection whose ends are both still open.
    #[track_caller]
    fn of(self, trace: &Trace, path: &NetworkPath, ends: &Ends, verdict: &str) -> TracedDeath {
        self.at_end_of(trace, path, &ends.client, ends.local, verdict)
    }

    /// The program learns it from its descriptor, and keepwatch says the same.
    #[track_caller]
    fn at_end_of(
        self,
        trace: &Trace,
        path: &NetworkPath,
        client: &OwnedFd,
        local: SocketAddr,
        verdict: &str,
    ) -> TracedDeath {
        assert_eq!(ending::error_at_end(client), self.errno);
        self.at(trace, path, local, verdict)
    }

    #[track_caller]
    fn at(
        self,
        trace: &Trace,
        path: &NetworkPath,
        local: SocketAddr,
        verdict: &str,
    ) -> TracedDeath {
        let (event, death) = trace.death_of(local);
        assert_eq!(death.cause, self.cause, "{event:?}");
        assert_eq!(death.errno, self.errno.map(name), "{event:?}");
        assert_common(&event, path, verdict);
        death
    }
}

#[track_caller]
fn assert_common(event: &TracedEvent, path: &NetworkPath, verdict: &str) {
    let death = event.death().expect("a death");
    assert_eq!((event.remote, event.netns), (path.server, path.near.inode()), "{event:?}");
    assert_eq!(event.direction.as_deref(), Some("outbound"), "{event:?}");
    assert_eq!(event.verdict.as_deref(), Some(verdict), "{event:?}");
    assert_eq!(death.settings.keepalive, verdict != "off", "{event:?}");
    let owner = event.owners.first().expect("an owner");
    assert_eq!((owner.pid, &owner.process), (std::process::id(), &process_name("self")));
    // The one is measured by the clock, the other one in ticks.
    let silent_seconds = death.silent_seconds.unwrap_or(0.0);
    assert!(death.age_seconds.is_some_and(|age| age >= silent_seconds - 0.05), "{event:?}");
    assert!(["exact", "inferred"].contains(&death.certainty.as_str()), "{event:?}");
    assert!(!death.evidence.is_empty() && !event.meaning.is_empty(), "{event:?}");
}

/// Timers are late by up to an eighth, and slow guests by more.
#[track_caller]
fn assert_about(what: &str, said: Option<f64>, seconds: f64) {
    let said = said.unwrap_or_else(|| panic!("{what} is unknown"));
    // More on a host that has much to do: what the test does takes time, too.
    let range = seconds - 0.1..=seconds * 1.125 + 2.5;
    assert!(range.contains(&said), "{what}: {said:.3} s, expected {range:?}");
}

fn name(errno: Errno) -> String {
    let name = match errno {
        Errno::TIMEDOUT => "ETIMEDOUT",
        Errno::CONNRESET => "ECONNRESET",
        Errno::CONNREFUSED => "ECONNREFUSED",
        Errno::HOSTUNREACH => "EHOSTUNREACH",
        Errno::CONNABORTED => "ECONNABORTED",
        other => panic!("{other} has no name here"),
    };
    name.to_owned()
}
