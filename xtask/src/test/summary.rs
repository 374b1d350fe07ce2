//! What a test run came to, and its last lines.

use std::fmt;

/// The tests of one run. Nothing that is added here is ever taken away again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    /// Tests that failed, also when they were repeated.
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// Binaries that crashed, hung or ended early, and how.
    pub(crate) crashed: Vec<Crash>,
    /// Tests that failed, and passed when they were repeated. They are among those that passed.
    pub(crate) flaky: Vec<String>,
    /// What else makes a run red, in words.
    pub(crate) broken: Vec<String>,
}

/// A binary that did not come to its end: what its other tests would have shown, nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Crash {
    pub(crate) binary: String,
    pub(crate) how: String,
}

impl Summary {
    /// All that makes the run red. A crash counts as one.
    pub(crate) const fn n_failed(&self) -> u64 {
        self.failed + self.crashed.len() as u64 + self.broken.len() as u64
    }

    pub(crate) const fn is_green(&self) -> bool {
        self.n_failed() == 0
    }

    /// Red if more tests passed only when they were repeated than `most`. `where_from` names the budget.
    pub(crate) fn hold_to_budget(&mut self, most: usize, where_from: &str) {
        let n = self.flaky.len();
        if n > most {
            self.broken.push(format!(
                "{n} tests passed only when they were repeated, the budget is {most} ({where_from})"
            ));
        }
    }
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.crashed.extend(other.crashed);
        self.flaky.extend(other.flaky);
        self.broken.extend(other.broken);
    }
}

/// The last lines: the plain sum, which programs read. If something crashed or passed only when it was
/// repeated, the sum stands there again, with the names.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Crash { binary, how } in &self.crashed {
            writeln!(f, "crashed: {binary}: {how}")?;
        }
        for rule in &self.broken {
            writeln!(f, "broken: {rule}")?;
        }
        let plain =
            format!("{} passed, {} failed, {} skipped", self.passed, self.n_failed(), self.skipped);
        f.write_str(&plain)?;
        let crashed: Vec<&str> = self.crashed.iter().map(|crash| crash.binary.as_str()).collect();
        let named =
            [("crashed", crashed), ("flaky", self.flaky.iter().map(|name| &**name).collect())];
        let named = named.iter().filter(|(_, names)| !names.is_empty());
        let named: Vec<String> = named
            .map(|(what, names)| format!("{} {what}: {}", names.len(), names.join(", ")))
            .collect();
        if named.is_empty() { Ok(()) } else { write!(f, "\n{plain}, {}", named.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Crash, Summary};

    fn crash() -> Crash {
        Crash { binary: "deaths".into(), how: "it was killed by signal: 6 (SIGABRT)".into() }
    }

    #[test]
    fn the_plain_sum_is_the_last_line() {
        let mut sum = Summary { passed: 3, failed: 1, skipped: 1, ..Summary::default() };
        sum += Summary { passed: 4, failed: 1, ..Summary::default() };
        assert_eq!(sum.to_string(), "7 passed, 2 failed, 1 skipped");
        assert!(!sum.is_green());
    }

    #[test]
    fn what_passed_only_when_repeated_is_named_in_the_last_line() {
        let flaky = ["deaths::one".to_owned(), "life::two".to_owned()];
        let sum = Summary { passed: 501, flaky: flaky.into(), ..Summary::default() };
        let lines = "501 passed, 0 failed, 0 skipped\n\
                     501 passed, 0 failed, 0 skipped, 2 flaky: deaths::one, life::two";
        assert_eq!(sum.to_string(), lines);
        assert!(sum.is_green());
    }

    #[test]
    fn a_crash_is_a_failure_of_its_own_whatever_is_added() {
        let mut sum = Summary { passed: 9, crashed: vec![crash()], ..Summary::default() };
        sum += Summary { passed: 1, flaky: vec!["life::two".into()], ..Summary::default() };
        let lines = "crashed: deaths: it was killed by signal: 6 (SIGABRT)\n\
                     10 passed, 1 failed, 0 skipped\n\
                     10 passed, 1 failed, 0 skipped, 1 crashed: deaths; 1 flaky: life::two";
        assert_eq!(sum.to_string(), lines);
        assert!(!sum.is_green());
    }

    #[test]
    fn above_its_budget_repetition_is_red() {
        let flaky = vec!["a".to_owned(), "b".to_owned()];
        let mut sum = Summary { passed: 5, flaky, ..Summary::default() };
        sum.hold_to_budget(2, "here");
        assert!(sum.is_green());
        sum.hold_to_budget(1, "MOST in here");
        assert!(!sum.is_green());
        let lines = "broken: 2 tests passed only when they were repeated, the budget is 1 (MOST in here)\n\
                     5 passed, 1 failed, 0 skipped\n\
                     5 passed, 1 failed, 0 skipped, 2 flaky: a, b";
        assert_eq!(sum.to_string(), lines);
    }
}
