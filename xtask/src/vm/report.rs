//! What a guest reports: lines in, results of tests out. `tests/src/bin/guest.rs` writes it.

use super::suite::ANY;
use std::collections::BTreeMap;

/// One line of a report.
pub(crate) enum Line {
    /// The guest's own: words after the `@`.
    Mark(String),
    /// A test's.
    Output(String),
}

impl Line {
    pub(crate) fn of(text: &str) -> Self {
        let text = text.trim_end();
        match text.strip_prefix('@') {
            Some(mark) => Self::Mark(mark.into()),
            None => Self::Output(text.into()),
        }
    }
}

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// What it left out, in its own words: `WHAT, why`.
    Skipped(String),
}

/// A suite's run with one mechanism. Tests that fail in it are run again, alone: that run takes its place,
/// with what passed before.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) suite: String,
    pub(crate) mechanism: String,
    pub(crate) tests: BTreeMap<String, Outcome>,
    pub(crate) seconds: f64,
    /// What libtest said as a whole: false as well if it did not get that far.
    pub(crate) success: bool,
    pub(crate) output: Vec<String>,
    /// The test whose output is being read.
    section: Option<String>,
}

/// All that a guest said.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// `6.12.117+deb13-cloud-amd64`, or what stands in Debian's package: `6.12.117-1`.
    pub(crate) version: String,
    pub(crate) features: BTreeMap<String, bool>,
    pub(crate) doctor: Vec<String>,
    pub(crate) runs: Vec<Run>,
    pub(crate) errors: Vec<String>,
    done: bool,
}

impl Report {
    /// Takes a line. Returns a run that ends with it.
    pub(crate) fn read(&mut self, line: Line) -> Option<&Run> {
        match line {
            Line::Mark(mark) => {
                self.mark(&mark);
                mark.starts_with("end ").then(|| self.runs.last())?
            }
            Line::Output(text) => {
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
                let tests = before.map(|run| run.tests).unwrap_or_default();
                self.runs.push(Run { suite, mechanism, tests, ..Run::default() });
            }
            "end" => {
                let mut words = rest.split(' ').skip(2);
                if let Some(run) = self.runs.last_mut() {
                    run.success = words.next() == Some("0");
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

    /// The guest reached the end of its plan, or said why not.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }
}

impl Run {
    /// It failed, and no test of it did.
    pub(crate) fn broke_off(&self) -> bool {
        !self.success && !self.tests.values().any(|outcome| *outcome == Outcome::Failed)
    }

    fn read(&mut self, line: String) {
        if let Some((name, outcome)) = result(&line) {
            self.tests.insert(name.into(), outcome);
        } else if let Some(rest) = line.strip_prefix("---- ") {
            self.section = rest.split(' ').next().map(Into::into);
        } else if let (Some(what), Some(name)) = (line.strip_prefix("skipped: "), &self.section) {
            let outcome = self.tests.entry(name.clone()).or_insert(Outcome::Failed);
            if *outcome == Outcome::Passed {
                *outcome = Outcome::Skipped(what.into());
            }
        }
        self.output.push(line);
    }
}

/// `test NAME ... ok` of libtest.
fn result(line: &str) -> Option<(&str, Outcome)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let outcome = match result {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        ignored => {
            Outcome::Skipped(ignored.strip_prefix("ignored")?.trim_start_matches(", ").into())
        }
    };
    Some((name, outcome))
}

/// The version of Debian's package in /proc/version, else the release.
fn version(text: &str) -> String {
    let after = |key: &str| text.split(key).nth(1)?.split_whitespace().next();
    after(" Debian ").or_else(|| after("Linux version ")).unwrap_or(text).into()
}

#[cfg(test)]
mod tests {
    use super::{Line, Outcome, Report};

    const REPORT: &str = "\
@kernel Linux version 6.12.117+deb13-cloud-amd64 (debian-kernel@lists.debian.org) (gcc) #1 SMP Debian 6.12.117-1 (2026-10-01)\r
@feature yes fentry\r
@feature no io_uring commands\r
@begin law_1_truth kprobe\r
running 3 tests\r
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
@end law_1_truth kprobe 101 12.5\r
@done\r";

    fn read(text: &str) -> Report {
        let mut report = Report::default();
        for line in text.lines() {
            let _ended = report.read(Line::of(line));
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
        assert_eq!(run.tests["good"], Outcome::Passed);
        assert_eq!(run.tests["bad"], Outcome::Failed, "a skip does not excuse a failure");
        let why = "io_uring commands, which this kernel does not take";
        assert_eq!(run.tests["poor"], Outcome::Skipped(why.into()));
        assert_eq!(run.tests["later"], Outcome::Skipped("needs a moon".into()));
    }

    #[test]
    fn a_test_that_passes_alone_has_passed() {
        let again =
            "@begin law_1_truth kprobe\ntest bad ... ok\n@end law_1_truth kprobe 0 2.5\n@done";
        let report = read(&REPORT.replace("@done", again));
        let [run] = &report.runs[..] else { panic!("one run") };
        assert!(run.success && run.tests["bad"] == Outcome::Passed);
        assert_eq!(run.tests["good"], Outcome::Passed);
    }

    #[test]
    fn a_report_that_breaks_off_is_not_done() {
        let report = read(REPORT.split("@end").next().expect("a part"));
        assert!(!report.is_done());
        assert!(!report.runs[0].success);
    }
}
