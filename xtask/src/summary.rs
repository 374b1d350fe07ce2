//! What a test run came to: the `test result:` lines of all its binaries, summed.

use std::fmt;

/// The tests of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Summary {
    /// Adds what a line of the runner's output says, if it is one that counts.
    pub(crate) fn read(&mut self, line: &str) {
        let Some((_, counts)) =
            line.trim().strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else {
                continue;
            };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }

    /// The name in a line that says that a test failed.
    pub(crate) fn failed_test(line: &str) -> Option<&str> {
        line.trim_end().strip_prefix("test ")?.strip_suffix(" ... FAILED")
    }

    /// Takes in how tests that had failed ended when they ran again.
    pub(crate) fn corrected(&mut self, again: Self) {
        self.passed += again.passed;
        self.skipped += again.skipped;
        self.failed = (self.failed.saturating_sub(again.passed + again.skipped)).max(again.failed);
    }

    /// A run that failed although no test did: a crash, a build error. It counts as one failure.
    pub(crate) const fn ended(&mut self, success: bool) {
        if !success && self.failed == 0 {
            self.failed = 1;
        }
    }
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    fn read(lines: &[&str]) -> Summary {
        let mut summary = Summary::default();
        for line in lines {
            summary.read(line);
        }
        summary
    }

    #[test]
    fn the_results_of_all_binaries_add_up() {
        let summary = read(&[
            "running 3 tests",
            "test one ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.00s",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ]);
        assert_eq!(summary, Summary { passed: 7, failed: 2, skipped: 1 });
        assert_eq!(summary.to_string(), "7 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn other_lines_count_for_nothing() {
        let lines = ["5 passed; 1 failed", "test result: strange", "test passed ... ok", ""];
        assert_eq!(read(&lines), Summary::default());
    }

    #[test]
    fn a_test_that_fails_alone_as_well_has_failed() {
        assert_eq!(Summary::failed_test("test one::two ... FAILED\n"), Some("one::two"));
        assert_eq!(Summary::failed_test("test one::two ... ok\n"), None);
        let mut sum = Summary { passed: 7, failed: 2, skipped: 0 };
        sum.corrected(Summary { passed: 1, failed: 1, skipped: 0 });
        assert_eq!(sum, Summary { passed: 8, failed: 1, skipped: 0 });
    }

    #[test]
    fn a_crash_without_a_failed_test_is_a_failure() {
        let mut crashed = read(&["test result: ok. 3 passed; 0 failed; 0 ignored"]);
        crashed.ended(false);
        assert_eq!(crashed.failed, 1);
        let mut failed = Summary { failed: 2, ..Summary::default() };
        failed.ended(false);
        assert_eq!(failed.failed, 2);
    }
}
