//! The answers of `keepwatch why` about connections in known states.

use crate::client::{ClientProgram, RunningClient};
use keepwatch_tests::{
    answer::agent::{self, Agent, keepwatch},
    kernel::socket::{self, Plan},
    network::{
        ending::{exchange, receive, wait_for_quiet},
        middlebox::MiddleboxAnswer,
        path::NetworkPath,
    },
    wait,
};
use serde_json::Value;
use std::{process::Output, time::Duration};

/// The middlebox forgets what is quiet for longer.
const FORGETS_AFTER: u32 = 5;
/// Longer than that.
const QUIET: Duration = Duration::from_secs(8);
const REDIS: u16 = 6379;
/// Attempts of retransmission: seconds instead of a quarter of an hour.
const FEW_RETRIES: u32 = 2;
const SOON: Duration = Duration::from_secs(30);
/// Walks often, so that what survives is seen to.
const OPTIONS: [&str; 2] = ["--interval", "500ms"];
/// The same for a path that is known to forget soon.
const SHORT_PATH: [&str; 4] = ["--interval", "500ms", "--idle-limit", "6s"];

pub(crate) fn why(agent: &Agent, words: &[&str]) -> Output {
    let mut command = keepwatch(["why", "--source", "agent", "--socket"]);
    command.arg(agent.socket()).args(words).output().expect("start keepwatch")
}

#[track_caller]
pub(crate) fn cases(output: &Output) -> Vec<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}: {said}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The case of the process with this id, once that many of its connections are dead.
#[track_caller]
pub(crate) fn case_of(agent: &Agent, client: &RunningClient, n_dead: usize) -> Value {
    let pid = client.pid().to_string();
    wait::until(format!("{n_dead} dead of process {pid}"), SOON, || {
        let cases = cases(&why(agent, &[&pid, "--json"]));
        cases.into_iter().find(|case| case["deaths"] == n_dead)
    })
}

