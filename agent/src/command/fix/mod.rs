//! `keepwatch fix`: turns keepalive on for live connections of other programs. A plan by default; `--apply`, `--undo`,
//! `--watch`.

mod counts;
mod report;
mod watch;

use super::{
    Failure, Outcome, output,
    socket_text::Style,
    source::{ConnectionReader, Source, peer_lives},
};
use crate::{
    config::{self, CarriedOptions},
    drill::notes::NotedDrills,
    fix::{
        apply::{Candidate, FixOutcome, SocketFate, apply, holders, place},
        journal::{Change, Journal, SettledSocket, SocketPlace},
        known::{KnownPaths, LearnedPaths},
        plan::{MostValues, PlannedOptions, left_at_sight, plan},
        taken_back::TakenBack,
        undo::undo,
    },
    kernel::{
        borrowed_socket::{OpenProcesses, Refusal},
        clock, host,
    },
    model::{observed::socket::Direction, table::agent_health::HostView},
    view::{filter::Filter, neighbours::Neighbours, row::Row},
};
use clap::Args;
use report::FixReport;
use std::{
    collections::{HashMap, HashSet},
    io::Write as _,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};
use tracing::warn;

#[derive(Args, Debug)]
#[command(after_help = "\
Without --apply nothing is changed: the plan is printed. Outbound
connections are meant, unless --direction says otherwise. The values are
those that `keepwatch why` proposes: the first probe at half the idle
limit of the path, or sooner where the agent has learned that it forgets
sooner, others to the peer or its host died or hang after less quiet, or
a user timeout asks for that. A connection whose probes come later than
that is meant, too, if the limit that protects it is only assumed. What a
program has set is never raised, and a user timeout is never set.

An idle time cannot be unset: --undo gives back numbers, not \"as the
namespace says\". A program whose peer is gone gets ETIMEDOUT where it
would have waited for ever.

It needs CAP_SYS_PTRACE to reach sockets of others (pidfd_getfd), and an
agent or root to find them. No program is restarted, and none is stopped.

Examples:
  keepwatch fix --process checkout            the plan
  keepwatch fix --process checkout --apply
  keepwatch fix --undo                        the last run
  keepwatch fix --apply --watch --peer 10.0.0.0/8")]
pub(super) struct FixArgs {
    /// Set what the plan says
    #[arg(long)]
    apply: bool,
    /// Take back what a run set, where it still is so [the last run if no number is given]
    #[arg(long, value_name = "RUN", num_args = 0..=1, default_missing_value = "last", conflicts_with_all = ["apply", "watch"])]
    undo: Option<UndoRun>,
    /// Look again this often, until ended [10s if no time is given]
    #[arg(long, value_name = "TIME", value_parser = config::duration, num_args = 0..=1, default_missing_value = "10s", requires = "apply")]
    watch: Option<Duration>,
    /// With --watch: leave a connection to its program for this time first
    #[arg(long, value_name = "TIME", value_parser = config::duration, default_value = "5s")]
    grace: Duration,
    /// The first probe after this time of quiet, or earlier where the path or the program needs it
    #[arg(long, value_name = "TIME", value_parser = config::whole_seconds)]
    idle: Option<u32>,
    /// Probes at most this far apart
    #[arg(long, value_name = "TIME", value_parser = config::whole_seconds)]
    probe_interval: Option<u32>,
    /// Unanswered probes that end the connection, where the program has set no number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=127))]
    probes: Option<u32>,
    /// With --watch: keep counts in this file, as node_exporter's textfile collector reads it
    #[arg(long, value_name = "FILE.prom", requires = "watch")]
    textfile: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Find connections through the agent, in the kernel or in /proc
    #[arg(long, value_enum, default_value = "auto")]
    source: Source,
    #[command(flatten)]
    state: config::StateArgs,
    #[command(flatten)]
    owners: config::OwnerArgs,
    #[command(flatten)]
    filter: Filter,
    /// What a printed command needs, too.
    #[arg(skip)]
    carried: CarriedOptions,
}

/// The run that is taken back.
#[derive(Clone, Copy, Debug)]
enum UndoRun {
    /// The last one of which something is left.
    Last,
    /// This one.
    Number(u32),
}

impl FromStr for UndoRun {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "last" => Ok(Self::Last),
            number => number.parse().map(Self::Number).map_err(|_| {
                format!(
                    "expected the number of a run, as --apply printed it, or `last`, got {number:?}"
                )
            }),
        }
    }
}

