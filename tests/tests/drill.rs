//! `keepwatch drill`: paths of live connections that are cut on purpose, in namespaces of the test. The programs are cat(1):
//! one reads from its connection, one writes to it what the test says.
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

use keepwatch_tests::{
    answer::agent::{Agent, assert_refused, keepwatch},
    kernel::{
        netns::{NetworkNamespace, require_root},
        socket::{self, Plan, SocketSettings},
    },
    network::{
        ending::exchange,
        path::{Ends, NetworkPath},
    },
    tool::{self, TemporaryFolder},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_mins(1);

/// cat(1) with a connection, in the namespace of its path.
struct CatProgram {
    child: Child,
    accepted: OwnedFd,
    local: SocketAddr,
}

impl CatProgram {
    /// It waits for what the peer says.
    fn reading(path: &NetworkPath, plan: &Plan) -> Self {
        let Ends { client, accepted, local } = path.connect(plan);
        Self::start(path, accepted, local, Stdio::from(client), Stdio::piped())
    }

    /// It writes what it is given.
    fn writing(path: &NetworkPath, plan: &Plan) -> Self {
        let Ends { client, accepted, local } = path.connect(plan);
        Self::start(path, accepted, local, Stdio::piped(), Stdio::from(client))
    }

    fn start(
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

    fn port(&self) -> String {
        self.local.port().to_string()
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait for cat").is_some()
    }

    /// The peer says something, and the program that reads hears it.
    #[track_caller]
    fn hears(&mut self) {
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
fn drill(path: &NetworkPath, ports: &[&str], more: &[&str]) -> Command {
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
fn path_with_nft(first: Option<&TemporaryFolder>) -> String {
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
struct RunningDrill(Option<Child>);

impl RunningDrill {
    /// Begins one, and waits until packets are dropped.
    #[track_caller]
    fn begin(path: &NetworkPath, mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut drill = Self(Some(command.spawn().expect("start keepwatch")));
        wait::until("the path is cut", SOON, || {
            assert!(!drill.has_ended(), "it ended: {}", drill.said());
            (!tables(&path.near).is_empty()).then_some(())
        });
        drill
    }

    const fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it has not been waited for")
    }

    fn has_ended(&mut self) -> bool {
        self.child().try_wait().expect("wait for keepwatch").is_some()
    }

    fn said(&mut self) -> String {
        let mut text = String::new();
        let stderr = self.child().stderr.as_mut().expect("a pipe");
        stderr.read_to_string(&mut text).expect("what it said");
        text
    }

    fn signal(&mut self, signal: Signal) {
        let pid = Pid::from_child(self.child());
        kill_process(pid, signal).expect("a signal to our own child");
    }

    fn end(mut self) -> Output {
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
fn nft(netns: &NetworkNamespace, words: &str) -> String {
    let mut nft = Command::new(tool::program("nft"));
    nft.args(words.split_whitespace());
    let output = netns.run(|| nft.output()).expect("nft of nftables");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {words}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn tables(netns: &NetworkNamespace) -> Vec<String> {
    nft(netns, "list tables").lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_whole(netns: &NetworkNamespace) {
    assert_eq!(tables(netns), Vec::<String>::new());
}

/// The exit code, and each row by our end.
#[track_caller]
fn rows(output: &Output) -> (i32, Vec<Value>) {
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().expect("an exit code");
    assert!(code < 2, "keepwatch ended with {code}: {said}");
    let text = std::str::from_utf8(&output.stdout).expect("UTF-8");
    (code, text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

#[track_caller]
fn row(rows: &[Value], local: SocketAddr) -> &Value {
    let is_it = |row: &&Value| row["local"] == local.to_string();
    rows.iter().find(is_it).unwrap_or_else(|| panic!("{local} is not in {rows:?}"))
}

#[track_caller]
fn seconds(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("no {key} in {row}"))
}

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

#[test]
fn however_it_is_ended_no_rule_is_left() {
    require_root();
    let path = NetworkPath::cable();
    let mut program = CatProgram::reading(&path, &Plan::NOTHING);
    for signal in [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP] {
        let command = drill(&path, &[&program.port()], &["--yes", "--for", "5m"]);
        let mut running = RunningDrill::begin(&path, command);
        running.signal(signal);
        if signal == Signal::KILL && !tables_have_owners(&path.near) {
            // There the sets empty themselves, and `--undo` removes the rest.
            drop(running);
            nft(&path.near, "flush ruleset");
            continue;
        }
        if signal == Signal::KILL {
            wait::until("the kernel removes the table", SOON, || {
                tables(&path.near).is_empty().then_some(())
            });
        } else {
            let (code, all) = rows(&running.end());
            assert_eq!((code, all.len()), (1, 1), "it has not noticed yet");
        }
        assert_whole(&path.near);
        program.hears();
    }
}

#[test]
fn a_drill_whose_rules_somebody_takes_away_says_that_it_shows_nothing() {
    require_root();
    let path = NetworkPath::cable();
    if !tables_have_owners(&path.near) {
        // There nothing owns them.
        return;
    }
    let mut program = CatProgram::reading(&path, &Plan::NOTHING);
    let command = drill(&path, &[&program.port()], &["--yes", "--for", "5m"]);
    let mut running = RunningDrill::begin(&path, command);
    let drill = running.child().id();
    let owner = wait::until("the nft that owns the table", SOON, || child_that_waits(drill));
    kill_process(owner, Signal::KILL).expect("a signal to a child of our child");
    let output = running.end();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("the drill shows nothing"), "{said}");
    assert_whole(&path.near);
    program.hears();
}

/// The child of a process that is `nft -i`.
fn child_that_waits(parent: u32) -> Option<Pid> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).ok()?.flatten();
    let all: String =
        tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect();
    let pids = all.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
    let is_it = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.ends_with(b"nft\0-i\0"))
    };
    pids.filter(is_it).find_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
}

/// Whether this kernel removes a table with the program that made it (since 5.12).
fn tables_have_owners(netns: &NetworkNamespace) -> bool {
    let mut nft = Command::new(tool::program("nft"));
    nft.args(["--check", "add table inet asked { flags owner; }"]);
    netns.run(|| nft.output()).expect("nft of nftables").status.success()
}

#[test]
fn on_an_old_kernel_what_a_kill_leaves_is_without_effect_soon_and_removed_by_the_next_drill() {
    require_root();
    let path = NetworkPath::cable();
    let mut program = CatProgram::reading(&path, &Plan::NOTHING);
    // An nft that refuses tables with an owner, as one on Linux 5.10 has to.
    let folder = TemporaryFolder::new();
    let script = format!(
        "#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\ncase \"$*\" in\n*-f*) input=$(cat); case \"$input\" in *'flags owner'*) echo 'Error: no owners' >&2; exit 1;; esac\n\
         printf '%s\\n' \"$input\" | {0} \"$@\";;\n*) exec {0} \"$@\";;\nesac\n",
        tool::program("nft").display()
    );
    fs::write(folder.file("nft"), script).expect("a script");
    fs::set_permissions(folder.file("nft"), fs::Permissions::from_mode(0o755)).expect("chmod");
    let begin = |ports: &[&str]| {
        let mut command = drill(&path, ports, &["--yes", "--for", "2s"]);
        command.env("PATH", path_with_nft(Some(&folder)));
        command
    };
    let mut running = RunningDrill::begin(&path, begin(&[&program.port()]));
    running.signal(Signal::KILL);
    drop(running);
    assert_eq!(tables(&path.near).len(), 1, "nobody has removed it");
    wait::until("the set empties itself", SOON, || {
        (!nft(&path.near, "list ruleset").contains("expires")).then_some(())
    });
    program.hears();
    let (_, all) = rows(&begin(&[&program.port()]).output().expect("start keepwatch"));
    assert_eq!(row(&all, program.local)["outcome"], "still_connected");
    assert_whole(&path.near);
}

#[test]
fn what_is_left_behind_is_undone_and_tables_of_others_stay() {
    require_root();
    let netns = NetworkNamespace::new();
    // No process has this number: pid_max is at most 2^22.
    nft(&netns, "add table inet keepwatch_drill_2147483647_0123456789abcdef");
    nft(&netns, "add table inet keepwatch_drill_of_somebody");
    let undo = || {
        let mut command = keepwatch(["drill", "--undo"]);
        command.env("PATH", path_with_nft(None)).stdin(Stdio::null());
        let output = netns.run(|| command.output()).expect("start keepwatch");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(undo(), (Some(0), "1 table removed\n".to_owned()));
    assert_eq!(tables(&netns), ["table inet keepwatch_drill_of_somebody"]);
    assert_eq!(undo(), (Some(0), "no drill has left anything behind\n".to_owned()));
}

#[test]
fn a_plan_changes_nothing_and_leaves_out_what_its_asker_holds() {
    require_root();
    let path = NetworkPath::cable();
    let programs =
        [Plan::keepalive(20, 5, 3), Plan::NOTHING].map(|plan| CatProgram::reading(&path, &plan));
    // This test has started keepwatch, as a shell does: what it holds may be the shell's own session.
    let own = path.connect(&Plan::NOTHING);
    let (code, all) = rows(&drill(&path, &[], &[]).output().expect("start keepwatch"));
    assert_eq!((code, all.len()), (0, 3), "{all:?}");
    for program in &programs {
        assert_eq!(row(&all, program.local)["outcome"], "planned");
    }
    assert_eq!(row(&all, programs[0].local)["promised_seconds"], 35);
    let of_own = row(&all, own.local);
    assert_eq!(
        (&of_own["outcome"], &of_own["reason"]),
        (&"left_out".into(), &"own_session".into())
    );
    assert_whole(&path.near);
    let port = own.local.port().to_string();
    let refused = drill(&path, &[&port], &["--yes"]).output().expect("start keepwatch");
    assert_refused(&refused, 2, &["your own session"]);
    let (_, all) = rows(&drill(&path, &[], &["--count", "1"]).output().expect("start keepwatch"));
    assert_eq!(row(&all, programs[0].local)["outcome"], "planned", "the first to notice");
    assert_eq!(row(&all, programs[1].local)["reason"], "not_counted");
}

#[test]
fn a_drill_of_everything_or_of_too_many_is_refused() {
    require_root();
    let path = NetworkPath::cable();
    let everything = keepwatch(["drill", "--verdict", "off", "--yes"]).output();
    assert_refused(&everything.expect("start keepwatch"), 2, &["name them by a filter"]);
    let _programs: Vec<_> = (0..11).map(|_| CatProgram::reading(&path, &Plan::NOTHING)).collect();
    let too_many = drill(&path, &[], &["--yes"]).output().expect("start keepwatch");
    assert_refused(&too_many, 2, &["11 connections", "10 at most"]);
    let too_long = drill(&path, &[], &["--yes", "--for", "16m"]).output().expect("start keepwatch");
    assert_refused(&too_long, 2, &["16 min"]);
    assert_whole(&path.near);
}

#[test]
fn without_nft_or_its_capability_it_is_refused_and_nothing_is_touched() {
    require_root();
    let path = NetworkPath::cable();
    let program = CatProgram::reading(&path, &Plan::NOTHING);
    let port = program.port();
    let mut command = drill(&path, &[&port], &["--yes"]);
    let without_nft = command.env("PATH", "/nonexistent").output().expect("start keepwatch");
    assert_refused(&without_nft, 3, &["run nft", "nothing was changed", "package nftables"]);
    let as_asked = drill(&path, &[&port], &["--yes"]);
    let without = |capability: &str| {
        Command::new("setpriv")
            .arg(format!("--bounding-set=-{capability}"))
            .arg(as_asked.get_program())
            .args(as_asked.get_args())
            .env("PATH", path_with_nft(None))
            .output()
            .expect("setpriv of util-linux")
    };
    assert_refused(&without("net_admin"), 3, &["CAP_NET_ADMIN", "nothing was changed"]);
    assert_refused(&without("sys_admin"), 3, &["CAP_SYS_ADMIN", "nothing was changed"]);
    assert_whole(&path.near);
}
