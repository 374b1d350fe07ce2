//! Events for eyes: one line each where there is room, else a headline and below it what it means.

use crate::{
    command::{
        socket_text::{self, Size, Style},
        table::{cut, fitted, width, wrapped},
        timestamp,
    },
    model::{
        observed::{event::Fire, setsockopt::When, socket::Direction},
        table::happening::EventName,
        text::wall_time::WallTime,
    },
    view::{
        event_row::{EventRow, NoticeRow},
        filter::Filter,
    },
};

/// To the millisecond.
const TIME_OF_DAY: &str = "%H:%M:%S.%3f";
/// Columns of the longest name of an event.
const EVENT: usize = 15;
/// A terminal of this width has room for an event in one line, mostly.
const WIDE: usize = 160;

/// How events are laid out.
#[derive(Clone, Copy, Debug)]
pub(in crate::command) struct TraceLayout {
    style: Style,
    /// Columns of a terminal that is too narrow for one line an event.
    narrow: Option<usize>,
    /// All events are of one connection, which need not be named.
    is_of_one: bool,
}

impl TraceLayout {
    /// For a terminal of this size, or for a file.
    pub(in crate::command) fn new(terminal: Option<Size>, filter: &Filter, style: Style) -> Self {
        let columns = terminal.map(|size| size.columns);
        let narrow = columns.filter(|&columns| columns < WIDE);
        Self { style, narrow, is_of_one: filter.id.len() == 1 }
    }
}

/// A message about the stream itself.
pub(in crate::command) fn notice_line(row: &NoticeRow, layout: TraceLayout) -> String {
    let NoticeRow { time: WallTime { at, .. }, event, meaning, .. } = row;
    let text = layout.style.paint(&format!("{}: {meaning}", event.as_str()), "1;33");
    format!("{}  {text}", timestamp::local(at, TIME_OF_DAY))
}

/// An event: when, what, whose, which connection, and what it means.
pub(in crate::command) fn event_lines(row: &EventRow, layout: TraceLayout) -> String {
    match layout.narrow {
        Some(columns) => narrow(row, columns, layout),
        None => wide(row, layout),
    }
}

fn wide(row: &EventRow, layout: TraceLayout) -> String {
    // At least so wide: what is longer is not cut.
    let wide = |text: &str, columns: usize| fitted(text, columns.max(width(text)));
    let mut line = format!("{}  {}", time(row), wide(&whose(row), 28));
    if !layout.is_of_one {
        line.push_str(&format!("  {}", wide(&both_ends(row), 40)));
    }
    format!("{line}  {}  {}", event(row, layout.style), row.meaning)
}

fn narrow(row: &EventRow, columns: usize, layout: TraceLayout) -> String {
    let head = format!("{} {}", time(row), event(row, layout.style));
    let meaning = short_meaning(row);
    let time_columns = width(&time(row)) + 1;
    let head_columns = time_columns + EVENT + 1;
    let room = columns.saturating_sub(head_columns);
    let (first, rest, indent) = if layout.is_of_one {
        let mut lines = wrapped(&meaning, room.max(20)).into_iter();
        (lines.next().unwrap_or_default(), lines.collect(), head_columns)
    } else {
        let who = cut(&format!("{} {}", whose(row), far_end(row)), room);
        if width(&who) + 2 + width(&meaning) <= room {
            (format!("{who}  {meaning}"), Vec::new(), 0)
        } else {
            let room = columns.saturating_sub(time_columns).max(20);
            (who, wrapped(&meaning, room), time_columns)
        }
    };
    let below = rest.iter().map(|line: &String| format!("\n{:indent$}{line}", ""));
    below.fold(format!("{head} {first}"), |text, line| text + &line)
}

fn time(row: &EventRow) -> String {
    timestamp::local(&row.time.at, TIME_OF_DAY)
}

fn event(row: &EventRow, style: Style) -> String {
    let colour = match tone(row) {
        Tone::Bad => "1;31",
        Tone::Notable => "33",
        Tone::Good => "32",
        Tone::Plain => "0",
    };
    style.paint(&fitted(row.event.as_str(), EVENT), colour)
}

/// What the process is part of, and the process.
fn whose(row: &EventRow) -> String {
    let process = row.owners.first().map(|owner| format!("{}[{}]", owner.process, owner.pid));
    let words: Vec<String> = row.connection.part_of.words().into_iter().chain(process).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

fn both_ends(row: &EventRow) -> String {
    let socket = &row.connection;
    without_peer(row).unwrap_or_else(|| {
        let arrow = socket.direction.map_or("-", Direction::arrow);
        format!("{} {arrow} {}", socket.local, socket.remote)
    })
}

/// What stands in place of the peer of a socket that has none.
fn without_peer(row: &EventRow) -> Option<String> {
    let socket = &row.connection;
    let has_no_peer = socket.direction.is_none();
    // A socket without a peer gets its id when it listens: known of the past, not of a call that was just made.
    let listens = has_no_peer && socket.id.is_some();
    match row.details.when {
        Some(When::Listener) => Some(format!("{} (listens)", socket.local)),
        _ if listens => Some(format!("{} (listens)", socket.local)),
        _ => has_no_peer.then(|| "(not connected yet)".to_owned()),
    }
}

/// The peer; of a connection that the peer opened also the port that it came to.
fn far_end(row: &EventRow) -> String {
    let socket = &row.connection;
    let port = match socket.direction.map_or("-", Direction::arrow) {
        "<-" => format!(":{} ", socket.local.port()),
        _ => String::new(),
    };
    without_peer(row).unwrap_or_else(|| {
        format!("{port}{} {}", socket.direction.map_or("-", Direction::arrow), socket.remote)
    })
}

/// Where there is little room, an opening says what is set as `sockets` does.
fn short_meaning(row: &EventRow) -> String {
    let verdict = row.connection.verdict.map(crate::model::judgement::verdict::Verdict::as_str);
    match (row.event, verdict) {
        (EventName::Opened, Some(verdict)) => {
            format!("{verdict}: {}", socket_text::settings(&row.connection.settings))
        }
        _ => row.meaning.clone(),
    }
}

/// How bad an event is for the person who has to act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::command) enum Tone {
    Bad,
    Notable,
    Good,
    Plain,
}

