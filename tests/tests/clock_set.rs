//! A wall clock that is set, by hours, forward and back: no time of a connection moves, and the history stays whole. In guests
//! alone, whose clock is ours to set.
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

use keepwatch::tested::{DeathRow, Query, judgement::death::Cause};
use keepwatch_tests::{
    answer::{
        agent::{Agent, keepwatch},
        history,
        metrics::Metrics,
        row::SocketLine,
    },
    guest::wall_clock::{self, WallClock},
    kernel::socket::Plan,
    network::{
        ending::{self, exchange},
        path::NetworkPath,
    },
    skip::skip,
    wait::{now, until},
};
use serde_json::Value;
use std::{net::SocketAddr, path::Path, time::Duration};

const SOON: Duration = Duration::from_mins(1);
const HOUR: i64 = 3600;
/// By how much the clock is ahead, hours; at last it is right again.
const AHEAD: [i64; 5] = [0, 6, -6, 30, 0];
/// What a guest may take between two looks.
const SLACK: f64 = 3.0;

fn guest_clock() -> Option<WallClock> {
    let clock = WallClock::of_guest();
    if clock.is_none() {
        skip("a wall clock that may be set", "only a guest's is ours");
    }
    clock
}

fn of(local: SocketAddr) -> Query {
    Query { port: Some(local.port()), cause: Some(Cause::PeerReset), ..Query::default() }
}

/// A connection that dies now: its near end, and what the history has of it.
fn death(path: &NetworkPath, state: &Path) -> (SocketAddr, DeathRow) {
    let local = ending::reset_by_peer(path);
    let row = until("the death is written down", SOON, || history::deaths(state, &of(local)).pop());
    (local, row)
}

/// What a command prints, each line of JSON.
fn printed(agent: &Agent, words: &[&str]) -> Vec<Value> {
    let mut command = keepwatch(words);
    let output = command.arg("--json").arg("--socket").arg(agent.socket()).output();
    let output = output.expect("start keepwatch");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code < 2), "{words:?}: {said}");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn row_of(agent: &Agent, local: SocketAddr) -> SocketLine {
    let rows = agent.sockets(&["--local-port", &local.port().to_string()]);
    rows.into_iter().find(|row| row.local == local).unwrap_or_else(|| panic!("no {local}"))
}

