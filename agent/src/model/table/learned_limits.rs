//! What the table learns of idle limits, and what follows for its verdicts.

use super::{Table, storage::Slot, sums::Share};
use crate::model::{
    judgement::{
        learned::{Learned, Lesson, LimitRow},
        verdict::Surroundings,
    },
    observed::socket::Time,
};
use std::sync::Arc;

impl Table {
    /// What an earlier agent has learned of idle limits. `unix_offset_ms`: Unix time minus monotonic
    /// time, which dates what will be learned.
    pub fn remember(&mut self, lessons: Vec<Lesson>, unix_offset_ms: i64, now: Time) {
        self.learned = Learned::new(unix_offset_ms);
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

    /// Where nothing is configured, verdicts follow what is sure.
    fn apply_learned(&mut self, now: Time) {
        self.learned_seconds = self.learned.seconds_of_paths(&self.around.limits, now);
        let Some(limits) = self.around.limits.with_learned(&self.learned.sure(now)) else {
            return;
        };
        let Surroundings { host, hz, .. } = &*self.around;
        let around = Arc::new(Surroundings { limits, host: host.clone(), hz: *hz });
        for number in 0..self.slots.end() {
            if let Some(Slot { socket, whose, .. }) = self.slots.get(number) {
                let before = Share::of(&socket, whose, &self.around);
                let after = Share::of(&socket, whose, &around);
                if before != after {
                    self.sums.replace(before, after);
                }
            }
        }
        self.around = around;
    }

    /// Every idle limit that was learned.
    pub fn learned_limits(&self, now: Time) -> Vec<LimitRow> {
        self.learned.rows(|to| self.around.limits.of(to.endpoint()).path.clone(), now)
    }
}
