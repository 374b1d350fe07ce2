//! `keepwatch fix`: keepalive that is turned on from outside, on live sockets of another program: of this test.
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

use keepwatch_tests::{
    answer::agent::{Agent, assert_refused, keepwatch, once},
    kernel::{
        netns::require_root,
        socket::{self, Plan, Road, SocketOption, SocketSettings},
    },
    network::{
        ending::{error_at_end, exchange, forgotten, wait_for_quiet},
        middlebox::MiddleboxAnswer,
        path::{Ends, NetworkPath},
    },
    skip::skip,
    tool::{self, TemporaryFolder},
    wait,
};
use rustix::net::sockopt;
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    os::fd::OwnedFd,
    process::{Child, Output, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_mins(1);

/// A folder for the journal, and the path that is fixed.
struct Fixer {
    path: NetworkPath,
    state: TemporaryFolder,
}

impl Fixer {
    fn new(path: NetworkPath) -> Self {
        require_root();
        Self { path, state: TemporaryFolder::new() }
    }

    fn words(&self, more: &[&str]) -> Vec<String> {
        let state = self.state.file("state").display().to_string();
        let mut words =
            ["fix", "--json", "--source", "kernel", "--state-dir"].map(str::to_owned).to_vec();
        words.extend([state, "--netns".to_owned(), self.path.near.inode().to_string()]);
        words.extend(more.iter().map(|word| (*word).to_owned()));
        words
    }

    fn run(&self, more: &[&str]) -> Output {
        once(self.words(more))
    }

    /// What it says of each connection, by our end.
    #[track_caller]
    fn outcomes(&self, more: &[&str]) -> Vec<(SocketAddr, String, Value)> {
        outcomes(&self.run(more))
    }
}

#[track_caller]
fn outcomes(output: &Output) -> Vec<(SocketAddr, String, Value)> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() < Some(2), "keepwatch ended with {}: {said}", output.status);
    let lines = std::str::from_utf8(&output.stdout).expect("UTF-8").lines();
    let mut rows: Vec<_> = lines
        .map(|line| {
            let row: Value = serde_json::from_str(line).expect("JSON");
            let text = |key: &str| row.get(key).and_then(Value::as_str).expect("a word");
            (text("local").parse().expect("an address"), text("outcome").to_owned(), row.clone())
        })
        .collect();
    rows.sort_by_key(|(local, ..)| *local);
    rows
}

#[track_caller]
fn outcome_of(rows: &[(SocketAddr, String, Value)], local: SocketAddr) -> (&str, &str) {
    let found = rows.iter().find(|(of, ..)| *of == local);
    let (_, outcome, row) = found.unwrap_or_else(|| panic!("{local} is not in {rows:?}"));
    (outcome, row.get("reason").and_then(Value::as_str).unwrap_or_default())
}

/// SO_KEEPALIVE, idle, interval and count, as the program reads them.
fn options(fd: &OwnedFd) -> (bool, u64, u64, u32) {
    let seconds = |time: Duration| time.as_secs();
    (
        sockopt::socket_keepalive(fd).expect("SO_KEEPALIVE"),
        seconds(sockopt::tcp_keepidle(fd).expect("TCP_KEEPIDLE")),
        seconds(sockopt::tcp_keepintvl(fd).expect("TCP_KEEPINTVL")),
        sockopt::tcp_keepcnt(fd).expect("TCP_KEEPCNT"),
    )
}

const UNSET: (bool, u64, u64, u32) = (false, 7200, 75, 9);

#[test]
fn on_a_path_that_forgets_the_fixed_connection_lives_and_its_twin_dies() {
    let Some(path) = NetworkPath::middlebox(10, MiddleboxAnswer::Reset) else {
        return;
    };
    let fixer = Fixer::new(path);
    let (fixed, twin) = (fixer.path.connect(&Plan::NOTHING), fixer.path.connect(&Plan::NOTHING));
    for Ends { client, accepted, .. } in [&fixed, &twin] {
        exchange(client, accepted);
    }
    let port = fixed.local.port().to_string();
    let rows = fixer.outcomes(&["--apply", "--idle-limit", "10s", "--local-port", &port]);
    assert_eq!(rows.len(), 1, "nothing else: {rows:?}");
    assert_eq!(outcome_of(&rows, fixed.local), ("fixed", ""));
    assert_eq!(options(&fixed.client), (true, 5, 5, 3));
    assert_eq!(options(&twin.client), UNSET);
    wait_for_quiet(&twin.client, Duration::from_secs(13));
    exchange(&fixed.client, &fixed.accepted);
    socket::send(&twin.client, b"are you there?");
    assert!(error_at_end(&twin.client).is_some());
}

