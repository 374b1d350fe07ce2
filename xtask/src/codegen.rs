//! `cargo xtask codegen`: docs that are generated from code, and dashboards from their mixin. Tests
//! write them.

use crate::{
    command::{cargo, line},
    outcome::talk,
    purpose::Purpose,
    setup,
    test::{
        libtest::TestOutcome,
        runner::{self, SILENT_FOR},
        say,
    },
};
use anyhow::{Result, bail};
use std::process::{Command, ExitCode};

/// Writes the docs that are generated from code, and what the mixin of dashboards renders to.
#[derive(clap::Args)]
pub(crate) struct CodegenOptions {
    /// Write nothing; fail if one of them is not fresh.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &CodegenOptions) -> Result<ExitCode> {
    let CodegenOptions { check } = options;
    setup::prepare(Purpose::Tests)?;
    // Each in its package, by a test of this name.
    for (package, target, name) in [
        ("keepwatch", &["--lib"][..], "generated_docs_are_fresh"),
        ("keepwatch-tests", &["--test", "boards"], "generated_dashboards_are_fresh"),
        // Behind the dashboards' rules, which it has too.
        ("xtask", &["--bin", "xtask"], "generated_chart_is_fresh"),
    ] {
        let mut test = cargo(["test", "--package", package]);
        test.args(target).arg(name);
        if !check {
            test.env("KEEPWATCH_BLESS", "1");
        }
        write(&mut test, "run `cargo xtask codegen` and commit what it wrote")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a test that writes something.
pub(crate) fn write(test: &mut Command, help: &str) -> Result<()> {
    let shown = line(test);
    talk(format_args!("$ {shown}"));
    let ran = runner::run(test, SILENT_FOR, say)?;
    if let Some(how) = ran.broken {
        bail!("`{shown}` did not run to its end: {how}");
    }
    if ran.said.failed().next().is_some() {
        bail!("`{shown}` fails; help: {help}");
    }
    if !ran.said.tests.values().any(|outcome| *outcome == TestOutcome::Passed) {
        bail!("`{shown}` finds no test: nothing was written");
    }
    Ok(())
}
