//! The table of `keepwatch sockets`: one connection a line, however wide the terminal is.

use crate::{
    command::{
        columns::{self, Column, GAP},
        socket_text::{Size, Style},
        table::{cut, fitted, width},
    },
    model::{judgement::verdict::Verdict, observed::socket::DirectionFrom},
    view::{
        order::Sort,
        page::{Page, PageCounts},
        row::Row,
    },
};
use std::io::{self, Write};

/// How a table is laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableLayout<'a> {
    pub(super) style: Style,
    /// The columns that were asked for; none: those that a terminal of this width has room for.
    pub(super) chosen: &'a [Column],
    /// The order of the rows.
    pub(super) sort: Sort,
    /// Columns of the terminal. Without: every column, as wide as it needs.
    pub(super) columns: Option<usize>,
}

impl TableLayout<'_> {
    fn of(self, rows: &[Row]) -> Vec<(Column, usize)> {
        match (self.columns, self.chosen) {
            (None, []) => columns::whole(rows, &columns::all()),
            (None, chosen) => columns::whole(rows, chosen),
            (Some(width), []) => columns::layout(width, self.sort),
            (Some(width), chosen) => columns::fitting(width, chosen),
        }
    }
}

/// Writes the first `limit` rows as a table, and a line with the count of each verdict among all.
pub(super) fn table(
    out: &mut impl Write,
    rows: &[Row],
    limit: usize,
    layout: TableLayout<'_>,
) -> io::Result<()> {
    let mut counts = PageCounts::default();
    for row in rows {
        counts.count(row);
    }
    let style = layout.style;
    let shown = rows.get(..limit).unwrap_or(rows);
    let columns = layout.of(shown);
    if !shown.is_empty() {
        writeln!(out, "{}", heading(&columns, style))?;
        for row in shown {
            writeln!(out, "{}", line(row, &columns, style))?;
        }
        writeln!(out)?;
    }
    let room = layout.columns.unwrap_or(usize::MAX);
    writeln!(out, "{}", summary(&counts, shown.len(), style, room))?;
    let is_inferred = |row: &Row| row.direction_from == DirectionFrom::Inferred;
    if columns.iter().any(|(column, _)| *column == Column::Direction)
        && shown.iter().any(is_inferred)
    {
        writeln!(out, "{}", cut("?: inferred, nobody saw the connection open", room))?;
    }
    Ok(())
}

/// Rows that a screen has room for beside the heading and the summary.
pub(super) const fn n_rows(size: Size) -> usize {
    size.lines.saturating_sub(2)
}

/// The same table over what was on a screen before: nothing scrolls, nothing flickers.
pub(super) fn screen(
    out: &mut impl Write,
    page: &Page,
    layout: TableLayout<'_>,
    size: Size,
) -> io::Result<()> {
    let style = layout.style;
    let columns = TableLayout { columns: Some(size.columns), ..layout }.of(&page.rows);
    let mut shown = vec![heading(&columns, style)];
    shown.extend(page.rows.iter().take(n_rows(size)).map(|row| line(row, &columns, style)));
    shown.push(summary(&page.counts, page.rows.len(), style, size.columns));
    // Home; then clear the rest of each line, and in the end what is below. The last line is not
    // ended: that would scroll.
    let shown: Vec<String> = shown.into_iter().take(size.lines).collect();
    write!(out, "\x1b[H{}\x1b[K\x1b[J", shown.join("\x1b[K\r\n"))
}

fn heading(columns: &[(Column, usize)], style: Style) -> String {
    let cells = columns.iter().map(|&(column, width)| fitted(column.heading(), width));
    let text = cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
    style.paint(text.trim_end(), "1")
}

fn line(row: &Row, columns: &[(Column, usize)], style: Style) -> String {
    let last = columns.len().saturating_sub(1);
    let cell = |(number, &(column, width)): (usize, &(Column, usize))| {
        let mut cell = column.cell(row, width);
        if number == last {
            cell.truncate(cell.trim_end().len());
        }
        match column {
            Column::Verdict if row.connection.condition().is_urgent() => style.paint(&cell, "1;35"),
            Column::Verdict => style.paint(&cell, Style::of_verdict(row.verdict())),
            _ => cell,
        }
    };
    columns.iter().enumerate().map(cell).collect::<Vec<_>>().join(&" ".repeat(GAP))
}

