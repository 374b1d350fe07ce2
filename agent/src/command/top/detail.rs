//! One connection: what is set, what follows from it, and what happened to it.

use super::{
    feed::Origin,
    theme::{FAINT, HEADING, Theme, title},
    view::{Chosen, FOOT_LINES, View},
};
use crate::{
    command::{
        socket_text::{self, whole},
        table::{broken, fitted, width},
        timestamp,
        trace::text::{Tone, tone},
    },
    model::{
        judgement::{condition::Condition, facts::ConnectionFacts as _},
        observed::setting::SettingOrigin,
        text::duration::{duration, tenths},
    },
    view::{
        condition_text::condition_in_words,
        connection::{KeepaliveSettings, PathLimit},
        event_row::EventRow,
        order::until_dropped_ms,
        row::Row,
    },
};
use ratatui::{
    style::Style,
    text::{Line, Span},
};

/// Columns of a label.
const LABEL: usize = 14;

/// The connection that was chosen, from this line on.
pub(super) fn lines(view: &View, theme: Theme, from: usize) -> Vec<Line<'static>> {
    let mut lines = vec![title(view, theme)];
    if let Some(trouble) = &view.trouble {
        lines.push(Line::styled(format!("not of now: {trouble}"), theme.alarm()));
    }
    let room = view.size.lines.saturating_sub(lines.len() + FOOT_LINES);
    if let Some(chosen) = &view.chosen {
        let all = of(chosen, view.origin, view.size.columns, theme);
        let from = from.min(all.len().saturating_sub(room));
        lines.extend(all.into_iter().skip(from));
    }
    lines
}

fn of(chosen: &Chosen, origin: Option<Origin>, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let Chosen { row, is_gone, timeline } = chosen;
    let mut lines = vec![Line::default()];
    let name = format!(
        "{} {} {}",
        row.connection.local,
        row.connection.direction().arrow(),
        row.connection.remote
    );
    lines.push(Line::from(vec![
        Span::styled(name, HEADING),
        Span::raw(format!(
            "  {}  {}  {}",
            row.id(),
            row.connection.state.as_str(),
            socket_text::direction(row)
        )),
    ]));
    if *is_gone {
        lines.push(Line::styled(
            "The connection is not there any more; below is its last known state.",
            theme.alarm(),
        ));
    }
    lines.push(Line::default());
    for (label, value, style) in facts(row, theme) {
        lines.extend(labelled(label, &value, style, columns));
    }
    lines.push(Line::default());
    lines.push(Line::styled("WHAT HAPPENED", HEADING));
    match (timeline, origin) {
        (_, Some(Origin::Kernel | Origin::Proc { .. })) => lines.extend(wrapped(
            "Nobody watched: without an agent there is only what the kernel says now, above. Start \
             one with `keepwatch run`, and from then on the past is shown here.",
            columns,
            FAINT,
        )),
        (None, _) => lines.push(Line::styled("asking the agent", FAINT)),
        (Some(happenings), _) if happenings.is_empty() => lines.extend(wrapped(
            "Nothing that the agent remembers: it is older than the agent, or the agent had no room \
             for more histories (--max-histories).",
            columns,
            FAINT,
        )),
        (Some(happenings), _) => {
            lines.extend(happenings.iter().flat_map(|happening| of_moment(happening, columns, theme)));
        }
    }
    lines
}

fn facts(row: &Row, theme: Theme) -> Vec<(&'static str, String, Style)> {
    let plain = Style::new();
    let mut facts = vec![
        ("owner", owners(row), plain),
        ("verdict", format!("{}: {}", row.verdict().as_str(), row.meaning), theme.row(row)),
    ];
    let condition = row.connection.condition();
    if let Some(words) = condition_in_words(&row.connection) {
        let style = if condition.is_urgent() { theme.alarm() } else { plain };
        let name = if condition == Condition::Fine {
            String::new()
        } else {
            format!("{}: ", condition.as_str())
        };
        facts.push(("condition", name + &words, style));
    }
    let PathLimit { idle_limit_from: from, path, .. } = &row.connection.limit;
    let from =
        path.as_ref().map_or_else(|| from.to_string(), |path| format!("path {path}, {from}"));
    let limit = row.connection.limit.in_words();
    facts.push(match until_dropped_ms(row) {
        None => ("dropped in", "-".to_owned(), plain),
        Some(..0) => {
            let text = "overdue: its path has probably forgotten it".to_owned();
            ("dropped in", text, theme.row(row))
        }
        Some(rest) => {
            // What gets no answer is ended by the kernel, not by its path.
            let by = if matches!(condition, Condition::Stuck | Condition::PeerSilent) {
                ", by the kernel"
            } else {
                ""
            };
            let text = format!("{}{by}", duration(rest.unsigned_abs() / 1000));
            ("dropped in", text, theme.row(row))
        }
    });
    facts.push(("quiet", duration(whole(row.connection.quiet_seconds)), plain));
    facts.push(("idle limit", format!("{limit} ({from})"), plain));
    facts.push(("keepalive", keepalive(row), plain));
    if row.connection.settings.user_timeout_ms > 0 {
        facts.push((
            "user timeout",
            socket_text::ms_as_typed(row.connection.settings.user_timeout_ms),
            plain,
        ));
    }
    if row.connection.settings.keepalive {
        facts.push(("probes", probes(row), if is_bad(row) { theme.row(row) } else { plain }));
    }
    let noticed = row.connection.detected_after_seconds().map_or_else(
        || "never, as long as nothing is sent".to_owned(),
        |seconds| format!("after {} of silence", duration(seconds)),
    );
    let in_flight = row.connection.settings.in_flight_detection_seconds;
    let noticed = format!("{noticed}; with data in flight after about {}", duration(in_flight));
    facts.push(("death noticed", noticed, plain));
    facts.push(("netns", row.connection.netns.to_string(), plain));
    facts
}

