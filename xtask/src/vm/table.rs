//! The table of test by kernel by mechanism, and what it comes to.

use super::{
    report::{GuestReport, SuiteRun},
    suite::{self, ANY, MECHANISMS, Suite},
};
use crate::test::{
    libtest::TestOutcome,
    summary::{Crash, Summary},
};
use std::collections::BTreeSet;

/// A kernel and what its guest said.
pub(crate) struct KernelColumn {
    pub(crate) series: &'static str,
    /// What its guest was to run.
    pub(crate) planned: Vec<PlannedRun>,
    pub(crate) report: GuestReport,
}

/// A suite with one mechanism.
#[derive(Clone, Copy)]
pub(crate) struct PlannedRun {
    pub(crate) suite: &'static Suite,
    pub(crate) mechanism: &'static str,
}

/// One test with one mechanism on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TestCell {
    Passed,
    Failed(String),
    /// The kernel lacks what the test shows.
    Skipped(String),
    /// The kernel lacks the mechanism.
    Absent,
    /// In brief, other kernels show it.
    NotPlanned,
}

/// The results of all suites on all kernels.
pub(crate) struct ResultTable<'a> {
    columns: &'a [KernelColumn],
    suites: Vec<&'a Suite>,
    rows: Vec<TestRow<'a>>,
}

struct TestRow<'a> {
    suite: &'a Suite,
    test: String,
    /// By kernel, then by mechanism.
    cells: Vec<Vec<(&'static str, TestCell)>>,
}

impl<'a> ResultTable<'a> {
    /// Judges the reports.
    pub(crate) fn of(columns: &'a [KernelColumn], suites: &[&'a Suite]) -> Self {
        let rows = suites.iter().flat_map(|suite| {
            let is_forced = |name: &&str| columns.iter().any(|column| column.plans(suite, name));
            let mechanisms: Vec<_> = suite.mechanisms().iter().copied().filter(is_forced).collect();
            names(columns, suite).into_iter().map(move |test| {
                let of_kernel = |column: &KernelColumn| {
                    let cell = |name| (name, judge(column, suite, name, &test));
                    mechanisms.iter().copied().map(cell).collect()
                };
                TestRow { suite, cells: columns.iter().map(of_kernel).collect(), test }
            })
        });
        Self { rows: rows.collect(), suites: suites.to_vec(), columns }
    }

    /// How many passed, and so on.
    pub(crate) fn sum(&self) -> Summary {
        let mut sum = Summary::default();
        for (row, column, mechanism, cell) in self.cells() {
            let binary = format!("{}/{mechanism}/{}", column.series, row.suite.name);
            match cell {
                TestCell::Passed if row.is_whole() => {}
                TestCell::Failed(how) if row.is_whole() => {
                    sum.crashed.push(Crash { binary, how: how.clone() });
                }
                TestCell::Passed => sum.passed += 1,
                TestCell::Failed(_) => sum.failed += 1,
                TestCell::Skipped(_) | TestCell::Absent => sum.skipped += 1,
                TestCell::NotPlanned => {}
            }
        }
        for column in self.columns {
            sum += flaky(column);
        }
        sum
    }

    /// One line for each that failed.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = self.cells().filter_map(|(row, column, mechanism, cell)| match cell {
            TestCell::Failed(why) => {
                let (suite, test, series) = (row.suite.name, &row.test, column.series);
                Some(format!("{series} {mechanism} {suite} {test}: {why}"))
            }
            _ => None,
        });
        failed.collect()
    }

    /// Suites without a test that ran anywhere.
    pub(crate) fn without_tests(&self) -> impl Iterator<Item = &'static str> {
        let is_shown = |suite: &Suite| self.rows.iter().any(|row| row.suite.name == suite.name);
        self.suites.iter().filter(move |suite| !is_shown(suite)).map(|suite| suite.name)
    }

    fn cells(
        &self,
    ) -> impl Iterator<Item = (&TestRow<'a>, &KernelColumn, &'static str, &TestCell)> {
        self.rows.iter().flat_map(|row| {
            let columns = self.columns.iter().zip(&row.cells);
            columns.flat_map(move |(column, cells)| {
                cells.iter().map(move |(mechanism, cell)| (row, column, *mechanism, cell))
            })
        })
    }

    /// Rows of Markdown, aligned: one of tests, a column for each kernel.
    pub(crate) fn markdown(&self) -> String {
        let kernels = self.columns.iter().map(|column| column.series.to_owned());
        let mut lines = vec![std::iter::once("test".to_owned()).chain(kernels).collect::<Vec<_>>()];
        let mut suite = "";
        for row in &self.rows {
            if row.suite.name != suite {
                suite = row.suite.name;
                let blank = self.columns.iter().map(|_| String::new());
                lines.push(std::iter::once(format!("**{suite}**")).chain(blank).collect());
            }
            let cells = row.cells.iter().map(|cells| shown(cells));
            let name = row.test.replace("::", ": ").replace('_', " ");
            lines.push(std::iter::once(name).chain(cells).collect());
        }
        aligned(&lines)
    }
}

