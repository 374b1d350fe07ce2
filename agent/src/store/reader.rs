//! Reads the history: newest first, by time, peer and owner, in milliseconds however long it is.

use super::{
    CallRow, ConnectionRef, DeathRow, Error, FILE, LateAnswer, NotKept, Query,
    columns::{self, ColumnPlaces, NamedRow, not_expected, word},
    learned, not_kept,
    query::nanos,
    schema,
};
use crate::{
    kernel::host,
    model::{
        judgement::{death::Cause, learned::LearnedRow, worth::Worth},
        table::happening,
        text::{duration::signed_seconds, wall_time::WallTime},
    },
    view::{
        connection::RowOwner,
        event_row::{EventDetails, EventRow},
    },
};
use rusqlite::Row;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

/// Calls on connections that live which are read at most, the latest.
const MOST_CALLS: u32 = 4096;
/// The same of late answers.
const MOST_ANSWERS: u32 = 4096;

/// Deaths that are read in one transaction.
const AT_ONCE: usize = 128;

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

    /// Deaths, the latest first, until `each` returns false. How many were passed over: a later version wrote them,
    /// in words that this one does not know.
    pub fn deaths(
        &self,
        query: &Query,
        mut each: impl FnMut(DeathRow) -> bool,
    ) -> Result<u64, Error> {
        self.read(|database| {
            // First all ids, out of an index: rows are read one by one, and only those that are wanted.
            let (clause, mut values) = query.clause();
            values.push(query.limit.map_or(-1, i64::from).into());
            let ids = format!("SELECT id {clause} ORDER BY at_ns DESC, id DESC LIMIT ?");
            let mut ids = database.prepare(&ids)?;
            let ids: Vec<i64> = ids
                .query_map(rusqlite::params_from_iter(values), |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let of_owner = "process, unit, container, container_id, namespace, workload, pod";
            let mut deaths = database.prepare(&format!(
                "SELECT deaths.*, {of_owner} FROM deaths LEFT JOIN owners ON owners.id = owner WHERE deaths.id = ?"
            ))?;
            let mut calls = database.prepare(&format!(
                "SELECT calls.*, {of_owner} FROM calls LEFT JOIN owners ON owners.id = owner WHERE death = ? \
                 ORDER BY monotonic_ns"
            ))?;
            let (of_death, of_call) = (ColumnPlaces::of(&deaths), ColumnPlaces::of(&calls));
            let mut n_unknown = 0;
            for ids in ids.chunks(AT_ONCE) {
                let mut found = Vec::with_capacity(ids.len());
                // Without it each row is a transaction of its own. A longer one, for a slow client, would keep the agent
                // from tidying up.
                let together = database.unchecked_transaction()?;
                for id in ids {
                    let call = |row: &Row<'_>| call(NamedRow { row, places: &of_call });
                    let calls = calls.query_map([id], call)?.filter_map(known);
                    let calls = calls.collect::<Result<_, _>>()?;
                    // An agent may have deleted it meanwhile.
                    let mut rows = deaths.query([id])?;
                    let row = rows.next()?;
                    found.extend(row.map(|row| {
                        known(death(NamedRow { row, places: &of_death }, calls))
                    }));
                }
                together.finish()?;
                for death in found {
                    match death {
                        None => n_unknown += 1,
                        Some(death) => {
                            if !each(death?) {
                                return Ok(n_unknown);
                            }
                        }
                    }
                }
            }
            Ok(n_unknown)
        })
    }

    /// The number of deaths that a query finds, without its limit, by what they are worth.
    pub fn count(&self, query: &Query) -> Result<BTreeMap<Worth, u64>, Error> {
        self.read(|database| {
            let (clause, values) = query.clause();
            let sums = "sum(worth = 0), sum(worth <> 0)";
            let count = format!("SELECT {sums} {clause}");
            let numbers = |row: &Row<'_>| Ok([row.get::<_, Option<u64>>(0)?, row.get(1)?]);
            let found = database.query_row(&count, rusqlite::params_from_iter(values), numbers)?;
            let [silence, ordinary] = found.map(Option::unwrap_or_default);
            Ok([(Worth::Silence, silence), (Worth::Ordinary, ordinary)].into())
        })
    }

    /// Calls of this boot on connections that have not died since, the latest first. What an owner called with success is there only
    /// of connections that had lived for a minute, or lived when the agent of then ended.
    pub fn living_calls(&self) -> Result<Vec<CallRow>, Error> {
        self.read(|database| {
            let mut calls = database.prepare(
                "SELECT calls.*, process, unit, container, container_id, namespace, workload, pod \
                 FROM calls LEFT JOIN owners ON owners.id = owner \
                 WHERE death IS NULL AND socket IS NOT NULL AND run IN (SELECT id FROM runs WHERE boot = ?) \
                 ORDER BY at_ns DESC LIMIT ?",
            )?;
            let places = ColumnPlaces::of(&calls);
            let call = |row: &Row<'_>| call(NamedRow { row, places: &places });
            calls.query_map((host::boot_id(), MOST_CALLS), call)?.filter_map(known).collect()
        })
    }

    /// Data of connections of this boot that was answered late, from `since` (Unix seconds) on, the latest first.
    pub(crate) fn late_answers(&self, since: f64) -> Result<Vec<LateAnswer>, Error> {
        self.read(|database| {
            let mut answers = database.prepare(
                "SELECT socket, at_ns, unanswered_ms FROM late_answers \
                 WHERE at_ns >= ? AND run IN (SELECT id FROM runs WHERE boot = ?) ORDER BY at_ns DESC LIMIT ?",
            )?;
            let answer = |row: &Row<'_>| {
                Ok(LateAnswer {
                    id: row.get("socket")?,
                    time: row.get("at_ns").map(WallTime::of_unix_ns)?,
                    unanswered_seconds: signed_seconds(row.get("unanswered_ms")?),
                })
            };
            answers.query_map((nanos(since), host::boot_id(), MOST_ANSWERS), answer)?.collect()
        })
    }

    /// Everything that was learned.
    pub fn learned(&self) -> Result<Vec<LearnedRow>, Error> {
        self.read(learned::read_rows)
    }

    /// What happened from `since` on and before `until` (Unix seconds), and is not in the history.
    pub fn not_kept(&self, since: Option<f64>, until: Option<f64>) -> Result<Vec<NotKept>, Error> {
        self.read(|database| not_kept::read(database, since.map(nanos), until.map(nanos)))
    }

    fn read<T>(
        &self,
        query: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        query(&self.database).map_err(schema::failed("read", &self.file))
    }
}

