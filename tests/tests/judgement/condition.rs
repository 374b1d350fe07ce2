//! How a connection is now.

use crate::watched_path::{LIMIT_SECONDS, WatchedPath};
use keepwatch_tests::{
    answer::{agent::keepwatch, row::SocketLine},
    kernel::socket::{self, Plan},
    network::{
        ending::{self, exchange},
        path::NetworkPath,
    },
};
use std::time::Duration;

#[test]
fn data_that_nobody_answers_is_stuck_until_it_is_answered() {
    let watched = WatchedPath::cable();
    let ends = watched.path.connect(&Plan::keepalive(2, 1, 3));
    exchange(&ends.client, &ends.accepted);
    watched.path.darken();
    socket::send(&ends.client, b"are you there?");
    let row =
        watched.until(ends.local, "is stuck", |row| row.condition.as_deref() == Some("stuck"));
    assert!(row.in_flight && row.retransmits >= 2, "{row:?}");
    // A keepalive of 5 s notices nothing while data is in flight: tcp_retries2 decides.
    assert!(row.gives_up_seconds.is_some_and(|rest| (850.0..=940.0).contains(&rest)), "{row:?}");
    let row =
        watched.until(ends.local, "repeats again", |again| again.retransmits > row.retransmits);
    assert!(row.quiet_seconds + 0.5 > row.condition_seconds.expect("since when"), "{row:?}");
    // The answer at night is the same, and a finding. Other tests have the same addresses.
    let id = row.id.clone();
    let mut why = keepwatch(["why", &id, "--socket"]);
    let output = why.arg(watched.agent.socket()).output().expect("start keepwatch");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("waits for an answer") && output.status.code() == Some(1), "{said}");
    watched.path.lighten();
    let row = watched.until(ends.local, "is fine", |row| row.condition.as_deref() == Some("fine"));
    assert_eq!((row.retransmits, row.condition_seconds, row.gives_up_seconds), (0, None, None));
}

#[test]
fn what_a_router_rejects_by_icmp_is_stuck_and_says_so() {
    let watched = WatchedPath::of(NetworkPath::router());
    let ends = watched.path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    watched.path.lose_route_to("10.77.2.1/32");
    socket::send(&ends.client, b"are you there?");
    let row =
        watched.until(ends.local, "is stuck", |row| row.condition.as_deref() == Some("stuck"));
    assert_eq!(row.network_error.as_deref(), Some("EHOSTUNREACH"), "{row:?}");
    let mut why = keepwatch(["why", &row.id, "--socket"]);
    let output = why.arg(watched.agent.socket()).output().expect("start keepwatch");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let head = said.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    assert!(head.contains("waits for an answer") && head.contains("ICMP says"), "{said}");
    // What simply gets lost.
    let dark = WatchedPath::cable();
    let ends = dark.path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    dark.path.darken();
    socket::send(&ends.client, b"are you there?");
    let row = dark.until(ends.local, "is stuck", |row| row.condition.as_deref() == Some("stuck"));
    assert_eq!(row.network_error, None, "{row:?}");
}

#[test]
fn a_user_timeout_says_when_the_kernel_gives_up_on_unanswered_data() {
    let watched = WatchedPath::cable();
    let own =
        socket::SocketSettings { user_timeout_ms: 30_000, ..socket::SocketSettings::default() };
    let plan = Plan { own, ..Plan::NOTHING };
    let ends = watched.path.connect(&plan);
    exchange(&ends.client, &ends.accepted);
    watched.path.darken();
    socket::send(&ends.client, b"are you there?");
    let row =
        watched.until(ends.local, "is stuck", |row| row.condition.as_deref() == Some("stuck"));
    assert!(row.gives_up_seconds.is_some_and(|rest| rest <= 30.0), "{row:?}");
}

#[test]
fn a_fin_that_nobody_answers_is_stuck_too() {
    let watched = WatchedPath::cable();
    let ends = watched.path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    watched.path.darken();
    drop(ends.client);
    let row =
        watched.until(ends.local, "is stuck", |row| row.condition.as_deref() == Some("stuck"));
    assert_eq!(row.state, "fin_wait1");
    // 102 s by the number of repetitions (`tcp_orphan_retries`), after which it looks at the next one.
    assert!(row.gives_up_seconds.is_some_and(|rest| rest <= 150.0), "an orphan: {row:?}");
}

#[test]
fn a_peer_that_does_not_read_blocks_what_is_written_until_it_reads() {
    let watched = WatchedPath::cable();
    let ends = watched.path.connect(&Plan::keepalive(2, 1, 3));
    exchange(&ends.client, &ends.accepted);
    ending::fill_window(&ends.client);
    let row =
        watched.until(ends.local, "is blocked", |row| row.condition.as_deref() == Some("blocked"));
    assert!(row.condition_seconds.is_some_and(|since| since >= 5.0), "{row:?}");
    // Its host answers each probe of the window: the kernel waits for ever.
    assert_eq!(row.gives_up_seconds, None, "{row:?}");
    watched.until(ends.local, "is fine", |row| {
        ending::drain(&ends.accepted);
        row.condition.as_deref() == Some("fine")
    });
}

