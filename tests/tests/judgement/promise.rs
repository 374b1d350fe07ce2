//! Gap, verdict and `kept`.

use crate::watched_path::{LIMIT_SECONDS, WatchedPath};
use keepwatch_tests::{
    answer::row::SocketLine,
    kernel::socket::{self, Keepalive, Plan, Road, SocketOption},
    network::{
        ending::{exchange, wait_for_quiet},
        path::{Ends, NetworkPath},
    },
    wait::now,
};
use std::time::Duration;

#[test]
fn a_first_probe_in_time_is_no_protection_when_the_next_one_comes_too_late() {
    let watched = WatchedPath::cable();
    let late = watched.path.connect(&Plan::keepalive(3, 60, 3));
    let protected = watched.path.connect(&Plan::keepalive(3, 5, 3));
    let row = watched.until(late.local, "is late", |row| row.verdict == "late");
    assert_eq!(row.gap_from.as_deref(), Some("interval"), "{row:?}");
    assert!(row.meaning.contains("the next ones come every 1 min"), "{row:?}");
    let row = watched.until(protected.local, "is protected", |row| row.verdict == "protected");
    assert!(row.gap_seconds.is_some_and(|gap| gap < LIMIT_SECONDS), "{row:?}");
    // The kernel does as was said: one probe, and then none for longer than the limit.
    watched.until(late.local, "is probed", |_| socket::was_probed_since_data(&late.client));
    wait_for_quiet(&late.client, Duration::from_secs_f64(LIMIT_SECONDS));
}

#[test]
fn a_shorter_sysctl_does_not_protect_what_lives_until_its_timer_has_fired() {
    let watched = WatchedPath::cable();
    let system = Plan { keepalive: Keepalive::Before, ..Plan::NOTHING };
    let old = watched.path.connect(&system);
    watched.until(old.local, "is late", |row| row.verdict == "late");
    watched.path.near.set_keepalive(3, 1, 3);
    let new = watched.path.connect(&system);
    let row = watched.until(new.local, "is protected", |row| row.verdict == "protected");
    assert_eq!(row.idle.seconds, 3);
    let row = watched.until(old.local, "has the new setting", |row| row.idle.seconds == 3);
    assert_eq!((row.verdict.as_str(), row.gap_from.as_deref()), ("late", Some("armed_timer")));
    assert!(row.meaning.contains("by the sysctl, but the timer was set before"), "{row:?}");
    assert!(row.next_probe_seconds.is_some_and(|next| next > 7000.0), "{row:?}");
    watched.until(new.local, "is probed", |_| socket::was_probed_since_data(&new.client));
    assert!(!socket::was_probed_since_data(&old.client), "as was said");
    // TCP_KEEPIDLE arms the timer anew.
    Road::Call.set(&old.client, SocketOption::KeepIdle, 3);
    watched.until(old.local, "is protected", |row| row.verdict == "protected");
}

#[test]
fn a_sysctl_that_is_lowered_while_only_the_fin_is_repeated_protects_nothing_that_was_closed() {
    let watched = WatchedPath::cable();
    let system = Plan { keepalive: Keepalive::Before, ..Plan::NOTHING };
    let (closed, open) = (watched.path.connect(&system), watched.path.connect(&system));
    watched.until(closed.local, "is late", |row| row.verdict == "late");
    watched.path.darken();
    let Ends { client, local, accepted: _accepted } = closed;
    drop(client);
    watched.until(local, "is closed", |row| row.state == "fin_wait1" && row.idle.seconds == 7200);
    watched.path.near.set_keepalive(3, 1, 3);
    watched.until(open.local, "follows the sysctl", |row| row.idle.seconds == 3);
    let as_it_was = |row: &SocketLine| row.verdict == "late" && row.idle.seconds == 7200;
    watched.always(local, Duration::from_secs(3), as_it_was);
}