/// Why nothing could be fixed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No socket of the plan may be reached.
    #[error("reach sockets of other programs: {0}; nothing was changed")]
    NotPermitted(String),
    /// Process ids mean nothing here.
    #[error(
        "reach processes by their ids: this pid namespace is not the host's; nothing was changed. \
         Run it in the host's pid namespace (Kubernetes: hostPID, Docker: --pid=host)"
    )]
    PidNamespace,
    /// The kernel has no `pidfd_getfd`.
    #[error(
        "copy a descriptor of another program: this kernel has no pidfd_getfd (Linux 5.6); nothing was changed"
    )]
    NotSupported,
    /// There is nothing to undo.
    #[error("{0}")]
    NoRun(String),
}

impl Error {
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::NoRun(_) => 2,
            _ => 3,
        }
    }
}

impl FixArgs {
    const fn most(&self) -> MostValues {
        MostValues { idle: self.idle, interval: self.probe_interval, count: self.probes }
    }

    /// Passes on every connection that is meant, and says what is known of their paths, as `why` knows it; nothing was learned
    /// where the question brings its own limits.
    fn each_row_and_paths(
        &self,
        reader: &mut ConnectionReader,
        each: impl FnMut(Row),
    ) -> Result<KnownPaths, Failure> {
        let mut lives = peer_lives::of_each_row(reader, &self.filter, each)?;
        let drills = NotedDrills::read(&self.state.state_dir).unwrap_or_else(|error| {
            warn!(%error, "whether a drill cut a path is not known");
            NotedDrills::default()
        });
        drills.mark(&mut lives, clock::unix_seconds());
        let learned = match self.filter.measured_by {
            Some(_) => LearnedPaths::default(),
            None => reader.learned_paths(&self.state.state_dir)?,
        };
        let now = clock::unix_seconds();
        let neighbours = Neighbours::of(std::iter::empty(), lives.iter(), &learned.timers, now);
        Ok(KnownPaths { learned, neighbours })
    }

    /// What earlier runs have taken back, as far as this process may read it.
    fn taken_back(&self) -> TakenBack {
        TakenBack::read(&self.state.state_dir).unwrap_or_else(|error| {
            warn!(%error, "what earlier runs have taken back is not known");
            TakenBack::default()
        })
    }
}

pub(super) fn run(
    mut args: FixArgs,
    socket: &config::SocketArgs,
    limits: &config::LimitArgs,
    colour: bool,
) -> Result<Outcome, Failure> {
    args.filter.measured_by = limits.of_this_call();
    args.carried = CarriedOptions::default().with_socket(socket).with_state(&args.state);
    args.filter.direction = args.filter.direction.or(Some(Direction::Outbound));
    let mut reader = ConnectionReader::new(args.source, &socket.socket, limits, &args.owners)?;
    // In /proc the ids are those of this namespace.
    if !reader.is_proc() && host::view() == HostView::OtherPidNamespace {
        return Err(Error::PidNamespace.into());
    }
    let style = Style { colour: output::in_colour(colour) };
    if let Some(run) = args.undo {
        return take_back(&args, &mut reader, run, style);
    }
    if let Some(pause) = args.watch {
        return watch::watch(&args, &mut reader, pause, style);
    }
    reader.say_which();
    let mut report = FixReport::new(&args, style);
    let candidates = planned(&args, &mut reader, &mut report)?;
    if args.apply {
        let mut journal = Journal::open(&args.state.state_dir)?;
        set(&candidates, &mut journal, &mut report)?;
        report.run = Some(journal.run());
    } else {
        report.add_plan(&candidates);
    }
    say(&report)?;
    report.is_permitted()?;
    Ok(if report.needs_attention() { Outcome::Finding } else { Outcome::Fine })
}

fn say(report: &FixReport) -> Result<(), Failure> {
    let mut out = output::stdout();
    report.write(&mut out)?;
    Ok(out.flush()?)
}

/// What the plan sets; what it leaves alone is counted.
fn planned(
    args: &FixArgs,
    reader: &mut ConnectionReader,
    report: &mut FixReport,
) -> Result<Vec<Candidate>, Failure> {
    let taken_back = args.taken_back();
    let meant = |row| Some(taken_back.of_its_program(row));
    let rows = planned_rows(args, reader, report, meant)?;
    if rows.is_empty()
        && report.left.is_empty()
        && let Some(hidden) = reader.hidden()
    {
        return Err(Failure::Hidden(hidden));
    }
    reader.say_unseen();
    Ok(rows.into_iter().map(|(row, planned)| Candidate::new(&row, planned)).collect())
}

