//! `keepwatch measure`: paths whose limit the test draws, and peers that close by themselves.
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

use keepwatch_tests::{
    answer::agent::{assert_refused, keepwatch},
    kernel::{
        netns::NetworkNamespace,
        socket::{self, Family, Plan},
    },
    network::{
        cat_program::CatProgram,
        middlebox::{MiddleboxAnswer, drawn_idle_limit},
        path::NetworkPath,
    },
    tool::TemporaryFolder,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::fd::OwnedFd,
    process::{Child, ChildStderr, Output, Stdio},
    thread,
};

fn measure(near: &NetworkNamespace, args: &[&str]) -> Output {
    let mut command = keepwatch(["measure", "--json"].iter().chain(args));
    near.run(move || command.stdin(Stdio::null()).output().expect("start keepwatch"))
}

#[track_caller]
fn found(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn seconds(of: &Value, key: &str) -> Option<f64> {
    of.get(key).and_then(Value::as_f64)
}

fn is_bracketed(answer: MiddleboxAnswer, word: &str) {
    let limit = drawn_idle_limit(6..14);
    let Some(path) = NetworkPath::middlebox(limit, answer) else {
        return;
    };
    let folder = TemporaryFolder::new();
    let config = folder.file("config.toml");
    fs::write(&config, "idle_limit = \"aws\"\n").expect("a file");
    let file = config.display().to_string();
    let server = path.server.to_string();
    let it = found(&measure(&path.near, &[&server, "--up-to", "1m", "--write", &file]));
    let (survived, killed) = (seconds(&it, "survived_seconds"), seconds(&it, "forgotten_seconds"));
    // Conntrack counts by the second.
    let limit = f64::from(limit);
    assert!(survived.is_some_and(|it| it <= limit + 1.0), "limit {limit}: {it}");
    assert!(killed.is_some_and(|it| it >= limit - 0.5), "limit {limit}: {it}");
    let apart = killed.zip(survived).map(|(killed, survived)| killed - survived);
    assert!(apart.is_some_and(|it| it > 0.0 && it <= 2.5), "limit {limit}: {it}");
    assert_eq!(it.get("forgotten_by"), Some(&word.into()), "{it}");
    assert_eq!(it.get("peer_closes_after_seconds"), Some(&Value::Null), "{it}");
    // What was written is a limit that keepwatch reads.
    let text = fs::read_to_string(&config).expect("the file");
    assert!(text.starts_with("idle_limit = \"aws\"\n") && text.contains("[[path]]"), "{text}");
    let status = keepwatch(["--config", &file, "completions", "bash"]).output().expect("keepwatch");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
}

#[test]
fn a_path_that_forgets_in_silence_is_bracketed() {
    is_bracketed(MiddleboxAnswer::Silence, "silence");
}

#[test]
fn a_path_that_answers_by_a_reset_is_bracketed() {
    is_bracketed(MiddleboxAnswer::Reset, "reset");
}

/// Accepts, and closes each connection after this time, until the test ends.
fn closes_by_itself(listener: OwnedFd, seconds: i64) {
    thread::spawn(move || {
        loop {
            let accepted = socket::accepted(&listener);
            thread::spawn(move || {
                let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
                poll(&mut [PollFd::new(&accepted, PollFlags::IN)], Some(&time)).ok();
            });
        }
    });
}

#[test]
fn a_peer_that_closes_by_itself_is_no_limit_of_the_path() {
    let (near, far) = NetworkNamespace::pair();
    let address = "10.77.0.2:2717".parse().expect("an address");
    let listener = far.run(|| socket::listener(Family::V4, address, 16, &Plan::NOTHING));
    closes_by_itself(listener, 7);
    let it = found(&measure(&near, &["10.77.0.2:2717", "--up-to", "1m"]));
    assert_eq!(it.get("forgotten_seconds"), Some(&Value::Null), "{it}");
    let closes = seconds(&it, "peer_closes_after_seconds");
    assert!(closes.is_some_and(|it| (6.5..9.0).contains(&it)), "{it}");
}

#[test]
fn a_path_without_a_limit_is_kept_for_as_long_as_it_was_tried() {
    let path = NetworkPath::cable();
    let it = found(&measure(&path.near, &[&path.server.to_string(), "--up-to", "6s"]));
    assert_eq!(seconds(&it, "survived_seconds").map(f64::floor), Some(6.0), "{it}");
    assert_eq!(it.get("forgotten_seconds"), Some(&Value::Null), "{it}");
}

/// A measurement that goes on, and what it says on the way.
struct RunningMeasurement {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl RunningMeasurement {
    fn begin(path: &NetworkPath, args: &[&str]) -> Self {
        let server = path.server.to_string();
        let mut command = keepwatch(["measure", "--json", &server].iter().chain(args));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = path.near.run(|| command.spawn()).expect("start keepwatch");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        Self { child, stderr }
    }

    /// Reads until it says this.
    #[track_caller]
    fn says(&mut self, wanted: &str) {
        let mut said = String::new();
        while !said.lines().last().is_some_and(|line| line.contains(wanted)) {
            let n = self.stderr.read_line(&mut said).expect("what it says");
            assert!(n > 0, "it never said {wanted:?}: {said}");
        }
    }

    fn end(self) -> (Option<i32>, Value) {
        let Self { child, mut stderr } = self;
        let drained = thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let output = child.wait_with_output().expect("its end");
        drained.join().expect("no panic").expect("what it says");
        (output.status.code(), serde_json::from_slice(&output.stdout).expect("JSON"))
    }
}

#[test]
fn an_outage_in_the_middle_is_no_limit() {
    let path = NetworkPath::cable();
    let mut running = RunningMeasurement::begin(&path, &["--up-to", "8s"]);
    running.says("quiet for 7 s now");
    path.darken();
    running.says("an outage, not a limit");
    path.lighten();
    let (code, it) = running.end();
    assert_eq!((code, &it["forgotten_seconds"]), (Some(0), &Value::Null), "{it}");
    assert_eq!(seconds(&it, "survived_seconds").map(f64::floor), Some(8.0), "{it}");
    assert_eq!(it["went_away"], false);
}

#[test]
fn a_limit_is_bracketed_through_an_outage() {
    let Some(path) = NetworkPath::middlebox(6, MiddleboxAnswer::Silence) else {
        return;
    };
    let mut running = RunningMeasurement::begin(&path, &["--up-to", "20s"]);
    running.says("probe was answered");
    path.darken();
    running.says("an outage, not a limit");
    path.lighten();
    let (code, it) = running.end();
    assert_eq!(code, Some(0), "{it}");
    let (survived, killed) = (seconds(&it, "survived_seconds"), seconds(&it, "forgotten_seconds"));
    assert!(survived.is_some_and(|it| it <= 7.0) && killed.is_some_and(|it| it >= 5.5), "{it}");
}

#[test]
fn where_the_peer_does_not_come_back_the_limit_is_unclear_and_nothing_is_written() {
    let path = NetworkPath::cable();
    let folder = TemporaryFolder::new();
    let file = folder.file("config.toml").display().to_string();
    let args = ["--up-to", "1m", "--patience", "1s", "--write", &file];
    let mut running = RunningMeasurement::begin(&path, &args);
    running.says("probe was answered");
    path.darken();
    let (code, it) = running.end();
    assert_eq!(
        (code, &it["went_away"], &it["forgotten_seconds"]),
        (Some(3), &true.into(), &Value::Null)
    );
    assert!(seconds(&it, "survived_seconds").is_some_and(|it| it >= 5.0), "{it}");
    assert!(!folder.file("config.toml").exists());
}

#[test]
fn a_path_is_measured_from_another_network_namespace() {
    let path = NetworkPath::cable();
    let server = path.server.to_string();
    let netns = path.near.inode().to_string();
    let measure = || {
        let args = ["measure", "--json", &server, "--up-to", "5s", "--through", &netns];
        keepwatch(args).stdin(Stdio::null()).output().expect("start keepwatch")
    };
    assert_refused(&measure(), 2, &["no process that this one sees is in it"]);
    let _in_it = CatProgram::reading(&path, &Plan::NOTHING);
    let it = found(&measure());
    assert_eq!(seconds(&it, "survived_seconds").map(f64::floor), Some(5.0), "{it}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let path = NetworkPath::cable();
    assert_refused(&measure(&path.near, &["10.77.0.2"]), 2, &["10.77.0.2", "HOST:PORT"]);
    assert_refused(
        &measure(&path.near, &["10.77.0.2:1"]),
        3,
        &["connect to 10.77.0.2:1", "refused"],
    );
}
