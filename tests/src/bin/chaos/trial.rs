//! The trials: what each does, what must hold, and how it is played.

use crate::{floods, kills, owners, pressure, soak};
use keepwatch_tests::{kernel::netns::require_root, wait::now};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Of what broke a trial off.
const MOST_LETTERS: usize = 500;

/// Something that is done to a host.
pub(crate) struct ChaosTrial {
    pub(crate) name: &'static str,
    /// What must hold.
    pub(crate) must: &'static str,
    /// Does it, fails if it does not hold, and says what was seen.
    play: fn(u64) -> String,
}

/// What was seen, or what broke the trial off.
pub(crate) type TrialOutcome = Result<String, String>;

pub(crate) fn all() -> [ChaosTrial; 7] {
    [
        ChaosTrial {
            name: "kill -9 of the agent, 50 times, while connections come and go",
            must: "the kernel keeps no program, map or link; the next agent knows each live connection; the history stays whole",
            play: |_| kills::fifty_times(),
        },
        ChaosTrial {
            name: "a ring of 4 KiB beside a flood of 100,000 connections",
            must: "each event is accounted for: seen = filtered + submitted + lost; afterwards the table is what the kernel says",
            play: |_| floods::ring_overflow(),
        },
        ChaosTrial {
            name: "2,000 processes with one short connection each",
            must: "each connection is counted; no row and no process stays behind; memory stays bounded",
            play: |_| floods::short_processes(),
        },
        ChaosTrial {
            name: "1,000 network namespaces and 1,000 cgroups come and go",
            must: "the connections of each are listed with their owner; afterwards none is left; memory and descriptors stay bounded",
            play: |_| owners::by_the_thousand(),
        },
        ChaosTrial {
            name: "a process id is used again at once, in another cgroup",
            must: "the connection of the second process is named after it, and not after the first",
            play: |_| owners::process_id_used_again(),
        },
        ChaosTrial {
            name: "a cgroup gives 48 MiB of memory beside what the agent has, and 10,000 connections and a flood come",
            must: "it is not killed, answers each scrape, and lists each connection",
            play: |_| pressure::bounded_memory(),
        },
        ChaosTrial {
            name: "soak: a flood, and two readers of the stream that never read",
            must: "memory, descriptors, programs, maps and links of the agent stay as they were after a quarter of the time",
            play: soak::minutes,
        },
    ]
}

/// Plays them one after the other.
pub(crate) fn play(trials: &[ChaosTrial], soak_minutes: u64) -> Vec<(&ChaosTrial, TrialOutcome)> {
    require_root();
    assert!(!trials.is_empty(), "no trial has that in its name");
    trials.iter().map(|trial| (trial, outcome(trial, soak_minutes))).collect()
}

fn outcome(trial: &ChaosTrial, soak_minutes: u64) -> TrialOutcome {
    let ChaosTrial { name, play, .. } = trial;
    let began = now();
    let outcome = catch_unwind(AssertUnwindSafe(|| play(soak_minutes))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("without a word").chars().take(MOST_LETTERS).collect::<String>()
    });
    let seconds = began.elapsed().as_secs();
    match &outcome {
        Ok(seen) => println!("holds: {name} ({seconds} s)\n    {seen}"),
        Err(broken) => println!("DOES NOT HOLD: {name} ({seconds} s)\n    {broken}"),
    }
    outcome
}
