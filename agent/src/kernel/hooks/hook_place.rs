//! The places in the kernel where hooks can sit: the one table from which attaching, `doctor`, the log, the label
//! `mechanism` and docs/METRICS.md take their names.

use clap::ValueEnum;
use keepwatch_ebpf::name;

/// How hooks sit on the kernel's functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mechanism {
    /// The best that the kernel has, for each signal
    #[default]
    Auto,
    /// Function hooks: fentry and fexit
    Fentry,
    /// kprobe and kretprobe
    Kprobe,
    /// Tracepoints only: every kernel has them
    Tracepoint,
}

/// A place where the hook of a signal can sit.
#[derive(Clone, Copy, Debug)]
pub struct HookPlace {
    /// How the hook is attached, and to what: the name that people and metrics see.
    pub name: &'static str,
    /// The mechanism by which a user asks for it; none where there is no choice.
    mechanism: Option<Mechanism>,
    /// The programs that it takes, in the order in which they are attached.
    pub(super) programs: &'static [HookProgram],
}

/// A program of the hooks, and what it is attached to.
#[derive(Clone, Copy, Debug)]
pub(super) struct HookProgram {
    pub(super) name: &'static str,
    pub(super) way: Way,
    /// The function, tracepoint or iterator.
    pub(super) target: &'static str,
}

/// A kernel's way to run a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Iterator,
    Tracepoint,
    FunctionEntry,
    FunctionExit,
    /// At entry or exit, as the program's section says.
    Probe,
}

const fn program(name: &'static str, way: Way, target: &'static str) -> HookProgram {
    HookProgram { name, way, target }
}

pub(super) const SNAPSHOT: HookPlace = HookPlace {
    name: "iter/task_file",
    mechanism: None,
    programs: &[
        program(name::SNAPSHOT, Way::Iterator, "task_file"),
        program(name::SUBFLOWS, Way::Iterator, "task_file"),
    ],
};

pub(super) const LOOK_AGAIN: HookPlace = HookPlace {
    name: "iter/bpf_map_elem",
    mechanism: None,
    programs: &[program(name::LOOK_AGAIN, Way::Iterator, "bpf_map_elem")],
};

pub(super) const LISTED: HookPlace = HookPlace {
    name: "iter/tcp",
    mechanism: None,
    programs: &[program(name::LISTED, Way::Iterator, "tcp")],
};

pub(super) const PROCESS_FILES: HookPlace = HookPlace {
    name: "iter/task_vma",
    mechanism: None,
    programs: &[
        program(name::OPEN_JARS, Way::Iterator, "task_file"),
        program(name::MAPPED_FILES, Way::Iterator, "task_vma"),
    ],
};

pub(super) const STATE_CHANGE: HookPlace = HookPlace {
    name: "tp_btf/inet_sock_set_state",
    mechanism: None,
    programs: &[program(name::STATE_CHANGE, Way::Tracepoint, "inet_sock_set_state")],
};

pub(super) const DESTROY: HookPlace = HookPlace {
    name: "tp_btf/tcp_destroy_sock",
    mechanism: None,
    programs: &[program(name::DESTROY, Way::Tracepoint, "tcp_destroy_sock")],
};

/// Called only through a pointer, so no compiler inlines or renames it (net/ipv4/tcp_timer.c).
const TIMER: &str = "tcp_keepalive_timer";

/// Best first. Of each pair the exit comes first: it does nothing without an entry.
pub(super) const KEEPALIVE_TIMER: [HookPlace; 3] = [
    HookPlace {
        name: "fentry/tcp_keepalive_timer",
        mechanism: Some(Mechanism::Fentry),
        programs: &[
            program(name::TIMER_EXIT.function, Way::FunctionExit, TIMER),
            program(name::TIMER_ENTRY.function, Way::FunctionEntry, TIMER),
        ],
    },
    HookPlace {
        name: "kprobe/tcp_keepalive_timer",
        mechanism: Some(Mechanism::Kprobe),
        programs: &[
            program(name::TIMER_EXIT.probe, Way::Probe, TIMER),
            program(name::TIMER_ENTRY.probe, Way::Probe, TIMER),
        ],
    },
    HookPlace {
        name: "tp_btf/timer_expire_entry",
        mechanism: Some(Mechanism::Tracepoint),
        programs: &[
            program(name::TIMER_EXIT.tracepoint, Way::Tracepoint, "timer_expire_exit"),
            program(name::TIMER_ENTRY.tracepoint, Way::Tracepoint, "timer_expire_entry"),
        ],
    },
];

/// The places on a system call, by the name that its function has on one architecture: what it calls may be
/// inlined into it.
macro_rules! system_call {
    ($function:literal) => {
        [
            HookPlace {
                name: concat!("fexit/", $function),
                mechanism: Some(Mechanism::Fentry),
                programs: &[program(name::SETSOCKOPT_EXIT.function, Way::FunctionExit, $function)],
            },
            HookPlace {
                name: concat!("kprobe/", $function),
                mechanism: Some(Mechanism::Kprobe),
                programs: &[
                    program(name::SETSOCKOPT_EXIT.probe, Way::Probe, $function),
                    program(name::SETSOCKOPT_ENTRY, Way::Probe, $function),
                ],
            },
        ]
    };
}

