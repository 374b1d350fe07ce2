//! Programs with connections, drills that go on, and what nft lists.

use keepwatch_tests::{
    answer::agent::keepwatch,
    kernel::{
        netns::NetworkNamespace,
        socket::{self, Plan},
    },
    network::path::{Ends, NetworkPath},
    tool::{self, TemporaryFolder},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    io::Read as _,
    net::SocketAddr,
    os::fd::OwnedFd,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

pub(crate) const SOON: Duration = Duration::from_mins(1);

/// cat(1) with a connection, in the namespace of its path.
pub(crate) struct CatProgram {
    pub(crate) child: Child,
    accepted: OwnedFd,
    pub(crate) local: SocketAddr,
}

impl CatProgram {
    /// It waits for what the peer says.
    pub(crate) fn reading(path: &NetworkPath, plan: &Plan) -> Self {
        Self::reading_from(path, path.connect(plan))
    }

    /// The same, of a connection that is there.
    pub(crate) fn reading_from(path: &NetworkPath, ends: Ends) -> Self {
        let Ends { client, accepted, local } = ends;
        Self::start(path, accepted, local, Stdio::from(client), Stdio::piped())
    }

    /// It writes what it is given.
    pub(crate) fn writing(path: &NetworkPath, plan: &Plan) -> Self {
        let Ends { client, accepted, local } = path.connect(plan);
        Self::start(path, accepted, local, Stdio::piped(), Stdio::from(client))
    }

    pub(crate) fn start(
        path: &NetworkPath,
        accepted: OwnedFd,
        local: SocketAddr,
        stdin: Stdio,
        stdout: Stdio,
    ) -> Self {
        let mut cat = Command::new("cat");
        cat.stdin(stdin).stdout(stdout).stderr(Stdio::null());
        let child = path.near.run(|| cat.spawn()).expect("start cat");
        Self { child, accepted, local }
    }

    pub(crate) fn port(&self) -> String {
        self.local.port().to_string()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait for cat").is_some()
    }

    /// The peer says something, and the program that reads hears it.
    #[track_caller]
    pub(crate) fn hears(&mut self) {
        socket::send(&self.accepted, b"data");
        let mut bytes = [0; 4];
        self.child.stdout.as_mut().expect("a pipe").read_exact(&mut bytes).expect("what was sent");
        assert_eq!(&bytes, b"data");
    }
}

impl Drop for CatProgram {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// `keepwatch drill --json` of connections of this path that have these ports here.
pub(crate) fn drill(path: &NetworkPath, ports: &[&str], more: &[&str]) -> Command {
    let netns = path.near.inode().to_string();
    let mut command = keepwatch(["drill", "--json", "--netns", &netns]);
    if !ports.is_empty() {
        command.args(["--local-port", &ports.join(",")]);
    }
    let from_kernel = ["--source", "kernel"];
    command.args(if more.contains(&"--source") { &[] } else { &from_kernel[..] });
    command.args(more).stdin(Stdio::null()).env("PATH", path_with_nft(None));
    command
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
pub(crate) struct RunningDrill(Option<Child>);

impl RunningDrill {
    /// Begins one, and waits until packets are dropped.
    #[track_caller]
    pub(crate) fn begin(path: &NetworkPath, mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut drill = Self(Some(command.spawn().expect("start keepwatch")));
        wait::until("the path is cut", SOON, || {
            assert!(!drill.has_ended(), "it ended: {}", drill.said());
            (!tables(&path.near).is_empty()).then_some(())
        });
        drill
    }

    pub(crate) const fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it has not been waited for")
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
        let child = self.0.take().expect("it has not been waited for");
        child.wait_with_output().expect("its end")
    }
}

impl Drop for RunningDrill {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
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