impl KernelColumn {
    fn plans(&self, suite: &Suite, mechanism: &str) -> bool {
        let mut planned = self.planned.iter();
        planned.any(|run| run.suite.name == suite.name && run.mechanism == mechanism)
    }
}

impl TestRow<'_> {
    /// It answers for its suite as a whole.
    fn is_whole(&self) -> bool {
        self.test == WHOLE
    }
}

/// What passed only when it was repeated, held to the kernel's budget.
fn flaky(KernelColumn { series, report, .. }: &KernelColumn) -> Summary {
    let mut sum = Summary::default();
    for SuiteRun { suite, mechanism, flaky, .. } in &report.runs {
        let name = |test| format!("{series}/{mechanism}/{suite}::{test}");
        sum.flaky.extend(flaky.iter().map(name));
    }
    let budget = format!("of kernel {series}, in xtask/src/vm/suite.rs");
    sum.hold_to_budget(suite::most_flaky(series), &budget);
    sum
}

/// The tests that any kernel ran; a suite that ran none is a row of its own.
fn names(columns: &[KernelColumn], suite: &Suite) -> BTreeSet<String> {
    let runs = columns.iter().flat_map(|column| &column.report.runs);
    let of_suite = runs.filter(|run| run.suite == suite.name);
    let mut names: BTreeSet<String> = of_suite.flat_map(|run| run.tests.keys().cloned()).collect();
    let broke_off = |column: &KernelColumn| {
        let mut runs = runs_of(&column.report, suite).peekable();
        runs.peek().is_none() || runs.any(|run| run.broken.is_some())
    };
    let is_planned = |column: &KernelColumn| {
        suite.mechanisms().iter().any(|mechanism| column.plans(suite, mechanism))
    };
    if columns.iter().any(|column| is_planned(column) && broke_off(column)) {
        names.insert(WHOLE.into());
    }
    names
}

/// The row for what no single test answers for.
const WHOLE: &str = "runs to its end";

fn runs_of<'a>(report: &'a GuestReport, suite: &Suite) -> impl Iterator<Item = &'a SuiteRun> {
    let name = suite.name;
    report.runs.iter().filter(move |run| run.suite == name)
}

fn judge(column: &KernelColumn, suite: &Suite, mechanism: &str, test: &str) -> TestCell {
    if !column.plans(suite, mechanism) {
        return TestCell::NotPlanned;
    }
    let report = &column.report;
    if mechanism != ANY && report.features.get(mechanism) == Some(&false) {
        return if report.doctor_has(mechanism) {
            TestCell::Failed("did not run, although the doctor has the mechanism".into())
        } else {
            TestCell::Absent
        };
    }
    let Some(run) = runs_of(report, suite).find(|run| run.mechanism == mechanism) else {
        return TestCell::Failed("did not run".into());
    };
    if test == WHOLE {
        return run.broken.clone().map_or(TestCell::Passed, TestCell::Failed);
    }
    match run.tests.get(test) {
        None => TestCell::Failed("did not run".into()),
        Some(TestOutcome::Passed) => TestCell::Passed,
        Some(TestOutcome::Failed) => TestCell::Failed("failed".into()),
        Some(TestOutcome::Skipped(what)) => {
            let feature = what.split(',').next().unwrap_or_default();
            match report.features.get(feature) {
                Some(false) => TestCell::Skipped(what.clone()),
                Some(true) => {
                    TestCell::Failed(format!("left out although the kernel has it: {what}"))
                }
                None => TestCell::Failed(format!("left out, and no guest asks for it: {what}")),
            }
        }
    }
}

