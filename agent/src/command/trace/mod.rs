//! `keepwatch trace`: what happens, one event a line, as it happens.

mod past;
pub(super) mod text;

use super::{
    Failure, Outcome, output,
    run::RING_BYTES,
    signals,
    socket_text::Style,
    source::Source,
    time_window::{TimeArgs, TimeWindow},
};
use crate::{
    agent::watch::{Audience, HookSight, Watch},
    config,
    kernel::{
        clock,
        hooks::{Hooks, Interest, Mechanism, Scope, Signal},
    },
    model::{
        judgement::verdict::Surroundings,
        table::{Bounds, Table, happening::News, sums::Totals},
    },
    serve::client,
    view::{
        event_filter::{EventFilter, EventPicker},
        event_row::{EventRow, NoticeRow, StreamLine},
        filter::Filter,
        value_enum::EventChoice,
    },
};
use clap::Args;
use past::PastDeaths;
use std::{
    io::{self, BufWriter, StdoutLock, Write as _},
    num::NonZeroU64,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use text::{TraceLayout, event_lines, notice_line};
use tracing::{info, warn};

#[derive(Args, Debug)]
#[command(after_help = "\
With an agent, keepwatch shows what the agent sees. Without one it
attaches the hooks itself, for as long as it runs (as root).

By default only changes and losses are shown: settings, verdicts, two or
more unanswered probes, and connections that died. A connection that was
closed in order has ended. So has one that this host reset. One that the
peer reset has died if data was in flight, if it had been quiet for 20 s,
or if it was older than a minute: short, busy connections are reset every
day (health checks, proxies), and nothing is lost. --event all shows all.

With --peer or --port a setting that was made before the socket connected
is shown once it has, with the time of the call.

--at, --since and --until choose past events; TIME is as in
`keepwatch why --help`. They mean --past-only if the time is over, else
--past. An agent remembers what it has seen itself, as far as its memory
goes. What it has forgotten, and what came before its start, is shown
from the history on disk as far as that has it: the deaths.

Examples:
  keepwatch trace                                 what changes or is lost
  keepwatch trace --process mongod --event all    all that it does
  keepwatch trace --event setting,changed         who sets what
  keepwatch trace --cause idle_drop --past        past events first
  keepwatch trace --event setting --past-only     who has set what
  keepwatch trace --at 10:41 --unit checkout      what happened then
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
    /// End after this number of events
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroU64>,
    /// Write each event in one line, however narrow the terminal is
    #[arg(short, long)]
    wide: bool,
    #[command(flatten)]
    hooks: config::HookArgs,
    #[command(flatten)]
    owners: config::OwnerArgs,
    #[command(flatten)]
    times: TimeArgs,
    #[command(flatten)]
    wanted: EventFilter,
}

pub(super) fn run(
    mut args: TraceArgs,
    socket: &config::SocketArgs,
    limits: &config::LimitArgs,
    colour: bool,
) -> Result<Outcome, Failure> {
    let window = args.times.given()?;
    if let Some(window) = &window {
        args.wanted.look_back(window.since_seconds(), window.until_seconds());
    }
    let style = Style { colour: output::in_colour(colour) };
    let size = output::size().filter(|_| !args.wide);
    let layout = TraceLayout::new(size, &args.wanted.filter, style);
    let left = args.limit.map(NonZeroU64::get);
    let writer = TraceWriter { out: output::stdout(), json: args.json, layout, left, n_written: 0 };
    let past_only = args.wanted.past_only;
    if output::is_terminal() && args.wanted.event.is_empty() && args.wanted.cause.is_empty() {
        info!("showing changes and losses: --event all shows every event");
    }
    let path = &socket.socket;
    if args.source == Source::Proc {
        return Err(Failure::Options(
            "trace shows events, and /proc has none: they need an agent or eBPF (--source agent or kernel); `keepwatch \
             sockets --source proc --watch` shows what changes from look to look"
                .to_owned(),
        ));
    }
    let source = match args.source {
        // Nobody else remembers.
        _ if past_only => Source::Agent,
        Source::Auto if args.hooks.hooks != Mechanism::Auto => Source::Kernel,
        source => source,
    };
    if source.agent(path)?.is_some() {
        let mut wanted = args.wanted;
        wanted.filter.measured_by = limits.of_this_call();
        let measured = wanted.filter.measured_by.as_ref().map(|_| limits.surroundings());
        if wanted.filter.measured_by.is_some() {
            warn!(
                "verdicts are measured against the idle limits of this call; changes are reported where they \
                 change by the agent's own, too"
            );
        }
        from_agent(path, &wanted, measured.as_ref(), window.as_ref(), writer)
    } else {
        from_kernel(args, limits.surroundings(), writer)
    }
}

