//! Changes that no call explains so far, and what calls have made of verdicts: held back for a moment, by socket, so that a
//! call costs the same however many sockets others set at the time.

use crate::model::{
    observed::{
        setsockopt::SockOpt,
        socket::{SocketId, Time},
    },
    table::happening::{Happened, Happening},
};
use std::collections::HashMap;

/// A call that explains a change is reported this soon after the change can be seen.
pub(in crate::model::table) const SETTLES_MS: u64 = 1000;

/// A program sets one option after another: what they make of the verdict is reported once, this long after the first.
const VERDICT_SETTLES_MS: u64 = 300;

/// Connections whose verdict is held back. Of more the change is reported at once, even if the next call changes it again.
const MAX_VERDICTS: usize = 4096;

/// What is held back.
#[derive(Debug, Default)]
pub(in crate::model::table) struct Suspects {
    changes: HashMap<SocketId, Vec<Happening>>,
    /// Verdicts that calls have changed, each with the time of the first change.
    verdicts: HashMap<SocketId, (Time, Happening)>,
}

impl Suspects {
    /// A change that no call explains so far.
    pub(super) fn change(&mut self, changed: Happening) {
        let of_it = self.changes.entry(changed.socket.id).or_default();
        // Most have one, and a vector begins with room for four.
        of_it.reserve_exact(1);
        of_it.push(changed);
    }

    /// A verdict that a call has changed, perhaps once more. Returns what there is no room for.
    pub(super) fn verdict(&mut self, changed: Happening) -> Option<Happening> {
        let id = changed.socket.id;
        let Some((since, before)) = self.verdicts.remove(&id) else {
            if self.verdicts.len() >= MAX_VERDICTS {
                return Some(changed);
            }
            self.verdicts.insert(id, (changed.at, changed));
            return None;
        };
        if let (Happened::VerdictChanged { from, .. }, Happened::VerdictChanged { to, .. }) =
            (before.what, changed.what)
            && from != to
        {
            let what = Happened::VerdictChanged { from, to };
            self.verdicts.insert(id, (since, Happening { what, ..changed }));
        }
        None
    }

    /// Takes out what calls have made of the verdict of one connection.
    pub(super) fn verdict_of(&mut self, id: SocketId) -> Option<Happening> {
        self.verdicts.remove(&id).map(|(_, changed)| changed)
    }

    /// A call has set this option: it explains the change.
    pub(super) fn clear_of(&mut self, id: SocketId, option: SockOpt) {
        let Some(changes) = self.changes.get_mut(&id) else {
            return;
        };
        changes.retain(
            |it| !matches!(it.what, Happened::Changed { option: other, .. } if other == option),
        );
        if changes.is_empty() {
            self.changes.remove(&id);
        }
    }

    /// Takes out what has had its time, in the order in which it happened.
    pub(super) fn settled(&mut self, now: Time) -> Vec<Happening> {
        let mut settled = Vec::new();
        self.changes.retain(|_, changes| {
            settled.extend(changes.extract_if(.., |it| now.ms_since(it.at) >= SETTLES_MS));
            !changes.is_empty()
        });
        let is_due = |since: Time| now.ms_since(since) >= VERDICT_SETTLES_MS;
        let due = self.verdicts.extract_if(|_, (since, _)| is_due(*since));
        settled.extend(due.map(|(_, (_, changed))| changed));
        settled.sort_by_key(|it| it.at);
        settled
    }

    /// Events were lost: a call may have explained them.
    pub(super) fn forget_changes(&mut self) {
        self.changes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::verdict::Verdict,
        observed::socket::{Socket, tests_support::socket},
    };

    const fn at(ms: u64) -> Time {
        Time(1_000_000_000_000 + ms * 1_000_000)
    }

    fn changed(id: u64, ms: u64, from: Verdict, to: Verdict) -> Happening {
        let socket = Socket { id: SocketId(id), ..socket() };
        Happening::new(at(ms), socket, Happened::VerdictChanged { from, to })
    }

    #[test]
    fn a_program_that_never_rests_is_reported_all_the_same() {
        let mut suspects = Suspects::default();
        for ms in [0, 250] {
            let (from, to) = match ms {
                0 => (Verdict::Off, Verdict::Late),
                _ => (Verdict::Late, Verdict::Protected),
            };
            assert_eq!(suspects.verdict(changed(1, ms, from, to)), None);
        }
        assert_eq!(suspects.settled(at(299)), []);
        let all = suspects.settled(at(300));
        assert_eq!(all, [changed(1, 250, Verdict::Off, Verdict::Protected)]);
        assert_eq!(suspects.settled(at(900)), []);
    }

    #[test]
    fn beyond_the_bound_a_verdict_is_reported_at_once_and_the_others_in_their_order() {
        let mut suspects = Suspects::default();
        let off_late = |id, ms| changed(id, ms, Verdict::Off, Verdict::Late);
        let n = u64::try_from(MAX_VERDICTS).unwrap();
        for id in 0..n {
            assert_eq!(suspects.verdict(off_late(id, n - id)), None);
        }
        let no_room = off_late(n, 1);
        assert_eq!(suspects.verdict(no_room.clone()), Some(no_room));
        // One that is held back already needs no more room.
        assert_eq!(suspects.verdict(changed(7, n, Verdict::Late, Verdict::Off)), None);
        let all: Vec<Time> = suspects.settled(at(60_000)).iter().map(|it| it.at).collect();
        assert_eq!(all.len(), MAX_VERDICTS - 1, "on and off again is no change");
        assert!(all.is_sorted());
    }
}
