//! Deaths beside others.

use super::*;
use crate::model::{
    observed::{ending::Ending, event::Event, setting::OwnSettings, socket::tests_support::socket},
    table::{
        happening::Happened,
        tests::{nobody_answered, table},
    },
};

const NOW_S: u64 = 2_000;

fn now() -> Time {
    Time(NOW_S * 1_000_000_000)
}

fn at(id: u64, silent_ms: u32) -> Socket {
    Socket { id: SocketId(id), at: now(), silent_ms, quiet_ms: silent_ms, ..socket() }
}

/// Probed each 5 s, with this number of probes unanswered.
fn probed(id: u64, probes_unanswered: u8) -> Socket {
    let own = OwnSettings { idle_seconds: 5, interval_seconds: 5, count: 9, user_timeout_ms: 0 };
    let silent_ms =
        1_000 + 5_000 * (u32::from(probes_unanswered) + u32::from(probes_unanswered > 0));
    let timer_ms = Some(4_000);
    Socket { keepalive: true, own, probes_unanswered, timer_ms, ..at(id, silent_ms) }
}

/// The cause of the death of one that was quiet for 60 s until 13 s ago, beside these.
fn cause_beside(others: &[Socket]) -> (Cause, Others) {
    let mut table = table();
    for other in others {
        table.apply(Event::Seen(*other));
    }
    ends(&mut table)
}

fn ends(table: &mut Table) -> (Cause, Others) {
    let dies = Socket { state: State::Close, ..at(1, 73_000) };
    let ending = nobody_answered();
    table.apply(Event::StateChange { socket: dies, old: State::Established, ending });
    let deaths = table.take_happenings();
    let Some(Happened::Died(death)) = deaths.last().map(|happening| happening.what) else {
        panic!("no death: {deaths:?}");
    };
    (death.cause, death.others)
}

#[test]
fn neighbours_that_were_active_and_fell_silent_with_it_show_an_outage() {
    assert_eq!(cause_beside(&[]), (Cause::IdleDrop, Others::Unknown));
    let silent = [probed(2, 2), probed(3, 3)];
    assert_eq!(cause_beside(&silent), (Cause::RetransmitTimeout, Others::Silent(2)));
}

#[test]
fn a_neighbour_that_is_answered_shows_a_path_that_forgot() {
    let answered = [probed(2, 0), probed(3, 0)];
    assert_eq!(cause_beside(&answered), (Cause::IdleDrop, Others::Answered(2)));
    // One of two servers behind an address is gone: nobody can say whose this was.
    let mixed = [probed(2, 0), probed(3, 3)];
    assert_eq!(cause_beside(&mixed), (Cause::IdleDrop, Others::Unknown));
}

#[test]
fn a_neighbour_that_was_last_seen_as_it_sent_a_probe_shows_nothing() {
    let sends = Socket { timer_ms: Some(5_000), silent_ms: 14_000, ..probed(2, 1) };
    assert_eq!(cause_beside(&[sends]), (Cause::IdleDrop, Others::Unknown));
    let waits = Socket { timer_ms: Some(4_000), ..sends };
    assert_eq!(cause_beside(&[waits]), (Cause::RetransmitTimeout, Others::Silent(1)));
}

