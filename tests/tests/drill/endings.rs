//! However a drill ends, its rules end with it.

use crate::stage::{
    RunningDrill, SOON, assert_whole, drill, nft, path_with_nft, row, rows, tables,
    tables_have_owners,
};
use keepwatch_tests::{
    answer::agent::keepwatch,
    kernel::{
        netns::{NetworkNamespace, require_root},
        socket::Plan,
    },
    network::{cat_program::CatProgram, path::NetworkPath},
    tool::{self, TemporaryFolder},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
    sync::{Mutex, PoisonError},
};

/// `--undo` finds what is left in every namespace of the host: also what another of these tests has left there.
static LEFTOVERS: Mutex<()> = Mutex::new(());

#[test]
fn however_it_is_ended_no_rule_is_left() {
    require_root();
    let path = NetworkPath::cable();
    let mut program = CatProgram::reading(&path, &Plan::NOTHING);
    for signal in [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP] {
        let command = drill(&path, &[&program.port()], &["--yes", "--for", "5m"]);
        let mut running = RunningDrill::begin(&path, command);
        running.signal(signal);
        if signal == Signal::KILL && !tables_have_owners(&path.near) {
            // There the sets empty themselves, and `--undo` removes the rest.
            drop(running);
            nft(&path.near, "flush ruleset");
            continue;
        }
        if signal == Signal::KILL {
            wait::until("the kernel removes the table", SOON, || {
                tables(&path.near).is_empty().then_some(())
            });
        } else {
            let (code, all) = rows(&running.end());
            assert_eq!((code, all.len()), (1, 1), "it has not noticed yet");
        }
        assert_whole(&path.near);
        program.hears();
    }
}

#[test]
fn a_drill_whose_rules_somebody_takes_away_says_that_it_shows_nothing() {
    require_root();
    let path = NetworkPath::cable();
    if !tables_have_owners(&path.near) {
        // There nothing owns them.
        return;
    }
    let mut program = CatProgram::reading(&path, &Plan::NOTHING);
    let command = drill(&path, &[&program.port()], &["--yes", "--for", "5m"]);
    let mut running = RunningDrill::begin(&path, command);
    // Before it says so, it would begin anew without an owner.
    let mut stderr = BufReader::new(running.child().stderr.take().expect("a pipe"));
    let mut said = String::new();
    stderr.read_line(&mut said).expect("what it said");
    assert!(said.contains("are cut for"), "{said}");
    let drill = running.child().id();
    let owner = wait::until("the nft that owns the table", SOON, || child_that_waits(drill));
    kill_process(owner, Signal::KILL).expect("a signal to a child of our child");
    stderr.read_to_string(&mut said).expect("what it said");
    let output = running.end();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("the drill shows nothing"), "{said}");
    assert_whole(&path.near);
    program.hears();
}

/// The child of a process that is `nft -i`.
fn child_that_waits(parent: u32) -> Option<Pid> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).ok()?.flatten();
    let all: String =
        tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect();
    let pids = all.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
    let is_it = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.ends_with(b"nft\0-i\0"))
    };
    pids.filter(is_it).find_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
}

#[test]
fn on_an_old_kernel_what_a_kill_leaves_is_without_effect_soon_and_removed_by_the_next_drill() {
    require_root();
    let _alone = LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner);
    let path = NetworkPath::cable();
    let mut program = CatProgram::reading(&path, &Plan::NOTHING);
    // An nft that refuses tables with an owner, as one on Linux 5.10 has to.
    let folder = TemporaryFolder::new();
    let script = format!(
        "#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\ncase \"$*\" in\n*-f*) input=$(cat); case \"$input\" in *'flags owner'*) echo 'Error: no owners' >&2; exit 1;; esac\n\
         printf '%s\\n' \"$input\" | {0} \"$@\";;\n*) exec {0} \"$@\";;\nesac\n",
        tool::program("nft").display()
    );
    fs::write(folder.file("nft"), script).expect("a script");
    fs::set_permissions(folder.file("nft"), fs::Permissions::from_mode(0o755)).expect("chmod");
    let begin = |ports: &[&str]| {
        let mut command = drill(&path, ports, &["--yes", "--for", "2s"]);
        command.env("PATH", path_with_nft(Some(&folder)));
        command
    };
    let mut running = RunningDrill::begin(&path, begin(&[&program.port()]));
    running.signal(Signal::KILL);
    drop(running);
    assert_eq!(tables(&path.near).len(), 1, "nobody has removed it");
    wait::until("the set empties itself", SOON, || {
        (!nft(&path.near, "list ruleset").contains("expires")).then_some(())
    });
    program.hears();
    let (_, all) = rows(&begin(&[&program.port()]).output().expect("start keepwatch"));
    assert_eq!(row(&all, program.local)["outcome"], "still_connected");
    assert_whole(&path.near);
}

#[test]
fn what_is_left_behind_is_undone_and_tables_of_others_stay() {
    require_root();
    let _alone = LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner);
    let netns = NetworkNamespace::new();
    // No process has this number (pid_max is at most 2^22), and process 1 is no keepwatch.
    nft(&netns, "add table inet keepwatch_drill_1_0123456789abcdef");
    nft(&netns, "add table inet keepwatch_drill_2147483647_0123456789abcdef");
    nft(&netns, "add table inet keepwatch_drill_of_somebody");
    let undo = || {
        let mut command = keepwatch(["drill", "--undo"]);
        command.env("PATH", path_with_nft(None)).stdin(Stdio::null());
        let output = netns.run(|| command.output()).expect("start keepwatch");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(undo(), (Some(0), "2 tables removed\n".to_owned()));
    assert_eq!(tables(&netns), ["table inet keepwatch_drill_of_somebody"]);
    assert_eq!(undo(), (Some(0), "no drill has left anything behind\n".to_owned()));
}