fn is_bad(row: &Row) -> bool {
    row.connection.condition().is_urgent()
}

fn owners(row: &Row) -> String {
    let processes = row.owners.iter().map(|owner| {
        let fd = owner.fd.map(|fd| format!(" fd {fd}")).unwrap_or_default();
        format!("{}[{}]{fd}", owner.process, owner.pid)
    });
    let mut words: Vec<String> = processes.collect();
    if words.is_empty() {
        words.push("no process has it open".to_owned());
    }
    let parts = [
        ("unit", &row.connection.part_of.unit),
        ("container", &row.connection.part_of.container),
        ("namespace", &row.connection.part_of.namespace),
        ("workload", &row.connection.part_of.workload),
        ("pod", &row.connection.part_of.pod),
    ];
    let known = parts.into_iter().filter_map(|(label, name)| Some((label, name.as_ref()?)));
    words.extend(known.map(|(label, name)| format!("{label} {name}")));
    words.join(", ")
}

fn keepalive(row: &Row) -> String {
    let whence = |from: SettingOrigin| match from {
        SettingOrigin::Socket => "set on the socket",
        SettingOrigin::Netns => "of the system",
        SettingOrigin::Unknown => "set on the socket, or of the system",
    };
    let KeepaliveSettings { idle, interval, count, .. } = row.connection.settings;
    let settings = format!(
        "first probe after {} ({}), then {} in all ({}), {} apart ({})",
        duration(idle.seconds),
        whence(idle.from),
        count.probes,
        whence(count.from),
        duration(interval.seconds),
        whence(interval.from),
    );
    if row.connection.settings.keepalive {
        settings
    } else {
        format!("off; if it were on: {settings}")
    }
}

fn probes(row: &Row) -> String {
    let next = match row.connection.next_probe_seconds {
        _ if row.connection.in_flight => {
            "none while something is in flight: retransmissions decide".to_owned()
        }
        Some(seconds) => format!("next in {}", tenths(whole(seconds * 1000.0))),
        None => "no probe is due".to_owned(),
    };
    match row.connection.probes_unanswered {
        0 => format!("{next}; none unanswered"),
        1 => format!("{next}; one is not answered yet"),
        n => format!("{next}; {n} of {} unanswered", row.connection.settings.count.probes),
    }
}

fn of_moment(happening: &EventRow, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    // With its day: a history may be long.
    let time = timestamp::local(&happening.time.at, "%m-%d %H:%M:%S.%3f");
    let style = match tone(happening) {
        Tone::Bad => theme.alarm(),
        Tone::Notable => theme.warning(),
        Tone::Good => theme.good(),
        Tone::Plain => Style::new(),
    };
    let head = [
        Span::styled(format!("{time}  "), FAINT),
        Span::styled(fitted(happening.event.as_str(), LABEL), style),
        Span::raw("  "),
    ];
    let indent = width(&time) + 2 + LABEL + 2;
    hanging(Vec::from(head), indent, &happening.meaning, Style::new(), columns)
}

/// A label and a text beside it.
pub(super) fn labelled(
    label: &str,
    text: &str,
    style: Style,
    columns: usize,
) -> Vec<Line<'static>> {
    let head = vec![Span::styled(fitted(label, LABEL + 1), FAINT)];
    hanging(head, LABEL + 1, text, style, columns)
}

/// A text that begins after `head` and goes on below itself.
fn hanging(
    mut head: Vec<Span<'static>>,
    indent: usize,
    text: &str,
    style: Style,
    columns: usize,
) -> Vec<Line<'static>> {
    const LEAST: usize = 20;
    let mut lines = Vec::new();
    let mut indent = indent;
    if columns < indent + LEAST {
        // There is no room beside the head: the text goes below it.
        indent = 2;
        lines.push(Line::from(std::mem::replace(&mut head, vec![Span::raw("  ")])));
    }
    for part in broken(text, columns.saturating_sub(indent)) {
        head.push(Span::styled(part, style));
        lines.push(Line::from(std::mem::replace(&mut head, vec![Span::raw(" ".repeat(indent))])));
    }
    lines
}

fn wrapped(text: &str, columns: usize, style: Style) -> Vec<Line<'static>> {
    broken(text, columns).into_iter().map(|part| Line::styled(part, style)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stands_beside_its_label_or_below_it() {
        let shown = |columns| -> Vec<String> {
            let lines = labelled("quiet", "for four minutes and a half", Style::new(), columns);
            lines.iter().map(ToString::to_string).collect()
        };
        let beside = ["quiet          for four minutes and", "               a half"];
        assert_eq!(shown(36), beside);
        assert_eq!(shown(30), ["quiet          ", "  for four minutes and a half"]);
    }
}
