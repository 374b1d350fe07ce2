//! `cargo xtask codegen`: docs that are generated from code. A test of `keepwatch` writes them.

use crate::{
    command::cargo,
    setup::{self, Purpose},
    test::stream,
};
use anyhow::{Result, bail};
use std::process::ExitCode;

/// Writes the docs that are generated from code.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write nothing; fail if one of them is not fresh.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let Options { check } = options;
    setup::prepare(Purpose::Build)?;
    let mut test = cargo(["test", "--quiet", "-p", "keepwatch", "--lib", "generated_docs"]);
    if !check {
        test.env("KEEPWATCH_BLESS", "1");
    }
    let summary = stream(&mut test)?;
    if summary.failed > 0 {
        bail!(
            "generated docs are not fresh; help: run `cargo xtask codegen` and commit what it wrote"
        );
    }
    if summary.passed == 0 {
        bail!("no test `generated_docs_are_fresh` in keepwatch: nothing was generated");
    }
    Ok(ExitCode::SUCCESS)
}
