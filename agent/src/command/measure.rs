//! `keepwatch measure HOST:PORT`: the idle limit of a path, with what it does not say.

use super::{Failure, Outcome, output};
use crate::{
    config, files,
    kernel::{clock, host, network_namespaces},
    measure::{
        search::{Bracket, Found, Search},
        trial::Trial,
    },
    model::{judgement::limits_met::measured_path_name, text::duration::duration},
    view::filter,
};
use clap::Args;
use rustix::{fs::Mode, io::Errno};
use serde::Serialize;
use std::{
    fs::File,
    io::{self, Write as _},
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    time::Duration,
};
use tracing::info;

#[derive(Args, Debug)]
#[command(after_help = "\
One connection after the other is left quiet for longer and longer, and
then probed by the kernel. No byte of data is sent, and no right is
needed. It takes up to ten times the limit.

A proxy answers probes itself: then what is measured is the path to the
proxy, and what the proxy does to quiet connections shows as \"the peer
closes\". A limit of one direction, or of another source address, may be
another one: --from chooses the address, --through the network namespace.

An outage meanwhile is no limit: it is waited for, and what killed once
is tried again. Where the peer does not come back in time, the answer
says what is known so far, and that the limit is unclear: exit code 3.

Examples:
  keepwatch measure db.example.com:5432
  keepwatch measure 10.0.0.9:5432 --up-to 10m
  keepwatch measure 10.0.0.9:5432 --write config.toml")]
pub(super) struct MeasureArgs {
    /// The peer: a name or an address, and a port
    #[arg(value_name = "HOST:PORT")]
    peer: String,
    /// Try no longer quiet times than this
    #[arg(long, value_name = "TIME", value_parser = config::duration, default_value = "1h")]
    up_to: Duration,
    /// End when the bounds are within this part of each other, percent
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    within: u32,
    /// Connect from this address of this host
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// Connect from this network namespace, that of a pod for example: its inode number (`readlink /proc/PID/ns/net`), or its
    /// name (`ip netns`); needs CAP_SYS_ADMIN
    #[arg(long, value_name = "INODE|NAME", value_parser = filter::netns)]
    through: Option<u32>,
    /// Wait for this time for a peer or a path that went away meanwhile
    #[arg(long, value_name = "TIME", value_parser = config::duration, default_value = "10m")]
    patience: Duration,
    /// Add the limit that was found to this config file, as a [[path]] table
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The name has no address.
    #[error("find the address of {peer}: {cause}; expected HOST:PORT, like 10.0.0.9:5432")]
    Name {
        /// What was given.
        peer: String,
        /// The reason.
        cause: io::Error,
    },
    /// No connection.
    #[error("connect to {peer}: {cause}")]
    Connect {
        /// The peer.
        peer: SocketAddr,
        /// The reason.
        cause: io::Error,
    },
    /// Its probes are answered by nobody.
    #[error(
        "measure the path to {0}: it answers no keepalive probe, not even after a second; something on the way drops them, \
         and keepalive cannot help on this path"
    )]
    NoAnswer(SocketAddr),
    /// The namespace is not to be found.
    #[error(
        "measure from network namespace {0}: no process that this one sees is in it, and it has no name in /run/netns"
    )]
    Namespace(u32),
    /// The file was not written.
    #[error("add a [[path]] to {}: {cause}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// The reason.
        cause: files::Error,
    },
}

impl Error {
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Name { .. } | Self::Namespace(_) => 2,
            Self::Write { .. } => 4,
            _ => 3,
        }
    }
}

/// What was found.
#[derive(Debug, Serialize)]
struct Measured {
    /// Address and port of the peer.
    peer: SocketAddr,
    /// The longest quiet time after which a probe was answered.
    survived_seconds: f64,
    /// The shortest quiet time after which the path had forgotten the connection; null if none did.
    forgotten_seconds: Option<f64>,
    /// `reset` or `silence`: what the probe met then.
    forgotten_by: Option<&'static str>,
    /// After this quiet time the peer closes the connection by itself; null if it does not.
    peer_closes_after_seconds: Option<f64>,
    /// The peer or the path went away in the middle, and did not come back: nothing is known beyond what stands here.
    went_away: bool,
    /// How long it took.
    took_seconds: f64,
}

