//! `keepwatch trace`: what happens, one event a line, as it happens.

use super::{
    Failure, Outcome, output, run::RING_BYTES, signals, socket_text::Style, source::Source, table,
    timestamp,
};
use crate::{
    agent::watch::{Audience, Watch},
    config,
    kernel::{
        clock,
        hooks::{Hooks, Interest, Mechanism, Scope, Signal},
    },
    model::{
        judgement::verdict::Surroundings,
        observed::{event::Fire, setsockopt::When},
        table::{
            Bounds, Table,
            happening::{EventName, News},
            sums::Totals,
        },
    },
    serve::client,
    view::{
        connection::arrow,
        event_row::{EventRow, NoticeRow, StreamLine},
        filter::{EventFilter, Filter},
    },
};
use clap::Args;
use std::{
    io::{self, BufWriter, StdoutLock, Write as _},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tracing::{info, warn};

/// To the millisecond.
const TIME_OF_DAY: &str = "%H:%M:%S.%3f";

#[derive(Args, Debug)]
#[command(after_help = "\
With an agent, keepwatch shows what the agent sees. Without one it
attaches the hooks itself, for as long as it runs (as root).

Examples:
  keepwatch trace --process mongod          all that its connections do
  keepwatch trace --event setting,changed   who sets what
  keepwatch trace --past --port 5432        past events first
  keepwatch trace --event died --json | jq -c '[.cause, .remote]'")]
pub(super) struct TraceArgs {
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Read connections from the agent or from the kernel
    #[arg(long, value_enum, default_value = "auto")]
    source: Source,
    /// Without an agent: the time between two snapshots; they find changes that no event reports
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = config::duration)]
    interval: Duration,
    #[command(flatten)]
    hooks: config::HookArgs,
    #[command(flatten)]
    owners: config::OwnerArgs,
    #[command(flatten)]
    wanted: EventFilter,
}

pub(super) fn run(
    args: TraceArgs,
    socket: &config::SocketArgs,
    limits: &config::LimitArgs,
    colour: bool,
) -> Result<Outcome, Failure> {
    let style = Style { colour: output::in_colour(colour) };
    let writer = TraceWriter { out: output::stdout(), json: args.json, style };
    let path = &socket.socket;
    let source = match args.source {
        Source::Auto if args.hooks.hooks != Mechanism::Auto => Source::Kernel,
        source => source,
    };
    if source.agent(path)?.is_some() {
        let mut wanted = args.wanted;
        wanted.filter.measured_by = limits.of_this_call();
        if wanted.filter.measured_by.is_some() {
            warn!(
                "verdicts are measured against the idle limits of this call; changes are reported where they \
                 change by the agent's own, too"
            );
        }
        from_agent(path, &wanted, writer)
    } else {
        from_kernel(args, limits.surroundings(), writer)
    }
}

fn from_agent(
    path: &Path,
    wanted: &EventFilter,
    mut writer: TraceWriter,
) -> Result<Outcome, Failure> {
    let hooks = client::status(path)?.hooks;
    let carried = |signal: &str| {
        let hook = hooks.iter().find(|hook| hook.signal == signal && hook.attached);
        hook.map_or("nothing", |hook| hook.mechanism.as_str()).to_owned()
    };
    #[expect(
        clippy::exit,
        reason = "each line is out when it is written: nothing is to be finished"
    )]
    signals::on_end(|| std::process::exit(0))?;
    let mut ended = Ok(());
    client::events(path, wanted, |line| {
        ended = match line {
            None => {
                say_ready(&carried("keepalive_timer"), &carried("setsockopt"));
                Ok(())
            }
            Some(line) => writer.line(&line),
        };
        ended.is_ok()
    })?;
    ended?;
    Ok(Outcome::Fine)
}

fn say_ready(timer: &str, setsockopt: &str) {
    info!("tracing: keepalive_timer by {timer}, setsockopt by {setsockopt}");
}

fn from_kernel(
    args: TraceArgs,
    around: Surroundings,
    writer: TraceWriter,
) -> Result<Outcome, Failure> {
    if args.wanted.past {
        warn!("only an agent remembers the past: start one with `keepwatch run`");
    }
    let scope = Scope::Events {
        ring_bytes: RING_BYTES,
        mechanism: args.hooks.hooks,
        interest: interest(&args.wanted.filter),
        log: args.hooks.log_hooks,
    };
    let hooks = Hooks::load(scope)?.require(Signal::Snapshot)?;
    let (mut timer, mut setsockopt) = ("nothing", "nothing");
    for status in hooks.status() {
        match (&status.failure, status.signal) {
            (Some(failure), signal) => {
                warn!("blind to {}: {failure}", signal.blind_without());
            }
            (None, Signal::KeepaliveTimer) => timer = status.mechanism,
            (None, Signal::Setsockopt) => setsockopt = status.mechanism,
            (None, _) => {}
        }
    }
    let around = Arc::new(around);
    let bounds = Bounds::new(2_000_000, 20_000);
    let table = Arc::new(Mutex::new(Table::new(Arc::clone(&around), bounds)));
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(Mutex::new(Ok(())));
    let screen = TraceScreen {
        writer,
        wanted: args.wanted,
        around,
        stop: Arc::clone(&stop),
        ended: Arc::clone(&ended),
        is_live: false,
    };
    let resolver = args.owners.resolver()?;
    let mut watch = Watch::new(hooks, table, screen, resolver, args.interval)
        .map_err(crate::agent::Error::from)?;
    watch.walk().map_err(crate::agent::Error::from)?;
    watch.audience().is_live = true;
    // A reader of the line "ready" may send a signal at once.
    let stopped = Arc::clone(&stop);
    signals::on_end(move || stopped.store(true, Ordering::Relaxed))?;
    say_ready(timer, setsockopt);
    watch.run(&stop).map_err(crate::agent::Error::from)?;
    std::mem::replace(
        &mut *ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
        Ok(()),
    )?;
    Ok(Outcome::Fine)
}

