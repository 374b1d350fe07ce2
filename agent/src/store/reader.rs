//! Reads the history: newest first, by time, peer and owner, in milliseconds however long it is.

use super::{
    CallRow, ConnectionRef, DeathRow, Error, FILE, Query,
    columns::{self, not_expected, word},
    schema,
};
use crate::{
    kernel::clock,
    model::{
        judgement::learned::LimitRow, table::happening::EventName, text::duration::signed_seconds,
    },
    view::{
        connection::RowOwner,
        event_row::{EventDetails, EventRow},
    },
};
use rusqlite::Row;
use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

/// The history of a state directory, to read.
#[derive(Debug)]
pub struct HistoryReader {
    database: rusqlite::Connection,
    file: PathBuf,
}

impl HistoryReader {
    /// Opens it. An agent may be writing, or none may run.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Ok(Self { database: schema::to_read(folder)?, file: folder.join(FILE) })
    }

    /// Deaths, the latest first, until `each` returns false.
    pub fn deaths(
        &self,
        query: &Query,
        mut each: impl FnMut(DeathRow) -> bool,
    ) -> Result<(), Error> {
        self.read(|database| {
            let calls = "SELECT * FROM calls WHERE socket = ? AND run IN \
                         (SELECT id FROM runs WHERE boot = (SELECT boot FROM runs WHERE id = ?)) \
                         ORDER BY monotonic_ns";
            let mut calls = database.prepare(calls)?;
            let mut of = |row: &Row<'_>| {
                let key = (row.get::<_, String>("socket")?, row.get::<_, i64>("run")?);
                let calls = calls.query_map(key, call)?.collect::<Result<_, _>>()?;
                death(row, calls)
            };
            let (clause, values) = query.clause();
            let mut deaths = database.prepare(&format!("SELECT * FROM deaths{clause}"))?;
            let mut rows = deaths.query(rusqlite::params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                if !each(of(row)?) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Every learned idle limit.
    pub fn limits(&self) -> Result<Vec<LimitRow>, Error> {
        self.read(|database| {
            let mut all = database.prepare("SELECT * FROM limits ORDER BY destination")?;
            all.query_map([], limit)?.collect()
        })
    }

    fn read<T>(
        &self,
        query: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        query(&self.database).map_err(schema::failed("read", &self.file))
    }
}

fn death(row: &Row<'_>, calls: Vec<CallRow>) -> rusqlite::Result<DeathRow> {
    let cause: String = row.get("cause")?;
    let evidence: String = row.get("evidence")?;
    let mut on = on(row)?;
    let owner = on.owner.take();
    let connection = columns::connection(row, on)?;
    let details = EventDetails {
        cause: Some(word(row, "cause")?),
        certainty: Some(word(row, "certainty")?),
        errno: row.get("errno")?,
        evidence: Some(evidence.clone()),
        age_seconds: row.get::<_, Option<i64>>("age_ms")?.map(signed_seconds),
        silent_seconds: Some(signed_seconds(row.get("silent_ms")?)),
        probes_sent: Some(row.get("probes_sent")?),
        clues: row
            .get::<_, Option<String>>("clues")?
            .and_then(|clues| serde_json::from_str(&clues).ok()),
        ..EventDetails::default()
    };
    Ok(DeathRow {
        unix_seconds: unix_seconds(row)?,
        opened_at: row.get::<_, Option<i64>>("opened_at_ns")?.map(clock::utc),
        survived_seconds: signed_seconds(row.get("survived_ms")?),
        calls,
        event: EventRow {
            at: at(row)?,
            monotonic_seconds: monotonic_seconds(row)?,
            event: EventName::Died,
            owner,
            meaning: format!("{cause}: {evidence}"),
            details,
            connection,
        },
    })
}

fn call(row: &Row<'_>) -> rusqlite::Result<CallRow> {
    Ok(CallRow {
        at: at(row)?,
        unix_seconds: unix_seconds(row)?,
        monotonic_seconds: monotonic_seconds(row)?,
        option: word(row, "option")?,
        value: row.get("value")?,
        result: row.get("result")?,
        when: word(row, "when")?,
        on: on(row)?,
    })
}

fn limit(row: &Row<'_>) -> rusqlite::Result<LimitRow> {
    Ok(LimitRow {
        destination: row.get("destination")?,
        unix_seconds: unix_seconds(row)?,
        longest_survived_seconds: row
            .get::<_, Option<i64>>("longest_survived_ms")?
            .map(signed_seconds),
        shortest_killed_seconds: signed_seconds(row.get("shortest_killed_ms")?),
        survivals: row.get("survivals")?,
        deaths: row.get("deaths")?,
        deaths_contradicted: row.get("deaths_contradicted")?,
        occasions: row.get("occasions")?,
        confidence: word(row, "confidence")?,
        seconds: row.get("seconds")?,
        looks_like: row.get("looks_like")?,
        meaning: row.get("meaning")?,
    })
}

fn on(row: &Row<'_>) -> rusqlite::Result<ConnectionRef> {
    let owner = match (row.get("pid")?, row.get("process")?) {
        (Some(pid), Some(process)) => Some(RowOwner { pid, process, fd: None }),
        _ => None,
    };
    Ok(ConnectionRef {
        id: row.get("socket")?,
        netns: row.get("netns")?,
        local: endpoint(row, "local_addr", "local_port")?,
        remote: endpoint(row, "remote_addr", "remote_port")?,
        owner,
        part_of: columns::part_of(row)?,
    })
}

fn endpoint(row: &Row<'_>, addr: &str, port: &str) -> rusqlite::Result<SocketAddr> {
    let text: String = row.get(addr)?;
    let addr: IpAddr = text.parse().map_err(not_expected)?;
    Ok(SocketAddr::new(addr, row.get(port)?))
}

fn at(row: &Row<'_>) -> rusqlite::Result<String> {
    row.get("at_ns").map(clock::utc)
}

fn unix_seconds(row: &Row<'_>) -> rusqlite::Result<f64> {
    row.get::<_, i64>("at_ns").map(|ns| signed_seconds(ns / 1_000_000))
}

fn monotonic_seconds(row: &Row<'_>) -> rusqlite::Result<f64> {
    let ns: i64 = row.get("monotonic_ns")?;
    Ok(std::time::Duration::from_nanos(ns.unsigned_abs()).as_secs_f64())
}