#[test]
fn what_fell_silent_before_others_were_heard_again_hides_no_answers() {
    // A cut took the first, 50 s ago; since then the peer answers the second.
    let cut = Socket {
        retransmits: 7,
        retransmitting_ms: Some(50_000),
        in_flight: true,
        ..at(2, 52_000)
    };
    assert_eq!(cause_beside(&[cut]), (Cause::RetransmitTimeout, Others::Silent(1)));
    let silent = |longest_silence_ms| Watched {
        ms: 70_000,
        longest_quiet_ms: longest_silence_ms,
        longest_silence_ms,
        ..Watched::default()
    };
    let watched = silent(1_000);
    let busy = Socket { watched, ..at(3, 500) };
    assert_eq!(cause_beside(&[cut, busy]), (Cause::IdleDrop, Others::Answered(1)));
    // One that may have been quiet all the time does not tell whether both fell silent in one cut.
    let quiet = silent(45_000);
    for unknown in [at(3, 500), Socket { watched: quiet, ..at(3, 500) }] {
        assert_eq!(cause_beside(&[cut, unknown]), (Cause::IdleDrop, Others::Unknown));
    }
    let long_ago = Socket { retransmitting_ms: Some(80_000), silent_ms: 82_000, ..cut };
    assert_eq!(cause_beside(&[long_ago, at(3, 500)]), (Cause::IdleDrop, Others::Answered(1)));
    // Answers of another port speak for the host, and not for a service of its own behind the same address.
    let mut other_port = busy;
    other_port.remote.port = 6379;
    assert_eq!(cause_beside(&[cut, other_port]), (Cause::RetransmitTimeout, Others::Silent(1)));
    let mut cut_there = cut;
    cut_there.remote.port = 6380;
    let beside_host = (Cause::IdleDrop, Others::HostAnswered(1));
    assert_eq!(cause_beside(&[cut_there, other_port]), beside_host);
}

#[test]
fn one_that_had_to_repeat_for_long_itself_is_no_witness_of_what_died_meanwhile() {
    // It died 30 s after it spoke, and its neighbour hung in the same outage, for 28 s.
    let cause = |watched| {
        let mut table = table();
        table.apply(Event::Seen(Socket { watched, ..at(2, 500) }));
        let dies = Socket { state: State::Close, ..at(1, 70_000) };
        let ending = Ending { retransmitting_ms: Some(30_000), ..nobody_answered() };
        table.apply(Event::StateChange { socket: dies, old: State::Established, ending });
        match table.take_happenings().last().map(|happening| happening.what) {
            Some(Happened::Died(death)) => death.others,
            other => panic!("no death: {other:?}"),
        }
    };
    let watched = |longest_quiet_ms, longest_silence_ms| Watched {
        ms: 600_000,
        longest_quiet_ms,
        longest_silence_ms,
        ..Watched::default()
    };
    assert_eq!(cause(watched(3_000, 28_000)), Others::Unknown);
    // Its peer may be as silent as it is quiet itself; and a gap of a few seconds is no outage that a path forgets in.
    assert_eq!(cause(watched(28_000, 28_000)), Others::Answered(1));
    assert_eq!(cause(watched(3_000, 12_000)), Others::Answered(1));
}

#[test]
fn what_was_heard_after_it_hung_fell_silent_by_itself() {
    // It was opened later, and its path was cut 3 s ago.
    let cut = |opened: u64| {
        let mut table = table();
        let connecting = Socket { state: State::SynSent, ..at(2, 0) };
        let opened = Socket { at: Time((NOW_S - opened) * 1_000_000_000), ..connecting };
        let event = |socket, old| Event::StateChange { socket, old, ending: Ending::default() };
        table.apply(event(opened, State::Close));
        table.apply(event(Socket { state: State::Established, ..opened }, State::SynSent));
        table
    };
    let mut after = cut(10);
    let waits =
        Socket { retransmits: 3, retransmitting_ms: Some(3_000), in_flight: true, ..at(2, 5_000) };
    after.apply(Event::Seen(waits));
    assert_eq!(ends(&mut after), (Cause::IdleDrop, Others::Unknown));
    let mut before = cut(20);
    let waits =
        Socket { retransmits: 5, retransmitting_ms: Some(12_000), silent_ms: 14_000, ..waits };
    before.apply(Event::Seen(waits));
    assert_eq!(ends(&mut before), (Cause::RetransmitTimeout, Others::Silent(1)));
}

#[test]
fn neighbours_that_had_been_quiet_themselves_show_nothing() {
    let quiet = Socket { retransmits: 5, retransmitting_ms: Some(13_000), ..at(2, 75_000) };
    assert_eq!(cause_beside(&[quiet]), (Cause::IdleDrop, Others::Unknown));
}

