//! The API socket: `run --socket FILE`, and the lock beside it.

use crate::planted::{NOBODY, Precious, SOON, Zoo, command, end, fifo, give, link, refused, text};
use keepwatch_tests::{answer::agent::Agent, tool::TemporaryFolder, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _},
        net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
    process::{Command, Stdio},
};

fn run(folder: &TemporaryFolder, socket: &Path) -> Command {
    let state = folder.file("state");
    let words = ["run", "--listen", "127.0.0.1:0", "--state-dir", text(&state), "--socket"];
    command(&[&words[..], &[text(socket)]].concat())
}

#[test]
fn a_file_is_not_lost_to_a_typo_however_it_is_given() {
    let folder = TemporaryFolder::new();
    let precious = Precious::in_folder(&folder);
    let words = [text(precious.path()), "a plain file is there already", "--socket"];
    refused(&mut run(&folder, precious.path()), 3, &words);
    let mut by_variable = command(&["run", "--listen", "127.0.0.1:0"]);
    by_variable.env("KEEPWATCH_SOCKET", precious.path());
    refused(&mut by_variable, 3, &words);
    let config = folder.file("config.toml");
    fs::write(&config, format!("socket = \"{}\"\n", text(precious.path()))).expect("a file");
    let by_file = ["run", "--listen", "127.0.0.1:0", "--config", text(&config)];
    refused(&mut command(&by_file), 3, &words);
    precious.assert_untouched();
    let lock = precious.path().with_added_extension("lock");
    assert!(!lock.exists(), "nor is a file made beside it");
}

#[test]
fn nothing_but_a_socket_that_nobody_has_open_is_replaced() {
    let folder = TemporaryFolder::new();
    let zoo = Zoo::in_folder(&folder);
    for (path, word) in &zoo.animals {
        let before = fs::symlink_metadata(path).expect("it is there").ino();
        let word = if *word == "a socket" { "another program listens there" } else { word };
        refused(&mut run(&folder, path), 3, &[text(path), word, "--socket"]);
        assert_eq!(fs::symlink_metadata(path).expect("it still is").ino(), before);
    }
    UnixStream::connect(folder.file("listener")).expect("it is answered as before");
    let datagrams = folder.file("datagrams");
    let _open = UnixDatagram::bind(&datagrams).expect("a socket");
    refused(&mut run(&folder, &datagrams), 3, &["another program listens there"]);
    // The folder is root's; in one of nobody's a dead socket of nobody's is left alone.
    let theirs = folder.file("theirs");
    fs::create_dir(&theirs).expect("a folder");
    let dead = theirs.join("dead");
    drop(UnixListener::bind(&dead).expect("a socket"));
    give(&theirs, NOBODY);
    give(&dead, NOBODY);
    refused(&mut run(&folder, &dead), 3, &["belongs to uid 65534"]);
    assert!(fs::symlink_metadata(&dead).expect("it is there").file_type().is_socket());
}

#[test]
fn links_are_not_replaced_nor_gone_through() {
    let folder = TemporaryFolder::new();
    let precious = Precious::in_folder(&folder);
    let socket = folder.file("to-precious");
    link(precious.path(), &socket, 0);
    refused(&mut run(&folder, &socket), 3, &["a link is there already"]);
    let dead = folder.file("dead");
    drop(UnixListener::bind(&dead).expect("a socket"));
    let to_dead = folder.file("to-dead");
    link(&dead, &to_dead, 0);
    refused(&mut run(&folder, &to_dead), 3, &["a link is there already"]);
    assert!(dead.exists() && to_dead.exists());
    let closed = folder.file("closed");
    fs::create_dir(&closed).expect("a folder");
    link(&closed, &folder.file("out"), NOBODY);
    let through = folder.file("out/keepwatch.sock");
    refused(&mut run(&folder, &through), 3, &["a link that uid 65534 made"]);
    assert_eq!(fs::read_dir(&closed).expect("the folder").count(), 0);
    precious.assert_untouched();
}

#[test]
fn a_lock_that_is_not_ours_is_named_and_left_alone() {
    let folder = TemporaryFolder::new();
    let precious = Precious::in_folder(&folder);
    let at = |name: &str| folder.file(&format!("{name}.lock"));
    link(precious.path(), &at("link"), 0);
    fifo(&at("fifo"));
    fs::hard_link(precious.path(), at("hard")).expect("a hard link");
    fs::write(at("theirs"), "theirs").expect("a file");
    give(&at("theirs"), NOBODY);
    let cases = [("link", "a link"), ("fifo", "fifo"), ("hard", "2 names"), ("theirs", "65534")];
    for (name, word) in cases {
        let socket = folder.file(name);
        refused(&mut run(&folder, &socket), 3, &[text(&at(name)), word, "--socket"]);
        assert!(!socket.exists());
    }
    precious.assert_untouched();
    assert_eq!(fs::read(at("theirs")).expect("the file"), b"theirs");
}

#[test]
fn a_socket_that_a_killed_agent_left_is_replaced_and_is_for_the_group_alone() {
    let agent = Agent::start(&[]);
    let folder = agent.kill();
    assert!(folder.file("keepwatch.sock").exists(), "left behind");
    let agent = Agent::start_in(folder, &["--socket-group", "daemon"]);
    let found = fs::symlink_metadata(agent.socket()).expect("the socket");
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o660, 0, 1));
    let pid = agent.pid().to_string();
    let other = TemporaryFolder::new();
    refused(&mut run(&other, &agent.socket()), 3, &["another keepwatch agent", &pid, "--socket"]);
    let socket = agent.socket();
    assert!(agent.stop().0.success() && !socket.exists());
}

#[test]
fn at_the_end_only_its_own_socket_is_removed() {
    let agent = Agent::start(&[]);
    let socket = agent.socket();
    fs::remove_file(&socket).expect("the socket");
    let others = UnixListener::bind(&socket).expect("another program's");
    let (_folder, said) = agent.stop_and_leave();
    wait::until("it is still there", SOON, || UnixStream::connect(&socket).ok());
    assert!(!said.contains("error"), "{said}");
    drop(others);
}

#[test]
fn missing_folders_are_made_and_a_link_of_root_on_the_way_is_followed() {
    let folder = TemporaryFolder::new();
    let real = folder.file("real");
    fs::create_dir(&real).expect("a folder");
    link(Path::new("real"), &folder.file("run"), 0);
    let socket = folder.file("run/new/newer/keepwatch.sock");
    let mut agent = run(&folder, &socket).stderr(Stdio::null()).spawn().expect("start keepwatch");
    let ask = ["sockets", "--source", "agent", "--socket", text(&socket)];
    let answered = wait::within(SOON, || end(&mut command(&ask)).status.success().then_some(()));
    let pid = Pid::from_raw(agent.id().cast_signed()).expect("a process id");
    kill_process(pid, Signal::TERM).expect("signal our own child");
    let status = agent.wait().expect("wait for the agent");
    assert!(answered.is_some() && status.success(), "{status}");
    assert!(real.join("new/newer/keepwatch.sock.lock").exists() && !socket.exists());
    let mode = |path: &Path| fs::metadata(path).expect("a folder").mode() & 0o7777;
    assert_eq!((mode(&real.join("new")), mode(&folder.file("state"))), (0o755, 0o750));
}
