//! `cargo xtask chaos`: what nobody should do to a host and its agent, and what holds all the same. Outside of CI: it takes some
//! 20 minutes, and wants the machine for itself.

use crate::{
    command::{self, announced, cargo},
    outcome::FINDING,
    place,
    purpose::Purpose,
    setup,
};
use anyhow::{Context as _, Result};
use std::process::ExitCode;

/// Kills agents, floods rings, uses ids again, soaks: and says what held.
#[derive(clap::Args)]
pub(crate) struct ChaosOptions {
    /// Only trials with one of these in their name.
    names: Vec<String>,
    /// Write the table of docs/RELIABILITY.md. Only a run of all trials may.
    #[arg(long, conflicts_with_all = ["names", "soak"])]
    bless: bool,
    /// Minutes of soak.
    #[arg(long, value_name = "MINUTES")]
    soak: Option<u16>,
    /// Print the names of the trials, and try none.
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(options: &ChaosOptions) -> Result<ExitCode> {
    setup::prepare(Purpose::Tests)?;
    announced(
        &mut cargo(["build", "--release", "-p", "keepwatch", "-p", "keepwatch-tests", "--bins"]),
        "fix what the compiler says",
    )?;
    let mut chaos = command::as_root(&place::binary("release", "chaos"));
    chaos.env("KEEPWATCH_BIN", place::binary("release", "keepwatch"));
    chaos.env("KEEPWATCH_TOOLS", place::tools());
    if options.list {
        chaos.arg("--list");
    }
    if options.bless {
        chaos.arg("--document").arg(place::root().join("docs/RELIABILITY.md"));
    }
    if let Some(minutes) = options.soak {
        chaos.arg("--soak").arg(minutes.to_string());
    }
    let status = chaos.args(&options.names).status();
    let status = status.context("start the trials; help: run this as root, or get sudo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::from(FINDING) })
}
