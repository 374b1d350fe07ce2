//! A security module stands between keepwatch and the sockets of other programs. In guests alone, and in each as the last: what Yama
//! forbids to everybody is forbidden until the next boot.

use keepwatch_tests::{
    answer::agent::once,
    guest::ptrace_scope::PtraceScope,
    kernel::{netns::require_root, socket::Plan},
    network::path::NetworkPath,
    skip::skip,
    tool::TemporaryFolder,
};
use rustix::net::sockopt;
use std::{os::fd::OwnedFd, process::Output};

#[test]
fn what_yama_forbids_is_one_clear_line_and_nothing_is_touched() {
    require_root();
    let Some(yama) = PtraceScope::of_guest() else {
        skip("Yama that may be set", "only a guest's is ours");
        return;
    };
    let (path, state) = (NetworkPath::cable(), TemporaryFolder::new());
    let journal = state.file("state").display().to_string();
    let netns = path.near.inode().to_string();
    let is_on = |end: &OwnedFd| sockopt::socket_keepalive(end).expect("SO_KEEPALIVE");
    let run = |words: &[&str]| -> Output { once(words.iter().chain(&["--netns", netns.as_str()])) };
    let fix = ["fix", "--apply", "--state-dir", journal.as_str()];
    // What it forbids to others, root with CAP_SYS_PTRACE may do.
    for scope in [0, 1, 2] {
        yama.set(scope);
        let ends = path.connect(&Plan::NOTHING);
        let port = ends.local.port().to_string();
        let output = run(&[&fix[..], &["--local-port", &port]].concat());
        assert!(output.status.success(), "ptrace_scope {scope}: {output:?}");
        assert!(is_on(&ends.client), "ptrace_scope {scope}: {output:?}");
    }
    yama.set(3);
    let ends = path.connect(&Plan::NOTHING);
    let of_hooks = "kernel.yama.ptrace_scope is 3, which forbids it to everybody until the next boot; nothing was changed";
    let of_proc = "(needs kernel.yama.ptrace_scope below 3) are not";
    for (command, source, expected) in [
        (&fix[..], "kernel", of_hooks),
        (&fix, "proc", of_proc),
        (&["fix"], "proc", of_proc),
        (&["check"], "proc", of_proc),
    ] {
        let words = [command, &["--json", "--source", source]].concat();
        let output = run(&words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{words:?}: {said}");
        assert!(said.lines().count() == 1 && said.contains(expected), "{words:?}: {said}");
        let rows = String::from_utf8_lossy(&output.stdout);
        assert!(rows.lines().all(|row| row.contains("not_permitted")), "{words:?}: {rows}");
    }
    assert!(!is_on(&ends.client));
}
