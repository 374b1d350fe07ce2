//! What happens to a descriptor or a process between the plan and the change: keepwatch is halted there. Whatever it is, no socket
//! but the one that was meant is touched.

use crate::stage::{Fixer, SOON, UNSET, options, outcome_of, outcomes};
use keepwatch_tests::{
    answer::agent::{keepwatch, sockets_from_kernel},
    kernel::{
        halted_program::{HaltedProgram, SystemCall},
        socket::{self, Plan, Road, SocketOption},
    },
    network::{
        cat_program::CatProgram,
        path::{Ends, NetworkPath},
    },
    wait,
};
use rustix::{
    io::dup2,
    net::{connect, connect_unspec},
};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write as _,
    net::SocketAddr,
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

/// Before the first look at the socket, which then is as it was planned no more; and when it was compared and is written down.
const MOMENTS: [SystemCall; 2] = [SystemCall::PIDFD_GETFD, SystemCall::FDATASYNC];

/// Fixes the connection with this end. At the moment something happens.
#[track_caller]
fn fix_while(
    fixer: &Fixer,
    moment: SystemCall,
    local: SocketAddr,
    happens: impl FnOnce(),
) -> (String, String) {
    let port = local.port().to_string();
    let words = fixer.words(&["--apply", "--local-port", &port]);
    let halted = HaltedProgram::before(keepwatch(words), moment, 1);
    happens();
    let rows: Vec<(SocketAddr, String, Value)> = outcomes(&halted.go_on());
    assert_eq!(rows.len(), 1, "{rows:?}");
    let (outcome, reason) = outcome_of(&rows, local);
    (outcome.to_owned(), reason.to_owned())
}

fn refused(why: &str) -> (String, String) {
    ("refused".to_owned(), why.to_owned())
}

/// The same in a new run, in which nothing happens.
#[track_caller]
fn assert_next_run_fixes(fixer: &Fixer, local: SocketAddr) {
    let rows = fixer.outcomes(&["--apply", "--local-port", &local.port().to_string()]);
    assert_eq!(outcome_of(&rows, local), ("fixed", ""), "{rows:?}");
}

#[test]
fn a_descriptor_that_is_closed_meanwhile_is_left_alone() {
    for moment in MOMENTS {
        let fixer = Fixer::new(NetworkPath::cable());
        let [closed, other] = [(); 2].map(|()| fixer.path.connect(&Plan::NOTHING));
        let fate = fix_while(&fixer, moment, closed.local, || drop(closed.client));
        assert_eq!(fate, refused("other_socket"), "{moment:?}");
        assert_eq!(options(&other.client), UNSET);
    }
}

#[test]
fn another_connection_or_file_under_its_number_is_left_alone_and_it_is_found_again_under_its_new_one()
 {
    for moment in MOMENTS {
        let fixer = Fixer::new(NetworkPath::cable());
        let [meant, other] = [(); 2].map(|()| fixer.path.connect(&Plan::NOTHING));
        let Ends { client: mut place, local, .. } = meant;
        let mut moved = None;
        let fate = fix_while(&fixer, moment, local, || {
            moved = Some(place.try_clone().expect("a second descriptor"));
            dup2(&other.client, &mut place).expect("dup2");
        });
        assert_eq!(fate, refused("other_socket"), "{moment:?}");
        let moved = moved.expect("it has happened");
        assert_eq!((options(&moved), options(&other.client)), (UNSET, UNSET));
        assert_next_run_fixes(&fixer, local);
        assert_eq!((options(&moved), options(&place)), ((true, 60, 10, 3), UNSET));
    }
    let fixer = Fixer::new(NetworkPath::cable());
    let Ends { client: mut place, local, accepted } = fixer.path.connect(&Plan::NOTHING);
    let file: OwnedFd = File::open("/dev/null").expect("a file").into();
    let replace = || dup2(&file, &mut place).expect("dup2");
    let fate = fix_while(&fixer, SystemCall::PIDFD_GETFD, local, replace);
    assert_eq!(fate, refused("other_socket"));
    drop(accepted);
}

