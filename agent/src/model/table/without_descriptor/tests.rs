//! Sockets that no process has open, as a specification.

use super::*;
use crate::model::{
    judgement::{condition::Condition, death::Cause},
    observed::{
        ending::Ending,
        event::Event,
        socket::{Comm, Direction, DirectionFrom, Endpoint, SocketAddress, tests_support::socket},
    },
    table::{
        happening::Happened,
        tests::{rows, table},
    },
};

fn client() -> Owner {
    Owner { pid: 70, fd: Some(3), comm: Comm::new(*b"client\0\0\0\0\0\0\0\0\0\0") }
}

fn server() -> Owner {
    Owner { pid: 80, fd: Some(4), comm: Comm::new(*b"server\0\0\0\0\0\0\0\0\0\0") }
}

/// The socket after this number of milliseconds, without an owner.
fn at(ms: u64) -> Socket {
    let at = Time(1_000_000_000_000 + ms * 1_000_000);
    let silent_ms = u32::try_from(ms).unwrap();
    Socket { at, silent_ms, quiet_ms: silent_ms, ..socket() }
}

/// A table that has seen a connection open, and met it in the first walk.
fn with_outbound() -> Table {
    let mut table = table();
    open(&mut table, at(0), State::SynSent);
    walk(&mut table, &[Event::Seen(Socket { owner: Some(client()), ..at(100) })]);
    table.take_happenings();
    table
}

fn open(table: &mut Table, socket: Socket, old: State) {
    table.apply(Event::StateChange { socket, old, ending: Ending::default() });
}

fn walk(table: &mut Table, events: &[Event]) {
    table.begin_walk(false);
    for event in events {
        table.apply(*event);
    }
    table.end_walk();
}

fn deaths(table: &mut Table, ms: u64) -> Vec<(Cause, Discovery)> {
    table.settle(at(ms).at);
    let happenings = table.take_happenings().into_iter();
    let died = |what: Happened| match what {
        Happened::Died(death) => Some((death.cause, death.ending.found)),
        _ => None,
    };
    happenings.filter_map(|happening| died(happening.what)).collect()
}

#[test]
fn what_is_to_be_looked_at_is_what_the_walk_has_not_met_and_where_it_was() {
    let mut table = with_outbound();
    let moved =
        |id, address| Socket { id: SocketId(id), address: SocketAddress(address), ..at(200) };
    table.begin_walk(false);
    table.apply(Event::Seen(moved(2, 22)));
    assert_eq!(table.unmet(|it| (it.id, it.address)), [(SocketId(1), SocketAddress(7))]);
    table.apply(Event::Seen(at(201)));
    assert_eq!(table.unmet(|it| it.id), []);
    table.end_walk();
    table.begin_walk(false);
    open(&mut table, moved(2, 22), State::SynSent);
    assert_eq!(
        table.unmet(|it| (it.id, it.address)),
        [(SocketId(1), SocketAddress(7))],
        "an event is a look, too"
    );
}

#[test]
fn a_descriptor_that_was_given_away_leaves_the_connection_as_it_was_but_for_its_descriptor() {
    let mut table = with_outbound();
    walk(&mut table, &[Event::Found(Socket { direction: Direction::Inbound, ..at(5000) })]);
    let (found, owners, _) = rows(&table).pop().unwrap();
    assert_eq!((found.direction, found.direction_from), (Direction::Outbound, DirectionFrom::Seen));
    assert_eq!(owners, [Owner { fd: None, ..client() }]);
    assert_eq!(found.at, at(5000).at, "it is looked at as often as any other");
    assert_eq!((deaths(&mut table, 99_000), table.n_unseen()), (vec![], 0));
    // Somebody else has taken it.
    walk(&mut table, &[Event::Seen(Socket { owner: Some(server()), ..at(6000) })]);
    let (found, owners, _) = rows(&table).pop().unwrap();
    assert_eq!((found.direction, owners), (Direction::Outbound, vec![server()]));
    let dies = Socket { state: State::Close, ..at(7000) };
    open(&mut table, dies, State::Established);
    assert_eq!(deaths(&mut table, 99_000), [(Cause::LocalReset, Discovery::Reported)]);
}

