//! A row of `keepwatch sockets`: a connection with the reason of its verdict and its owners. Fields are only ever added.

use super::connection::{Connection, RowOwner};
use crate::model::{
    judgement::verdict::{Surroundings, Verdict},
    observed::{
        owner_identity::Identity,
        socket::{DirectionFrom, Owner, Socket, Time},
    },
    text::duration::signed_seconds,
};
use serde::{Deserialize, Serialize};

/// A connection, its settings, and what follows from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The connection itself.
    #[serde(flatten)]
    pub connection: Connection,
    /// Whether the agent saw the direction, or inferred it.
    pub direction_from: DirectionFrom,
    /// The verdict in words, with the numbers behind it.
    pub meaning: String,
    /// Time until the path forgets it; negative when it probably has. Null for local peers.
    pub until_limit_seconds: Option<f64>,
    /// Processes that have it open; first the one that it is counted for.
    pub owners: Vec<RowOwner>,
}

impl Row {
    /// The row of `socket` at `now`, with all its owners and the identity of the first.
    pub fn new<'a>(
        socket: &Socket,
        owners: impl IntoIterator<Item = &'a Owner>,
        identity: Option<&Identity>,
        around: &Surroundings,
        now: Time,
    ) -> Self {
        let meaning = around.reason(&socket.aged(now));
        Self { meaning, ..Self::without_meaning(socket, owners, identity, around, now) }
    }

    /// The same without the words of its verdict, for what is not shown as a row: they cost as much as the rest.
    pub(crate) fn without_meaning<'a>(
        socket: &Socket,
        owners: impl IntoIterator<Item = &'a Owner>,
        identity: Option<&Identity>,
        around: &Surroundings,
        now: Time,
    ) -> Self {
        let aged = socket.aged(now);
        let until_limit_ms = around.until_limit_ms(&aged, aged.quiet_ms.into());
        Self {
            connection: Connection::new(socket, identity, around, now),
            direction_from: socket.direction_from,
            meaning: String::new(),
            until_limit_seconds: until_limit_ms.map(signed_seconds),
            owners: owners.into_iter().map(RowOwner::from).collect(),
        }
    }

    /// The verdict, which a row always has. One that an agent left out is taken for the worst.
    pub const fn verdict(&self) -> Verdict {
        match self.connection.verdict {
            Some(verdict) => verdict,
            None => Verdict::Off,
        }
    }

    /// The id, which a socket of a row always has.
    pub fn id(&self) -> &str {
        self.connection.id.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::idle_limit::{IdleLimit, Limits},
        observed::{setting::OwnSettings, socket::tests_support::socket},
    };

    fn around(seconds: u32) -> Surroundings {
        let limits = Limits::new(Vec::new(), IdleLimit { seconds, preset: None }, true);
        Surroundings::new(limits, 250)
    }

    fn row() -> Row {
        let own = OwnSettings { idle_seconds: 60, ..OwnSettings::default() };
        let socket = Socket { keepalive: true, own, ..socket() };
        Row::new(&socket, [], None, &around(350), socket.at)
    }

    #[test]
    fn a_verdict_that_an_agent_left_out_is_not_taken_for_a_good_one() {
        let mut shown = serde_json::to_value(row()).unwrap();
        assert_eq!(serde_json::from_value::<Row>(shown.clone()).unwrap(), row());
        shown.as_object_mut().unwrap().remove("verdict");
        assert_eq!(serde_json::from_value::<Row>(shown).unwrap().verdict(), Verdict::Off);
    }

    #[test]
    fn measured_against_another_limit_a_connection_has_its_verdict_unless_it_has_none() {
        let connection = row().connection.measured(&around(30));
        assert_eq!(connection.verdict, Some(Verdict::Late));
        assert_eq!(connection.limit.idle_limit_seconds, 30);
        assert_eq!(connection.clone().measured(&around(350)), row().connection);
        let without_peer = Connection { verdict: None, ..connection };
        assert_eq!(without_peer.measured(&around(350)).verdict, None);
    }
}
