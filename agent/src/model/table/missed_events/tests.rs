//! Changes that no hook reported, as a specification.

use super::*;
use crate::model::{
    judgement::death::Cause,
    observed::{
        ending::Ending,
        event::{Event, Fire},
        socket::{Comm, Owner, tests_support::socket},
    },
    table::{happening::Happened, tests::table as new_table},
};

const OPEN: State = State::Established;

/// A table after its first walk, which met one connection.
fn table() -> Table {
    let mut table = new_table();
    walk(&mut table, 0, &[OPEN]);
    table
}

fn at(seconds: u64, state: State) -> Socket {
    let owner = Owner { pid: 7, fd: Some(3), comm: Comm::default() };
    let at = Time(1_000_000_000_000 + seconds * 1_000_000_000);
    Socket { at, state, owner: Some(owner), keepalive: true, ..socket() }
}

fn probing(seconds: u64, probes_unanswered: u8) -> Socket {
    Socket { probes_unanswered, ..at(seconds, OPEN) }
}

/// A walk that meets the connection in these states; in none: it was looked for, and is gone.
fn walk(table: &mut Table, seconds: u64, states: &[State]) {
    table.begin_walk(false);
    for &state in states {
        table.apply(Event::Seen(at(seconds, state)));
    }
    for id in table.unmet(|socket| socket.id) {
        table.apply(Event::Gone { id, at: at(seconds, OPEN).at });
    }
    table.end_walk();
}

fn meet(table: &mut Table, sockets: &[Socket]) {
    table.begin_walk(false);
    for socket in sockets {
        table.apply(Event::Seen(*socket));
    }
    table.end_walk();
}

fn tell(table: &mut Table, seconds: u64, old: State, new: State) {
    let socket = Socket { owner: None, ..at(seconds, new) };
    table.apply(Event::StateChange { socket, old, ending: Ending::default() });
}

fn fire(table: &mut Table, socket: Socket) {
    let probes_before = socket.probes_unanswered - 1;
    table.apply(Event::Fired { socket, outcome: Fire::Sent, probes_before });
}

fn deaths(table: &mut Table, seconds: u64) -> Vec<(Cause, Discovery)> {
    table.settle(at(seconds, OPEN).at);
    let cause_of = |what: Happened| match what {
        Happened::Died(death) => Some((death.cause, death.ending.found)),
        _ => None,
    };
    table.take_happenings().into_iter().filter_map(|happening| cause_of(happening.what)).collect()
}

#[test]
fn a_connection_that_a_walk_finds_closed_has_died_unless_that_is_told_late() {
    let mut table = table();
    walk(&mut table, 2, &[State::Close]);
    assert_eq!(deaths(&mut table, 2), [], "the record may be on its way");
    assert_eq!(deaths(&mut table, 3), [(Cause::Unknown, Discovery::Closed)]);
    assert_eq!(table.n_unseen(), 1);
    walk(&mut table, 12, &[State::Close]);
    assert_eq!(deaths(&mut table, 20), [], "one dies once");

    let mut table = self::table();
    walk(&mut table, 2, &[State::Close]);
    tell(&mut table, 1, OPEN, State::Close);
    assert_eq!(deaths(&mut table, 3), [(Cause::LocalReset, Discovery::Reported)]);
    walk(&mut table, 4, &[State::Close]);
    assert_eq!((deaths(&mut table, 9), table.n_unseen()), (vec![], 0));
}

#[test]
fn the_evidence_says_that_the_kernel_did_not_tell() {
    let mut table = table();
    walk(&mut table, 2, &[State::Close]);
    walk(&mut table, 4, &[State::Close]);
    table.settle(at(9, OPEN).at);
    let happening = table.take_happenings().pop().unwrap();
    let Happened::Died(death) = happening.what else { panic!("{:?}", happening.what) };
    let evidence = death.evidence(&happening.socket);
    assert_eq!(evidence, "the kernel did not report it; found closed by a snapshot");
    assert_eq!(happening.socket.state, OPEN);
}

#[test]
fn a_connection_that_is_looked_for_and_not_there_has_died_once() {
    let mut table = table();
    walk(&mut table, 2, &[]);
    assert_eq!(deaths(&mut table, 2), [], "the record may be on its way");
    assert_eq!(deaths(&mut table, 3), [(Cause::Unknown, Discovery::Gone)]);
    assert_eq!((table.n_unseen(), table.n_sockets()), (1, 0));
    tell(&mut table, 2, State::FinWait2, State::Close);
    assert_eq!(deaths(&mut table, 400), [], "one dies once");

    let mut table = self::table();
    walk(&mut table, 2, &[]);
    tell(&mut table, 1, OPEN, State::Close);
    assert_eq!(deaths(&mut table, 9), [(Cause::LocalReset, Discovery::Reported)]);
    assert_eq!(table.n_unseen(), 0);
}