fn summary(counts: &PageCounts, n_shown: usize, style: Style, columns: usize) -> String {
    let total = counts.total();
    let is_part = u64::try_from(n_shown).unwrap_or(u64::MAX) < total;
    let part = if is_part { format!(", {n_shown} shown") } else { String::new() };
    let mut text = match total {
        0 => return cut("no connections", columns),
        1 => format!("1 connection{part}: "),
        _ => format!("{total} connections{part}: "),
    };
    text = cut(&text, columns);
    let mut taken = width(&text);
    let told = Verdict::ALL.into_iter().filter(|&verdict| counts.of(verdict) > 0);
    for (number, verdict) in told.enumerate() {
        let comma = if number > 0 { ", " } else { "" };
        let count = format!("{} {}", counts.of(verdict), verdict.as_str());
        taken += comma.len() + count.len();
        if taken > columns {
            break;
        }
        text = format!("{text}{comma}{}", style.paint(&count, Style::of_verdict(verdict)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::{
            idle_limit::{IdleLimit, Limits},
            verdict::Surroundings,
        },
        observed::socket::{Comm, Owner, Socket, tests_support::socket},
    };

    const PLAIN: Style = Style { colour: false };

    fn row(socket: &Socket) -> Row {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings::new(limits, 250);
        Row::new(socket, socket.owner.iter(), None, &around, socket.at)
    }

    fn shown(sockets: &[Socket], columns: Option<usize>, limit: usize) -> Vec<String> {
        let rows: Vec<Row> = sockets.iter().map(row).collect();
        let mut out = Vec::new();
        let layout = TableLayout { style: PLAIN, chosen: &[], sort: Sort::Limit, columns };
        table(&mut out, &rows, limit, layout).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    fn three() -> [Socket; 3] {
        let mut name = [0; 16];
        name[..6].copy_from_slice(b"mongod");
        let owner = Some(Owner { pid: 812, fd: Some(31), comm: Comm::new(name) });
        [
            Socket { quiet_ms: 290_000, owner, ..socket() },
            Socket { quiet_ms: 400_000, ..socket() },
            Socket {
                keepalive: true,
                probes_unanswered: 2,
                quiet_ms: 400_000,
                timer_ms: Some(10_000),
                ..socket()
            },
        ]
    }

    #[test]
    fn a_table_says_what_is_set_how_quiet_it_is_and_when_it_is_dropped() {
        let lines = shown(&three(), None, usize::MAX);
        assert_eq!(
            lines[0].split_whitespace().take(3).collect::<Vec<_>>(),
            ["DROPPED", "IN", "QUIET"]
        );
        assert!(
            lines[1].starts_with("1m          4m50s") && lines[1].contains(" off "),
            "{lines:#?}"
        );
        assert!(lines[1].ends_with("mongod[812]"), "{lines:#?}");
        assert!(lines[2].starts_with("overdue     6m40s  overdue"), "{lines:#?}");
        assert!(lines[3].contains("2h +9x75s (2 unanswered)"), "{lines:#?}");
        assert!(lines[3].starts_with("8m55s       6m40s  peer_silent"), "{lines:#?}");
        assert_eq!(lines[5], "3 connections: 2 off, 1 late");
        assert!(lines[6].starts_with("?: inferred"), "{lines:#?}");
    }

    #[test]
    fn at_80_columns_no_line_wraps_and_what_matters_is_there() {
        for columns in [30, 40, 59, 80, 100, 120, 200] {
            let lines = shown(&three(), Some(columns), usize::MAX);
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}: {lines:#?}");
        }
        let lines = shown(&three(), Some(80), usize::MAX);
        for heading in ["DROPPED IN", "QUIET", "VERDICT", "PEER", "KEEPALIVE", "OWNER"] {
            assert!(lines[0].contains(heading), "{lines:#?}");
        }
        assert!(lines[1].ends_with("mongod[812]"), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.starts_with("?: ")), "no direction is shown");
    }

    #[test]
    fn the_columns_that_were_asked_for_are_shown_in_that_order_as_far_as_there_is_room() {
        let chosen = [Column::Owner, Column::Peer, Column::State, Column::Quiet];
        let shown = |columns| {
            let rows: Vec<Row> = three().iter().map(row).collect();
            let mut out = Vec::new();
            let layout = TableLayout { style: PLAIN, chosen: &chosen, sort: Sort::Limit, columns };
            table(&mut out, &rows, usize::MAX, layout).unwrap();
            String::from_utf8(out).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for columns in [None, Some(80)] {
            let lines = shown(columns);
            assert_eq!(words(&lines[0]), ["OWNER", "PEER", "STATE", "QUIET"], "{lines:#?}");
            let expected = ["mongod[812]", "172.16.0.15:2717", "established", "4m50s"];
            assert_eq!(words(&lines[1]), expected, "{lines:#?}");
            assert!(lines.iter().all(|line| width(line) <= 80));
        }
        assert_eq!(words(&shown(Some(40))[0]), ["OWNER", "PEER"]);
    }

    #[test]
    fn a_single_unanswered_probe_is_no_news() {
        let one = Socket { keepalive: true, probes_unanswered: 1, ..socket() };
        assert!(!shown(&[one], None, usize::MAX).concat().contains("unanswered"));
    }

    #[test]
    fn a_limit_leaves_rows_out_and_counts_them() {
        let lines = shown(&three(), None, 1);
        assert_eq!(lines.len(), 5, "{lines:#?}");
        assert_eq!(lines[3], "3 connections, 1 shown: 2 off, 1 late");
    }

    #[test]
    fn a_screen_is_never_left_however_small_it_is() {
        let rows = vec![row(&socket()); 100];
        let counts = PageCounts { off: 5000, protected: 3, ..PageCounts::default() };
        for (columns, lines) in [(80, 24), (200, 50), (20, 5), (300, 3)] {
            let mut out = Vec::new();
            let page = Page { rows: rows.clone(), counts, found: 5003, chosen: None };
            let layout = TableLayout {
                style: PLAIN,
                chosen: &[],
                sort: Sort::Limit,
                columns: Some(columns),
            };
            screen(&mut out, &page, layout, Size { columns, lines }).unwrap();
            let text = String::from_utf8(out).unwrap();
            let text = text.replace("\x1b[H", "").replace("\x1b[K", "").replace("\x1b[J", "");
            let shown: Vec<&str> = text.split("\r\n").collect();
            assert!(shown.len() <= lines, "{} lines of {lines}", shown.len());
            assert!(shown.iter().all(|line| width(line) <= columns), "{columns}: {text}");
        }
    }

    #[test]
    fn nothing_is_said_plainly() {
        assert_eq!(shown(&[], None, usize::MAX), ["no connections"]);
    }
}
