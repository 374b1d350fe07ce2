//! Probes that come in time for the limit in force, on a path that forgets sooner: what lives is not called well, what died is not
//! called the peer's, and `fix` plans what `why` proposes.

use crate::told::{cases, why};
use keepwatch_tests::{
    answer::agent::{Agent, once},
    kernel::socket::{self, Family, Plan},
    network::{
        ending::{exchange, wait_for_quiet},
        middlebox::MiddleboxAnswer,
        path::{Ends, NetworkPath},
    },
    tool::TemporaryFolder,
    wait,
};
use serde_json::Value;
use std::{net::SocketAddr, os::fd::OwnedFd, time::Duration};

const SOON: Duration = Duration::from_mins(1);
const FORGETS_AFTER: u32 = 12;

/// Another port of the far host.
struct OtherPort {
    address: SocketAddr,
    listener: OwnedFd,
}

impl OtherPort {
    fn of(path: &NetworkPath) -> Self {
        let address = SocketAddr::new(path.server.ip(), path.server.port() + 1);
        let listener = path.far.run(|| socket::listener(Family::V4, address, 16, &Plan::NOTHING));
        Self { address, listener }
    }

    fn connect(&self, path: &NetworkPath, plan: &Plan) -> Ends {
        let client = path.near.run(|| socket::connected(Family::V4, self.address, plan));
        let local = socket::local_address(&client);
        Ends { client, accepted: socket::accepted(&self.listener), local }
    }
}

/// The case of this connection, once it is so.
#[track_caller]
fn case(agent: &Agent, path: &NetworkPath, local: SocketAddr, finding: &str) -> Value {
    wait::until(format!("{local} is {finding}"), SOON, || {
        let all = cases(&why(agent, &[&path.server.to_string(), "--json"]));
        all.into_iter().find(|case| {
            case["netns"] == path.near.inode()
                && case["finding"] == finding
                && case["example"]["local"] == local.to_string()
        })
    })
}

/// What the plan of `fix` says of a connection.
#[track_caller]
fn planned(agent: &Agent, path: &NetworkPath, local: SocketAddr) -> Value {
    let state = TemporaryFolder::new();
    let socket = agent.socket().display().to_string();
    let (netns, state) = (path.near.inode().to_string(), state.file("state").display().to_string());
    let words = ["fix", "--json", "--source", "agent", "--socket", &socket, "--state-dir", &state];
    let words = words.into_iter().chain(["--netns", &netns]).map(str::to_owned);
    let output = once(words.collect::<Vec<_>>());
    let text = String::from_utf8_lossy(&output.stdout);
    let rows = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let found = rows.into_iter().find(|row| row["local"] == local.to_string());
    found.expect("a row of the plan")
}

#[test]
fn what_probes_later_than_its_path_forgets_is_told_by_what_happens_to_others_of_the_host() {
    // Others ask for the usual addresses.
    let router = NetworkPath::router_in(83);
    let Some(path) = router.with_middlebox(FORGETS_AFTER, MiddleboxAnswer::Silence) else {
        return;
    };
    let agent = Agent::start(&["--interval", "500ms"]);
    let other = OtherPort::of(&path);
    let pinged = other.connect(&path, &Plan::keepalive(5, 5, 9));
    let hangs = other.connect(&path, &Plan::NOTHING);
    let waits = path.connect(&Plan::keepalive(26, 60, 9));
    let dies = path.connect(&Plan::keepalive(24, 5, 3));
    for ends in [&pinged, &hangs, &waits, &dies] {
        exchange(&ends.client, &ends.accepted);
    }
    wait_for_quiet(&hangs.client, Duration::from_secs(21));
    socket::send(&hangs.client, b"are you there?");
    let forgotten = case(&agent, &path, waits.local, "probably_forgotten");
    assert_eq!(forgotten["verdict"], "protected", "a guess changes no verdict: {forgotten}");
    let meaning = forgotten["meaning"].as_str().expect("a sentence");
    assert!(meaning.contains("was probably forgotten by the path"), "{meaning}");
    // One server, one proposal: also for what is protected by a limit that nobody gave.
    let row = planned(&agent, &path, waits.local);
    assert_eq!(row["outcome"], "would_fix", "{row}");
    let (proposal, after) = (&forgotten["proposal"], &row["after"]);
    assert_eq!(proposal["idle_seconds"], after["idle_seconds"], "{forgotten} {row}");
    assert!(after["idle_seconds"].as_u64() < Some(FORGETS_AFTER.into()), "{row}");
    assert_eq!(planned(&agent, &path, pinged.local)["reason"], "protected");
    let dropped = case(&agent, &path, dies.local, "dropped");
    assert_eq!(dropped["example"]["cause"], "keepalive_timeout", "{dropped}");
    let evidence = dropped["example"]["evidence"].as_str().expect("the evidence");
    assert!(evidence.contains("to other ports of the same host: answered"), "{evidence}");
    let text = why(&agent, &[dropped["example"]["id"].as_str().expect("an id")]);
    let text = String::from_utf8_lossy(&text.stdout);
    assert!(!text.contains("nothing to set here"), "{text}");
}

