//! Which columns `sockets` and `top` have room for, and what stands in them. On a terminal the layout follows from its
//! width and from the order of the rows alone: what is in the rows does not make columns jump.

use super::{
    socket_text,
    table::{fitted, width},
};
use crate::{
    model::judgement::condition::Condition,
    view::{
        order::{Sort, noticed_seconds, until_dropped_ms},
        row::Row,
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Column {
    /// Time until the path forgets it, or the kernel gives up
    Dropped,
    /// Time since the last packet
    Quiet,
    /// What is promised of it, or what is wrong with it now
    Verdict,
    /// Who opened it
    Direction,
    /// TCP state
    State,
    /// Address and port of this host
    Local,
    /// Address and port of the peer
    Peer,
    /// Idle time, number and interval of probes
    Keepalive,
    /// Silence until the kernel gives up
    Noticed,
    /// Idle limit of its path
    Limit,
    /// Process, and what it is part of
    Owner,
}

/// Spaces between two columns.
pub(super) const GAP: usize = 2;

/// In the order in which they stand; with the width that each has at least.
const ALL: [(Column, usize); 11] = [
    (Column::Dropped, 10),
    (Column::Quiet, 7),
    (Column::Verdict, 11),
    (Column::Direction, 9),
    (Column::State, 11),
    (Column::Local, 21),
    (Column::Peer, 21),
    (Column::Keepalive, 10),
    (Column::Noticed, 7),
    (Column::Limit, 7),
    (Column::Owner, 11),
];

/// These fill 80 columns.
const BASE: [Column; 6] = [
    Column::Dropped,
    Column::Verdict,
    Column::Peer,
    Column::Owner,
    Column::Quiet,
    Column::Keepalive,
];

/// These come as there is room, in this order.
const MORE: [Column; 5] =
    [Column::Direction, Column::Noticed, Column::Limit, Column::Local, Column::State];

/// These are given more room then, in this order, so much.
const WIDER: [(Column, usize); 5] = [
    (Column::Owner, 8),
    (Column::Keepalive, 8),
    (Column::Peer, 10),
    (Column::Local, 10),
    (Column::Owner, usize::MAX),
];

/// The columns that fit into a line `width` letters wide, with their widths. What the rows are in order of is shown,
/// where there is room for more than the first columns.
pub(super) fn layout(width: usize, sort: Sort) -> Vec<(Column, usize)> {
    let mut wanted: Vec<Column> = BASE.into_iter().chain(MORE).collect();
    if sort == Sort::Detection {
        wanted.retain(|column| *column != Column::Noticed);
        wanted.insert(4, Column::Noticed);
    }
    let mut columns = fitting(width, &wanted);
    let place = |column: Column| ALL.iter().position(|(one, _)| *one == column);
    columns.sort_by_key(|&(column, _)| place(column));
    columns
}

/// Of these columns the first ones that fit into a line `width` letters wide, with their widths.
pub(super) fn fitting(width: usize, wanted: &[Column]) -> Vec<(Column, usize)> {
    let least =
        |column: Column| ALL.iter().find(|(one, _)| *one == column).map_or(0, |&(_, width)| width);
    let mut columns: Vec<(Column, usize)> = Vec::new();
    let mut taken = 0;
    for &column in wanted {
        let with_gap = least(column) + if columns.is_empty() { 0 } else { GAP };
        // The first is always there, and what is left out is not made up for by something narrower.
        if !columns.is_empty() && taken + with_gap > width {
            break;
        }
        taken += with_gap;
        columns.push((column, least(column)));
    }
    let mut rest = width.saturating_sub(taken);
    for (column, wider) in WIDER {
        if let Some((_, width)) = columns.iter_mut().find(|(one, _)| *one == column) {
            let more = wider.min(rest);
            *width += more;
            rest -= more;
        }
    }
    columns
}

/// All columns.
pub(super) fn all() -> Vec<Column> {
    ALL.into_iter().map(|(column, _)| column).collect()
}

/// These columns, each as wide as what stands in it.
pub(super) fn whole(rows: &[Row], wanted: &[Column]) -> Vec<(Column, usize)> {
    let widest = |column: Column| {
        let cells = rows.iter().map(|row| width(&column.text(row, usize::MAX)));
        cells.fold(width(column.heading()), usize::max)
    };
    wanted.iter().map(|&column| (column, widest(column))).collect()
}

impl Column {
    /// What stands above it.
    pub(super) const fn heading(self) -> &'static str {
        match self {
            Self::Dropped => "DROPPED IN",
            Self::Quiet => "QUIET",
            Self::Verdict => "VERDICT",
            Self::Direction => "DIRECTION",
            Self::State => "STATE",
            Self::Local => "LOCAL",
            Self::Peer => "PEER",
            Self::Keepalive => "KEEPALIVE",
            Self::Noticed => "NOTICED",
            Self::Limit => "LIMIT",
            Self::Owner => "OWNER",
        }
    }

    /// The text of this column for a row, exactly `width` letters wide.
    pub(super) fn cell(self, row: &Row, width: usize) -> String {
        fitted(&self.text(row, width), width)
    }

    fn text(self, row: &Row, columns: usize) -> String {
        match self {
            Self::Dropped => dropped_in(row),
            Self::Quiet => socket_text::short(socket_text::whole(row.connection.quiet_seconds)),
            Self::Verdict => verdict(row).to_owned(),
            Self::Direction => socket_text::direction(row),
            Self::State => row.connection.state.as_str().to_owned(),
            Self::Local => address(row.connection.local, columns),
            Self::Peer => address(row.connection.remote, columns),
            Self::Keepalive => {
                let whole = socket_text::keepalive(&row.connection);
                let fits = width(&whole) <= columns;
                if fits { whole } else { socket_text::settings(&row.connection.settings) }
            }
            Self::Noticed => {
                noticed_seconds(row).map_or_else(|| "never".to_owned(), socket_text::short)
            }
            Self::Limit => socket_text::short(row.connection.limit.idle_limit_seconds.into()),
            Self::Owner => socket_text::owners(row),
        }
    }
}

/// Its condition where that is urgent: that is worse than any verdict.
pub(super) fn verdict(row: &Row) -> &'static str {
    let condition = row.connection.condition();
    let is_of_now = condition.is_urgent() || condition == Condition::Blocked;
    if is_of_now { condition.as_str() } else { row.verdict().as_str() }
}

