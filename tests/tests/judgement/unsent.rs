//! What did not leave this host: of what died of that, and of what hangs, it is said; of a peer in the dark it is not.

use crate::watched_path::WatchedPath;
use keepwatch_tests::{
    answer::{event::TracedDeath, trace::Trace},
    kernel::socket::{self, Plan, SocketSettings},
    network::{
        ending::exchange,
        path::{Ends, NetworkPath},
    },
};

const NOT_SENT: &str = "could not be sent by this host: there is no route";
/// The peer, as tests/src/network/path.rs has it.
const NO_ROUTE: &str = "route add blackhole 10.77.0.2/32";

#[test]
fn a_death_by_keepalive_says_whether_its_probes_left_this_host() {
    let lost = death(&Plan::keepalive(1, 1, 3), false, |path, _| path.near.ip(NO_ROUTE));
    let dark = death(&Plan::keepalive(1, 1, 3), false, |path, _| path.darken());
    assert_eq!(
        (lost.cause.as_str(), dark.cause.as_str()),
        ("keepalive_timeout", "keepalive_timeout")
    );
    assert!(lost.evidence.contains("the probes could not be sent by this host"), "{lost:?}");
    assert!(!dark.evidence.contains("could not be sent"), "{dark:?}");
}

#[test]
fn a_death_by_user_timeout_says_whether_the_repetitions_left_this_host() {
    let own = SocketSettings { user_timeout_ms: 2500, ..SocketSettings::default() };
    let plan = Plan { own, ..Plan::NOTHING };
    let lost = death(&plan, true, |path, _| path.near.ip(NO_ROUTE));
    let dark = death(&plan, true, |_, _| ());
    assert_eq!((lost.cause.as_str(), dark.cause.as_str()), ("user_timeout", "user_timeout"));
    assert!(lost.evidence.contains(NOT_SENT), "{lost:?}");
    assert!(!dark.evidence.contains("could not be sent"), "{dark:?}");
}

#[test]
fn what_the_kernel_gives_up_says_whether_it_left_this_host() {
    let few = |path: &NetworkPath| path.near.set("ipv4/tcp_retries2", 3);
    let lost = death(&Plan::NOTHING, true, |path, _| {
        few(path);
        path.near.ip(NO_ROUTE);
    });
    let dark = death(&Plan::NOTHING, true, |path, _| few(path));
    assert_eq!((lost.cause.as_str(), dark.cause.as_str()), ("unreachable", "retransmit_timeout"));
    assert!(lost.evidence.contains("this host could not send what was written"), "{lost:?}");
    assert!(!lost.evidence.contains("the network"), "{lost:?}");
    assert!(!dark.evidence.contains("could not"), "{dark:?}");
}

#[test]
fn what_hangs_says_whether_its_repetitions_leave_this_host() {
    let watched = WatchedPath::cable();
    let ends = watched.path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    watched.path.darken();
    socket::send(&ends.client, b"are you there?");
    let row =
        watched.until(ends.local, "is stuck", |row| row.condition.as_deref() == Some("stuck"));
    assert!(!row.could_not_send, "it goes out, and nobody answers: {row:?}");
    watched.path.near.ip(NO_ROUTE);
    watched.until(ends.local, "cannot send any more", |row| row.could_not_send);
    watched.path.near.ip("route del blackhole 10.77.0.2/32");
    watched.path.lighten();
    let row = watched.until(ends.local, "is fine", |row| row.condition.as_deref() == Some("fine"));
    assert!(!row.could_not_send, "{row:?}");
}

/// The death of a connection on a path that this happens to, with data in flight or without.
#[track_caller]
fn death(plan: &Plan, in_flight: bool, happens: impl FnOnce(&NetworkPath, &Ends)) -> TracedDeath {
    let path = NetworkPath::cable();
    let trace = Trace::of(&path.near, &[]);
    let ends = path.connect(plan);
    exchange(&ends.client, &ends.accepted);
    if in_flight {
        path.darken();
        socket::send(&ends.client, b"are you there?");
    }
    happens(&path, &ends);
    trace.death_of(ends.local).1
}
