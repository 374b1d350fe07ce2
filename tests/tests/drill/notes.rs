//! What others say of a drill: the agent, and `why`.

use crate::stage::{RunningDrill, SOON, drill};
use keepwatch_tests::{
    answer::agent::{Agent, once},
    kernel::socket::Plan,
    network::{cat_program::CatProgram, path::NetworkPath},
    wait,
};
use rustix::process::Signal;
use serde_json::Value;
use std::io::Write as _;

/// Cases of `why` in a network namespace.
fn cases(agent: &Agent, path: &NetworkPath) -> Vec<Value> {
    let (api, state) = (agent.socket().display().to_string(), agent.state().display().to_string());
    let peer = path.server.ip().to_string();
    let words =
        ["why", &peer, "--json", "--source", "agent", "--socket", &api, "--state-dir", &state];
    let output = once(words);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    all.filter(|case| case["netns"] == path.near.inode()).collect()
}

fn of_finding<'a>(cases: &'a [Value], finding: &str) -> Option<&'a Value> {
    cases.iter().find(|case| case["finding"] == finding)
}

#[test]
fn what_a_drill_ended_is_blamed_on_the_drill_and_what_died_meanwhile_elsewhere_is_not() {
    let agent = Agent::start(&["--interval", "500ms"]);
    let (path, dark) = (NetworkPath::cable(), NetworkPath::cable());
    let probed = Plan::keepalive(2, 1, 2);
    let mut ended = CatProgram::reading(&path, &probed);
    let mut hanging = CatProgram::writing(&path, &Plan::NOTHING);
    let mut other = CatProgram::reading(&dark, &probed);
    let ports = [ended.port(), hanging.port(), other.port()].join(",");
    wait::until("the agent has met all with their owners", SOON, || {
        (agent.sockets(&["--local-port", &ports, "--process", "cat"]).len() == 3).then_some(())
    });
    let (api, state) = (agent.socket().display().to_string(), agent.state().display().to_string());
    let more =
        ["--source", "agent", "--socket", &api, "--state-dir", &state, "--yes", "--for", "2m"];
    let cut = drill(&path, &[&ended.port(), &hanging.port()], &more);
    let mut running = RunningDrill::begin(&path, cut);
    dark.darken();
    let stdin = hanging.child.stdin.as_mut().expect("a pipe");
    stdin.write_all(b"are you there?").expect("write to cat");
    wait::until("both that are probed end", SOON, || {
        (ended.has_ended() && other.has_ended()).then_some(())
    });
    wait::until("the drill has ended one and lets one hang", SOON, || {
        let all = cases(&agent, &path);
        let is_of_drill = |case: &&Value| case["finding"] == "drilled";
        let n = |key: &str| -> u64 {
            all.iter().filter(is_of_drill).filter_map(|case| case[key].as_u64()).sum()
        };
        (n("deaths") == 1 && n("live") == 1).then_some(())
    });
    wait::until("the other path is blamed", SOON, || {
        of_finding(&cases(&agent, &dark), "dark").map(drop)
    });
    running.signal(Signal::INT);
    running.end();
    // Packets pass again: the one that hung is answered, and what was is still known.
    wait::until("nothing hangs any more", SOON, || {
        let all = cases(&agent, &path);
        let dead = of_finding(&all, "drilled").and_then(|case| case["deaths"].as_u64());
        let is_over = !all.iter().any(|case| case["finding"] == "stuck") && dead == Some(1);
        is_over.then_some(())
    });
    assert!(of_finding(&cases(&agent, &dark), "drilled").is_none());
}
