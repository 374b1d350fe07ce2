//! How a server ends connections: by its own idle timer, whose FIN a cut may swallow, and by ending itself. What meets nobody
//! afterwards is not taken for a path that forgets.

use crate::told::{cases, why};
use keepwatch_tests::{
    answer::agent::Agent,
    kernel::socket::{self, Family, Plan},
    network::{
        ending::{error_at_end, exchange, wait_for_quiet},
        path::{Ends, NetworkPath},
    },
    wait,
};
use serde_json::Value;
use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::Duration,
};

const SOON: Duration = Duration::from_mins(1);
/// Three occasions are two minutes.
const IN_TIME: Duration = Duration::from_mins(5);
/// The server closes after this time without data; the client comes back later than that.
const TIMER: Duration = Duration::from_secs(8);
const QUIET: Duration = Duration::from_secs(11);
/// As long as this the path is known to keep a connection.
const OPTIONS: [&str; 4] = ["--interval", "1s", "--idle-limit", "12s"];

/// A server of the far host.
struct ClosingServer {
    address: SocketAddr,
    listener: OwnedFd,
}

impl ClosingServer {
    fn of(path: &NetworkPath, port: u16) -> Self {
        let address = SocketAddr::new(path.server.ip(), port);
        let listener = path.far.run(|| socket::listener(Family::V4, address, 16, &Plan::NOTHING));
        Self { address, listener }
    }

    fn connect(&self, path: &NetworkPath) -> Ends {
        let client = path.near.run(|| socket::connected(Family::V4, self.address, &Plan::NOTHING));
        let local = socket::local_address(&client);
        let accepted = socket::accepted(&self.listener);
        exchange(&client, &accepted);
        Ends { client, accepted, local }
    }
}

/// What was learned of a server: the kinds of facts and how sure they are.
fn learned(agent: &Agent, server: SocketAddr) -> Vec<(String, String)> {
    let rows = agent.ask("/v1/limits").into_iter();
    let of_it = rows.filter(|row| row["remote"] == server.to_string());
    let word = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    of_it.map(|row| (word(&row, "kind"), word(&row, "confidence"))).collect()
}

/// The case of this connection, once it ended.
#[track_caller]
fn dead(agent: &Agent, server: SocketAddr, local: SocketAddr) -> Value {
    wait::until(format!("{local} is dead"), SOON, || {
        case_of(agent, server, local).filter(|case| case["example"]["cause"].is_string())
    })
}

/// The case whose example is this connection.
fn case_of(agent: &Agent, server: SocketAddr, local: SocketAddr) -> Option<Value> {
    let all = cases(&why(agent, &[&server.to_string(), "--json"]));
    all.into_iter().find(|case| case["example"]["local"] == local.to_string())
}

#[test]
fn what_meets_a_reset_after_a_cut_in_which_its_server_closed_by_habit_shows_no_limit_of_the_path() {
    let path = NetworkPath::router_in(86);
    let agent = Agent::start(&OPTIONS);
    let (habit, other) = (ClosingServer::of(&path, 8080), ClosingServer::of(&path, 8081));
    wait::until("the habit is known", IN_TIME, || {
        let ends = habit.connect(&path);
        wait_for_quiet(&ends.client, TIMER);
        drop(ends.accepted);
        socket::wait_for_state(&ends.client, socket::CLOSE_WAIT, SOON);
        drop(ends.client);
        let learned = learned(&agent, habit.address);
        learned.iter().any(|(kind, sure)| kind == "peer_closes" && sure != "guess").then_some(())
    });
    // The path is cut; both servers give their ends up, and repeat their FIN for less than a second.
    path.far.set("ipv4/tcp_orphan_retries", 1);
    let pair = [(&habit, habit.connect(&path)), (&other, other.connect(&path))];
    path.darken();
    let pair = pair.map(|(server, ends)| {
        wait_for_quiet(&ends.client, TIMER);
        drop(ends.accepted);
        (server, ends.client, ends.local)
    });
    let netns = path.far.inode().to_string();
    wait::until("the far ends are gone", SOON, || {
        let rows = agent.sockets(&["--netns", &netns]);
        rows.iter().all(|row| pair.iter().all(|(.., local)| row.remote != *local)).then_some(())
    });
    path.lighten();
    let [of_habit, of_other] = pair.map(|(server, client, local)| {
        wait_for_quiet(&client, QUIET);
        socket::send(&client, b"are you there?");
        error_at_end(&client);
        dead(&agent, server.address, local)
    });
    let end = &of_habit["example"];
    assert_eq!(end["cause"], "peer_reset", "{of_habit}");
    let evidence = end["evidence"].as_str().expect("the evidence");
    assert!(evidence.contains("the peer closes by itself"), "{evidence}");
    assert!(evidence.contains("its FIN was lost"), "{evidence}");
    let advice = of_habit["advice"].as_array().expect("a list");
    assert_eq!(advice[0]["place"], "pool", "{of_habit}");
    let measures = format!("keepwatch measure {} --through {}", habit.address, path.near.inode());
    assert_eq!(advice[1]["lines"][0], measures);
    assert!(!of_habit.to_string().contains("TCP_KEEPIDLE"), "{of_habit}");
    assert!(learned(&agent, habit.address).iter().all(|(kind, _)| kind == "peer_closes"));
    // The same packets, of a server that nobody knows such a timer of.
    assert_eq!(of_other["example"]["cause"], "idle_drop", "{of_other}");
    assert!(learned(&agent, other.address).iter().any(|(kind, _)| kind == "path_limit"));
}

