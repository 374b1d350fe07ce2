//! Sockets that are open before the agent starts.

use super::HOST;
use keepwatch_tests::{
    answer::{
        agent::{Agent, assert_refused, keepwatch},
        http,
    },
    kernel::netns::require_root,
    tool::TemporaryFolder,
    wait::until,
};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use std::{
    ffi::OsString,
    net::TcpListener,
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::net::{UnixDatagram, UnixListener},
    },
    process::{Command, Stdio},
};

/// Copies of sockets, one number after the other, for programs that this one starts. `from`: above what the clients of other tests
/// take at the same time.
fn passed(sockets: &[&dyn AsFd], from: i32) -> Vec<OwnedFd> {
    let copy = |(place, socket): (usize, &&dyn AsFd)| {
        let wanted = from + i32::try_from(place).expect("a few");
        let copy = fcntl_dupfd_cloexec(socket, wanted).expect("a copy");
        assert_eq!(copy.as_raw_fd(), wanted, "free in this process");
        fcntl_setfd(&copy, FdFlags::empty()).expect("passed on");
        copy
    };
    sockets.iter().enumerate().map(copy).collect()
}

/// The words of a command, started by a shell that says which process is meant, as systemd does.
fn activate(command: &mut Command, n: usize, from: i32, names: &str) {
    let mut words: Vec<OsString> = vec![
        "-c".into(),
        "LISTEN_PID=$$ exec \"$0\" \"$@\"".into(),
        command.get_program().to_owned(),
    ];
    words.extend(command.get_args().map(ToOwned::to_owned));
    let mut shell = Command::new("/bin/sh");
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell.args(words).env_clear().env("PATH", "/usr/bin:/bin");
    shell.env("LISTEN_FDS", n.to_string()).env("LISTEN_FDNAMES", names);
    // Where systemd's begin with 3, which this process may use itself.
    shell.env("LISTEN_FDS_FIRST_FD", from.to_string());
    *command = shell;
}

#[test]
fn metrics_and_api_are_served_on_sockets_that_were_passed_and_these_stay() {
    for (from, names, is_metrics_first) in
        [(900, "metrics:api", true), (910, "api:metrics", false), (920, "x:y", true)]
    {
        let folder = TemporaryFolder::new();
        let path = folder.file("passed.sock");
        let metrics = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = metrics.local_addr().expect("its address");
        let api = UnixListener::bind(&path).expect("a socket");
        let copies = if is_metrics_first {
            passed(&[&metrics, &api], from)
        } else {
            passed(&[&api, &metrics], from)
        };
        let agent = Agent::spawn_changed(TemporaryFolder::new(), &[], |command| {
            activate(command, 2, from, names);
        });
        until("metrics are served on the socket that was passed", super::SOON, || {
            let answer = http::ask_at(address, "/-/ready", &[HOST]).ok()?;
            (answer.status() == 200).then_some(())
        });
        let status = http::get_of_socket(&path, "/v1/status").expect("an answer");
        assert_eq!(status.status, 200);
        assert!(!agent.socket().exists(), "none of its own");
        assert!(std::net::TcpStream::connect(agent.address()).is_err(), "no address of its own");
        drop(agent);
        assert!(path.exists(), "it belongs to the one that made it");
        drop(copies);
    }
}

#[test]
fn a_socket_that_is_of_no_use_is_named() {
    require_root();
    let folder = TemporaryFolder::new();
    let datagrams = UnixDatagram::unbound().expect("a socket");
    let (first, second) = (
        TcpListener::bind("127.0.0.1:0").expect("a port"),
        TcpListener::bind("127.0.0.1:0").expect("a port"),
    );
    let refused = |sockets: &[&dyn AsFd], from: i32, names: &str, words: &[&str]| {
        let _copies = passed(sockets, from);
        let mut command = keepwatch(["run", "--socket"]);
        command.arg(folder.file("own.sock"));
        activate(&mut command, sockets.len(), from, names);
        let output = command.output().expect("start keepwatch");
        assert_refused(&output, 3, words);
    };
    refused(&[&datagrams], 930, "api", &["socket 1", "(api)", "FileDescriptorName=api"]);
    refused(&[&first, &second], 940, "metrics:metrics", &["socket 2", "second"]);
    refused(&[&first, &second], 950, "metrics:api", &["socket 2", "(api)"]);
}
