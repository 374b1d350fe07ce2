//! What a contained agent may not do, tried from within: by a process in the very same state. What it must be able to do is
//! shown by all other tests, whose agents are in it too.

use keepwatch_tests::{
    answer::agent::{Agent, once},
    kernel::sandboxed::{AgentFolders, Attempt, has_landlock},
    skip::skip,
};
use rustix::io::Errno;
use std::{fs, os::unix::fs::PermissionsExt as _};

/// What landlock answers.
const NO_ACCESS: Attempt = Attempt::Refused(Errno::ACCESS);
/// What the second filter answers.
const NO_SUCH_CALL: Attempt = Attempt::Refused(Errno::NOSYS);

/// Whether paths are bounded here; if not, says so.
fn bounds_paths() -> bool {
    if !has_landlock() {
        skip("landlock", "which this kernel does not have, or has off");
    }
    has_landlock()
}

#[test]
fn it_writes_its_history_and_nothing_else() {
    if !bounds_paths() {
        return;
    }
    let folders = AgentFolders::new();
    let at = |name: &str| folders.path(name).to_str().expect("UTF-8").to_owned();
    fs::write(at("elsewhere"), "x").expect("a file");
    // Of the system's own files, only what changes nothing if it is let. A guest has no /etc/passwd.
    let is_there = |path: &&str| fs::exists(path).expect("a look");
    for path in ["/etc/passwd", "/proc/sys/kernel/core_pattern"].into_iter().filter(is_there) {
        assert_eq!(folders.inside(["append", path]), NO_ACCESS, "{path}");
        assert_eq!(folders.outside(["append", path]), Attempt::Done, "else it can: {path}");
    }
    for path in [at("elsewhere"), at("etc/config.toml")] {
        for what in ["append", "cut", "remove"] {
            assert_eq!(folders.inside([what, &path]), NO_ACCESS, "{what} {path}");
        }
        assert_eq!(folders.outside(["cut", &path]), Attempt::Done, "else it can: {path}");
    }
    for path in [at("new"), at("etc/new"), at("run/new"), at("host/new")] {
        assert_eq!(folders.inside(["write", &path]), NO_ACCESS, "{path}");
        assert_eq!(folders.inside(["symlink", "x", &path]), NO_SUCH_CALL, "{path}");
        assert_eq!(folders.inside(["link", &at("elsewhere"), &path]), NO_SUCH_CALL, "{path}");
        assert_eq!(folders.inside(["folder", &path]), NO_SUCH_CALL, "{path}");
        assert!(!fs::exists(&path).expect("a look"), "{path}");
    }
    for name in ["state/history.db", "state/history.db-wal"] {
        assert_eq!(folders.inside(["write", &at(name)]), Attempt::Done, "{name}");
        assert_eq!(folders.inside(["cut", &at(name)]), Attempt::Done, "{name}");
    }
    let (history, aside) = (at("state/history.db"), at("state/history.db.corrupt-1"));
    assert_eq!(folders.inside(["rename", &history, &aside]), Attempt::Done, "set aside");
    assert_eq!(folders.inside(["rename", &aside, &at("elsewhere")]), NO_ACCESS, "out of it");
    assert_eq!(folders.inside(["remove", &aside]), Attempt::Done);
    fs::write(at("run/k.sock"), "x").expect("what is to be removed at the end");
    assert_eq!(folders.inside(["remove", &at("run/k.sock")]), Attempt::Done);
}

#[test]
fn it_reads_what_it_shows_and_not_what_is_secret() {
    if !bounds_paths() {
        return;
    }
    let folders = AgentFolders::new();
    let at = |name: &str| folders.path(name).to_str().expect("UTF-8").to_owned();
    fs::write(at("secret"), "x").expect("a file");
    for path in ["/etc/shadow", "/etc/passwd", "/root/.bashrc", &at("secret")] {
        if fs::exists(path).expect("a look") {
            assert_eq!(folders.inside(["read", path]), NO_ACCESS, "{path}");
            assert_eq!(folders.outside(["read", path]), Attempt::Done, "else it can: {path}");
        }
    }
    let is_there = |path: &&str| fs::exists(path).expect("a look");
    for path in ["/", "/etc", "/root", &at("")].into_iter().filter(is_there) {
        assert_eq!(folders.inside(["list", path]), NO_ACCESS, "{path}");
    }
    for path in ["/proc/1/cgroup", "/proc/1/stat", "/proc/net/sockstat", &at("etc/config.toml")] {
        assert_eq!(folders.inside(["read", path]), Attempt::Done, "{path}");
    }
    assert_eq!(folders.inside(["list", "/proc"]), Attempt::Done);
}

