//! Connections as an agent remembers them, and all that are known to some hosts: the evidence of a path.

use super::{ConnectionReader, Kernel, living::LivingRows};
use crate::{
    command::Failure,
    kernel::clock,
    model::{
        judgement::{given_limits::GivenLimits, verdict::Verdict},
        table::happening::EventName,
    },
    serve::client,
    view::{
        event_filter::EventFilter,
        event_row::{EventRow, StreamLine},
        filter::Filter,
        life::{Life, lives},
        row::Row,
        value_enum::EventChoice,
    },
};
use ipnet::IpNet;
use std::{collections::BTreeSet, net::IpAddr, path::Path};

/// More hosts than these are not asked for by name: everything is.
const MOST_HOSTS: usize = 64;

/// Everything that the agent remembers of connections that the filter admits, in the order of time. `dead`: at most this
/// number of those that died.
pub(in crate::command) fn remembered(
    agent: &Path,
    filter: Filter,
    dead: Option<usize>,
    mut admits: impl FnMut(&EventRow) -> bool,
) -> Result<Vec<EventRow>, Failure> {
    let wanted = EventFilter {
        event: [
            EventName::Opened,
            EventName::Setting,
            EventName::Changed,
            EventName::DataAnswered,
            EventName::GivenUp,
            EventName::Died,
            EventName::Ended,
        ]
        .map(EventChoice::One)
        .to_vec(),
        past_only: true,
        dead,
        filter,
        ..EventFilter::default()
    };
    let mut happenings: Vec<EventRow> = Vec::new();
    client::events(agent, &wanted, |line| {
        if let Some(StreamLine::Event(row)) = line
            && admits(&row)
        {
            happenings.push(*row);
        }
        true
    })?;
    Ok(happenings)
}

/// Passes on every connection that a filter admits, and then says what is known of their paths: of all connections with the same
/// hosts that live, and of those that the agent remembers.
///
/// The kernel is walked once for both, and an agent is asked once where the filter leaves out none of these. What goes in the other
/// direction shows nothing of a path (`Neighbours`), nor does what stays on this host: neither is held.
pub(in crate::command) fn of_each_row(
    reader: &mut ConnectionReader,
    filter: &Filter,
    mut each: impl FnMut(Row),
) -> Result<Vec<Life>, Failure> {
    let mut hosts = BTreeSet::new();
    let mut take = |row: Row| {
        if row.verdict() != Verdict::Local {
            hosts.insert(row.connection.remote.ip());
        }
        each(row);
    };
    let mut read_at = clock::unix_seconds();
    let seen = match reader {
        ConnectionReader::Agent { .. } if filter.is_of_whole_hosts() => {
            let mut living = LivingRows::default();
            reader.each_row(filter, |row| {
                if row.verdict() != Verdict::Local {
                    living.take_copy(&row);
                }
                take(row);
            })?;
            Some(living)
        }
        ConnectionReader::Agent { .. } => {
            reader.each_row(filter, take)?;
            None
        }
        ConnectionReader::Kernel(kernel) => Some(walk_once(kernel, filter, &mut take)?),
    };
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    let with_hosts = with_hosts(&hosts, filter.measured_by.clone());
    let living = if let Some(living) = seen.filter(|living| !living.is_cut()) {
        living
    } else {
        let mut living = LivingRows::default();
        read_at = clock::unix_seconds();
        reader.each_row(&with_hosts, |row| living.take(row))?;
        living
    };
    let (mut rows, _) = living.finish();
    rows.retain(|row| hosts.contains(&row.connection.remote.ip()));
    let past = match reader {
        ConnectionReader::Agent { path, .. } => {
            let mut past = remembered(path, with_hosts, None, |_| true)?;
            past.sort_by(|a, b| a.monotonic_seconds.total_cmp(&b.monotonic_seconds));
            past
        }
        ConnectionReader::Kernel(_) => Vec::new(),
    };
    Ok(lives_at(read_at, rows, past))
}

/// Passes on what a filter admits, and holds what others show of paths.
fn walk_once(
    kernel: &mut Kernel,
    filter: &Filter,
    mut each: impl FnMut(Row),
) -> Result<LivingRows, Failure> {
    let measured_by = filter.measured_by.clone();
    let of_paths = Filter { direction: filter.direction, measured_by, ..Filter::default() };
    let everything = Filter { all: true, ..of_paths.clone() };
    let mut living = LivingRows::default();
    kernel.walk(&everything, |socket, owners, identity, around| {
        let is = |filter: &Filter| filter.admits(socket, around, socket.quiet_ms.into());
        let is_meant =
            is(filter) && filter.admits_owner(owners) && filter.admits_identity(identity);
        let is_of_path = is(&of_paths) && !around.is_local(socket);
        if is_meant || is_of_path {
            let row = Row::without_meaning(socket, owners, identity, around, socket.at);
            if is_of_path {
                living.take_copy(&row);
            }
            if is_meant {
                each(row);
            }
        }
        Ok(())
    })?;
    Ok(living)
}

/// Connections of this host with these. `measured_by`: whose limits.
fn with_hosts(hosts: &BTreeSet<IpAddr>, measured_by: Option<GivenLimits>) -> Filter {
    let peer = if hosts.len() > MOST_HOSTS {
        Vec::new()
    } else {
        hosts.iter().map(|addr| IpNet::from(addr.to_canonical()).into()).collect()
    };
    Filter { peer, measured_by, ..Filter::default() }
}

fn lives_at(read_at: f64, rows: Vec<Row>, past: Vec<EventRow>) -> Vec<Life> {
    let mut lives = lives(rows, past);
    for life in lives.iter_mut().filter(|life| life.end.is_none()) {
        life.read_at = Some(read_at);
    }
    lives
}
