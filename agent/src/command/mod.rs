//! The command line: what was typed, which command does it, how it ends.
//!
//! stdout is data, stderr is talk, a broken pipe is success. Exit codes: 0 fine, 1 finding, 2 usage,
//! 3 cannot run here, 4 internal.

mod check;
mod columns;
mod completions;
mod config_check;
mod doctor;
mod drill;
mod fix;
mod itself;
mod json_hint;
mod measure;
mod near;
mod output;
#[cfg(test)]
pub(crate) mod reference;
mod run;
mod signals;
mod socket_text;
mod sockets;
mod source;
mod table;
mod textfile;
mod time_window;
mod timestamp;
mod top;
mod trace;
mod why;

use crate::{agent, config, files, fix::journal, kernel, log, serve, store};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use itself::{man, version};
use std::{ffi::OsString, io, path::PathBuf, process::ExitCode};

/// Will this TCP connection survive being quiet, and if it died, why?
///
/// Quiet connections are dropped in silence by NAT gateways, firewalls and load balancers. For every
/// connection of the host, keepwatch reads from the kernel whether keepalive is really on, and with
/// which settings. It says whether these protect the connection on its path.
#[derive(Debug, Parser)]
#[command(
    name = "keepwatch",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = EXAMPLES
)]
struct Cli {
    /// Read options from this file [default: /etc/keepwatch/config.toml, if there is one]
    #[arg(
        long,
        env = "KEEPWATCH_CONFIG",
        value_name = "FILE",
        global = true,
        display_order = config::LAST
    )]
    config: Option<PathBuf>,
    /// Write no colours, not even to a terminal (the variable NO_COLOR does the same)
    #[arg(long, global = true, display_order = config::LAST)]
    no_color: bool,
    #[command(flatten)]
    socket: config::SocketArgs,
    #[command(flatten)]
    limits: config::LimitArgs,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  keepwatch sockets                     every connection
  keepwatch sockets --verdict off,late  the unprotected ones
  keepwatch top                         live, next to be dropped first
  keepwatch why --at 10:41              what happened at 10:41?
  keepwatch why 10.0.0.9:5432           with one peer; the line to change
  keepwatch trace --process postgres    what happens, as it happens
  keepwatch check -- npm test           would its connections survive?
  keepwatch fix                         turn keepalive on, live: the plan
  keepwatch drill --process checkout    would it notice? the plan
  keepwatch measure 10.0.0.9:5432       the idle limit of a path
  keepwatch run                         the agent, with metrics
  keepwatch config check                would it take its configuration?
  keepwatch doctor                      what is not seen on this kernel";

#[derive(Debug, Subcommand)]
enum Command {
    /// The agent: watches every connection and serves metrics
    Run(run::RunArgs),
    /// Every connection: settings, verdict, quiet time, next probe, owner
    Sockets(sockets::SocketsArgs),
    /// Live: the connection that will be dropped next comes first
    Top(top::TopArgs),
    /// What happened to connections with a peer, live and dead: cause, evidence, the line to change
    Why(why::WhyArgs),
    /// What happens to connections, one event a line: settings, probes, deaths
    Trace(trace::TraceArgs),
    /// Exit 1 if an outbound connection of the host, or of a command, violates the policy
    Check(check::CheckArgs),
    /// Turn keepalive on for live connections of other programs: a plan, --apply, --undo, --watch
    Fix(fix::FixArgs),
    /// Let the path forget chosen live connections, and see when their programs notice: a plan, --yes
    Drill(drill::DrillArgs),
    /// The idle limit of the path to a peer, found before anything dies of it
    Measure(measure::MeasureArgs),
    /// What this kernel allows, which hooks are used, what is not seen, and what to do about it
    Doctor(doctor::DoctorArgs),
    /// Check a configuration: exit code 2 if it is wrong, with file, line, key and reason
    Config(config_check::ConfigArgs),
    /// Print a script that makes a shell complete commands and options
    Completions(completions::CompletionsArgs),
    /// Write the man pages
    Man(man::ManArgs),
}

