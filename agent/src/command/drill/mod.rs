//! `keepwatch drill`: the path forgets chosen live connections, and it is seen when their programs notice. A plan by default.

mod report;
mod watch;

use super::{
    Failure, Outcome, output, signals,
    socket_text::Style,
    source::{ConnectionReader, Source},
};
use crate::{
    config,
    drill::{
        choice::{LeftOut, MOST, left_out, names_connections},
        notes::NotedDrill,
        own_session::OwnSession,
        path_cut::{self, CutNamespace, PathCut},
        promise::Promise,
        rules::CutEnds,
    },
    kernel::host,
    model::{
        observed::socket::Direction,
        table::agent_health::HostView,
        text::{count::counted, duration::duration},
    },
    view::{filter::Filter, row::Row},
};
use clap::Args;
use report::DrillReport;
use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tracing::{info, warn};
use watch::DrillWatch;

#[derive(Args, Debug)]
#[command(after_help = "\
Without --yes nothing is changed: the plan says which connections would
be cut and what is promised of each. With it every packet of these
connections is dropped, both ways, by an nftables table in their network
namespace. To the program that is a middlebox that has forgotten them.
Nothing is sent, and a new connection works.

The connections must be named by a filter, and are 10 at most. Outbound
ones are meant, unless --direction says otherwise. Sessions of ssh, and
whatever your own session goes over, are left out.

The rules end with keepwatch, however it ends: at the end of the drill,
on SIGINT, SIGTERM and SIGHUP, by kill -9 (Linux 5.12; before, they are
without effect when the time is over). A connection whose program has not
noticed by then goes on as if nothing had been.

It needs nft, CAP_NET_ADMIN and CAP_SYS_ADMIN: root. Exit code 1: a
program noticed later than was promised, or not at all although its time
was over. Of a drill that ends before the time is over nothing follows.
The drill is noted down in the state folder: the agent learns nothing
from what it ends, and `keepwatch why` says what it was.

Examples:
  keepwatch drill --process checkout            the plan
  keepwatch drill --process checkout --count 2 --yes
  keepwatch drill --id sk:1f --for 5m --yes
  keepwatch drill --undo                        what a kill left behind")]
pub(super) struct DrillArgs {
    /// Cut the path of the connections of the plan
    #[arg(long)]
    yes: bool,
    /// Of the connections that are named, cut this number: those that are to notice first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=10))]
    count: Option<u8>,
    /// Let packets pass again after this time, 15m at most [default: a little more than the longest promise, at most 15m]
    #[arg(long = "for", value_name = "TIME", value_parser = config::duration)]
    lasts: Option<Duration>,
    /// Remove what earlier drills have left behind
    #[arg(long, conflicts_with_all = ["yes", "count", "lasts"])]
    undo: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Read connections from the agent, which knows causes, or from the kernel
    #[arg(long, value_enum, default_value = "auto")]
    source: Source,
    #[command(flatten)]
    owners: config::OwnerArgs,
    #[command(flatten)]
    state: config::StateArgs,
    #[command(flatten)]
    filter: Filter,
}

/// The longest drill.
const LONGEST: Duration = Duration::from_mins(15);
/// A drill is at least this long if `--for` says nothing: promises of nothing have to be tried, too.
const SHORTEST: Duration = Duration::from_mins(1);
/// What is left behind on an old kernel has no effect after this time more.
const RESERVE_SECONDS: u64 = 30;

/// Why nothing was cut, or the drill is worth nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No filter.
    #[error(
        "choose connections: name them by a filter (--process, --pid, --id, --peer, --port, --unit, --pod ...); a drill is never of \
         all connections, nor of whatever is in a state"
    )]
    Everything,
    /// Too many.
    #[error("cut {0} connections: a drill has {MOST} at most; name fewer, or give --count")]
    TooMany(usize),
    /// None.
    #[error("choose connections: none is left to be cut{0}")]
    Nothing(String),
    /// Too long.
    #[error("cut paths for {}: a drill lasts between 1 s and {}", duration(.0.as_secs()), duration(LONGEST.as_secs()))]
    Length(Duration),
    /// Process ids mean nothing here.
    #[error(
        "know which connection is your own session: this pid namespace is not the host's; nothing was changed. \
         Run it in the host's pid namespace (Kubernetes: hostPID, Docker: --pid=host)"
    )]
    PidNamespace,
    /// The path is not cut, or not whole again.
    #[error(transparent)]
    Cut(#[from] path_cut::Error),
}

