//! `keepwatch fix --apply` over idle connections, beside the bare system calls that nothing can replace: to borrow a socket, to
//! ask who it is and what is set on it, to set four options, to ask again, and to give it back.

use crate::budget::budget;
use keepwatch_tests::{
    answer::agent::keepwatch,
    kernel::{crowd::Crowd, netns::NetworkNamespace},
    measure::{measure_ending_with, thread_cpu},
    tool::TemporaryFolder,
};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    io::Errno,
    net::sockopt,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};
use std::{fs, net::SocketAddr, time::Duration};

const ROUNDS: usize = 3;
/// Below the usual hard limit of 20,000 descriptors.
const CONNECTIONS_EACH: u32 = 10_000;
const FIRST_PORT: u16 = 7000;
/// CPU that it may take, as a multiple of the bare calls. It starts and walks over all sockets of the host once besides, which is as much
/// as the bare calls already.
const TIMES_BARE: f64 = 3.6;
/// The same without its start and that walk: it makes rows, plans, writes down what it is about to do, and prints.
const TIMES_BARE_BEYOND_WALK: f64 = 2.2;

/// Idle connections between two hosts: no loopback, whose peers need no keepalive. Nothing is set on them.
struct IdleConnections {
    near: NetworkNamespace,
    _far: NetworkNamespace,
    clients: Vec<Crowd>,
    _servers: Vec<Crowd>,
}

impl IdleConnections {
    fn new(n_connections: u32) -> Self {
        let (near, far) = NetworkNamespace::pair();
        let (mut clients, mut servers) = (Vec::new(), Vec::new());
        let mut left = n_connections;
        // A port for each: otherwise they would share one range of ephemeral ports.
        let mut ports = FIRST_PORT..;
        while left > 0 {
            let n_here = left.min(CONNECTIONS_EACH);
            left -= n_here;
            let port = ports.next().expect("a port");
            let address = SocketAddr::new([10, 77, 0, 2].into(), port);
            let mut server = Crowd::start(&far, "serve", address, n_here);
            server.wait_for("listening");
            clients.push(Crowd::start(&near, "idle", address, n_here));
            servers.push(server);
        }
        clients.iter_mut().chain(&mut servers).for_each(|crowd| crowd.wait_for("ready"));
        Self { near, _far: far, clients, _servers: servers }
    }
}

/// CPU seconds of each of them, or the least of several rounds.
#[derive(Clone, Copy)]
struct RoundCosts {
    /// It starts, walks, and finds nothing.
    start: f64,
    plan: f64,
    apply: f64,
    undo: f64,
    bare: f64,
}

impl RoundCosts {
    const fn least(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            plan: self.plan.min(other.plan),
            apply: self.apply.min(other.apply),
            undo: self.undo.min(other.undo),
            bare: self.bare.min(other.bare),
        }
    }
}

/// Whether the budget is met.
pub(crate) fn run(n_connections: u32) -> bool {
    // New connections and a new journal each time: what was fixed once is known, and set values stay.
    let rounds = (0..ROUNDS).map(|_| round(n_connections));
    let least = rounds.reduce(RoundCosts::least).expect("a round");
    let RoundCosts { start, plan, apply, undo, bare } = least;
    println!("{n_connections} idle connections; the least of {ROUNDS} rounds each");
    println!("{:62} {:>8} {:>8} {:>7}", "", "CPU s", "us each", "x bare");
    for (what, seconds) in [
        ("keepwatch fix, where there is nothing to fix", start),
        ("keepwatch fix (the plan)", plan),
        ("keepwatch fix --apply", apply),
        ("keepwatch fix --undo", undo),
        ("bare: pidfd_getfd, SO_COOKIE, 5 get, 4 set, 4 get, close", bare),
    ] {
        let each = seconds * 1e6 / f64::from(n_connections);
        println!("{what:62} {seconds:8.3} {each:8.2} {:7.1}", seconds / bare);
    }
    println!("--apply beyond the plan: {:.1} x bare", (apply - plan) / bare);
    let meets = |what: &str, seconds: f64, most: f64| {
        let times = seconds / bare;
        budget(what, times, times <= most, most)
    };
    let beyond_walk = "times the CPU of the bare calls, beyond start and walk";
    let is_met = meets("times the CPU of the bare calls", apply, TIMES_BARE);
    meets(beyond_walk, apply - start, TIMES_BARE_BEYOND_WALK) && is_met
}