const ON_X86_64: [HookPlace; 2] = system_call!("__x64_sys_setsockopt");
const ON_ARM64: [HookPlace; 2] = system_call!("__arm64_sys_setsockopt");

const EVERY_SYSTEM_CALL: HookPlace = HookPlace {
    name: "tp_btf/sys_exit",
    mechanism: Some(Mechanism::Tracepoint),
    programs: &[program(name::SETSOCKOPT_EXIT.tracepoint, Way::Tracepoint, "sys_exit")],
};

/// Best first.
pub(super) const SETSOCKOPT: [HookPlace; 3] = {
    let [function, probe] = if cfg!(target_arch = "aarch64") { ON_ARM64 } else { ON_X86_64 };
    [function, probe, EVERY_SYSTEM_CALL]
};

impl HookPlace {
    /// Every place that there is on any architecture: values of labels and documents are the same on all.
    pub const OF_ALL_ARCHITECTURES: [Self; 14] = {
        let [timer_function, timer_probe, every_timer] = KEEPALIVE_TIMER;
        let ([x86_64_function, x86_64_probe], [arm64_function, arm64_probe]) =
            (ON_X86_64, ON_ARM64);
        [
            SNAPSHOT,
            LOOK_AGAIN,
            LISTED,
            PROCESS_FILES,
            STATE_CHANGE,
            DESTROY,
            timer_function,
            timer_probe,
            every_timer,
            x86_64_function,
            x86_64_probe,
            arm64_function,
            arm64_probe,
            EVERY_SYSTEM_CALL,
        ]
    };

    /// Whether it is to be tried when a user asks for this mechanism.
    pub(super) fn is_of(&self, wanted: Mechanism) -> bool {
        wanted == Mechanism::Auto || self.mechanism.is_none_or(|own| own == wanted)
    }
}

impl HookProgram {
    /// The name of its target in the kernel's BTF; none if it is attached by symbol.
    pub(super) fn btf_name(&self) -> Option<String> {
        match self.way {
            Way::Iterator => Some(format!("bpf_iter_{}", self.target)),
            Way::Tracepoint => Some(format!("btf_trace_{}", self.target)),
            Way::FunctionEntry | Way::FunctionExit => Some(self.target.to_owned()),
            Way::Probe => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Signal;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_place_of_a_signal_is_a_value_of_the_label_and_only_the_other_architectures_are_more() {
        let here: BTreeSet<_> =
            Signal::ALL.iter().flat_map(|signal| signal.places()).map(|place| place.name).collect();
        let all: BTreeSet<_> =
            HookPlace::OF_ALL_ARCHITECTURES.iter().map(|place| place.name).collect();
        assert_eq!(all.len(), HookPlace::OF_ALL_ARCHITECTURES.len(), "one name, one place");
        let other = if cfg!(target_arch = "aarch64") { ON_X86_64 } else { ON_ARM64 };
        let of_others: BTreeSet<_> = other.iter().map(|place| place.name).collect();
        assert_eq!(all.difference(&here).copied().collect::<BTreeSet<_>>(), of_others);
        assert_eq!(here.difference(&all).next(), None);
    }

    #[test]
    fn the_system_call_is_named_as_this_architecture_names_it() {
        let symbol = match std::env::consts::ARCH {
            "aarch64" => "__arm64_sys_setsockopt",
            _ => "__x64_sys_setsockopt",
        };
        let names: Vec<_> = Signal::Setsockopt.places().iter().map(|place| place.name).collect();
        assert_eq!(
            names,
            [&format!("fexit/{symbol}"), &format!("kprobe/{symbol}"), "tp_btf/sys_exit"]
        );
        let functions =
            |place: &HookPlace| place.programs.iter().all(|program| program.target == symbol);
        assert_eq!(SETSOCKOPT.map(|place| functions(&place)), [true, true, false]);
    }

    #[test]
    fn a_place_is_named_after_what_its_last_program_is_attached_to() {
        for place in HookPlace::OF_ALL_ARCHITECTURES {
            let (way, target) = place.name.split_once('/').unwrap();
            let last = place.programs.last().unwrap();
            assert!(
                place.programs.iter().any(|program| program.target == target),
                "{}: {last:?}",
                place.name
            );
            let expected = match last.way {
                Way::Iterator => "iter",
                Way::Tracepoint => "tp_btf",
                Way::FunctionEntry => "fentry",
                Way::FunctionExit => "fexit",
                Way::Probe => "kprobe",
            };
            assert_eq!(way, expected, "{}", place.name);
        }
    }

    #[test]
    fn whatever_is_asked_for_every_signal_has_a_place_to_try() {
        for &wanted in Mechanism::value_variants() {
            for signal in Signal::ALL {
                let places = signal.places();
                let tried: Vec<_> = places.iter().filter(|place| place.is_of(wanted)).collect();
                let expected = if wanted == Mechanism::Auto { places.len() } else { 1 };
                assert_eq!(tried.len(), expected, "{signal:?} by {wanted:?}");
            }
        }
    }
}