/// How a command that could do its work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing to complain of.
    Fine,
    /// It found what it looks for: exit code 1.
    Finding,
    /// A command was run, and ended with this exit code.
    Command(u8),
    /// It found that keepwatch cannot run here.
    CannotRun,
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Web(#[from] config::web::WebConfigError),
    /// What clap says of options.
    #[error("{0}")]
    Options(String),
    #[error(transparent)]
    Agent(#[from] agent::Error),
    #[error(transparent)]
    Hooks(#[from] kernel::hooks::Error),
    #[error(transparent)]
    Snapshot(#[from] kernel::snapshot::Error),
    #[error(transparent)]
    Proc(#[from] kernel::proc_source::Error),
    /// What is hidden from us may be what was meant.
    #[error(
        "look at connections: there is none among those that are shown, and {0} are not; `keepwatch doctor` says more"
    )]
    Hidden(String),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Client(#[from] serve::client::Error),
    #[error(transparent)]
    Check(#[from] check::Error),
    #[error(transparent)]
    Why(#[from] why::Error),
    #[error(transparent)]
    Drill(#[from] drill::Error),
    #[error(transparent)]
    Fix(#[from] fix::Error),
    #[error(transparent)]
    Measure(#[from] measure::Error),
    #[error(transparent)]
    Journal(#[from] journal::Error),
    #[error(transparent)]
    Textfile(#[from] textfile::TextfileError),
    #[error(transparent)]
    Window(#[from] time_window::Error),
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    #[error("cannot write the man page {}", path.display())]
    ManPage {
        path: PathBuf,
        #[source]
        cause: files::Error,
    },
    #[error("{0}")]
    NoTerminal(&'static str),
    #[error("a part of keepwatch broke down: please report the lines above")]
    Broken,
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Web(_)
            | Self::Options(_)
            | Self::Agent(agent::Error::Web(_))
            | Self::Why(_)
            | Self::Window(_)
            | Self::NoTerminal(_) => 2,
            Self::Check(error) => error.exit_code(),
            Self::Drill(error) => error.exit_code(),
            Self::Fix(error) => error.exit_code(),
            Self::Measure(error) => error.exit_code(),
            Self::Snapshot(_)
            | Self::Store(_)
            | Self::Output(_)
            | Self::ManPage { .. }
            | Self::Broken
            | Self::Journal(_)
            | Self::Textfile(_)
            | Self::Client(serve::client::Error::BrokenOff { .. })
            | Self::Agent(agent::Error::Ended { .. }) => 4,
            Self::Agent(_) | Self::Hooks(_) | Self::Proc(_) | Self::Hidden(_) | Self::Client(_) => {
                3
            }
        }
    }

    fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Parses the command line, runs the command, reports how it ended.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    match try_main(&words) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Finding) => ExitCode::from(1),
        Ok(Outcome::Command(code)) => ExitCode::from(code),
        Ok(Outcome::CannotRun) => ExitCode::from(3),
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // For what failed before it was known how the command speaks.
            log::for_a_person(true);
            tracing::error!("{}", log::in_full(&failure));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn try_main(words: &[OsString]) -> Result<Outcome, Failure> {
    // Once without the config file, to learn its name; usage errors end here, with code 2.
    let first = version::told_in_full(Cli::command(), words)
        .try_get_matches_from(words)
        .unwrap_or_else(|error| json_hint::added(error, words).exit());
    let file = first.get_one::<PathBuf>("config");
    let (command, keys) = config::configured(Cli::command(), file.map(PathBuf::as_path))?;
    let matches = command.get_matches_from(words);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let Cli { no_color, socket, mut limits, command, .. } = cli;
    limits.learn_sources(&matches, &keys);
    limits.agree().map_err(Failure::Options)?;
    if let Command::Run(args) = &command {
        log::for_the_agent(args.log.log_level, args.log.log_format, !no_color);
    } else {
        log::for_a_person(!no_color);
    }
    if matches!(command, Command::Run(_) | Command::Config(_)) {
        config::warn_of_misspelt(&Cli::command());
    }
    match command {
        Command::Run(args) => {
            let config = file_in_force(file.cloned(), &keys);
            let read = reader(words.to_vec(), file.cloned());
            run::run(
                args,
                &socket,
                &limits,
                agent::ConfigSource { file: config, fixed: run::fixed_values(&matches), read },
            )
        }
        Command::Config(args) => config_check::run(&args, file.map(PathBuf::as_path)),
        Command::Sockets(args) => sockets::run(args, &socket, &limits, !no_color),
        Command::Top(args) => top::run(args, &socket, &limits, !no_color),
        Command::Why(args) => why::run(&args, &socket, &limits, !no_color),
        Command::Trace(args) => trace::run(args, &socket, &limits, !no_color),
        Command::Check(args) => check::run(&args, &socket, &limits, !no_color),
        Command::Drill(args) => drill::run(args, &socket, &limits, !no_color),
        Command::Fix(args) => fix::run(args, &socket, &limits, !no_color),
        Command::Measure(args) => measure::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Doctor(args) => doctor::run(&args, &socket, &limits, !no_color),
    }
}

/// Variables of this process that are called almost like one of keepwatch's or its tests', each with that one.
pub fn misspelt_variables() -> Vec<(String, String)> {
    config::misspelt_here(&Cli::command())
}

/// The config file that holds: the one that was named, or the usual one as soon as it sets anything.
fn file_in_force(named: Option<PathBuf>, keys: &[String]) -> Option<PathBuf> {
    named.or_else(|| (!keys.is_empty()).then(|| config::DEFAULT_FILE.into()))
}

/// What reads the configuration again for an agent: the words that were typed and the variables are the same, the file
/// may be another by then.
fn reader(words: Vec<OsString>, file: Option<PathBuf>) -> agent::ReadConfig {
    let read = move || {
        let (command, keys) = config::configured(Cli::command(), file.as_deref())?;
        let matches = command.try_get_matches_from(&words).map_err(|error| in_a_line(&error))?;
        let cli = Cli::from_arg_matches(&matches).map_err(|error| in_a_line(&error))?;
        let Cli { mut limits, command: Command::Run(args), .. } = cli else {
            return Err(Failure::Broken);
        };
        limits.learn_sources(&matches, &keys);
        limits.agree().map_err(Failure::Options)?;
        let file = file_in_force(file.clone(), &keys);
        Ok(run::reloaded(file, args, &limits, &matches))
    };
    Box::new(move || read().map_err(|failure: Failure| log::in_full(&failure)))
}

/// What a config file says.
#[cfg(any(fuzzing, test))]
pub(crate) fn parsed_config(text: &str) {
    drop(config::with_defaults(Cli::command(), std::path::Path::new("config.toml"), text));
}

/// What a policy says.
#[cfg(any(fuzzing, test))]
pub(crate) fn parsed_policy(text: &str) {
    check::parsed_policy(text);
}

/// What is wrong with options, without the usage.
fn in_a_line(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    Failure::Options(first.trim_start_matches("error: ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_usual_config_file_holds_once_it_sets_anything_and_a_named_one_always() {
        let named = || Some(PathBuf::from("own.toml"));
        let keys = ["idle_limit".to_owned()];
        assert_eq!(file_in_force(None, &[]), None);
        assert_eq!(file_in_force(None, &keys), Some(config::DEFAULT_FILE.into()));
        assert_eq!(file_in_force(named(), &[]), named());
        assert_eq!(file_in_force(named(), &keys), named());
    }

    #[test]
    fn what_was_read_again_names_its_file() {
        let file =
            std::env::temp_dir().join(format!("keepwatch-again-{}.toml", std::process::id()));
        fs::write(&file, "").unwrap();
        let words = ["keepwatch", "run", "--config", file.to_str().unwrap()].map(OsString::from);
        let read = reader(words.to_vec(), Some(file.clone()));
        let of_nothing = read().map(|reloaded| reloaded.file);
        fs::write(&file, "idle_limit = \"azure\"\n").unwrap();
        let of_a_key = read().map(|reloaded| reloaded.file);
        fs::remove_file(&file).unwrap();
        assert_eq!([of_nothing, of_a_key], [Ok(Some(file.clone())), Ok(Some(file))]);
        assert!(read().is_err(), "it is gone");
    }

    #[test]
    fn an_agent_that_cannot_start_is_3_and_one_of_which_a_part_has_ended_is_4() {
        let cause = io::Error::other("it panicked");
        let code = |error: agent::Error| Failure::from(error).exit_code();
        assert_eq!(code(agent::Error::Ended { part: "API server", cause: cause.into() }), 4);
        let cause = io::Error::other("no threads");
        assert_eq!(code(agent::Error::System { attempt: "start a thread", cause }), 3);
    }

    #[test]
    fn every_help_has_examples_that_fit_80_columns_also_in_a_man_page() {
        let root = Cli::command();
        for command in root.get_subcommands().chain([&root]) {
            let name = command.get_name();
            let after = command.get_after_help().unwrap().to_string();
            assert!(after.contains("Examples:\n  keepwatch "), "{name}");
            let widest = after.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(73), "{name}: {widest:?} columns");
        }
    }

    #[test]
    fn every_variable_is_named_like_its_flag() {
        let root = Cli::command();
        for command in root.get_subcommands().chain([&root]) {
            for arg in command.get_arguments() {
                if let Some(variable) = arg.get_env() {
                    let flag = arg.get_long().unwrap().replace('-', "_").to_uppercase();
                    assert_eq!(variable, format!("KEEPWATCH_{flag}").as_str());
                }
            }
        }
    }

    #[test]
    fn every_variable_that_tests_and_tools_read_or_set_is_known() {
        let known = config::known_variables(&Cli::command());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut folders = vec![root.join("tests"), root.join("xtask")];
        let mut named = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(path).unwrap();
                    let is_of_name = |letter: char| letter.is_ascii_uppercase() || letter == '_';
                    let quoted = text.split('"').filter(|word| word.starts_with("KEEPWATCH_"));
                    let names = quoted.filter_map(|word| word.split(|at| !is_of_name(at)).next());
                    named.extend(names.map(str::to_owned));
                }
            }
        }
        for name in config::OF_TESTS {
            assert!(named.contains(name), "nobody reads or sets {name}");
        }
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "not in OF_TESTS: {unknown:?}");
    }
}
