//! `keepwatch config check`: whether an agent would take a configuration, without starting one.

use super::{Cli, Failure, Outcome, run::RunArgs};
use crate::config::{self, web::WebAccess};
use clap::{Args, CommandFactory as _, FromArgMatches as _, ValueEnum};
use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  keepwatch config check                    before `systemctl reload`
  keepwatch config check new.toml           before it is put in place")]
pub(super) struct ConfigArgs {
    /// The thing to do
    #[arg(value_enum, value_name = "check")]
    action: ConfigAction,
    /// The file to check, in place of the one of --config
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ConfigAction {
    /// Read a config, and the web config and certificates that it names
    Check,
}

/// `given`: the file of `--config`.
pub(super) fn run(args: &ConfigArgs, given: Option<&Path>) -> Result<Outcome, Failure> {
    let ConfigAction::Check = args.action;
    let file = args.file.as_deref().or(given);
    let (command, keys) = config::configured(Cli::command(), file)?;
    // The same words, variables and checks as an agent's.
    let matches = command
        .try_get_matches_from(["keepwatch", "run"])
        .map_err(|error| super::in_a_line(&error))?;
    let run = matches.subcommand_matches("run").map(RunArgs::from_arg_matches).transpose();
    let web_config_file =
        run.map_err(|error| super::in_a_line(&error))?.and_then(|run| run.web_config_file);
    let web = web_config_file.clone().map(Some).map(WebAccess::open).transpose()?;
    let shown = file.unwrap_or(Path::new(config::DEFAULT_FILE)).display();
    let mut out = io::stdout().lock();
    match (file, &keys[..]) {
        (None, []) if !Path::new(config::DEFAULT_FILE).exists() => {
            writeln!(out, "{shown} does not exist: every option has its default")?;
        }
        _ => writeln!(out, "{shown} is good")?,
    }
    if let (Some(file), Some(web)) = (web_config_file, web) {
        let config = web.now();
        let tls = if config.tls.is_some() { "TLS" } else { "no TLS" };
        let n_users = config.users.len();
        writeln!(out, "{} is good: {tls}, {n_users} users", file.display())?;
    }
    Ok(Outcome::Fine)
}
