//! A journal that has become too large is shortened: whatever is killed meanwhile, what can be undone is there.

use crate::stage::{Fixer, UNSET, options, outcome_of};
use keepwatch_tests::{
    answer::agent::{assert_refused, keepwatch},
    kernel::{
        halted_program::{HaltedProgram, SystemCall},
        socket::Plan,
    },
    network::path::{Ends, NetworkPath},
};
use std::{
    fs::{self, OpenOptions},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

/// More than it may have.
const LARGE_BYTES: u64 = 65 << 20;

fn journal(fixer: &Fixer) -> PathBuf {
    fixer.state.file("state").join("fix.jsonl")
}

/// A connection that a run has set, and a journal that is larger than it may be.
fn fixed_with_large_journal() -> (Fixer, Ends) {
    let fixer = Fixer::new(NetworkPath::cable());
    let ends = fixer.path.connect(&Plan::NOTHING);
    let rows = fixer.outcomes(&["--apply"]);
    assert_eq!(outcome_of(&rows, ends.local), ("fixed", ""));
    let file = OpenOptions::new().write(true).open(journal(&fixer)).expect("open the journal");
    // As a disk leaves what was never written: no line.
    file.set_len(LARGE_BYTES).expect("make it larger");
    (fixer, ends)
}

fn n_mib(path: &PathBuf) -> u64 {
    fs::metadata(path).expect("the journal").size() >> 20
}

/// Before these calls the new file is written, is on disk, has the name, and has been added to; and whether it has the name.
const MOMENTS: [(SystemCall, u32, bool); 4] = [
    (SystemCall::FDATASYNC, 1, false),
    (SystemCall::RENAMEAT, 1, false),
    (SystemCall::FSYNC, 1, true),
    (SystemCall::FDATASYNC, 2, true),
];

#[test]
fn killed_while_the_journal_is_shortened_everything_is_undone_and_nothing_is_left_half_done() {
    for (call, number, is_replaced) in MOMENTS {
        let (fixer, first) = fixed_with_large_journal();
        let second = fixer.path.connect(&Plan::NOTHING);
        let halted = HaltedProgram::before(keepwatch(fixer.words(&["--apply"])), call, number);
        assert_eq!(n_mib(&journal(&fixer)) == 0, is_replaced, "before {call:?} {number}");
        assert_eq!(options(&second.client), UNSET, "nothing is set before it is written down");
        halted.kill();
        let rows = fixer.outcomes(&["--undo", "1"]);
        assert_eq!(outcome_of(&rows, first.local), ("undone", ""), "{call:?} {number}: {rows:?}");
        assert_eq!(options(&first.client), UNSET, "{call:?} {number}");
        // The next run does what this one did not, and takes over the file that it left behind.
        let rows = fixer.outcomes(&["--apply"]);
        assert_eq!(outcome_of(&rows, second.local), ("fixed", ""), "{call:?} {number}: {rows:?}");
        let mode = fs::metadata(journal(&fixer)).expect("the journal").mode() & 0o777;
        assert_eq!((n_mib(&journal(&fixer)), mode), (0, 0o600), "{call:?} {number}");
        let mut names: Vec<_> = fs::read_dir(fixer.state.file("state"))
            .expect("the state folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.retain(|name| name.to_string_lossy().contains("fix.jsonl"));
        assert_eq!(names, ["fix.jsonl"], "{call:?} {number}");
    }
}

#[test]
fn while_the_journal_is_shortened_and_afterwards_no_other_run_gets_it() {
    for (call, number, _) in MOMENTS {
        let (fixer, first) = fixed_with_large_journal();
        let second = fixer.path.connect(&Plan::NOTHING);
        let halted = HaltedProgram::before(keepwatch(fixer.words(&["--apply"])), call, number);
        assert_refused(&fixer.run(&["--undo"]), 4, &["has it locked", "nothing was changed"]);
        assert_eq!(options(&first.client), (true, 60, 10, 3));
        let said = halted.go_on();
        assert_eq!(said.status.code(), Some(0), "{call:?} {number}");
        assert_eq!(options(&second.client), (true, 60, 10, 3));
        let rows = fixer.outcomes(&["--undo"]);
        assert_eq!(outcome_of(&rows, second.local), ("undone", ""));
    }
}