fn round(n_connections: u32) -> RoundCosts {
    let connections = IdleConnections::new(n_connections);
    let IdleConnections { near, clients, .. } = &connections;
    let state = TemporaryFolder::new();
    let cost = |of: &str, more: &[&str], exit_code| {
        let mut command = keepwatch(["fix", "--source", "kernel", "--netns", of]);
        command.arg("--state-dir").arg(state.file("state")).args(more);
        measure_ending_with(near, &mut command, &[exit_code]).cpu_seconds
    };
    let netns = near.inode().to_string();
    let start = cost("1", &[], 0);
    let plan = cost(&netns, &[], 1);
    let apply = cost(&netns, &["--apply"], 0);
    assert_eq!(n_with_keepalive(near), n_connections, "all are fixed");
    let undo = cost(&netns, &["--undo"], 0);
    assert_eq!(n_with_keepalive(near), 0, "all are as before");
    let bare = clients.iter().map(|crowd| set_all(crowd.pid()).expect("set a crowd's sockets"));
    let bare: Duration = bare.sum();
    assert_eq!(n_with_keepalive(near), n_connections, "the bare calls fix all");
    RoundCosts { start, plan, apply, undo, bare: bare.as_secs_f64() }
}

/// Connections whose keepalive timer runs, as `ss` shows them.
fn n_with_keepalive(netns: &NetworkNamespace) -> u32 {
    let mut ss = std::process::Command::new("ss");
    let output = netns.run(|| ss.args(["-Htno", "state", "established"]).output());
    let output = output.expect("start ss").stdout;
    let text = String::from_utf8(output).expect("UTF-8");
    let n = text.lines().filter(|line| line.contains("timer:(keepalive")).count();
    u32::try_from(n).expect("some thousands")
}

/// Sets keepalive on all sockets of a process, and says how much CPU that took.
fn set_all(pid: u32) -> Result<Duration, Errno> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
    let is_socket = |entry: &fs::DirEntry| {
        fs::read_link(entry.path())
            .is_ok_and(|link| link.as_os_str().as_encoded_bytes().starts_with(b"socket:"))
    };
    let sockets = descriptors.flatten().filter(is_socket);
    let sockets: Vec<i32> =
        sockets.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let began = thread_cpu();
    let id = Pid::from_raw(pid.cast_signed()).ok_or(Errno::SRCH)?;
    let process = pidfd_open(id, PidfdFlags::empty())?;
    for fd in sockets {
        set(&pidfd_getfd(process.as_fd(), fd, PidfdGetfdFlags::empty())?)?;
    }
    Ok(thread_cpu().saturating_sub(began))
}

fn set(socket: &OwnedFd) -> Result<(), Errno> {
    sockopt::socket_cookie(socket)?;
    sockopt::tcp_user_timeout(socket)?;
    ask(socket)?;
    sockopt::set_tcp_keepidle(socket, Duration::from_mins(1))?;
    sockopt::set_tcp_keepintvl(socket, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(socket, 3)?;
    sockopt::set_socket_keepalive(socket, true)?;
    ask(socket)
}

fn ask(socket: &OwnedFd) -> Result<(), Errno> {
    sockopt::socket_keepalive(socket)?;
    sockopt::tcp_keepidle(socket)?;
    sockopt::tcp_keepintvl(socket)?;
    sockopt::tcp_keepcnt(socket)?;
    Ok(())
}
