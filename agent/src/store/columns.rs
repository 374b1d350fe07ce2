//! The columns of a connection, written and read side by side.

use super::ConnectionRef;
use crate::{
    model::text::duration::signed_seconds,
    view::connection::{Connection, KeepaliveSettings, PartOf, PathLimit, Probes, Seconds, ms},
};
use hashbrown::HashMap;
use rusqlite::{
    Row, Statement,
    types::{FromSql, Type, Value, ValueRef},
};
use serde::{
    Serialize,
    de::{DeserializeOwned, value::StrDeserializer},
};
use std::borrow::Cow;

/// One row to be: columns and their values.
#[derive(Debug, Default)]
pub(super) struct Columns {
    names: Vec<&'static str>,
    values: Vec<Value>,
}

impl Columns {
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.names.push(name);
        self.values.push(value.into());
    }

    pub(super) fn insert(
        &self,
        into: &rusqlite::Connection,
        table: &str,
        conflict: &str,
    ) -> rusqlite::Result<()> {
        let names: Vec<String> = self.names.iter().map(|name| format!("\"{name}\"")).collect();
        let marks = vec!["?"; names.len()].join(", ");
        let sql = format!("INSERT INTO {table} ({}) VALUES ({marks}) {conflict}", names.join(", "));
        into.prepare_cached(&sql)?.execute(rusqlite::params_from_iter(&self.values)).map(drop)
    }
}

/// The word of a closed set, as it stands in JSON.
pub(super) fn word_of(of: &impl Serialize) -> Value {
    match serde_json::to_value(of) {
        Ok(serde_json::Value::String(text)) => Value::Text(text),
        _ => Value::Null,
    }
}

pub(super) fn unsigned(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Where the columns of a statement stand. SQLite finds a name by comparing all before it, for each row anew.
#[derive(Debug)]
pub(super) struct ColumnPlaces(HashMap<Box<str>, usize>);

impl ColumnPlaces {
    pub(super) fn of(statement: &Statement<'_>) -> Self {
        let mut places = HashMap::new();
        for (place, name) in statement.column_names().enumerate() {
            places.entry(name.into()).or_insert(place);
        }
        Self(places)
    }
}

/// A row whose columns are found by their names.
#[derive(Clone, Copy)]
pub(super) struct NamedRow<'a, 'stmt> {
    pub(super) row: &'a Row<'stmt>,
    pub(super) places: &'a ColumnPlaces,
}

impl<'a> NamedRow<'a, '_> {
    pub(super) fn get<T: FromSql>(self, column: &str) -> rusqlite::Result<T> {
        self.row.get(self.place(column)?)
    }

    fn get_ref(self, column: &str) -> rusqlite::Result<ValueRef<'a>> {
        self.row.get_ref(self.place(column)?)
    }

    fn place(self, column: &str) -> rusqlite::Result<usize> {
        let place = self.places.0.get(column).copied();
        place.ok_or_else(|| rusqlite::Error::InvalidColumnName(column.to_owned()))
    }
}

/// A word of a closed set, as it stands in JSON.
pub(super) fn word<T: DeserializeOwned>(
    row: NamedRow<'_, '_>,
    column: &str,
) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str().map_err(not_expected)?;
    let text: StrDeserializer<'_, serde::de::value::Error> = StrDeserializer::new(text);
    T::deserialize(text).map_err(not_expected)
}

/// The same, where there may be none.
fn maybe_word<T: DeserializeOwned>(
    row: NamedRow<'_, '_>,
    column: &str,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => word(row, column).map(Some),
    }
}

pub(super) fn not_expected(
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
}

