//! A cut that takes connections with several hosts at once: it is the answer while it lasts, and of its time when it is over.

use crate::told::{cases, why};
use keepwatch_tests::{
    answer::{agent::Agent, row::SocketLine},
    kernel::{
        netns::NetworkNamespace,
        socket::{self, Family, Plan},
    },
    network::ending::exchange,
    wait,
};
use std::{net::SocketAddr, os::fd::OwnedFd, process::Output, time::Duration};

const SOON: Duration = Duration::from_mins(1);
/// No other test has this network.
const NETWORK: &str = "10.177.9";
const ASKED: &str = "10.177.9.0/24";

/// Both ends of a connection.
type BothEnds = (OwnedFd, OwnedFd);

fn connect(near: &NetworkNamespace, far: &NetworkNamespace, server: &str, plan: &Plan) -> BothEnds {
    let server: SocketAddr = format!("{NETWORK}.{server}").parse().expect("an address");
    let listener = far.run(|| socket::listener(Family::V4, server, 8, &Plan::NOTHING));
    let client = near.run(|| socket::connected(Family::V4, server, plan));
    (client, socket::accepted(&listener))
}

/// A connection with each of four hosts at the other end of one cable.
fn four_hosts(near: &NetworkNamespace, far: &NetworkNamespace) -> Vec<BothEnds> {
    near.join("veth9", far, "veth9", &[(NETWORK, 24)]);
    let to = |host: u8| {
        if host > 2 {
            far.ip(&format!("address add {NETWORK}.{host}/24 dev veth9"));
        }
        connect(near, far, &format!("{host}:2717"), &Plan::NOTHING)
    };
    (2..6).map(to).collect()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The time on this host's clock, as `why` takes it.
fn now() -> String {
    let output = std::process::Command::new("date").arg("+%FT%T.%NZ").env("TZ", "UTC").output();
    String::from_utf8_lossy(&output.expect("date").stdout).trim().to_owned()
}

/// How many connections have waited for an answer for as long as this, and how many cases say so.
fn n_waiting(agent: &Agent, seconds: f64) -> usize {
    let cases = cases(&why(agent, &[ASKED, "--json"]));
    let waits = |case: &&serde_json::Value| {
        case["finding"] == "stuck" && case["example"]["condition_seconds"].as_f64() > Some(seconds)
    };
    cases.iter().filter(waits).count()
}

#[test]
fn a_cut_of_several_hosts_is_the_answer_while_it_lasts_and_of_its_time_when_it_is_over() {
    let (near, far) = (NetworkNamespace::new(), NetworkNamespace::new());
    let agent = Agent::start(&["--interval", "500ms"]);
    let ends = four_hosts(&near, &far);
    for (client, accepted) in &ends {
        exchange(client, accepted);
    }
    // It is probed each second, and its probes go unanswered for as long as the cut lasts: it goes on, and is no witness that the
    // host was there all the time.
    let plan = Plan::keepalive(1, 1, 99);
    let _probing = connect(&near, &far, "2:2718", &plan);
    wait::until("the agent knows them, and one has been probed", SOON, || {
        let rows = agent.sockets(&["--peer", ASKED, "--direction", "outbound"]);
        let is_probed = |row: &SocketLine| {
            row.keepalive && row.watched_seconds > 3.0 && row.longest_quiet_seconds > 0.9
        };
        (rows.len() == 5 && rows.iter().any(is_probed)).then_some(())
    });
    let before = now();
    far.silence(&format!("{NETWORK}.1"));
    for (client, _) in &ends {
        socket::send(client, b"are you there?");
    }
    wait::until("four hang for 7 s", SOON, || (n_waiting(&agent, 7.0) == 4).then_some(()));
    let head = format!(
        "{NETWORK}.2, {NETWORK}.3, {NETWORK}.4 and 1 host more, or the path to them, went dark "
    );
    let live = text(&why(&agent, &[ASKED]));
    assert!(live.starts_with(&head) && live.contains("for 5 connections of 5 kinds"), "{live}");
    assert!(!live.contains("heard again"), "{live}");

    far.end_silence(&format!("{NETWORK}.1"));
    for (_, accepted) in &ends {
        keepwatch_tests::network::ending::wait_for_data(accepted);
    }
    let over = now();
    let then = wait::until("all four are seen to have gone on", SOON, || {
        let output = why(&agent, &[ASKED, "--since", &before, "--until", &over, "--json"]);
        let all = cases(&output);
        let went_on = all.into_iter().filter(|case| case["finding"] == "answered_again");
        Some(went_on.collect::<Vec<_>>()).filter(|went_on| went_on.len() == 4)
    });
    assert!(
        then.iter().all(|case| case["advice"].as_array().is_some_and(Vec::is_empty)),
        "nothing is to be set: {then:?}"
    );
    let output = why(&agent, &[ASKED, "--since", &before, "--until", &over]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with(&head) && said.contains(", and all were heard again by "), "{said}");
    assert!(said.contains("got no answer from ") && said.contains(" on, and went on"), "{said}");

    // The next agent has seen nothing of it, and says the same.
    let (folder, _) = agent.stop_and_leave();
    let agent = Agent::start_in(folder, &["--interval", "500ms"]);
    let said = text(&why(&agent, &[ASKED, "--since", &before, "--until", &over]));
    assert!(said.starts_with(&head) && said.contains(", and all were heard again by "), "{said}");
    assert!(said.contains(" on, and went on"), "{said}");

    // Of a later time there is nothing of it to say, and now neither.
    let later = now();
    let said = text(&why(&agent, &[ASKED, "--since", &later]));
    assert!(!said.contains("went dark") && !said.contains("got no answer"), "{said}");
}
