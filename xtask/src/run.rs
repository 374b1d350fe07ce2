//! `cargo xtask run`: from a fresh machine to the running agent.

use crate::{
    command::{self, announced, become_it, cargo},
    place,
    purpose::Purpose,
    setup,
};
use anyhow::Result;
use std::{ffi::OsString, process::ExitCode};

/// Sets up, builds with optimisation and starts `keepwatch run` in its place, as root.
#[derive(clap::Args)]
pub(crate) struct RunOptions {
    /// Arguments for `keepwatch run`.
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(options: RunOptions) -> Result<ExitCode> {
    let RunOptions { args } = options;
    let mut progress = setup::prepare_for(Purpose::Build, 2)?;
    progress.begin("building keepwatch, optimised (the first time about 5 min on two cores)");
    announced(&mut cargo(["build", "--release", "-p", "keepwatch"]), "fix what the compiler says")?;
    progress.begin("starting the agent, until Ctrl-C");
    let mut agent = command::as_root(&place::binary("release", "keepwatch"));
    become_it(
        agent.arg("run").args(args),
        "loading hooks needs root: run this as root, or get sudo",
    )
}
