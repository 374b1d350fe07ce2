//! `keepwatch check`: what it finds, of whom, and how it ends. With real processes, and connections to a
//! listener of the test on loopback, judged as if a path were in between.
#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use keepwatch_tests::{
    answer::agent::{Agent, keepwatch},
    kernel::netns::require_root,
    tool::TemporaryFolder,
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs,
    io::Read as _,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

const SOON: Duration = Duration::from_mins(1);

/// Something to connect to. It accepts, reads until the client closes, and closes.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || drop((&stream).read_to_end(&mut Vec::new())));
        }
    });
    address
}

/// A Python program that connects `n` times, and does `body` with each socket `s` before it closes.
fn client(server: SocketAddr, n: u32, body: &str) -> String {
    format!(
        "import socket\nfrom socket import *\nfor i in range({n}):\n s=socket()\n \
         s.connect(('{}',{}))\n {body}\n s.close()\n",
        server.ip(),
        server.port()
    )
}

const ON: &str =
    "s.setsockopt(SOL_SOCKET,SO_KEEPALIVE,1); s.setsockopt(IPPROTO_TCP,TCP_KEEPIDLE,60)";
const OFF: &str = "pass";

fn check(options: &[&str], command: &[&str]) -> Command {
    require_root();
    let mut check = keepwatch(["check", "--include-local"].iter().chain(options));
    check.arg("--").args(command).stdin(Stdio::null());
    check
}

