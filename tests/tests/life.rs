//! The agent's life: what it knows of connections that come and go, how it starts, how it ends, and
//! how it refuses to start.
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

use keepwatch_tests::{
    agent::{Agent, assert_refused, keepwatch, once},
    crowd::Crowd,
    netns::{Netns, require_root},
    row::{Owner, Row},
    socket::{self, Family, Plan},
    tool::Folder,
    truth::process_name,
    wait::until,
};
use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Command, Output},
    time::Duration,
};

const A_SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(20);
/// So that events, not snapshots, tell the agent.
const NO_SNAPSHOT_FOR_LONG: [&str; 2] = ["--interval", "1h"];

#[test]
fn a_connection_is_in_the_table_within_a_second_and_gone_a_second_after_its_end() {
    let netns = Netns::new();
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
fn a_listener_and_ten_thousand_connections_in_another_namespace_are_all_there_with_their_owners() {
    const N_CONNECTIONS: u32 = 10_000;
    let netns = Netns::new();
    let address: SocketAddr = "127.0.0.1:7000".parse().expect("an address");
    let mut server = Crowd::start(&netns, "serve", address, N_CONNECTIONS);
    server.wait_for("listening");
    let mut client = Crowd::start(&netns, "connect", address, N_CONNECTIONS);
    client.wait_for("ready");
    server.wait_for("ready");

    let agent = Agent::start(&NO_SNAPSHOT_FOR_LONG);
    let rows = agent.sockets(&["--all", "--netns", &netns.inode().to_string()]);
    let said: BTreeSet<&Owner> = rows.iter().flat_map(|row| &row.owners).collect();
    let listener = owners(server.pid()).into_iter().chain(owners(client.pid()));
    let truth: BTreeSet<Owner> = listener.collect();
    assert_eq!(rows.len(), 20_001);
    assert!(rows.iter().all(|row| row.owners.len() == 1), "each has one owner");
    assert!(said == truth.iter().collect(), "the owners are those that /proc/PID/fd shows");
    let n_in_state = |state| rows.iter().filter(|row| row.state == state).count();
    assert_eq!((n_in_state("listen"), n_in_state("established")), (1, 20_000));
    let n_of_server = |row: &&Row| row.owners.iter().any(|owner| owner.pid == server.pid());
    let inbound =
        rows.iter().filter(|row| row.state == "established" && row.direction == "inbound");
    assert_eq!(inbound.filter(n_of_server).count(), 10_000);

    let (status, _) = agent.stop();
    assert!(status.success());
}

/// What /proc says: each socket descriptor of a process.
fn owners(pid: u32) -> Vec<Owner> {
    let process = process_name(pid);
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
    descriptors
        .filter_map(|entry| {
            let path = entry.expect("an entry").path();
            let target = fs::read_link(&path).expect("a descriptor's link");
            let fd = path.file_name()?.to_str()?.parse().ok();
            let is_socket = target.to_string_lossy().starts_with("socket:");
            is_socket.then(|| Owner { pid, fd, process: process.clone() })
        })
        .collect()
}

#[test]
fn sigterm_ends_it_with_success_and_the_kernel_keeps_nothing() {
    let agent = Agent::start(&[]);
    let ids = KernelIds::of(agent.pid());
    assert!(!ids.programs.is_empty() && !ids.maps.is_empty(), "{ids:?}");
    assert!(ids.are_in_the_kernel(), "{ids:?}");
    let socket = agent.socket();
    assert!(socket.exists());

    let (status, said) = agent.stop();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!socket.exists(), "the API socket is removed");
    // Freed after a grace period of RCU.
    until("its programs, maps and links are gone", SOON, || ids.are_gone().then_some(()));
}

/// BPF objects, by their ids, which the kernel does not use again soon.
#[derive(Debug)]
struct KernelIds {
    programs: BTreeSet<u32>,
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
}

impl KernelIds {
    /// Those that a process has descriptors of.
    fn of(pid: u32) -> Self {
        let mut lines = String::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("its descriptors") {
            let path = entry.expect("an entry").path();
            lines.push_str(&fs::read_to_string(path).unwrap_or_default());
        }
        let ids = |key: &str| {
            let values =
                lines.lines().filter_map(|line| line.strip_prefix(key)?.trim().parse().ok());
            values.collect()
        };
        Self { programs: ids("prog_id:"), maps: ids("map_id:"), links: ids("link_id:") }
    }