/// A second of quiet: no path forgets that.
const MOMENT: Duration = Duration::from_secs(1);
/// During an outage a new connection is tried this often.
const PAUSE: Duration = Duration::from_secs(5);

pub(super) fn run(args: &MeasureArgs) -> Result<Outcome, Failure> {
    let began = clock::now();
    let peer = resolve(&args.peer, args.from)?;
    let found = |netns| network_namespaces::with_inode(netns, &[]).ok_or(Error::Namespace(netns));
    let namespace =
        args.through.filter(|it| host::own_netns() != Some(*it)).map(found).transpose()?;
    let outcomes = Route { args, peer, namespace }.measure()?;
    let MeasureEnd { known, is_away } = &outcomes;
    let took = Duration::from_millis(clock::now().ms_since(began));
    let is_limit = known.killed.is_some() && !is_away;
    let mut out = output::stdout();
    if args.json {
        serde_json::to_writer(&mut out, &Measured::new(peer, &outcomes, took))
            .map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        for line in words(peer, &outcomes, args.up_to) {
            writeln!(out, "{line}")?;
        }
        if is_limit {
            write!(out, "\n{}", table(peer, known))?;
        }
    }
    out.flush()?;
    if let (Some(file), true) = (&args.write, is_limit) {
        append(file, &table(peer, known))
            .map_err(|cause| Error::Write { file: file.clone(), cause })?;
        info!("added to {}", file.display());
    }
    Ok(if *is_away { Outcome::CannotRun } else { Outcome::Fine })
}

fn resolve(peer: &str, from: Option<IpAddr>) -> Result<SocketAddr, Error> {
    let failed = |cause| Error::Name { peer: peer.to_owned(), cause };
    let mut all = peer.to_socket_addrs().map_err(failed)?;
    let fits = |addr: &SocketAddr| from.is_none_or(|from| from.is_ipv4() == addr.is_ipv4());
    all.find(fits).ok_or_else(|| failed(io::Error::other("no address of the family of --from")))
}

/// Where from and where to.
struct Route<'a> {
    args: &'a MeasureArgs,
    peer: SocketAddr,
    /// The network namespace to measure from; none: that of this process.
    namespace: Option<File>,
}

impl Route<'_> {
    fn connect(&self) -> Result<Trial, Errno> {
        let connect = || Trial::connect(self.peer, self.args.from);
        let Some(namespace) = &self.namespace else {
            return connect();
        };
        let errno =
            |error: io::Error| error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
        network_namespaces::inside(namespace, connect).map_err(errno)?
    }

    fn failed(&self, errno: Errno) -> Error {
        Error::Connect { peer: self.peer, cause: errno.into() }
    }

    /// Whether a new connection is answered.
    fn lives(&self) -> bool {
        let found = self.connect().and_then(|mut trial| trial.stay_quiet(MOMENT));
        matches!(found, Ok((_, Found::Survived | Found::ClosedByPeer)))
    }

    /// Waits for the end of an outage. False if it does not end.
    fn comes_back(&self) -> bool {
        let began = clock::now();
        info!("a new connection does not work either: an outage, not a limit; it is waited for");
        while u128::from(clock::now().ms_since(began)) < self.args.patience.as_millis() {
            clock::wait(PAUSE);
            if self.lives() {
                return true;
            }
        }
        false
    }

    fn measure(&self) -> Result<MeasureEnd, Error> {
        let mut first = self.connect().map_err(|errno| self.failed(errno))?;
        let answered = first.stay_quiet(MOMENT).map_err(|errno| self.failed(errno))?;
        if matches!(answered, (_, Found::Silence | Found::Reset)) {
            return Err(Error::NoAnswer(self.peer));
        }
        let mut trial = Some(first);
        let mut search = Search::new(self.args.up_to, self.args.within);
        while let Some(quiet) = search.next() {
            let left = search.at_most_left();
            info!("quiet for {} now; about {} more at most", shown(quiet), shown(left));
            let opened = trial.take().map_or_else(|| self.connect(), Ok);
            let Ok(mut of_now) = opened else {
                if self.comes_back() {
                    continue;
                }
                return Ok(MeasureEnd { known: *search.known(), is_away: true });
            };
            let (was, found) = of_now.stay_quiet(quiet).map_err(|errno| self.failed(errno))?;
            info!("{}", event_words(was, found));
            // What nobody answers while a new connection is answered was forgotten; a reset, or a peer that closes, was there.
            if found == Found::Silence && !self.lives() {
                if self.comes_back() {
                    continue;
                }
                return Ok(MeasureEnd { known: *search.known(), is_away: true });
            }
            search.learn(was, found);
            trial = (found == Found::Survived).then_some(of_now);
        }
        Ok(MeasureEnd { known: *search.known(), is_away: false })
    }
}

