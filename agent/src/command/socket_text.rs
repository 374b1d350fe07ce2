//! Connections for eyes: short, coloured only on a terminal.

use super::table::{aligned, cut, width, widths};
use crate::{
    model::{
        judgement::verdict::Verdict, observed::socket::DirectionFrom, text::duration::duration,
    },
    view::{
        connection::{Connection, KeepaliveSettings},
        order,
        page::{Page, PageCounts},
        row::Row,
    },
};
use std::io::{self, Write};

/// A time as one would type it in a setting: `2h`, `10m`, `75s`.
pub(super) fn as_typed(seconds: u32) -> String {
    match seconds {
        0 => "0s".to_owned(),
        hours if hours.is_multiple_of(3600) => format!("{}h", hours / 3600),
        minutes if minutes.is_multiple_of(60) => format!("{}m", minutes / 60),
        seconds => format!("{seconds}s"),
    }
}

/// A time in few columns: `5m50s`, `2h11m`, `3d4h`.
pub(super) fn short(seconds: u64) -> String {
    duration(seconds).replace(" min", "m").replace(' ', "")
}

/// Milliseconds as one would type them.
pub(super) fn ms_as_typed(ms: u32) -> String {
    if ms.is_multiple_of(1000) { as_typed(ms / 1000) } else { format!("{ms}ms") }
}

/// The room on a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

/// How a table may look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// Whether colours are shown.
    pub(super) colour: bool,
}

impl Style {
    pub(super) fn paint(self, text: &str, colour: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    const fn of_verdict(verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Off => "1;31",
            Verdict::Late => "33",
            Verdict::Kept => "36",
            Verdict::Protected => "32",
            Verdict::Local => "2",
        }
    }
}

const HEADINGS: [&str; 9] =
    ["VERDICT", "DIRECTION", "STATE", "LOCAL", "PEER", "KEEPALIVE", "QUIET", "DROPPED IN", "OWNER"];

/// Writes `rows` as a table, and a line with the count of each verdict.
pub(super) fn table(out: &mut impl Write, rows: &[Row], style: Style) -> io::Result<()> {
    let mut counts = PageCounts::default();
    for row in rows {
        counts.count(row);
    }
    if !rows.is_empty() {
        let lines: Vec<Cells> = rows.iter().map(line).collect();
        let widths = widths(HEADINGS, &lines);
        let heading = aligned(&HEADINGS.map(str::to_owned), &widths);
        writeln!(out, "{}", style.paint(heading.trim_end(), "1"))?;
        for (row, line) in rows.iter().zip(&lines) {
            writeln!(out, "{}", painted(row, aligned(line, &widths).trim_end(), style))?;
        }
        writeln!(out)?;
    }
    writeln!(out, "{}", summary(&counts, rows.len(), style, usize::MAX))
}

/// Rows that a screen has room for beside the heading and the summary.
pub(super) const fn n_rows(size: Size) -> usize {
    size.lines.saturating_sub(2)
}

/// The same table over what was on a screen before, cut to it: nothing scrolls, nothing flickers.
pub(super) fn screen(
    out: &mut impl Write,
    page: &Page,
    style: Style,
    size: Size,
) -> io::Result<()> {
    let lines: Vec<Cells> = page.rows.iter().map(line).collect();
    let widths = widths(HEADINGS, &lines);
    let heading = cut(aligned(&HEADINGS.map(str::to_owned), &widths).trim_end(), size.columns);
    let mut shown = vec![style.paint(&heading, "1")];
    for (row, line) in page.rows.iter().zip(&lines).take(n_rows(size)) {
        let text = cut(aligned(line, &widths).trim_end(), size.columns);
        shown.push(painted(row, &text, style));
    }
    shown.push(summary(&page.counts, page.rows.len(), style, size.columns));
    // Home; then clear the rest of each line, and in the end what is below. The last line is not
    // ended: that would scroll.
    let shown: Vec<String> = shown.into_iter().take(size.lines).collect();
    write!(out, "\x1b[H{}\x1b[K\x1b[J", shown.join("\x1b[K\r\n"))
}

