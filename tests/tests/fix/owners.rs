//! Whose connections are fixed: of MPTCP, in containers, of processes that nobody may look at.

use crate::stage::{Fixer, SOON, UNSET, options, outcome_of, outcomes};
use keepwatch_tests::{
    answer::agent::{Agent, assert_refused, keepwatch, sockets_from_kernel},
    kernel::{
        container::with_own_pids,
        netns::NetworkNamespace,
        socket::{self, Family, Plan, Road, SocketOption},
    },
    network::{
        cat_program::{CatProgram, cat},
        ending::exchange,
        kernel_tls,
        path::{Ends, NetworkPath},
    },
    skip::skip,
    tool::TemporaryFolder,
    wait,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};
use std::{
    env, fs,
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

const NOBODY: &str = "65534";

#[track_caller]
fn is_on(fixer: &Fixer, local: SocketAddr) -> bool {
    let (netns, port) = (fixer.path.near.inode().to_string(), local.port().to_string());
    let rows = sockets_from_kernel(&["--netns", &netns, "--local-port", &port]);
    let row = rows.iter().find(|row| row.local == local && row.direction == "outbound");
    row.unwrap_or_else(|| panic!("{local} is not in {rows:?}")).keepalive
}

#[test]
fn a_connection_by_mptcp_is_fixed_and_taken_back_or_is_as_it_was() {
    if !Path::new("/proc/sys/net/mptcp").is_dir() {
        skip("MPTCP", "which this kernel does not have");
        return;
    }
    let (near, far) = NetworkNamespace::pair();
    let of_mptcp = || {
        let protocol = Some(rustix::net::ipproto::MPTCP);
        let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
        socket_with(family, kind, SocketFlags::CLOEXEC, protocol).expect("a socket of MPTCP")
    };
    let address: SocketAddr = "10.77.0.2:2717".parse().expect("an address");
    for netns in [&near, &far] {
        netns.set("mptcp/enabled", 1);
    }
    let listener = far.run(|| {
        let listener = of_mptcp();
        bind(&listener, &address).expect("bind");
        listen(&listener, 8).expect("listen");
        listener
    });
    let [client, twin] = [(); 2].map(|()| {
        near.run(|| {
            let client = of_mptcp();
            connect(&client, &address).expect("connect");
            client
        })
    });
    let accepted = [(); 2].map(|()| socket::accepted(&listener));
    let takes_all = [SocketOption::KeepIdle, SocketOption::KeepIntvl, SocketOption::KeepCnt]
        .into_iter()
        .all(|option| Road::Call.try_set(&twin, option, 7).is_ok());
    let (local, state) = (socket::local_address(&client), TemporaryFolder::new());
    let fix = |more: &[&str]| {
        let mut command = keepwatch(["fix", "--json", "--source", "kernel", "--state-dir"]);
        command.arg(state.file("state")).args(more);
        // No process is in the namespace of the test, which has it open: that is how it is found, and listed, which gives subflows their
        // cookies, unless an agent on this host has done that.
        let rows = outcomes(&command.output().expect("start keepwatch"));
        let (outcome, reason) = outcome_of(&rows, local);
        (outcome.to_owned(), reason.to_owned())
    };
    let as_text = |pair: (&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
    let (netns, port) = (near.inode().to_string(), local.port().to_string());
    let fate = fix(&["--apply", "--netns", &netns, "--local-port", &port]);
    if takes_all {
        assert_eq!((fate, options(&client)), (as_text(("fixed", "")), (true, 60, 10, 3)));
        assert_eq!(fix(&["--undo"]), as_text(("undone", "")));
    } else {
        assert_eq!(fate, as_text(("refused", "failed")));
    }
    assert_eq!(options(&client), UNSET);
    drop(accepted);
}

/// cat(1) with a connection, as this starts it, and ends with it.
struct Contained {
    child: Child,
    _accepted: OwnedFd,
    local: SocketAddr,
}

impl Contained {
    fn start(path: &NetworkPath, start: impl FnOnce(OwnedFd) -> Child + Send) -> Self {
        let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
        Self { child: path.near.run(|| start(client)), _accepted: accepted, local }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_process_in_a_pid_namespace_of_its_own_is_reached_and_from_inside_nobody_is() {
    let fixer = Fixer::new(NetworkPath::cable());
    let contained = Contained::start(&fixer.path, |client| {
        with_own_pids(|| cat(client.into(), Stdio::null()).spawn().expect("start cat"))
    });
    let outside = CatProgram::reading(&fixer.path, &Plan::NOTHING);
    let inside = with_own_pids(|| fixer.run(&["--apply"]));
    assert_refused(&inside, 3, &["this pid namespace is not the host's", "nothing was changed"]);
    assert!(!is_on(&fixer, contained.local) && !is_on(&fixer, outside.local));
    let rows = fixer.outcomes(&["--apply"]);
    assert_eq!(outcome_of(&rows, contained.local), ("fixed", ""));
    assert!(is_on(&fixer, contained.local) && is_on(&fixer, outside.local));
}

#[test]
fn a_process_in_a_user_namespace_is_reached_and_its_root_has_no_capability_for_others() {
    let fixer = Fixer::new(NetworkPath::cable());
    let contained = Contained::start(&fixer.path, |client| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "cat"]).stdin(client).stdout(Stdio::null());
        unshare.spawn().expect("unshare of util-linux")
    });
    let comm = format!("/proc/{}/comm", contained.pid());
    wait::until("it is cat", SOON, || {
        fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "cat").then_some(())
    });
    let outside = CatProgram::reading(&fixer.path, &Plan::NOTHING);
    let agent = Agent::start(&["--interval", "500ms"]);
    let netns = fixer.path.near.inode().to_string();
    wait::until("the agent has met both", SOON, || {
        (agent.sockets(&["--netns", &netns, "--process", "cat"]).len() == 2).then_some(())
    });
    let mut of_its_root = Command::new("unshare");
    of_its_root.args(["--user", "--map-root-user"]).arg(keepwatch_tests::tool::keepwatch());
    of_its_root.args(["fix", "--apply", "--source", "agent", "--netns", &netns, "--socket"]);
    of_its_root.arg(agent.socket()).arg("--state-dir").arg(fixer.state.file("of-its-root"));
    let output = of_its_root.output().expect("unshare of util-linux");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("a user namespace forbids it; nothing was changed"), "{said}");
    assert!(!is_on(&fixer, contained.local) && !is_on(&fixer, outside.local));
    let rows = fixer.outcomes(&["--apply"]);
    assert_eq!(outcome_of(&rows, contained.local), ("fixed", ""));
    assert!(is_on(&fixer, contained.local) && is_on(&fixer, outside.local));
}

