//! The right to fix, the name of keepwatch in what was fixed, and rows that are compared with the sockets themselves.

use crate::stage::{Fixer, SOON, UNSET, options, outcome_of, outcomes};
use keepwatch_tests::{
    answer::agent::{Agent, keepwatch, once},
    kernel::socket::Plan,
    network::{
        ending::exchange,
        path::{Ends, NetworkPath},
    },
    skip::skip,
    tool::{self, TemporaryFolder},
    wait,
};
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Output,
};

#[test]
fn one_capability_is_enough_and_without_it_nothing_is_touched() {
    const NOBODY: &str = "65534";
    let fixer = Fixer::new(NetworkPath::cable());
    let ends = fixer.path.connect(&Plan::NOTHING);
    let agent = Agent::start(&["--interval", "500ms", "--socket-group", "nogroup"]);
    wait::until("the agent has met it", SOON, || {
        let port = ends.local.port().to_string();
        agent.sockets(&["--local-port", &port]).pop()
    });
    let (bin, api) = (tool::keepwatch(), agent.socket());
    let netns = fixer.path.near.inode().to_string();
    let as_nobody = |capability: &str| {
        std::process::Command::new("setpriv")
            .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
            .args(["--inh-caps", capability, "--ambient-caps", capability])
            .arg(&bin)
            .args(["fix", "--apply", "--json", "--source", "agent", "--netns", &netns, "--socket"])
            .arg(&api)
            .arg("--state-dir")
            .arg(fixer.state.file("of-nobody"))
            .output()
            .expect("setpriv of util-linux")
    };
    let output = as_nobody("-all");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("CAP_SYS_PTRACE"), "{said}");
    assert_eq!(options(&ends.client), UNSET);
    let rows = outcomes(&as_nobody("-all,+sys_ptrace"));
    assert_eq!(outcome_of(&rows, ends.local), ("fixed", ""));
    assert_eq!(options(&ends.client), (true, 60, 10, 3));
    let name = bin.file_name().expect("a name").to_string_lossy().into_owned();
    // The observer saw it, and by whom.
    wait::until("the agent names keepwatch", SOON, || {
        let wanted = "/v1/events?wanted=%7B%22event%22:%5B%22setting%22%5D,%22past_only%22:true%7D";
        let events = agent.ask(wanted);
        let by = |event: &&Value| {
            event["local"] == ends.local.to_string()
                && event["owners"][0]["process"] == name.as_str()
        };
        events.iter().find(by).map(drop)
    });
}