#[test]
fn a_later_connection_shows_only_that_the_peer_lives_now() {
    // The server was started anew: it answers the newcomer, and knows nobody from before.
    let newcomer = Socket { state: State::SynSent, ..at(2, 0) };
    let mut table = table();
    let opened = Socket { at: Time((NOW_S - 15) * 1_000_000_000), ..newcomer };
    let event = |socket, old| Event::StateChange { socket, old, ending: Ending::default() };
    table.apply(event(opened, State::Close));
    table.apply(event(Socket { state: State::Established, ..opened }, State::SynSent));
    table.apply(Event::Seen(Socket { state: State::Established, ..at(2, 500) }));
    assert_eq!(ends(&mut table), (Cause::IdleDrop, Others::Unknown));
}

#[test]
fn an_attempt_to_connect_was_not_answered() {
    let connecting = Socket { state: State::SynSent, silent_ms: 0, ..at(2, 0) };
    assert_eq!(cause_beside(&[connecting]), (Cause::IdleDrop, Others::Unknown));
    let repeated =
        Socket { retransmits: 3, retransmitting_ms: Some(9_000), in_flight: true, ..connecting };
    assert_eq!(cause_beside(&[repeated]), (Cause::RetransmitTimeout, Others::Silent(1)));
}

#[test]
fn a_port_that_is_filtered_or_whose_accept_queue_is_full_shows_nothing_of_the_host() {
    let connecting = Socket {
        state: State::SynSent,
        retransmits: 3,
        retransmitting_ms: Some(9_000),
        in_flight: true,
        ..at(2, 0)
    };
    let mut filtered = connecting;
    filtered.remote.port = 7099;
    assert_eq!(cause_beside(&[filtered]), (Cause::IdleDrop, Others::Unknown));
    let mut answered = probed(3, 0);
    answered.remote.port = 6379;
    assert_eq!(cause_beside(&[filtered, answered]), (Cause::IdleDrop, Others::HostAnswered(1)));
    // To the same port, and the host answers: its program may only be too slow to accept.
    assert_eq!(cause_beside(&[connecting, answered]), (Cause::IdleDrop, Others::Unknown));
    let mut other_port = probed(4, 3);
    other_port.remote.port = 9000;
    assert_eq!(cause_beside(&[other_port, answered]), (Cause::IdleDrop, Others::Unknown));
}

#[test]
fn a_heartbeat_each_half_minute_that_was_survived_before_shows_an_outage() {
    let beats = |longest_quiet_ms| Socket {
        retransmits: 5,
        retransmitting_ms: Some(13_000),
        watched: Watched { longest_quiet_ms, ..Watched::default() },
        in_flight: true,
        ..at(2, 43_000)
    };
    assert_eq!(cause_beside(&[beats(30_000)]), (Cause::RetransmitTimeout, Others::Silent(1)));
    assert_eq!(cause_beside(&[beats(5_000)]), (Cause::IdleDrop, Others::Unknown));
}

#[test]
fn silence_of_the_whole_host_counts_and_answers_of_another_service_show_the_host_only() {
    let mut silent = probed(2, 3);
    silent.remote.port = 6379;
    assert_eq!(cause_beside(&[silent]), (Cause::RetransmitTimeout, Others::Silent(1)));
    let mut answered = probed(2, 0);
    answered.remote.port = 6379;
    assert_eq!(cause_beside(&[answered]), (Cause::IdleDrop, Others::HostAnswered(1)));
    // It was answered before only, or is a client of ours at that address; or the same service fell silent.
    let before = Socket { silent_ms: 60_000, quiet_ms: 60_000, ..answered };
    let client = Socket { direction: Direction::Inbound, ..answered };
    for other in [before, client] {
        assert_eq!(cause_beside(&[other]), (Cause::IdleDrop, Others::Unknown));
    }
    let of_it = probed(3, 3);
    let outage = (Cause::RetransmitTimeout, Others::Silent(1));
    assert_eq!(cause_beside(&[answered, of_it]), outage);
}

#[test]
fn neighbours_of_another_namespace_or_address_show_nothing() {
    let mut other_addr = probed(3, 3);
    other_addr.remote.addr = "::ffff:172.16.0.16".parse().unwrap();
    let other_netns = Socket { netns: 7, ..probed(4, 3) };
    let others = [other_addr, other_netns];
    assert_eq!(cause_beside(&others), (Cause::IdleDrop, Others::Unknown));
}
