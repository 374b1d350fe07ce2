//! The view as lines on a screen.

use super::{
    detail,
    theme::{FAINT, HEADING, Theme, title},
    view::{FOOT_LINES, HEAD_LINES, Mode, View},
};
use crate::{
    command::{
        columns::{Column, layout},
        table::{cut, fitted, width},
    },
    model::judgement::verdict::Verdict,
    view::{order::until_dropped_ms, row::Row},
};
use ratatui::{
    Frame,
    layout::Position,
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::Paragraph,
};

const LEAST_COLUMNS: usize = 30;
const LEAST_LINES: usize = HEAD_LINES + FOOT_LINES + 2;

pub(super) fn draw(view: &View, frame: &mut Frame<'_>, theme: Theme) {
    let size = view.size;
    if size.columns < LEAST_COLUMNS || size.lines < LEAST_LINES {
        let wanted = format!("too small: {LEAST_COLUMNS}x{LEAST_LINES} at least; q ends");
        frame.render_widget(Paragraph::new(wanted), frame.area());
        return;
    }
    let mut lines = match view.mode {
        Mode::List | Mode::Typing => list(view, theme),
        Mode::Detail(from) => detail::lines(view, theme, from),
        Mode::Help => help(view, theme),
    };
    lines.truncate(size.lines - FOOT_LINES);
    lines.resize(size.lines - FOOT_LINES, Line::default());
    lines.push(foot(view));
    frame.render_widget(Paragraph::new(lines), frame.area());
    if view.mode == Mode::Typing {
        let x = order(view).len() + FIND.len() + width(&view.pick.find);
        let x = u16::try_from(x.min(size.columns - 1)).unwrap_or_default();
        frame.set_cursor_position(Position { x, y: 2 });
    }
}

fn list(view: &View, theme: Theme) -> Vec<Line<'static>> {
    let columns = layout(view.size.columns, view.pick.sort);
    let headings = columns.iter().map(|(column, width)| fitted(column.heading(), *width));
    let headings = headings.collect::<Vec<_>>().join("  ");
    let mut lines = vec![title(view, theme), counts(view, theme), words(view), {
        Line::styled(fitted(&headings, view.size.columns), reversed(HEADING))
    }];
    for place in view.top..view.top + view.room() {
        let Some(row) = view.row(place) else { break };
        let line = of_row(row, &columns, theme);
        lines.push(if place == view.cursor { line.style(reversed(Style::new())) } else { line });
    }
    if view.page.found == 0 && view.trouble.is_none() {
        let nothing = match (view.page.counts.total(), view.pick.find.is_empty()) {
            (0, _) if view.shows_only_unprotected() => "no unprotected connections",
            (0, _) => "no connections",
            _ => "nothing found: Esc shows all",
        };
        lines.push(Line::styled(nothing, FAINT));
    }
    lines
}

const fn reversed(style: Style) -> Style {
    style.add_modifier(Modifier::REVERSED)
}

/// The count of each kind of connection, or why there is no answer.
fn counts(view: &View, theme: Theme) -> Line<'static> {
    if let Some(trouble) = &view.trouble {
        return Line::styled(format!("not of now: {trouble}"), theme.alarm());
    }
    let counts = &view.page.counts;
    let total = counts.total();
    let mut counted = HeadCounts::new(
        format!("{total} connection{}", if total == 1 { "" } else { "s" }),
        view.size.columns,
    );
    let alarms = [
        (counts.stuck, "stuck", theme.alarm()),
        (counts.peer_silent, "peer_silent", theme.unanswered()),
        (counts.overdue, "overdue", theme.alarm()),
    ];
    for (n, word, style) in alarms {
        if n > 0 {
            counted.add(", ", format!("{n} {word}"), style);
        }
    }
    let told = Verdict::ALL.into_iter().filter(|&verdict| counts.of(verdict) > 0);
    for (number, verdict) in told.enumerate() {
        let count = format!("{} {}", counts.of(verdict), verdict.as_str());
        let between = if number == 0 { ": " } else { ", " };
        counted.add(between, count, theme.verdict(verdict));
    }
    counted.line
}

/// Numbers with their words, as many as fit: half a number is a wrong one.
struct HeadCounts {
    line: Line<'static>,
    room: usize,
}

impl HeadCounts {
    fn new(first: String, columns: usize) -> Self {
        Self { room: columns.saturating_sub(width(&first)), line: Line::raw(first) }
    }