/// A letter for each mechanism, or a word.
fn shown(cells: &[(&str, TestCell)]) -> String {
    if let [(mechanism, cell)] = cells
        && *mechanism == ANY
    {
        return match cell {
            TestCell::Passed => "ok",
            TestCell::Failed(_) => "FAILED",
            TestCell::Skipped(_) => "partly",
            TestCell::Absent => "-",
            TestCell::NotPlanned => "",
        }
        .into();
    }
    let mut text = String::new();
    for (mechanism, cell) in cells {
        let name = mechanism.chars().next().unwrap_or('?');
        let letter = match cell {
            TestCell::Passed => name.to_ascii_uppercase(),
            TestCell::Failed(_) => '!',
            TestCell::Skipped(_) => name,
            TestCell::Absent => '-',
            TestCell::NotPlanned => ' ',
        };
        text.push(letter);
    }
    text
}

/// What the letters are.
pub(crate) fn legend() -> String {
    let letters = MECHANISMS.map(|name| {
        let letter = name.chars().next().unwrap_or('?').to_ascii_uppercase();
        format!("`{letter}` passed with {name}")
    });
    format!(
        "{}, a small letter: passed, except for what this kernel does not have, `-` this kernel has no such \
         mechanism, `!` failed. `ok` and `partly` stand for tests that force no mechanism.",
        letters.join(", ")
    )
}

