//! What accepted connections inherit: the calls on the socket that they came out of (`tcp_create_openreq_child` in
//! net/ipv4/tcp_minisocks.c copies it).

use crate::{
    model::{
        observed::{
            setsockopt::SockOpt,
            setting::OwnValues,
            socket::{Direction, SocketId, State},
        },
        table::happening::EventName,
    },
    serve::client,
    view::{
        connection::Connection,
        event_filter::EventFilter,
        event_row::{EventRow, StreamLine},
        filter::Filter,
        life::{CallSeen, Life},
        value_enum::EventChoice,
    },
};
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

/// At most this number of ports and of listening sockets is asked for: both are part of one URL.
const MOST_ASKED: usize = 256;
/// Listening sockets beyond this number are not even looked at.
const MOST_LISTENERS: usize = 1 << 16;
/// Of the calls on one listening socket, at most this number is looked through for a connection.
const MOST_CALLS: usize = 64;

/// A listening socket and the calls on it that had an effect, in the order of time.
struct ListeningSocket {
    connection: Connection,
    calls: Vec<CallSeen>,
}

/// Asks the agent for calls on listening sockets, and adds those that accepted connections inherited. What cannot be known
/// of that is a note: the answer is right without it.
pub(super) fn add(agent: &Path, lives: &mut [Life]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Err(failure) = try_to_add(agent, lives, &mut notes) {
        notes.push(format!("what accepted connections inherited is not known: {failure}"));
    }
    notes
}

fn try_to_add(
    agent: &Path,
    lives: &mut [Life],
    notes: &mut Vec<String>,
) -> Result<(), client::Error> {
    let mut ports: BTreeSet<u16> = lives
        .iter()
        .filter(|life| may_inherit(life))
        .map(|life| life.connection.local.port())
        .collect();
    notes.extend(left_out(ports.len(), "ports"));
    ports = ports.into_iter().take(MOST_ASKED).collect();
    if ports.is_empty() {
        return Ok(());
    }
    let listening = Filter {
        state: vec![State::Listen],
        local_port: ports.into_iter().collect(),
        ..Filter::default()
    };
    let mut listeners = Vec::new();
    client::sockets(agent, &listening, |row| {
        listeners.push(ListeningSocket { connection: row.connection, calls: Vec::new() });
        listeners.len() < MOST_LISTENERS
    })?;
    notes.extend(left_out(listeners.len(), "listening sockets"));
    let id = |it: &ListeningSocket| it.connection.id.as_deref()?.parse::<SocketId>().ok();
    let ids: Vec<SocketId> = listeners.iter().filter_map(id).take(MOST_ASKED).collect();
    if ids.is_empty() {
        return Ok(());
    }
    // Before bind(2) they have no port: so by id.
    let wanted = EventFilter {
        event: vec![EventChoice::One(EventName::Setting)],
        past_only: true,
        filter: Filter { id: ids.clone(), ..Filter::default() },
        ..EventFilter::default()
    };
    let mut rows = Vec::new();
    client::events(agent, &wanted, |line| {
        if let Some(StreamLine::Event(row)) = line {
            rows.push(*row);
        }
        true
    })?;
    let calls = calls_by_socket(rows);
    for listener in &mut listeners {
        let of_it = listener.connection.id.as_ref().and_then(|id| calls.get(id));
        listener.calls = of_it.cloned().unwrap_or_default();
    }
    let listeners = by_port(listeners);
    for life in lives.iter_mut().filter(|life| may_inherit(life)) {
        let on_port = listeners.get(&life.connection.local.port());
        inherit(life, on_port.map_or(&[], Vec::as_slice));
    }
    Ok(())
}

/// What is said if not all of them are asked for.
fn left_out(n: usize, what: &str) -> Option<String> {
    (n > MOST_ASKED).then(|| {
        format!(
            "calls that accepted connections inherit are looked up for {MOST_ASKED} of {n} {what}"
        )
    })
}

fn by_port(listeners: Vec<ListeningSocket>) -> HashMap<u16, Vec<ListeningSocket>> {
    let mut all: HashMap<u16, Vec<ListeningSocket>> = HashMap::new();
    for listener in listeners {
        all.entry(listener.connection.local.port()).or_default().push(listener);
    }
    all
}

/// The calls that had an effect, by the id of their socket, in the order of time.
fn calls_by_socket(mut rows: Vec<EventRow>) -> HashMap<String, Vec<CallSeen>> {
    rows.sort_by(|a, b| a.monotonic_seconds.total_cmp(&b.monotonic_seconds));
    let mut all: HashMap<String, Vec<CallSeen>> = HashMap::new();
    for row in rows {
        let id = row.connection.id.clone();
        if let Some((id, call)) = id.zip(CallSeen::of(row)).filter(|(_, call)| call.result == "ok")
        {
            all.entry(id).or_default().push(call);
        }
    }
    all
}