    fn add(&mut self, between: &'static str, count: String, style: Style) {
        match self.room.checked_sub(width(between) + width(&count)) {
            Some(room) => {
                self.room = room;
                self.line.push_span(Span::raw(between));
                self.line.push_span(Span::styled(count, style));
            }
            // Nor does a shorter one that comes later take the place of what was left out.
            None => self.room = 0,
        }
    }
}

const FIND: &str = "  find: ";

fn order(view: &View) -> String {
    let reversed = if view.pick.reverse { ", reversed" } else { "" };
    let only = if view.shows_only_unprotected() { ", only unprotected" } else { "" };
    format!("by {}{reversed}{only}", view.pick.sort.as_words())
}

/// The order, and what is searched for.
fn words(view: &View) -> Line<'static> {
    let mut spans = vec![Span::raw(order(view))];
    if view.mode == Mode::Typing || !view.pick.find.is_empty() {
        spans.push(Span::raw(FIND));
        spans.push(Span::styled(view.pick.find.clone(), HEADING));
        spans.push(Span::styled(format!("  {} found", view.page.found), FAINT));
    }
    Line::from(spans)
}

fn of_row(row: &Row, columns: &[(Column, usize)], theme: Theme) -> Line<'static> {
    let mut spans = Vec::new();
    for (number, &(column, width)) in columns.iter().enumerate() {
        if number > 0 {
            spans.push(Span::raw("  "));
        }
        let style = match column {
            Column::Verdict => theme.row(row),
            Column::Dropped if until_dropped_ms(row).is_some() => theme.row(row),
            _ if row.verdict() == Verdict::Local => FAINT,
            _ => Style::new(),
        };
        spans.push(Span::styled(column.cell(row, width), style));
    }
    Line::from(spans)
}

fn foot(view: &View) -> Line<'static> {
    let keys = match view.mode {
        Mode::List => "q end  / find  Enter details  s order  u unprotected  p pause  ? keys",
        Mode::Typing => "type what to find  Enter keep  Esc forget",
        Mode::Detail(_) => "Esc back  up/down scroll  p pause  q end",
        Mode::Help => "any key: back",
    };
    let n_rows = view.page.found;
    let place = match view.mode {
        Mode::List | Mode::Typing if n_rows > 0 => format!("{}/{n_rows}", view.cursor + 1),
        _ => String::new(),
    };
    let keys = fitted(keys, view.size.columns.saturating_sub(width(&place) + 1));
    Line::styled(cut(&format!("{keys} {place}"), view.size.columns), FAINT)
}

/// Each in one line of 80 columns.
const KEYS: [(&str, &str); 14] = [
    ("q, Ctrl-C", "end"),
    ("/", "find as you type: each word must stand somewhere in the row,"),
    ("", "or be overdue, stuck; Enter keeps the words, Esc forgets them"),
    ("Enter", "one connection, with what happened to it"),
    ("s, S", "next order, previous one: trouble, quiet time, time"),
    ("", "until noticed, unanswered probes, peer, process"),
    ("r", "the opposite order"),
    ("u", "only the unprotected: off or late"),
    ("p, space", "pause, go on"),
    ("arrows, j, k", "move; also PgUp, PgDn, Home, End, g, G"),
    ("Ctrl-Z", "back to the shell; fg goes on"),
    ("", ""),
    ("stuck", "data is repeated, and nothing answers; the kernel gives up in DROPPED IN"),
    ("peer_silent", "two or more probes unanswered: the peer is gone, not noticed yet"),
];

const LEGEND: [(Column, &str); 6] = [
    (Column::Dropped, "time until the path forgets it, or the kernel gives up on it"),
    (Column::Quiet, "how long no packet went either way"),
    (Column::Direction, "who opened it; with a ? inferred: nobody saw it open"),
    (Column::Keepalive, "2h +9x75s: first probe after 2 hours, 9 in all, 75 s apart"),
    (Column::Noticed, "silence until the kernel notices that the peer is gone"),
    (Column::Limit, "how long the path is taken to keep a quiet connection"),
];

fn help(view: &View, theme: Theme) -> Vec<Line<'static>> {
    let mut lines = vec![title(view, theme), Line::default()];
    for (key, meaning) in KEYS {
        lines.extend(detail::labelled(key, meaning, Style::new(), view.size.columns));
    }
    for (column, meaning) in LEGEND {
        let heading = column.heading();
        lines.extend(detail::labelled(heading, meaning, Style::new(), view.size.columns));
    }
    lines
}
