//! Writes into the tables, column by column.

use super::{
    columns::{Columns, unsigned, word_of},
    query::key,
};
use crate::{
    advice::kept_clues::KeptClues,
    kernel::clock,
    model::{
        judgement::{
            death::{Death, QUIET_MS},
            verdict::Surroundings,
            worth::{Worth, party_owner},
        },
        observed::{
            owner_identity::Identity,
            setsockopt::Call,
            socket::{Owner, Socket, SocketId, Time},
        },
        table::happening::{Happened, Happening},
        text::{duration::ms, wall_time::WallTime},
    },
    view::{connection::PartOf, event_row::EventRow, event_text::meaning},
};
use rusqlite::{Connection, OptionalExtension as _, params_from_iter, types::Value};

/// The clock of a batch, and the agent that wrote it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// The row of this run.
    pub(super) run: i64,
    /// Unix time minus monotonic time.
    pub(super) offset_ns: i64,
    /// What the record is worth.
    pub(super) worth: Worth,
}

impl Stamp {
    /// The columns that all tables of connections have.
    fn columns(
        self,
        into: &Connection,
        at: Time,
        socket: &Socket,
        by: Option<Owner>,
        identity: Option<&Identity>,
    ) -> rusqlite::Result<Columns> {
        let mut row = Columns::default();
        row.set("run", self.run);
        row.set("at_ns", clock::unix_ns(at, self.offset_ns));
        row.set("monotonic_ns", unsigned(at.0));
        let has_id = socket.id != SocketId::default();
        row.set("socket", has_id.then(|| socket.id.to_string()));
        row.set("netns", socket.netns);
        let (local, remote) = (socket.local.socket_addr(), socket.remote.socket_addr());
        row.set("local_addr", local.ip().to_string());
        row.set("local_port", local.port());
        row.set("remote_addr", remote.ip().to_string());
        row.set("remote_port", remote.port());
        row.set("remote_key", key(socket.remote.addr).to_vec());
        row.set("pid", by.map(|by| by.pid));
        row.set("owner", owner(into, by, identity)?);
        Ok(row)
    }

    fn of(self, into: &Connection, happening: &Happening) -> rusqlite::Result<Columns> {
        let Happening { at, socket, identity, .. } = happening;
        self.columns(into, *at, socket, socket.owner, identity.as_deref())
    }
}