/// A table of Markdown whose columns are straight in the source too.
pub(crate) fn aligned(lines: &[Vec<String>]) -> String {
    let n_columns = lines.first().map_or(0, Vec::len);
    let width = |at: usize| lines.iter().filter_map(|line| line.get(at)).map(String::len).max();
    let widths: Vec<usize> = (0..n_columns).map(|at| width(at).unwrap_or(0)).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            text += &format!("| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            let rules = widths.iter().map(|width| format!("|{}", "-".repeat(width + 2)));
            text.extend(rules);
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{KernelColumn, PlannedRun, ResultTable, Suite, aligned};
    use crate::vm::{
        report::{GuestLine, GuestReport},
        suite::{InCi, most_flaky},
    };

    static SUITE: Suite = Suite {
        name: "deaths",
        by_mechanism: true,
        in_ci: InCi::EachKernel,
        n_threads: 1,
        without: None,
    };

    /// A guest with kprobe and without fentry, whose `deaths` says this with kprobe.
    fn column(lines: &str) -> KernelColumn {
        let mut report = GuestReport::default();
        let before = "@feature no fentry\n@feature yes kprobe\n@feature no io_uring commands\n\
                      @feature yes a middlebox\n@begin deaths kprobe\n";
        let n = lines.matches(" ... ok").count();
        let (begin, end) = (
            format!("running {n} tests"),
            format!("test result: ok. {n} passed; 0 failed; 0 ignored"),
        );
        let tests = [&begin].into_iter().map(String::as_str).chain(lines.lines());
        let after = [&end, "@end deaths kprobe 0 1.0"];
        for line in before.lines().chain(tests).chain(after) {
            let _run = report.read(GuestLine::of(line));
        }
        KernelColumn { series: "6.1", planned: vec![run_with("kprobe")], report }
    }

    fn run_with(mechanism: &'static str) -> PlannedRun {
        PlannedRun { suite: &SUITE, mechanism }
    }

    fn judged(lines: &str, mechanism: &'static str) -> (String, Vec<String>) {
        let columns = [KernelColumn { planned: vec![run_with(mechanism)], ..column(lines) }];
        let table = ResultTable::of(&columns, &[&SUITE]);
        (table.sum().to_string(), table.failures())
    }

    const LEFT_OUT: &str = "successes:\n---- dies stdout ----\nskipped: ";

    #[test]
    fn what_passed_is_counted_by_kernel_and_mechanism() {
        let (sum, failures) = judged("test dies ... ok\ntest lives ... ok", "kprobe");
        assert_eq!((sum.as_str(), failures), ("2 passed, 0 failed, 0 skipped", vec![]));
    }

    #[test]
    fn what_the_kernel_lacks_may_be_left_out() {
        let lines = format!("test dies ... ok\n{LEFT_OUT}io_uring commands, which it refuses");
        let (sum, failures) = judged(&lines, "kprobe");
        assert_eq!((sum.as_str(), failures), ("0 passed, 0 failed, 1 skipped", vec![]));
    }

    #[test]
    fn what_the_kernel_has_may_not_be_left_out() {
        for what in ["a middlebox, which it cannot be", "something that no guest asks for"] {
            let (sum, failures) = judged(&format!("test dies ... ok\n{LEFT_OUT}{what}"), "kprobe");
            assert_eq!(sum, "0 passed, 1 failed, 0 skipped");
            assert!(failures[0].contains(what), "{failures:?}");
        }
    }

    #[test]
    fn a_mechanism_that_the_kernel_lacks_is_not_missed() {
        assert_eq!(judged("test dies ... ok", "fentry").0, "0 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn a_mechanism_that_only_the_guest_misses_is() {
        let mut column = column("test dies ... ok");
        let said = r#"@doctor fentry {"check":"keepalive_timer","grade":"ok","found":"attached"}"#;
        let _run = column.report.read(GuestLine::of(said));
        column.planned = vec![run_with("fentry")];
        let columns = [column];
        assert_eq!(ResultTable::of(&columns, &[&SUITE]).sum().failed, 1);
    }

    #[test]
    fn a_suite_that_did_not_run_or_broke_off_is_a_crash_of_its_own() {
        let (sum, failures) = judged("test dies ... ok", "tracepoint");
        assert_eq!(sum, "0 passed, 1 failed, 0 skipped");
        assert!(failures[0].contains("did not run"), "{failures:?}");
        let mut column = column("test dies ... ok");
        column.report.runs[0].broken = Some("it was killed".into());
        column.report.runs[0].flaky.insert("dies".into());
        let columns = [column];
        let table = ResultTable::of(&columns, &[&SUITE]);
        let sum = table.sum().to_string();
        let last = "1 passed, 1 failed, 0 skipped, 1 crashed: 6.1/kprobe/deaths; 1 flaky: \
                    6.1/kprobe/deaths::dies";
        assert_eq!(sum.lines().last(), Some(last));
        assert!(table.failures()[0].contains("it was killed"));
    }

    #[test]
    fn what_was_not_planned_is_neither_counted_nor_missed() {
        let mut other = column("test dies ... ok");
        (other.series, other.planned) = ("6.12", Vec::new());
        other.report.runs.clear();
        let columns = [column("test dies ... ok"), other];
        let table = ResultTable::of(&columns, &[&SUITE]);
        assert_eq!(table.sum().to_string(), "1 passed, 0 failed, 0 skipped");
        assert!(table.markdown().contains("| dies       | K   |      |"), "{}", table.markdown());
    }

    #[test]
    fn a_suite_without_tests_is_named() {
        let empty = |lines: &str| {
            let columns = [column(lines)];
            ResultTable::of(&columns, &[&SUITE]).without_tests().collect::<Vec<_>>()
        };
        assert_eq!(empty(""), ["deaths"]);
        assert_eq!(empty("test dies ... ok"), [""; 0]);
    }

    #[test]
    fn above_its_budget_a_kernel_is_red() {
        let flaky = |n: usize| {
            let mut column = column("test dies ... ok");
            column.report.runs[0].flaky.extend((0..n).map(|number| number.to_string()));
            let columns = [column];
            ResultTable::of(&columns, &[&SUITE]).sum()
        };
        let most = most_flaky("6.1");
        assert!(flaky(most).is_green());
        let above = flaky(most + 1);
        assert!(!above.is_green() && above.to_string().contains("of kernel 6.1"), "{above}");
    }

    #[test]
    fn columns_are_straight() {
        let row = |cells: [&str; 2]| cells.map(String::from).to_vec();
        let text = aligned(&[row(["test", "6.1"]), row(["it works", "ok"])]);
        assert_eq!(text, "| test     | 6.1 |\n|----------|-----|\n| it works | ok  |\n");
    }
}