pub(crate) fn lines(case: &Value) -> String {
    let advice = case["advice"].as_array().into_iter().flatten();
    let lines = advice.flat_map(|advice| advice["lines"].as_array().into_iter().flatten());
    lines.filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_night_with_a_middlebox_is_told_after_the_agent_was_restarted() {
    let Some(path) = NetworkPath::middlebox(FORGETS_AFTER, MiddleboxAnswer::Silence) else {
        return;
    };
    path.near.set("ipv4/tcp_retries2", FEW_RETRIES);
    let agent = Agent::start(&SHORT_PATH);
    let late = ClientProgram::node("late", "s.setKeepAlive(true, 7200000)");
    if !late.is_here() {
        return;
    }
    // Nobody sets anything; too late; in time. Each says a word, is quiet, and says another.
    let (off, off_end) = RunningClient::start(&path, &ClientProgram::python("off", "pass"));
    let (late, late_end) = RunningClient::start(&path, &late);
    let protected = "s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)\n\
                     s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)\n\
                     s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)";
    let (fine, fine_end) = RunningClient::start(&path, &ClientProgram::python("fine", protected));
    for end in [&off_end, &late_end] {
        wait_for_quiet(end, QUIET);
    }
    off.go_on();
    late.go_on();
    fine.go_on();
    receive(&fine_end, 4);
    case_of(&agent, &off, 1);
    case_of(&agent, &late, 1);
    let (folder, said) = agent.stop_and_leave();
    assert!(!said.contains("history is") && !said.contains("records of"), "{said}");
    let agent = Agent::start_in(folder, &SHORT_PATH);

    let off = case_of(&agent, &off, 1);
    assert_eq!(off["finding"], "dropped", "{off}");
    assert_eq!(
        (&off["causes"][0]["cause"], &off["causes"][0]["deaths"]),
        (&"idle_drop".into(), &1.into())
    );
    assert_eq!(off["example"]["keepalive"], false);
    assert_eq!(off["nobody_ever_set"], true);
    assert!(off["example"]["evidence"].is_string());
    assert!(lines(&off).contains("socket.TCP_KEEPIDLE, "), "{off}");
    let because = off["advice"][0]["meaning"].as_str().expect("why");
    assert!(because.starts_with("this is Python sockets"), "{because}");
    assert_eq!(off["advice"][0]["client"]["sure"], true, "{off}");
    assert_eq!((&off["what_if"]["deaths"], &off["what_if"]["prevented"]), (&1.into(), &1.into()));
    let limit = &off["learned_limit"];
    let bound = |name: &str| limit[name].as_f64();
    let forgets_after = f64::from(FORGETS_AFTER);
    assert!(bound("shortest_killed_seconds") > Some(forgets_after), "{limit}");
    assert!(bound("longest_survived_seconds").is_none_or(|s| s < forgets_after + 1.0), "{limit}");
    let idle = off["proposal"]["idle_seconds"].as_f64().expect("a time");
    assert!(idle < forgets_after, "{idle} s would not have helped");

    let late = case_of(&agent, &late, 1);
    assert_eq!((&late["finding"], &late["nobody_ever_set"]), (&"dropped".into(), &false.into()));
    assert_eq!(late["example"]["idle"]["seconds"], 7200);
    let set = |call: &Value| call["option"] == "TCP_KEEPIDLE" && call["value"] == 7200;
    assert!(late["calls"].as_array().expect("calls").iter().any(set), "{late}");
    assert!(lines(&late).contains("socket.setKeepAlive(true, "), "{late}");
    assert_eq!(late["what_if"]["prevented"], 1);

    let pid = fine.pid().to_string();
    let output = why(&agent, &[&pid]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("Nothing is wrong"), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");

    // The whole peer: the answer comes first, and every line fits.
    let output = why(&agent, &[&path.server.to_string(), "--since", "1h"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    // Before that only what may still wait for an answer.
    let head = text.split("\n\n").next().expect("an answer").replace('\n', " ");
    assert!(head.contains("died of silence"), "{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("nobody ever called setsockopt"), "{text}");
    assert!(words.contains("seen: quiet connections are dropped"), "{text}");
    // Nobody watches any more.
    let (folder, _) = agent.stop_and_leave();
    let mut alone = keepwatch(["why", &late["pids"][0].to_string(), "--json", "--state-dir"]);
    let socket = folder.file("none.sock");
    let output = alone.arg(folder.file("state")).arg("--socket").arg(socket).output();
    let told = cases(&output.expect("start keepwatch"));
    assert_eq!(told[0]["finding"], "dropped", "without an agent the file answers: {told:?}");
}

#[test]
fn clients_that_live_are_recognised_by_what_they_show_and_told_their_own_line() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let clients = [
        (ClientProgram::psql(&path), Some("keepalives_idle=60"), "unprotected"),
        (
            ClientProgram::node("keeps", "s.setKeepAlive(true, 400000)"),
            Some("setKeepAlive(true, 60000)"),
            "unprotected",
        ),
        (ClientProgram::python("plain", "pass"), Some("socket.TCP_KEEPIDLE, 60"), "unprotected"),
        (ClientProgram::curl(&path), None, "fine"),
    ];
    for (program, line, finding) in clients {
        if !program.is_here() {
            continue;
        }
        let (client, _end) = RunningClient::start_waiting(&path, &program);
        let pid = client.pid().to_string();
        let case = wait::until(format!("{} with its settings", program.name()), SOON, || {
            cases(&why(&agent, &[&pid, "--json"]))
                .into_iter()
                .find(|case| case["finding"] == finding)
        });
        assert_eq!(case["live"], 1, "{case}");
        match line {
            Some(line) => assert!(lines(&case).contains(line), "{line}: {case}"),
            None => assert_eq!(lines(&case), "", "{case}"),
        }
    }
}

#[test]
fn a_server_is_told_the_line_of_its_listener_and_its_client_is_not() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let ends = path.connect(&Plan::NOTHING);
    // Other tests of this process have connections, too.
    let of = |direction: &str| {
        wait::until(format!("the {direction} end"), SOON, || {
            let rows = agent.sockets(&["--port", &ends.local.port().to_string()]);
            let is_it =
                |local, remote| if direction == "inbound" { remote } else { local } == ends.local;
            let id = rows.into_iter().find(|row| is_it(row.local, row.remote))?.id;
            let cases = cases(&why(&agent, &[&id, "--json"]));
            cases.into_iter().find(|case| case["direction"] == direction)
        })
    };
    let (server, client) = (lines(&of("inbound")), lines(&of("outbound")));
    assert!(server.contains("setsockopt(listener, "), "{server}");
    assert!(client.contains("setsockopt(fd, ") && !client.contains("listener"), "{client}");
}

#[test]
fn what_one_process_has_loaded_is_not_said_of_another_with_the_same_name() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let file = std::env::temp_dir().join(format!("libzmq-{}.so", std::process::id()));
    std::fs::write(&file, [0; 4096]).expect("a file to map");
    let load = format!(
        "import mmap; f = open({file:?}, 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)"
    );
    let (loads, plain) =
        (ClientProgram::python("loads", &load), ClientProgram::python("plain", "pass"));
    if !plain.is_here() {
        return;
    }
    let (loads, _end) = RunningClient::start(&path, &loads);
    let (plain, _other_end) = RunningClient::start(&path, &plain);
    std::fs::remove_file(&file).expect("remove it");
    let client = |running: &RunningClient| {
        let pid = running.pid().to_string();
        let case = wait::until("the connection", SOON, || {
            cases(&why(&agent, &[&pid, "--json"])).into_iter().find(|case| case["live"] == 1)
        });
        case["advice"][0]["client"]["name"].as_str().expect("a name").to_owned()
    };
    assert_eq!(client(&loads), "ZeroMQ");
    assert!(client(&plain).starts_with("Python sockets"), "{}", client(&plain));
}

#[test]
fn python_on_the_port_of_redis_is_a_guess_and_what_else_it_may_be_is_said() {
    let path = NetworkPath::cable_to_port(REDIS);
    let agent = Agent::start(&OPTIONS);
    let program = ClientProgram::python("plain", "pass");
    if !program.is_here() {
        return;
    }
    let (client, _end) = RunningClient::start(&path, &program);
    let pid = client.pid().to_string();
    let case = wait::until("the connection", SOON, || {
        cases(&why(&agent, &[&pid, "--json"])).into_iter().find(|case| case["live"] == 1)
    });
    let holds: Vec<_> =
        case["advice"].as_array().expect("advice").iter().map(|it| &it["holds"]).collect();
    assert_eq!(holds, ["if_it_is", "else"], "{case}");
    assert_eq!(case["advice"][0]["client"]["sure"], false, "{case}");
    let text = why(&agent, &[&pid]);
    let text =
        String::from_utf8_lossy(&text.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("fix if this is redis-py before 8, a guess"), "{text}");
    assert!(text.contains("else Python sockets"), "{text}");
}

#[test]
fn a_refused_call_and_who_made_it_are_told() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    // As mysql2 does by default: 0 is refused with EINVAL, and 7200 s stay.
    let zero = ClientProgram::node("zero", "s.setKeepAlive(true); s._handle.setKeepAlive(true, 0)");
    if !zero.is_here() {
        return;
    }
    let (client, _end) = RunningClient::start_waiting(&path, &zero);
    let pid = client.pid().to_string();
    let case = wait::until("the refused call", SOON, || {
        let cases = cases(&why(&agent, &[&pid, "--json"]));
        cases.into_iter().find(|case| !case["calls"].as_array().is_none_or(Vec::is_empty))
    });
    let call = &case["calls"][0];
    assert_eq!((&call["option"], &call["value"]), (&"TCP_KEEPIDLE".into(), &0.into()), "{case}");
    assert_eq!((&call["result"], &call["by"]["pid"]), (&"EINVAL".into(), &client.pid().into()));
    let output = why(&agent, &[&pid]);
    let text = String::from_utf8_lossy(&output.stdout).replace('\n', " ");
    assert!(text.contains("TCP_KEEPIDLE was refused with EINVAL"), "{text}");
    assert!(text.contains("keepAliveInitialDelay: 60000"), "{text}");
}

#[test]
fn a_peer_that_went_dark_is_told_from_a_path_that_forgot() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&OPTIONS);
    let ends = path.connect(&Plan::keepalive(1, 1, 2));
    exchange(&ends.client, &ends.accepted);
    let id = wait::until("the agent knows it", SOON, || {
        // The other end has the same two ports.
        let rows = agent.sockets(&["--port", &ends.local.port().to_string()]);
        rows.into_iter().find(|row| row.local == ends.local).map(|row| row.id)
    });
    let live = why(&agent, &[&id]);
    assert_eq!(live.status.code(), Some(0), "{}", String::from_utf8_lossy(&live.stdout));
    path.darken();
    socket::wait_for_state(&ends.client, socket::CLOSE, SOON);
    let case = wait::until("its death", SOON, || {
        cases(&why(&agent, &[&id, "--json"])).into_iter().find(|case| case["deaths"] == 1)
    });
    assert_eq!((&case["finding"], &case["advice"]), (&"dark".into(), &Value::Array(Vec::new())));
    let text = why(&agent, &[&id]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("went dark") && text.contains("nothing to set here"), "{text}");
}

#[test]
fn without_an_agent_the_living_are_told_and_what_cannot_be_known_is_said() {
    let path = NetworkPath::cable();
    let _ends = path.connect(&Plan::NOTHING);
    let no_agent = ["--source", "kernel", "--state-dir", "/nonexistent"];
    let output = agent::once(["why", &path.server.to_string()].iter().chain(&no_agent));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("keepalive is off") && text.contains("keepwatch run"), "{text}");
    assert!(!text.contains("nobody ever"), "nobody knows: {text}");
    let none = agent::once(["why", "192.0.2.77"].iter().chain(&no_agent));
    let text = String::from_utf8_lossy(&none.stdout).into_owned();
    assert!(text.starts_with("No connection with 192.0.2.77") && none.status.success(), "{text}");
}
