//! One event as one line of text or JSON, in which no byte can break a terminal or a log.

use super::journald;
use crate::{kernel::clock, model::text::sanitize::escaped};
use serde::ser::{SerializeMap as _, Serializer as _};
use serde_json::Value;
use std::{error::Error, fmt, str};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// What a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A person who has typed a command.
    Person,
    /// A log: with the time.
    Log,
    /// A program: one JSON object, with the time.
    Json,
}

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogLine {
    pub(super) shape: Shape,
    /// journald reads them: it has the time and the program's name, and wants the priority.
    pub(super) in_journal: bool,
    pub(super) colour: bool,
}

impl<S, N> FormatEvent<S, N> for LogLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let level = *event.metadata().level();
        if self.in_journal {
            out.write_str(journald::prefix(level))?;
        }
        match self.shape {
            Shape::Json => out.write_str(&said.json(level, event.metadata().target())?)?,
            Shape::Person | Shape::Log => self.text(&mut out, level, &said)?,
        }
        out.write_char('\n')
    }
}

impl LogLine {
    fn text(self, out: &mut Writer<'_>, level: Level, said: &Said) -> fmt::Result {
        if !self.in_journal {
            if self.shape == Shape::Log {
                write!(out, "{} ", clock::wall_time(clock::now()).at)?;
            }
            out.write_str("keepwatch: ")?;
        }
        match word(level) {
            None => {}
            Some((word, colour)) if self.colour => {
                write!(out, "\x1b[{colour}m{word}:\x1b[0m ")?;
            }
            Some((word, _)) => write!(out, "{word}: ")?,
        }
        out.write_str(&said.message)?;
        for (at, (key, value)) in said.fields.iter().enumerate() {
            let space = if at == 0 { "  " } else { " " };
            match value {
                Value::String(text) if needs_quotes(text) => {
                    write!(out, "{space}{key}=\"{}\"", quoted(text))?;
                }
                Value::String(text) => write!(out, "{space}{key}={text}")?,
                value => write!(out, "{space}{key}={value}")?,
            }
        }
        Ok(())
    }
}

/// How a text calls a level, and in which colour. What is ordinary needs no word.
const fn word(level: Level) -> Option<(&'static str, &'static str)> {
    match level {
        Level::ERROR => Some(("error", "1;31")),
        Level::WARN => Some(("warning", "1;33")),
        Level::INFO => None,
        Level::DEBUG => Some(("debug", "2")),
        Level::TRACE => Some(("trace", "2")),
    }
}

fn needs_quotes(value: &str) -> bool {
    value.is_empty() || value.contains([' ', '=', '"', '\\'])
}

fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

/// What an event says, harmless already.
#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Said {
    fn json(&self, level: Level, target: &str) -> Result<String, fmt::Error> {
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let write = || -> Result<Vec<u8>, serde_json::Error> {
            let mut json = serde_json::Serializer::new(Vec::new());
            let mut map = json.serialize_map(None)?;
            map.serialize_entry("at", &clock::wall_time(clock::now()).at)?;
            map.serialize_entry("level", level)?;
            map.serialize_entry("target", target)?;
            map.serialize_entry("message", &self.message)?;
            for (key, value) in &self.fields {
                map.serialize_entry(key, value)?;
            }
            map.end()?;
            Ok(json.into_inner())
        };
        write().ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(fmt::Error)
    }

    fn take(&mut self, field: &Field, value: Value) {
        self.fields.push((field.name(), value));
    }
}

