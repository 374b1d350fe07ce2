//! Which connections a drill leaves out, whatever was asked for.

use super::own_session::OwnSession;
use crate::{
    model::{
        judgement::verdict::Verdict,
        observed::socket::{Direction, State},
    },
    view::{filter::Filter, row::Row},
};
use serde::Serialize;

/// Connections of one drill, at most.
pub(crate) const MOST: usize = 10;
const SSH: u16 = 22;

/// Why a connection has no part in a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LeftOut {
    /// No path lies between its ends.
    Local,
    /// It is being opened or closed.
    NotEstablished,
    /// The asker's own session goes over it.
    OwnSession,
    /// A session of ssh, which may be the asker's own.
    Ssh,
    /// `--count` asks for fewer.
    NotCounted,
}

impl LeftOut {
    /// The reason in words, after a number of connections.
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::Local => "with both ends on this host: no path lies between",
            Self::NotEstablished => "being opened or closed",
            Self::OwnSession => "that your own session goes over",
            Self::Ssh => "of ssh, which may be your own session",
            Self::NotCounted => "more than --count asks for",
        }
    }
}

/// Why a connection is left out, if it is.
pub(crate) fn left_out(row: &Row, session: &OwnSession) -> Option<LeftOut> {
    let connection = &row.connection;
    if session.goes_over(row) {
        return Some(LeftOut::OwnSession);
    }
    let is_of_ssh = row.owners.iter().any(|owner| owner.process.starts_with("sshd"))
        || connection.direction() == Direction::Inbound && connection.local.port() == SSH;
    if is_of_ssh {
        Some(LeftOut::Ssh)
    } else if row.verdict() == Verdict::Local {
        Some(LeftOut::Local)
    } else if connection.state != State::Established {
        Some(LeftOut::NotEstablished)
    } else {
        None
    }
}

/// Whether a filter says which connections are meant. How they are (a verdict, a condition) is no name.
pub(crate) fn names_connections(filter: &Filter) -> bool {
    let names = Filter {
        direction: None,
        verdict: Vec::new(),
        condition: Vec::new(),
        quiet_for: None,
        state: Vec::new(),
        all: false,
        measured_by: None,
        ..filter.clone()
    };
    names != Filter::default()
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::Row;
    use crate::model::{
        judgement::{
            idle_limit::{IdleLimit, Limits},
            verdict::Surroundings,
        },
        observed::socket::Socket,
    };

    /// The row of a socket on a host with the default limit.
    pub(crate) fn row(socket: &Socket) -> Row {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings::new(limits, 250);
        Row::new(socket, [], None, &around, socket.at)
    }
}

#[cfg(test)]
mod tests {
    use super::{tests_support::row, *};
    use crate::{
        model::observed::socket::{Endpoint, Socket, tests_support::socket},
        view::{connection::RowOwner, value_enum::VerdictChoice},
    };

    fn reason(row: &Row) -> Option<LeftOut> {
        left_out(row, &OwnSession::default())
    }

    #[test]
    fn a_session_of_ssh_is_left_out_and_a_client_of_ssh_is_not() {
        let to_22 = |direction| {
            let local = Endpoint { port: SSH, ..socket().local };
            row(&Socket { local, direction, ..socket() })
        };
        assert_eq!(reason(&to_22(Direction::Inbound)), Some(LeftOut::Ssh));
        let remote = Endpoint { port: SSH, ..socket().remote };
        let client = Socket { direction: Direction::Outbound, remote, ..socket() };
        assert_eq!(reason(&row(&client)), None);
        let mut elsewhere = row(&Socket { direction: Direction::Inbound, ..socket() });
        assert_eq!(reason(&elsewhere), None);
        elsewhere.owners =
            vec![RowOwner { pid: 7, process: "sshd-session".to_owned(), fd: Some(4) }];
        assert_eq!(reason(&elsewhere), Some(LeftOut::Ssh), "on another port");
    }

    #[test]
    fn what_is_local_or_not_established_is_left_out() {
        let mut local = row(&socket());
        assert_eq!(reason(&local), None);
        local.connection.verdict = Some(Verdict::Local);
        assert_eq!(reason(&local), Some(LeftOut::Local));
        let closing = row(&Socket { state: State::CloseWait, ..socket() });
        assert_eq!(reason(&closing), Some(LeftOut::NotEstablished));
    }

    #[test]
    fn connections_are_named_by_whose_or_where_they_are_and_not_by_how_they_are() {
        let how = Filter {
            direction: Some(Direction::Outbound),
            verdict: vec![VerdictChoice::One(Verdict::Off)],
            all: true,
            ..Filter::default()
        };
        assert!(!names_connections(&how));
        assert!(names_connections(&Filter { process: vec!["checkout".to_owned()], ..how.clone() }));
        assert!(names_connections(&Filter { port: vec![5432], ..how }));
    }
}
