//! `cargo xtask bench NAME`: measures with an optimised build, as root.

use crate::{
    command::{announced, become_it, cargo},
    place,
    setup::{self, Purpose},
};
use anyhow::Result;
use std::{ffi::OsString, process::ExitCode};

/// Sets up, builds with optimisation and runs one benchmark.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The benchmark, for example `snapshot`.
    name: String,
    /// Arguments for the benchmark.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(options: Options) -> Result<ExitCode> {
    let Options { name, args } = options;
    setup::prepare(Purpose::Tests)?;
    announced(
        &mut cargo(["build", "--release", "-p", "keepwatch", "-p", "keepwatch-tests", "--bins"]),
        "fix what the compiler says",
    )?;
    let mut bench = place::as_root(&place::binary("release", "bench"));
    bench
        .arg(name)
        .args(args)
        .env("KEEPWATCH_BIN", place::binary("release", "keepwatch"))
        .env("KEEPWATCH_TOOLS", place::tools());
    become_it(&mut bench, "run this as root, or get sudo")
}