#[test]
fn a_connection_that_the_kernel_encrypts_is_fixed_and_taken_back_and_goes_on() {
    let fixer = Fixer::new(NetworkPath::cable());
    let encrypted = fixer.path.connect(&Plan::NOTHING);
    if let Err(error) = kernel_tls::encrypt(&encrypted) {
        skip("kTLS", format!("which this kernel does not have: {error}"));
        return;
    }
    for (word, outcome, expected) in
        [("--apply", "fixed", (true, 60, 10, 3)), ("--undo", "undone", UNSET)]
    {
        exchange(&encrypted.client, &encrypted.accepted);
        let rows = fixer.outcomes(&[word]);
        assert_eq!(outcome_of(&rows, encrypted.local), (outcome, ""));
        assert_eq!(options(&encrypted.client), expected);
    }
    exchange(&encrypted.client, &encrypted.accepted);
}

/// cat(1) in a file that may be run, but not read: its processes are not dumpable, and nobody but root may look at them.
fn unreadable_cat(folder: &TemporaryFolder) -> PathBuf {
    let path = env::var_os("PATH").expect("PATH");
    let cat = env::split_paths(&path).map(|folder| folder.join("cat")).find(|cat| cat.exists());
    let copy = folder.file("cat");
    fs::copy(cat.expect("cat"), &copy).expect("a copy of cat");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o111)).expect("chmod");
    copy
}

#[test]
fn a_process_that_is_not_dumpable_is_reached_by_root_and_by_one_capability() {
    let folder = TemporaryFolder::new();
    let cat = unreadable_cat(&folder);
    let fixer = Fixer::new(NetworkPath::cable());
    let start = || {
        let program = Contained::start(&fixer.path, |client| {
            let mut setpriv = Command::new("setpriv");
            // With its first program it loses its capabilities, and with them the right to read the second.
            setpriv.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "env"]).arg(&cat);
            setpriv.stdin(client).stdout(Stdio::null());
            setpriv.spawn().expect("setpriv of util-linux")
        });
        let fds = format!("/proc/{}/fd", program.pid());
        let comm = format!("/proc/{}/comm", program.pid());
        wait::until("it is cat", SOON, || {
            fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "cat").then_some(())
        });
        assert_eq!(fs::metadata(fds).expect("its descriptors").uid(), 0, "it is dumpable");
        program
    };
    let by_root = start();
    let rows = fixer.outcomes(&["--apply"]);
    assert_eq!(outcome_of(&rows, by_root.local), ("fixed", ""));
    assert!(is_on(&fixer, by_root.local));
    let by_one = start();
    let agent = Agent::start(&["--interval", "500ms", "--socket-group", "nogroup"]);
    let port = by_one.local.port().to_string();
    wait::until("the agent has met it", SOON, || {
        agent.sockets(&["--local-port", &port, "--process", "cat"]).pop()
    });
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    command.args(["--inh-caps", "-all,+sys_ptrace", "--ambient-caps", "-all,+sys_ptrace"]);
    command.arg(keepwatch_tests::tool::keepwatch());
    command.args(["fix", "--apply", "--json", "--source", "agent", "--local-port", &port]);
    command.arg("--socket").arg(agent.socket()).arg("--state-dir").arg(folder.file("state"));
    let rows = outcomes(&command.output().expect("setpriv of util-linux"));
    assert_eq!(outcome_of(&rows, by_one.local), ("fixed", ""));
    assert!(is_on(&fixer, by_one.local));
}

#[test]
fn connections_of_every_family_are_found_by_both_their_addresses() {
    let fixer = Fixer::new(NetworkPath::cable());
    let all = [(Family::V6, "[fd77::2]:2718"), (Family::Mapped, "[::ffff:10.77.0.2]:2719")];
    let ends = all.map(|(family, server)| {
        let server = server.parse().expect("an address");
        let listener = fixer.path.far.run(|| socket::listener(family, server, 1, &Plan::NOTHING));
        let client = fixer.path.near.run(|| socket::connected(family, server, &Plan::NOTHING));
        (socket::accepted(&listener), client)
    });
    let rows = fixer.outcomes(&["--apply"]);
    for (_, client) in &ends {
        let bound = socket::local_address(client);
        let local = SocketAddr::new(bound.ip().to_canonical(), bound.port());
        assert_eq!(outcome_of(&rows, local), ("fixed", ""));
        assert_eq!(options(client), (true, 60, 10, 3));
    }
}