#[test]
fn a_server_that_refuses_new_connections_had_ended_and_one_that_does_not_may_have_a_timer() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let [ended, timed] = [8080, 8081].map(|port| ClosingServer::of(&path, port));
    let probed = |server: &ClosingServer| {
        let client = path
            .near
            .run(|| socket::connected(Family::V4, server.address, &Plan::keepalive(1, 1, 9)));
        let accepted = socket::accepted(&server.listener);
        exchange(&client, &accepted);
        (socket::local_address(&client), client, accepted)
    };
    let (of_ended, of_timed) = (probed(&ended), probed(&timed));
    wait::until("6 s without data, and probes", SOON, || {
        let netns = path.near.inode().to_string();
        let rows = agent.sockets(&["--netns", &netns]);
        let is_long = rows.len() == 2 && rows.iter().all(|row| row.watched_seconds > 6.0);
        let is_probed = [&of_ended.1, &of_timed.1].into_iter().all(socket::was_probed_since_data);
        (is_long && is_probed).then_some(())
    });
    let close = |(local, client, accepted): (SocketAddr, OwnedFd, OwnedFd)| {
        drop(accepted);
        socket::wait_for_state(&client, socket::CLOSE_WAIT, SOON);
        drop(client);
        local
    };
    let address = ended.address;
    drop(ended.listener);
    let (of_ended, of_timed) = (close(of_ended), close(of_timed));
    let refused = path.near.run(|| TcpStream::connect(address));
    assert_eq!(refused.map_err(|error| error.kind()).err(), Some(ErrorKind::ConnectionRefused));

    let ended = wait::until("the refusal is known", SOON, || {
        let case = case_of(&agent, address, of_ended)?;
        case["meaning"].as_str()?.contains("refused new ones from").then_some(case)
    });
    assert!(said_of(&ended).contains("its program had ended"), "{ended}");
    assert!(!said_of(&ended).contains("idle timeout"), "{ended}");
    assert_eq!(ended["advice"], Value::Array(Vec::new()), "no ping keeps a program alive");
    let timed = dead(&agent, timed.address, of_timed);
    assert!(said_of(&timed).contains("an idle timeout of a proxy or server"), "{timed}");
    assert!(said_of(&timed).contains("one alone may be a restart"), "{timed}");
}

#[test]
fn a_program_that_writes_into_what_the_peer_had_closed_met_an_error_and_one_that_closes_too_did_not()
 {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let [written, closed] = [8080, 8081].map(|port| ClosingServer::of(&path, port));
    let (of_written, of_closed) = (written.connect(&path), closed.connect(&path));
    for ends in [of_written.accepted, of_closed.accepted] {
        drop(ends);
    }
    for client in [&of_written.client, &of_closed.client] {
        socket::wait_for_state(client, socket::CLOSE_WAIT, SOON);
    }
    drop(of_closed.client);
    socket::send(&of_written.client, b"are you there?");
    assert!(error_at_end(&of_written.client).is_some());
    let failed = dead(&agent, written.address, of_written.local);
    assert_eq!(
        (&failed["finding"], &failed["example"]["cause"]),
        (&"failed".into(), &"peer_closed".into())
    );
    assert!(said_of(&failed).contains("when the program wrote again"), "{failed}");
    let fine = dead(&agent, closed.address, of_closed.local);
    assert_eq!(
        (&fine["finding"], &fine["example"]["cause"]),
        (&"fine".into(), &"peer_closed".into())
    );
}

fn said_of(case: &Value) -> &str {
    case["meaning"].as_str().expect("a sentence")
}