#[test]
fn a_process_that_ends_meanwhile_is_gone() {
    for moment in MOMENTS {
        let fixer = Fixer::new(NetworkPath::cable());
        let other = fixer.path.connect(&Plan::NOTHING);
        let mut ending = CatProgram::reading(&fixer.path, &Plan::NOTHING);
        let fate = fix_while(&fixer, moment, ending.local, || {
            ending.child.kill().expect("SIGKILL");
            ending.child.wait().expect("its end");
        });
        assert_eq!(fate, refused("gone"), "{moment:?}");
        assert_eq!(options(&other.client), UNSET);
    }
}

#[test]
fn a_connection_that_is_handed_to_a_child_meanwhile_is_left_alone_and_fixed_by_the_next_run() {
    for moment in MOMENTS {
        let fixer = Fixer::new(NetworkPath::cable());
        let ends = fixer.path.connect(&Plan::NOTHING);
        let local = ends.local;
        let mut child = None;
        let fate = fix_while(&fixer, moment, local, || {
            // The parent closes its own.
            child = Some(CatProgram::reading_from(&fixer.path, ends));
        });
        assert_eq!(fate, refused("other_socket"), "{moment:?}");
        assert_eq!(row_of(&fixer, local), (false, 7200, 9));
        assert_next_run_fixes(&fixer, local);
        assert_eq!(row_of(&fixer, local), (true, 60, 3));
    }
}

/// Keepalive, idle time and number of probes of a connection that another process has.
#[track_caller]
fn row_of(fixer: &Fixer, local: SocketAddr) -> (bool, u32, u32) {
    let (netns, port) = (fixer.path.near.inode().to_string(), local.port().to_string());
    let rows = sockets_from_kernel(&["--netns", &netns, "--local-port", &port]);
    let row = rows.iter().find(|row| row.local == local && row.direction == "outbound");
    let row = row.unwrap_or_else(|| panic!("{local} is not in {rows:?}"));
    (row.keepalive, row.idle.seconds, row.count.probes)
}

#[test]
fn one_of_several_owners_is_enough_whichever_ends_meanwhile() {
    for moment in MOMENTS {
        for victim in 0..2 {
            let fixer = Fixer::new(NetworkPath::cable());
            let Ends { client, accepted, local } = fixer.path.connect(&Plan::NOTHING);
            let shared = |fd: &OwnedFd| fd.try_clone().expect("a second descriptor");
            let second = Ends { client: shared(&client), accepted: shared(&accepted), local };
            let mut owners = [Ends { client, accepted, local }, second]
                .map(|ends| CatProgram::reading_from(&fixer.path, ends));
            let fate = fix_while(&fixer, moment, local, || {
                let victim = &mut owners[victim].child;
                victim.kill().expect("SIGKILL");
                victim.wait().expect("its end");
            });
            assert_eq!(fate, ("fixed".to_owned(), String::new()), "{moment:?} {victim}");
            assert_eq!(row_of(&fixer, local), (true, 60, 3));
        }
    }
}

#[test]
fn what_its_program_sets_meanwhile_stays() {
    for moment in MOMENTS {
        for (option, value) in [
            (SocketOption::Keepalive, 1),
            (SocketOption::KeepIdle, 33),
            (SocketOption::KeepIntvl, 33),
            (SocketOption::KeepCnt, 33),
            (SocketOption::UserTimeout, 33_000),
        ] {
            let fixer = Fixer::new(NetworkPath::cable());
            let ends = fixer.path.connect(&Plan::NOTHING);
            let mut expected = None;
            let (outcome, _) = fix_while(&fixer, moment, ends.local, || {
                Road::Call.set(&ends.client, option, value);
                expected = Some(options(&ends.client));
            });
            assert_eq!(outcome, "changed_since", "{moment:?} {option:?}");
            assert_eq!(Some(options(&ends.client)), expected, "{moment:?} {option:?}");
        }
    }
}

/// A shell that writes to a connection, and then to it, or to nothing, as another program.
struct ExecutingShell {
    shell: std::process::Child,
    _accepted: OwnedFd,
    local: SocketAddr,
}

impl ExecutingShell {
    fn start(path: &NetworkPath, script: &str) -> Self {
        let Ends { client, accepted, local } = path.connect(&Plan::NOTHING);
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::from(client));
        let shell = path.near.run(|| shell.spawn()).expect("start sh");
        Self { shell, _accepted: accepted, local }
    }

    /// It becomes cat(1).
    fn execute(&mut self) {
        self.shell.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("write to sh");
        let comm = format!("/proc/{}/comm", self.shell.id());
        wait::until("it is cat", SOON, || {
            fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "cat").then_some(())
        });
    }
}