impl Error {
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Everything | Self::TooMany(_) | Self::Nothing(_) | Self::Length(_) => 2,
            Self::PidNamespace => 3,
            Self::Cut(error) => error.exit_code(),
        }
    }
}

/// The connections of a drill, first those that are to notice first, and those that are left out.
struct DrillPlan {
    chosen: Vec<(Row, Promise)>,
    left: Vec<(Row, LeftOut)>,
}

pub(super) fn run(
    mut args: DrillArgs,
    socket: &config::SocketArgs,
    limits: &config::LimitArgs,
    colour: bool,
) -> Result<Outcome, Failure> {
    if args.undo {
        return undo();
    }
    if !names_connections(&args.filter) {
        return Err(Error::Everything.into());
    }
    if let Some(lasts) = args.lasts.filter(|it| it.as_secs() < 1 || *it > LONGEST) {
        return Err(Error::Length(lasts).into());
    }
    args.filter.measured_by = limits.of_this_call();
    args.filter.direction = args.filter.direction.or(Some(Direction::Outbound));
    if host::view() == HostView::OtherPidNamespace {
        return Err(Error::PidNamespace.into());
    }
    let mut reader = ConnectionReader::new(args.source, &socket.socket, limits, &args.owners)?;
    reader.say_which();
    let plan = DrillPlan::new(&args, &mut reader)?;
    plan.warn_if_too_short(args.lasts.unwrap_or_else(|| plan.length()));
    let style = Style { colour: output::in_colour(colour) };
    let mut report = DrillReport::new(args.json, style);
    if !args.yes {
        report.add_plan(&plan);
        say(&report)?;
        return Ok(Outcome::Fine);
    }
    if plan.chosen.is_empty() {
        return Err(Error::Nothing(report::left_in_words(&plan.left)).into());
    }
    drill(&args, &plan, reader, &mut report)?;
    say(&report)?;
    Ok(if report.is_as_hoped() { Outcome::Fine } else { Outcome::Finding })
}

fn say(report: &DrillReport) -> Result<(), Failure> {
    let mut out = output::stdout();
    report.write(&mut out)?;
    Ok(out.flush()?)
}

fn undo() -> Result<Outcome, Failure> {
    let n_removed = path_cut::undo().map_err(Error::from)?;
    let mut out = output::stdout();
    match n_removed {
        0 => writeln!(out, "no drill has left anything behind")?,
        1 => writeln!(out, "1 table removed")?,
        n => writeln!(out, "{n} tables removed")?,
    }
    out.flush()?;
    Ok(Outcome::Fine)
}

impl DrillPlan {
    fn new(args: &DrillArgs, reader: &mut ConnectionReader) -> Result<Self, Failure> {
        let session = OwnSession::of_this_process();
        let mut plan = Self { chosen: Vec::new(), left: Vec::new() };
        reader.each_row(&args.filter, |row| {
            if let Some(why) = left_out(&row, &session) {
                plan.left.push((row, why));
            } else {
                let promise = Promise::of(&row.connection);
                plan.chosen.push((row, promise));
            }
        })?;
        let order = |(row, promise): &(Row, Promise)| {
            (promise.seconds.unwrap_or(u64::MAX), row.connection.local, row.connection.remote)
        };
        plan.chosen.sort_by_key(order);
        if let Some(count) = args.count {
            let most = usize::from(count).min(plan.chosen.len());
            let more = plan.chosen.split_off(most);
            plan.left.extend(more.into_iter().map(|(row, _)| (row, LeftOut::NotCounted)));
        } else if plan.chosen.len() > MOST {
            return Err(Error::TooMany(plan.chosen.len()).into());
        }
        Ok(plan)
    }