#[test]
fn what_was_accepted_behind_the_back_of_a_walk_is_looked_at_again_soon_and_what_is_on_its_way_is_not()
 {
    let mut table = table();
    open(&mut table, at(0), State::SynRecv);
    walk(&mut table, &[Event::Found(at(5))]);
    assert_eq!(table.n_due(), 1, "the walk had passed the process that accepted it meanwhile");
    walk(&mut table, &[Event::Seen(Socket { owner: Some(server()), ..at(1000) })]);
    assert_eq!(table.n_due(), 0);
    walk(&mut table, &[Event::Found(at(2000))]);
    assert_eq!(table.n_due(), 0, "it was given away");
    // The kernel's own have no process, however new they are.
    let own = Socket { id: SocketId(2), kind: SocketKind::Kernel, ..at(3000) };
    let taken = Event::Seen(Socket { owner: Some(client()), ..at(3000) });
    walk(&mut table, &[Event::Found(own), taken]);
    assert_eq!(table.n_due(), 0);
    // Nobody is ever found: it waits for the next walk.
    let mut table = super::super::tests::table();
    open(&mut table, at(0), State::SynRecv);
    walk(&mut table, &[Event::Found(at(5))]);
    walk(&mut table, &[Event::Found(at(61_000))]);
    assert_eq!(table.n_due(), 0);
}

#[test]
fn of_several_that_had_it_open_only_the_last_one_that_counts_is_named() {
    let mut table = with_outbound();
    let held = |owner, ms| Event::Seen(Socket { owner: Some(owner), shared: true, ..at(ms) });
    walk(&mut table, &[held(client(), 4000), held(server(), 4001)]);
    let (_, owners, _) = rows(&table).pop().unwrap();
    assert_eq!(owners, [client(), server()]);
    walk(&mut table, &[Event::Found(at(5000))]);
    let (_, owners, _) = rows(&table).pop().unwrap();
    assert_eq!(owners, [Owner { fd: None, ..client() }]);
}

#[test]
fn the_last_one_that_had_it_stays_known_when_its_process_is_gone() {
    let mut table = with_outbound();
    let whose = |table: &Table| table.before(SocketId(1)).unwrap().whose;
    let before = whose(&table);
    for ms in [5000, 9000] {
        walk(&mut table, &[Event::Found(at(ms))]);
        assert_eq!(whose(&table), before);
        table.take_processes();
    }
}

#[test]
fn what_is_closed_or_another_connection_by_now_is_gone() {
    let elsewhere = Endpoint { port: 1, ..socket().remote };
    for found in [
        Event::Gone { id: SocketId(1), at: at(5000).at },
        Event::Found(Socket { state: State::Close, ..at(5000) }),
        Event::Found(Socket { remote: elsewhere, ..at(5000) }),
        Event::Found(Socket { netns: 3, ..at(5000) }),
    ] {
        let mut table = with_outbound();
        walk(&mut table, &[found]);
        assert!(rows(&table).is_empty(), "{found:?}");
        assert_eq!(deaths(&mut table, 9000), [(Cause::Unknown, Discovery::Gone)], "{found:?}");
        assert_eq!((table.n_unseen(), table.totals().health.n_pruned), (1, 1));
    }
}

#[test]
fn an_end_that_is_older_than_the_last_sample_does_not_count() {
    let mut table = with_outbound();
    table.apply(Event::Gone { id: SocketId(1), at: at(50).at });
    table.apply(Event::Found(Socket { state: State::Close, ..at(50) }));
    assert_eq!(rows(&table).len(), 1);
}

#[test]
fn after_a_loss_what_is_gone_has_died_in_an_event_that_was_lost() {
    let mut table = with_outbound();
    table.events_lost();
    table.begin_walk(true);
    table.apply(Event::Gone { id: SocketId(1), at: at(5000).at });
    assert_eq!(table.end_walk(), 1);
    assert_eq!(deaths(&mut table, 5000), [(Cause::Unknown, Discovery::Gone)]);
    assert_eq!(table.n_unseen(), 0, "no hook is blamed");
}

#[test]
fn a_list_adds_what_is_older_and_changes_nothing_that_was_met() {
    let mut table = with_outbound();
    let older = |state| Socket { id: SocketId(2), state, ..at(300) };
    let met = Event::Seen(Socket { owner: Some(client()), ..at(200) });
    walk(&mut table, &[met, Event::Found(at(300)), Event::Found(older(State::Established))]);
    let mut rows = rows(&table);
    rows.sort_by_key(|(socket, ..)| socket.id);
    let owners: Vec<_> = rows.iter().map(|(_, owners, _)| owners.clone()).collect();
    assert_eq!(owners, [vec![client()], vec![]]);
    walk(&mut table, &[met, Event::Found(older(State::Close))]);
    assert_eq!(table.n_sockets(), 1);
}

#[test]
fn what_a_program_closes_while_it_hangs_is_looked_at_soon_and_not_every_close() {
    let mut table = table();
    walk(&mut table, &[Event::Seen(Socket { owner: Some(server()), ..at(0) })]);
    open(&mut table, Socket { state: State::FinWait1, ..at(10) }, State::Established);
    assert_eq!(table.n_due(), 0);
    let hangs = Socket { state: State::FinWait1, retransmits: 3, ..at(20) };
    open(&mut table, hangs, State::Established);
    assert_eq!(table.n_due(), 1, "whether somebody still waits is not known");
}

