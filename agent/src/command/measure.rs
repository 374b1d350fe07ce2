//! `keepwatch measure HOST:PORT`: the idle limit of a path, with what it does not say.

use super::{Failure, Outcome, output};
use crate::{
    config, files,
    kernel::clock,
    measure::{
        search::{Bracket, Found, Search},
        trial::Trial,
    },
    model::text::duration::duration,
};
use clap::Args;
use rustix::{fs::Mode, io::Errno};
use serde::Serialize;
use std::{
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
another one: --from chooses the address.

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
    /// It went away while it was measured.
    #[error(
        "measure the path to {peer}: the peer or the path went away and did not come back; survived {survived} until then"
    )]
    Away {
        /// The peer.
        peer: SocketAddr,
        /// The longest quiet time that was survived.
        survived: String,
    },
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
            Self::Name { .. } => 2,
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
    /// How long it took.
    took_seconds: f64,
}

/// A second of quiet: no path forgets that.
const MOMENT: Duration = Duration::from_secs(1);
/// Outages that are waited for.
const MOST_OUTAGES: u32 = 3;

pub(super) fn run(args: &MeasureArgs) -> Result<Outcome, Failure> {
    let began = clock::now();
    let peer = resolve(&args.peer, args.from)?;
    let known = measure(args, peer)?;
    let took = Duration::from_millis(clock::now().ms_since(began));
    let mut out = output::stdout();
    if args.json {
        serde_json::to_writer(&mut out, &Measured::new(peer, &known, took))
            .map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        for line in words(peer, &known, args.up_to) {
            writeln!(out, "{line}")?;
        }
        if known.killed.is_some() {
            write!(out, "\n{}", table(peer, &known))?;
        }
    }
    out.flush()?;
    if let (Some(file), Some(_)) = (&args.write, known.killed) {
        append(file, &table(peer, &known))
            .map_err(|cause| Error::Write { file: file.clone(), cause })?;
        info!("added to {}", file.display());
    }
    Ok(Outcome::Fine)
}

fn resolve(peer: &str, from: Option<IpAddr>) -> Result<SocketAddr, Error> {
    let failed = |cause| Error::Name { peer: peer.to_owned(), cause };
    let mut all = peer.to_socket_addrs().map_err(failed)?;
    let fits = |addr: &SocketAddr| from.is_none_or(|from| from.is_ipv4() == addr.is_ipv4());
    all.find(fits).ok_or_else(|| failed(io::Error::other("no address of the family of --from")))
}

fn measure(args: &MeasureArgs, peer: SocketAddr) -> Result<Bracket, Error> {
    let connect = || {
        Trial::connect(peer, args.from)
            .map_err(|errno: Errno| Error::Connect { peer, cause: errno.into() })
    };
    let stay = |trial: &mut Trial, quiet| {
        trial.stay_quiet(quiet).map_err(|errno| Error::Connect { peer, cause: errno.into() })
    };
    let mut trial = Some(connect()?);
    if let Some(trial) = &mut trial
        && matches!(stay(trial, MOMENT)?, (_, Found::Silence | Found::Reset))
    {
        return Err(Error::NoAnswer(peer));
    }
    let mut search = Search::new(args.up_to, args.within);
    let mut n_outages = 0;
    while let Some(quiet) = search.next() {
        let left = search.at_most_left();
        info!("quiet for {} now; about {} more at most", shown(quiet), shown(left));
        let mut of_now = match trial.take() {
            Some(trial) => trial,
            None => connect()?,
        };
        let (was, found) = stay(&mut of_now, quiet)?;
        info!("{}", event_words(was, found));
        if found == Found::Silence && !lives(peer, args.from) {
            n_outages += 1;
            if n_outages > MOST_OUTAGES {
                let survived = shown(search.known().survived);
                return Err(Error::Away { peer, survived });
            }
            info!("a new connection does not work either: an outage, not a limit; once more");
            clock::wait(Duration::from_secs(10));
            continue;
        }
        search.learn(was, found);
        trial = (found == Found::Survived).then_some(of_now);
    }
    Ok(*search.known())
}

/// Whether a new connection is answered.
fn lives(peer: SocketAddr, from: Option<IpAddr>) -> bool {
    let found = Trial::connect(peer, from).and_then(|mut trial| trial.stay_quiet(MOMENT));
    matches!(found, Ok((_, Found::Survived | Found::ClosedByPeer)))
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

fn words(peer: SocketAddr, known: &Bracket, most: Duration) -> Vec<String> {
    let survived = shown(known.survived);
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
        "[[path]]\nname = \"measured-{ip}-{port}\"\npeers = \"{ip}/{}\"\nport = {port}\nidle_limit = \"{}s\"\n",
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
    fn new(peer: SocketAddr, known: &Bracket, took: Duration) -> Self {
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
            took_seconds: took.as_secs_f64(),
        }
    }
}