    fn loaded() -> Self {
        let programs = aya::programs::loaded_programs();
        let maps = aya::maps::loaded_maps();
        let links = aya::programs::loaded_links();
        Self {
            programs: programs.filter_map(|info| Some(info.ok()?.id())).collect(),
            maps: maps.filter_map(|info| Some(info.ok()?.id())).collect(),
            links: links.filter_map(|info| Some(info.ok()?.id())).collect(),
        }
    }

    fn are_in_the_kernel(&self) -> bool {
        let loaded = Self::loaded();
        self.programs.is_subset(&loaded.programs)
            && self.maps.is_subset(&loaded.maps)
            && self.links.is_subset(&loaded.links)
    }

    fn are_gone(&self) -> bool {
        let loaded = Self::loaded();
        self.programs.is_disjoint(&loaded.programs)
            && self.maps.is_disjoint(&loaded.maps)
            && self.links.is_disjoint(&loaded.links)
    }
}

#[test]
fn after_start_up_no_thread_of_it_has_a_capability_or_can_get_one() {
    let agent = Agent::start(&[]);
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).expect("its threads");
    for task in tasks {
        let status = task.expect("an entry").path().join("status");
        let text = fs::read_to_string(&status).expect("a thread's status");
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.map(str::trim).map(str::to_owned).unwrap_or_default()
        };
        for key in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            assert_eq!(value(key), "0000000000000000", "{key} in {}", status.display());
        }
        assert_eq!(value("NoNewPrivs:"), "1");
    }
}

#[test]
fn after_kill_9_a_fresh_start_has_every_live_socket_at_once() {
    let netns = Netns::new();
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

#[test]
fn it_starts_in_less_than_a_second() {
    let began = keepwatch_tests::wait::now();
    let agent = Agent::start(&[]);
    let took = began.elapsed();
    drop(agent);
    assert!(took < A_SECOND, "{took:?}");
}

#[test]
fn a_port_that_is_taken_is_said_with_a_way_out() {
    require_root();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let folder = Folder::new();
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
fn without_root_it_says_what_it_needs() {
    require_root();
    let folder = Folder::new();
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

/// `keepwatch`, copied to where every user may run it, as the user nobody.
fn as_nobody(folder: &Folder) -> Command {
    const NOBODY: u32 = 65_534;
    let copy = folder.file("keepwatch");
    fs::copy(keepwatch_tests::tool::keepwatch(), &copy).expect("copy keepwatch");
    let mut command = Command::new(copy);
    command.env_clear().uid(NOBODY).gid(NOBODY);
    command
}

#[test]
fn a_wrong_config_is_named_with_its_line_and_nothing_starts() {
    let folder = Folder::new();
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
    refused("\n\ninterval = \"never\"\n", &["config.toml:3", "interval", "15s"]);
    refused("interval = \n", &["config.toml"]);
    refused(
        "[[path]]\nname = \"db\"\npeers = \"10.0.0.0/33\"\nidle_limit = \"aws\"\n",
        &["config.toml", "path"],
    );
}

#[test]
fn an_unreadable_config_is_named() {
    let folder = Folder::new();
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

fn run_in(folder: &Folder, args: &[&str]) -> Output {
    let socket = folder.file("keepwatch.sock").display().to_string();
    let own = ["--listen", "127.0.0.1:0"];
    let own = if args.contains(&"--listen") { &[][..] } else { &own[..] };
    let mut command = keepwatch(["run", "--socket", &socket]);
    command.args(own).args(args).output().expect("start keepwatch")
}

fn loopback_connection(family: Family) -> (OwnedFd, OwnedFd, OwnedFd) {
    let listener = socket::listener(family, family.loopback(), 1, &Plan::NOTHING);
    let client = socket::connected(family, socket::local_address(&listener), &Plan::NOTHING);
    let accepted = socket::accepted(&listener);
    (listener, client, accepted)
}

fn of_direction<'a>(rows: &'a [Row], direction: &str) -> [&'a Row; 1] {
    let found: Vec<_> = rows.iter().filter(|row| row.direction == direction).collect();
    let Ok(one) = found.try_into() else {
        panic!("not one {direction} connection in {rows:?}");
    };
    one
}
