//! A connection that is judged: as the kernel shows it, or as the agent has shown it.

use crate::{
    model::{
        judgement::{
            check_policy::{ProbeSettings, RefusedSetting, Subject},
            facts::ConnectionFacts,
            verdict::{Surroundings, Verdict},
        },
        observed::{
            owner_identity::{Identity, IdentityPart},
            socket::{Direction, Owner, Socket},
        },
    },
    view::{
        connection::{Connection, RowOwner},
        event_row::EventRow,
        row::Row,
    },
};

/// A connection, or a socket without one, as it is shown.
#[derive(Clone, Debug)]
pub(super) struct CheckedConnection {
    pub(super) connection: Connection,
    /// The processes that have it open; first the one that it is counted for.
    pub(super) owners: Vec<RowOwner>,
    /// Settings that were refused.
    pub(super) refused: Vec<RefusedSetting>,
    /// Only those are judged: it is no connection, or none any more.
    pub(super) only_refused: bool,
    /// The verdict of the agent, and why: its limits count unless others were given.
    pub(super) by_agent: Option<(Verdict, String)>,
}

impl CheckedConnection {
    /// A socket as it was sampled.
    pub(super) fn of_socket(
        socket: &Socket,
        owners: &[Owner],
        identity: Option<&Identity>,
        around: &Surroundings,
    ) -> Self {
        let connection = Connection::new(socket, identity, around, socket.at);
        let owners = owners.iter().map(RowOwner::from).collect();
        Self { connection, owners, refused: Vec::new(), only_refused: false, by_agent: None }
    }

    /// A connection of the agent, as the agent measured it.
    pub(super) fn of_row(row: Row) -> Self {
        let Row { connection, owners, meaning, .. } = row;
        let verdict = connection.verdict.filter(|verdict| *verdict != Verdict::Local);
        let by_agent = verdict.map(|verdict| (verdict, meaning));
        // Keepalive is no matter of what is not open yet, or not any more.
        let only_refused = !connection.is_open();
        Self { connection, owners, refused: Vec::new(), only_refused, by_agent }
    }

    /// The connection of an event: it may be gone since.
    pub(super) fn of_event(row: &EventRow, around: &Surroundings) -> Self {
        let connection = row.connection.clone().measured(around);
        let owners = row.owners.clone();
        Self { connection, owners, refused: Vec::new(), only_refused: true, by_agent: None }
    }
}

impl Subject for CheckedConnection {
    fn facts(&self) -> &impl ConnectionFacts {
        &self.connection
    }

    fn direction(&self) -> Direction {
        self.connection.direction()
    }

    fn settings(&self) -> ProbeSettings {
        let settings = &self.connection.settings;
        ProbeSettings {
            keepalive: settings.keepalive,
            idle_seconds: settings.idle.seconds,
            interval_seconds: settings.interval.seconds,
            count: settings.count.probes,
            user_timeout_ms: settings.user_timeout_ms,
            in_flight_detection_seconds: settings.in_flight_detection_seconds,
        }
    }

    fn verdict_on_path(&self, around: &Surroundings) -> (Verdict, String) {
        self.by_agent.clone().unwrap_or_else(|| {
            let of = &self.connection;
            (around.verdict_on_path(of), around.reason_on_path(of))
        })
    }

    fn is_of_process(&self, name: &str) -> bool {
        self.owners.iter().any(|owner| owner.is_named(name))
    }

    fn is_part_of(&self, part: IdentityPart, name: &str) -> bool {
        self.connection.part_of.is(part, name)
    }

    fn refused(&self) -> &[RefusedSetting] {
        &self.refused
    }

    fn only_refused(&self) -> bool {
        self.only_refused
    }
}