#[test]
fn a_cut_that_takes_busy_ones_too_is_no_path_that_forgets() {
    let path = NetworkPath::router_in(84);
    let agent = Agent::start(&["--interval", "500ms"]);
    let other = OtherPort::of(&path);
    let pinged = other.connect(&path, &Plan::keepalive(2, 2, 60));
    let hangs = other.connect(&path, &Plan::NOTHING);
    let waits = path.connect(&Plan::keepalive(23, 60, 9));
    for ends in [&pinged, &hangs, &waits] {
        exchange(&ends.client, &ends.accepted);
    }
    wait_for_quiet(&hangs.client, Duration::from_secs(21));
    path.darken();
    socket::send(&hangs.client, b"are you there?");
    let lost = case(&agent, &path, waits.local, "probably_lost");
    let meaning = lost["meaning"].as_str().expect("a sentence");
    assert!(!meaning.contains("forgotten") && meaning.contains("get no answer"), "{meaning}");
    let id = lost["example"]["id"].as_str().expect("an id");
    assert_eq!(
        why(&agent, &[id]).status.code(),
        Some(1),
        "others hang, and nobody was heard since"
    );
    assert_eq!(planned(&agent, &path, waits.local)["reason"], "protected");
}

#[test]
fn a_probe_that_waits_beside_what_hung_before_is_no_single_lost_packet_while_nobody_is_heard() {
    let router = NetworkPath::router_in(87);
    let Some(path) = router.with_middlebox(FORGETS_AFTER, MiddleboxAnswer::Silence) else {
        return;
    };
    let agent = Agent::start(&["--interval", "500ms"]);
    let other = OtherPort::of(&path);
    let hangs = other.connect(&path, &Plan::NOTHING);
    exchange(&hangs.client, &hangs.accepted);
    wait_for_quiet(&hangs.client, Duration::from_secs(21));
    socket::send(&hangs.client, b"are you there?");
    wait::until("it hangs for 4 s", SOON, || {
        let all = cases(&why(&agent, &[&other.address.to_string(), "--json"]));
        let mut here = all.iter().filter(|case| case["netns"] == path.near.inode());
        here.any(|case| case["example"]["condition_seconds"].as_f64() > Some(4.0)).then_some(())
    });
    // The host is heard after that began, and by nobody since the probe.
    let waits = path.connect(&Plan::keepalive(FORGETS_AFTER + 3, 60, 9));
    exchange(&waits.client, &waits.accepted);
    let lost = case(&agent, &path, waits.local, "probably_lost");
    let meaning = lost["meaning"].as_str().expect("a sentence");
    assert!(meaning.contains("1 other connection to 10.87.2.1 gets no answer either"), "{meaning}");
    assert!(!meaning.contains("a single one may be lost"), "{meaning}");
    let id = lost["example"]["id"].as_str().expect("an id");
    assert_eq!(why(&agent, &[id]).status.code(), Some(1));
}
