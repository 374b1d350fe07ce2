//! Taking back, also what a kill has left half done.

use crate::stage::{Fixer, SOON, UNSET, options, outcome_of, outcomes};
use keepwatch_tests::{
    answer::agent::{assert_refused, keepwatch, once},
    kernel::{
        halted_program::{HaltedProgram, SystemCall},
        socket::{self, Plan, Road, SocketOption},
    },
    network::path::{Ends, NetworkPath},
    wait,
};
use rustix::io::dup2;
use serde_json::{Value, json};
use std::{net::SocketAddr, process::Stdio};

#[test]
fn the_undo_that_is_printed_takes_back_the_run_of_its_own_folder() {
    let fixer = Fixer::new(NetworkPath::cable());
    let ends = fixer.path.connect(&Plan::NOTHING);
    let mut words = fixer.words(&["--apply"]);
    words.retain(|word| word != "--json");
    let said = String::from_utf8(once(words).stdout).expect("UTF-8");
    assert_ne!(options(&ends.client), UNSET, "{said}");
    let (_, rest) = said.split_once("`keepwatch ").expect("a command");
    let (typed, _) = rest.split_once('`').expect("its end");
    assert!(typed.contains(" --state-dir "), "{typed}");
    let undone = once(typed.split(' ').chain(["--source", "kernel"]));
    let said = String::from_utf8_lossy(&undone.stdout).into_owned();
    assert!(said.contains("1 connection as before"), "{typed}: {said}");
    assert_eq!(options(&ends.client), UNSET);
}

#[test]
fn what_was_set_is_taken_back_and_what_its_program_has_set_since_stays() {
    let fixer = Fixer::new(NetworkPath::cable());
    let [left, changed, closed] = [(); 3].map(|()| fixer.path.connect(&Plan::NOTHING));
    assert_eq!(fixer.outcomes(&["--apply"]).len(), 3);
    assert_eq!(options(&left.client), (true, 60, 10, 3));
    Road::Call.set(&changed.client, SocketOption::KeepIdle, 33);
    // In the place of its descriptor there is another connection: that one is nobody's business.
    let Ends { client: mut place, local: closed, .. } = closed;
    let other = fixer.path.connect(&Plan::keepalive(60, 10, 3));
    dup2(&other.client, &mut place).expect("dup2");
    let rows = fixer.outcomes(&["--undo"]);
    assert_eq!(outcome_of(&rows, left.local), ("undone", ""));
    assert_eq!(outcome_of(&rows, changed.local), ("changed_since", ""));
    assert_eq!(outcome_of(&rows, closed), ("refused", "gone"));
    assert_eq!(options(&left.client), UNSET);
    assert_eq!(options(&changed.client), (true, 33, 10, 3));
    assert_eq!(options(&other.client), (true, 60, 10, 3));
    assert_refused(&fixer.run(&["--undo"]), 2, &["nothing is left to be undone"]);
    assert_refused(&fixer.run(&["--undo", "7"]), 2, &["no such run"]);
}