#[test]
fn names_of_containers_are_read_where_runtimes_keep_them_and_the_secrets_of_pods_are_not() {
    if !bounds_paths() {
        return;
    }
    let folders = AgentFolders::new();
    let at = |name: &str| folders.path(name).to_str().expect("UTF-8").to_owned();
    for folder in ["run", "var/lib/docker/containers/c", "var/lib/kubelet/pods", "var/log/pods/p"] {
        fs::create_dir_all(folders.path("host").join(folder)).expect("a folder");
    }
    for file in
        ["var/lib/docker/containers/c/x", "var/lib/kubelet/pods/secret", "var/log/pods/p/log"]
    {
        fs::write(folders.path("host").join(file), "x").expect("a file");
    }
    let inside =
        |what: &str, path: &str| folders.inside([what, at(&format!("host/{path}")).as_str()]);
    assert_eq!(inside("read", "var/lib/docker/containers/c/x"), Attempt::Done);
    assert_eq!(inside("list", "var/log/pods/p"), Attempt::Done);
    assert_eq!(inside("list", "run"), Attempt::Done, "containerd may start later");
    assert_eq!(inside("read", "var/log/pods/p/log"), NO_ACCESS, "only the names");
    assert_eq!(inside("read", "var/lib/kubelet/pods/secret"), NO_ACCESS);
    assert_eq!(inside("list", "var/lib"), NO_ACCESS);
}

#[test]
fn it_runs_no_program_and_makes_no_process() {
    let folders = AgentFolders::new();
    assert_eq!(folders.outside(["spawn", "/proc/self/exe"]), Attempt::Done);
    assert_eq!(folders.inside(["spawn", "/bin/true"]), NO_SUCH_CALL, "by fork");
    assert_eq!(folders.inside(["exec", "/bin/true"]), Attempt::Killed, "in its place");
    let own = std::env::current_exe().expect("our own path");
    let own = own.to_str().expect("UTF-8");
    assert_eq!(folders.outside(["execute memory of", own]), Attempt::Done);
    let refused = folders.inside(["execute memory of", "/proc/self/stat"]);
    assert_eq!(refused, NO_SUCH_CALL, "no new code in its own memory");
    assert_eq!(folders.inside(["thread"]), Attempt::Done, "a thread is no process");
}

#[test]
fn it_makes_no_socket_of_any_family() {
    const STREAM: &str = "1";
    const DATAGRAM: &str = "2";
    const RAW: &str = "3";
    let folders = AgentFolders::new();
    let (unix, inet, inet6, netlink, packet, vsock) = ("1", "2", "10", "16", "17", "40");
    for (family, kind) in [
        (unix, STREAM),
        (unix, DATAGRAM),
        (inet, STREAM),
        (inet, DATAGRAM),
        (inet, RAW),
        (inet6, STREAM),
        (netlink, RAW),
        (packet, RAW),
        (vsock, STREAM),
    ] {
        assert_eq!(folders.inside(["socket", family, kind]), NO_SUCH_CALL, "{family} {kind}");
    }
    assert_eq!(folders.outside(["socket", netlink, RAW]), Attempt::Done, "else it can");
    assert_eq!(folders.inside(["pair"]), Attempt::Done, "which leads to itself");
}

#[test]
fn what_only_an_intruder_would_call_kills_it() {
    let folders = AgentFolders::new();
    for (name, number) in [
        ("execve", libc::SYS_execve),
        ("execveat", libc::SYS_execveat),
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_writev", libc::SYS_process_vm_writev),
        ("pidfd_getfd", libc::SYS_pidfd_getfd),
        ("mount", libc::SYS_mount),
        ("setns", libc::SYS_setns),
        ("unshare", libc::SYS_unshare),
        ("init_module", libc::SYS_init_module),
        ("finit_module", libc::SYS_finit_module),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("keyctl", libc::SYS_keyctl),
    ] {
        assert_eq!(folders.inside(["call", &number.to_string()]), Attempt::Killed, "{name}");
    }
}

