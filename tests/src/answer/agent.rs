//! The real binary: once, or as an agent that runs until it is dropped.

use crate::{
    answer::{http, row::SocketLine},
    kernel::{netns::require_root, sys},
    tool, wait,
};
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{CapabilitySet, CapabilitySets, set_capabilities},
};
use std::{
    env,
    ffi::OsStr,
    fmt::Debug,
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::Duration,
};

const READY_WITHIN: Duration = Duration::from_mins(1);
const ENDED_WITHIN: Duration = Duration::from_secs(30);

/// `keepwatch ARGS`, not started yet, without the host's configuration.
pub fn keepwatch<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(tool::keepwatch());
    command.args(args).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    // The mechanism that is forced on this run of the tests.
    command.envs(env::var_os("KEEPWATCH_HOOKS").map(|forced| ("KEEPWATCH_HOOKS", forced)));
    command
}

/// Runs `keepwatch ARGS` to its end.
pub fn once<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    keepwatch(args).stdin(Stdio::null()).output().expect("start keepwatch")
}

/// `keepwatch sockets --json --source kernel ARGS`.
#[track_caller]
pub fn sockets_from_kernel(args: &[&str]) -> Vec<SocketLine> {
    require_root();
    rows(&once(["sockets", "--json", "--source", "kernel"].iter().chain(args)))
}

/// `keepwatch sockets --json --source proc ARGS`.
#[track_caller]
pub fn sockets_from_proc(args: &[&str]) -> Vec<SocketLine> {
    rows(&once(["sockets", "--json", "--source", "proc"].iter().chain(args)))
}

#[track_caller]
fn rows(output: &Output) -> Vec<SocketLine> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "keepwatch ended with {}: {said}", output.status);
    let text = std::str::from_utf8(&output.stdout).expect("JSON is UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect()
}

/// A running `keepwatch run` with a metrics address and an API socket of its own.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    folder: tool::TemporaryFolder,
    address: SocketAddr,
}

