//! Sockets that no process has open: on their way between two processes, in io_uring's table, in an accept queue, behind
//! MPTCP. Each is listed as it is now, none is told dead while it lives, and its end is told once.
#![expect(clippy::expect_used, reason = "a test")]

use io_uring::IoUring;
use keepwatch_tests::{
    answer::{
        agent::{Agent, keepwatch, sockets_from_kernel},
        row::SocketLine,
        trace::Trace,
    },
    kernel::{
        halted_program::{HaltedProgram, SystemCall},
        netns::{NetworkNamespace, require_root},
        socket::{self, Family, Plan, Road, SocketOption},
    },
    network::path::{Ends, NetworkPath},
    skip::skip,
    tool,
    wait::until,
};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::{
    fs,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(30);
/// Long enough for a walk of an agent on a machine that has much to do.
const IN_TIME: Duration = Duration::from_mins(2);
const EVERY_SECOND: [&str; 2] = ["--interval", "1s"];

/// A descriptor on its way from one socket to another: no process has it.
struct InFlight {
    #[expect(dead_code, reason = "closed, it would take along what is in flight")]
    from: OwnedFd,
    to: OwnedFd,
}

impl InFlight {
    fn give_away(fd: OwnedFd) -> Self {
        let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
        let (from, to) = socketpair(AddressFamily::UNIX, kind, flags, None).expect("socketpair");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let given = [fd.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&given)));
        let data = [IoSlice::new(b"x")];
        assert_eq!(sendmsg(&from, &data, &mut control, SendFlags::empty()), Ok(1));
        drop(fd);
        Self { from, to }
    }

    fn take(self) -> OwnedFd {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let data = &mut [IoSliceMut::new(&mut byte)];
        recvmsg(&self.to, data, &mut control, RecvFlags::CMSG_CLOEXEC).expect("recvmsg");
        let taken = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        taken.expect("a descriptor")
    }
}

/// A process in a namespace, without which nobody finds that.
struct Inhabitant(Child);

impl Inhabitant {
    fn of(netns: &NetworkNamespace) -> Self {
        let mut monitor = Command::new(tool::program("ip"));
        monitor.arg("monitor").stdin(Stdio::null()).stdout(Stdio::null());
        Self(netns.run(|| monitor.spawn()).expect("start ip monitor"))
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[track_caller]
fn row_of(
    rows: Vec<SocketLine>,
    local: SocketAddr,
    netns: &NetworkNamespace,
) -> Option<SocketLine> {
    let netns = netns.inode();
    let mut rows = rows.into_iter().filter(|row| row.local == local && row.netns == netns);
    let row = rows.next()?;
    assert!(rows.next().is_none(), "each socket once");
    Some(row)
}

/// Waits until a row is as it should be.
#[track_caller]
fn wait_for_row(
    what: &str,
    agent: &Agent,
    (local, netns): (SocketAddr, &NetworkNamespace),
    is_right: impl Fn(&SocketLine) -> bool,
) -> SocketLine {
    let mut last = None;
    let found = keepwatch_tests::wait::within(IN_TIME, || {
        last = row_of(agent.sockets(&["--all"]), local, netns);
        last.clone().filter(&is_right)
    });
    assert!(found.is_some(), "not within {IN_TIME:?}: {what}, but {last:?}");
    found.expect("as asserted")
}

/// Whether nobody has it open, and it was this process that had it last.
fn is_unheld(row: &SocketLine) -> bool {
    let owners: Vec<_> = row.owners.iter().map(|owner| (owner.pid, owner.fd)).collect();
    owners == [(std::process::id(), None)]
}

fn is_held(row: &SocketLine) -> bool {
    row.owners.iter().any(|owner| owner.pid == std::process::id() && owner.fd.is_some())
}

#[test]
fn a_connection_on_its_way_between_two_processes_lives_and_dies_once() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&EVERY_SECOND);
    let trace = Trace::of(&path.near, &EVERY_SECOND);
    let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
    let here = (local, &path.near);
    wait_for_row("a walk meets it", &agent, here, is_held);
    let in_flight = InFlight::give_away(client);
    wait_for_row("nobody has it open", &agent, here, is_unheld);
    let row = wait_for_row("20 s in flight", &agent, here, |row| row.quiet_seconds >= 20.0);
    assert!(is_unheld(&row), "{row:?}");
    assert_eq!((row.direction.as_str(), row.direction_from.as_str()), ("outbound", "seen"));
    // What is looked at is as fresh as any other.
    socket::send(&accepted, b"news");
    let row = wait_for_row("its last packet", &agent, here, |row| row.quiet_seconds < 15.0);
    assert!(is_unheld(&row), "{row:?}");
    let is_dead = |event: &keepwatch_tests::answer::event::TracedEvent| event.death().is_some();
    assert!(!trace.events_of(local).iter().any(is_dead), "it lives");

