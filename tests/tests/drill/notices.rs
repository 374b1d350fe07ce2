//! When programs notice, against what was promised.

use crate::stage::{RunningDrill, SOON, assert_whole, drill, row, rows, seconds};
use keepwatch_tests::{
    answer::agent::Agent,
    kernel::{
        netns::require_root,
        socket::{self, Family, Plan, SocketSettings},
    },
    network::{
        cat_program::CatProgram,
        ending::exchange,
        path::{Ends, NetworkPath},
    },
    wait,
};
use serde_json::Value;
use std::{io::Write as _, net::SocketAddr};

#[test]
fn a_probed_connection_notices_as_promised_one_without_probes_does_not_and_a_neighbour_is_untouched()
 {
    require_root();
    let path = NetworkPath::cable();
    let mut probed = CatProgram::reading(&path, &Plan::keepalive(3, 1, 3));
    let mut off = CatProgram::reading(&path, &Plan::NOTHING);
    let neighbour = path.connect(&Plan::keepalive(1, 1, 2));
    let ports = [probed.port(), off.port()];
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let running = RunningDrill::begin(&path, drill(&path, &ports, &["--yes", "--for", "14s"]));
    exchange(&neighbour.client, &neighbour.accepted);
    wait::until("the probed one ends", SOON, || probed.has_ended().then_some(()));
    exchange(&neighbour.client, &neighbour.accepted);
    let (code, all) = rows(&running.end());
    assert_eq!((code, all.len()), (1, 2), "one has not noticed: {all:?}");
    let of_probed = row(&all, probed.local);
    assert_eq!(of_probed["outcome"], "noticed", "{of_probed}");
    assert_eq!(of_probed["promised_by"], "keepalive");
    assert_eq!(of_probed["promised_seconds"], 6);
    assert!((3.0..9.0).contains(&seconds(of_probed, "noticed_after_seconds")), "{of_probed}");
    let of_off = row(&all, off.local);
    assert_eq!(
        (&of_off["outcome"], &of_off["promised_by"]),
        (&"still_connected".into(), &"never".into())
    );
    assert_eq!(of_off["noticed_after_seconds"], Value::Null);
    assert_whole(&path.near);
    assert!(!off.has_ended());
    off.hears();
}

#[test]
fn a_drill_that_ends_before_a_promise_is_due_says_so_and_finds_nothing() {
    require_root();
    let path = NetworkPath::cable();
    let mut program = CatProgram::reading(&path, &Plan::keepalive(300, 10, 3));
    let mut command = drill(&path, &[&program.port()], &["--yes", "--for", "1s"]);
    let output = command.output().expect("start keepwatch");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ends before what is promised to 1 connection is due"), "{said}");
    let (code, all) = rows(&output);
    assert_eq!((code, &row(&all, program.local)["outcome"]), (0, &"not_due".into()), "{all:?}");
    program.hears();
}

#[test]
fn a_program_that_writes_meanwhile_is_promised_what_its_user_timeout_does() {
    require_root();
    let path = NetworkPath::cable();
    let own = SocketSettings { user_timeout_ms: 4000, ..SocketSettings::default() };
    let mut program = CatProgram::writing(&path, &Plan { own, ..Plan::NOTHING });
    let running =
        RunningDrill::begin(&path, drill(&path, &[&program.port()], &["--yes", "--for", "1m"]));
    let stdin = program.child.stdin.as_mut().expect("a pipe");
    stdin.write_all(b"are you there?").expect("write to cat");
    let (code, all) = rows(&running.end());
    let of_it = row(&all, program.local);
    assert_eq!((code, &of_it["outcome"]), (0, &"noticed".into()), "{of_it}");
    assert_eq!(of_it["promised_by"], "data_in_flight");
    let written = seconds(of_it, "data_after_seconds");
    assert!(seconds(of_it, "promised_seconds") >= written + 4.0, "{of_it}");
    assert!(seconds(of_it, "noticed_after_seconds") <= written + 8.0, "{of_it}");
    assert_whole(&path.near);
}

#[test]
fn of_each_family_the_exact_connection_is_cut() {
    require_root();
    let path = NetworkPath::cable();
    let plan = Plan::keepalive(2, 1, 2);
    let programs: Vec<CatProgram> =
        [(Family::V6, "[fd77::2]:2718"), (Family::Mapped, "[::ffff:10.77.0.2]:2719")]
            .into_iter()
            .map(|(family, server)| {
                let server = server.parse().expect("an address");
                let listener = path.far.run(|| socket::listener(family, server, 1, &Plan::NOTHING));
                let client = path.near.run(|| socket::connected(family, server, &plan));
                let bound = socket::local_address(&client);
                let local = SocketAddr::new(bound.ip().to_canonical(), bound.port());
                let accepted = socket::accepted(&listener);
                CatProgram::reading_from(&path, Ends { client, accepted, local })
            })
            .collect();
    let ports: Vec<String> = programs.iter().map(CatProgram::port).collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let output = drill(&path, &ports, &["--yes", "--for", "1m"]).output().expect("start keepwatch");
    let (code, all) = rows(&output);
    assert_eq!((code, all.len()), (0, 2), "{all:?}");
    for program in &programs {
        assert_eq!(row(&all, program.local)["outcome"], "noticed", "{all:?}");
    }
    assert_whole(&path.near);
}

#[test]
fn an_agent_says_why_each_ended() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&["--interval", "500ms"]);
    let probed = CatProgram::reading(&path, &Plan::keepalive(2, 1, 2));
    let mut closing = CatProgram::reading(&path, &Plan::keepalive(300, 1, 2));
    let own = SocketSettings { user_timeout_ms: 3000, ..SocketSettings::default() };
    let mut writing = CatProgram::writing(&path, &Plan { own, ..Plan::NOTHING });
    let (api, ports) =
        (agent.socket().display().to_string(), [probed.port(), closing.port(), writing.port()]);
    wait::until("the agent has met all with their owners", SOON, || {
        let rows = agent.sockets(&["--local-port", &ports.join(","), "--process", "cat"]);
        (rows.len() == 3).then_some(())
    });
    let more = ["--source", "agent", "--socket", &api, "--yes", "--for", "30s"];
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let running = RunningDrill::begin(&path, drill(&path, &ports, &more));
    closing.child.kill().expect("kill cat");
    closing.child.wait().expect("its end");
    let stdin = writing.child.stdin.as_mut().expect("a pipe");
    stdin.write_all(b"are you there?").expect("write to cat");
    let (code, all) = rows(&running.end());
    assert_eq!(code, 0, "{all:?}");
    let of_probed = row(&all, probed.local);
    assert_eq!(of_probed["cause"], "keepalive_timeout", "{of_probed}");
    assert_eq!(
        (&of_probed["errno"], &of_probed["ended_by"]),
        (&"ETIMEDOUT".into(), &"kernel".into())
    );
    assert!((2.0..7.0).contains(&seconds(of_probed, "noticed_after_seconds")), "{of_probed}");
    assert_eq!(row(&all, closing.local)["ended_by"], "program", "{all:?}");
    let of_writing = row(&all, writing.local);
    assert_eq!(of_writing["cause"], "user_timeout", "{of_writing}");
    assert_eq!(of_writing["promised_by"], "data_in_flight", "{of_writing}");
    assert_whole(&path.near);
}