    /// The times after which promises are broken.
    fn due(&self) -> impl Iterator<Item = Duration> {
        let seconds = self.chosen.iter().filter_map(|(_, it)| it.broken_after_seconds());
        seconds.map(|seconds| Duration::from_secs(seconds + 1))
    }

    /// How long the drill is, if nobody says: until the last promise is over.
    fn length(&self) -> Duration {
        self.due().max().unwrap_or_default().clamp(SHORTEST, LONGEST)
    }

    /// Says before anything is cut that it will not show what it is for.
    fn warn_if_too_short(&self, lasts: Duration) {
        let Some(longest) = self.due().max().filter(|it| *it > lasts) else {
            return;
        };
        let n = self.due().filter(|due| *due > lasts).count();
        let way_out = if longest > LONGEST {
            "no drill is that long".to_owned()
        } else {
            format!("--for {}s waits for all", longest.as_secs())
        };
        warn!(
            "a drill of {} ends before what is promised to {} is due; {way_out}",
            duration(lasts.as_secs()),
            counted(n, "connection")
        );
    }

    /// The ends of its connections, by network namespace, with processes that lead there.
    fn by_namespace(&self) -> BTreeMap<u32, (Vec<CutEnds>, Vec<u32>)> {
        let mut all: BTreeMap<u32, (Vec<CutEnds>, Vec<u32>)> = BTreeMap::new();
        for (row, _) in &self.chosen {
            let connection = &row.connection;
            let (ends, holders) = all.entry(connection.netns).or_default();
            ends.push((connection.local, connection.remote));
            holders.extend(row.owners.iter().map(|owner| owner.pid));
        }
        all
    }
}

/// Notes down what is about to be cut: the agent and `why` read it.
fn note(
    folder: &Path,
    places: &[(CutNamespace, Vec<CutEnds>)],
    lasts: Duration,
) -> Option<NotedDrill> {
    let all = places.iter().map(|(namespace, ends)| (namespace.netns(), &ends[..]));
    let noted = NotedDrill::begin(folder, all, lasts);
    let said = |error| {
        warn!(
            %error,
            "the drill is not noted down in {}: to the agent and to `keepwatch why` its deaths are those of a path",
            folder.display()
        );
    };
    noted.map_err(said).ok()
}

/// Cuts the paths, looks, and lets packets pass again.
fn drill(
    args: &DrillArgs,
    plan: &DrillPlan,
    reader: ConnectionReader,
    report: &mut DrillReport,
) -> Result<(), Failure> {
    let lasts = args.lasts.unwrap_or_else(|| plan.length());
    let is_ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&is_ended);
    signals::on_end(move || end.store(true, Ordering::Relaxed))?;
    let mut watch = DrillWatch::begin(&plan.chosen, reader)?;
    let mut cuts = Vec::new();
    // All places are found and tried first.
    let places: Result<Vec<_>, path_cut::Error> = plan
        .by_namespace()
        .into_iter()
        .map(|(netns, (ends, holders))| Ok((CutNamespace::of(netns, &holders)?, ends)))
        .collect();
    let places = places.map_err(Error::from)?;
    let noted = note(&args.state.state_dir, &places, lasts);
    watch.cut_now();
    for (namespace, ends) in places {
        let cut = PathCut::new(namespace, &ends, lasts.as_secs() + RESERVE_SECONDS);
        cuts.push(cut.map_err(Error::from)?);
    }
    info!(
        "the paths of {} are cut for {}; Ctrl-C lets packets pass again",
        counted(plan.chosen.len(), "connection"),
        duration(lasts.as_secs())
    );
    let watched = watch.look_until(lasts, &is_ended, &mut cuts);
    let ended: Vec<_> = cuts.into_iter().map(PathCut::end).collect();
    if let Some(Err(error)) = noted.map(NotedDrill::end) {
        warn!(%error, "the end of the drill is not noted down");
    }
    for result in ended {
        result.map_err(Error::from)?;
    }
    watched?;
    watch.hear_the_rest();
    report.add_drill(plan, &watch);
    Ok(())
}
