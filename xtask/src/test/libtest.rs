//! What a test binary says on its stdout, read line by line, and whether that is a whole run.

use std::collections::BTreeMap;

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TestOutcome {
    Passed,
    Failed,
    /// What it left out, in its own words: `WHAT, why`.
    Skipped(String),
}

/// The output of one binary that was run with `--show-output`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TestOutput {
    pub(crate) tests: BTreeMap<String, TestOutcome>,
    /// `running N tests`, of all blocks: doc tests have several.
    n_announced: Option<u64>,
    /// The counts of the blocks before this one.
    before: TestCounts,
    /// The last `test result:` line of this block.
    result: Option<TestCounts>,
    /// The lines of tests are over: what follows repeats what tests printed.
    listing: bool,
    /// The test whose output is being repeated.
    section: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct TestCounts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl TestOutput {
    /// Takes one line of output.
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(n) = announced(line).filter(|_| self.is_between_blocks()) {
            self.before += self.result.take().unwrap_or_default();
            self.n_announced = Some(self.n_announced.unwrap_or(0) + n);
            (self.listing, self.section) = (false, None);
        } else if let Some(counts) = TestCounts::of(line) {
            self.result = Some(counts);
        } else if self.listing {
            self.repeat(line);
        } else if ["successes:", "failures:"].contains(&line) {
            self.listing = true;
        } else if let Some((name, outcome)) = ended(line) {
            self.tests.insert(name.into(), outcome);
        }
    }

    const fn is_between_blocks(&self) -> bool {
        self.n_announced.is_none() || self.result.is_some()
    }

    /// A line of what a test printed.
    fn repeat(&mut self, line: &str) {
        if let Some(name) = section(line) {
            self.section = Some(name.into());
        } else if let (Some(what), Some(name)) = (line.strip_prefix("skipped: "), &self.section)
            && let Some(outcome @ TestOutcome::Passed) = self.tests.get_mut(name)
        {
            *outcome = TestOutcome::Skipped(what.into());
        }
    }

    /// The tests that failed.
    pub(crate) fn failed(&self) -> impl Iterator<Item = &str> {
        let failed = self.tests.iter().filter(|(_, outcome)| **outcome == TestOutcome::Failed);
        failed.map(|(name, _)| name.as_str())
    }

    /// Why this is not the output of a run that came to its end, if it is not. `code` is the binary's exit
    /// code, none if a signal ended it.
    pub(crate) fn broken(&self, code: Option<i32>) -> Option<String> {
        let Some(n_announced) = self.n_announced else {
            return Some("it ended before its first test".into());
        };
        let Some(mut counts) = self.result else {
            let n = self.tests.len();
            return Some(format!("it ended without a result, after {n} of {n_announced} tests"));
        };
        counts += self.before;
        let total = counts.passed + counts.failed + counts.ignored;
        if total != n_announced {
            return Some(format!("it announced {n_announced} tests, and its result is of {total}"));
        }
        if total != self.tests.len() as u64 || counts.failed != self.failed().count() as u64 {
            return Some(format!(
                "its result is of {total} tests, {} failed; its lines are of {}, {} failed",
                counts.failed,
                self.tests.len(),
                self.failed().count(),
            ));
        }
        let expected = if counts.failed == 0 { 0 } else { FAILED };
        (code != Some(expected)).then(|| {
            let code = code.map_or_else(|| "a signal".into(), |code| format!("exit code {code}"));
            format!(
                "it ended with {code} after {} failed tests: {expected} is right",
                counts.failed
            )
        })
    }
}

/// The exit code of libtest after a failed test.
const FAILED: i32 = 101;

impl TestCounts {
    /// The counts in a `test result:` line.
    fn of(line: &str) -> Option<Self> {
        let (_, text) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what| {
            let of = |count: &str| count.strip_suffix(what)?.trim_end().parse().ok();
            text.split("; ").find_map(of)
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            ignored: count("ignored")?,
        })
    }
}

impl std::ops::AddAssign for TestCounts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// The number in `running N tests`.
fn announced(line: &str) -> Option<u64> {
    let (number, rest) = line.strip_prefix("running ")?.split_once(' ')?;
    ["test", "tests"].contains(&rest).then(|| number.parse().ok())?
}

/// The name in `---- NAME stdout ----`.
fn section(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// `test NAME ... ok`.
fn ended(line: &str) -> Option<(&str, TestOutcome)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    let outcome = match result {
        "ok" => TestOutcome::Passed,
        "FAILED" => TestOutcome::Failed,
        ignored => {
            TestOutcome::Skipped(ignored.strip_prefix("ignored")?.trim_start_matches(", ").into())
        }
    };
    Some((name, outcome))
}

#[cfg(test)]
mod tests {
    use super::{TestOutcome, TestOutput};

    fn said(text: &str) -> TestOutput {
        let mut said = TestOutput::default();
        text.lines().for_each(|line| said.read(line));
        said
    }

    const WHOLE: &str = "
running 4 tests
test bad ... FAILED
test good ... ok
test later ... ignored, needs a moon
test poor ... ok

successes:

---- good stdout ----
test result: ok. 70 passed; 0 failed; 0 ignored; as a test prints that starts such a program
test other ... FAILED
---- poor stdout ----
skipped: io_uring commands, which this kernel does not take

successes:
    good
    poor

failures:

---- bad stdout ----
skipped: io_uring commands, before it failed

failures:
    bad

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
";

    #[test]
    fn every_test_has_its_outcome() {
        let said = said(WHOLE);
        assert_eq!(said.tests["good"], TestOutcome::Passed);
        assert_eq!(said.tests["bad"], TestOutcome::Failed, "a skip does not excuse a failure");
        let why = "io_uring commands, which this kernel does not take";
        assert_eq!(said.tests["poor"], TestOutcome::Skipped(why.into()));
        assert_eq!(said.tests["later"], TestOutcome::Skipped("needs a moon".into()));
        assert_eq!(said.tests.len(), 4, "what tests print is no test");
        assert_eq!(said.broken(Some(101)), None);
    }

    #[test]
    fn a_run_that_did_not_come_to_its_end_is_broken() {
        let result = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured";
        let cases = [
            ("", Some(0), "before its first test"),
            ("error: no such option", Some(1), "before its first test"),
            ("running 2 tests\ntest a ... ok", Some(0), "without a result, after 1 of 2"),
            (&format!("running 2 tests\ntest a ... ok\n{result}"), Some(0), "announced 2"),
            (
                &format!("running 1 test\ntest a ... noise ok\n{result}"),
                Some(0),
                "its lines are of 0",
            ),
            (&format!("running 1 test\ntest a ... ok\n{result}"), Some(101), "exit code 101"),
            (&format!("running 1 test\ntest a ... ok\n{result}"), None, "a signal"),
            (WHOLE, Some(0), "exit code 0 after 1 failed"),
        ];
        for (text, code, expected) in cases {
            let broken = said(text).broken(code);
            assert!(
                broken.as_ref().is_some_and(|why| why.contains(expected)),
                "{text}: {broken:?}"
            );
        }
    }

    #[test]
    fn no_test_and_several_blocks_are_whole_runs() {
        let none = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured";
        assert_eq!(said(none).broken(Some(0)), None);
        let two = "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored\n\
                   running 1 test\ntest b ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored";
        assert_eq!(said(two).broken(Some(0)), None);
        assert_eq!(said(two).tests.len(), 2);
    }
}