#[test]
fn killed_in_the_middle_it_leaves_nothing_that_cannot_be_taken_back() {
    const N: usize = 1000;
    socket::allow_many();
    let fixer = Fixer::new(NetworkPath::cable());
    let all: Vec<Ends> = (0..N).map(|_| fixer.path.connect(&Plan::NOTHING)).collect();
    let n_on = || all.iter().filter(|ends| options(&ends.client).0).count();
    let mut child = keepwatch(fixer.words(&["--apply"]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start keepwatch");
    wait::until("it has begun", SOON, || (n_on() > 0).then_some(()));
    child.kill().expect("SIGKILL");
    child.wait().expect("its end");
    fixer.outcomes(&["--undo"]);
    for ends in &all {
        assert_eq!(options(&ends.client), UNSET);
    }
}

/// Every moment at which something is done and something is not: two connections with four options each.
const EACH_CALL: std::ops::RangeInclusive<u32> = 1..=8;

#[test]
fn killed_before_any_of_its_calls_it_is_taken_back_whole() {
    let synced = [(SystemCall::FDATASYNC, 1)].into_iter();
    for (call, number) in synced.chain(EACH_CALL.map(|number| (SystemCall::SETSOCKOPT, number))) {
        let fixer = Fixer::new(NetworkPath::cable());
        let all = [(); 2].map(|()| fixer.path.connect(&Plan::NOTHING));
        let halted = HaltedProgram::before(keepwatch(fixer.words(&["--apply"])), call, number);
        let n_touched = all.iter().filter(|ends| options(&ends.client) != UNSET).count();
        // One after the other; the flag comes last.
        let expected = match (call, number) {
            (SystemCall::FDATASYNC, _) | (_, 1) => 0,
            (_, 2..=5) => 1,
            _ => 2,
        };
        assert_eq!(n_touched, expected, "before {call:?} {number}");
        halted.kill();
        let rows = fixer.outcomes(&["--undo"]);
        for ends in &all {
            assert_eq!(
                outcome_of(&rows, ends.local),
                ("undone", ""),
                "{call:?} {number}: {rows:?}"
            );
            assert_eq!(options(&ends.client), UNSET, "{call:?} {number}");
        }
        assert_refused(&fixer.run(&["--undo"]), 2, &["nothing is left to be undone"]);
    }
}

#[test]
fn an_undo_that_is_killed_is_finished_by_the_next_one() {
    for number in EACH_CALL {
        let fixer = Fixer::new(NetworkPath::cable());
        let all = [(); 2].map(|()| fixer.path.connect(&Plan::NOTHING));
        fixer.outcomes(&["--apply"]);
        let undo = keepwatch(fixer.words(&["--undo"]));
        HaltedProgram::before(undo, SystemCall::SETSOCKOPT, number).kill();
        let rows = fixer.outcomes(&["--undo"]);
        for ends in &all {
            assert_eq!(outcome_of(&rows, ends.local), ("undone", ""), "{number}: {rows:?}");
            assert_eq!(options(&ends.client), UNSET, "{number}");
        }
        assert_refused(&fixer.run(&["--undo"]), 2, &["nothing is left to be undone"]);
    }
}

#[test]
fn what_an_undo_had_to_write_is_not_taken_for_the_programs_and_what_it_sets_itself_is() {
    let fixer = Fixer::new(NetworkPath::cable());
    let [left, own] = [(); 2].map(|()| fixer.path.connect(&Plan::NOTHING));
    for _ in 0..2 {
        fixer.outcomes(&["--apply"]);
        assert_eq!(options(&left.client), (true, 60, 10, 3));
        fixer.outcomes(&["--undo"]);
        assert_eq!(options(&left.client), UNSET);
    }
    Road::Call.set(&own.client, SocketOption::KeepCnt, 7);
    fixer.outcomes(&["--apply"]);
    assert_eq!(options(&left.client), (true, 60, 10, 3));
    assert_eq!(options(&own.client), (true, 60, 10, 7));
}

/// What `why` says of the connection with this end. Where hooks make no cookies, each command has ids of its own.
#[track_caller]
fn why(fixer: &Fixer, local: SocketAddr) -> Value {
    let state = fixer.state.file("state").display().to_string();
    let server = fixer.path.server.to_string();
    let output = once(["why", &server, "--json", "--source", "kernel", "--state-dir", &state]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let mut cases = std::str::from_utf8(&output.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a case"));
    let local = Value::from(local.to_string());
    let of_it = |case: &Value| case.pointer("/example/local") == Some(&local);
    cases.find(of_it).expect("its case")
}

#[test]
fn why_proposes_the_same_after_an_undo_and_obeys_what_the_program_sets_itself() {
    let fixer = Fixer::new(NetworkPath::cable());
    let ends = fixer.path.connect(&Plan::NOTHING);
    let before = why(&fixer, ends.local);
    assert_eq!(before["proposal"]["count"], 3, "{before}");
    fixer.outcomes(&["--apply"]);
    fixer.outcomes(&["--undo"]);
    assert_eq!(options(&ends.client), UNSET);
    let after = why(&fixer, ends.local);
    for same in ["proposal", "advice", "finding", "verdict"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    // What is shown is the socket's: it follows no namespace any more.
    assert_eq!(after["example"]["count"], json!({"probes": 9, "from": "socket"}));
    Road::Call.set(&ends.client, SocketOption::KeepCnt, 7);
    assert_eq!(why(&fixer, ends.local)["proposal"]["count"], 7);
}

#[test]
fn of_several_of_one_process_each_is_compared_and_what_is_refused_after_it_was_written_down_is_settled()
 {
    let fixer = Fixer::new(NetworkPath::cable());
    let all = [(); 5].map(|()| fixer.path.connect(&Plan::NOTHING));
    let netns = fixer.path.near.inode().to_string();
    let halted =
        HaltedProgram::before(keepwatch(fixer.words(&["--apply"])), SystemCall::FDATASYNC, 1);
    // All are written down by now, and most were not looked at. Which one was first does not matter.
    let mut clients = all.map(|ends| (ends.local, Some(ends.client), ends.accepted));
    for (_, client, _) in clients.iter_mut().take(2) {
        client.take();
    }
    for (_, client, _) in clients.iter().skip(2).take(2) {
        Road::Call.set(client.as_ref().expect("it is open"), SocketOption::KeepIntvl, 33);
    }
    let rows = outcomes(&halted.go_on());
    for (n, (local, client, _)) in clients.iter().enumerate() {
        let expected = match n {
            0 | 1 => ("refused", "other_socket"),
            2 | 3 => ("changed_since", ""),
            _ => ("fixed", ""),
        };
        assert_eq!(outcome_of(&rows, *local), expected, "{n} in {netns}: {rows:?}");
        if let Some(client) = client.as_ref().filter(|_| n < 4) {
            assert_eq!(options(client), (false, 7200, 33, 9));
        }
    }
    let rows = fixer.outcomes(&["--undo"]);
    let [(local, outcome, _)] = &rows[..] else { panic!("the others are settled: {rows:?}") };
    assert_eq!((*local, outcome.as_str()), (clients[4].0, "undone"));
}
