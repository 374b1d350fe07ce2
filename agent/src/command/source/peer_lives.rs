//! Connections as an agent remembers them, and all that are known to some hosts: the evidence of a path.

use super::{ConnectionReader, Kernel, living::LivingRows};
use crate::{
    command::Failure,
    kernel::clock,
    model::table::happening::EventName,
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

/// Connections of this host with these, those that live and those that the agent remembers. `measured_by`: whose limits.
pub(in crate::command) fn with_hosts(
    reader: &mut ConnectionReader,
    hosts: &BTreeSet<IpAddr>,
    measured_by: &Filter,
) -> Result<Vec<Life>, Failure> {
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    let peer = if hosts.len() > MOST_HOSTS {
        Vec::new()
    } else {
        hosts.iter().map(|addr| IpNet::from(addr.to_canonical()).into()).collect()
    };
    let measured_by = measured_by.measured_by.clone();
    let filter = Filter { peer, measured_by, ..Filter::default() };
    let mut living = LivingRows::default();
    let read_at = clock::unix_seconds();
    let past = match reader {
        ConnectionReader::Agent { path, .. } => {
            client::fresh_sockets(path, &filter, |row| {
                living.take(row);
                true
            })?;
            let mut past = remembered(path, filter, None, |_| true)?;
            past.sort_by(|a, b| a.monotonic_seconds.total_cmp(&b.monotonic_seconds));
            past
        }
        ConnectionReader::Kernel(kernel) => {
            walk(kernel, &filter, &mut living)?;
            Vec::new()
        }
    };
    let (rows, _) = living.finish();
    let mut lives = lives(rows, past);
    for life in lives.iter_mut().filter(|life| life.end.is_none()) {
        life.read_at = Some(read_at);
    }
    Ok(lives)
}

fn walk(kernel: &mut Kernel, filter: &Filter, living: &mut LivingRows) -> Result<(), Failure> {
    kernel.walk(filter, |socket, owners, identity, around| {
        living.take(Row::new(socket, owners, identity, around, socket.at));
        Ok(())
    })
}
