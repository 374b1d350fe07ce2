//! The table as a specification.

use super::*;
use crate::model::{
    judgement::{
        death::{Cause, Others},
        idle_limit::{IdleLimit, Limits},
        learned::LearnedRow,
        limit_source::LimitSource,
        verdict::Verdict,
    },
    observed::{
        drilled_path::DrilledPath,
        ending::Unacked,
        errno::{ECONNRESET, ETIMEDOUT},
        peer_closed::PeerClosed,
        socket::{Comm, Time, tests_support::socket},
    },
};

pub(in crate::model) fn table() -> Table {
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    Table::new(Surroundings::new(limits, 250), Bounds::new(1000, 1000))
}

fn owned(id: u64, fd: u32) -> Socket {
    let owner = Owner { pid: 7, fd: Some(fd), comm: Comm::default() };
    Socket { id: SocketId(id), owner: Some(owner), ..socket() }
}

/// The sockets of the table, each with its owners and the unit of the first.
pub(in crate::model) fn rows(table: &Table) -> Vec<(Socket, Vec<Owner>, Option<String>)> {
    let mut rows = Vec::new();
    table.scan(
        0,
        u32::MAX,
        |_| true,
        |socket, owners, identity| {
            let unit = identity.and_then(|identity| identity.unit.as_deref().map(str::to_owned));
            rows.push((*socket, owners.to_vec(), unit));
        },
    );
    rows
}

fn walk(table: &mut Table, sockets: &[Socket]) {
    table.begin_walk(false);
    for socket in sockets {
        table.apply(Event::Seen(*socket));
    }
    table.end_walk();
}

fn change(table: &mut Table, socket: Socket, old: State, new: State) {
    let socket = Socket { state: new, ..socket };
    table.apply(Event::StateChange { socket, old, ending: Ending::default() });
}

#[test]
fn a_connection_that_opens_and_closes_between_walks_is_known_and_gone() {
    let mut table = table();
    change(&mut table, socket(), State::Close, State::SynSent);
    change(&mut table, socket(), State::SynSent, State::Established);
    let (row, ..) = rows(&table).pop().unwrap();
    assert_eq!((row.direction, row.direction_from), (Direction::Outbound, DirectionFrom::Seen));
    assert_eq!(table.totals().sockets.len(), 1);
    change(&mut table, socket(), State::Established, State::Close);
    assert!(rows(&table).is_empty());
    assert!(table.totals().sockets.is_empty());
}

#[test]
fn a_socket_that_ends_during_a_walk_is_not_brought_back_by_it() {
    let mut table = table();
    table.begin_walk(false);
    change(&mut table, owned(1, 3), State::Established, State::Close);
    table.apply(Event::Seen(owned(1, 3)));
    table.end_walk();
    assert!(rows(&table).is_empty());
}

#[test]
fn a_connection_opened_during_a_walk_survives_its_end() {
    let mut table = table();
    table.begin_walk(false);
    change(&mut table, owned(1, 3), State::SynSent, State::Established);
    table.end_walk();
    assert_eq!(rows(&table).len(), 1);
}

#[test]
fn every_descriptor_of_every_process_is_an_owner_once() {
    let mut table = table();
    for _ in 0..2 {
        walk(&mut table, &[owned(1, 3), owned(1, 9)]);
    }
    let fds = |table: &Table| -> Vec<_> { rows(table)[0].1.iter().map(|owner| owner.fd).collect() };
    assert_eq!(fds(&table), [Some(3), Some(9)]);
    table.begin_walk(false);
    let unowned = Socket { owner: None, ..owned(1, 3) };
    change(&mut table, unowned, State::Established, State::CloseWait);
    table.apply(Event::Seen(owned(1, 3)));
    table.apply(Event::Seen(owned(1, 9)));
    table.end_walk();
    assert_eq!(fds(&table), [Some(3), Some(9)]);
    walk(&mut table, &[owned(1, 9)]);
    assert_eq!(rows(&table)[0].1.len(), 1);
}

#[test]
fn a_seen_direction_outlives_walks_and_a_listener_tells_that_of_older_ones() {
    let mut table = table();
    change(&mut table, owned(1, 3), State::SynRecv, State::Established);
    let listener = Socket { state: State::Listen, ..owned(2, 4) };
    walk(&mut table, &[listener, owned(1, 3), owned(3, 5)]);
    let rows = rows(&table);
    assert!(
        rows.iter()
            .filter(|(socket, ..)| socket.state == State::Established)
            .all(|(socket, ..)| socket.direction == Direction::Inbound)
    );
    let from: Vec<_> = rows.iter().map(|(socket, ..)| socket.direction_from).collect();
    assert_eq!(from.iter().filter(|from| **from == DirectionFrom::Seen).count(), 1);
}