/// The connections that get values, and these; what is left alone is counted. `meant`: a row as its program has set it, or nothing
/// if it is not to be looked at.
fn planned_rows(
    args: &FixArgs,
    reader: &mut ConnectionReader,
    report: &mut FixReport,
    mut meant: impl FnMut(Row) -> Option<Row>,
) -> Result<Vec<(Box<Row>, PlannedOptions)>, Failure> {
    let (most, hz) = (args.most(), clock::hz());
    let mut undecided = Vec::new();
    let paths = args.each_row_and_paths(reader, |row| {
        let Some(row) = meant(row) else { return };
        match left_at_sight(&row) {
            Some(why) => report.leave(&row, why),
            // A list that grows moves what it holds.
            None => undecided.push(Box::new(row)),
        }
    })?;
    let mut rows = Vec::with_capacity(undecided.len());
    for row in undecided {
        match plan(&row, &paths, most, hz) {
            Ok(planned) => rows.push((row, planned)),
            Err(why) => report.leave(&row, why),
        }
    }
    Ok(rows)
}

fn set(
    candidates: &[Candidate],
    journal: &mut Journal,
    report: &mut FixReport,
) -> Result<(), Failure> {
    let at = clock::wall_time(clock::now()).at;
    report.expect(candidates.len());
    apply(candidates, journal, &at, |candidate, fate| report.add_set(candidate, fate))?;
    Ok(())
}

/// Takes back what a run set.
fn take_back(
    args: &FixArgs,
    reader: &mut ConnectionReader,
    run: UndoRun,
    style: Style,
) -> Result<Outcome, Failure> {
    let mut journal = Journal::open(&args.state.state_dir)?;
    let number = match run {
        UndoRun::Last => journal.last_run(),
        UndoRun::Number(run) => Some(run),
    };
    let run = match number {
        Some(run) if journal.knows(run) => run,
        Some(run) => {
            return Err(Error::NoRun(format!("undo run {run}: the journal has no such run")).into());
        }
        None => {
            let text = "undo the last run: nothing is left to be undone since this host was booted";
            return Err(Error::NoRun(text.to_owned()).into());
        }
    };
    let changes: Vec<Change> = journal.left(run).into_iter().cloned().collect();
    let mut fates = undo_all(&changes, reader)?;
    // What is said to be gone is not looked for any more: one look may have met a process on its way out.
    let is_gone = |fate: &SocketFate| *fate == (FixOutcome::Refused, Some(Refusal::Gone));
    if fates.iter().any(is_gone) {
        let again = undo_all(&changes, reader)?;
        for (fate, again) in fates.iter_mut().zip(again).filter(|(fate, _)| is_gone(fate)) {
            *fate = again;
        }
    }
    let mut report = FixReport::new(args, style);
    let mut settled = Vec::new();
    for (change, fate) in changes.iter().zip(fates) {
        let is_over = !matches!(fate, (FixOutcome::Refused, why) if why != Some(Refusal::Gone));
        if is_over {
            let is_as_before = fate.0 == FixOutcome::Undone;
            settled.push(SettledSocket { id: change.id.clone(), is_as_before });
        }
        report.add_undo(change, fate);
    }
    if !settled.is_empty() {
        journal.settle(run, settled)?;
    }
    report.run = Some(run);
    say(&report)?;
    report.is_permitted()?;
    Ok(if report.has_refusals() { Outcome::Finding } else { Outcome::Fine })
}

/// Gives each socket that is found what it had before.
fn undo_all(changes: &[Change], reader: &mut ConnectionReader) -> Result<Vec<SocketFate>, Failure> {
    let everything = Filter { all: true, ..Filter::default() };
    let wanted: HashSet<SocketPlace> = changes.iter().map(Change::place).collect();
    let mut living: HashMap<SocketPlace, Vec<(u32, u32)>> = HashMap::new();
    let is_wanted = |place| wanted.contains(&place);
    reader.each_row_at(&everything, is_wanted, |row| {
        living.entry(place(&row.connection)).or_default().extend(holders(&row));
    })?;
    let mut processes = OpenProcesses::default();
    let fate = |change: &Change| match living.get(&change.place()) {
        Some(holders) => undo(&mut processes, change, holders),
        None => (FixOutcome::Refused, Some(Refusal::Gone)),
    };
    Ok(changes.iter().map(fate).collect())
}