fn painted(row: &Row, text: &str, style: Style) -> String {
    let (verdict, rest) = text.split_at_checked(row.verdict().as_str().len()).unwrap_or(("", text));
    format!("{}{rest}", style.paint(verdict, Style::of_verdict(row.verdict())))
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

type Cells = [String; 9];

fn line(row: &Row) -> Cells {
    [
        row.verdict().as_str().to_owned(),
        direction(row),
        row.connection.state.as_str().to_owned(),
        row.connection.local.to_string(),
        row.connection.remote.to_string(),
        keepalive(&row.connection),
        duration(whole(row.connection.quiet_seconds)),
        dropped_in(row),
        owners(row),
    ]
}

/// With a question mark where it is inferred.
pub(super) fn direction(row: &Row) -> String {
    match row.direction_from {
        DirectionFrom::Seen => row.connection.direction().as_str().to_owned(),
        DirectionFrom::Inferred => format!("{}?", row.connection.direction().as_str()),
    }
}

/// `2h +9x75s`: the first probe after 2 hours, then 9 probes in all, 75 s apart.
pub(super) fn keepalive(connection: &Connection) -> String {
    let Connection { settings: of, in_flight, probes_unanswered, .. } = connection;
    let mut text = settings(of);
    if *in_flight {
        text.push_str(" (data in flight)");
    } else if of.keepalive && *probes_unanswered > 0 {
        text.push_str(&format!(" ({probes_unanswered} unanswered)"));
    }
    text
}

/// The keepalive settings, short: `2h +9x75s ut 30s`.
pub(super) fn settings(settings: &KeepaliveSettings) -> String {
    let KeepaliveSettings { idle, interval, count, user_timeout_ms, .. } = *settings;
    let mut text = if settings.keepalive {
        format!("{} +{}x{}", as_typed(idle.seconds), count.probes, as_typed(interval.seconds))
    } else {
        "off".to_owned()
    };
    if user_timeout_ms > 0 {
        text.push_str(&format!(" ut {}", ms_as_typed(user_timeout_ms)));
    }
    text
}

/// Until its path forgets it, or the kernel gives up on it.
pub(super) fn dropped_in(row: &Row) -> String {
    match order::until_dropped_ms(row) {
        Some(rest) if rest < 0 => "overdue".to_owned(),
        Some(rest) => duration(rest.unsigned_abs() / 1000),
        None => "-".to_owned(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rounded time of at least 0"
)]
pub(super) const fn whole(seconds: f64) -> u64 {
    seconds.max(0.0).floor() as u64
}

/// What the owner is part of, and the processes.
pub(super) fn owners(row: &Row) -> String {
    const SHOWN: usize = 2;
    let mut names: Vec<String> =
        row.owners.iter().map(|owner| format!("{}[{}]", owner.process, owner.pid)).collect();
    names.dedup();
    let n_more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let mut words: Vec<String> = row.connection.part_of.words().into_iter().chain(names).collect();
    if n_more > 0 {
        words.push(format!("+{n_more}"));
    }
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::fitted;
    use crate::model::{
        judgement::{
            idle_limit::{IdleLimit, Limits},
            verdict::Surroundings,
        },
        observed::socket::{Comm, Owner, Socket, tests_support::socket},
    };

    fn shown(sockets: &[Socket]) -> String {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings { limits, host: std::collections::BTreeSet::new(), hz: 250 };
        let rows: Vec<_> = sockets
            .iter()
            .map(|socket| Row::new(socket, socket.owner.iter(), None, &around, socket.at))
            .collect();
        let mut out = Vec::new();
        table(&mut out, &rows, Style { colour: false }).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_says_what_is_set_how_quiet_it_is_and_when_it_is_dropped() {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(b"mongod");
        let owner = Some(Owner { pid: 812, fd: Some(31), comm: Comm::new(bytes) });
        let text = shown(&[
            Socket { quiet_ms: 290_000, owner, ..socket() },
            Socket { keepalive: true, probes_unanswered: 2, quiet_ms: 400_000, ..socket() },
        ]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0].split_whitespace().next(), Some("VERDICT"));
        assert!(lines[1].starts_with("off   ") && lines[1].contains("4 min 50 s  1 min"), "{text}");
        assert!(lines[1].ends_with("mongod[812]"), "{text}");
        assert!(lines[2].contains("2h +9x75s (2 unanswered)"), "{text}");
        assert!(lines[2].contains("overdue"), "{text}");
        assert_eq!(lines[4], "2 connections: 1 off, 1 late");
    }

    #[test]
    fn an_owner_is_shown_with_what_it_is_part_of() {
        let mut row = {
            let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
            let around = Surroundings { limits, host: std::collections::BTreeSet::new(), hz: 250 };
            let owner = Owner { pid: 812, fd: Some(31), comm: Comm::default() };
            Row::new(&socket(), [&owner], None, &around, socket().at)
        };
        row.connection.part_of.unit = Some("web.service".to_owned());
        assert_eq!(owners(&row), "web.service [812]");
        row.connection.part_of.container = Some("server".to_owned());
        assert_eq!(owners(&row), "server [812]");
        row.connection.part_of.namespace = Some("shop".to_owned());
        row.connection.part_of.pod = Some("web-0".to_owned());
        assert_eq!(owners(&row), "shop/web-0/server [812]");
    }

    #[test]
    fn a_table_with_wide_and_hostile_names_is_aligned() {
        let named = |name: &[u8]| {
            let mut bytes = [0; 16];
            bytes[..name.len()].copy_from_slice(name);
            let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
            let around = Surroundings { limits, host: std::collections::BTreeSet::new(), hz: 250 };
            let owner = Owner { pid: 1, fd: None, comm: Comm::new(bytes) };
            Row::new(&socket(), [&owner], None, &around, socket().at)
        };
        for name in ["数据库".as_bytes(), b"\x1b[31m\n", "e\u{301}\u{301}".as_bytes(), b"plain"]
        {
            let text = fitted(&owners(&named(name)), 12);
            assert_eq!(width(&text), 12, "{text:?}");
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn a_screen_is_never_left_however_small_it_is() {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings { limits, host: std::collections::BTreeSet::new(), hz: 250 };
        let rows = vec![Row::new(&socket(), [], None, &around, socket().at); 100];
        let counts = PageCounts { off: 5000, protected: 3, ..PageCounts::default() };
        for (columns, lines) in [(80, 24), (200, 50), (20, 5), (1, 1), (300, 3)] {
            let mut out = Vec::new();
            let page = Page { rows: rows.clone(), counts, found: 5003, chosen: None };
            screen(&mut out, &page, Style { colour: false }, Size { columns, lines }).unwrap();
            let text = String::from_utf8(out).unwrap();
            let text = text.replace("\x1b[H", "").replace("\x1b[K", "").replace("\x1b[J", "");
            let shown: Vec<&str> = text.split("\r\n").collect();
            assert!(shown.len() <= lines, "{} lines of {lines}", shown.len());
            assert!(shown.iter().all(|line| width(line) <= columns), "{columns}: {text}");
        }
    }

    #[test]
    fn times_of_settings_are_as_one_would_type_them() {
        let typed = [0, 45, 60, 75, 600, 7200, 86_400].map(as_typed);
        assert_eq!(typed, ["0s", "45s", "1m", "75s", "10m", "2h", "24h"]);
        assert_eq!(ms_as_typed(30_000), "30s");
        assert_eq!(ms_as_typed(1_500), "1500ms");
    }

    #[test]
    fn nothing_is_said_plainly() {
        assert_eq!(shown(&[]), "no connections\n");
    }
}