impl Visit for Said {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let value = escaped(value.as_bytes());
        if field.name() == "message" {
            self.message = value;
        } else {
            self.take(field, value.into());
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_str(field, &super::in_full(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests_support::text_of, *};
    use tracing::{debug, error, info, level_filters::LevelFilter, warn};

    const PERSON: LogLine = LogLine { shape: Shape::Person, in_journal: false, colour: false };
    const LOG: LogLine = LogLine { shape: Shape::Log, ..PERSON };
    const JSON: LogLine = LogLine { shape: Shape::Json, ..PERSON };

    fn text(line: LogLine, run: impl FnOnce()) -> String {
        text_of(LevelFilter::INFO, line, run)
    }

    #[test]
    fn a_person_reads_a_sentence_then_what_is_counted() {
        let said = || {
            info!("watching");
            warn!(lost = 26_794, path = "a b", of = "ring", empty = "", "events were lost");
            error!("cannot write");
            debug!("nobody asked for this");
        };
        let expected = "keepwatch: watching\n\
                        keepwatch: warning: events were lost  lost=26794 path=\"a b\" of=ring empty=\"\"\n\
                        keepwatch: error: cannot write\n";
        assert_eq!(text(PERSON, said), expected);
    }

    #[test]
    fn a_log_has_the_time_journald_the_priority_and_a_terminal_colours() {
        let said = || warn!("it is late");
        let log = text(LOG, said);
        let (at, rest) = log.split_once(' ').unwrap();
        assert!(at.parse::<jiff::Timestamp>().is_ok() && at.ends_with('Z'), "{at}");
        assert_eq!(rest, "keepwatch: warning: it is late\n");
        assert_eq!(text(LogLine { in_journal: true, ..LOG }, said), "<4>warning: it is late\n");
        assert_eq!(text(LogLine { in_journal: true, ..LOG }, || info!("well")), "<6>well\n");
        let colour = text(LogLine { colour: true, ..PERSON }, said);
        assert_eq!(colour, "keepwatch: \x1b[1;33mwarning:\x1b[0m it is late\n");
    }

    #[test]
    fn json_is_one_flat_object_a_line() {
        let lines = text(JSON, || {
            warn!(lost = 3_u64, is_full = true, share = 0.5, stage = %"ring_full", "events");
            info!("watching");
        });
        let lines: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        let mut first = lines[0].clone();
        let at = first.as_object_mut().unwrap().remove("at").unwrap();
        assert!(at.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{at}");
        let expected = serde_json::json!({
            "level": "warn", "target": "keepwatch::log::line::tests", "message": "events",
            "lost": 3, "is_full": true, "share": 0.5, "stage": "ring_full"
        });
        assert_eq!(first, expected);
        assert_eq!(lines[1]["level"], "info");
    }

    #[test]
    fn no_name_reaches_a_log_raw() {
        let hostile: String = (0..0x100).filter_map(char::from_u32).collect();
        let hostile = format!("{hostile}\u{202e}\u{2028}\r\n\x1b[31m\" }} <0>");
        for line in [PERSON, LOG, JSON, LogLine { in_journal: true, ..LOG }] {
            let text = text(line, || {
                warn!(name = hostile, shown = %hostile, debug = ?hostile, "of {hostile}");
            });
            let inside = text.strip_suffix('\n').unwrap();
            assert!(!inside.chars().any(char::is_control), "{line:?}: {inside:?}");
            assert!(!inside.contains(['\u{202e}', '\u{2028}']), "{line:?}: {inside:?}");
            if line.shape == Shape::Json {
                serde_json::from_str::<Value>(inside).unwrap();
            }
        }
    }

    #[test]
    fn an_honest_name_is_left_as_it_is() {
        let said = text(PERSON, || info!(name = "größe-1.5_日本", "as it is"));
        assert_eq!(said, "keepwatch: as it is  name=größe-1.5_日本\n");
    }

    #[test]
    fn what_is_not_wanted_is_not_even_put_into_words() {
        let mut n_times = 0;
        text_of(LevelFilter::WARN, PERSON, || {
            let mut costly = || {
                n_times += 1;
                "costly"
            };
            info!(said = costly(), "not wanted");
            debug!("{}", costly());
            warn!(said = costly(), "wanted");
        });
        assert_eq!(n_times, 1);
    }
}
