//! On a busy host, what was asked for is reported whole: the hooks of `trace` and of `check` pass over
//! the others' events, which fill no ring.
#![expect(clippy::expect_used, reason = "a test")]

use keepwatch_tests::{
    answer::{agent::keepwatch, trace::Trace},
    kernel::{
        flood::Flood,
        netns::NetworkNamespace,
        socket::{self, Family, Plan, Road, SocketOption},
    },
    network::path::NetworkPath,
    tool,
};
use serde_json::Value;
use std::process::{Output, Stdio};

const N: usize = 50;
/// Room for some 300 events, those of `N` connections: whatever of others came in would push out ours.
const SMALL_RING: &str = "65536";
/// Room for 20.
const TINY_RING: &str = "4096";

#[test]
fn beside_a_flood_trace_reports_every_event_of_its_namespace() {
    let flood = Flood::start(2);
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &["--event", "opened,ended"]);
    for _ in 0..N {
        drop(path.connect(&Plan::keepalive(60, 5, 3)));
    }
    // The kernel leaves a run of a hook out that interrupts another one: that is reported, and rare.
    const MOST_SKIPPED: u64 = 5;
    trace.wait_for("the beginnings and ends of all connections", |events| {
        let n = |name| events.iter().filter(|event| event.name() == name).count();
        let n_missing = u64::try_from(2 * N - n("ended") - n("opened")).expect("none twice");
        (n_missing <= trace.skipped().min(MOST_SKIPPED)).then_some(())
    });
    let events = trace.events();
    assert!(events.iter().all(|event| event.netns == path.near.inode()));
    eprintln!("others made {:.0} connections a second", flood.rate());
}

#[test]
fn trace_of_a_port_reports_both_ends_and_the_calls_before_connecting_and_nothing_of_other_ports() {
    let netns = NetworkNamespace::new();
    let family = Family::V4;
    let listeners = netns.run(|| {
        let listen = || socket::listener(family, family.loopback(), 8, &Plan::NOTHING);
        [listen(), listen()]
    });
    let [wanted, other] = listeners.each_ref().map(socket::local_address);
    let port = wanted.port().to_string();
    let trace = Trace::start(&["--port", &port, "--event", "opened,setting,ended"]);
    netns.run(|| {
        for (address, listener) in [(other, &listeners[1]), (wanted, &listeners[0])] {
            let client = socket::connected(family, address, &Plan::keepalive(60, 0, 0));
            let server = socket::accepted(listener);
            Road::Call.set(&server, SocketOption::KeepIdle, 90);
            drop(client);
            drop(server);
        }
    });
    let events = trace.wait_for("both ends of the wanted connection", |events| {
        let ended = events.iter().filter(|event| event.death().is_some()).count();
        (ended == 2).then(|| events.to_vec())
    });
    let has_port = |event: &&_| {
        let keepwatch_tests::answer::event::TracedEvent { local, remote, .. } = event;
        local.port() == wanted.port() || remote.port() == wanted.port()
    };
    let n = |name: &str| events.iter().filter(has_port).filter(|one| one.name() == name).count();
    assert_eq!((n("opened"), n("ended"), n("setting")), (2, 2, 3), "{events:?}");
    let of_others = events.iter().filter(|event| !has_port(event) && event.remote.port() != 0);
    assert_eq!(of_others.count(), 0, "{events:?}");
}

#[test]
fn beside_a_flood_check_judges_every_connection_of_its_command_and_no_other() {
    let flood = Flood::start(2);
    let netns = NetworkNamespace::new();
    for _ in 0..3 {
        let (sum, output) = check(&netns, SMALL_RING, N);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((&sum["judged"], &sum["violating"]), (&N.into(), &(N / 2).into()), "{said}");
        assert_eq!(sum["events_lost"], 0, "{said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
    }
    eprintln!("others made {:.0} connections a second", flood.rate());
}

#[test]
fn what_check_loses_of_its_command_is_counted_and_is_a_finding() {
    let netns = NetworkNamespace::new();
    let (sum, output) = check(&netns, TINY_RING, 5_000);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(sum["events_lost"].as_u64().is_some_and(|n_lost| n_lost > 0), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

/// `check` on a command that makes `n_connections` connections, with keepalive in every
/// second one.
fn check(netns: &NetworkNamespace, ring_bytes: &str, n_connections: usize) -> (Value, Output) {
    let mut check = keepwatch(["check", "--include-local", "--idle-limit", "3h", "--json"]);
    check.args(["--ring-bytes", ring_bytes, "--"]).arg(tool::beside("crowd"));
    check.args(["both", "127.0.0.1:7000", &n_connections.to_string()]).stdin(Stdio::null());
    let output = netns.run(|| check.output()).expect("start keepwatch");
    let said = String::from_utf8_lossy(&output.stderr);
    let sum = said.lines().rfind(|line| line.starts_with('{')).expect("a sum");
    (serde_json::from_str(sum).expect("JSON"), output)
}