#[test]
fn a_connection_in_an_accept_queue_is_its_listeners_and_told_after_a_second() {
    let condition = |table: &Table| {
        let rows = rows(table);
        let (socket, owners, _) = rows.iter().find(|(it, ..)| it.id == SocketId(1)).unwrap();
        (table.around.condition(socket).condition, owners.clone())
    };
    let queued = [Owner { fd: None, ..server() }];
    let listens = |ms| {
        let remote = Endpoint { port: 0, ..socket().remote };
        let owner = Some(server());
        Event::Seen(Socket { id: SocketId(9), state: State::Listen, remote, owner, ..at(ms) })
    };
    let waits = |ms| Event::Found(Socket { is_unaccepted: true, ..at(ms) });
    let mut table = table();
    walk(&mut table, &[listens(0)]);
    open(&mut table, at(0), State::SynRecv);
    assert_eq!(table.n_due(), 1, "a walk is due");
    walk(&mut table, &[listens(5), waits(5)]);
    assert_eq!(condition(&table), (Condition::Fine, queued.to_vec()), "it may be on its way");
    assert_eq!(table.n_due(), 1, "and is looked at again");
    walk(&mut table, &[listens(1200), waits(1200)]);
    assert_eq!(condition(&table), (Condition::Unaccepted, queued.to_vec()));
    // An event says nothing of it.
    open(&mut table, Socket { state: State::CloseWait, ..at(1300) }, State::Established);
    assert_eq!(condition(&table).0, Condition::Unaccepted);
    walk(&mut table, &[listens(61_000), waits(61_000)]);
    assert_eq!(table.n_due(), 0, "what waits for long may wait for the next walk");
    let accepted = Event::Seen(Socket { owner: Some(server()), ..at(62_000) });
    walk(&mut table, &[listens(62_000), accepted]);
    assert_eq!(condition(&table), (Condition::Fine, vec![server()]));
}

#[test]
fn where_several_sockets_listen_a_connection_waits_at_one_of_them_and_all_owners_are_named() {
    let listens = |id, owner| {
        let remote = Endpoint { port: 0, ..socket().remote };
        let state = State::Listen;
        Event::Seen(Socket { id: SocketId(id), state, remote, owner: Some(owner), ..at(0) })
    };
    let waits = Event::Found(Socket { is_unaccepted: true, ..at(2000) });
    let waiting = |listeners: &[Event]| {
        let mut table = table();
        open(&mut table, at(0), State::SynRecv);
        walk(&mut table, &[listeners, &[waits]].concat());
        let rows = rows(&table);
        let (socket, owners, _) = rows.iter().find(|(it, ..)| it.id == SocketId(1)).unwrap();
        (socket.n_listeners, socket.owner, owners.iter().map(|it| it.pid).collect::<Vec<_>>())
    };
    let queued = |owner| Some(Owner { fd: None, ..owner });
    let other = Owner { pid: 60, ..client() };
    assert_eq!(waiting(&[listens(8, server())]), (1, queued(server()), vec![80]));
    // Whose it is nobody can tell: it is counted for neither.
    assert_eq!(waiting(&[listens(8, server()), listens(9, other)]), (2, None, vec![60, 80]));
    // Workers of one server.
    let worker = Owner { pid: 81, ..server() };
    let found = waiting(&[listens(8, worker), listens(9, server())]);
    assert_eq!(found, (2, queued(server()), vec![80, 81]));
}

#[test]
fn a_socket_of_the_kernel_is_the_kernels_and_so_is_one_that_it_took_over() {
    let mut table = with_outbound();
    let nfs = Endpoint { port: 2049, ..socket().remote };
    let own = Socket { id: SocketId(2), kind: SocketKind::Kernel, remote: nfs, ..at(200) };
    let kernel = kernel_owner::kernel_owner(own.local, own.remote);
    let nbd = Endpoint { port: 10_809, ..socket().remote };
    let taken = Socket { id: SocketId(3), remote: nbd, ..at(200) };
    let held = Socket { owner: Some(client()), ..taken };
    walk(&mut table, &[Event::Found(Socket { owner: Some(kernel), ..own }), Event::Seen(held)]);
    walk(&mut table, &[Event::Found(Socket { at: at(300).at, ..taken })]);
    let names: Vec<_> = rows(&table)
        .into_iter()
        .map(|(socket, owners, _)| (socket.id.0, owners[0].comm.escaped()))
        .collect();
    let named = |id: u64, name: &str| (id, name.to_owned());
    assert_eq!(names, [named(1, "client"), named(2, "kernel (nfs)"), named(3, "kernel (nbd)")]);
    assert!(!table.take_processes().contains(&Owner::KERNEL), "no process to look up");
}