impl Agent {
    /// Starts it and waits until it says that it is ready.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        Self::start_in(tool::TemporaryFolder::new(), args)
    }

    /// The same with the API socket in a folder where there may be one already.
    #[track_caller]
    pub fn start_in(folder: tool::TemporaryFolder, args: &[&str]) -> Self {
        let mut agent = Self::spawn_in(folder, args);
        agent.wait();
        agent
    }

    /// The same, and does not wait.
    #[track_caller]
    pub fn spawn_in(folder: tool::TemporaryFolder, args: &[&str]) -> Self {
        Self::spawn_changed(folder, args, |_| {})
    }

    /// The same, of a command that was changed: other variables, another stderr.
    #[track_caller]
    pub fn spawn_changed(
        folder: tool::TemporaryFolder,
        args: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        require_root();
        let address = http::free_address();
        let log = fs::File::create(log_in(&folder)).expect("a file for its log");
        let mut command = keepwatch(["run", "--listen", &address.to_string(), "--socket"]);
        command.arg(socket_in(&folder)).arg("--state-dir").arg(state_in(&folder)).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        change(&mut command);
        let child = command.spawn().expect("start keepwatch");
        Self { child, folder, address }
    }

    /// Waits until it is ready.
    #[track_caller]
    pub fn wait(&mut self) {
        wait::until("/-/ready answers 200", READY_WITHIN, || self.is_ready().then_some(()));
    }

    fn is_ready(&mut self) -> bool {
        if let Some(status) = self.child.try_wait().expect("wait for the agent") {
            panic!("the agent ended with {status}: {}", self.said());
        }
        http::get(self.address, "/-/ready", "*/*").is_ok_and(|answer| answer.status == 200)
    }

    /// The process id of the agent.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it serves metrics.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Path of its API socket.
    pub fn socket(&self) -> PathBuf {
        socket_in(&self.folder)
    }

    /// Path of its state directory.
    pub fn state(&self) -> PathBuf {
        state_in(&self.folder)
    }

    /// The lines that `GET TARGET` on its API socket is answered with.
    #[track_caller]
    pub fn ask(&self, target: &str) -> Vec<serde_json::Value> {
        let answer = http::get_of_socket(&self.socket(), target).expect("ask the agent");
        let text = answer.body;
        assert_eq!(answer.status, 200, "{target}: {text}");
        let parsed = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
        };
        text.lines().filter(|line| !line.is_empty()).map(parsed).collect()
    }

    /// The same, and what it leaves behind is in the folder.
    #[track_caller]
    pub fn stop_and_leave(mut self) -> (tool::TemporaryFolder, String) {
        self.signal(Signal::TERM);
        wait::until("the agent ends after SIGTERM", ENDED_WITHIN, || {
            self.child.try_wait().expect("wait for the agent")
        });
        let said = self.said();
        (std::mem::take(&mut self.folder), said)
    }

    /// `keepwatch sockets --json --source agent ARGS`.
    #[track_caller]
    pub fn sockets(&self, args: &[&str]) -> Vec<SocketLine> {
        let mut command = keepwatch(["sockets", "--json", "--source", "agent", "--socket"]);
        command.arg(self.socket()).args(args).stdin(Stdio::null());
        rows(&command.output().expect("start keepwatch"))
    }

    /// Sends SIGTERM and waits: how it ended, and all that it said on stderr.
    #[track_caller]
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.signal(Signal::TERM);
        let status = wait::until("the agent ends after SIGTERM", ENDED_WITHIN, || {
            self.child.try_wait().expect("wait for the agent")
        });
        (status, self.said())
    }

    /// `kill -9`. What it leaves behind is in the folder.
    pub fn kill(mut self) -> tool::TemporaryFolder {
        self.signal(Signal::KILL);
        self.child.wait().expect("wait for the agent");
        std::mem::take(&mut self.folder)
    }

    /// SIGSTOP: returns when no thread of it runs.
    #[track_caller]
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        wait::until("the agent is stopped", ENDED_WITHIN, || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("its threads");
            let state = |task: fs::DirEntry| fs::read_to_string(task.path().join("stat"));
            let mut states = tasks.flatten().flat_map(state);
            states
                .all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
                .then_some(())
        });
    }

    /// Continues the agent after [`Self::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGHUP: it reads its configuration again.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().cast_signed();
        let pid = Pid::from_raw(pid).expect("a process id");
        kill_process(pid, signal).expect("signal our own child");
    }

    /// Its log so far.
    pub fn said(&self) -> String {
        let bytes = fs::read(log_in(&self.folder)).expect("its log");
        String::from_utf8(bytes).expect("a log is UTF-8")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            self.thaw();
            let ended = wait::within(ENDED_WITHIN, || self.child.try_wait().ok().flatten());
            if ended.is_none() {
                drop(self.child.kill());
                drop(self.child.wait());
            }
        }
    }
}

fn socket_in(folder: &tool::TemporaryFolder) -> PathBuf {
    folder.file("keepwatch.sock")
}

fn log_in(folder: &tool::TemporaryFolder) -> PathBuf {
    folder.file("agent.log")
}

fn state_in(folder: &tool::TemporaryFolder) -> PathBuf {
    folder.file("state")
}

/// Asserts that a command failed as it should: this exit code, and on stderr one line of error that
/// names each of `words`: what is wrong, and the way out.
#[track_caller]
pub fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(output.stdout, b"", "stdout is data, and there is none");
    assert_eq!(said.lines().count(), 1, "one error: {said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

/// Whether this kernel refuses all of bpf(2) to a thread without capabilities (before 5.17 or so,
/// where `kernel.unprivileged_bpf_disabled` is set), asked without keepwatch.
pub fn bpf_needs_capabilities() -> bool {
    let ask = || {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        set_capabilities(None, sets).expect("capset of this thread");
        sys::bpf_without_map()
    };
    let answer = thread::scope(|scope| scope.spawn(ask).join()).expect("an answer");
    answer.kind() == io::ErrorKind::PermissionDenied
}