    let client = in_flight.take();
    wait_for_row("another descriptor of it", &agent, here, is_held);
    let (received, _) = rustix::net::recv(&client, &mut [0; 4], RecvFlags::empty()).expect("recv");
    assert_eq!(received, 4);
    drop(client);
    drop(accepted);
    let (event, death) = trace.death_of(local);
    assert_eq!(
        (death.cause.as_str(), event.direction.as_deref()),
        ("local_closed", Some("outbound"))
    );
    until("it is gone", SOON, || {
        row_of(agent.sockets(&[]), local, &path.near).is_none().then_some(())
    });
}

#[test]
fn a_connection_in_the_table_of_io_uring_is_followed_like_any_other() {
    let path = NetworkPath::cable();
    let agent = Agent::start(&EVERY_SECOND);
    let trace = Trace::of(&path.near, &EVERY_SECOND);
    let Ends { client, accepted, local } = path.connect(&Plan::keepalive(600, 0, 0));
    let here = (local, &path.near);
    let ring = IoUring::new(1).expect("io_uring");
    ring.submitter().register_files(&[client.as_raw_fd()]).expect("register the descriptor");
    wait_for_row("a walk meets it", &agent, here, is_held);
    drop(client);
    let row = wait_for_row("nobody has it open", &agent, here, is_unheld);
    assert_eq!((row.keepalive, row.idle.seconds), (true, 600));
    wait_for_row("it is quiet", &agent, here, |row| row.quiet_seconds >= 8.0);
    socket::send(&accepted, b"news");
    wait_for_row("its last packet", &agent, here, |row| row.quiet_seconds < 5.0);
    drop(ring);
    let (event, death) = trace.death_of(local);
    assert_eq!(event.direction.as_deref(), Some("outbound"));
    // Closed with our news unread.
    assert_eq!(death.cause, "local_reset");
}

#[test]
fn a_connection_that_waits_to_be_accepted_is_its_listeners_and_says_so() {
    let netns = NetworkNamespace::new();
    let agent = Agent::start(&EVERY_SECOND);
    let family = Family::V4;
    let (listener, client) = netns.run(|| {
        let listener = socket::listener(family, family.loopback(), 8, &Plan::NOTHING);
        let client = socket::connected(family, socket::local_address(&listener), &Plan::NOTHING);
        (listener, client)
    });
    let inbound = |what: &str, is_right: &dyn Fn(&SocketLine) -> bool| {
        until(what, IN_TIME, || {
            let rows = agent.sockets(&["--netns", &netns.inode().to_string()]);
            let mut rows = rows.into_iter().filter(|row| row.direction == "inbound");
            rows.find(|row| row.remote == socket::local_address(&client) && is_right(row))
        })
    };
    let is =
        |wanted: &'static str| move |row: &SocketLine| row.condition.as_deref() == Some(wanted);
    // The listener's owner, and no descriptor yet. A child of another test may have the listener open until it executes
    // its program.
    let row = inbound("it waits", &|row| is("unaccepted")(row) && is_unheld(row));
    let since = |row: &SocketLine| row.condition_seconds.expect("for how long");
    assert!(since(&row) >= 1.0, "{row:?}");
    assert_eq!((row.listeners, row.condition_at_least), (Some(1), true), "{row:?}");
    inbound("it waits for 5 s", &|row| is("unaccepted")(row) && since(row) >= 5.0);
    let accepted = socket::accepted(&listener);
    let row = inbound("it is accepted", &|row| is("fine")(row) && is_held(row));
    assert_eq!(row.direction_from, "seen");
    drop(accepted);
}

#[test]
fn connections_that_are_accepted_at_once_are_never_said_to_wait() {
    let netns = NetworkNamespace::new();
    let agent = Agent::start(&["--interval", "100ms"]);
    let in_netns = netns.inode().to_string();
    let family = Family::V4;
    let listener = netns.run(|| socket::listener(family, family.loopback(), 8, &Plan::NOTHING));
    let address = socket::local_address(&listener);
    let mut open = Vec::new();
    for _ in 0..20 {
        // A walk may come between the two ends of any of these.
        for _ in 0..10 {
            open.push(netns.run(|| socket::connected(family, address, &Plan::NOTHING)));
            open.push(socket::accepted(&listener));
        }
        let rows = agent.sockets(&["--netns", &in_netns]);
        let mut conditions = rows.iter().map(|row| row.condition.as_deref());
        assert!(conditions.all(|condition| condition == Some("fine")), "{rows:?}");
    }
    until("all of them were looked at", IN_TIME, || {
        let rows = agent.sockets(&["--netns", &in_netns]);
        (rows.iter().filter(|row| is_held(row)).count() == open.len()).then_some(())
    });
}

