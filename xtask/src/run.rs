//! `cargo xtask run`: from a fresh machine to the running agent.

use crate::{
    command::{announced, become_it, cargo},
    place,
    setup::{self, Purpose},
};
use anyhow::Result;
use std::{ffi::OsString, process::ExitCode};

/// Sets up, builds with optimisation and becomes `keepwatch run`, as root.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Arguments for `keepwatch run`.
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(options: Options) -> Result<ExitCode> {
    let Options { args } = options;
    setup::prepare(Purpose::Build)?;
    announced(&mut cargo(["build", "--release", "-p", "keepwatch"]), "fix what the compiler says")?;
    let mut agent = place::as_root(&place::binary("release", "keepwatch"));
    become_it(
        agent.arg("run").args(args),
        "loading hooks needs root: run this as root, or get sudo",
    )
}
