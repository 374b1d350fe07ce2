//! `keepwatch check`: does every outbound connection obey the policy? Of the host now, or of a command
//! while it runs.

mod checked_connection;
mod child;
mod followed;
mod host;
mod junit;
mod output;
mod policy_file;
mod report;
mod session;
mod sum;
mod user;

#[cfg(any(fuzzing, test))]
pub(super) use policy_file::parsed as parsed_policy;

use super::{Failure, Outcome, near, run, source::Source};
use crate::{config, files, model::observed::socket::Direction, view::filter::Filter};
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use output::JsonTo;
use policy_file::PolicyArgs;
use std::{ffi::OsString, io, path::PathBuf};

#[derive(Args, Debug)]
#[command(after_help = "\
Without COMMAND, the connections of this host are judged as they are now.
If an agent runs, it is asked; else the kernel is read (as root).

With COMMAND, keepwatch attaches hooks of its own (as root), runs the
command and follows it and its children. Each connection that they opened
is judged by its settings at its end, however short it was. Connections
that are still open when the command ends are judged as they are then.
Stdin, stdout, stderr and signals belong to the command; findings go to
stderr after its output. Under sudo the command runs as the user who
typed sudo, and the policy is read and results are written with that
user's rights.

Results (--json FILE, --junit) go to a file, to a pipe that a program
reads, to /dev/stdout or to /dev/null. A file is emptied before the
command starts. Refused are hard links, and links that another user
made.

By default each outbound connection to another host must be protected:
its first probe must go out before the idle limit of its path
(--idle-limit, --path). A policy file has the flags' names as keys. The
first [[rule]] that covers a connection judges it; the keys at the top
judge the others. An [[allow]] exempts connections:

  detect_within = \"2m\"
  [[rule]]
  name = \"databases\"
  peer = [\"10.1.0.0/16\"]     # or direction, port, unit, ...
  detect_within = \"30s\"      # also: protected, least_interval,
                             # survive_lost_probe, no_failed_calls, ...
  [[allow]]
  process = \"apt\"
  reason = \"short downloads\"

Exit codes: 0 nothing found, 1 findings, or a filter that no connection
to judge has (see --allow-none), 2 usage, 3 cannot run here (the
command was not started). If the command fails, its own exit code is
passed on: 128 + N if signal N ended it, 127 if it was not found, 126 if
it could not be started.

Examples:
  keepwatch check --peer 10.0.0.0/8 --detect-within 2m
  keepwatch check --direction inbound --detect-within 5m
  keepwatch check --policy policy.toml --json | jq -c .meaning
  sudo keepwatch check --idle-limit azure -- npm test
  sudo keepwatch check --include-local --junit keepalive.xml -- pytest")]
pub(super) struct CheckArgs {
    /// Print findings as JSON, one object a line, then the summary; with FILE, write them there. With a command they go
    /// to stderr, with - to stdout after the command's output
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        default_missing_value = "",
        value_parser = OsStringValueParser::new().map(JsonTo::from)
    )]
    json: Option<JsonTo>,
    /// Also write JUnit XML into this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Also show connections without a finding, and those that are not judged
    #[arg(long)]
    show_all: bool,
    /// Exit with 0 also if a filter is given and no connection to judge has it: without this, a name that was mistyped is a
    /// finding
    #[arg(long)]
    allow_none: bool,
    /// Without a command: read connections from the agent, from the kernel, or from /proc
    #[arg(long, value_enum, default_value = "auto", conflicts_with = "command")]
    source: Source,
    /// Run the command as this user, by name or number [default: the user who typed sudo, else the current one]
    #[arg(long, value_name = "USER", requires = "command")]
    user: Option<String>,
    /// Bytes of the ring buffer that carries events: a power of two
    #[arg(long, env = "KEEPWATCH_RING_BYTES", value_name = "BYTES", default_value_t = run::RING_BYTES, value_parser = run::ring_bytes)]
    ring_bytes: u32,
    #[command(flatten)]
    hooks: config::HookArgs,
    #[command(flatten)]
    owners: config::OwnerArgs,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Judge the connections of this command and its children
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Why it cannot be checked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("no user {0} in /etc/passwd; name one that is there, by name or number, with --user")]
    User(String),
    #[error("cannot write {}: {cause}; name another file", file.display())]
    File { file: PathBuf, cause: files::Error },
    #[error(
        "cannot write {} as {user}, who typed sudo: {cause}; name another file, or unset SUDO_UID to \
         write it as root",
        file.display()
    )]
    FileOfUser { file: PathBuf, user: String, cause: files::Error },
    #[error("cannot adopt the command's orphans (prctl PR_SET_CHILD_SUBREAPER): {0}")]
    Adopt(#[source] io::Error),
    #[error("cannot start {command}: {cause}")]
    Start { command: String, cause: io::Error },
    #[error("cannot wait for the command")]
    Wait(#[source] io::Error),
    #[error("check judges connections: {0}")]
    Filter(&'static str),
}

impl Error {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::User(_) | Self::Filter(_) | Self::File { .. } | Self::FileOfUser { .. } => 2,
            Self::Adopt(_) => 3,
            // As shells, env and timeout tell it.
            Self::Start { cause, .. } if cause.kind() == io::ErrorKind::NotFound => 127,
            Self::Start { .. } => 126,
            Self::Wait(_) => 4,
        }
    }
}

pub(super) fn run(
    args: &CheckArgs,
    socket: &config::SocketArgs,
    limits: &config::LimitArgs,
    colour: bool,
) -> Result<Outcome, Failure> {
    can_filter(args)?;
    if args.command.is_empty() {
        host::check(args, socket, limits, colour)
    } else {
        session::check(args, limits, colour)
    }
}

/// Whether a filter is more than the direction that is judged.
fn has_conditions(filter: &Filter) -> bool {
    !near::parts(&Filter { direction: None, ..filter.clone() }).is_empty()
}

/// Whether the filter is one that check understands.
fn can_filter(args: &CheckArgs) -> Result<(), Error> {
    let Filter { all, state, direction, unit, container, namespace, workload, pod, uid, .. } =
        &args.filter;
    if *all || !state.is_empty() {
        return Err(Error::Filter(
            "--all and --state are for `keepwatch sockets`; --show-all also shows connections without a finding",
        ));
    }
    let is_named =
        [unit, container, namespace, workload, pod].iter().any(|names| !names.is_empty());
    if args.command.is_empty() {
        return Ok(());
    }
    if is_named || !uid.is_empty() {
        return Err(Error::Filter(
            "of a command's own the user, unit, container and pod are not looked up: name --process, --pid, --peer or --port",
        ));
    }
    if *direction == Some(Direction::Inbound) {
        return Err(Error::Filter(
            "of a command those are judged that it opened: leave --direction out, or look at the host while the command runs",
        ));
    }
    Ok(())
}