#[test]
fn a_full_table_says_how_many_it_could_not_take() {
    let mut table = table();
    table.max_sockets = 1;
    walk(&mut table, &[owned(1, 3), owned(2, 4), owned(3, 5)]);
    assert_eq!((rows(&table).len(), table.totals().n_untracked), (1, 2));
}

#[test]
fn a_table_is_scanned_in_parts() {
    let mut table = table();
    let sockets: Vec<_> = (1..=10).map(|id| owned(id, 3)).collect();
    walk(&mut table, &sockets);
    let count = |from, n_slots| {
        let mut n = 0;
        let next = table.scan(from, n_slots, |_| true, |_, _, _| n += 1);
        (n, next)
    };
    let (first, next) = count(0, 4);
    assert_eq!((first, count(next.unwrap(), u32::MAX)), (4, (6, None)));
}

#[test]
fn where_nothing_is_configured_verdicts_follow_a_limit_that_is_sure() {
    let mut table = table();
    let own =
        crate::model::observed::setting::OwnSettings { idle_seconds: 120, ..Default::default() };
    let probed = Socket { keepalive: true, own, ..socket() };
    table.apply(Event::Seen(probed));
    let verdicts = |table: &Table| {
        table.totals().sockets.keys().map(|series| series.verdict).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&table), [Verdict::Protected]);
    for n in 1..=3_u64 {
        let at = Time(socket().at.0 + n * 600_000_000_000);
        let dying = Socket { id: SocketId(n + 100), at, silent_ms: 60_005, ..socket() };
        table.learned.survived(&dying, at, 50_000);
        let ending =
            Ending { errno: 104, unacked: Unacked::Data, sent_ms: Some(5), ..Ending::default() };
        let closed = Socket { state: State::Close, ..dying };
        table.apply(Event::StateChange { socket: closed, old: State::Established, ending });
        table.take_lessons(at, false);
        let learned = if n < 3 { Verdict::Protected } else { Verdict::Late };
        assert_eq!(verdicts(&table), [learned], "after {n} deaths");
    }
    let applied = table.around.limits.of(&probed);
    assert_eq!((applied.seconds, &applied.from), (60, &LimitSource::Learned));
}

#[test]
fn what_a_drill_ended_teaches_no_limit() {
    let learned = |is_drilled: bool| {
        let mut table = table();
        let at = Time(socket().at.0 + 600_000_000_000);
        let dying = Socket { at, silent_ms: 60_005, ..socket() };
        table.apply(Event::Seen(dying));
        let (began, ended) = (Time(at.0 - 5_000_000_000), Time(at.0 + 5_000_000_000));
        let (local, remote) = (dying.local.socket_addr(), dying.remote.socket_addr());
        let path = DrilledPath { netns: dying.netns, local, remote, began, ended };
        table.set_drilled(if is_drilled { vec![path] } else { Vec::new() });
        let unacked = Unacked::Data;
        let ending = Ending { errno: 104, unacked, sent_ms: Some(5), ..Ending::default() };
        let closed = Socket { state: State::Close, ..dying };
        table.apply(Event::StateChange { socket: closed, old: State::Established, ending });
        table.learned(at).len()
    };
    assert_eq!((learned(true), learned(false)), (0, 1));
}

/// What the API says of a server that ends connections after some time.
fn closings(ends: impl Fn(&mut Table, Socket, Ending)) -> Vec<LearnedRow> {
    let mut table = table();
    for n in 1..=3_u64 {
        let at = Time(socket().at.0 + n * 600_000_000_000);
        let idle = Socket { id: SocketId(n), at, ..socket() };
        table.apply(Event::Seen(idle));
        ends(&mut table, idle, Ending { sent_ms: Some(75_020), ..Ending::default() });
    }
    table.learned(Time(socket().at.0 + 3_600_000_000_000))
}

#[test]
fn a_peer_that_closes_after_always_the_same_time_is_known_for_it_and_one_that_we_close_is_not() {
    let changes = |states: &'static [State]| {
        move |table: &mut Table, socket: Socket, ending: Ending| {
            let mut old = State::Established;
            for &state in states {
                table.apply(Event::StateChange { socket: Socket { state, ..socket }, old, ending });
                old = state;
            }
        }
    };
    let peer_first = closings(changes(&[State::CloseWait, State::LastAck, State::Close]));
    let [LearnedRow::PeerCloses(row)] = &peer_first[..] else { panic!("{peer_first:?}") };
    assert_eq!((row.after_seconds, row.occasions), (75.02, 3));
    let we_first = closings(changes(&[State::FinWait1, State::FinWait2, State::Close]));
    assert_eq!(we_first, []);
}