/// Not what a later version wrote in words of its own.
fn known<T>(read: rusqlite::Result<T>) -> Option<rusqlite::Result<T>> {
    match read {
        Err(rusqlite::Error::FromSqlConversionFailure(..)) => None,
        read => Some(read),
    }
}

fn death(row: NamedRow<'_, '_>, calls: Vec<CallRow>) -> rusqlite::Result<DeathRow> {
    let evidence: String = row.get("evidence")?;
    let connection = columns::connection(row, on(row)?)?;
    let cause: Cause = word(row, "cause")?;
    let age_ms: Option<i64> = row.get("age_ms")?;
    let quiet_ms: i64 = row.get("quiet_ms")?;
    let event = happening::of_end(
        cause,
        connection.in_flight,
        quiet_ms.unsigned_abs(),
        age_ms.map(i64::unsigned_abs),
    );
    let details = EventDetails {
        cause: Some(cause),
        certainty: Some(word(row, "certainty")?),
        errno: row.get("errno")?,
        evidence: Some(evidence.clone()),
        age_seconds: age_ms.map(signed_seconds),
        others_answered: row.get("others_answered")?,
        others_silent: row.get("others_silent")?,
        without_data_seconds: row.get::<Option<i64>>("without_data_ms")?.map(signed_seconds),
        forgotten: Some(row.get("forgotten")?),
        closed_after_seconds: row.get::<Option<i64>>("closed_after_ms")?.map(signed_seconds),
        given_up_seconds: row.get::<Option<i64>>("given_up_ms")?.map(signed_seconds),
        unsent_seconds: row.get::<Option<i64>>("unsent_ms")?.map(signed_seconds),
        peer_spoke_last: Some(row.get("peer_spoke_last")?),
        heard_seconds: row.get::<Option<i64>>("heard_ms")?.map(signed_seconds),
        unreplied_seconds: row.get::<Option<i64>>("unreplied_ms")?.map(signed_seconds),
        probes_sent: Some(row.get("probes_sent")?),
        clues: row
            .get::<Option<String>>("clues")?
            .and_then(|clues| serde_json::from_str(&clues).ok()),
        ..EventDetails::default()
    };
    Ok(DeathRow {
        opened_at: row.get::<Option<i64>>("opened_at_ns")?.map(|ns| WallTime::of_unix_ns(ns).at),
        calls,
        event: EventRow {
            time: time(row)?,
            monotonic_seconds: monotonic_seconds(row)?,
            event,
            owners: owner(row)?.into_iter().collect(),
            meaning: format!("{}: {evidence}", cause.as_str()),
            details,
            connection,
        },
    })
}

fn call(row: NamedRow<'_, '_>) -> rusqlite::Result<CallRow> {
    Ok(CallRow {
        by: owner(row)?,
        time: time(row)?,
        monotonic_seconds: monotonic_seconds(row)?,
        option: word(row, "option")?,
        value: row.get("value")?,
        result: row.get("result")?,
        when: word(row, "when")?,
        on: on(row)?,
    })
}

/// The process that the connection was counted for, or that called.
fn owner(row: NamedRow<'_, '_>) -> rusqlite::Result<Option<RowOwner>> {
    Ok(match (row.get("pid")?, row.get("process")?) {
        (Some(pid), Some(process)) => Some(RowOwner { pid, process, fd: None }),
        _ => None,
    })
}

fn on(row: NamedRow<'_, '_>) -> rusqlite::Result<ConnectionRef> {
    Ok(ConnectionRef {
        id: row.get("socket")?,
        netns: row.get("netns")?,
        local: endpoint(row, "local_addr", "local_port")?,
        remote: endpoint(row, "remote_addr", "remote_port")?,
        part_of: columns::part_of(row)?,
    })
}

fn endpoint(row: NamedRow<'_, '_>, addr: &str, port: &str) -> rusqlite::Result<SocketAddr> {
    let text: String = row.get(addr)?;
    let addr: IpAddr = text.parse().map_err(not_expected)?;
    Ok(SocketAddr::new(addr, row.get(port)?))
}

fn time(row: NamedRow<'_, '_>) -> rusqlite::Result<WallTime> {
    row.get("at_ns").map(WallTime::of_unix_ns)
}

fn monotonic_seconds(row: NamedRow<'_, '_>) -> rusqlite::Result<f64> {
    let ns: i64 = row.get("monotonic_ns")?;
    Ok(std::time::Duration::from_nanos(ns.unsigned_abs()).as_secs_f64())
}
