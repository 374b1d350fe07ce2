//! What a guest reports: lines in, results of tests out. `tests/src/bin/guest.rs` writes it.

use super::suite::ANY;
use crate::test::libtest::{TestOutcome, TestOutput};
use std::collections::{BTreeMap, BTreeSet};

/// One line of a report.
pub(crate) enum GuestLine {
    /// The guest's own: words after the `@`.
    Mark(String),
    /// A line that a test printed.
    Output(String),
}

impl GuestLine {
    pub(crate) fn of(text: &str) -> Self {
        let text = text.trim_end();
        match text.strip_prefix('@') {
            Some(mark) => Self::Mark(mark.into()),
            None => Self::Output(text.into()),
        }
    }
}

/// A suite's run with one mechanism. Tests that fail in it are run again, alone: what they came to then
/// takes the place of the failure, and nothing else is forgotten.
#[derive(Debug, Default)]
pub(crate) struct SuiteRun {
    pub(crate) suite: String,
    pub(crate) mechanism: String,
    pub(crate) tests: BTreeMap<String, TestOutcome>,
    /// Tests that failed, and did not when they were repeated.
    pub(crate) flaky: BTreeSet<String>,
    /// Why it did not come to its end, if it did not: the first time, or when tests were repeated.
    pub(crate) broken: Option<String>,
    pub(crate) seconds: f64,
    /// The exit code of the last of both.
    pub(crate) success: bool,
    pub(crate) output: Vec<String>,
    /// What is being read.
    said: TestOutput,
}

/// All that a guest said.
#[derive(Debug, Default)]
pub(crate) struct GuestReport {
    /// `6.12.117+deb13-cloud-amd64`, or what stands in Debian's package: `6.12.117-1`.
    pub(crate) version: String,
    pub(crate) features: BTreeMap<String, bool>,
    pub(crate) doctor: Vec<String>,
    pub(crate) runs: Vec<SuiteRun>,
    pub(crate) errors: Vec<String>,
    done: bool,
}

impl GuestReport {
    /// Takes a line. Returns a run that ends with it.
    pub(crate) fn read(&mut self, line: GuestLine) -> Option<&SuiteRun> {
        match line {
            GuestLine::Mark(mark) => {
                self.mark(&mark);
                mark.starts_with("end ").then(|| self.runs.last())?
            }
            GuestLine::Output(text) => {
                self.runs.last_mut()?.read(text);
                None
            }
        }
    }

    fn mark(&mut self, mark: &str) {
        let (what, rest) = mark.split_once(' ').unwrap_or((mark, ""));
        match what {
            "kernel" => self.version = version(rest),
            "feature" => {
                let (has, name) = rest.split_once(' ').unwrap_or((rest, ""));
                self.features.insert(name.into(), has == "yes");
            }
            "doctor" => self.doctor.push(rest.into()),
            "begin" => {
                let (suite, mechanism) = rest.split_once(' ').unwrap_or((rest, ANY));
                let before =
                    self.runs.pop_if(|run| run.suite == suite && run.mechanism == mechanism);
                let (suite, mechanism) = (suite.into(), mechanism.into());
                let run =
                    before.unwrap_or_else(|| SuiteRun { suite, mechanism, ..SuiteRun::default() });
                self.runs.push(SuiteRun { success: false, output: Vec::new(), ..run });
            }
            "end" => {
                let mut words = rest.split(' ').skip(2);
                if let Some(run) = self.runs.last_mut() {
                    run.end(words.next().and_then(|code| code.parse().ok()));
                    run.seconds = words.next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
                }
            }
            "error" => self.errors.push(rest.into()),
            "done" => self.done = true,
            _ => self.errors.push(format!("the report has a line @{mark}")),
        }
    }

    /// keepwatch says that with this mechanism forced it has the keepalive timer.
    pub(crate) fn doctor_has(&self, mechanism: &str) -> bool {
        let carried = r#""check":"keepalive_timer","grade":"ok""#;
        self.doctor.iter().any(|line| line.starts_with(mechanism) && line.contains(carried))
    }

    /// The guest reached the end of its plan, or printed why not.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }
}