/// The cause of the death of one whose data met a reset after 40 s of quiet, and its evidence; and whether a limit was learned.
fn dies_after_40_s(table: &mut Table, minute: u64) -> (Cause, String, bool) {
    let at = Time(socket().at.0 + minute * 60_000_000_000);
    let closed = Socket {
        id: SocketId(900 + minute),
        at,
        state: State::Close,
        silent_ms: 40_005,
        ..socket()
    };
    let ending =
        Ending { errno: ECONNRESET, unacked: Unacked::Data, sent_ms: Some(5), ..Ending::default() };
    table.take_happenings();
    table.apply(Event::StateChange { socket: closed, old: State::Established, ending });
    let happened = table.take_happenings();
    let Some(Happened::Died(death)) = happened.last().map(|it| it.what) else { panic!("no death") };
    let is_limit = |row: &LearnedRow| matches!(row, LearnedRow::PathLimit(_));
    (death.cause, death.evidence(&closed), table.learned(at).iter().any(is_limit))
}

#[test]
fn what_died_after_the_time_that_its_peer_closes_after_is_not_said_to_have_been_forgotten() {
    let closes_after = |quiet_ms: u32, times: u64| {
        let mut table = table();
        for n in 1..=times {
            let at = Time(socket().at.0 + n * 600_000_000_000);
            table.learned.peer_closed(&socket(), at, quiet_ms);
        }
        table
    };
    let (cause, evidence, is_limit) = dies_after_40_s(&mut closes_after(31_000, 3), 100);
    assert_eq!((cause, is_limit), (Cause::PeerReset, false), "{evidence}");
    assert!(evidence.contains("the peer closes by itself 31 s after the last data"), "{evidence}");
    // It does so later than that, or did it once.
    for (quiet_ms, times) in [(60_000, 3), (31_000, 1), (31_000, 0)] {
        let (cause, evidence, is_limit) = dies_after_40_s(&mut closes_after(quiet_ms, times), 100);
        assert_eq!((cause, is_limit), (Cause::IdleDrop, true), "{quiet_ms} {times}: {evidence}");
    }
    // The path is known to forget before that.
    let mut known = closes_after(31_000, 3);
    let limit = IdleLimit { seconds: 25, preset: None };
    let limits = Limits::new(Vec::new(), limit, true);
    known.around = Arc::new(Surroundings { limits, ..(*known.around).clone() });
    assert_eq!(dies_after_40_s(&mut known, 100).0, Cause::IdleDrop);
}

/// Data was repeated for 13 s, and nobody answered.
pub(super) fn nobody_answered() -> Ending {
    Ending {
        errno: ETIMEDOUT,
        unacked: Unacked::Data,
        retransmits: 5,
        retransmitting_ms: Some(13_000),
        ..Ending::default()
    }
}

#[test]
fn what_was_quiet_while_its_peer_went_dark_for_others_was_not_forgotten_unless_those_are_heard_since()
 {
    let dark = |heard_since: bool| {
        let mut table = table();
        let at = |seconds: u64| Time(socket().at.0 + seconds * 1_000_000_000);
        // One that pings each 2 s got no answer from second 5970 on.
        let busy = Socket { id: SocketId(1), at: at(5_983), silent_ms: 15_000, ..socket() };
        let closed = Socket { state: State::Close, ..busy };
        let ending = nobody_answered();
        table.apply(Event::StateChange { socket: closed, old: State::Established, ending });
        if heard_since {
            table.apply(Event::Seen(Socket {
                id: SocketId(2),
                at: at(5_999),
                silent_ms: 500,
                ..socket()
            }));
        }
        dies_after_40_s(&mut table, 100)
    };
    let (cause, evidence, is_limit) = dark(false);
    assert_eq!((cause, is_limit), (Cause::PeerReset, false), "{evidence}");
    assert!(
        evidence.contains("an outage of the peer or its path explains it as well"),
        "{evidence}"
    );
    assert_eq!(dark(true).0, Cause::IdleDrop, "the peer was there all the time");
}

#[test]
fn what_a_peer_that_has_closed_does_not_answer_is_no_silence_of_others() {
    let others = |is_closed: bool| {
        let mut table = table();
        let at = Time(socket().at.0 + 1_000_000_000_000);
        let silent = Socket {
            id: SocketId(2),
            at,
            silent_ms: 15_000,
            in_flight: true,
            retransmits: 5,
            retransmitting_ms: Some(13_000),
            state: if is_closed { State::LastAck } else { State::Established },
            peer_closed: is_closed.then_some(PeerClosed { ms: 15_000, is_seen: true }),
            ..socket()
        };
        table.apply(Event::Seen(silent));
        let closed =
            Socket { id: SocketId(3), at, state: State::Close, silent_ms: 73_000, ..socket() };
        let ending = nobody_answered();
        table.apply(Event::StateChange { socket: closed, old: State::Established, ending });
        let happened = table.take_happenings();
        let Some(Happened::Died(death)) = happened.last().map(|it| it.what) else {
            panic!("no death")
        };
        (death.cause, death.others)
    };
    assert_eq!(others(false), (Cause::RetransmitTimeout, Others::Silent(1)));
    assert_eq!(others(true), (Cause::IdleDrop, Others::Unknown));
}