impl Drop for ExecutingShell {
    fn drop(&mut self) {
        self.shell.kill().ok();
        self.shell.wait().ok();
    }
}

#[test]
fn the_same_connection_of_a_process_that_executed_another_program_is_fixed_by_a_shell() {
    for moment in MOMENTS {
        let fixer = Fixer::new(NetworkPath::cable());
        let mut shell = ExecutingShell::start(&fixer.path, "read line; exec cat");
        let fate = fix_while(&fixer, moment, shell.local, || shell.execute());
        assert_eq!(fate, ("fixed".to_owned(), String::new()), "{moment:?}");
        assert_eq!(row_of(&fixer, shell.local), (true, 60, 3));
    }
}

#[test]
fn what_a_process_has_closed_when_it_executed_another_program_is_left_alone_by_a_shell() {
    for moment in MOMENTS {
        let fixer = Fixer::new(NetworkPath::cable());
        let other = fixer.path.connect(&Plan::NOTHING);
        let mut shell =
            ExecutingShell::start(&fixer.path, "read line; exec cat >/dev/null 2>/dev/null");
        let fate = fix_while(&fixer, moment, shell.local, || shell.execute());
        assert_eq!(fate, refused("other_socket"), "{moment:?}");
        assert_eq!(options(&other.client), UNSET);
    }
}

#[test]
fn a_connection_that_a_child_shares_meanwhile_is_fixed_for_both() {
    for moment in MOMENTS {
        let fixer = Fixer::new(NetworkPath::cable());
        let Ends { client, accepted, local } = fixer.path.connect(&Plan::NOTHING);
        let shared = |fd: &OwnedFd| fd.try_clone().expect("a second descriptor");
        let of_child = Ends { client: shared(&client), accepted: shared(&accepted), local };
        let mut child = None;
        let fate = fix_while(&fixer, moment, local, || {
            child = Some(CatProgram::reading_from(&fixer.path, of_child));
        });
        assert_eq!(fate, ("fixed".to_owned(), String::new()), "{moment:?}");
        assert_eq!(options(&client), (true, 60, 10, 3));
        assert_eq!(row_of(&fixer, local), (true, 60, 3));
    }
}

#[test]
fn the_same_socket_with_another_connection_is_left_alone() {
    for moment in MOMENTS {
        let fixer = Fixer::new(NetworkPath::cable());
        let Ends { client, accepted, local } = fixer.path.connect(&Plan::NOTHING);
        let mut again = None;
        let fate = fix_while(&fixer, moment, local, || {
            connect_unspec(&client).expect("connect(AF_UNSPEC)");
            fixer.path.near.run(|| connect(&client, &fixer.path.server)).expect("connect again");
            again = Some(fixer.path.accept());
        });
        assert_eq!(fate, refused("other_socket"), "{moment:?}");
        assert_eq!(options(&client), UNSET);
        assert_next_run_fixes(&fixer, socket::local_address(&client));
        drop(accepted);
    }
}

#[test]
fn an_undo_touches_nothing_but_what_was_set_and_finds_that_again_later() {
    let fixer = Fixer::new(NetworkPath::cable());
    let Ends { client: mut place, local, accepted } = fixer.path.connect(&Plan::NOTHING);
    fixer.outcomes(&["--apply"]);
    // Another one has the very values that were set.
    let other = fixer.path.connect(&Plan::keepalive(60, 10, 3));
    let undo = keepwatch(fixer.words(&["--undo"]));
    let halted = HaltedProgram::before(undo, SystemCall::PIDFD_GETFD, 1);
    let moved = place.try_clone().expect("a second descriptor");
    dup2(&other.client, &mut place).expect("dup2");
    let rows = outcomes(&halted.go_on());
    assert_eq!(outcome_of(&rows, local), ("refused", "other_socket"));
    assert_eq!((options(&moved), options(&place)), ((true, 60, 10, 3), (true, 60, 10, 3)));
    let rows = fixer.outcomes(&["--undo"]);
    assert_eq!(outcome_of(&rows, local), ("undone", ""));
    assert_eq!((options(&moved), options(&other.client)), (UNSET, (true, 60, 10, 3)));
    drop(accepted);
}