impl SuiteRun {
    /// Takes in what was read since it began.
    fn end(&mut self, code: Option<i32>) {
        self.success = code == Some(0);
        let said = std::mem::take(&mut self.said);
        self.broken = self.broken.take().or_else(|| said.broken(code));
        for (name, outcome) in said.tests {
            let before = self.tests.insert(name.clone(), outcome.clone());
            if before == Some(TestOutcome::Failed) && outcome != TestOutcome::Failed {
                self.flaky.insert(name);
            }
        }
    }

    fn read(&mut self, line: String) {
        self.said.read(&line);
        self.output.push(line);
    }
}

/// The version of Debian's package in /proc/version, else the release.
fn version(text: &str) -> String {
    let after = |key: &str| text.split(key).nth(1)?.split_whitespace().next();
    after(" Debian ").or_else(|| after("Linux version ")).unwrap_or(text).into()
}

#[cfg(test)]
mod tests {
    use super::{GuestLine, GuestReport, TestOutcome};
    use std::collections::BTreeSet;

    const REPORT: &str = "\
@kernel Linux version 6.12.117+deb13-cloud-amd64 (debian-kernel@lists.debian.org) (gcc) #1 SMP Debian 6.12.117-1 (2026-10-01)\r
@feature yes fentry\r
@feature no io_uring commands\r
@begin law_1_truth kprobe\r
running 4 tests\r
test good ... ok\r
test poor ... ok\r
test bad ... FAILED\r
test later ... ignored, needs a moon\r
\r
successes:\r
\r
---- poor stdout ----\r
skipped: io_uring commands, which this kernel does not take\r
\r
failures:\r
\r
---- bad stdout ----\r
skipped: io_uring commands, before it failed\r
\r
test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured\r
\r
@end law_1_truth kprobe 101 12.5\r
@done\r";

    fn read(text: &str) -> GuestReport {
        let mut report = GuestReport::default();
        for line in text.lines() {
            let _ended = report.read(GuestLine::of(line));
        }
        report
    }

    #[test]
    fn a_report_is_read_to_the_last_test() {
        let report = read(REPORT);
        assert!(report.is_done());
        assert_eq!(report.version, "6.12.117-1");
        assert!(report.features["fentry"] && !report.features["io_uring commands"]);
        let [run] = &report.runs[..] else { panic!("one run") };
        assert_eq!((run.suite.as_str(), run.mechanism.as_str()), ("law_1_truth", "kprobe"));
        assert!(!run.success && run.seconds > 12.0);
        assert_eq!(run.tests["good"], TestOutcome::Passed);
        assert_eq!(run.tests["bad"], TestOutcome::Failed, "a skip does not excuse a failure");
        let why = "io_uring commands, which this kernel does not take";
        assert_eq!(run.tests["poor"], TestOutcome::Skipped(why.into()));
        assert!(run.broken.is_none() && run.flaky.is_empty());
        assert_eq!(run.tests["later"], TestOutcome::Skipped("needs a moon".into()));
    }

    /// `bad` is repeated, and passes.
    const AGAIN: &str = "@begin law_1_truth kprobe\nrunning 1 test\ntest bad ... ok\n\
        test result: ok. 1 passed; 0 failed; 0 ignored\n@end law_1_truth kprobe 0 2.5\n@done";

    #[test]
    fn a_test_that_passes_alone_has_passed_and_is_flaky() {
        let report = read(&REPORT.replace("@done", AGAIN));
        let [run] = &report.runs[..] else { panic!("one run") };
        assert!(run.success && run.tests["bad"] == TestOutcome::Passed);
        assert_eq!(run.tests["good"], TestOutcome::Passed);
        assert_eq!(run.flaky, BTreeSet::from(["bad".to_owned()]));
        assert_eq!(run.broken, None);
    }

    #[test]
    fn a_crash_is_remembered_although_all_that_failed_passes_alone() {
        let crashed = REPORT.replace("test result: FAILED", "Segmentation fault");
        let report = read(&crashed.replace("@done", AGAIN));
        let [run] = &report.runs[..] else { panic!("one run") };
        assert_eq!(run.tests["bad"], TestOutcome::Passed);
        assert!(run.broken.as_ref().is_some_and(|how| how.contains("without a result")), "{run:?}");
    }

    #[test]
    fn a_report_that_breaks_off_is_not_done() {
        let report = read(REPORT.split("@end").next().expect("a part"));
        assert!(!report.is_done());
        assert!(!report.runs[0].success);
    }
}
