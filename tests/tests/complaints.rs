//! The complaints that this project began with, tried literally: what `ss -o` shows, and what
//! keepwatch says of the same connection.
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

use keepwatch_tests::{
    answer::{agent::sockets_from_kernel, row::SocketLine},
    kernel::{
        netns::NetworkNamespace,
        socket::{self, Family, Keepalive, Plan, Road, SocketSettings},
    },
    tool,
    wait::until,
};
use std::{os::fd::OwnedFd, process::Command, time::Duration};

const SOON: Duration = Duration::from_mins(1);

/// A connection over a cable to another namespace: to a peer that is not on this host.
struct Outbound {
    near: NetworkNamespace,
    far: NetworkNamespace,
    client: OwnedFd,
    _accepted: OwnedFd,
}

impl Outbound {
    fn new(keepalive: Keepalive, own: SocketSettings) -> Self {
        let (near, far) = NetworkNamespace::pair();
        let address = "10.77.0.2:2717".parse().expect("an address");
        let listener = far.run(|| socket::listener(Family::V4, address, 1, &Plan::NOTHING));
        let plan = Plan { keepalive, own, road: Road::Call };
        let client = near.run(|| socket::connected(Family::V4, address, &plan));
        let accepted = socket::accepted(&listener);
        Self { near, far, client, _accepted: accepted }
    }

    /// The line of `ss -tno`.
    fn ss(&self) -> String {
        let output = self.near.run(|| {
            Command::new(tool::program("ss")).args(["-Htno", "dport", "=", ":2717"]).output()
        });
        let text = String::from_utf8(output.expect("the command `ss` of iproute2").stdout);
        let text = text.expect("UTF-8");
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    }

    /// The row of `keepwatch sockets`.
    fn keepwatch(&self) -> SocketLine {
        let netns = self.near.inode().to_string();
        let rows = sockets_from_kernel(&["--netns", &netns, "--direction", "outbound"]);
        let Ok([row]) = <[SocketLine; 1]>::try_from(rows) else {
            panic!("not one outbound connection");
        };
        row
    }
}

#[test]
fn without_keepalive_ss_shows_nothing_and_keepwatch_says_off() {
    let connection = Outbound::new(Keepalive::Off, SocketSettings::default());
    let shown = connection.ss();
    assert!(!shown.contains("timer:"), "{shown}");

    let row = connection.keepwatch();
    assert_eq!(row.verdict, "off");
    assert!(!row.keepalive);
    assert!(row.meaning.contains("keepalive is off"), "{}", row.meaning);
    assert_eq!((row.detection_seconds, row.next_probe_seconds), (None, None));
}

#[test]
fn with_data_in_flight_ss_shows_retransmission_and_keepwatch_still_says_what_keepalive_is_set_to() {
    let own = SocketSettings { idle: 60, interval: 10, count: 3, user_timeout_ms: 0 };
    let connection = Outbound::new(Keepalive::After, own);
    let quiet = connection.ss();
    assert!(quiet.contains("timer:(keepalive,"), "{quiet}");

    connection.far.silence("10.77.0.1");
    socket::send(&connection.client, b"ping");
    until("ss shows the retransmit timer", SOON, || {
        connection.ss().contains("timer:(on,").then_some(())
    });
    let shown = connection.ss();
    assert!(!shown.contains("keepalive"), "{shown}");

    let row = connection.keepwatch();
    assert!(row.in_flight);
    assert!(row.keepalive);
    let settings = (row.idle.seconds, row.interval.seconds, row.count.probes);
    assert_eq!(settings, (60, 10, 3));
    assert_eq!(row.detection_seconds, Some(90));
    assert_eq!(row.verdict, "protected");
    assert_eq!(row.next_probe_seconds, None, "retransmission decides while data is in flight");
}

#[test]
fn with_system_defaults_on_a_350_s_path_it_is_late_and_the_first_probe_is_2_h_away() {
    let connection = Outbound::new(Keepalive::Before, SocketSettings::default());
    let shown = connection.ss();
    assert!(shown.contains("timer:(keepalive,"), "to ss all is well: {shown}");

    let row = connection.keepwatch();
    assert_eq!(row.verdict, "late");
    assert_eq!((row.idle.seconds, row.idle.from.as_str()), (7200, "netns"));
    assert_eq!(row.idle_limit_seconds, 350);
    assert!(row.meaning.contains("2 h"), "{}", row.meaning);
    assert!(row.next_probe_seconds.is_some_and(|seconds| seconds > 7190.0));
}