/// It was seen to come out of a listening socket, and has values of its own.
fn may_inherit(life: &Life) -> bool {
    let connection = &life.connection;
    let own = connection.settings.own();
    let has_values = own.keepalive
        || [own.idle, own.interval, own.count, own.user_timeout_ms].iter().any(|it| *it > 0);
    connection.direction() == Direction::Inbound && life.opened_at.is_some() && has_values
}

/// Adds the calls that were in force when it came out of its listening socket, unless it has made others since. If several
/// sockets fit, as with SO_REUSEPORT, and not all of them had the same calls, none is added: which one it came out of is not
/// known.
fn inherit(life: &mut Life, listeners: &[ListeningSocket]) {
    let Some(opened_at) = life.opened_at.as_deref() else {
        return;
    };
    let fits = |it: &ListeningSocket| nearness(&it.connection, &life.connection);
    let Some(nearest) = listeners.iter().filter_map(fits).min() else {
        return;
    };
    let mut candidates = listeners
        .iter()
        .filter(|it| fits(it) == Some(nearest))
        .map(|it| in_force(&it.calls, opened_at));
    let mut inherited = candidates.next().unwrap_or_default();
    let values = |calls: &[CallSeen]| -> Vec<_> {
        SockOpt::ALL
            .iter()
            .map(|option| calls.iter().find(|call| call.option == *option).map(|call| call.value))
            .collect()
    };
    if !candidates.all(|other| values(&other) == values(&inherited)) {
        return;
    }
    let own = life.connection.settings.own();
    let calls = &life.calls;
    inherited.retain(|it| {
        let sets = |call: &CallSeen| call.option == it.option && call.result == "ok";
        is_value(it, &own) && !calls.iter().any(sets)
    });
    life.calls.splice(0..0, inherited);
}

/// How well a listening socket fits to what it accepted, the best is the least: this very address, all of this family, all
/// of both families. None if it cannot have accepted it.
fn nearness(listener: &Connection, accepted: &Connection) -> Option<u8> {
    if listener.netns != accepted.netns || listener.local.port() != accepted.local.port() {
        return None;
    }
    match (listener.local.ip(), accepted.local.ip()) {
        (on, to) if on == to => Some(0),
        (on, to) if on.is_unspecified() && on.is_ipv4() == to.is_ipv4() => Some(1),
        (on, to) if on.is_unspecified() && on.is_ipv6() && to.is_ipv4() => Some(2),
        _ => None,
    }
}

/// The last call for each option before a time, in the order of time. `calls`: in that order, too.
fn in_force(calls: &[CallSeen], before: &str) -> Vec<CallSeen> {
    let n = calls.partition_point(|call| call.at.as_str() < before);
    let mut last: Vec<CallSeen> = Vec::new();
    for call in calls.get(..n).unwrap_or_default().iter().rev().take(MOST_CALLS) {
        if !last.iter().any(|later| later.option == call.option) {
            last.push(CallSeen { inherited: true, ..call.clone() });
        }
    }
    last.reverse();
    last
}