#[test]
fn a_wall_clock_that_is_set_moves_no_time_of_a_connection_and_loses_and_doubles_no_death() {
    let Some(clock) = guest_clock() else { return };
    let path = NetworkPath::cable();
    let agent = Agent::start(&["--interval", "1h", "--idle-limit", "1h"]);
    let held = path.connect(&Plan::keepalive(600, 60, 3));
    exchange(&held.client, &held.accepted);
    let quiet_since = now();
    let mut deaths: Vec<SocketAddr> = Vec::new();
    for hours in AHEAD {
        clock.set_ahead(hours * HOUR);
        let (at, before) = (wall_clock::unix_seconds(), quiet_since.elapsed().as_secs_f64());
        let row = row_of(&agent, held.local);
        let after = quiet_since.elapsed().as_secs_f64();
        // The last snapshot was long ago by the right clock: an answer of now needs another, wherever the wall clock stands.
        let quiet = before - SLACK..=after + SLACK;
        assert!(
            quiet.contains(&row.quiet_seconds),
            "{hours} h ahead: {} in {quiet:?}",
            row.quiet_seconds
        );
        assert!(row.watched_seconds <= after + SLACK, "{hours} h ahead: {row:?}");
        assert_eq!((row.verdict.as_str(), row.condition.as_deref()), ("protected", Some("fine")));
        let (local, death) = death(&path, &agent.state());
        let dated = death.event.time.unix_seconds - at;
        assert!(
            (-SLACK..SOON.as_secs_f64()).contains(&dated),
            "{hours} h ahead: dated {dated} s on"
        );
        let age = death.event.details.age_seconds.expect("seen from its beginning");
        assert!((0.0..SOON.as_secs_f64()).contains(&age), "{hours} h ahead: {age} s old");
        deaths.push(local);
        // The first was written down by the right clock, the last by this one.
        for local in [deaths.first(), deaths.last()].into_iter().flatten() {
            let port = local.port().to_string();
            let told = printed(
                &agent,
                &["trace", "--past-only", "--event", "ended", "--local-port", &port],
            );
            assert_eq!(told.len(), 1, "{hours} h ahead, trace of {local}: {told:?}");
        }
        let ended = Metrics::of(&agent).sum("keepwatch_connections_ended_total", "");
        assert!(ended >= f64::from(u32::try_from(deaths.len()).expect("few")), "{ended}");
    }
    let server = path.server.to_string();
    let n_told = |agent: &Agent| -> u64 {
        let cases = printed(agent, &["why", &server, "--source", "agent"]);
        let causes = cases.iter().filter_map(|case| case.get("causes")?.as_array());
        let of_reset =
            causes.flatten().filter(|cause| cause.get("cause") == Some(&"peer_reset".into()));
        of_reset.filter_map(|cause| cause.get("deaths")?.as_u64()).sum()
    };
    // Both ends of a connection are on this machine: the near one alone is of the server's address.
    let n = u64::try_from(deaths.len()).expect("few");
    assert_eq!(n_told(&agent), n, "each is told once by memory and file together");
    let (folder, said) = agent.stop_and_leave();
    let jumps = said.lines().filter(|line| line.contains("the wall clock was set")).count();
    assert!(jumps >= 3 && !said.contains("panicked"), "{said}");
    // By the file alone, in which two are dated later than now.
    let agent = Agent::start_in(folder, &["--idle-limit", "1h"]);
    assert_eq!(n_told(&agent), n);
    let mut why = keepwatch(["why", &server, "--source", "agent", "--socket"]);
    let output = why.arg(agent.socket()).output().expect("start keepwatch");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("2 deaths are dated later than now"), "{text}");
    for local in deaths {
        assert_eq!(history::deaths(&agent.state(), &of(local)).len(), 1, "{local}");
    }
    ending::reset(held.client);
}

#[test]
fn an_agent_that_starts_by_a_clock_of_1970_keeps_the_history_and_knows_each_connection() {
    let Some(clock) = guest_clock() else { return };
    let path = NetworkPath::cable();
    let agent = Agent::start(&["--idle-limit", "1h"]);
    let (first, _) = death(&path, &agent.state());
    let held = path.connect(&Plan::keepalive(600, 60, 3));
    exchange(&held.client, &held.accepted);
    let folder = agent.kill();
    // A machine without a battery begins there, until somebody tells it the time.
    let unix = wall_clock::unix_seconds();
    #[expect(clippy::cast_possible_truncation, clippy::as_conversions, reason = "seconds")]
    clock.set_ahead(-(unix as i64) + HOUR);
    let agent = Agent::start_in(folder, &["--idle-limit", "1h"]);
    assert_eq!(row_of(&agent, held.local).verdict, "protected");
    let (second, _) = death(&path, &agent.state());
    // It tidies up every 10 s: by this clock all would be of the future, by its end all too old.
    clock.set_ahead(365 * 24 * HOUR);
    let jumped = "the agent has seen that";
    until(jumped, SOON, || agent.said().contains("the wall clock was set").then_some(()));
    let tidied = "a walk, and the writer after it";
    let written = || Metrics::of(&agent).sum("keepwatch_snapshots_total", "");
    let n_walks = written();
    until(tidied, SOON, || (written() >= n_walks + 1.0).then_some(()));
    clock.set_ahead(0);
    for local in [first, second] {
        assert_eq!(history::deaths(&agent.state(), &of(local)).len(), 1, "{local}");
    }
    let (_, said) = agent.stop();
    assert!(said.contains("the wall clock was set") && !said.contains("panicked"), "{said}");
    ending::reset(held.client);
}