impl Columns {
    /// The columns of the connection beside its ends, its owner and the times.
    pub(super) fn set_connection(&mut self, connection: &Connection) {
        let Connection { settings, limit, .. } = connection;
        self.set("direction", word_of(&connection.direction));
        self.set("state", word_of(&connection.state));
        self.set("gap_ms", connection.gap_seconds.map_or(Value::Null, |gap| unsigned(ms(gap))));
        self.set("gap_from", word_of(&connection.gap_from));
        self.set("verdict", word_of(&connection.verdict));
        self.set("idle_limit_seconds", limit.idle_limit_seconds);
        self.set("idle_kept_seconds", limit.idle_kept_seconds);
        self.set("idle_limit_from", limit.idle_limit_from.to_string());
        self.set("path", limit.path.clone());
        self.set("made_by", word_of(&connection.made_by));
        self.set("keepalive", settings.keepalive);
        self.set("idle_seconds", settings.idle.seconds);
        self.set("idle_from", word_of(&settings.idle.from));
        self.set("interval_seconds", settings.interval.seconds);
        self.set("interval_from", word_of(&settings.interval.from));
        self.set("count_probes", settings.count.probes);
        self.set("count_from", word_of(&settings.count.from));
        self.set("user_timeout_ms", settings.user_timeout_ms);
        self.set("detection_seconds", settings.detection_seconds.map_or(Value::Null, unsigned));
        self.set("in_flight_detection_seconds", unsigned(settings.in_flight_detection_seconds));
        self.set("watched_ms", unsigned(ms(connection.watched_seconds)));
        self.set("peer_probes", connection.peer_probes);
        self.set("probes_unanswered", connection.probes_unanswered);
        self.set("retransmits", connection.retransmits);
        self.set("in_flight", connection.in_flight);
    }
}

/// The connection that [`Columns::set_connection`] wrote, and that `on` names.
pub(super) fn connection(row: NamedRow<'_, '_>, on: ConnectionRef) -> rusqlite::Result<Connection> {
    let ConnectionRef { id, netns, local, remote, part_of } = on;
    Ok(Connection {
        id,
        netns,
        family: Cow::Borrowed(if remote.is_ipv4() { "ipv4" } else { "ipv6" }),
        local,
        remote,
        state: word(row, "state")?,
        orphan: false,
        could_not_send: false,
        network_error: None,
        window_closed: false,
        unread_seconds: None,
        fin_only: false,
        direction: Some(word(row, "direction")?),
        made_by: word(row, "made_by")?,
        settings: settings(row)?,
        gap_seconds: row.get::<Option<i64>>("gap_ms")?.map(signed_seconds),
        gap_from: maybe_word(row, "gap_from")?,
        verdict: Some(word(row, "verdict")?),
        listeners: None,
        limit: path_limit(row)?,
        condition: None,
        condition_seconds: None,
        condition_at_least: false,
        gives_up_seconds: None,
        quiet_seconds: signed_seconds(row.get("quiet_ms")?),
        quiet_at_most: false,
        silent_seconds: signed_seconds(row.get("silent_ms")?),
        spoke_last_seconds: None,
        peer_closed_seconds: None,
        longest_quiet_seconds: signed_seconds(row.get("survived_ms")?),
        // At least.
        longest_silence_seconds: signed_seconds(row.get("survived_ms")?),
        watched_seconds: signed_seconds(row.get("watched_ms")?),
        looked_at_seconds_ago: 0.0,
        peer_probes: row.get("peer_probes")?,
        next_probe_seconds: None,
        probes_unanswered: row.get("probes_unanswered")?,
        unanswered_seconds: None,
        retransmits: row.get("retransmits")?,
        in_flight: row.get("in_flight")?,
        part_of,
    })
}

fn settings(row: NamedRow<'_, '_>) -> rusqlite::Result<KeepaliveSettings> {
    Ok(KeepaliveSettings {
        keepalive: row.get("keepalive")?,
        idle: Seconds { seconds: row.get("idle_seconds")?, from: word(row, "idle_from")? },
        interval: Seconds {
            seconds: row.get("interval_seconds")?,
            from: word(row, "interval_from")?,
        },
        count: Probes { probes: row.get("count_probes")?, from: word(row, "count_from")? },
        user_timeout_ms: row.get("user_timeout_ms")?,
        detection_seconds: row.get("detection_seconds")?,
        in_flight_detection_seconds: row.get("in_flight_detection_seconds")?,
    })
}

fn path_limit(row: NamedRow<'_, '_>) -> rusqlite::Result<PathLimit> {
    Ok(PathLimit {
        idle_limit_seconds: row.get("idle_limit_seconds")?,
        idle_kept_seconds: row.get("idle_kept_seconds")?,
        idle_limit_from: word(row, "idle_limit_from")?,
        path: row.get("path")?,
    })
}

/// The parts of an owner.
pub(super) fn part_of(row: NamedRow<'_, '_>) -> rusqlite::Result<PartOf> {
    Ok(PartOf {
        unit: row.get("unit")?,
        container: row.get("container")?,
        container_id: row.get("container_id")?,
        namespace: row.get("namespace")?,
        workload: row.get("workload")?,
        pod: row.get("pod")?,
    })
}
