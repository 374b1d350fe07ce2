//! Law 1 (docs/ARCHITECTURE.md#laws): what keepwatch says of a live socket equals getsockopt on that socket, for every setting.
//!
//! A few thousand sockets are made in every way that users do it and held by this process. keepwatch
//! lists them from outside; each field that it prints is compared with what the kernel answers on
//! that very descriptor.

use keepwatch_tests::{
    answer::{
        agent::{Agent, sockets_from_kernel},
        truth::compare,
    },
    kernel::{
        population::Population,
        socket::{self, Plan, Road, SocketOption},
    },
    network::path::{Ends, NetworkPath},
};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Starting a process copies this process's descriptors for a moment, and keepwatch would rightly
/// list a second owner: so one test at a time starts processes.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn the_one_shot_command_says_what_getsockopt_says() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let population = Population::everything();
    assert!(population.sockets.len() >= 2_000);
    let comparison =
        compare(&population.sockets, Duration::ZERO, || sockets_from_kernel(&["--all"]));
    comparison.assert_equal();
}

#[test]
fn what_was_set_before_the_question_is_in_the_agents_answer() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = NetworkPath::cable();
    let agent = Agent::start(&["--interval", "1h"]);
    let Ends { client, accepted: _accepted, .. } = path.connect(&Plan::NOTHING);
    // An id of this agent's own, on kernels whose hooks make no cookies: so by address.
    let netns = path.near.inode().to_string();
    let port = socket::local_address(&client).port().to_string();
    for seconds in 10..30 {
        Road::Call.set(&client, SocketOption::KeepIdle, seconds);
        let rows = agent.sockets(&["--netns", &netns, "--local-port", &port]);
        assert_eq!(rows.first().map(|row| row.idle.seconds), Some(seconds), "{rows:?}");
    }
}

#[test]
fn the_agent_says_what_getsockopt_says() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let population = Population::everything();
    assert!(population.sockets.len() >= 2_000);
    let agent = Agent::start(&["--interval", "1s"]);
    let staleness = Duration::from_millis(1500);
    let comparison = compare(&population.sockets, staleness, || agent.sockets(&["--all"]));
    comparison.assert_equal();
}
