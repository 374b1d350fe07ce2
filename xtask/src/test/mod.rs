//! `cargo xtask test`: all tests, those that need a real kernel as root, and one summary.

mod binary;
#[cfg(test)]
mod fixture;
pub(crate) mod libtest;
mod round;
pub(crate) mod runner;
mod skip;
pub(crate) mod summary;

use crate::{
    command::{self, cargo, checked, line, new},
    outcome::{CannotRunHere, FINDING, talk},
    place,
    purpose::Purpose,
    setup,
};
use anyhow::{Context as _, Result};
use libtest::TestOutcome;
use round::TestRound;
use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};
use summary::{Crash, Summary};

/// Tests that may fail and pass when they are repeated, in a run of all. They count every event, or compare
/// times, on a virtual machine that does not run hooks for moments and stands still for others: one in a run
/// is usual there. Lower this when that is mended; a higher number needs a reason of its own.
const MOST_FLAKY: usize = 4;

/// Sets up and runs all tests; the last line is the sum of them.
#[derive(Default, clap::Args)]
pub(crate) struct TestOptions {
    /// Only tests with this in their name.
    filter: Option<OsString>,
    /// Arguments for the test binaries.
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(options: TestOptions) -> Result<ExitCode> {
    setup::prepare(Purpose::Tests)?;
    conclude(&all(options)?)
}

/// Says the sum, as the last line.
pub(crate) fn conclude(sum: &Summary) -> Result<ExitCode> {
    say(&format!("\n{sum}\n"))?;
    Ok(if sum.is_green() { ExitCode::SUCCESS } else { ExitCode::from(FINDING) })
}

/// All tests, on a machine that is set up.
pub(crate) fn all(options: TestOptions) -> Result<Summary> {
    let TestOptions { filter, args } = options;
    if !command::can_be_root() {
        let why = "the kernel's tests need root, and there is no sudo: as root, `cargo xtask test`";
        return Err(CannotRunHere(why.into()).into());
    }
    let binaries = binary::build()?;
    if !command::is_root() {
        // Binaries run in the background, where sudo cannot ask.
        checked(new("sudo").arg("-v"), "the kernel's tests run as root")?;
    }
    runner::end_when_interrupted()?;
    let round = TestRound {
        binaries: &binaries,
        filter,
        args,
        environment: vec![
            ("KEEPWATCH_BIN", place::binary("debug", "keepwatch").into()),
            ("KEEPWATCH_TOOLS", place::tools().into()),
        ],
        machine: skip::HostEquipment::examine(),
        silent_for: runner::SILENT_FOR,
    };
    let mut sum = round.perform(say)?;
    sum += in_documents(round.filter.as_ref())?;
    if let Some(filter) = &round.filter
        && sum == Summary::default()
    {
        sum.broken.push(format!("no test has `{}` in its name", filter.display()));
    }
    sum.hold_to_budget(MOST_FLAKY, "MOST_FLAKY in xtask/src/test/mod.rs");
    Ok(sum)
}

/// The tests in doc comments, which only rustdoc can build.
fn in_documents(filter: Option<&OsString>) -> Result<Summary> {
    let mut command = cargo(["test", "--workspace", "--doc", "--no-fail-fast"]);
    command.args(filter);
    talk(format_args!("$ {}", line(&command)));
    let ran = runner::run(&mut command, runner::SILENT_FOR, say)?;
    let n = |wanted: fn(&TestOutcome) -> bool| {
        ran.said.tests.values().filter(|outcome| wanted(outcome)).count() as u64
    };
    let crash = |how| Crash { binary: "doc tests".into(), how };
    Ok(Summary {
        passed: n(|outcome| *outcome == TestOutcome::Passed),
        failed: n(|outcome| *outcome == TestOutcome::Failed),
        skipped: n(|outcome| matches!(outcome, TestOutcome::Skipped(_))),
        crashed: ran.broken.map(crash).into_iter().collect(),
        ..Summary::default()
    })
}

/// Writes to stdout at once: a person who reads along sees each test as it ends.
pub(crate) fn say(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("write to stdout")
}
