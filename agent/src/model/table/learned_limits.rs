//! What the table learns of idle limits, and what follows for its verdicts.

use super::{Table, storage::Slot, sums::Share};
use crate::model::{
    judgement::{
        learned::{Home, Learned, LearnedRow, Lesson},
        verdict::Surroundings,
    },
    observed::{drilled_path::DrilledPath, socket::Time},
};
use std::{collections::HashSet, net::Ipv6Addr, sync::Arc};

impl Table {
    /// What an earlier agent has learned. `home` dates what will be learned.
    pub fn remember(&mut self, lessons: Vec<Lesson>, home: Home, now: Time) {
        self.learned = Learned::new(home);
        self.learned.remember(lessons, now);
        self.apply_learned(now);
    }

    /// What was learned since this was asked last, to be kept.
    /// `all`: also what can wait.
    pub fn take_lessons(&mut self, now: Time, all: bool) -> Vec<Lesson> {
        let lessons = self.learned.take_lessons(now, all);
        if !lessons.is_empty() {
            self.apply_learned(now);
        }
        lessons
    }

    /// Rows show what was learned; where nothing is configured, verdicts follow what is sure.
    fn apply_learned(&mut self, now: Time) {
        self.learned_seconds = self.learned.seconds_of_paths(&self.around.limits, now);
        let learned = self.learned.limits(now);
        let Some(limits) = self.around.limits.with_learned(learned, self.learned.netns()) else {
            return;
        };
        let peers = limits.peers_that_differ(&self.around.limits);
        let around = Arc::new(Surroundings { limits, ..(*self.around).clone() });
        self.count_anew(&around, peers.as_ref());
        self.around = around;
    }

    /// Sums count each connection by its verdict. Only those with these peers may have another one; none: all may.
    pub(super) fn count_anew(&mut self, around: &Surroundings, peers: Option<&HashSet<Ipv6Addr>>) {
        if peers.is_some_and(HashSet::is_empty) {
            return;
        }
        let Self { slots, sums, around: before, .. } = self;
        for Slot { socket, whose, .. } in
            slots.to_peers(|addr| peers.is_none_or(|peers| peers.contains(addr)))
        {
            let (before, after) =
                (Share::of(&socket, whose, before), Share::of(&socket, whose, around));
            if before != after {
                sums.replace(before, after);
            }
        }
    }

    /// The paths that drills have cut, or cut now: all that are known.
    pub fn set_drilled(&mut self, paths: Vec<DrilledPath>) {
        self.drilled = paths;
    }

    /// Everything that was learned.
    pub fn learned(&self, now: Time) -> Vec<LearnedRow> {
        self.learned.rows(now)
    }
}
