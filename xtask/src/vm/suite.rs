//! Which tests run in guests, and how: the one list.

use super::kernel::KERNELS;

/// A file of `tests/tests`.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    /// Once for each mechanism that a kernel has, or once.
    pub(crate) by_mechanism: bool,
    /// The kernels of `--brief`.
    pub(crate) in_ci: InCi,
    /// Tests that run at the same time.
    pub(crate) n_threads: u8,
    /// Tests with this in their name are left to the host: they are of size, not of kernels.
    pub(crate) without: Option<&'static str>,
}

/// Where CI runs a suite: an emulated kernel takes twenty minutes for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InCi {
    /// It shows the hooks and what they read, which differ by kernel.
    EachKernel,
    /// It shows what the agent makes of that, beside what the oldest kernel lacks and the newest changed.
    OldestAndNewest,
}

/// The mechanisms that carry the keepalive timer, as `--hooks` names them, best first.
pub(crate) const MECHANISMS: [&str; 3] = ["fentry", "kprobe", "tracepoint"];
/// For a suite that does not depend on one.
pub(crate) const ANY: &str = "any";

/// What runs in every guest.
pub(crate) const SUITES: [Suite; 17] = [
    Suite {
        name: "law_1_truth",
        by_mechanism: false,
        in_ci: InCi::EachKernel,
        n_threads: 2,
        without: None,
    },
    Suite {
        name: "life",
        by_mechanism: false,
        in_ci: InCi::EachKernel,
        n_threads: 2,
        without: Some("ten_thousand"),
    },
    Suite {
        name: "sandbox",
        by_mechanism: false,
        in_ci: InCi::EachKernel,
        n_threads: 2,
        without: None,
    },
    Suite {
        name: "without_descriptor",
        by_mechanism: false,
        in_ci: InCi::OldestAndNewest,
        n_threads: 2,
        without: None,
    },
    // setpriv(1) and unshare(1), of this and the next, are on the host; so is sh(1).
    Suite {
        name: "fix",
        by_mechanism: false,
        in_ci: InCi::OldestAndNewest,
        n_threads: 2,
        // What is halted at each of its calls takes minutes under emulation.
        without: Some(
            "capability --skip by_a_shell --skip killed --skip sets_meanwhile --skip handed_to --skip several_owners",
        ),
    },
    // Nor is sh(1) in a guest.
    Suite {
        name: "drill",
        by_mechanism: false,
        in_ci: InCi::OldestAndNewest,
        n_threads: 2,
        without: Some("capability --skip old_kernel"),
    },
    Suite {
        name: "source_proc",
        by_mechanism: false,
        in_ci: InCi::OldestAndNewest,
        n_threads: 2,
        without: Some("capabilit"),
    },
    Suite {
        name: "clues",
        by_mechanism: false,
        in_ci: InCi::OldestAndNewest,
        n_threads: 2,
        without: None,
    },
    // One clock for all tests of a guest.
    Suite {
        name: "clock_set",
        by_mechanism: false,
        in_ci: InCi::OldestAndNewest,
        n_threads: 1,
        without: None,
    },
    Suite {
        name: "busy",
        by_mechanism: false,
        in_ci: InCi::OldestAndNewest,
        n_threads: 1,
        without: None,
    },
    Suite {
        name: "conservation",
        by_mechanism: false,
        in_ci: InCi::EachKernel,
        n_threads: 2,
        without: None,
    },
    Suite {
        name: "life_of_a_connection",
        by_mechanism: true,
        in_ci: InCi::EachKernel,
        n_threads: 8,
        without: None,
    },
    // What is kept is watched for half a minute, on the host: nothing in it is of a kernel.
    // There is no program to be a job (`whose`), either.
    Suite {
        name: "judgement",
        by_mechanism: false,
        in_ci: InCi::OldestAndNewest,
        n_threads: 4,
        without: Some("keep --skip whose"),
    },
    Suite {
        name: "deaths",
        by_mechanism: true,
        in_ci: InCi::EachKernel,
        n_threads: 8,
        without: None,
    },
    Suite {
        name: "settings",
        by_mechanism: true,
        in_ci: InCi::EachKernel,
        n_threads: 4,
        without: None,
    },
    Suite {
        name: "hook_log",
        by_mechanism: true,
        in_ci: InCi::OldestAndNewest,
        n_threads: 2,
        without: None,
    },
    Suite {
        name: "hook_log_fault",
        by_mechanism: true,
        in_ci: InCi::OldestAndNewest,
        n_threads: 2,
        without: None,
    },
];