#[test]
fn a_plan_changes_nothing_and_says_what_it_would() {
    let fixer = Fixer::new(NetworkPath::cable());
    let off = fixer.path.connect(&Plan::NOTHING);
    let protected = fixer.path.connect(&Plan::keepalive(20, 5, 3));
    let output = fixer.run(&[]);
    assert_eq!(output.status.code(), Some(1), "something is to be done");
    let rows = outcomes(&output);
    assert_eq!(outcome_of(&rows, off.local), ("would_fix", ""));
    assert_eq!(outcome_of(&rows, protected.local), ("left_alone", "protected"));
    assert_eq!((options(&off.client), options(&protected.client)), (UNSET, (true, 20, 5, 3)));
    assert!(!fixer.state.file("state").exists(), "no journal of nothing");
}

#[test]
fn what_was_set_is_taken_back_and_what_its_program_has_set_since_stays() {
    let fixer = Fixer::new(NetworkPath::cable());
    let [left, changed, closed] = [(); 3].map(|()| fixer.path.connect(&Plan::NOTHING));
    assert_eq!(fixer.outcomes(&["--apply"]).len(), 3);
    assert_eq!(options(&left.client), (true, 60, 10, 3));
    Road::Call.set(&changed.client, SocketOption::KeepIdle, 33);
    // In the place of its descriptor there is another connection: that one is nobody's business.
    let place = std::os::fd::AsRawFd::as_raw_fd(&closed.client);
    drop(closed.client);
    let other = fixer.path.connect(&Plan::keepalive(60, 10, 3));
    assert_eq!(std::os::fd::AsRawFd::as_raw_fd(&other.client), place, "the lowest free number");
    let rows = fixer.outcomes(&["--undo"]);
    assert_eq!(outcome_of(&rows, left.local), ("undone", ""));
    assert_eq!(outcome_of(&rows, changed.local), ("changed_since", ""));
    assert_eq!(outcome_of(&rows, closed.local), ("refused", "gone"));
    assert_eq!(options(&left.client), UNSET);
    assert_eq!(options(&changed.client), (true, 33, 10, 3));
    assert_eq!(options(&other.client), (true, 60, 10, 3));
    assert_refused(&fixer.run(&["--undo"]), 2, &["nothing is left to be undone"]);
    assert_refused(&fixer.run(&["--undo", "7"]), 2, &["no such run"]);
}

#[test]
fn a_user_timeout_is_neither_set_nor_made_deadly() {
    let fixer = Fixer::new(NetworkPath::cable());
    let with = |user_timeout_ms| {
        let own = SocketSettings { user_timeout_ms, ..SocketSettings::default() };
        fixer.path.connect(&Plan { own, ..Plan::NOTHING })
    };
    let (long, short) = (with(30_000), with(1_500));
    let rows = fixer.outcomes(&["--apply"]);
    assert_eq!(outcome_of(&rows, long.local), ("fixed", ""));
    assert_eq!(options(&long.client), (true, 10, 10, 3));
    assert_eq!(sockopt::tcp_user_timeout(&long.client).expect("TCP_USER_TIMEOUT"), 30_000);
    assert_eq!(outcome_of(&rows, short.local), ("left_alone", "user_timeout"));
    assert_eq!(options(&short.client), UNSET);
}

