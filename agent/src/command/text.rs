//! Tables for eyes: aligned, short, coloured only on a terminal.

use crate::model::{row::Row, verdict::Verdict, words::duration};
use std::io::{self, Write};

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
            Verdict::Protected => "32",
            Verdict::Local => "2",
        }
    }
}

const HEADINGS: [&str; 9] =
    ["VERDICT", "DIRECTION", "STATE", "LOCAL", "PEER", "KEEPALIVE", "QUIET", "DROPPED IN", "OWNER"];

/// Writes `rows` as a table, and how many of which verdict there are.
pub(super) fn table(out: &mut impl Write, rows: &[Row], style: Style) -> io::Result<()> {
    let lines: Vec<[String; 9]> = rows.iter().map(line).collect();
    let mut widths = HEADINGS.map(str::len);
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if !rows.is_empty() {
        let heading = aligned(&HEADINGS.map(str::to_owned), &widths);
        writeln!(out, "{}", style.paint(heading.trim_end(), "1"))?;
    }
    for (row, line) in rows.iter().zip(&lines) {
        let text = aligned(line, &widths);
        let (verdict, rest) =
            text.split_at_checked(row.verdict.as_str().len()).unwrap_or(("", &text));
        writeln!(
            out,
            "{}{}",
            style.paint(verdict, Style::of_verdict(row.verdict)),
            rest.trim_end()
        )?;
    }
    summary(out, rows, style)
}

fn summary(out: &mut impl Write, rows: &[Row], style: Style) -> io::Result<()> {
    let counts: Vec<String> = Verdict::ALL
        .into_iter()
        .filter_map(|verdict| {
            let n_rows = rows.iter().filter(|row| row.verdict == verdict).count();
            let text = format!("{n_rows} {}", verdict.as_str());
            (n_rows > 0).then(|| style.paint(&text, Style::of_verdict(verdict)))
        })
        .collect();
    match rows.len() {
        0 => writeln!(out, "no connections"),
        1 => writeln!(out, "\n1 connection: {}", counts.join(", ")),
        n_rows => writeln!(out, "\n{n_rows} connections: {}", counts.join(", ")),
    }
}

fn aligned(cells: &[String; 9], widths: &[usize; 9]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', width - cell.chars().count().min(*width) + 2));
    }
    text
}

fn line(row: &Row) -> [String; 9] {
    let direction = match row.direction_from {
        crate::model::socket::DirectionFrom::Seen => row.direction.as_str().to_owned(),
        crate::model::socket::DirectionFrom::Inferred => format!("{}?", row.direction.as_str()),
    };
    [
        row.verdict.as_str().to_owned(),
        direction,
        row.state.as_str().to_owned(),
        row.local.to_string(),
        row.remote.to_string(),
        keepalive(row),
        whole(row.quiet_seconds),
        dropped_in(row),
        owners(row),
    ]
}

/// `60s +3x10s`: the first probe after 60 s, then 3 probes 10 s apart.
pub(super) fn keepalive(row: &Row) -> String {
    let mut text = if row.keepalive {
        let Row { idle, interval, count, .. } = row;
        format!("{}s +{}x{}s", idle.seconds, count.probes, interval.seconds)
    } else {
        "off".to_owned()
    };
    if row.user_timeout_ms > 0 {
        text.push_str(&format!(" ut {}ms", row.user_timeout_ms));
    }
    if row.in_flight {
        text.push_str(" (data in flight)");
    } else if row.keepalive && row.probes_unanswered > 0 {
        text.push_str(&format!(" ({} unanswered)", row.probes_unanswered));
    }
    text
}

fn dropped_in(row: &Row) -> String {
    match (row.verdict, row.until_limit_seconds) {
        (Verdict::Off | Verdict::Late, Some(rest)) if rest < 0.0 => "overdue".to_owned(),
        (Verdict::Off | Verdict::Late, Some(rest)) => whole(rest),
        _ => "-".to_owned(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rounded time of at least 0"
)]
fn whole(seconds: f64) -> String {
    duration(seconds.max(0.0).floor() as u64)
}

fn owners(row: &Row) -> String {
    const SHOWN: usize = 2;
    let mut names: Vec<String> =
        row.owners.iter().map(|owner| format!("{}[{}]", owner.process, owner.pid)).collect();
    names.dedup();
    let n_more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let mut words: Vec<String> = part_of(row).into_iter().chain(names).collect();
    if n_more > 0 {
        words.push(format!("+{n_more}"));
    }
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

/// `NAMESPACE/POD/CONTAINER`, as kubectl takes them; else the container, else the unit.
fn part_of(row: &Row) -> Option<String> {
    let parts = [&row.namespace, &row.pod, &row.container];
    let text = parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("/");
    if text.is_empty() { row.unit.clone() } else { Some(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        limit::{IdleLimit, Limits},
        socket::{Comm, Owner, Socket, tests_support::socket},
        verdict::Policy,
    };

    fn shown(sockets: &[Socket]) -> String {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let policy = Policy { limits, host: std::collections::BTreeSet::new(), hz: 250 };
        let rows: Vec<_> = sockets
            .iter()
            .map(|socket| Row::new(socket, socket.owner.iter(), &policy, socket.at))
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
        assert!(lines[2].contains("7200s +9x75s (2 unanswered)"), "{text}");
        assert!(lines[2].contains("overdue"), "{text}");
        assert_eq!(lines[4], "2 connections: 1 off, 1 late");
    }

    #[test]
    fn an_owner_is_shown_with_what_it_is_part_of() {
        let mut row = {
            let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
            let policy = Policy { limits, host: std::collections::BTreeSet::new(), hz: 250 };
            let owner = Owner { pid: 812, fd: Some(31), comm: Comm::default() };
            Row::new(&socket(), [&owner], &policy, socket().at)
        };
        row.unit = Some("web.service".to_owned());
        assert_eq!(owners(&row), "web.service [812]");
        row.container = Some("server".to_owned());
        assert_eq!(owners(&row), "server [812]");
        row.namespace = Some("shop".to_owned());
        row.pod = Some("web-0".to_owned());
        assert_eq!(owners(&row), "shop/web-0/server [812]");
    }

    #[test]
    fn nothing_is_said_plainly() {
        assert_eq!(shown(&[]), "no connections\n");
    }
}
