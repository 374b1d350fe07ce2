//! One round of all binaries, and once more what failed in it.

use super::{
    binary::Binary,
    runner::{self, Ran},
    skip::HostEquipment,
};
use crate::{
    command::line,
    outcome::talk,
    test::{
        libtest::TestOutcome,
        summary::{Crash, Summary},
    },
};
use anyhow::Result;
use std::{ffi::OsString, process::Command, time::Duration};

/// More failures than this have a cause that another run does not change.
const MOST_AGAIN: usize = 8;

/// What runs, and how.
pub(super) struct TestRound<'a> {
    pub(super) binaries: &'a [Binary],
    /// Only tests with this in their name.
    pub(super) filter: Option<OsString>,
    /// For the binaries, from the command line.
    pub(super) args: Vec<OsString>,
    pub(super) environment: Vec<(&'static str, OsString)>,
    pub(super) machine: HostEquipment,
    /// A binary that prints nothing for longer hangs.
    pub(super) silent_for: Duration,
}

impl TestRound<'_> {
    /// Runs all of it and sums it up. `say` gets the output.
    pub(super) fn perform(&self, mut say: impl FnMut(&str) -> Result<()>) -> Result<Summary> {
        let (mut sum, mut failed) = (Summary::default(), Vec::new());
        for binary in self.binaries {
            let mut command = self.command(binary);
            command.args(&self.filter).arg("--show-output").args(&self.args);
            let ran = self.run(command, &mut say)?;
            if binary.is_suite && self.filter.is_none() && ran.is_empty() {
                sum.broken.push(format!("{} has no tests", binary.name));
            }
            let names = self.count(&binary.name, ran, &mut sum);
            failed.extend(names.into_iter().map(|name| (binary, name)));
        }
        if failed.len() <= MOST_AGAIN {
            failed
                .iter()
                .try_for_each(|(binary, name)| self.repeat(binary, name, &mut sum, &mut say))?;
        } else {
            sum.failed += failed.len() as u64;
        }
        Ok(sum)
    }

    fn command(&self, binary: &Binary) -> Command {
        let mut command = binary.command();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, mut command: Command, say: &mut impl FnMut(&str) -> Result<()>) -> Result<Ran> {
        talk(format_args!("$ {}", line(&command)));
        let shows_all = !self.args.is_empty();
        let mut hidden = false;
        runner::run(&mut command, self.silent_for, |line| {
            // What tests print that pass is read for what they left out, and not shown.
            hidden = match line.trim_end() {
                "successes:" => true,
                "failures:" => false,
                other => hidden && !other.starts_with("test result: "),
            };
            if hidden && !shows_all { Ok(()) } else { say(line) }
        })
    }

    /// Adds what is sure. Returns the tests to repeat.
    fn count(&self, binary: &str, ran: Ran, sum: &mut Summary) -> Vec<String> {
        let mut failed = Vec::new();
        for (name, outcome) in ran.said.tests {
            match outcome {
                TestOutcome::Passed => sum.passed += 1,
                TestOutcome::Skipped(what) => {
                    self.skipped(&format!("{binary}::{name}"), &what, sum);
                }
                TestOutcome::Failed => failed.push(name),
            }
        }
        let Some(how) = ran.broken else {
            return failed;
        };
        // Where a binary broke off, repeating some of its tests would say nothing of the others.
        sum.failed += failed.len() as u64;
        sum.crashed.push(Crash { binary: binary.into(), how });
        Vec::new()
    }

    /// Whether it may be left out here.
    fn skipped(&self, test: &str, what: &str, sum: &mut Summary) -> bool {
        let objection = self.machine.objection(what);
        match &objection {
            None => {
                // In other words than the tests': those of this crate print it too.
                talk(format_args!("left out: {test}: {what}"));
                sum.skipped += 1;
            }
            Some(why) => {
                talk(format_args!("failed: {test}: {why}"));
                sum.failed += 1;
            }
        }
        objection.is_none()
    }

    /// Runs one test once more, with nothing beside it. Tests of a real kernel measure times and count
    /// events: some virtual machines take away seconds, or do not run a hook (docs/KERNELS.md). What fails
    /// twice has failed; what passes then is named and has a budget.
    fn repeat(
        &self,
        binary: &Binary,
        name: &str,
        sum: &mut Summary,
        say: &mut impl FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let full_name = format!("{}::{name}", binary.name);
        talk(format_args!("once more, alone: {full_name}"));
        let mut command = self.command(binary);
        // With more than one thread its line is written at once, when it has ended.
        command.args(["--exact", name, "--show-output", "--test-threads=2"]);
        let ran = self.run(command, say)?;
        if let Some(how) = ran.broken {
            sum.crashed.push(Crash { binary: full_name, how });
            return Ok(());
        }
        let passed = match ran.said.tests.get(name) {
            Some(TestOutcome::Passed) => {
                sum.passed += 1;
                true
            }
            Some(TestOutcome::Skipped(what)) => self.skipped(&full_name, what, sum),
            Some(TestOutcome::Failed) | None => {
                sum.failed += 1;
                talk(format_args!("failed: {full_name}: twice"));
                false
            }
        };
        sum.flaky.extend(passed.then_some(full_name));
        Ok(())
    }
}
