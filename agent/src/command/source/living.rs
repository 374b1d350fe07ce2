//! What lives, within bounds: a host may have a million connections, and those that are alike are reported once.

use crate::{
    model::{
        judgement::verdict::Verdict,
        observed::{
            setting::OwnValues,
            socket::{Direction, SocketId, State},
        },
    },
    view::row::Row,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
};

/// Connections of one kind that are held: more of them say nothing new.
const MAX_ALIKE: u32 = 2000;
/// Connections that are held in all, but for those in trouble.
const MAX_ROWS: usize = 100_000;
/// Connections in trouble that are held.
const MAX_TROUBLED: usize = 200_000;

/// What connections have in common of which each says the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Likeness {
    /// The server; of a client only our port.
    peer: SocketAddr,
    process: Option<String>,
    own: OwnValues,
    trouble: RowTrouble,
}

/// What may be wrong with it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct RowTrouble {
    verdict: Verdict,
    state: State,
    is_overdue: bool,
    in_flight: bool,
    is_unanswered: bool,
    is_orphan: bool,
}

impl RowTrouble {
    fn of(row: &Row) -> Self {
        let connection = &row.connection;
        Self {
            verdict: row.verdict(),
            state: connection.state,
            is_overdue: row.until_limit_seconds.is_some_and(|rest| rest < 0.0),
            in_flight: connection.in_flight,
            is_unanswered: connection.probes_unanswered > 0,
            is_orphan: connection.orphan,
        }
    }

    const fn is_none(self) -> bool {
        matches!(self.verdict, Verdict::Protected | Verdict::Local)
            && !self.in_flight
            && !self.is_unanswered
    }
}

impl Likeness {
    fn of(row: &Row) -> Self {
        let connection = &row.connection;
        let peer = match connection.direction() {
            Direction::Outbound => connection.remote,
            Direction::Inbound => {
                SocketAddr::new(IpAddr::from([0, 0, 0, 0]), connection.local.port())
            }
        };
        Self {
            peer,
            process: row.owners.first().map(|owner| owner.process.clone()),
            own: connection.settings.own(),
            trouble: RowTrouble::of(row),
        }
    }
}

/// Rows, each connection once.
#[derive(Debug, Default)]
pub(in crate::command) struct LivingRows {
    rows: BTreeMap<String, Row>,
    met: BTreeSet<SocketId>,
    alike: HashMap<Likeness, u32>,
    n_left_out: usize,
    /// One was left out for want of room, or because it was met from another client: what is held depends on all that was offered.
    is_cut: bool,
}

impl LivingRows {
    /// Takes a row, unless enough are held that are like it.
    pub(in crate::command) fn take(&mut self, row: Row) {
        if self.has_room_for(&row) {
            self.rows.insert(row.id().to_owned(), row);
        }
    }

    /// The same of a row that is needed elsewhere, too.
    pub(in crate::command) fn take_copy(&mut self, row: &Row) {
        if self.has_room_for(row) {
            self.rows.insert(row.id().to_owned(), row.clone());
        }
    }

    /// Counts a row, and says whether it is to be held.
    fn has_room_for(&mut self, row: &Row) -> bool {
        if let Ok(id) = row.id().parse()
            && !self.met.insert(id)
        {
            return false;
        }
        let likeness = Likeness::of(row);
        let most = if likeness.trouble.is_none() { MAX_ROWS } else { MAX_TROUBLED };
        let n_alike = self.alike.entry(likeness).or_default();
        let is_room = self.rows.len() < most;
        if *n_alike >= MAX_ALIKE || !is_room {
            self.n_left_out += 1;
            // Those that are alike have one server, but clients of any host are alike.
            self.is_cut |= !is_room || row.connection.direction() == Direction::Inbound;
            return false;
        }
        *n_alike += 1;
        true
    }

    /// Whether other rows may have taken the place of one to some host.
    pub(in crate::command) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The rows that are held, and the number of those that are not.
    pub(in crate::command) fn finish(self) -> (Vec<Row>, usize) {
        (self.rows.into_values().collect(), self.n_left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observed::socket::Socket,
        view::life::tests_support::{app, around},
    };

    fn row(socket: &Socket) -> Row {
        Row::new(socket, socket.owner.iter(), None, &around(), socket.at)
    }

    #[test]
    fn many_alike_are_left_out_and_what_differs_is_not() {
        let mut living = LivingRows::default();
        for id in 1..=u64::from(MAX_ALIKE) + 500 {
            living.take(row(&app(id, None, 0)));
            // It is found by another of its names, too.
            living.take(row(&app(id, None, 0)));
        }
        let trouble = [
            app(9001, None, 400_000),
            app(9002, Some(60), 0),
            Socket { in_flight: true, ..app(9003, None, 0) },
            Socket { probes_unanswered: 2, ..app(9004, None, 0) },
            Socket { state: State::CloseWait, ..app(9005, None, 0) },
        ];
        for socket in &trouble {
            living.take(row(socket));
        }
        let (rows, n_left_out) = living.finish();
        assert_eq!((rows.len(), n_left_out), (MAX_ALIKE as usize + trouble.len(), 500));
    }
}