#[test]
fn probes_of_the_peer_keep_a_connection_and_are_no_survived_quiet_time() {
    let watched = WatchedPath::cable();
    let ends = watched.path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    Road::Call.set(&ends.accepted, SocketOption::KeepIdle, 2);
    Road::Call.set(&ends.accepted, SocketOption::KeepIntvl, 2);
    Road::Call.set(&ends.accepted, SocketOption::Keepalive, 1);
    let never_overdue = |row: &SocketLine| {
        assert_ne!(row.condition.as_deref(), Some("overdue"), "{row:?}");
        row.verdict == "kept"
    };
    let row = watched.until(ends.local, "is kept", never_overdue);
    assert!(row.peer_probes && row.watched_seconds >= 3.0 * LIMIT_SECONDS, "{row:?}");
    assert!(row.longest_quiet_seconds <= LIMIT_SECONDS / 2.0, "{row:?}");
    assert!(row.meaning.starts_with("probes of the peer keep it so far"), "{row:?}");
    // They stop.
    Road::Call.set(&ends.accepted, SocketOption::Keepalive, 0);
    watched.until(ends.local, "is off", |row| row.verdict == "off");
    watched.until(ends.local, "is overdue", |row| row.condition.as_deref() == Some("overdue"));
}

#[test]
fn traffic_keeps_a_connection_until_it_stops_and_a_quiet_neighbour_is_not_kept() {
    let watched = WatchedPath::cable();
    let pinged = watched.path.connect(&Plan::NOTHING);
    let quiet = watched.path.connect(&Plan::NOTHING);
    exchange(&quiet.client, &quiet.accepted);
    let mut last = now();
    exchange(&pinged.client, &pinged.accepted);
    let row = watched.until(pinged.local, "is kept", |row| {
        if last.elapsed() >= Duration::from_secs(2) {
            exchange(&pinged.client, &pinged.accepted);
            last = now();
        }
        row.verdict == "kept"
    });
    assert!(row.meaning.starts_with("traffic keeps it so far"), "{row:?}");
    assert!(!row.peer_probes && row.longest_quiet_seconds < LIMIT_SECONDS / 2.0, "{row:?}");
    let row =
        watched.until(quiet.local, "is overdue", |row| row.condition.as_deref() == Some("overdue"));
    assert_eq!(row.verdict, "off");
    watched.until(pinged.local, "is off and overdue", |row| {
        row.verdict == "off" && row.condition.as_deref() == Some("overdue")
    });
}

#[test]
fn what_the_node_passes_on_is_judged_as_a_path_although_the_address_is_its_own() {
    let service = "10.96.0.10:443".parse().expect("an address");
    // From another port: no socket says that it is the other end, as if that were on another host.
    let passed_on = NetworkPath::router().with_service(service, Some(2000..3000));
    let Some(watched) = passed_on.map(WatchedPath::from_node) else { return };
    let ends = watched.path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    let row = watched.until(ends.local, "is off", |row| row.verdict == "off");
    assert!(row.meaning.contains("is of this host, which passes it on"), "{row:?}");
    // The next one is so from its first moment on, and one with keepalive is protected.
    let protected = watched.path.connect(&Plan::keepalive(3, 2, 3));
    let known = |row: &SocketLine| {
        assert_ne!(row.verdict, "local", "{row:?}");
        row.verdict == "protected"
    };
    watched.until(protected.local, "is protected", known);
}

#[test]
fn what_the_node_passes_on_to_itself_is_local() {
    let service = "10.96.0.10:443".parse().expect("an address");
    let passed_on = NetworkPath::router().with_service(service, None);
    let Some(watched) = passed_on.map(WatchedPath::from_node) else { return };
    let ends = watched.path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    watched.until(ends.local, "is watched", |row| row.watched_seconds >= 5.0);
    let is_local = |row: &SocketLine| row.verdict == "local";
    watched.always(ends.local, Duration::from_secs(3), is_local);
}
