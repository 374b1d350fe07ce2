//! `cargo xtask cases`: real software on paths that forget, against what keepwatch says of it. Outside of CI: it fetches
//! that software, and takes minutes.

mod fetch;
mod software;

use crate::{
    command::{self, announced, cargo, checked},
    outcome::{FINDING, talk},
    place,
    purpose::Purpose,
    setup,
};
use anyhow::{Context as _, Result};
use std::{env, ffi::OsString, process::ExitCode};

/// Fetches software and tries what keepwatch says of it, and each line that it advises.
#[derive(clap::Args)]
pub(crate) struct CasesOptions {
    /// Only cases with one of these in their name.
    names: Vec<String>,
    /// Software that may be missing, as the table names it; may be repeated.
    #[arg(long, value_name = "NAME")]
    allow_missing: Vec<String>,
    /// Write docs/CASES.md. Only a run of all cases may.
    #[arg(long, conflicts_with = "names")]
    bless: bool,
    /// Fetch nothing: try what is here.
    #[arg(long)]
    offline: bool,
    /// Print the names of the cases, and try none.
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(options: &CasesOptions) -> Result<ExitCode> {
    setup::prepare_tools(Purpose::Tests)?;
    if !options.offline && !options.list {
        for failure in fetch::all() {
            talk(format_args!("cases: {failure:#}"));
        }
    }
    let given = env::var_os("KEEPWATCH_BIN");
    let mut build = cargo(["build", "--package", "keepwatch-tests", "--bin", "cases"]);
    if given.is_some() {
        // The hooks are in the agent that was given.
        build.env("AYA_BUILD_SKIP", "1");
    }
    let keepwatch = given.map_or_else(built_keepwatch, Ok)?;
    announced(&mut build, "fix what the compiler says")?;
    let mut cases = command::as_root(&place::binary("debug", "cases"));
    cases.env("KEEPWATCH_BIN", keepwatch).env("KEEPWATCH_TOOLS", place::tools());
    cases.args(arguments(options));
    let status = cases.status().context("start the cases; help: run this as root, or get sudo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::from(FINDING) })
}

/// The agent, built here.
fn built_keepwatch() -> Result<OsString> {
    setup::prepare(Purpose::Tests)?;
    checked(
        &mut cargo(["build", "--package", "keepwatch", "--bin", "keepwatch"]),
        "fix what the compiler says; without the hooks' compiler, `cargo xtask setup`",
    )?;
    Ok(place::binary("debug", "keepwatch").into())
}

fn arguments(options: &CasesOptions) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    for name in &options.allow_missing {
        words.extend(["--allow-missing".into(), name.into()]);
    }
    if options.list {
        words.push("--list".into());
    }
    if options.bless {
        words.extend(["--document".into(), place::root().join("docs/CASES.md").into()]);
    }
    words.extend(options.names.iter().map(OsString::from));
    words
}