fn from_agent(
    path: &Path,
    wanted: &EventFilter,
    measured: Option<&Surroundings>,
    window: Option<&TimeWindow>,
    mut writer: TraceWriter,
) -> Result<Outcome, Failure> {
    let status = client::status(path)?;
    if status.source.as_deref() == Some("proc") {
        warn!("the agent reads /proc, without eBPF: not seen are {}", status.not_seen.join("; "));
    }
    let mut past = PastDeaths::default();
    if wanted.past || wanted.past_only {
        say_what_is_shown(window, status.started_unix_seconds)?;
        past = PastDeaths::read(path, &status, wanted, measured)?;
    }
    #[expect(
        clippy::exit,
        reason = "each line is out when it is written: nothing is to be finished"
    )]
    signals::on_end(|| std::process::exit(0))?;
    let mut ended = Ok(());
    let mut n_signs = 0_u64;
    client::events(path, wanted, |line| {
        ended = match line {
            None => {
                n_signs += 1;
                match n_signs {
                    1 if !wanted.past_only => {
                        info!("tracing as the agent sees it (process {})", status.pid);
                        Ok(())
                    }
                    // The past has come.
                    2 => writer.past(past.rest()).map(|()| say_what_is_forgotten(&past)),
                    _ => Ok(()),
                }
            }
            Some(StreamLine::Event(row)) => {
                writer.past(past.until(&row)).and_then(|()| writer.line(&StreamLine::Event(row)))
            }
            Some(notice) => writer.line(&notice),
        };
        ended.is_ok() && !writer.is_done()
    })?;
    ended?;
    if wanted.past_only && writer.n_written == 0 {
        say_what_is_hidden(path, wanted)?;
    }
    Ok(Outcome::Fine)
}

fn say_what_is_forgotten(past: &PastDeaths) {
    match past.n_forgotten {
        0 => {}
        1 => info!(
            "1 of these deaths is out of the history on disk, which has no more of that connection"
        ),
        n => info!(
            "{n} of these deaths are out of the history on disk, which has no more of those connections"
        ),
    }
    for note in &past.notes {
        info!("{note}");
    }
}

/// After nothing was shown: whether that is all that is known.
fn say_what_is_hidden(path: &Path, wanted: &EventFilter) -> Result<(), Failure> {
    let mut n_hidden = 0_u64;
    if wanted.event.is_empty() && wanted.cause.is_empty() {
        let all = EventFilter { event: vec![EventChoice::All], ..wanted.clone() };
        client::events(path, &all, |line| {
            n_hidden += u64::from(matches!(line, Some(StreamLine::Event(_))));
            true
        })?;
    }
    match n_hidden {
        0 => info!("nothing of that is known"),
        1 => info!("1 everyday event of these connections is not shown: --event all"),
        n => info!("{n} everyday events of these connections are not shown: --event all"),
    }
    Ok(())
}