/// The row of an owner, made if there is none; none if nobody is known.
fn owner(
    into: &Connection,
    by: Option<Owner>,
    identity: Option<&Identity>,
) -> rusqlite::Result<Option<i64>> {
    if by.is_none() && identity.is_none() {
        return Ok(None);
    }
    let process = by.map(|by| by.comm.escaped());
    let PartOf { unit, container, container_id, namespace, workload, pod } = PartOf::of(identity);
    let names = [process, unit, container, container_id, namespace, workload, pod];
    // No name has a control character.
    let key = names.each_ref().map(|name| name.as_deref().unwrap_or_default()).join("\n");
    let known = "SELECT id FROM owners WHERE key = ?";
    let known = into.prepare_cached(known)?.query_row([&key], |row| row.get(0)).optional()?;
    if known.is_some() {
        return Ok(known);
    }
    let mut insert = into.prepare_cached(
        "INSERT INTO owners (key, party, process, unit, container, container_id, namespace, workload, pod) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let first = [Some(key), Some(party_owner(by, identity).into_owned())];
    insert.insert(params_from_iter(first.iter().chain(&names))).map(Some)
}

/// Writes a happening to where it belongs. Whether it is of a kind that the history holds.
pub(super) fn happening(
    into: &Connection,
    stamp: Stamp,
    happening: &Happening,
    around: &Surroundings,
    clues: &KeptClues,
) -> rusqlite::Result<()> {
    match &happening.what {
        Happened::Died(end) => {
            let death = death(into, stamp, happening, end, around, clues)?;
            for &(at, made) in &happening.calls {
                // The caller is another process now and then; its unit or container is not known then.
                let is_owner = made.by.map(|by| by.pid) == happening.socket.owner.map(|by| by.pid);
                let identity = happening.identity.as_deref().filter(|_| is_owner);
                let mut row = stamp.columns(into, at, &happening.socket, made.by, identity)?;
                row.set("death", death);
                call(into, row, made)?;
            }
            // Calls that an agent before this one saw.
            into.prepare_cached(
                "UPDATE calls SET death = ? WHERE socket = ? AND death IS NULL AND run IN \
                 (SELECT id FROM runs WHERE boot = (SELECT boot FROM runs WHERE id = ?))",
            )?
            .execute((death, happening.socket.id.to_string(), stamp.run))?;
            Ok(())
        }
        Happened::Setting(made) => call(into, stamp.of(into, happening)?, *made),
        Happened::VerdictChanged { from, to } => {
            let mut row = stamp.of(into, happening)?;
            row.set("verdict_before", from.as_str().to_owned());
            row.set("verdict", to.as_str().to_owned());
            row.set("meaning", meaning(happening, around));
            row.insert(into, "verdict_changes", "")
        }
        Happened::QuietSurvived { quiet_ms } => {
            let mut row = stamp.of(into, happening)?;
            row.set("times", 1);
            row.set("longest_ms", *quiet_ms);
            row.set("last_ms", *quiet_ms);
            row.insert(
                into,
                "survivals",
                "ON CONFLICT (run, socket) DO UPDATE SET times = times + 1, \
                 longest_ms = max(longest_ms, excluded.longest_ms), last_ms = excluded.last_ms, \
                 at_ns = excluded.at_ns, monotonic_ns = excluded.monotonic_ns",
            )
        }
        Happened::DataAnswered { unanswered_ms } => {
            let mut row = stamp.of(into, happening)?;
            row.set("unanswered_ms", *unanswered_ms);
            row.insert(into, "late_answers", "")
        }
        Happened::GivenUp => {
            let Some(Owner { comm, .. }) = happening.socket.owner else { return Ok(()) };
            let mut row = stamp.of(into, happening)?;
            row.set("comm", comm.bytes().to_vec());
            row.insert(into, "orphans", "")
        }
        _ => Ok(()),
    }
}

fn death(
    into: &Connection,
    stamp: Stamp,
    happening: &Happening,
    end: &Death,
    around: &Surroundings,
    clues: &KeptClues,
) -> rusqlite::Result<i64> {
    let shown = EventRow::new(happening, WallTime::default(), around);
    let (connection, details) = (shown.connection, shown.details);
    let mut row = stamp.of(into, happening)?;
    row.set_connection(&connection);
    row.set("worth", stamp.worth as u8);
    row.set("cause", word_of(&details.cause));
    row.set("certainty", word_of(&details.certainty));
    row.set("evidence", details.evidence);
    row.set("others_answered", details.others_answered);
    row.set("others_silent", details.others_silent);
    row.set(
        "without_data_ms",
        details.without_data_seconds.map_or(Value::Null, |it| unsigned(ms(it))),
    );
    row.set("forgotten", details.forgotten);
    row.set("closed_after_ms", end.closed_after_ms());
    row.set("unsent_ms", end.unsent_ms(&happening.socket));
    row.set("peer_spoke_last", details.peer_spoke_last);
    row.set("heard_ms", end.heard_ms(&happening.socket));
    row.set("unreplied_ms", end.unreplied_ms(&happening.socket));
    row.set("given_up_ms", end.given_up.map_or(Value::Null, |it| unsigned(it.ago_ms)));
    row.set("errno", details.errno);
    let opened = end.age_ms.map(|age| Time(happening.at.0.saturating_sub(age * 1_000_000)));
    row.set("opened_at_ns", opened.map(|opened| clock::unix_ns(opened, stamp.offset_ns)));
    row.set("age_ms", end.age_ms.map_or(Value::Null, unsigned));
    row.set("quiet_ms", end.quiet_ms);
    row.set("silent_ms", end.silent_ms);
    row.set("survived_ms", end.survived_ms);
    row.set("probes_sent", end.probes_sent);
    // Nobody asks for advice about what was never quiet.
    let owner = happening.socket.owner.filter(|_| end.silent_ms >= QUIET_MS);
    let clues = owner.and_then(|owner| clues.of(owner.pid, happening.at));
    row.set("clues", clues.and_then(|clues| serde_json::to_string(&*clues).ok()));
    row.insert(into, "deaths", "")?;
    Ok(into.last_insert_rowid())
}

fn call(into: &Connection, mut row: Columns, made: Call) -> rusqlite::Result<()> {
    row.set("option", made.option.as_str().to_owned());
    row.set("value", made.value);
    row.set("result", made.result());
    row.set("when", word_of(&made.when));
    // One that was refused is written at once, and again when its connection has died: by then more is
    // known of that.
    row.insert(
        into,
        "calls",
        "ON CONFLICT (run, monotonic_ns, option) DO UPDATE SET socket = excluded.socket, \
         death = excluded.death, \
         local_addr = excluded.local_addr, local_port = excluded.local_port, \
         remote_addr = excluded.remote_addr, remote_port = excluded.remote_port, \
         remote_key = excluded.remote_key",
    )
}
