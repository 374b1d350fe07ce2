//! `keepwatch sockets`: every connection, from the agent if one runs, else from the kernel.

use super::{
    Failure, Outcome,
    json::JsonWriter,
    output,
    text::{self, Style},
};
use crate::{
    config,
    kernel::{
        clock,
        hooks::{Hooks, Scope, Signal},
    },
    model::{
        event::Event,
        filter::Filter,
        identity::Identity,
        row::Row,
        socket::{Direction, Owner, Socket, SocketId, State},
        verdict::{Policy, Verdict},
    },
    owner::Census,
    serve::client,
    talk::say,
};
use clap::{Args, ValueEnum};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::Path,
    time::Duration,
};

#[derive(Args, Debug)]
#[command(after_help = "\
Without an agent, keepwatch reads the kernel itself (as root): the settings are the same, but the
direction of a connection is inferred, not seen, and a socket without a descriptor is not shown.

Examples:
  keepwatch sockets --verdict off,late --direction outbound
  keepwatch sockets --process postgres --sort quiet
  keepwatch sockets --peer 10.0.0.0/8 --port 5432 --json | jq .reason
  keepwatch sockets --watch 1s --pid 812")]
pub(super) struct SocketsArgs {
    /// One JSON object a line, as they come
    #[arg(long)]
    json: bool,
    /// The order of rows; JSON has none unless asked, and then needs memory for all rows
    #[arg(long, value_enum)]
    sort: Option<Sort>,
    /// Again and again, with this time between
    #[arg(long, value_name = "TIME", value_parser = config::duration, num_args = 0..=1, default_missing_value = "2s")]
    watch: Option<Duration>,
    /// Ask the agent or the kernel
    #[arg(long, value_enum, default_value = "auto")]
    source: Source,
    #[command(flatten)]
    owners: config::OwnerArgs,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sort {
    /// Dropped next first
    Limit,
    /// Longest quiet first
    Quiet,
    /// Longest time until death is noticed first; never before all
    Detection,
    /// By peer
    Peer,
    /// By process
    Process,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Source {
    /// The agent if one answers, else the kernel
    Auto,
    /// Only a running agent: any user whom its socket admits may
    Agent,
    /// Only the kernel: needs root
    Kernel,
}

pub(super) fn run(
    args: &SocketsArgs,
    socket: &config::SocketArgs,
    limits: &config::LimitArgs,
    colour: bool,
) -> Result<Outcome, Failure> {
    let style = Style { colour: output::in_colour(colour) };
    let mut reader = Reader::new(args, &socket.socket, limits)?;
    loop {
        let mut out = output::stdout();
        if args.watch.is_some() && !args.json && output::is_terminal() {
            // Home, and clear what is below: without a flicker, unlike clearing first.
            out.write_all(b"\x1b[H\x1b[J")?;
        }
        show(args, &mut reader, &mut out, style)?;
        out.flush()?;
        drop(out);
        let Some(pause) = args.watch else {
            return Ok(Outcome::Fine);
        };
        clock::wait(pause);
    }
}

fn show(
    args: &SocketsArgs,
    reader: &mut Reader<'_>,
    out: &mut impl Write,
    style: Style,
) -> Result<(), Failure> {
    if args.json && args.sort.is_none() {
        return stream(args, reader, out);
    }
    let mut rows = Vec::new();
    match reader {
        Reader::Agent(path) => client::sockets(path, &args.filter, |row| {
            rows.push(row);
            true
        })?,
        Reader::Kernel(kernel) => {
            kernel.walk(&args.filter, |socket, owners, identity, policy| {
                rows.push(Row::new(socket, owners, policy, socket.at).of(identity));
                Ok(())
            })?;
        }
    }
    sort(&mut rows, args.sort.unwrap_or(Sort::Limit));
    if args.json {
        return rows.iter().try_for_each(|row| write_json(out, row));
    }
    text::table(out, &rows, style)?;
    Ok(())
}

/// JSON as it comes: memory does not grow with the sockets.
fn stream(
    args: &SocketsArgs,
    reader: &mut Reader<'_>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    match reader {
        Reader::Agent(path) => {
            let mut ended = Ok(());
            client::sockets(path, &args.filter, |row| {
                ended = write_json(out, &row);
                ended.is_ok()
            })?;
            ended
        }
        Reader::Kernel(kernel) => {
            let (mut json, mut line) = (JsonWriter::default(), Vec::new());
            kernel.walk(&args.filter, |socket, owners, identity, policy| {
                line.clear();
                json.write(&mut line, socket, owners, identity, policy);
                Ok(out.write_all(&line)?)
            })
        }
    }
}

fn write_json(out: &mut impl Write, row: &Row) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, row).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(())
}