pub(in crate::command) fn tone(row: &EventRow) -> Tone {
    match row.event {
        EventName::Died => Tone::Bad,
        EventName::Setting if row.details.result.as_deref() != Some("ok") => Tone::Bad,
        EventName::Changed
        | EventName::VerdictChanged
        | EventName::ProbeSent
        | EventName::GivenUp => Tone::Notable,
        EventName::TimerFired if row.details.outcome == Some(Fire::DataInFlight) => Tone::Notable,
        EventName::ProbeAnswered | EventName::Opened => Tone::Good,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::{
            death::{Cause, Certainty, Death, Others},
            idle_limit::{IdleLimit, Limits},
            verdict::Surroundings,
        },
        observed::{
            ending::{Ending, Unacked},
            owner_identity::Identity,
            socket::{Comm, Owner, Socket, SocketId, State, tests_support::socket},
        },
        table::happening::{Happened, Happening},
    };
    use std::sync::Arc;

    fn row(what: Happened) -> EventRow {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings::new(limits, 250);
        let unit = Identity { unit: Some("checkout.service".into()), ..Identity::default() };
        let mut name = [0; 16];
        name[..7].copy_from_slice(b"python3");
        let owner = Some(Owner { pid: 812, fd: None, comm: Comm::new(name) });
        let socket = Socket { owner, keepalive: true, ..socket() };
        let happening =
            Happening { identity: Some(Arc::new(unit)), ..Happening::new(socket.at, socket, what) };
        {
            let at = "2026-11-25T10:41:00.123Z".to_owned();
            EventRow::new(&happening, WallTime { at, ..WallTime::default() }, &around)
        }
    }

    fn died() -> EventRow {
        let ending = Ending { unacked: Unacked::Data, retransmits: 15, ..Ending::default() };
        row(Happened::Died(Death {
            cause: Cause::IdleDrop,
            certainty: Certainty::Inferred,
            old: State::Established,
            ending,
            quiet_ms: 80_000,
            silent_ms: 90_000,
            age_ms: None,
            given_up: None,
            probes_sent: 0,
            probes_unanswered: 0,
            survived_ms: 0,
            could_be_forgotten: false,
            others: Others::Unknown,
            other_reason: None,
        }))
    }

    fn shown(row: &EventRow, columns: Option<usize>, id: Option<u64>) -> Vec<String> {
        let terminal = columns.map(|columns| Size { columns, lines: 24 });
        let filter = Filter { id: id.map(SocketId).into_iter().collect(), ..Filter::default() };
        let layout = TraceLayout::new(terminal, &filter, Style { colour: false });
        event_lines(row, layout).lines().map(str::to_owned).collect()
    }

    #[test]
    fn at_80_columns_an_event_is_a_headline_with_its_unit_and_a_meaning_that_fits() {
        let lines = shown(&died(), Some(80), None);
        assert!(lines.len() > 1 && lines.iter().all(|line| width(line) <= 80), "{lines:#?}");
        assert!(lines[0].contains("died") && lines[0].contains("checkout.service python3[812]"));
        assert!(lines[1].trim_start().starts_with("idle_drop:"), "{lines:#?}");
        assert!(!lines.concat().contains("10.0.0.5:44307"), "the own address tells least");
    }

    #[test]
    fn a_connection_that_was_asked_for_by_its_id_is_not_named_in_each_line() {
        let lines = shown(&died(), Some(80), Some(1));
        assert!(lines[0].contains("idle_drop:"), "{lines:#?}");
        let text = lines.concat();
        assert!(!text.contains("172.16.0.15") && !text.contains("python3"), "{lines:#?}");
        assert!(lines.iter().all(|line| width(line) <= 80), "{lines:#?}");
        assert!(!shown(&died(), None, Some(1)).concat().contains("172.16.0.15"));
    }

    #[test]
    fn an_opening_is_one_short_line() {
        let opened = row(Happened::Opened);
        let lines = shown(&opened, Some(110), None);
        assert!(lines.len() == 1 && lines[0].ends_with("  late: 2h +9x75s"), "{lines:#?}");
    }

    #[test]
    fn in_a_pipe_each_event_is_one_line_with_everything() {
        let lines = shown(&died(), None, None);
        assert_eq!(lines.len(), 1);
        for word in
            ["checkout.service python3[812]", "10.0.0.5:44307 -> 172.16.0.15:2717", "idle_drop"]
        {
            assert!(lines[0].contains(word), "{lines:?}");
        }
        assert_eq!(shown(&died(), Some(200), None).len(), 1, "nor on a wide terminal");
    }

    #[test]
    fn however_narrow_it_is_there_is_a_line() {
        for columns in [1, 20, 30, 40] {
            for id in [None, Some(1)] {
                assert!(!shown(&died(), Some(columns), id).is_empty());
            }
        }
    }
}