#[test]
fn rows_are_verified_on_the_very_sockets() {
    let fixer = Fixer::new(NetworkPath::cable());
    let _ends = [Plan::NOTHING, Plan::keepalive(20, 5, 3)].map(|plan| fixer.path.connect(&plan));
    let output = once(["doctor", "--verify", "--json", "--socket", "/nonexistent"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let n = |key: &str| found.get(key).and_then(Value::as_u64);
    assert!(n("compared") >= Some(4), "both ends: {found}");
    assert_eq!(
        (n("compared"), found.get("differences")),
        (n("agree"), Some(&Value::Array(Vec::new())))
    );
}

/// The words of the command that a unit starts, without the program.
fn started_by(unit: &str) -> Vec<String> {
    let file = format!("{}/../deploy/{unit}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/keepwatch "));
    start.expect("a command").split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_command_of_the_timer_unit_writes_what_it_found_with_its_one_capability() {
    let fixer = Fixer::new(NetworkPath::cable());
    let _ends = [Plan::NOTHING, Plan::keepalive(20, 5, 3)].map(|plan| fixer.path.connect(&plan));
    let agent = Agent::start(&["--interval", "500ms", "--socket-group", "nogroup"]);
    let folder = TemporaryFolder::new();
    let own_file = folder.file("verify.prom");
    let place = |word: String| {
        if Path::new(&word).extension().is_some_and(|it| it == "prom") {
            own_file.display().to_string()
        } else {
            word
        }
    };
    let words: Vec<String> =
        started_by("keepwatch-verify.service").into_iter().map(place).collect();
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.args(["--inh-caps", "-all,+sys_ptrace", "--ambient-caps", "-all,+sys_ptrace"]);
    command.arg(tool::keepwatch()).args(words).arg("--socket").arg(agent.socket());
    let output = command.output().expect("setpriv of util-linux");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let text = fs::read_to_string(&own_file).expect("the file of its metrics");
    let value = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a metric");
        line.trim().parse().expect("a number")
    };
    let sockets =
        |result: &str| value(&format!("keepwatch_verified_sockets{{result=\"{result}\"}}"));
    assert!(sockets("agree") >= 4, "both ends: {text}");
    assert_eq!(sockets("differ"), 0, "{text}");
    let written = fs::metadata(&own_file).expect("the file");
    let verified = value("keepwatch_verified_timestamp_seconds").cast_signed();
    assert!((written.mtime() - verified).abs() < 60, "{text}");
    assert_eq!(written.permissions().mode() & 0o777, 0o644);
}

#[test]
fn who_fixed_it_is_named_by_why_and_trace_also_by_the_next_agent() {
    let options = ["--interval", "500ms"];
    let fixer = Fixer::new(NetworkPath::cable());
    let agent = Agent::start(&options);
    let [fixed, own] =
        [Plan::NOTHING, Plan::keepalive(30, 9, 3)].map(|plan| fixer.path.connect(&plan));
    for Ends { client, accepted, .. } in [&fixed, &own] {
        exchange(client, accepted);
    }
    let port = fixed.local.port().to_string();
    let rows = fixer.outcomes(&["--apply", "--local-port", &port]);
    assert_eq!(outcome_of(&rows, fixed.local), ("fixed", ""), "{rows:?}");
    let text = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stdout);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let ask = |agent: &Agent, words: &[&str]| {
        let output = keepwatch(words).arg("--socket").arg(agent.socket()).output();
        text(&output.expect("start keepwatch"))
    };
    let netns = fixer.path.near.inode().to_string();
    let ids = wait::until("the agent knows both with their owners", SOON, || {
        let rows = agent.sockets(&["--netns", &netns]);
        let id = |of: SocketAddr| {
            let row = rows.iter().find(|row| row.local == of && !row.owners.is_empty());
            row.map(|row| row.id.clone())
        };
        Some([id(fixed.local)?, id(own.local)?])
    });
    let why = |agent: &Agent, id: &str| ask(agent, &["why", id, "--source", "agent"]);
    let [said_of_fixed, said_of_own] = ids.each_ref().map(|id| why(&agent, id));
    assert!(said_of_fixed.contains("; set by keepwatch["), "{said_of_fixed}");
    let me = std::process::id().to_string();
    assert!(!said_of_own.contains("by keepwatch["), "{said_of_own}");
    assert!(said_of_own.contains(&format!("[{me}] at ")), "{said_of_own}");
    // The owner of the connection finds the call, and so does the caller.
    let trace = ["trace", "--past-only", "--event", "setting", "--port", &port];
    let traced = ask(&agent, &[&trace[..], &["--pid", &me]].concat());
    assert!(traced.contains("keepwatch[") && traced.contains("on a connection of "), "{traced}");
    assert!(traced.contains(&format!("[{me}]")), "{traced}");
    let traced = ask(&agent, &[&trace[..], &["--process", "keepwatch"]].concat());
    assert!(traced.contains("SO_KEEPALIVE = 1"), "{traced}");
    let (folder, _) = agent.stop_and_leave();
    if !tool::kernel_has_cookies_for_hooks() {
        // The next agent has another id for the same socket.
        skip("socket cookies", "which this kernel does not make for hooks");
        return;
    }
    let agent = Agent::start_in(folder, &options);
    let [said_of_fixed, said_of_own] = ids.each_ref().map(|id| why(&agent, id));
    assert!(said_of_fixed.contains("; set by keepwatch["), "{said_of_fixed}");
    assert!(said_of_own.contains(&format!("[{me}] at ")), "{said_of_own}");
}