/// Whether the connection has the value that the call asked for.
fn is_value(call: &CallSeen, own: &OwnValues) -> bool {
    let Some(value) = call.value.and_then(|value| u32::try_from(value).ok()) else {
        return false;
    };
    match call.option {
        SockOpt::Keepalive => (value != 0) == own.keepalive,
        SockOpt::Idle => value == own.idle,
        SockOpt::Interval => value == own.interval,
        SockOpt::Count => value == own.count,
        SockOpt::UserTimeout => value == own.user_timeout_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            observed::{
                setsockopt::SockOpt,
                setting::OwnSettings,
                socket::{Endpoint, Socket},
            },
            table::happening::{Happened, Happening},
            text::wall_time::WallTime,
        },
        view::{
            event_row::EventDetails,
            life::tests_support::{app, around, live},
        },
    };

    fn listening(id: u64) -> Socket {
        let remote = Endpoint { port: 0, ..app(1, None, 0).remote };
        Socket { id: SocketId(id), state: State::Listen, remote, ..app(1, None, 0) }
    }

    fn called(socket: &Socket, second: u32, option: SockOpt, value: i32) -> EventRow {
        let happening = Happening::new(socket.at, *socket, Happened::Opened);
        let mut row = EventRow::new(&happening, WallTime::default(), &around());
        row.event = EventName::Setting;
        row.time.at = format!("2026-11-25T10:00:{second:02}.000000Z");
        row.details = EventDetails {
            option: Some(option),
            value: Some(value),
            result: Some("ok".to_owned()),
            ..EventDetails::default()
        };
        row
    }

    fn accepted(second: u32, idle_seconds: u32) -> Life {
        let own = OwnSettings { idle_seconds, ..OwnSettings::default() };
        let direction = Direction::Inbound;
        let mut life = live(&Socket { keepalive: true, own, direction, ..app(2, None, 0) });
        life.opened_at = Some(format!("2026-11-25T10:00:{second:02}.000000Z"));
        life
    }

    fn listener(socket: &Socket, rows: &[EventRow]) -> ListeningSocket {
        let id = socket.id.to_string();
        let calls = calls_by_socket(rows.to_vec()).remove(&id).unwrap_or_default();
        ListeningSocket { connection: live(socket).connection, calls }
    }

    fn on(socket: &Socket, addr: &str) -> Socket {
        let addr = std::net::SocketAddr::new(addr.parse().unwrap(), socket.local.port);
        Socket { local: addr.into(), ..*socket }
    }

    fn inherited(
        mut life: Life,
        listeners: &[ListeningSocket],
    ) -> Vec<(SockOpt, Option<i32>, bool)> {
        assert!(may_inherit(&life));
        inherit(&mut life, listeners);
        life.calls.iter().map(|call| (call.option, call.value, call.inherited)).collect()
    }

    #[test]
    fn an_accepted_connection_has_the_calls_that_were_in_force_on_its_listener() {
        let socket = listening(9);
        let calls = [
            called(&socket, 1, SockOpt::Keepalive, 1),
            called(&socket, 2, SockOpt::Idle, 61),
            called(&socket, 20, SockOpt::Idle, 62),
        ];
        let listeners = [listener(&socket, &calls)];
        let on = (SockOpt::Keepalive, Some(1), true);
        let idle = |value| (SockOpt::Idle, Some(value), true);
        assert_eq!(inherited(accepted(10, 61), &listeners), [on, idle(61)]);
        assert_eq!(inherited(accepted(30, 62), &listeners), [on, idle(62)]);
        // It has another value than that call gave: it did not get it there.
        assert_eq!(inherited(accepted(30, 61), &listeners), [on]);
        // What it sets itself since then is its own.
        let mut sets = accepted(10, 90);
        sets.calls.extend(CallSeen::of(called(&socket, 11, SockOpt::Idle, 90)));
        assert_eq!(inherited(sets, &listeners), [on, (SockOpt::Idle, Some(90), false)]);
    }

    #[test]
    fn the_listener_is_the_nearest_and_none_of_several_that_differ() {
        let idle = |id, addr: &str, value| {
            let socket = on(&listening(id), addr);
            listener(&socket, &[called(&socket, 1, SockOpt::Idle, value)])
        };
        let of = |listeners: &[ListeningSocket]| {
            let calls = inherited(accepted(10, 61), listeners);
            calls.iter().filter_map(|(_, value, _)| *value).collect::<Vec<_>>()
        };
        let none: [i32; 0] = [];
        // It is on an IPv4 address: the socket of the same family takes it, whichever is named first.
        assert_eq!(of(&[idle(8, "::", 62), idle(9, "0.0.0.0", 61)]), [61]);
        assert_eq!(of(&[idle(8, "::", 61), idle(9, "0.0.0.0", 62)]), none);
        assert_eq!(of(&[idle(8, "::", 61)]), [61]);
        // SO_REUSEPORT: whose it was does not matter where all have the same.
        assert_eq!(of(&[idle(8, "0.0.0.0", 61), idle(9, "0.0.0.0", 61)]), [61]);
        assert_eq!(of(&[idle(8, "0.0.0.0", 61), idle(9, "0.0.0.0", 62)]), none);
        let address = app(2, None, 0).local.socket_addr().ip().to_string();
        assert_eq!(of(&[idle(8, "0.0.0.0", 62), idle(9, &address, 61)]), [61]);
    }

    #[test]
    fn what_is_older_than_the_agent_or_came_out_of_another_listener_inherits_nothing_that_is_known()
    {
        let elsewhere = Socket { netns: 7, ..listening(9) };
        let of_it = listener(&elsewhere, &[called(&elsewhere, 1, SockOpt::Idle, 61)]);
        assert_eq!(inherited(accepted(10, 61), &[of_it]), []);
        let mut old = accepted(10, 61);
        old.opened_at = None;
        assert!(!may_inherit(&old));
    }

    #[test]
    fn what_is_left_out_is_said_and_an_agent_that_does_not_answer_is_a_note() {
        assert_eq!(left_out(MOST_ASKED, "ports"), None);
        let expected = "calls that accepted connections inherit are looked up for 256 of 4100 listening sockets";
        assert_eq!(left_out(4100, "listening sockets").as_deref(), Some(expected));
        let notes = add(Path::new("/nobody/keepwatch.sock"), &mut [accepted(10, 61)]);
        assert!(notes.len() == 1 && notes[0].contains("inherited is not known"), "{notes:?}");
    }
}