#[test]
fn what_is_older_than_the_agent_and_nobody_has_open_is_found_in_every_namespace_with_a_process() {
    let path = NetworkPath::cable();
    let _process = Inhabitant::of(&path.near);
    let Ends { client, accepted, local } = path.connect(&Plan::keepalive(700, 0, 0));
    let in_flight = InFlight::give_away(client);
    let agent = Agent::start(&EVERY_SECOND);
    let here = (local, &path.near);
    let row = wait_for_row("it is listed", &agent, here, |_| true);
    assert_eq!((row.keepalive, row.idle.seconds, row.owners.len()), (true, 700, 0));
    wait_for_row("it is quiet", &agent, here, |row| row.quiet_seconds >= 5.0);
    socket::send(&accepted, b"news");
    wait_for_row("its last packet", &agent, here, |row| row.quiet_seconds < 3.0);
    let client = in_flight.take();
    wait_for_row("somebody has it", &agent, here, is_held);
    drop(client);
    until("it is gone", SOON, || {
        row_of(agent.sockets(&[]), local, &path.near).is_none().then_some(())
    });
}

#[test]
fn without_an_agent_what_nobody_has_open_is_listed_in_every_namespace_with_a_process() {
    let path = NetworkPath::cable();
    let _inhabitant = Inhabitant::of(&path.near);
    let Ends { client, accepted: _accepted, local } = path.connect(&Plan::keepalive(700, 0, 0));
    let look = || row_of(sockets_from_kernel(&[]), local, &path.near);
    assert!(is_held(&look().expect("it is listed")));
    let _in_flight = InFlight::give_away(client);
    let from_there = row_of(path.near.run(|| sockets_from_kernel(&[])), local, &path.near);
    for row in [look(), from_there] {
        let row = row.expect("it is listed");
        assert_eq!((row.keepalive, row.idle.seconds, row.owners.len()), (true, 700, 0));
    }
}

#[test]
fn a_namespace_that_no_process_is_in_is_listed_if_it_has_a_name_and_else_not() {
    let path = NetworkPath::cable();
    let Ends { client, accepted: _accepted, local } = path.connect(&Plan::keepalive(700, 0, 0));
    let _in_flight = InFlight::give_away(client);
    let look = || row_of(sockets_from_kernel(&[]), local, &path.near);
    assert_eq!(look(), None, "nothing leads there");
    let name = path.near.named();
    let row = look().expect("it is listed");
    assert_eq!((row.keepalive, row.idle.seconds, row.owners.len()), (true, 700, 0));
    let agent = Agent::start(&EVERY_SECOND);
    wait_for_row("an agent lists it, too", &agent, (local, &path.near), |_| true);
    drop(name);
    assert_eq!(look(), None, "nothing leads there any more");
}

#[test]
fn without_the_capability_to_enter_other_namespaces_it_is_said_that_they_may_have_more() {
    require_root();
    let path = NetworkPath::cable();
    let _inhabitant = Inhabitant::of(&path.near);
    let Ends { client, accepted: _accepted, local } = path.connect(&Plan::NOTHING);
    let port = local.port().to_string();
    let look = || {
        let words = ["sockets", "--json", "--source", "kernel", "--local-port", &port];
        let output = Command::new("setpriv")
            .args(["--inh-caps", "-all", "--bounding-set", "-all,+bpf,+perfmon,+sys_ptrace"])
            .arg(tool::keepwatch())
            .args(words)
            .output()
            .expect("setpriv of util-linux");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout).lines().count(), text(&output.stderr))
    };
    let warning = "that no process has open, in other network namespaces (needs CAP_SYS_ADMIN)";
    // Sockets of other tests may be away, too: that it says nothing of none is a unit test (`met.rs`).
    assert_eq!(look().0, 1);
    let _in_flight = InFlight::give_away(client);
    let (n_rows, said) = look();
    assert_eq!((n_rows, said.contains(warning)), (0, true), "{said}");
}

/// A socket of MPTCP, made like any other.
fn mptcp_socket() -> Option<OwnedFd> {
    let protocol = Some(rustix::net::ipproto::MPTCP);
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol).ok()
}