/// What does not, each with its reason.
#[cfg(test)]
const ELSEWHERE: [(&str, &str); 21] = [
    ("boards", "of dashboards: needs Prometheus"),
    (
        "source_proc_agent",
        "of setpriv(1), unshare(1) and sh(1), which no guest has; source_proc reads the same",
    ),
    ("complaints", "of commands, not of kernels"),
    ("endpoint", "of TLS, files and clients, not of hooks"),
    ("files", "of paths and what stands there, not of hooks"),
    (
        "kubernetes",
        "of manifests: needs jsonnet and Prometheus; hooks without capabilities are shown by `life`",
    ),
    ("law_1_fault", "shows that law 1 can fail, which is the test's own virtue"),
    ("law_7_surfaces", "of what is made of samples, whichever kernel they come from"),
    ("measure", "of paths, and of a timer that `life_of_a_connection` shows; it needs no hooks"),
    ("log", "of what the agent says: its losses are those of `conservation`"),
    ("other_agent", "of what a command makes of answers, without hooks"),
    ("owners", "of /proc and cgroups, where programs make them, not of hooks"),
    ("completions", "of shells"),
    ("scrape", "needs Prometheus, and asks nothing of the kernel that `life` does not"),
    ("start", "of messages and of time, not of kernels"),
    ("top", "of terminals, and asks nothing of the kernel that `life` does not"),
    ("unseen", "of hooks that are made blind, on whichever kernel"),
    ("check", "of processes and policies; its hooks are shown by `busy`"),
    ("history", "of disks and databases, not of kernels"),
    ("history_flood", "of budgets and of size, not of kernels"),
    ("why", "about answers from events, not about how hooks see them"),
];

/// Tests that may fail in a guest and pass when they are repeated there. Under emulation seconds are lost, and
/// tests measure times: a few of some two hundred runs.
const MOST_FLAKY: usize = 4;
/// Kernels with a budget of their own, each with its reason.
const MORE_FLAKY: [(&str, usize, &str); 1] =
    [("7.2", 16, "it preempts hooks and skips them meanwhile (docs/KERNELS.md): 13 were seen")];

/// The budget of a kernel.
pub(crate) fn most_flaky(series: &str) -> usize {
    let own = MORE_FLAKY.iter().find(|(kernel, ..)| *kernel == series);
    own.map_or(MOST_FLAKY, |(_, most, _)| *most)
}

impl Suite {
    /// Whether a kernel runs it, in brief or not.
    pub(crate) fn is_for(&self, series: &str, brief: bool) -> bool {
        let ends = [KERNELS.first(), KERNELS.last()];
        !brief
            || self.in_ci == InCi::EachKernel
            || ends.iter().flatten().any(|kernel| kernel.series == series)
    }

    /// The mechanisms to force, of those that a kernel has.
    pub(crate) const fn mechanisms(&self) -> &'static [&'static str] {
        if self.by_mechanism { &MECHANISMS } else { &[ANY] }
    }
}

#[cfg(test)]
mod tests {
    use super::{ELSEWHERE, InCi, SUITES};
    use crate::place;
    use std::{collections::BTreeSet, fs};

    #[test]
    fn in_brief_only_what_shows_hooks_runs_on_the_kernels_between() {
        for suite in &SUITES {
            assert!(suite.is_for("6.12", false), "{}", suite.name);
            assert!(suite.is_for("5.10", true) && suite.is_for("7.2", true), "{}", suite.name);
            let on_each = suite.in_ci == InCi::EachKernel;
            assert_eq!(suite.is_for("6.12", true), on_each, "{}", suite.name);
        }
    }

    #[test]
    fn every_test_of_a_real_kernel_is_in_guests_or_says_why_not() {
        let entries = fs::read_dir(place::root().join("tests/tests")).expect("the tests");
        let paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        let files: BTreeSet<_> =
            paths.iter().filter_map(|path| path.file_stem()?.to_str()).collect();
        let listed = SUITES.iter().map(|suite| suite.name).chain(ELSEWHERE.map(|(name, _)| name));
        assert_eq!(files, listed.collect(), "add it to SUITES, or to ELSEWHERE with the reason");
    }
}