#[test]
fn what_was_learned_of_a_path_is_obeyed_as_why_does_and_elsewhere_the_limit_in_force() {
    let Some(path) = NetworkPath::middlebox(10, MiddleboxAnswer::Reset) else {
        return;
    };
    let agent = Agent::start(&["--interval", "500ms"]);
    let elsewhere = NetworkPath::cable();
    let (here, other) = (path.connect(&Plan::NOTHING), elsewhere.connect(&Plan::NOTHING));
    exchange(&other.client, &other.accepted);
    forgotten(&path, Duration::from_secs(21));
    let (api, state) = (agent.socket(), TemporaryFolder::new());
    let ask = |words: &[&str]| {
        let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        all.extend(["--json", "--source", "agent", "--socket"].map(str::to_owned));
        all.extend([api.display().to_string(), "--state-dir".to_owned()]);
        all.push(state.file("state").display().to_string());
        once(all)
    };
    let planned = |path: &NetworkPath, local: SocketAddr| {
        let netns = path.near.inode().to_string();
        let rows = outcomes(&ask(&["fix", "--netns", &netns]));
        let found = rows.into_iter().find(|(of, ..)| *of == local);
        found.filter(|(_, outcome, _)| outcome == "would_fix").map(|(.., row)| row)
    };
    let from = |row: &Value| row["values_from"].as_str().expect("words").to_owned();
    let row = wait::until("a plan by what was learned", SOON, || {
        planned(&path, here.local).filter(|row| from(row).contains("what was learned of"))
    });
    let after = &row["after"];
    assert!(after["idle_seconds"].as_u64() <= Some(10), "{row}");
    let why = ask(&["why", &path.server.ip().to_string()]);
    let said = String::from_utf8_lossy(&why.stdout).into_owned();
    let cases: Vec<Value> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let is_it = |case: &&Value| case["netns"] == path.near.inode() && case["live"] != 0;
    let proposal =
        &cases.iter().find(is_it).unwrap_or_else(|| panic!("no case: {said}"))["proposal"];
    for (name, key) in
        [("idle", "idle_seconds"), ("interval", "interval_seconds"), ("count", "count")]
    {
        assert_eq!(proposal[key], after[key], "{name}: {said}");
    }
    let row = planned(&elsewhere, other.local).expect("it is off");
    assert_eq!(from(&row), "the limit of 5 min 50 s (default)");
    assert_eq!(row["after"]["idle_seconds"], 60, "{row}");
}

#[test]
fn killed_in_the_middle_it_leaves_nothing_that_cannot_be_taken_back() {
    const N: usize = 1000;
    socket::allow_many();
    let fixer = Fixer::new(NetworkPath::cable());
    let all: Vec<Ends> = (0..N).map(|_| fixer.path.connect(&Plan::NOTHING)).collect();
    let n_on = || all.iter().filter(|ends| options(&ends.client).0).count();
    let mut child = keepwatch(fixer.words(&["--apply"]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start keepwatch");
    wait::until("it has begun", SOON, || (n_on() > 0).then_some(()));
    child.kill().expect("SIGKILL");
    child.wait().expect("its end");
    fixer.outcomes(&["--undo"]);
    for ends in &all {
        assert_eq!(options(&ends.client), UNSET);
    }
}

/// `fix --watch`, ended when dropped.
struct FixWatch(Child);

impl Drop for FixWatch {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn while_it_watches_programs_come_first_and_each_connection_is_touched_once() {
    let fixer = Fixer::new(NetworkPath::cable());
    let counts = fixer.state.file("fix.prom");
    let file = counts.display().to_string();
    let more = ["--apply", "--watch", "200ms", "--grace", "2s", "--textfile", &file];
    let child =
        keepwatch(fixer.words(&more)).stdout(Stdio::null()).spawn().expect("start keepwatch");
    let _watching = FixWatch(child);
    let in_counts = |line: &str| {
        fs::read_to_string(&counts)
            .is_ok_and(|text| text.lines().any(|it| it == line))
            .then_some(())
    };
    wait::until("it watches", SOON, || in_counts("keepwatch_fix_total{outcome=\"fixed\"} 0"));
    let [own, fixed] = [(); 2].map(|()| fixer.path.connect(&Plan::NOTHING));
    wait::until("both are met, and left alone", SOON, || {
        in_counts("keepwatch_fix_left_alone{reason=\"in_grace\"} 2")
    });
    for (option, value) in
        [(SocketOption::KeepIdle, 30), (SocketOption::KeepIntvl, 9), (SocketOption::Keepalive, 1)]
    {
        Road::Call.set(&own.client, option, value);
    }
    wait::until("the other one is fixed", SOON, || options(&fixed.client).0.then_some(()));
    assert_eq!(options(&own.client), (true, 30, 9, 9));
    // What its program does now is what it wants.
    Road::Call.set(&fixed.client, SocketOption::Keepalive, 0);
    let third = fixer.path.connect(&Plan::NOTHING);
    wait::until("a later one is fixed", SOON, || options(&third.client).0.then_some(()));
    assert!(!options(&fixed.client).0);
    wait::until("it counts", SOON, || in_counts("keepwatch_fix_total{outcome=\"fixed\"} 2"));
}

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
    assert_eq!(fixer.outcomes(&["--apply", "--local-port", &port]).len(), 1);
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
    assert!(said_of_own.contains("no call was seen for it"), "{said_of_own}");
}
