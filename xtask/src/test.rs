//! `cargo xtask test`: all tests, those that need a real kernel as root, and one summary.

use crate::{
    command::{announced, cargo, line},
    outcome::{CannotRunHere, FINDING, talk},
    place,
    setup::{self, Purpose},
    summary::Summary,
};
use anyhow::{Context as _, Result};
use std::{
    ffi::OsString,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Command, ExitCode, Stdio},
};

/// The crate whose tests drive a real kernel.
const KERNEL_TESTS: &str = "keepwatch-tests";

/// Sets up and runs all tests; the last line is the sum of them.
#[derive(Default, clap::Args)]
pub(crate) struct Options {
    /// Only tests with this in their name.
    filter: Option<OsString>,
    /// Arguments for the test binaries.
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(options: Options) -> Result<ExitCode> {
    setup::prepare(Purpose::Tests)?;
    conclude(all(options)?)
}

/// Says the sum, as the last line.
pub(crate) fn conclude(sum: Summary) -> Result<ExitCode> {
    say(&format!("\n{sum}\n"))?;
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FINDING) })
}

/// All tests, on a machine that is set up.
pub(crate) fn all(options: Options) -> Result<Summary> {
    let Options { filter, args } = options;
    if !place::can_be_root() {
        let why = "the kernel's tests need root, and there is no sudo: as root, `cargo xtask test`";
        return Err(CannotRunHere(why.into()).into());
    }
    // With the features of the whole workspace, so that the tests find everything built already.
    announced(
        &mut cargo(["build", "--workspace", "--bin", "keepwatch"]),
        "fix what the compiler says; without the hooks' compiler, `cargo xtask setup`",
    )?;
    let mut sum = Summary::default();
    let mut failed = Vec::new();
    for mut command in commands(place::is_root())? {
        command.args(&filter).arg("--").args(&args);
        sum += stream(&mut command, &mut failed)?;
    }
    if (1..=MOST_AGAIN).contains(&failed.len()) {
        again(&mut sum, &failed)?;
    }
    Ok(sum)
}

/// More failures than this have a cause that another run does not change.
const MOST_AGAIN: usize = 8;

/// Runs what failed once more, with nothing beside it. Tests of a real kernel measure times and count
/// events: some virtual machines take away seconds, or do not run a hook (docs/KERNELS.md). What fails
/// twice has failed; what passes then is told.
fn again(sum: &mut Summary, failed: &[String]) -> Result<()> {
    talk(format_args!("once more, alone: {}", failed.join(", ")));
    let (mut second, mut still) = (Summary::default(), Vec::new());
    for mut command in commands(place::is_root())? {
        command.args(["--", "--exact", "--test-threads=1"]).args(failed);
        second += stream(&mut command, &mut still)?;
    }
    for name in failed.iter().filter(|name| !still.contains(name)) {
        talk(format_args!("warning: {name} failed among others and passed alone"));
    }
    sum.corrected(second);
    Ok(())
}

/// One run as root; else the user's tests as the user and the kernel's through sudo.
fn commands(root: bool) -> Result<Vec<Command>> {
    if root {
        return Ok(vec![test(["--workspace"])]);
    }
    let mut kernel = test(["--package", KERNEL_TESTS]);
    let runner = format!("CARGO_TARGET_{}_RUNNER", place::host_in_capitals()?);
    kernel.env(runner, "sudo -E");
    Ok(vec![test(["--workspace", "--exclude", KERNEL_TESTS]), kernel])
}

fn test<const N: usize>(which: [&str; N]) -> Command {
    let mut command = cargo(["test", "--no-fail-fast"]);
    command
        .args(which)
        .env("KEEPWATCH_BIN", place::binary("debug", "keepwatch"))
        .env("KEEPWATCH_TOOLS", place::tools());
    command
}

/// Runs tests, passes their output on line by line, sums their results and names those that failed.
pub(crate) fn stream(command: &mut Command, failed: &mut Vec<String>) -> Result<Summary> {
    talk(format_args!("$ {}", line(command)));
    let name = line(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{name}` does not start; help: is cargo on PATH?"))?;
    let mut output = BufReader::new(child.stdout.take().context("the output was asked for")?);
    let (mut summary, mut bytes) = (Summary::default(), Vec::new());
    while output.read_until(b'\n', &mut bytes).with_context(|| format!("read from `{name}`"))? > 0 {
        let text = String::from_utf8_lossy(&bytes);
        say(&text)?;
        summary.read(&text);
        failed.extend(Summary::failed_test(&text).map(Into::into));
        bytes.clear();
    }
    let status = child.wait().with_context(|| format!("wait for `{name}`"))?;
    if !status.success() && summary.failed == 0 {
        talk(format_args!("`{name}` ended with {status} outside of a test: see above"));
    }
    summary.ended(status.success());
    Ok(summary)
}

/// To stdout, at once: who reads along sees each test as it ends.
pub(crate) fn say(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).context("write to stdout")
}

#[cfg(test)]
mod tests {
    use super::{commands, line};

    #[test]
    fn a_user_runs_the_kernels_tests_through_sudo_and_the_others_without() {
        let lines: Vec<_> = commands(false).expect("rustc runs").iter().map(line).collect();
        assert!(lines[0].contains("--workspace --exclude keepwatch-tests"), "{lines:?}");
        assert!(!lines[0].contains("sudo"), "{lines:?}");
        assert!(lines[1].contains("_RUNNER='sudo -E'"), "{lines:?}");
        assert!(lines[1].contains("--package keepwatch-tests"), "{lines:?}");
    }

    #[test]
    fn root_runs_all_at_once() {
        let lines: Vec<_> = commands(true).expect("nothing to ask").iter().map(line).collect();
        assert!(matches!(&lines[..], [all] if all.ends_with("--workspace")), "{lines:?}");
    }
}