#[test]
fn connections_by_mptcp_have_the_owner_and_the_settings_that_their_program_gave_them() {
    if !Path::new("/proc/sys/net/mptcp").is_dir() {
        skip("MPTCP", "which this kernel does not have");
        return;
    }
    let netns = NetworkNamespace::new();
    netns.set("mptcp/enabled", 1);
    let agent = Agent::start(&EVERY_SECOND);
    let (listener, client) = netns.run(|| {
        let listener = mptcp_socket().expect("a socket of MPTCP");
        rustix::net::bind(&listener, &Family::V4.loopback()).expect("bind");
        rustix::net::listen(&listener, 8).expect("listen");
        let client = mptcp_socket().expect("a socket of MPTCP");
        let address = socket::local_address(&listener);
        rustix::net::connect(&client, &address).expect("connect");
        (listener, client)
    });
    let accepted = socket::accepted(&listener);
    // The kernel may take it, and pass it on to what carries the connection, or not: before 6.10 it does not.
    let takes_idle = Road::Call.try_set(&client, SocketOption::KeepIdle, 611).is_ok();
    Road::Call.set(&client, SocketOption::Keepalive, 1);
    let local = socket::local_address(&client);
    let here = (local, &netns);
    let row = wait_for_row("it is the client's", &agent, here, |row| {
        let fd = u32::try_from(client.as_raw_fd()).expect("a descriptor");
        row.is_held(std::process::id(), fd)
    });
    assert_eq!((row.direction.as_str(), row.direction_from.as_str()), ("outbound", "seen"));
    let is_armed = netns.run(|| has_keepalive_timer(local));
    let row = wait_for_row("its keepalive", &agent, here, |row| row.keepalive == is_armed);
    assert!(!takes_idle || !is_armed || row.idle.seconds == 611, "{row:?}");
    let inbound = until("the server's end", IN_TIME, || {
        let rows = agent.sockets(&["--netns", &netns.inode().to_string()]);
        rows.into_iter().find(|row| row.direction == "inbound" && is_held(row))
    });
    assert_eq!(inbound.remote, local);
    // Without an agent, too.
    let rows = netns.run(|| sockets_from_kernel(&["--all"]));
    let held = rows.iter().filter(|row| row.netns == netns.inode() && is_held(row)).count();
    assert_eq!(held, 3, "{rows:?}");
    drop((client, accepted));
    until("both ends are gone", SOON, || {
        row_of(agent.sockets(&[]), local, &netns).is_none().then_some(())
    });
}

#[test]
fn beside_a_listener_of_mptcp_a_walk_lists_no_namespace_of_which_it_has_met_all() {
    if !Path::new("/proc/sys/net/mptcp").is_dir() {
        skip("MPTCP", "which this kernel does not have");
        return;
    }
    const N_NAMESPACES: u32 = 40;
    let netns = NetworkNamespace::new();
    netns.set("mptcp/enabled", 1);
    let listener = netns.run(|| {
        let listener = mptcp_socket().expect("a socket of MPTCP");
        rustix::net::bind(&listener, &Family::V4.loopback()).expect("bind");
        rustix::net::listen(&listener, 8).expect("listen");
        listener
    });
    let _others: Vec<_> = (0..N_NAMESPACES)
        .map(|_| {
            let netns = NetworkNamespace::new();
            let inhabitant = Inhabitant::of(&netns);
            (netns, inhabitant)
        })
        .collect();
    let words = ["sockets", "--all", "--json", "--source", "kernel"];
    // A thread enters each namespace that is listed. Of those of other tests some are.
    let n_threads = HaltedProgram::n_calls(keepwatch(words), SystemCall::CLONE3);
    assert!(n_threads < N_NAMESPACES, "{n_threads} threads");
    let rows = sockets_from_kernel(&["--all", "--netns", &netns.inode().to_string()]);
    let fd = u32::try_from(listener.as_raw_fd()).expect("a descriptor");
    let row = rows.iter().find(|row| row.is_held(std::process::id(), fd));
    assert_eq!(row.map(|row| row.state.as_str()), Some("listen"), "{rows:?}");
}

/// Whether the kernel's own table says that the keepalive timer of this socket is armed (`get_tcp4_sock` in
/// net/ipv4/tcp_ipv4.c: 2 in the column `tr`). Of IPv4, in the namespace of this thread.
fn has_keepalive_timer(local: SocketAddr) -> bool {
    let table = fs::read_to_string("/proc/thread-self/net/tcp").expect("/proc/thread-self/net/tcp");
    let port = format!(":{:04X}", local.port());
    let line = table.lines().find(|line| {
        line.split_whitespace().nth(1).is_some_and(|address| address.ends_with(&port))
    });
    let line = line.expect("the connection is in the kernel's table");
    line.split_whitespace().nth(5).is_some_and(|timer| timer.starts_with("02:"))
}
