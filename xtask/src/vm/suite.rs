//! Which tests run in guests, and how: the one list.

use super::kernel::{GuestKernel, kernels};

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

/// Where CI runs a suite: an emulated kernel takes half an hour for all of them, with each mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InCi {
    /// It shows the hooks and what they read, which differ by kernel. Each forces another mechanism.
    EachKernel,
    /// It shows what depends on what the oldest kernel lacks.
    Oldest,
    /// It shows what depends on what only later kernels have, or on what the newest has changed.
    Newest,
    OldestAndNewest,
}

/// The mechanisms that carry the keepalive timer, as `--hooks` names them, best first.
pub(crate) const MECHANISMS: [&str; 3] = ["fentry", "kprobe", "tracepoint"];
/// For a suite that does not depend on one.
pub(crate) const ANY: &str = "any";

/// What runs in every guest.
pub(crate) const SUITES: [Suite; 18] = [
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
        // setpriv(1) and sh(1) are on the host, and a walk that halts at each of its calls beside forty namespaces takes minutes under
        // emulation.
        without: Some(
            "the_capability --skip that_no_process_is_in_is_listed --skip lists_no_namespace_of_which",
        ),
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
        in_ci: InCi::Oldest,
        n_threads: 2,
        without: Some("capability --skip old_kernel"),
    },
    Suite {
        name: "source_proc",
        by_mechanism: false,
        in_ci: InCi::Oldest,
        n_threads: 2,
        without: Some("capabilit"),
    },
    Suite { name: "clues", by_mechanism: false, in_ci: InCi::Newest, n_threads: 2, without: None },
    // One clock for all tests of a guest.
    Suite {
        name: "clock_set",
        by_mechanism: false,
        in_ci: InCi::Newest,
        n_threads: 1,
        without: None,
    },
    Suite { name: "busy", by_mechanism: false, in_ci: InCi::Newest, n_threads: 1, without: None },
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
        in_ci: InCi::Oldest,
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
        in_ci: InCi::Newest,
        n_threads: 2,
        without: None,
    },
    Suite {
        name: "hook_log_fault",
        by_mechanism: true,
        in_ci: InCi::Newest,
        n_threads: 2,
        without: None,
    },
    // The last: what it forbids stays forbidden.
    Suite {
        name: "ptrace_scope",
        by_mechanism: false,
        in_ci: InCi::Newest,
        n_threads: 1,
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
    /// The mechanisms to force, of those that a kernel has.
    pub(crate) const fn mechanisms(&self) -> &'static [&'static str] {
        if self.by_mechanism { &MECHANISMS } else { &[ANY] }
    }

    /// What a kernel runs it with: nothing if others do.
    pub(crate) fn planned(
        &self,
        kernel: &GuestKernel,
        breadth: Breadth<'_>,
    ) -> impl Iterator<Item = &'static str> {
        let kernels = kernels(kernel.architecture);
        let number = kernels.iter().position(|one| one.series == kernel.series).unwrap_or_default();
        let is_for = match (breadth, self.in_ci) {
            (Breadth::Brief, InCi::Oldest) => number == 0,
            (Breadth::Brief, InCi::Newest) => number == kernels.len() - 1,
            (Breadth::Brief, InCi::OldestAndNewest) => number == 0 || number == kernels.len() - 1,
            _ => true,
        };
        let wanted = match breadth {
            Breadth::All => None,
            Breadth::Only(mechanism) => Some(mechanism),
            Breadth::Brief => MECHANISMS.get(number % MECHANISMS.len()).copied(),
        };
        let all = self.mechanisms().iter().copied().filter(move |_| is_for);
        all.filter(move |name| *name == ANY || wanted.is_none_or(|wanted| wanted == *name))
    }
}

/// How much of the suites is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breadth<'a> {
    All,
    /// With this mechanism.
    Only(&'a str),
    /// What CI has time for.
    Brief,
}

#[cfg(test)]
mod tests {
    use super::{ANY, Breadth, ELSEWHERE, InCi, MECHANISMS, SUITES, kernels};
    use crate::{architecture::Architecture, place, vm::kernel::kernel};
    use std::{collections::BTreeSet, fs};

    #[test]
    fn in_brief_each_mechanism_is_forced_somewhere_and_each_suite_runs() {
        let [x86_64, arm64] = [Architecture::X86_64, Architecture::Aarch64].map(forced_in_brief);
        assert_eq!(x86_64, MECHANISMS.into_iter().chain([ANY]).collect());
        assert_eq!(arm64, x86_64);
    }

    /// The mechanisms that one kernel or another forces.
    fn forced_in_brief(architecture: Architecture) -> BTreeSet<&'static str> {
        let middle = kernel(architecture, "6.12").expect("neither oldest nor newest");
        let mut forced = BTreeSet::new();
        for suite in &SUITES {
            let runs: Vec<_> = kernels(architecture)
                .iter()
                .flat_map(|one| suite.planned(one, Breadth::Brief))
                .collect();
            assert!(!runs.is_empty(), "{}", suite.name);
            forced.extend(runs.iter().copied().filter(|_| suite.in_ci == InCi::EachKernel));
            let all = suite.planned(middle, Breadth::All).count();
            assert_eq!(all, suite.mechanisms().len(), "{}", suite.name);
            let on_each = suite.in_ci == InCi::EachKernel;
            let in_brief = suite.planned(middle, Breadth::Brief).count();
            assert_eq!(in_brief, usize::from(on_each), "{}", suite.name);
        }
        forced
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
