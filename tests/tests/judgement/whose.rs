//! Whose a connection is: of one that waits to be accepted, and of what happened before it was passed on.

use crate::watched_path::WatchedPath;
use keepwatch_tests::{
    answer::{agent::Agent, row::SocketLine},
    kernel::{
        netns::NetworkNamespace,
        socket::{self, Family, Plan},
    },
    network::ending::exchange,
    wait::until,
};
use rustix::{
    io::ioctl_fionbio,
    net::{accept, bind, listen, sockopt},
};
use std::{
    net::SocketAddr,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_mins(1);
const N_CLIENTS: usize = 20;

/// Another program that has a socket open.
struct OtherProgram(Child);

impl OtherProgram {
    fn of(fd: OwnedFd) -> Self {
        let mut sleep = Command::new("sleep");
        Self(sleep.arg("600").stdin(Stdio::from(fd)).spawn().expect("sleep"))
    }
}

impl Drop for OtherProgram {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn what_waits_at_one_of_several_listeners_is_said_to_be_of_any_of_them() {
    let netns = NetworkNamespace::new();
    let agent = Agent::start(&["--interval", "1s"]);
    let (ours, theirs) = netns.run(|| {
        let ours = listener(Family::V4.loopback());
        let theirs = listener(socket::local_address(&ours));
        (ours, theirs)
    });
    let holder = OtherProgram::of(theirs);
    let address = socket::local_address(&ours);
    // In whose queue the kernel puts each is chance: some are in either.
    let _clients: Vec<OwnedFd> = (0..N_CLIENTS)
        .map(|_| netns.run(|| socket::connected(Family::V4, address, &Plan::NOTHING)))
        .collect();
    let in_netns = netns.inode().to_string();
    let waiting = || -> Vec<SocketLine> {
        let rows = agent.sockets(&["--netns", &in_netns, "--condition", "unaccepted"]);
        rows.into_iter().filter(|row| row.local == address).collect()
    };
    let mut expected = [std::process::id(), holder.0.id()];
    expected.sort_unstable();
    // A child of another test has our descriptors, too, until its program starts.
    until("all of them wait at one of the two", SOON, || {
        let rows = waiting();
        let is_so = |row: &SocketLine| {
            let mut pids: Vec<u32> = row.owners.iter().map(|owner| owner.pid).collect();
            pids.sort_unstable();
            row.listeners == Some(2) && pids == expected
        };
        (rows.len() == N_CLIENTS && rows.iter().all(is_so)).then_some(())
    });
    // One of them accepts all that it has: then it is clear where the others wait.
    ioctl_fionbio(&ours, true).expect("FIONBIO");
    let accepted: Vec<OwnedFd> = std::iter::from_fn(|| accept(&ours).ok()).collect();
    assert!((1..N_CLIENTS).contains(&accepted.len()), "{} are ours", accepted.len());
    let n_left = N_CLIENTS - accepted.len();
    until("the others are said to wait at the other", SOON, || {
        let rows = waiting();
        let is_theirs = |row: &SocketLine| {
            row.listeners == Some(1) && row.owners.iter().all(|it| it.pid == holder.0.id())
        };
        (rows.len() == n_left && rows.iter().all(is_theirs)).then_some(())
    });
}

fn listener(address: SocketAddr) -> OwnedFd {
    let fd = socket::unconnected(Family::V4, &Plan::NOTHING);
    sockopt::set_socket_reuseport(&fd, true).expect("SO_REUSEPORT");
    bind(&fd, &address).expect("bind");
    listen(&fd, 64).expect("listen");
    fd
}

#[test]
fn what_happened_before_a_descriptor_was_passed_on_stays_of_its_owner_of_then() {
    let watched = WatchedPath::cable();
    let ends = watched.path.connect(&Plan::keepalive(1, 1, 120));
    exchange(&ends.client, &ends.accepted);
    let here = std::process::id();
    watched.until(ends.local, "is ours", |row| row.owners.iter().any(|it| it.pid == here));
    let probes = || probes(&watched, ends.local);
    let before = until("it was probed", SOON, || Some(probes()).filter(|all| all.len() >= 2));
    let holder = OtherProgram::of(ends.client);
    let there = holder.0.id();
    watched.until(ends.local, "is another's", |row| row.owners.iter().all(|it| it.pid == there));
    let after = until("it is probed again", SOON, || {
        Some(probes()).filter(|all| all.last().is_some_and(|(_, pids)| *pids == [there]))
    });
    for probe in &before {
        assert!(after.contains(probe), "{probe:?} was so: {after:?}");
        // A child of another test that has not started its program yet has our descriptors, too.
        assert!(probe.1.contains(&here), "{probe:?} was ours");
    }
}

/// The probes that are remembered: when each went out, and which processes had the connection open.
fn probes(watched: &WatchedPath, local: SocketAddr) -> Vec<(String, Vec<u32>)> {
    let wanted = "/v1/events?wanted=%7B%22event%22:%5B%22probe_sent%22%5D,%22past_only%22:true%7D";
    let events = watched.agent.ask(wanted).into_iter();
    let (local, netns) = (local.to_string(), u64::from(watched.path.near.inode()));
    let is_it = |event: &serde_json::Value| {
        event.get("local").is_some_and(|it| *it == local.as_str())
            && event.get("netns").is_some_and(|it| *it == netns)
    };
    let of_it = events.filter(is_it);
    of_it
        .map(|event| {
            let owners = event.get("owners").and_then(serde_json::Value::as_array);
            let pid = |owner: &serde_json::Value| u32::try_from(owner.get("pid")?.as_u64()?).ok();
            let pids = owners.expect("its owners").iter().filter_map(pid).collect();
            let at = event.get("at").and_then(serde_json::Value::as_str).expect("when");
            (at.to_owned(), pids)
        })
        .collect()
}
