//! The agent's life: what it knows of connections that come and go, and what is left when it ends.
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

use keepwatch_tests::{
    answer::{
        agent::{Agent, bpf_needs_capabilities, keepwatch},
        row::{SocketHolder, SocketLine},
        truth::process_name,
    },
    kernel::{
        crowd::Crowd,
        kernel_ids::KernelIds,
        netns::NetworkNamespace,
        socket::{self, Family, Plan},
    },
    skip::skip,
    wait::until,
};
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

const A_SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_mins(1);
/// A walk may take a twentieth of the agent's time, and on a busy machine it takes long.
const BY_THE_NEXT_WALK: Duration = Duration::from_mins(2);
/// So that events, not snapshots, tell the agent.
const NO_SNAPSHOT_FOR_LONG: [&str; 2] = ["--interval", "1h"];

#[test]
fn a_trace_of_the_past_ends_by_itself() {
    let netns = NetworkNamespace::new();
    let agent = Agent::start(&NO_SNAPSHOT_FOR_LONG);
    let _held = netns.run(|| loopback_connection(Family::V4));
    let in_netns = netns.inode().to_string();
    let past = || {
        let mut trace = keepwatch(["trace", "--past-only", "--json", "--event", "opened"]);
        let output = trace.args(["--netns", &in_netns, "--socket"]).arg(agent.socket()).output();
        let output = output.expect("start keepwatch");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = until("both ends were opened", SOON, || {
        Some(past()).filter(|said| said.lines().count() == 2)
    });
    assert!(said.lines().all(|line| line.contains("\"event\":\"opened\"")), "{said}");
    let socket = agent.socket();
    drop(agent);
    let mut alone = keepwatch(["trace", "--past-only", "--socket"]);
    let alone = alone.arg(socket).output().expect("start keepwatch");
    assert_eq!(alone.status.code(), Some(3), "nobody else remembers: {alone:?}");
}

#[test]
fn a_connection_is_in_the_table_within_a_second_and_gone_a_second_after_its_end() {
    let netns = NetworkNamespace::new();
    let agent = Agent::start(&NO_SNAPSHOT_FOR_LONG);
    let in_netns = netns.inode().to_string();
    let connections = || agent.sockets(&["--netns", &in_netns]);
    assert_eq!(connections(), []);

    let (listener, client, accepted) = netns.run(|| loopback_connection(Family::V4));
    let rows = until("both ends are in the table", A_SECOND, || {
        Some(connections()).filter(|rows| rows.len() == 2)
    });
    let [outbound] = of_direction(&rows, "outbound");
    let [inbound] = of_direction(&rows, "inbound");
    assert_eq!(outbound.direction_from, "seen");
    assert_eq!(inbound.direction_from, "seen");
    assert_eq!(outbound.local, socket::local_address(&client));
    assert_eq!(outbound.remote, socket::local_address(&listener));
    assert_eq!(inbound.local, socket::local_address(&accepted));
    assert_eq!(inbound.remote, socket::local_address(&client));
    assert_eq!((outbound.state.as_str(), inbound.state.as_str()), ("established", "established"));
    let pids: Vec<u32> = outbound.owners.iter().map(|owner| owner.pid).collect();
    assert_eq!(pids, [std::process::id()], "who connected is known at once");

    drop((client, accepted));
    until("both ends are gone", A_SECOND, || connections().is_empty().then_some(()));
}

#[test]
fn beside_an_agent_idle_limits_on_the_command_line_are_measured_against_all_the_same() {
    let netns = NetworkNamespace::new();
    let agent = Agent::start(&NO_SNAPSHOT_FOR_LONG);
    let _open = netns.run(|| loopback_connection(Family::V4));
    let in_netns = netns.inode().to_string();
    let shown = |args: &[&str]| {
        let mut command = keepwatch(["sockets", "--json", "--direction", "outbound"]);
        command.args(["--netns", &in_netns, "--socket"]).arg(agent.socket()).args(args);
        let output = command.output().expect("start keepwatch");
        let row: SocketLine = serde_json::from_slice(&output.stdout).expect("one row");
        (row, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    until("the agent knows it", A_SECOND, || {
        (agent.sockets(&["--netns", &in_netns]).len() == 2).then_some(())
    });
    let (row, _) = shown(&[]);
    assert_eq!((row.idle_limit_seconds, row.direction_from.as_str()), (350, "seen"));
    for source in [&[][..], &["--source", "agent"]] {
        let (row, said) = shown(&[&["--idle-limit", "azure"], source].concat());
        assert_eq!(
            (row.idle_limit_seconds, row.direction_from.as_str()),
            (240, "seen"),
            "{source:?}"
        );
        assert_eq!(said, "", "{source:?}");
    }
    let (row, _) = shown(&["--idle-limit", "azure", "--source", "kernel"]);
    assert_eq!((row.idle_limit_seconds, row.direction_from.as_str()), (240, "inferred"));
}

#[test]
fn a_listener_and_ten_thousand_connections_in_another_namespace_are_all_there_with_their_owners() {
    let netns = NetworkNamespace::new();
    let (server, client) = ten_thousand_connections(&netns);
    let agent = Agent::start(&NO_SNAPSHOT_FOR_LONG);
    let rows = agent.sockets(&["--all", "--netns", &netns.inode().to_string()]);
    assert_eq!(rows.len(), 20_001);
    assert!(rows.iter().all(|row| row.owners.len() == 1), "each has one owner");
    let said: BTreeSet<SocketHolder> = rows.iter().flat_map(|row| row.owners.clone()).collect();
    assert!(said == owners(&[&server, &client]), "the owners are those that /proc/PID/fd shows");
    let n_in_state = |state| rows.iter().filter(|row| row.state == state).count();
    assert_eq!((n_in_state("listen"), n_in_state("established")), (1, 20_000));
    for (direction, crowd) in [("inbound", &server), ("outbound", &client)] {
        let established = rows.iter().filter(|row| row.state == "established");
        let of_crowd = established.filter(|row| row.owners.iter().all(|o| o.pid == crowd.pid()));
        assert!(of_crowd.clone().all(|row| row.direction == direction), "{direction}");
        assert_eq!(of_crowd.count(), 10_000, "{direction}");
    }
}

#[test]
fn ten_thousand_connections_in_a_burst_are_known_and_so_is_their_end() {
    let netns = NetworkNamespace::new();
    let agent = Agent::start(&["--interval", "1s"]);
    let (server, client) = ten_thousand_connections(&netns);
    let in_netns = netns.inode().to_string();
    let truth = owners(&[&server, &client]);
    until("all are there with their owners", BY_THE_NEXT_WALK, || {
        let rows = agent.sockets(&["--all", "--netns", &in_netns]);
        let said: BTreeSet<SocketHolder> = rows.iter().flat_map(|row| row.owners.clone()).collect();
        (rows.len() == 20_001 && said == truth).then_some(())
    });
    drop((client, server));
    until("all are gone", BY_THE_NEXT_WALK, || {
        agent.sockets(&["--all", "--netns", &in_netns]).is_empty().then_some(())
    });
    let (status, said) = agent.stop();
    assert!(status.success(), "{said}");
}

/// One process that listens and accepts, and one that connects.
fn ten_thousand_connections(netns: &NetworkNamespace) -> (Crowd, Crowd) {
    const N_CONNECTIONS: u32 = 10_000;
    let address: SocketAddr = "127.0.0.1:7000".parse().expect("an address");
    let mut server = Crowd::start(netns, "serve", address, N_CONNECTIONS);
    server.wait_for("listening");
    let mut client = Crowd::start(netns, "connect", address, N_CONNECTIONS);
    client.wait_for("ready");
    server.wait_for("ready");
    (server, client)
}

/// What /proc says: each socket descriptor of these processes.
fn owners(crowds: &[&Crowd]) -> BTreeSet<SocketHolder> {
    let of = |crowd: &&Crowd| {
        let pid = crowd.pid();
        let process = process_name(pid);
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
        descriptors.filter_map(move |entry| {
            let path = entry.expect("an entry").path();
            let target = fs::read_link(&path).expect("a descriptor's link");
            let fd = path.file_name()?.to_str()?.parse().ok();
            let is_socket = target.to_string_lossy().starts_with("socket:");
            is_socket.then(|| SocketHolder { pid, fd, process: process.clone() })
        })
    };
    crowds.iter().flat_map(of).collect()
}

#[test]
fn sigterm_ends_it_with_success_and_the_kernel_keeps_nothing() {
    let agent = Agent::start(&[]);
    let ids = KernelIds::of(agent.pid());
    assert!(ids.are_many(), "{ids:?}");
    assert!(ids.are_in_the_kernel(), "{ids:?}");
    let socket = agent.socket();
    assert!(socket.exists());

    let (status, said) = agent.stop();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!socket.exists(), "the API socket is removed");
    // Freed after a grace period of RCU.
    until("its programs, maps and links are gone", SOON, || ids.are_gone().then_some(()));
}

#[test]
fn after_start_up_no_thread_of_it_has_a_capability_that_it_does_not_need_or_can_get_one() {
    let agent = Agent::start(&[]);
    let needed = if bpf_needs_capabilities() {
        skip("an agent without capabilities", "to which this kernel refuses bpf(2)");
        "000000c000000000" // CAP_BPF and CAP_PERFMON
    } else {
        "0000000000000000"
    };
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).expect("its threads");
    for task in tasks {
        let status = task.expect("an entry").path().join("status");
        let text = fs::read_to_string(&status).expect("a thread's status");
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.map(str::trim).map(str::to_owned).unwrap_or_default()
        };
        for key in ["CapEff:", "CapPrm:"] {
            assert_eq!(value(key), needed, "{key} in {}", status.display());
        }
        for key in ["CapInh:", "CapAmb:"] {
            assert_eq!(value(key), "0000000000000000", "{key} in {}", status.display());
        }
        assert_eq!(value("NoNewPrivs:"), "1");
    }
}