/// What the hooks can decide of a filter. The rest is decided here.
fn interest(filter: &Filter) -> Interest {
    let mut interest = Interest::default();
    if let (Some(netns), [first, ..]) = (filter.netns, &mut interest.netns) {
        *first = netns;
    }
    if let (Some(port), [first, ..]) = (filter.port, &mut interest.ports_be) {
        *first = port.to_be();
    }
    interest
}

/// The watcher's audience when there is no agent: stdout.
struct TraceScreen {
    writer: TraceWriter,
    wanted: EventFilter,
    around: Arc<Surroundings>,
    stop: Arc<AtomicBool>,
    ended: Arc<Mutex<Result<(), Failure>>>,
    /// What the first walk finds is how things are, not news.
    is_live: bool,
}

impl TraceScreen {
    fn show(&mut self, news: &News) -> Result<(), Failure> {
        for notice in &news.notices {
            let now = clock::now();
            let row = NoticeRow::new(*notice, now, clock::wall_time(now));
            self.writer.write(&StreamLine::Notice(row))?;
        }
        for happening in news.happenings.iter().filter(|one| self.wanted.admits(one, &self.around))
        {
            let row = EventRow::new(happening, clock::wall_time(happening.at), &self.around);
            self.writer.write(&StreamLine::Event(Box::new(row)))?;
        }
        Ok(self.writer.out.flush()?)
    }
}

impl Audience for TraceScreen {
    fn news(&mut self, news: News) {
        if !self.is_live {
            return;
        }
        if let Err(failure) = self.show(&news) {
            self.stop.store(true, Ordering::Relaxed);
            *self.ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Err(failure);
        }
    }

    fn totals(&mut self, _: Totals) {}
}

/// Writes events to stdout, as text or JSON.
struct TraceWriter {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    style: Style,
}

impl TraceWriter {
    /// One line, seen at once.
    fn line(&mut self, line: &StreamLine) -> Result<(), Failure> {
        self.write(line)?;
        Ok(self.out.flush()?)
    }

    fn write(&mut self, line: &StreamLine) -> Result<(), Failure> {
        if self.json {
            serde_json::to_writer(&mut self.out, line).map_err(io::Error::from)?;
            self.out.write_all(b"\n")?;
        } else {
            let text = match line {
                StreamLine::Event(row) => happening(row, self.style),
                StreamLine::Notice(NoticeRow { at, event, meaning, .. }) => {
                    format!(
                        "{}  {}",
                        timestamp::local(at, TIME_OF_DAY),
                        self.style.paint(&format!("{}: {meaning}", event.as_str()), "1;33")
                    )
                }
            };
            writeln!(self.out, "{text}")?;
        }
        Ok(())
    }
}

/// Time, who, which connection, what, and what it means.
fn happening(row: &EventRow, style: Style) -> String {
    let owner = row
        .owner
        .as_ref()
        .map_or_else(|| "-".to_owned(), |owner| format!("{}[{}]", owner.process, owner.pid));
    let socket = &row.connection;
    let connection = match row.details.when {
        Some(When::Listener) => format!("{} (listens)", socket.local),
        Some(When::BeforeConnect) => "(not connected yet)".to_owned(),
        _ => {
            let arrow = socket.direction.map_or("-", arrow);
            format!("{} {arrow} {}", socket.local, socket.remote)
        }
    };
    let colour = match tone(row) {
        Tone::Bad => "1;31",
        Tone::Notable => "33",
        Tone::Good => "32",
        Tone::Plain => "0",
    };
    // At least so wide: what is longer is not cut.
    let wide = |text: &str, columns: usize| table::fitted(text, columns.max(table::width(text)));
    format!(
        "{}  {}  {}  {}  {}",
        timestamp::local(&row.at, TIME_OF_DAY),
        wide(&owner, 20),
        wide(&connection, 40),
        style.paint(&table::fitted(row.event.as_str(), 14), colour),
        row.meaning
    )
}

/// How bad an event is for the person who has to act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Bad,
    Notable,
    Good,
    Plain,
}

pub(super) fn tone(row: &EventRow) -> Tone {
    match row.event {
        EventName::Died
            if !row
                .details
                .cause
                .is_some_and(crate::model::judgement::death::Cause::is_orderly) =>
        {
            Tone::Bad
        }
        EventName::Setting if row.details.result.as_deref() != Some("ok") => Tone::Bad,
        EventName::Changed | EventName::ProbeSent => Tone::Notable,
        EventName::TimerFired if row.details.outcome == Some(Fire::DataInFlight) => Tone::Notable,
        EventName::ProbeAnswered | EventName::Opened => Tone::Good,
        _ => Tone::Plain,
    }
}
