//! stderr: what keepwatch says, as opposed to data. Every line is a `tracing` event; a subscriber writes it for a
//! person, for a log file, for journald or as JSON.

mod journald;
mod line;
pub(crate) mod pace;

use crate::kernel::hooks;
use clap::ValueEnum;
use line::{LogLine, Shape};
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    error::Error,
    io::{self, IsTerminal as _},
    panic::PanicHookInfo,
    sync::Mutex,
};
use tracing::{Subscriber, field::display, level_filters::LevelFilter};
use tracing_subscriber::{filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _};

/// How important a line must be to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// What keepwatch cannot do
    Error,
    /// What is lost, late or not seen
    Warn,
    /// Starts, stops, changes of state
    #[default]
    Info,
    /// Each snapshot
    Debug,
    /// Everything
    Trace,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

/// What a line of the agent's log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A sentence, then key=value
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Lines of a command go to the person who typed it. Does nothing where a log was started before.
pub(crate) fn for_a_person(colours: bool) {
    start(LevelFilter::INFO, stderr(Shape::Person, colours));
}

/// Lines of the agent go to a log, and so does what a panic says.
pub(crate) fn for_the_agent(level: Level, format: LogFormat, colours: bool) {
    let shape = match format {
        LogFormat::Text => Shape::Log,
        LogFormat::Json => Shape::Json,
    };
    start(level.into(), stderr(shape, colours));
    let paced = Mutex::new(pace::Paced::default());
    std::panic::set_hook(Box::new(move |panic| report(panic, &paced)));
}

fn stderr(shape: Shape, colours: bool) -> LogLine {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_terminal = io::stderr().is_terminal();
    LogLine {
        shape,
        in_journal: !is_terminal && journald::has(io::stderr()),
        colour: colours && is_terminal && !forbidden,
    }
}

/// The first start of a process counts.
fn start(level: LevelFilter, line: LogLine) {
    drop(tracing::subscriber::set_global_default(subscriber(level, line, io::stderr)));
}

fn subscriber<W>(level: LevelFilter, line: LogLine, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // The hooks' own log has a level of its own, by which the kernel writes it.
    let levels =
        Targets::new().with_default(level).with_target(hooks::LOG_TARGET, LevelFilter::TRACE);
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        // It would complain with eprintln!, which panics where nobody reads stderr any more.
        .log_internal_errors(false)
        .event_format(line)
        .with_writer(writer)
        .finish()
        .with(levels)
}

/// An error with its causes, in one line.
pub(crate) fn in_full(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

/// One line for a panic. A client that can make every request panic does not fill the disk.
fn report(panic: &PanicHookInfo<'_>, paced: &Mutex<pace::Paced>) {
    let mut paced = paced.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(panics) = paced.count(crate::kernel::clock::now()) else {
        return;
    };
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let cause = panic.payload_as_str().unwrap_or("no text");
    // Captured where RUST_BACKTRACE asks for it.
    let trace = Backtrace::capture();
    let backtrace = (trace.status() == BacktraceStatus::Captured).then(|| display(&trace));
    tracing::error!(
        thread,
        place,
        cause,
        panics,
        backtrace,
        "a part of keepwatch panicked: please report it with this line"
    );
}

/// What is written while something runs.
#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;
    use std::sync::{Arc, PoisonError};

    #[derive(Clone, Default)]
    struct CapturedLog(Arc<Mutex<Vec<u8>>>);

    impl io::Write for CapturedLog {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The raw text that `line` makes of what `run` says at this level.
    pub(in crate::log) fn text_of(level: LevelFilter, line: LogLine, run: impl FnOnce()) -> String {
        let written = CapturedLog::default();
        let writer = written.clone();
        let subscriber = subscriber(level, line, move || writer.clone());
        tracing::subscriber::with_default(subscriber, run);
        let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8(bytes).unwrap()
    }

    /// The lines of a run as the agent's JSON log has them.
    pub(crate) fn logged(run: impl FnOnce()) -> Vec<serde_json::Value> {
        let json = LogLine { shape: Shape::Json, in_journal: false, colour: false };
        let text = text_of(LevelFilter::DEBUG, json, run);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{tests_support::logged, *};

    #[test]
    fn a_panic_is_one_line_and_a_thousand_are_few() {
        let paced = Mutex::new(pace::Paced::default());
        let lines = logged(|| {
            let hook = std::panic::take_hook();
            // Of this test alone: others may panic meanwhile.
            let of_this = std::thread::current().id();
            std::panic::set_hook(Box::new(move |panic| {
                if std::thread::current().id() == of_this {
                    report(panic, &paced);
                } else {
                    hook(panic);
                }
            }));
            for n in 0..1000 {
                drop(std::panic::catch_unwind(|| panic!("number {n}\nof \x1b[31mmany")));
            }
            drop(std::panic::take_hook());
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["level"], "error");
        assert_eq!(lines[0]["cause"], "number 0\\nof \\u{1b}[31mmany");
        assert!(lines[0]["place"].as_str().unwrap().contains("log/mod.rs"), "{lines:?}");
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot do it")]
        struct Outer(#[source] io::Error);
        assert_eq!(in_full(&Outer(io::Error::other("no room"))), "cannot do it: no room");
    }
}