#[test]
fn after_kill_9_a_fresh_start_has_every_live_socket_at_once() {
    let netns = NetworkNamespace::new();
    let before = netns.run(|| loopback_connection(Family::V4));
    let agent = Agent::start(&NO_SNAPSHOT_FOR_LONG);
    let meanwhile = netns.run(|| loopback_connection(Family::V6));
    let ids = KernelIds::of(agent.pid());
    let folder = agent.kill();
    let after = netns.run(|| loopback_connection(Family::Mapped));
    until("its programs, maps and links are gone", SOON, || ids.are_gone().then_some(()));

    let agent = Agent::start_in(folder, &NO_SNAPSHOT_FOR_LONG);
    let rows = agent.sockets(&["--all", "--netns", &netns.inode().to_string()]);
    assert_eq!(rows.len(), 9);
    for (listener, client, accepted) in [before, meanwhile, after] {
        for fd in [listener, client, accepted] {
            let n_fd = fd.as_raw_fd().cast_unsigned();
            let n_rows = rows.iter().filter(|row| row.is_held(std::process::id(), n_fd)).count();
            assert_eq!(n_rows, 1, "{n_fd}");
        }
    }
}

fn loopback_connection(family: Family) -> (OwnedFd, OwnedFd, OwnedFd) {
    let listener = socket::listener(family, family.loopback(), 1, &Plan::NOTHING);
    let client = socket::connected(family, socket::local_address(&listener), &Plan::NOTHING);
    let accepted = socket::accepted(&listener);
    (listener, client, accepted)
}

fn of_direction<'a>(rows: &'a [SocketLine], direction: &str) -> [&'a SocketLine; 1] {
    let found: Vec<_> = rows.iter().filter(|row| row.direction == direction).collect();
    let Ok(one) = found.try_into() else {
        panic!("not one {direction} connection in {rows:?}");
    };
    one
}
