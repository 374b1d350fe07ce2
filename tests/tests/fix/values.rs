//! What is set, what is left alone, and where the values come from.

use crate::stage::{Fixer, SOON, UNSET, options, outcome_of, outcomes};
use keepwatch_tests::{
    answer::agent::{Agent, once},
    kernel::socket::{self, Plan, SocketSettings},
    network::{
        ending::{error_at_end, exchange, forgotten, wait_for_quiet},
        middlebox::{MiddleboxAnswer, drawn_idle_limit},
        path::{Ends, NetworkPath},
    },
    tool::TemporaryFolder,
    wait,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt,
};
use serde_json::Value;
use std::{net::SocketAddr, thread, time::Duration};

fn the_fixed_connection_lives_and_its_twin_dies(answer: MiddleboxAnswer) {
    let limit_s = drawn_idle_limit(8..16);
    let Some(path) = NetworkPath::middlebox(limit_s, answer) else {
        return;
    };
    let fixer = &Fixer::new(path);
    let (fixed, twin) = (fixer.path.connect(&Plan::NOTHING), fixer.path.connect(&Plan::NOTHING));
    let speak = || {
        for Ends { client, accepted, .. } in [&fixed, &twin] {
            exchange(client, accepted);
        }
    };
    let (port, limit) = (fixed.local.port().to_string(), format!("{limit_s}s"));
    // On a busy host that may take longer than the path remembers.
    let rows = thread::scope(|scope| {
        let words = ["--apply", "--idle-limit", &limit, "--local-port", &port];
        let fixing = scope.spawn(move || fixer.outcomes(&words));
        wait::until("it is fixed", SOON, || {
            speak();
            fixing.is_finished().then_some(())
        });
        fixing.join().expect("no panic")
    });
    speak();
    assert_eq!(rows.len(), 1, "nothing else: {rows:?}");
    assert_eq!(outcome_of(&rows, fixed.local), ("fixed", ""));
    let half_s = u64::from(limit_s / 2);
    assert_eq!(options(&fixed.client), (true, half_s, half_s, 3), "limit {limit_s} s");
    assert_eq!(options(&twin.client), UNSET);
    wait_for_quiet(&twin.client, Duration::from_secs(u64::from(limit_s) + 3));
    exchange(&fixed.client, &fixed.accepted);
    socket::send(&twin.client, b"are you there?");
    match answer {
        MiddleboxAnswer::Reset => assert!(error_at_end(&twin.client).is_some()),
        MiddleboxAnswer::Silence => wait::until("its data is repeated", SOON, || {
            (socket::retransmits(&twin.client) >= 3).then_some(())
        }),
    }
    let arrived =
        poll(&mut [PollFd::new(&twin.accepted, PollFlags::IN)], Some(&Timespec::default()));
    assert_eq!(arrived, Ok(0), "limit {limit_s} s: nothing arrives on the twin");
}

#[test]
fn on_a_path_that_answers_by_a_reset_the_fixed_connection_lives_and_its_twin_dies() {
    the_fixed_connection_lives_and_its_twin_dies(MiddleboxAnswer::Reset);
}

#[test]
fn on_a_path_that_forgets_in_silence_the_fixed_connection_lives_and_its_twin_hangs() {
    the_fixed_connection_lives_and_its_twin_dies(MiddleboxAnswer::Silence);
}

#[test]
fn a_plan_changes_nothing_and_says_what_it_would() {
    let fixer = Fixer::new(NetworkPath::cable());
    let off = fixer.path.connect(&Plan::NOTHING);
    let protected = fixer.path.connect(&Plan::keepalive(20, 5, 3));
    let output = fixer.run(&[]);
    assert_eq!(output.status.code(), Some(1), "something is to be done");
    let rows = outcomes(&output);
    assert_eq!(outcome_of(&rows, off.local), ("would_fix", ""));
    assert_eq!(outcome_of(&rows, protected.local), ("left_alone", "protected"));
    assert_eq!((options(&off.client), options(&protected.client)), (UNSET, (true, 20, 5, 3)));
    assert!(!fixer.state.file("state").exists(), "no journal of nothing");
}

#[test]
fn a_user_timeout_is_neither_set_nor_made_deadly() {
    let fixer = Fixer::new(NetworkPath::cable());
    let with = |user_timeout_ms| {
        let own = SocketSettings { user_timeout_ms, ..SocketSettings::default() };
        fixer.path.connect(&Plan { own, ..Plan::NOTHING })
    };
    let (long, short) = (with(30_000), with(1_500));
    let rows = fixer.outcomes(&["--apply"]);
    assert_eq!(outcome_of(&rows, long.local), ("fixed", ""));
    assert_eq!(options(&long.client), (true, 10, 10, 3));
    assert_eq!(sockopt::tcp_user_timeout(&long.client).expect("TCP_USER_TIMEOUT"), 30_000);
    assert_eq!(outcome_of(&rows, short.local), ("left_alone", "user_timeout"));
    assert_eq!(options(&short.client), UNSET);
}

#[test]
fn what_was_learned_of_a_path_is_obeyed_as_why_does_and_elsewhere_the_limit_in_force() {
    let Some(path) = NetworkPath::middlebox(10, MiddleboxAnswer::Reset) else {
        return;
    };
    let agent = Agent::start(&["--interval", "500ms"]);
    let elsewhere = NetworkPath::cable();
    let (here, other) = (path.connect(&Plan::NOTHING), elsewhere.connect(&Plan::NOTHING));
    exchange(&other.client, &other.accepted);
    forgotten(&path, Duration::from_secs(21));
    let (api, state) = (agent.socket(), TemporaryFolder::new());
    let ask = |words: &[&str]| {
        let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        all.extend(["--json", "--source", "agent", "--socket"].map(str::to_owned));
        all.extend([api.display().to_string(), "--state-dir".to_owned()]);
        all.push(state.file("state").display().to_string());
        once(all)
    };
    let planned = |path: &NetworkPath, local: SocketAddr| {
        let netns = path.near.inode().to_string();
        let rows = outcomes(&ask(&["fix", "--netns", &netns]));
        let found = rows.into_iter().find(|(of, ..)| *of == local);
        found.filter(|(_, outcome, _)| outcome == "would_fix").map(|(.., row)| row)
    };
    let from = |row: &Value| row["values_from"].as_str().expect("words").to_owned();
    let row = wait::until("a plan by what was learned", SOON, || {
        planned(&path, here.local).filter(|row| from(row).contains("what was learned of"))
    });
    let after = &row["after"];
    assert!(after["idle_seconds"].as_u64() <= Some(10), "{row}");
    let why = ask(&["why", &path.server.ip().to_string()]);
    let said = String::from_utf8_lossy(&why.stdout).into_owned();
    let cases: Vec<Value> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let is_it = |case: &&Value| case["netns"] == path.near.inode() && case["live"] != 0;
    let proposal =
        &cases.iter().find(is_it).unwrap_or_else(|| panic!("no case: {said}"))["proposal"];
    for (name, key) in
        [("idle", "idle_seconds"), ("interval", "interval_seconds"), ("count", "count")]
    {
        assert_eq!(proposal[key], after[key], "{name}: {said}");
    }
    let row = planned(&elsewhere, other.local).expect("it is off");
    assert_eq!(from(&row), "the limit of 5 min 50 s (default)");
    assert_eq!(row["after"]["idle_seconds"], 60, "{row}");
}