#[test]
fn a_host_that_answers_is_said_of_what_is_blocked_until_the_path_may_have_forgotten_it() {
    let watched = WatchedPath::cable();
    let ends = watched.path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    ending::fill_window(&ends.client);
    let blocked = |row: &SocketLine| row.condition.as_deref() == Some("blocked");
    let row = watched.until(ends.local, "is blocked", blocked);
    let said = watched.why(&row.id);
    assert!(
        said.contains("does not read enough, its host answers. Once the peer reads, the path"),
        "{said}"
    );
    // From then on probes of its window come further apart than the path keeps a quiet connection.
    watched.path.darken();
    watched.until(ends.local, "was silent past the limit", |row| {
        row.silent_seconds > LIMIT_SECONDS + 1.0
    });
    let mut why = keepwatch(["why", &row.id, "--socket"]);
    let output = why.arg(watched.agent.socket()).output().expect("start keepwatch");
    let said =
        String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(!said.contains("its host answers"), "{said}");
    // Or two probes are unanswered already, on a slow machine.
    assert!(
        said.contains("it may have forgotten this one")
            || said.contains("does not answer probes of it"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1), "as `check` ends: {said}");
}

#[test]
fn what_a_host_without_a_route_cannot_send_is_stuck_and_not_the_peers_window() {
    let watched = WatchedPath::cable();
    let ends = watched.path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    watched.path.near.ip("route add blackhole 10.77.0.2/32");
    socket::send(&ends.client, b"are you there?");
    let row =
        watched.until(ends.local, "is stuck", |row| row.condition.as_deref() == Some("stuck"));
    assert_eq!(row.retransmits, 0, "nothing went out: {row:?}");
    assert!(row.gives_up_seconds.is_some_and(|rest| (850.0..=940.0).contains(&rest)), "{row:?}");
}

#[test]
fn two_unanswered_probes_are_a_silent_peer_and_a_probed_healthy_one_never_is() {
    let watched = WatchedPath::cable();
    let ends = watched.path.connect(&Plan::keepalive(1, 1, 120));
    watched.until(ends.local, "is known", |_| true);
    watched
        .always(ends.local, Duration::from_secs(5), |row| row.condition.as_deref() == Some("fine"));
    watched.path.darken();
    let row = watched.until(ends.local, "has a silent peer", |row| {
        row.condition.as_deref() == Some("peer_silent")
    });
    assert!(row.probes_unanswered >= 2, "{row:?}");
    assert!(row.gives_up_seconds.is_some_and(|rest| (60.0..=121.0).contains(&rest)), "{row:?}");
    // The probes after the first only repeat it: they begin no quiet time anew, on any surface.
    let row =
        watched.until(ends.local, "left six probes unanswered", |row| row.probes_unanswered >= 6);
    assert!(row.quiet_seconds >= 4.5 && row.silent_seconds >= row.quiet_seconds, "{row:?}");
    let json =
        keepwatch(["why", "--json", &row.id, "--socket"]).arg(watched.agent.socket()).output();
    let json = String::from_utf8_lossy(&json.expect("start keepwatch").stdout).into_owned();
    let case: serde_json::Value =
        serde_json::from_str(json.lines().next().unwrap_or_default()).expect("JSON");
    let quiet = &case["example"]["quiet_seconds"];
    assert!(quiet.as_f64().is_some_and(|quiet| quiet >= 4.5), "{json}");
    watched.path.lighten();
    watched.until(ends.local, "is fine", |row| row.condition.as_deref() == Some("fine"));
}

#[test]
fn what_the_peer_has_closed_is_called_so_and_not_overdue() {
    let watched = WatchedPath::cable();
    let ends = watched.path.connect(&Plan::NOTHING);
    exchange(&ends.client, &ends.accepted);
    drop(ends.accepted);
    let row = watched.until(ends.local, "is closed by the peer", |row| {
        row.condition.as_deref() == Some("peer_closed")
    });
    assert_eq!(row.state, "close_wait");
    ending::wait_for_quiet(&ends.client, Duration::from_secs_f64(LIMIT_SECONDS + 1.0));
    let row = watched.row(ends.local).expect("it lives");
    assert_eq!(row.condition.as_deref(), Some("peer_closed"));
    assert!(row.condition_seconds.is_some_and(|since| since > LIMIT_SECONDS), "{row:?}");
}

#[test]
fn quiet_past_the_limit_is_overdue_where_nothing_probes() {
    let watched = WatchedPath::cable();
    let off = watched.path.connect(&Plan::NOTHING);
    let probed = watched.path.connect(&Plan::keepalive(2, 2, 3));
    for ends in [&off, &probed] {
        exchange(&ends.client, &ends.accepted);
    }
    let row =
        watched.until(off.local, "is overdue", |row| row.condition.as_deref() == Some("overdue"));
    assert!(row.quiet_seconds > LIMIT_SECONDS, "{row:?}");
    let row = watched.row(probed.local).expect("it lives");
    assert_eq!((row.verdict.as_str(), row.condition.as_deref()), ("protected", Some("fine")));
    exchange(&off.client, &off.accepted);
    watched.until(off.local, "is fine", |row| row.condition.as_deref() == Some("fine"));
}