#[test]
fn a_connection_that_no_walk_meets_and_nobody_has_looked_for_lives() {
    let mut table = table();
    meet(&mut table, &[]);
    meet(&mut table, &[]);
    assert_eq!((deaths(&mut table, 9000), table.n_unseen()), (vec![], 0));
    assert_eq!(table.n_sockets(), 1);
    tell(&mut table, 9001, OPEN, State::Close);
    assert_eq!(deaths(&mut table, 9002), [(Cause::LocalReset, Discovery::Reported)]);
}

#[test]
fn a_socket_that_is_freed_as_a_connection_died_untold() {
    let mut table = table();
    table.apply(Event::Destroyed(at(1, State::Close)));
    assert_eq!(deaths(&mut table, 3), [(Cause::Unknown, Discovery::Freed)]);
    assert_eq!(table.n_unseen(), 1);
    let mut table = self::table();
    walk(&mut table, 2, &[State::Close]);
    table.apply(Event::Destroyed(at(3, State::Close)));
    assert_eq!(deaths(&mut table, 9), [(Cause::Unknown, Discovery::Freed)]);
    assert_eq!(table.n_unseen(), 1);
}

#[test]
fn while_records_are_lost_no_hook_is_blamed_and_deaths_are_told_all_the_same() {
    let mut table = table();
    walk(&mut table, 2, &[State::Close]);
    table.events_lost();
    walk(&mut table, 3, &[State::Close]);
    assert_eq!(deaths(&mut table, 9), [(Cause::Unknown, Discovery::Closed)]);
    assert_eq!(table.n_unseen(), 0);
}

#[test]
fn states_that_are_never_told_and_samples_that_are_older_are_no_doubt() {
    for (told, found) in [
        (State::FinWait1, State::FinWait2),
        (State::FinWait1, State::Closing),
        (State::CloseWait, State::LastAck),
        // The sample was taken before the change that had been reported.
        (State::CloseWait, OPEN),
    ] {
        let mut table = table();
        tell(&mut table, 1, OPEN, told);
        walk(&mut table, 2, &[found]);
        walk(&mut table, 4, &[found]);
        assert_eq!((deaths(&mut table, 99), table.n_unseen()), (vec![], 0), "{found:?}");
    }
    let mut table = table();
    walk(&mut table, 2, &[State::CloseWait]);
    assert_eq!((deaths(&mut table, 99), table.n_unseen()), (vec![], 1));
    tell(&mut table, 100, State::FinWait2, State::Close);
    assert_eq!(deaths(&mut table, 102), [(Cause::LocalClosed, Discovery::Reported)]);
}

#[test]
fn a_probe_more_than_told_is_a_fire_that_was_not_told() {
    let mut table = table();
    meet(&mut table, &[probing(60, 2)]);
    assert_eq!((deaths(&mut table, 62), table.n_unseen()), (vec![], 2));
    fire(&mut table, probing(120, 5));
    assert_eq!((deaths(&mut table, 122), table.n_unseen()), (vec![], 4));
    fire(&mut table, probing(180, 6));
    meet(&mut table, &[probing(190, 6)]);
    assert_eq!((deaths(&mut table, 199), table.n_unseen()), (vec![], 4));
}

#[test]
fn a_probe_that_is_told_late_or_belongs_to_data_in_flight_is_no_doubt() {
    let mut table = table();
    meet(&mut table, &[probing(60, 1)]);
    fire(&mut table, probing(60, 1));
    assert_eq!((deaths(&mut table, 62), table.n_unseen()), (vec![], 0));
    meet(&mut table, &[Socket { in_flight: true, ..probing(70, 7) }]);
    meet(&mut table, &[probing(80, 0)]);
    assert_eq!((deaths(&mut table, 99), table.n_unseen()), (vec![], 0));
    table.set_heard(Heard { states: false, timers: false, calls: false });
    meet(&mut table, &[probing(200, 3)]);
    assert_eq!((deaths(&mut table, 209), table.n_unseen()), (vec![], 0));
}

#[test]
fn without_hooks_an_end_that_a_walk_finds_is_told_at_once_and_once() {
    let nothing = Heard { states: false, timers: false, calls: false };
    let mut table = table();
    table.set_heard(nothing);
    walk(&mut table, 2, &[State::Close]);
    assert_eq!(deaths(&mut table, 2), [(Cause::Unknown, Discovery::Closed)]);
    walk(&mut table, 4, &[State::Close]);
    walk(&mut table, 6, &[]);
    assert_eq!((deaths(&mut table, 99), table.n_unseen()), (vec![], 0));

    let mut table = self::table();
    table.set_heard(nothing);
    walk(&mut table, 2, &[]);
    assert_eq!(deaths(&mut table, 2), [(Cause::Unknown, Discovery::Gone)]);
    walk(&mut table, 4, &[]);
    assert_eq!((deaths(&mut table, 99), table.n_unseen()), (vec![], 0));
}
