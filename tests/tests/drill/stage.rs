//! Drills that go on, and what nft lists.

use keepwatch_tests::{
    answer::agent::keepwatch,
    kernel::netns::NetworkNamespace,
    network::path::NetworkPath,
    tool::{self, TemporaryFolder},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    io::Read as _,
    net::SocketAddr,
    ops::{Deref, DerefMut},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

pub(crate) const SOON: Duration = Duration::from_mins(1);

/// `keepwatch drill`, and where it is noted down unless the test says.
pub(crate) struct DrillCommand {
    command: Command,
    state: TemporaryFolder,
}

impl Deref for DrillCommand {
    type Target = Command;

    fn deref(&self) -> &Command {
        &self.command
    }
}

impl DerefMut for DrillCommand {
    fn deref_mut(&mut self) -> &mut Command {
        &mut self.command
    }
}

/// `keepwatch drill --json` of connections of this path that have these ports here.
pub(crate) fn drill(path: &NetworkPath, ports: &[&str], more: &[&str]) -> DrillCommand {
    let state = TemporaryFolder::new();
    let netns = path.near.inode().to_string();
    let mut command = keepwatch(["drill", "--json", "--netns", &netns]);
    if !ports.is_empty() {
        command.args(["--local-port", &ports.join(",")]);
    }
    let from_kernel = ["--source", "kernel"];
    command.args(if more.contains(&"--source") { &[] } else { &from_kernel[..] });
    if !more.contains(&"--state-dir") {
        command.arg("--state-dir").arg(state.file("state"));
    }
    command.args(more).stdin(Stdio::null()).env("PATH", path_with_nft(None));
    DrillCommand { command, state }
}

/// PATH with the folder of nft, and before it that of another one.
pub(crate) fn path_with_nft(first: Option<&TemporaryFolder>) -> String {
    let nft = tool::program("nft");
    let folders = [
        first.map(|folder| folder.file("").display().to_string()),
        nft.parent().map(|folder| folder.display().to_string()),
        Some("/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
    ];
    let folders: Vec<String> =
        folders.into_iter().flatten().filter(|folder| !folder.is_empty()).collect();
    folders.join(":")
}

/// A drill that goes on, ended when dropped.
pub(crate) struct RunningDrill {
    child: Option<Child>,
    _state: TemporaryFolder,
}

impl RunningDrill {
    /// Begins one, and waits until packets are dropped.
    #[track_caller]
    pub(crate) fn begin(path: &NetworkPath, drill: DrillCommand) -> Self {
        let DrillCommand { mut command, state } = drill;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = Some(command.spawn().expect("start keepwatch"));
        let mut drill = Self { child, _state: state };
        wait::until("the path is cut", SOON, || {
            assert!(!drill.has_ended(), "it ended: {}", drill.said());
            (!tables(&path.near).is_empty()).then_some(())
        });
        drill
    }

    pub(crate) const fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it has not been waited for")
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child().try_wait().expect("wait for keepwatch").is_some()
    }

    pub(crate) fn said(&mut self) -> String {
        let mut text = String::new();
        let stderr = self.child().stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut text).expect("what it said");
        text
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        let pid = Pid::from_child(self.child());
        kill_process(pid, signal).expect("a signal to our own child");
    }

    pub(crate) fn end(mut self) -> Output {
        let child = self.child.take().expect("it has not been waited for");
        child.wait_with_output().expect("its end")
    }
}

impl Drop for RunningDrill {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// `nft WORDS` in a namespace.
#[track_caller]
pub(crate) fn nft(netns: &NetworkNamespace, words: &str) -> String {
    let mut nft = Command::new(tool::program("nft"));
    nft.args(words.split_whitespace());
    let output = netns.run(|| nft.output()).expect("nft of nftables");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {words}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn tables(netns: &NetworkNamespace) -> Vec<String> {
    nft(netns, "list tables").lines().map(str::to_owned).collect()
}

#[track_caller]
pub(crate) fn assert_whole(netns: &NetworkNamespace) {
    assert_eq!(tables(netns), Vec::<String>::new());
}

/// The exit code, and each row by our end.
#[track_caller]
pub(crate) fn rows(output: &Output) -> (i32, Vec<Value>) {
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().expect("an exit code");
    assert!(code < 2, "keepwatch ended with {code}: {said}");
    let text = std::str::from_utf8(&output.stdout).expect("UTF-8");
    (code, text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

#[track_caller]
pub(crate) fn row(rows: &[Value], local: SocketAddr) -> &Value {
    let is_it = |row: &&Value| row["local"] == local.to_string();
    rows.iter().find(is_it).unwrap_or_else(|| panic!("{local} is not in {rows:?}"))
}

#[track_caller]
pub(crate) fn seconds(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("no {key} in {row}"))
}

/// Whether this kernel removes a table with the program that made it (since 5.12).
pub(crate) fn tables_have_owners(netns: &NetworkNamespace) -> bool {
    let mut nft = Command::new(tool::program("nft"));
    nft.args(["--check", "add table inet asked { flags owner; }"]);
    netns.run(|| nft.output()).expect("nft of nftables").status.success()
}
