//! What accepted connections inherit: the calls on the socket that they came out of (`tcp_create_openreq_child` in
//! net/ipv4/tcp_minisocks.c copies it).

use crate::{
    command::Failure,
    model::{
        observed::socket::{Direction, SocketId, State},
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
use std::{collections::BTreeSet, path::Path};

/// Asks the agent for calls on listening sockets, and adds those that accepted connections inherited.
pub(super) fn add(agent: &Path, lives: &mut [Life]) -> Result<(), Failure> {
    let ports: BTreeSet<u16> = lives
        .iter()
        .filter(|life| may_inherit(life))
        .map(|life| life.connection.local.port())
        .collect();
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
        listeners.push(row.connection);
        true
    })?;
    let ids: Vec<SocketId> =
        listeners.iter().filter_map(|it| it.id.as_deref()?.parse().ok()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    // Before bind(2) they have no port: so by id.
    let wanted = EventFilter {
        event: vec![EventChoice::One(EventName::Setting)],
        past_only: true,
        filter: Filter { id: ids, ..Filter::default() },
        ..EventFilter::default()
    };
    let mut calls = Vec::new();
    client::events(agent, &wanted, |line| {
        if let Some(StreamLine::Event(row)) = line {
            calls.push(*row);
        }
        true
    })?;
    calls.sort_by(|a, b| a.monotonic_seconds.total_cmp(&b.monotonic_seconds));
    for life in lives.iter_mut().filter(|life| may_inherit(life)) {
        inherit(life, &listeners, &calls);
    }
    Ok(())
}

/// It was seen to come out of a listening socket, and has values of its own.
fn may_inherit(life: &Life) -> bool {
    let connection = &life.connection;
    let own = connection.settings.own();
    let has_values = own.keepalive
        || [own.idle, own.interval, own.count, own.user_timeout_ms].iter().any(|it| *it > 0);
    connection.direction() == Direction::Inbound && life.opened_at.is_some() && has_values
}

/// Adds the calls that were in force when it came out of its listening socket, unless it has made others since. `calls`: in
/// the order of time.
fn inherit(life: &mut Life, listeners: &[Connection], calls: &[EventRow]) {
    let Some(opened_at) = life.opened_at.clone() else {
        return;
    };
    // One on this very address comes before one on all.
    let local = life.connection.local;
    let listens_for = |it: &&Connection| {
        it.netns == life.connection.netns
            && it.local.port() == local.port()
            && (it.local.ip() == local.ip() || it.local.ip().is_unspecified())
    };
    let listener =
        listeners.iter().filter(listens_for).min_by_key(|it| it.local.ip().is_unspecified());
    let Some(listener) = listener else {
        return;
    };
    let mut inherited: Vec<CallSeen> = Vec::new();
    let of_it = calls.iter().filter(|call| {
        call.connection.id == listener.id
            && call.time.at < opened_at
            && call.details.result.as_deref() == Some("ok")
    });
    for call in of_it.cloned().filter_map(CallSeen::of) {
        inherited.retain(|earlier| earlier.option != call.option);
        inherited.push(CallSeen { inherited: true, ..call });
    }
    let own = &life.calls;
    inherited.retain(|it| !own.iter().any(|call| call.option == it.option && call.result == "ok"));
    life.calls.splice(0..0, inherited);
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

    fn accepted(second: u32) -> Life {
        let own = OwnSettings { idle_seconds: 61, ..OwnSettings::default() };
        let direction = Direction::Inbound;
        let mut life = live(&Socket { keepalive: true, own, direction, ..app(2, None, 0) });
        life.opened_at = Some(format!("2026-11-25T10:00:{second:02}.000000Z"));
        life
    }

    #[test]
    fn an_accepted_connection_has_the_calls_that_were_in_force_on_its_listener() {
        let listener = listening(9);
        let calls = [
            called(&listener, 1, SockOpt::Keepalive, 1),
            called(&listener, 2, SockOpt::Idle, 61),
            called(&listener, 20, SockOpt::Idle, 62),
        ];
        let listeners = [live(&listener).connection];
        let said = |mut life: Life| -> Vec<(SockOpt, Option<i32>, bool)> {
            assert!(may_inherit(&life));
            inherit(&mut life, &listeners, &calls);
            life.calls.iter().map(|call| (call.option, call.value, call.inherited)).collect()
        };
        let on = (SockOpt::Keepalive, Some(1), true);
        assert_eq!(said(accepted(10)), [on, (SockOpt::Idle, Some(61), true)]);
        assert_eq!(said(accepted(30)), [on, (SockOpt::Idle, Some(62), true)]);
        // What it sets itself since then is its own.
        let mut sets = accepted(10);
        sets.calls.extend(CallSeen::of(called(&listener, 11, SockOpt::Idle, 90)));
        assert_eq!(said(sets), [on, (SockOpt::Idle, Some(90), false)]);
    }

    #[test]
    fn what_is_older_than_the_agent_or_came_out_of_another_listener_inherits_nothing_that_is_known()
    {
        let elsewhere = Socket { netns: 7, ..listening(9) };
        let mut life = accepted(10);
        let calls = [called(&elsewhere, 1, SockOpt::Idle, 61)];
        inherit(&mut life, &[live(&elsewhere).connection], &calls);
        assert_eq!(life.calls, []);
        let mut old = accepted(10);
        old.opened_at = None;
        assert!(!may_inherit(&old));
    }
}