/// What was learned, and whether the peer went away before the end.
struct MeasureEnd {
    known: Bracket,
    is_away: bool,
}

fn event_words(was: Duration, found: Found) -> String {
    let was = shown(was);
    match found {
        Found::Survived => format!("after {was} of quiet a probe was answered"),
        Found::Reset => format!("after {was} of quiet a probe met a reset: forgotten"),
        Found::Silence => format!("after {was} of quiet probes met silence: forgotten"),
        Found::ClosedByPeer => format!("the peer closed it after {was}"),
    }
}

fn shown(time: Duration) -> String {
    duration(time.as_secs())
}

fn words(peer: SocketAddr, outcomes: &MeasureEnd, most: Duration) -> Vec<String> {
    let MeasureEnd { known, is_away } = outcomes;
    let survived = shown(known.survived);
    if *is_away {
        let beyond = match known.killed {
            Some((killed, _)) => {
                format!("; after {} it was forgotten, or gone already", shown(killed))
            }
            None => String::new(),
        };
        return vec![format!(
            "{peer}: the peer or the path went away, and did not come back. The limit is unclear: a quiet connection survived \
             {survived}{beyond}."
        )];
    }
    if let Some(closed) = known.closed {
        return vec![
            format!(
                "{peer}: the peer closes a quiet connection by itself after {}.",
                shown(closed)
            ),
            format!(
                "That is its own timer, no limit of the path, and keepalive does not help: let the pool's idle time be shorter. \
                 The path keeps a connection for {survived} or longer."
            ),
        ];
    }
    match known.killed {
        Some((killed, found)) => {
            let met = if found == Found::Reset { "a reset" } else { "silence" };
            vec![format!(
                "{peer}: the path forgets a quiet connection between {survived} and {} (the probe met {met}).",
                shown(killed)
            )]
        }
        None if known.survived >= most => {
            vec![format!("{peer}: the path keeps a quiet connection for {survived} or longer.")]
        }
        None => vec![format!("{peer}: nothing was learned beyond {survived}.")],
    }
}

/// What keeps it for sure, as a table of the config file.
fn table(peer: SocketAddr, known: &Bracket) -> String {
    let (ip, port) = (peer.ip(), peer.port());
    format!(
        "[[path]]\nname = \"{}\"\npeers = \"{ip}/{}\"\nport = {port}\nidle_limit = \"{}s\"\n",
        measured_path_name(peer),
        if ip.is_ipv4() { 32 } else { 128 },
        known.survived.as_secs().max(1),
    )
}

fn append(file: &Path, table: &str) -> Result<(), files::Error> {
    let before = match files::text(file, config::MAX_BYTES) {
        Ok(text) => text,
        Err(error) if error.is_not_found() => String::new(),
        Err(error) => return Err(error),
    };
    let gap = if before.is_empty() || before.ends_with("\n\n") { "" } else { "\n" };
    let end = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    let text = format!("{before}{end}{gap}{table}");
    files::replace(file, text.as_bytes(), Mode::from_raw_mode(0o644))
}

impl Measured {
    fn new(peer: SocketAddr, outcomes: &MeasureEnd, took: Duration) -> Self {
        let MeasureEnd { known, is_away } = outcomes;
        Self {
            peer,
            survived_seconds: known.survived.as_secs_f64(),
            forgotten_seconds: known.killed.map(|(killed, _)| killed.as_secs_f64()),
            forgotten_by: known.killed.map(
                |(_, found)| {
                    if found == Found::Reset { "reset" } else { "silence" }
                },
            ),
            peer_closes_after_seconds: known.closed.map(|closed| closed.as_secs_f64()),
            went_away: *is_away,
            took_seconds: took.as_secs_f64(),
        }
    }
}