#[test]
fn other_calls_that_it_does_not_need_are_as_if_they_were_missing() {
    let folders = AgentFolders::new();
    for (name, number) in [
        ("setuid", libc::SYS_setuid),
        ("capset", libc::SYS_capset),
        ("seccomp", libc::SYS_seccomp),
        ("memfd_create", libc::SYS_memfd_create),
        ("connect", libc::SYS_connect),
        ("bind", libc::SYS_bind),
        ("sendmsg", libc::SYS_sendmsg),
        ("kill", libc::SYS_kill),
        // Of bpf(2), BPF_MAP_CREATE is 0.
        ("bpf", libc::SYS_bpf),
    ] {
        assert_eq!(folders.inside(["call", &number.to_string()]), NO_SUCH_CALL, "{name}");
    }
    let own = std::process::id().to_string();
    assert_eq!(folders.inside(["signal", &own]), NO_SUCH_CALL);
    assert_eq!(folders.outside(["signal", &own]), Attempt::Done, "else it can");
    assert_eq!(folders.inside(["call", &libc::SYS_getpid.to_string()]), Attempt::Done);
}

#[test]
fn it_gives_nobody_a_right_to_a_file() {
    let folders = AgentFolders::new();
    let path = folders.path("state/history.db");
    fs::write(&path, "x").expect("a file");
    let file = path.to_str().expect("UTF-8");
    let mode = || fs::metadata(&path).expect("a file").permissions().mode() & 0o7777;
    let before = mode();
    for wide in ["4755", "666", "644"] {
        assert_eq!(folders.inside(["mode", wide, file]), NO_SUCH_CALL, "{wide}");
        assert_eq!(mode(), before);
    }
    assert_eq!(folders.inside(["mode", "640", file]), Attempt::Done, "it takes rights away");
    assert_eq!(mode(), 0o640);
}

#[test]
fn every_thread_of_an_agent_is_in_it_and_doctor_and_metrics_say_so() {
    let filters = |agent: &Agent| -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).expect("its threads");
        let of_task = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("status")).expect("a thread's status");
            let line = text.lines().find_map(|line| line.strip_prefix("Seccomp:"));
            line.expect("a mode").trim().to_owned()
        };
        tasks.flatten().map(of_task).collect()
    };
    let sandbox = |agent: &Agent, mechanism: &str| -> f64 {
        let answer = keepwatch_tests::answer::http::get(agent.address(), "/metrics", "*/*");
        let text = answer.expect("a scrape").body;
        let row = format!("keepwatch_sandbox{{mechanism=\"{mechanism}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&row));
        value.expect("a row").parse().expect("a number")
    };
    let doctor = |agent: &Agent| {
        let socket = agent.socket();
        let output = once(["doctor", "--socket", socket.to_str().expect("UTF-8")]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let agent = Agent::start(&[]);
    let modes = filters(&agent);
    assert!(modes.len() >= 4 && modes.iter().all(|mode| mode == "2"), "{modes:?}");
    let has_landlock = has_landlock();
    assert!((sandbox(&agent, "landlock") - f64::from(u8::from(has_landlock))).abs() < 0.1);
    assert!((sandbox(&agent, "seccomp") - 1.0).abs() < 0.1);
    let said = doctor(&agent);
    assert!(said.contains("the agent has landlock") == has_landlock, "{said}");
    assert!(said.contains("seccomp whole"), "{said}");
    let (_, said) = agent.stop();
    let named = if has_landlock { "landlock,seccomp" } else { "sandbox=seccomp" };
    assert!(said.contains(named), "{said}");

    let agent = Agent::start(&["--sandbox", "off"]);
    assert!(filters(&agent).iter().all(|mode| mode == "0"), "it is as it was asked to be");
    assert!(sandbox(&agent, "landlock") + sandbox(&agent, "seccomp") < 0.1);
    assert!(doctor(&agent).contains("--sandbox off"));
}
