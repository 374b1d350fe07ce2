//! How the agent starts, and how it refuses: one clear error with a way out.
#![expect(clippy::expect_used, reason = "a test")]

use keepwatch_tests::{
    answer::{
        agent::{Agent, assert_refused, keepwatch, once},
        http,
    },
    kernel::{
        container::{with_own_mounts, with_own_pids},
        netns::require_root,
    },
    tool::{self, TemporaryFolder},
    wait::{now, until},
};
use std::{
    fs,
    net::TcpListener,
    os::unix::{net::UnixDatagram, process::CommandExt as _},
    process::{Command, Output},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn it_starts_in_less_than_a_second() {
    // Now and then: other work keeps the machine busy.
    until("a start that takes less than a second", SOON, || {
        let began = now();
        let agent = Agent::start(&[]);
        let took = began.elapsed();
        drop(agent);
        (took < Duration::from_secs(1)).then_some(())
    });
}

#[test]
fn a_port_that_is_taken_is_said_with_a_way_out() {
    require_root();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let folder = TemporaryFolder::new();
    let output = run_in(&folder, &["--listen", &address]);
    assert_refused(&output, 3, &[&address, "in use", "--listen"]);
}

#[test]
fn a_second_instance_is_told_of_the_first() {
    let agent = Agent::start(&[]);
    let socket = agent.socket().display().to_string();
    let output = once(["run", "--listen", "127.0.0.1:0", "--socket", &socket]);
    assert_refused(&output, 3, &["another keepwatch agent", "--socket"]);
    assert_eq!(agent.stop().0.code(), Some(0), "the first does not mind");
}

#[test]
fn a_service_manager_hears_of_its_start_its_life_and_its_end() {
    let folder = TemporaryFolder::new();
    let notify = folder.file("notify");
    let manager = UnixDatagram::bind(&notify).expect("a socket");
    manager.set_read_timeout(Some(SOON)).expect("a timeout");
    let heard = || {
        let mut bytes = [0; 64];
        let n = manager.recv(&mut bytes).expect("a word of the agent");
        String::from_utf8_lossy(bytes.get(..n).expect("its bytes")).into_owned()
    };
    let agent = Agent::spawn_changed(TemporaryFolder::new(), &[], |command| {
        command.env("NOTIFY_SOCKET", &notify).env("WATCHDOG_USEC", "10000000");
    });
    assert_eq!(heard(), "READY=1");
    let ready = http::get(agent.address(), "/-/ready", "*/*").expect("an answer");
    assert_eq!(ready.status, 200, "and not before it is: {}", ready.body);
    for _ in 0..3 {
        assert_eq!(heard(), "WATCHDOG=1");
    }
    let (ended, said) = agent.stop();
    assert!(ended.success(), "{said}");
    let last = std::iter::repeat_with(heard).find(|word| word != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}

#[test]
fn a_service_manager_that_cannot_be_reached_is_said_and_one_that_asks_for_no_signs_gets_none() {
    let folder = TemporaryFolder::new();
    let nowhere = folder.file("nowhere");
    let agent = Agent::spawn_changed(TemporaryFolder::new(), &[], |command| {
        command.env("NOTIFY_SOCKET", &nowhere);
    });
    until_said(&agent, "the service manager hears nothing");
    drop(agent);
    let notify = folder.file("notify");
    let manager = UnixDatagram::bind(&notify).expect("a socket");
    let mut agent = Agent::spawn_changed(TemporaryFolder::new(), &[], |command| {
        // The signs are another process's to give.
        command
            .env("NOTIFY_SOCKET", &notify)
            .env("WATCHDOG_USEC", "10000000")
            .env("WATCHDOG_PID", "1");
    });
    agent.wait();
    let (ended, said) = agent.stop();
    assert!(ended.success(), "{said}");
    manager.set_nonblocking(true).expect("no waiting");
    let mut words = String::new();
    let mut bytes = [0; 64];
    while let Ok(n) = manager.recv(&mut bytes) {
        words += &String::from_utf8_lossy(bytes.get(..n).expect("its bytes"));
    }
    assert_eq!(words, "READY=1STOPPING=1");
}

/// Waits until the agent says on its metrics port that it is not ready, and why.
fn assert_unready(agent: &Agent, word: &str) {
    let visible = until(format!("it is not ready: {word}"), SOON, || {
        let ready = http::get(agent.address(), "/-/ready", "*/*").ok()?;
        let is_so = ready.status == 503 && ready.body.contains(word);
        is_so.then(|| http::get(agent.address(), "/metrics", "*/*").expect("a scrape").body)
    });
    assert!(visible.contains("\nkeepwatch_host_processes_visible 0\n"), "{visible}");
}

fn until_said(agent: &Agent, message: &str) {
    until(format!("the log has: {message}"), SOON, || agent.said().contains(message).then_some(()));
}

#[test]
fn in_another_pid_namespace_than_the_hosts_it_is_not_ready_and_says_so() {
    let agent = with_own_pids(|| Agent::spawn_in(TemporaryFolder::new(), &[]));
    assert_unready(&agent, "hostPID");
    until_said(&agent, "only processes of this pid namespace are seen");
}

#[test]
fn without_proc_it_does_not_start_and_one_that_loses_it_is_no_longer_ready() {
    with_own_mounts(|take_proc_away| {
        let agent = Agent::start(&["--interval", "1s"]);
        take_proc_away();
        assert_unready(&agent, "/proc");
        until_said(&agent, "there is no /proc");
        let (status, said) = agent.stop();
        assert!(status.success(), "{said}");
        assert_refused(&run_in(&TemporaryFolder::new(), &[]), 3, &["/proc", "mount"]);
    });
}

#[test]
fn without_root_it_says_what_it_needs() {
    require_root();
    let folder = TemporaryFolder::new();
    let refused = |words: &[&str]| {
        let mut command = as_nobody(&folder);
        let output = command.args(words).output().expect("start keepwatch");
        assert_refused(&output, 3, &["root"]);
    };
    refused(&["run"]);
    let socket = folder.file("keepwatch.sock").display().to_string();
    refused(&["run", "--listen", "127.0.0.1:0", "--socket", &socket]);
    refused(&["sockets", "--source", "kernel"]);
}

#[test]
fn without_root_beside_an_agent_the_way_to_it_is_told() {
    let agent = Agent::start(&[]);
    let folder = TemporaryFolder::new();
    for words in [&["sockets"][..], &["trace"], &["check"], &["why", "10.0.0.9"]] {
        let mut command = as_nobody(&folder);
        let output = command.args(words).arg("--socket").arg(agent.socket()).output();
        assert_refused(&output.expect("start keepwatch"), 3, &["--socket-group"]);
    }
}

/// `keepwatch`, copied to where every user may run it, as the user nobody.
fn as_nobody(folder: &TemporaryFolder) -> Command {
    const NOBODY: u32 = 65_534;
    let copy = folder.file("keepwatch");
    // By another process: this one may fork for another test meanwhile, and the child would hold the copy open for
    // writing, which Linux does not start ("Text file busy").
    let copied = Command::new("cp").arg(tool::keepwatch()).arg(&copy).status();
    assert!(copied.expect("start cp").success());
    let mut command = Command::new(copy);
    command.env_clear().uid(NOBODY).gid(NOBODY);
    command
}

#[test]
fn a_wrong_config_is_named_with_its_line_and_nothing_starts() {
    let folder = TemporaryFolder::new();
    let file = folder.file("config.toml");
    let refused = |text: &str, words: &[&str]| {
        fs::write(&file, text).expect("write a config");
        let output = run_in(&folder, &["--config", &file.display().to_string()]);
        assert_refused(&output, 2, words);
        assert!(!folder.file("keepwatch.sock").exists());
    };
    refused(
        "idle_limit = \"aws\"\nidle_limmit = \"aws\"\n",
        &["config.toml:2", "idle_limmit", "idle_limit"],
    );
    refused("\n\ninterval = \"never\"\n", &["config.toml:3", "interval", "90s"]);
    refused("interval = \n", &["config.toml"]);
    refused(
        "[[path]]\nname = \"db\"\npeers = \"10.0.0.0/33\"\nidle_limit = \"aws\"\n",
        &["config.toml", "path"],
    );
}

#[test]
fn an_unreadable_config_is_named() {
    let folder = TemporaryFolder::new();
    for path in ["missing.toml", "."] {
        let path = folder.file(path).display().to_string();
        let output = run_in(&folder, &["--config", &path]);
        assert_refused(&output, 2, &[&path]);
    }
}

#[test]
fn a_wrong_word_is_a_usage_error_that_shows_the_way() {
    let output = once(["runn"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("run") && said.contains("--help"), "{said}");
    let output = once::<&str>([]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("sockets") && said.contains("doctor"), "{said}");
}

fn run_in(folder: &TemporaryFolder, args: &[&str]) -> Output {
    let socket = folder.file("keepwatch.sock").display().to_string();
    let own = ["--listen", "127.0.0.1:0"];
    let own = if args.contains(&"--listen") { &[][..] } else { &own[..] };
    let mut command = keepwatch(["run", "--socket", &socket]);
    command.args(own).args(args).output().expect("start keepwatch")
}