#[track_caller]
fn run(options: &[&str], command: &[&str]) -> Output {
    check(options, command).output().expect("start keepwatch")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The objects of `--json=FILE`: those about connections, and the sum.
#[track_caller]
fn judged(options: &[&str], command: &[&str]) -> (Vec<Value>, Value, Output) {
    let folder = TemporaryFolder::new();
    let file = folder.file("check.json");
    let to_file = format!("--json={}", file.display());
    let output = run(&[&[to_file.as_str()], options].concat(), command);
    let text =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    let mut lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let sum = lines.pop().expect("the sum comes last");
    assert_eq!(sum["result"], "summary", "{text}");
    assert_eq!(sum["events_lost"], 0, "{text}");
    (lines, sum, output)
}

#[test]
fn a_command_whose_connections_are_protected_is_fine_and_one_whose_are_not_is_a_finding() {
    let server = server();
    let fine = run(&[], &["python3", "-c", &client(server, 1, ON)]);
    assert_eq!(fine.status.code(), Some(0), "{}", stderr(&fine));
    assert!(stderr(&fine).contains("the one outbound connection obeys the policy"));
    let bad = run(&[], &["python3", "-c", &client(server, 1, OFF)]);
    assert_eq!(bad.status.code(), Some(1), "{}", stderr(&bad));
    let text = stderr(&bad);
    assert!(text.contains("the one outbound connection violates the policy"), "{text}");
    let line = text.lines().find(|line| line.starts_with("unprotected")).expect("a finding");
    assert!(line.contains(&server.to_string()) && line.contains("keepalive is off"), "{line}");
}

#[test]
fn two_hundred_short_connections_of_a_shells_children_are_all_judged_and_alike_ones_are_one_line() {
    let server = server();
    let (off, on) = (client(server, 120, OFF), client(server, 80, ON));
    let script = "python3 -c \"$0\" & python3 -c \"$1\" & wait";
    let (lines, sum, output) = judged(&["--show-all"], &["sh", "-c", script, &off, &on]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!((&sum["judged"], &sum["violating"]), (&200.into(), &120.into()), "{sum}");
    assert_eq!(lines.len(), 2, "{lines:?}");
    let told = |line: &Value| (line["result"].clone(), line["connections"].clone());
    assert_eq!(told(&lines[0]), ("finding".into(), 120.into()));
    assert_eq!(told(&lines[1]), ("fine".into(), 80.into()));
    assert_eq!(lines[1]["idle"]["seconds"], 60);
    assert_eq!(lines[0]["process"], "python3");
}

#[test]
fn what_is_set_after_connecting_counts_and_so_does_what_is_still_open_at_the_end() {
    let server = server();
    let late = "s.setsockopt(SOL_SOCKET,SO_KEEPALIVE,1); keep=s.dup()";
    let (lines, ..) = judged(&["--idle-limit", "3h"], &["python3", "-c", &client(server, 1, late)]);
    assert!(lines.is_empty(), "7200 s are before 3 h: {lines:?}");
    let (lines, ..) = judged(&[], &["python3", "-c", &client(server, 1, late)]);
    assert_eq!(lines[0]["verdict"], "late");
}

#[test]
fn children_that_lose_their_parent_are_followed() {
    let server = server();
    let folder = TemporaryFolder::new();
    let done = folder.file("done");
    // The grandchild connects after its parent is gone; the command waits for its file.
    let code = format!("{}open('{}','w')\n", client(server, 3, OFF), done.display());
    let script = "(sh -c 'exec python3 -c \"$1\"' sh \"$0\" &); until [ -e \"$1\" ]; do :; done";
    let (_, sum, output) = judged(&[], &["sh", "-c", script, &code, done.to_str().expect("UTF-8")]);
    assert_eq!(sum["violating"], 3, "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn children_in_namespaces_of_their_own_sessions_and_other_cgroups_are_followed() {
    let server = server();
    let code = client(server, 1, OFF);
    // Where both versions of cgroups are mounted, v2 is in `unified`.
    let root = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let root = root.into_iter().find(|root| root.join("cgroup.procs").exists());
    let leave = root.map(|root| format!("echo $$ > {}/cgroup.procs;", root.display()));
    let leave = leave.unwrap_or_default() + "exec python3 -c \"$0\"";
    let ways: [&[&str]; 3] = [
        &["unshare", "--pid", "--fork", "--mount-proc", "python3", "-c"],
        &["setsid", "--wait", "python3", "-c"],
        &["sh", "-c", &leave],
    ];
    for way in ways {
        let (_, sum, output) = judged(&[], &[way, &[code.as_str()]].concat());
        assert_eq!(sum["violating"], 1, "{way:?}: {}", stderr(&output));
    }
}

#[test]
fn in_a_pid_namespace_of_its_own_check_knows_the_commands_processes_from_others() {
    let server = server();
    let mut other = python_that_connects_for_ever(server);
    let inside = check(&["--json"], &["python3", "-c", &client(server, 2, ON)]);
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc"]).arg(inside.get_program());
    let output = unshare.args(inside.get_args()).output().expect("start unshare");
    other.kill().expect("end our own child");
    other.wait().expect("it ended");
    let said = stderr(&output);
    let sum: Value = serde_json::from_str(said.lines().last().expect("a sum")).expect("JSON");
    assert_eq!((&sum["judged"], output.status.code()), (&2.into(), Some(0)), "{said}");
}

#[test]
fn connections_of_others_at_the_same_time_are_not_the_commands() {
    let server = server();
    let mut other = python_that_connects_for_ever(server);
    let (_, sum, output) = judged(&[], &["python3", "-c", &client(server, 2, ON)]);
    other.kill().expect("end our own child");
    other.wait().expect("it ended");
    assert_eq!((&sum["judged"], output.status.code()), (&2.into(), Some(0)));
}

#[test]
fn adopted_processes_do_not_stay_as_zombies() {
    let script = "import os,time\n\
        check=os.getppid()\n\
        def children(): return open(f'/proc/{check}/task/{check}/children').read().split()\n\
        for i in range(50):\n  \
          if os.fork()==0:\n    os.fork()\n    os._exit(0)\n\
        for i in range(50): os.wait()\n\
        while len(children())>1: time.sleep(0.01)\n";
    let output = run(&[], &["python3", "-c", script]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn input_output_and_exit_code_are_the_commands_own() {
    let server = server();
    let script = format!("{}import sys\nprint(input()+'!')\nsys.exit(7)\n", client(server, 1, OFF));
    let mut check = check(&[], &["python3", "-c", &script]);
    let mut child = check
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start keepwatch");
    let mut stdin = child.stdin.take().expect("its stdin");
    std::io::Write::write_all(&mut stdin, b"hello\n").expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.stdout, b"hello!\n");
    assert_eq!(output.status.code(), Some(7), "its own failure counts: {}", stderr(&output));
    assert!(stderr(&output).contains("violates the policy"), "and the finding is printed");

    let killed = run(&[], &["sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.status.code(), Some(128 + 9));
    assert_eq!(run(&[], &["/no/such/command"]).status.code(), Some(127));
    assert_eq!(run(&[], &["/etc/passwd"]).status.code(), Some(126));
}

#[test]
fn a_signal_goes_to_the_command_and_the_findings_are_told_all_the_same() {
    let server = server();
    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15)] {
        let folder = TemporaryFolder::new();
        let ready = folder.file("ready");
        // setsid: without a terminal, whose keys would reach the command by themselves.
        let body = format!("open('{}','w'); import signal; signal.pause()", ready.display());
        let script = format!(
            "import signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n{}",
            client(server, 1, &body)
        );
        let mut check = check(&[], &["python3", "-c", &script]);
        let mut setsid = Command::new("setsid");
        setsid.arg("-w").arg(check.get_program()).args(check.get_args()).env_clear();
        setsid.envs(check.get_envs().filter_map(|(name, value)| Some((name, value?))));
        check = setsid;
        let child =
            check.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("start setsid");
        wait::until("the command is connected", SOON, || ready.exists().then_some(()));
        signal_keepwatch(&child, signal);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(128 + number), "{}", stderr(&output));
        assert!(stderr(&output).contains("violates the policy"), "{}", stderr(&output));
    }
}

/// setsid may run keepwatch as itself or as its child.
fn signal_keepwatch(child: &Child, signal: Signal) {
    let pid = child.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("/proc");
    let is_keepwatch = |pid: u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "keepwatch\n")
    };
    let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([pid]);
    let keepwatch = pids.into_iter().find(|&pid| is_keepwatch(pid)).expect("keepwatch runs");
    let keepwatch = Pid::from_raw(keepwatch.cast_signed()).expect("a process id");
    kill_process(keepwatch, signal).expect("signal our own child");
}

#[test]
fn a_refused_setting_is_found_whether_before_or_after_connecting_and_on_a_listener() {
    let server = server();
    let refused = "IPPROTO_TCP,TCP_KEEPIDLE,0";
    let script = format!(
        "from socket import *\ndef refused(s):\n try: s.setsockopt({refused})\n except OSError: pass\n\
         s=socket(); s.setsockopt(SOL_SOCKET,SO_KEEPALIVE,1); s.setsockopt(IPPROTO_TCP,TCP_KEEPIDLE,60)\n\
         refused(s); s.connect(('{}',{})); refused(s)\nl=socket(); l.listen(); refused(l)\n",
        server.ip(),
        server.port()
    );
    let (lines, sum, output) = judged(&[], &["python3", "-c", &script]);
    assert!(lines.is_empty() && output.status.success(), "nobody asked: {lines:?}");
    assert_eq!(sum["judged"], 1);
    let (lines, sum, output) = judged(&["--no-failed-calls"], &["python3", "-c", &script]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((&sum["failed_calls"], &sum["violating"]), (&2.into(), &1.into()), "{sum}");
    for line in &lines {
        assert_eq!(line["finding"], "failed_call");
        assert_eq!(line["meaning"], "TCP_KEEPIDLE = 0 s was refused with EINVAL");
    }
    let peers: Vec<_> = lines.iter().map(|line| line["remote"].clone()).collect();
    assert!(
        peers.contains(&server.to_string().into()) && peers.contains(&Value::Null),
        "{peers:?}"
    );
}

#[test]
fn a_policy_file_judges_by_rules_and_allows_what_it_allows() {
    let (strict, other) = (server(), server());
    let folder = TemporaryFolder::new();
    let file = folder.file("policy.toml");
    let text = format!(
        "include_local = true\n[[rule]]\nname = \"strict\"\nport = {}\ndetect_within = \"90s\"\n\
         [[allow]]\nport = {}\nreason = \"a test\"\n",
        strict.port(),
        other.port()
    );
    fs::write(&file, text).expect("write the policy");
    let policy = ["--policy", file.to_str().expect("UTF-8"), "--show-all"];
    let script = client(strict, 1, ON) + &client(other, 4, OFF);
    let (lines, sum, output) = judged(&policy, &["python3", "-c", &script]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!((&sum["judged"], &sum["allowed"]), (&1.into(), &4.into()), "{sum}");
    assert_eq!(
        (&lines[0]["finding"], &lines[0]["rule"]),
        (&"slow_detection".into(), &"strict".into())
    );
    assert_eq!(lines[1]["meaning"], "a test");
}

#[test]
fn a_bad_policy_is_a_usage_error_that_names_the_place_and_the_command_is_not_run() {
    let folder = TemporaryFolder::new();
    let (file, trace) = (folder.file("policy.toml"), folder.file("ran"));
    fs::write(&file, "# none\n[[rule]]\npeers = \"10.0.0.0/8\"\n").expect("write the policy");
    let policy = ["--policy", file.to_str().expect("UTF-8")];
    let output = run(&policy, &["touch", trace.to_str().expect("UTF-8")]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    let expected = "policy.toml:3: unknown key `rule.peers`; did you mean `peer`? expected one of:";
    assert!(text.contains(expected), "{text}");
    let unwritable =
        run(&["--junit", "/no/such/folder/x.xml"], &["touch", trace.to_str().expect("UTF-8")]);
    assert_eq!(unwritable.status.code(), Some(2), "{}", stderr(&unwritable));
    let nobody = run(&["--user", "no such user"], &["touch", trace.to_str().expect("UTF-8")]);
    assert_eq!(nobody.status.code(), Some(2), "{}", stderr(&nobody));
    assert!(!trace.exists(), "the command was not run");
}

#[test]
fn under_sudo_the_command_runs_as_the_user_who_typed_it_and_files_are_theirs() {
    let folder = TemporaryFolder::new();
    let file = folder.file("junit.xml");
    let script = "id -u; id -G; echo $HOME; ulimit -l";
    let limit = Command::new("sh").args(["-c", "ulimit -l"]).output().expect("sh").stdout;
    let limit = String::from_utf8(limit).expect("a number");
    let mut check = check(&["--junit", file.to_str().expect("UTF-8")], &["sh", "-c", script]);
    check.env("SUDO_UID", "1").env("SUDO_GID", "1").env("SUDO_USER", "daemon");
    let output = check.output().expect("start keepwatch");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("1\n1\n/usr/sbin\n{limit}"), "{}", stderr(&output));
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&file).expect("written"));
    assert_eq!(owner, 1);
    let root = run(&["--user", "root"], &["id", "-u"]);
    assert_eq!(root.stdout, b"0\n");
}

#[test]
fn json_may_go_to_stdout_after_the_commands_output_or_into_a_file_that_is_named_beside_it() {
    let script = format!("print('of the command', flush=True)\n{}", client(server(), 2, OFF));
    let output = run(&["--json", "-"], &["python3", "-c", &script]);
    let said = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert_eq!(lines[0], "of the command");
    let sum: Value = serde_json::from_str(lines[2]).expect("the sum");
    assert_eq!((&sum["result"], &sum["violating"]), (&"summary".into(), &2.into()), "{sum}");
    assert_eq!(stderr(&output), "");
    let folder = TemporaryFolder::new();
    let file = folder.file("check.json");
    let output = run(&["--json", file.to_str().expect("UTF-8")], &["true"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(fs::read_to_string(&file).expect("written").contains("summary"));
}

#[test]
fn a_filter_leaves_connections_out_that_are_neither_judged_nor_counted() {
    let (wanted, other) = (server(), server());
    let script = format!("{}{}", client(wanted, 1, ON), client(other, 1, OFF));
    let port = wanted.port().to_string();
    let (lines, sum, output) =
        judged(&["--show-all", "--remote-port", &port], &["python3", "-c", &script]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!((lines.len(), &sum["judged"]), (1, &1.into()), "{lines:?} {sum}");
    let port = other.port().to_string();
    let (_, sum, output) = judged(&["--remote-port", &port], &["python3", "-c", &script]);
    assert_eq!((output.status.code(), &sum["violating"]), (Some(1), &1.into()), "{sum}");
    // A filter that none of them has is no praise, unless that is asked for.
    for (more, code) in [(None, 1), (Some("--allow-none"), 0)] {
        let options: Vec<&str> = ["--remote-port", "1"].into_iter().chain(more).collect();
        let (_, sum, output) = judged(&options, &["python3", "-c", &script]);
        assert_eq!(output.status.code(), Some(code), "{sum}");
        let instead = sum["nothing_has"].as_str();
        assert_eq!(instead.is_some_and(|it| it.contains("made 2")), code == 1, "{sum}");
    }
}

#[test]
fn junit_is_well_formed_whatever_a_process_calls_itself() {
    let server = server();
    let folder = TemporaryFolder::new();
    let file = folder.file("junit.xml");
    let hostile = "open('/proc/self/comm','w').write('<a&\\\"\\x01\\n]]>')\n";
    let script = format!("{hostile}{}", client(server, 3, OFF));
    let output = run(&["--junit", file.to_str().expect("UTF-8")], &["python3", "-c", &script]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(!stderr(&output).contains('\x01'));
    let parse = "import sys,xml.etree.ElementTree as e\nt=e.parse(sys.argv[1]).getroot()[0]\n\
                 print(t.get('tests'),t.get('failures'),t[0].get('name'),t[0][0].get('type'))";
    let parsed = Command::new("python3").arg("-c").arg(parse).arg(&file).output().expect("python3");
    let said = String::from_utf8_lossy(&parsed.stdout).into_owned();
    let expected = format!("1 1 <a&\"\\u{{1}}\\n]]> -> {server}, keepalive off unprotected\n");
    assert_eq!(said, expected, "{}", String::from_utf8_lossy(&parsed.stderr));
}

#[test]
fn the_host_is_judged_from_the_kernel_and_from_an_agent_alike() {
    let server = server();
    let mut client = python_that_stays(server);
    let agent = Agent::start(&[]);
    let port = format!("--allow=port={}", server.port());
    for (source, more) in [("kernel", &[][..]), ("agent", &["--no-failed-calls"])] {
        let judge = |options: &[&str]| {
            let mut check = keepwatch(["check", "--source", source, "--include-local", "--json"]);
            check.arg("--socket").arg(agent.socket()).args(options).args(more);
            check.output().expect("start keepwatch")
        };
        let output = judge(&["--peer", "127.0.0.0/8", "--idle-limit", "77s"]);
        assert_eq!(output.status.code(), Some(1), "{source}: {}", stderr(&output));
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let remote = format!("\"remote\":\"{server}\"");
        let about = lines.lines().filter(|line| line.contains(&remote)).collect::<Vec<_>>();
        assert_eq!(about.len(), 1, "{source}: {lines}");
        assert!(about[0].contains("\"finding\":\"unprotected\""), "{}", about[0]);
        // The command's own limit, beside an agent that has another.
        for limit in ["\"idle_limit_seconds\":77", "\"idle_limit_from\":\"configured by flag\""] {
            assert!(about[0].contains(limit), "{source}: {}", about[0]);
        }
        let lines = String::from_utf8_lossy(&judge(&[&port]).stdout).into_owned();
        assert!(!lines.contains(&remote), "{source}: allowed: {lines}");
        // A name that nobody has: nothing was judged, which is no praise.
        let output = judge(&["--process", "pyhton3"]);
        assert_eq!(output.status.code(), Some(1), "{source}: {}", stderr(&output));
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let sum: Value = serde_json::from_str(lines.trim()).expect("the summary alone");
        let instead = sum["nothing_has"].as_str().unwrap_or_default();
        assert!(instead.contains("--process python3"), "{source}: {lines}");
        // The server's end of it: what has the filter came in.
        let output = judge(&["--local-port", &server.port().to_string()]);
        assert_eq!(output.status.code(), Some(1), "{source}: {}", stderr(&output));
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(lines.contains("1 inbound one does: --direction inbound"), "{source}: {lines}");
        let output = judge(&["--process", "pyhton3", "--allow-none"]);
        assert_eq!(output.status.code(), Some(0), "{source}: {}", stderr(&output));
    }
    client.kill().expect("end our own child");
    client.wait().expect("it ended");
}

#[test]
fn what_is_not_known_of_a_commands_own_connections_is_no_filter_for_them() {
    for (option, value) in [("--uid", "0"), ("--unit", "ssh"), ("--direction", "inbound")] {
        let marker = std::env::temp_dir().join(format!("keepwatch-ran-{}", std::process::id()));
        let output = keepwatch(["check", option, value, "--", "touch"]).arg(&marker).output();
        let output = output.expect("start keepwatch");
        assert_eq!(output.status.code(), Some(2), "{option}: {}", stderr(&output));
        assert!(stderr(&output).contains("of a command"), "{option}: {}", stderr(&output));
        assert!(!marker.exists(), "{option}: the command was not started");
    }
}

#[test]
fn an_agent_remembers_settings_that_were_refused_before_anybody_asked() {
    let server = server();
    let agent = Agent::start(&[]);
    let body = "\n try: s.setsockopt(IPPROTO_TCP,TCP_KEEPCNT,0)\n except OSError: pass";
    let ran = Command::new("python3").arg("-c").arg(client(server, 1, body)).status();
    assert!(ran.expect("start python3").success());
    let found = wait::within(SOON, || {
        let mut check = keepwatch(["check", "--source", "agent", "--no-failed-calls", "--json"]);
        let output = check.arg("--socket").arg(agent.socket()).output().expect("start keepwatch");
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let remote = format!("\"remote\":\"{server}\"");
        let line = lines.lines().find(|line| line.contains(&remote))?;
        Some((output.status.code(), line.to_owned()))
    });
    let (code, line) = found.expect("the agent has heard of it");
    assert_eq!(code, Some(1));
    assert!(line.contains("TCP_KEEPCNT = 0 probes was refused with EINVAL"), "{line}");
}

/// A client that opens and closes connections until it is killed.
fn python_that_connects_for_ever(server: SocketAddr) -> Child {
    let script = client(server, 1_000_000, OFF);
    Command::new("python3").args(["-c", &script]).spawn().expect("start python3")
}

/// A client that is connected until it is killed.
fn python_that_stays(server: SocketAddr) -> Child {
    let folder = TemporaryFolder::new();
    let ready = folder.file("ready");
    let body = format!("open('{}','w'); import signal; signal.pause()", ready.display());
    let script = client(server, 1, &body);
    let child = Command::new("python3").args(["-c", &script]).spawn().expect("start python3");
    wait::until("the client is connected", SOON, || Path::new(&ready).exists().then_some(()));
    child
}