/// Until its path forgets it, or the kernel gives up on it.
fn dropped_in(row: &Row) -> String {
    match until_dropped_ms(row) {
        Some(rest) if rest < 0 => "overdue".to_owned(),
        Some(rest) => socket_text::short(rest.unsigned_abs() / 1000),
        None => "-".to_owned(),
    }
}

/// An address; if it is too long, without its middle: its end tells more.
fn address(address: std::net::SocketAddr, width: usize) -> String {
    let whole = address.to_string();
    let (len, room) = (whole.len(), width.saturating_sub(1));
    if len <= width {
        return whole;
    }
    let (head, tail) = (room / 2, room - room / 2);
    let part = |range: std::ops::Range<usize>| whole.get(range).unwrap_or_default();
    format!("{}\u{2026}{}", part(0..head), part(len - tail..len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        drill::choice::tests_support::row, model::observed::socket::Socket,
        view::life::tests_support::app,
    };

    fn names(width: usize) -> Vec<Column> {
        layout(width, Sort::Limit).into_iter().map(|(column, _)| column).collect()
    }

    #[test]
    fn a_line_is_filled_and_never_longer() {
        for width in 10..300 {
            for sort in Sort::ALL {
                let columns = layout(width, sort);
                let taken: usize =
                    columns.iter().map(|(_, width)| width + GAP).sum::<usize>() - GAP;
                assert!(taken <= width, "{taken} of {width}");
            }
            let columns = layout(width, Sort::Limit);
            let taken: usize = columns.iter().map(|(_, width)| width + GAP).sum::<usize>() - GAP;
            if width >= 59 {
                assert_eq!(taken, width);
            } else {
                assert!(taken <= width, "{taken} of {width}");
            }
        }
    }

    #[test]
    fn what_matters_fits_80_columns_and_200_show_all() {
        assert_eq!(
            names(80),
            [
                Column::Dropped,
                Column::Quiet,
                Column::Verdict,
                Column::Peer,
                Column::Keepalive,
                Column::Owner
            ]
        );
        assert_eq!(names(200), ALL.map(|(column, _)| column));
        assert_eq!(names(40), [Column::Dropped, Column::Verdict]);
    }

    #[test]
    fn what_the_rows_are_in_order_of_is_on_the_screen() {
        let names: Vec<Column> =
            layout(80, Sort::Detection).into_iter().map(|(column, _)| column).collect();
        assert!(names.contains(&Column::Noticed) && names.contains(&Column::Owner), "{names:?}");
        assert!(!self::names(80).contains(&Column::Noticed), "it takes another's place");
    }

    #[test]
    fn what_hangs_without_keepalive_is_noticed_by_its_repetitions_and_what_is_quiet_never() {
        let noticed = |retransmits| {
            let retransmitting_ms = (retransmits > 0).then_some(39_000);
            let socket = Socket {
                in_flight: true,
                retransmits,
                retransmitting_ms,
                silent_ms: 40_000,
                ..app(1, None, 40_000)
            };
            Column::Noticed.text(&row(&socket), 20)
        };
        assert_eq!((noticed(0), noticed(7)), ("never".to_owned(), "15m25s".to_owned()));
    }

    #[test]
    fn an_address_keeps_its_beginning_and_its_end() {
        let long = "[2001:db8:1234:5678:9abc:def0:1:2]:54321".parse().unwrap();
        assert_eq!(address(long, 21), "[2001:db8:\u{2026}1:2]:54321");
        assert_eq!(address(long, 60), "[2001:db8:1234:5678:9abc:def0:1:2]:54321");
        assert_eq!(address("10.0.0.1:80".parse().unwrap(), 21), "10.0.0.1:80");
    }
}
