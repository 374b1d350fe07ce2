//! What a process had loaded is known after its end. The processes here have every capability, so /proc shows their
//! mappings to nobody without: the agent, which has given its own up, asks the kernel's iterators.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use keepwatch_tests::{
    answer::agent::{Agent, keepwatch, once},
    kernel::{netns::require_root, socket},
    network::{
        ending::{receive, wait_for_quiet},
        path::NetworkPath,
    },
    tool::{self, TemporaryFolder},
    wait,
};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write as _,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    time::Duration,
};

const POSTGRESQL: u16 = 5432;
/// Of a death after a shorter silence nobody asks for advice.
const QUIET: Duration = Duration::from_secs(4);
/// Attempts of retransmission: seconds instead of a quarter of an hour.
const FEW_RETRIES: u32 = 2;
const SOON: Duration = Duration::from_mins(1);
/// A path that forgets what is as quiet as that.
const OPTIONS: [&str; 4] = ["--interval", "500ms", "--idle-limit", "4s"];

#[test]
fn a_library_is_known_after_the_end_of_its_process_and_none_is_made_up() {
    let night = Night::begin();
    let folder = TemporaryFolder::new();
    let library = folder.file("libpq.so.5.15");
    fs::copy("/proc/self/exe", &library).expect("a file that can be mapped");
    let with = night.client(library.to_str().expect("UTF-8"));
    let without = night.client("nothing");
    let [(with, loaded), (without, bare)] = night.forget([with, without]);

    let is_read = tool::kernel_has_process_iterators();
    for clues in [&loaded, &bare] {
        assert_eq!(clues["are_files_read"], is_read, "{clues}");
        assert_eq!(clues["executable"], "crowd", "{clues}");
    }
    assert_eq!(bare["mapped"], Value::Array(Vec::new()), "{bare}");
    let because = |pid| night.advice(pid);
    let (with, without) = (because(with), because(without));
    let is_said = |advice: &str| advice.contains("this is libpq");
    if is_read {
        assert_eq!(loaded["mapped"][0], "/libpq.so.5.15", "{loaded}");
        assert!(is_said(&with) && with.contains("libpq.so.5.15 is loaded"), "{with}");
    } else {
        assert!(!is_said(&with) || with.contains("if this is libpq"), "{with}");
    }
    assert!(!without.contains("this is libpq") || !is_read, "{without}");
    assert!(!without.contains("is loaded"), "{without}");
}

#[test]
fn jars_and_the_memory_of_go_are_seen_and_what_looks_like_them_is_not() {
    let night = Night::begin();
    let folder = TemporaryFolder::new();
    let file = |name: &str| {
        let path = folder.file(name);
        File::create(&path).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    };
    let jar = file("postgresql-42.7.3.jar");
    let clients =
        [night.client(&jar), night.client(&file("postgresql-42.7.3.jar.part")), night.client("go")];
    let [(_, with_jar), (_, other), (_, go)] = night.forget(clients);
    if !tool::kernel_has_process_iterators() {
        return;
    }
    assert_eq!(with_jar["mapped"], Value::from(vec!["/postgresql-42.7.3.jar"]), "{with_jar}");
    assert_eq!(other["mapped"], Value::Array(Vec::new()), "{other}");
    assert!(go["go"].is_object() && with_jar["go"].is_null(), "{go}");
}

#[test]
fn doctor_says_whether_what_is_loaded_can_be_known() {
    require_root();
    let said = String::from_utf8(once(["doctor", "--json"]).stdout).expect("UTF-8");
    let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let check = lines.into_iter().find(|check| check["check"] == "process_files").expect("a line");
    if tool::kernel_has_process_iterators() {
        assert_eq!(
            (&check["grade"], &check["found"]),
            (&"ok".into(), &"iter/task_vma attached".into())
        );
    } else {
        assert_eq!(check["grade"], "note", "{check}");
        let advice = check["advice"].as_str().expect("what is not known then");
        assert!(advice.contains("libraries"), "{check}");
    }
}

/// Clients of a server that falls silent.
struct Night {
    path: NetworkPath,
    agent: Agent,
}

/// A process with one connection, and the far end of that.
type LoadedClient = (Child, OwnedFd);

impl Night {
    #[track_caller]
    fn begin() -> Self {
        let path = NetworkPath::cable_to_port(POSTGRESQL);
        path.near.set("ipv4/tcp_retries2", FEW_RETRIES);
        Self { agent: Agent::start(&OPTIONS), path }
    }

    /// A client that has loaded this, and has sent its first word.
    #[track_caller]
    fn client(&self, what: &str) -> LoadedClient {
        let spawn = || {
            Command::new(tool::beside("crowd"))
                .args(["load", &self.path.server.to_string(), what])
                .stdin(Stdio::piped())
                .spawn()
        };
        let child = self.path.near.run(spawn).expect("start crowd, built beside the tests");
        let end = self.path.accept();
        receive(&end, 4);
        (child, end)
    }

    /// All of them are quiet, are not heard any more, and end with their connections: the id of each, and what is kept.
    #[track_caller]
    fn forget<const N: usize>(&self, clients: [LoadedClient; N]) -> [(u32, Value); N] {
        for (_, end) in &clients {
            socket::send(end, b"heard");
        }
        for (_, end) in &clients {
            wait_for_quiet(end, QUIET);
        }
        self.path.darken();
        clients.map(|(mut child, end)| {
            let mut stdin = child.stdin.take().expect("its stdin");
            stdin.write_all(b"go on\n").expect("tell it to go on");
            let pid = child.id();
            let clues = wait::until(format!("the death of {pid}"), SOON, || self.kept(pid));
            drop(stdin);
            child.kill().ok();
            child.wait().expect("its end");
            drop(end);
            (pid, clues)
        })
    }

    /// What is kept of a process whose connection has died.
    fn kept(&self, pid: u32) -> Option<Value> {
        let events = self.agent.ask("/v1/deaths");
        let is_it = |event: &Value| event["owners"][0]["pid"] == pid;
        events.into_iter().find(is_it).map(|event| event["clues"].clone())
    }

    /// What `why` says of a process that has ended, in words.
    #[track_caller]
    fn advice(&self, pid: u32) -> String {
        let mut why = keepwatch(["why", "--source", "agent", "--socket"]);
        let output = why.arg(self.agent.socket()).arg(pid.to_string()).output();
        let said = String::from_utf8(output.expect("start keepwatch").stdout).expect("UTF-8");
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