fn sort(rows: &mut [Row], by: Sort) {
    match by {
        Sort::Limit => rows.sort_by(|a, b| {
            // The protected ones are not dropped, whatever the time.
            let key = |row: &Row| (row.verdict, row.until_limit_seconds.unwrap_or(f64::INFINITY));
            let ((a_verdict, a_rest), (b_verdict, b_rest)) = (key(a), key(b));
            let group = |verdict| !matches!(verdict, Verdict::Off | Verdict::Late);
            group(a_verdict)
                .cmp(&group(b_verdict))
                .then(a_rest.total_cmp(&b_rest))
                .then_with(|| a.id.cmp(&b.id))
        }),
        Sort::Quiet => rows.sort_by(|a, b| b.quiet_seconds.total_cmp(&a.quiet_seconds)),
        Sort::Detection => {
            rows.sort_by_key(|row| std::cmp::Reverse(row.detection_seconds.unwrap_or(u64::MAX)));
        }
        Sort::Peer => rows.sort_by_key(|row| (row.remote, row.local)),
        Sort::Process => rows.sort_by(|a, b| {
            let key =
                |row: &Row| row.owners.first().map(|owner| (owner.process.clone(), owner.pid));
            key(a).cmp(&key(b))
        }),
    }
}

/// Where rows come from.
enum Reader<'a> {
    Agent(&'a Path),
    Kernel(Box<Kernel>),
}

impl<'a> Reader<'a> {
    fn new(
        args: &SocketsArgs,
        path: &'a Path,
        limits: &config::LimitArgs,
    ) -> Result<Self, Failure> {
        let from_kernel = || -> Result<Self, Failure> {
            Ok(Self::Kernel(Box::new(Kernel::open(&args.owners, limits)?)))
        };
        match args.source {
            Source::Kernel => from_kernel(),
            Source::Agent => client::status(path).map(|_| Self::Agent(path)).map_err(Failure::from),
            Source::Auto => match client::status(path) {
                Ok(status) => {
                    if output::is_terminal() {
                        say(&format!("as the agent sees it (process {})", status.pid));
                    }
                    Ok(Self::Agent(path))
                }
                Err(client::Error::NoAgent { .. } | client::Error::Denied { .. }) => from_kernel(),
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// What is needed to read the kernel itself.
pub(super) struct Kernel {
    hooks: Hooks,
    policy: Policy,
    census: Census,
}

impl Kernel {
    /// Loads the one hook that it takes.
    pub(super) fn open(
        owners: &config::OwnerArgs,
        limits: &config::LimitArgs,
    ) -> Result<Self, Failure> {
        let hooks = Hooks::load(Scope::Snapshot)?.require(Signal::Snapshot)?;
        Ok(Self { hooks, policy: limits.policy(), census: Census::new(owners.resolver()?) })
    }

    /// Passes on each socket with its owners, as the kernel shows it. Only one with further
    /// references to its file waits until the end, when all its owners are known.
    pub(super) fn walk(
        &mut self,
        filter: &Filter,
        mut each: impl FnMut(&Socket, &[Owner], Option<&Identity>, &Policy) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Self { hooks, policy, census } = self;
        census.begin();
        let mut each = |socket: &Socket, owners: &mut [Owner]| {
            if !filter.admits_owner(&*owners) {
                return Ok(());
            }
            let identity = census.sort(owners);
            match identity.as_deref() {
                identity if filter.admits_identity(identity) => {
                    each(socket, owners, identity, policy)
                }
                _ => Ok(()),
            }
        };
        let mut shared: BTreeMap<SocketId, (Socket, Vec<Owner>)> = BTreeMap::new();
        let mut ended = Ok(());
        let mut snapshot = hooks.snapshot()?;
        // `listen(fd, 0)` leaves no backlog to infer from. But the walk goes by process and
        // descriptor, and a listener was opened before what it accepted.
        let mut listeners: BTreeSet<(u32, u16)> = BTreeSet::new();
        let mut take = |event: Event| {
            let Event::Seen(mut socket) = event else {
                return;
            };
            let port = (socket.netns, socket.local.port);
            if socket.state == State::Listen {
                listeners.insert(port);
            } else if socket.is_connection() && listeners.contains(&port) {
                socket.direction = Direction::Inbound;
            }
            if ended.is_err() || !filter.admits(&socket, policy) {
                return;
            }
            if socket.shared {
                let (_, owners) = shared.entry(socket.id).or_insert_with(|| (socket, Vec::new()));
                owners.extend(socket.owner);
            } else {
                ended = each(&socket, socket.owner.clone().as_mut_slice());
            }
        };
        while snapshot.read(&mut take)? {}
        ended?;
        for (socket, mut owners) in shared.into_values() {
            each(&socket, &mut owners)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        limit::{IdleLimit, Limits},
        setting::Own,
        socket::tests_support::socket,
    };

    #[test]
    fn the_connection_dropped_next_comes_first_and_protected_ones_last() {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let policy = Policy { limits, host: BTreeSet::new(), hz: 250 };
        let row = |id, quiet_ms, idle_seconds| {
            let own = Own { idle_seconds, ..Own::default() };
            let socket =
                Socket { id: SocketId(id), quiet_ms, own, keepalive: idle_seconds > 0, ..socket() };
            Row::new(&socket, [], &policy, socket.at)
        };
        let mut rows =
            vec![row(1, 349_000, 60), row(2, 0, 0), row(3, 300_000, 7200), row(4, 100_000, 0)];
        sort(&mut rows, Sort::Limit);
        let ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["sk:3", "sk:4", "sk:2", "sk:1"]);
    }
}