/// The time that is shown, its zone, and what is missing of it.
fn say_what_is_shown(window: Option<&TimeWindow>, started: f64) -> Result<(), Failure> {
    let all = TimeArgs::default().window()?;
    let since = window.unwrap_or(&all).time(started);
    let Some(window) = window else {
        info!("past events since the agent's start at {since}; times in {}", all.zone());
        return Ok(());
    };
    info!("{}", window.note("past events"));
    if started > window.since_seconds() {
        warn!(
            "the agent started at {since}: of the time before, only deaths are known, from the history on disk"
        );
    }
    Ok(())
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
            (Some(failure), signal) if signal.is_needed() => {
                warn!("blind to {}: {failure}", signal.blind_without());
            }
            (None, Signal::KeepaliveTimer) => timer = status.mechanism,
            (None, Signal::Setsockopt) => setsockopt = status.mechanism,
            _ => {}
        }
    }
    let around = Arc::new(around);
    let bounds = Bounds::new(2_000_000, 20_000);
    let table = Arc::new(Mutex::new(Table::new(Arc::clone(&around), bounds)));
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(Mutex::new(Ok(())));
    let screen = TraceScreen {
        writer,
        picker: EventPicker::new(args.wanted),
        around,
        stop: Arc::clone(&stop),
        ended: Arc::clone(&ended),
        is_live: false,
    };
    let resolver = args.owners.resolver()?;
    let sight = Box::new(HookSight::new(hooks, Vec::new())?);
    let mut watch = Watch::new(sight, table, screen, resolver, args.interval);
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
    let Interest { netns, ports_be, .. } = &mut interest;
    // With more values than there are places the hooks pass everything on.
    if filter.netns.len() <= netns.len() {
        netns.iter_mut().zip(&filter.netns).for_each(|(place, value)| *place = *value);
    }
    // The hooks know ports of either end. Of several conditions each must hold, so one will do for them.
    let peers = filter.peer.iter().map(|peer| peer.port).collect::<Option<Vec<u16>>>();
    let peers = peers.unwrap_or_default();
    let conditions = [&filter.port, &filter.remote_port, &filter.local_port, &peers];
    let fits = |ports: &&&Vec<u16>| !ports.is_empty() && ports.len() <= ports_be.len();
    if let Some(ports) = conditions.iter().find(fits) {
        ports_be.iter_mut().zip(*ports).for_each(|(place, port)| *place = port.to_be());
    }
    interest
}

/// The watcher's audience when there is no agent: stdout.
struct TraceScreen {
    writer: TraceWriter,
    picker: EventPicker,
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
        for happening in self.picker.pick(&news.happenings, &self.around) {
            let row = EventRow::new(&happening, clock::wall_time(happening.at), &self.around);
            self.writer.write(&StreamLine::Event(Box::new(row)))?;
        }
        if self.writer.is_done() {
            self.stop.store(true, Ordering::Relaxed);
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
    layout: TraceLayout,
    /// Events until it has written enough; none: it never has.
    left: Option<u64>,
    n_written: u64,
}

impl TraceWriter {
    /// One line, seen at once.
    fn line(&mut self, line: &StreamLine) -> Result<(), Failure> {
        self.write(line)?;
        Ok(self.out.flush()?)
    }

    /// Events of the past.
    fn past(&mut self, rows: Vec<EventRow>) -> Result<(), Failure> {
        rows.into_iter().try_for_each(|row| self.line(&StreamLine::Event(Box::new(row))))
    }

    /// Whether it has written as many events as were asked for.
    const fn is_done(&self) -> bool {
        matches!(self.left, Some(0))
    }

    fn write(&mut self, line: &StreamLine) -> Result<(), Failure> {
        if let (Some(left), StreamLine::Event(_)) = (&mut self.left, line) {
            if *left == 0 {
                return Ok(());
            }
            *left -= 1;
        }
        self.n_written += u64::from(matches!(line, StreamLine::Event(_)));
        if self.json {
            serde_json::to_writer(&mut self.out, line).map_err(io::Error::from)?;
            self.out.write_all(b"\n")?;
        } else {
            let text = match line {
                StreamLine::Event(row) => event_lines(row, self.layout),
                StreamLine::Notice(row) => notice_line(row, self.layout),
            };
            writeln!(self.out, "{text}")?;
        }
        Ok(())
    }
}
