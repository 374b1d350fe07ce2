//! What waits to be written. Each worth has room of its own: whatever floods, what is worth more finds its place.

use super::not_kept::Loss;
use crate::model::{
    judgement::{
        learned::{LearnedRow, Lesson},
        verdict::Surroundings,
        worth::Worth,
    },
    table::happening::Happening,
};
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// One happening, and what was so by then.
#[derive(Debug)]
pub(super) struct Record {
    /// Unix time minus monotonic time.
    pub(super) offset_ns: i64,
    /// What verdicts depended on.
    pub(super) around: Arc<Surroundings>,
    /// What the record is worth.
    pub(super) worth: Worth,
    pub(super) happening: Happening,
}

/// A record that does not fit the tables.
#[derive(Debug)]
pub(super) struct Misfit {
    /// Its place among those that were to be written.
    pub(super) place: usize,
    pub(super) cause: rusqlite::Error,
}

impl Misfit {
    /// Whether the fault is the record's: it breaks a rule of its table. A trigger is somebody else's.
    pub(super) const fn is(cause: &rusqlite::Error) -> bool {
        use rusqlite::{
            ErrorCode::{ConstraintViolation, TooBig, TypeMismatch},
            ffi::SQLITE_CONSTRAINT_TRIGGER,
        };
        match cause {
            rusqlite::Error::SqliteFailure(error, _) => {
                matches!(error.code, ConstraintViolation | TooBig | TypeMismatch)
                    && error.extended_code != SQLITE_CONSTRAINT_TRIGGER
            }
            rusqlite::Error::ToSqlConversionFailure(_) => true,
            _ => false,
        }
    }
}

impl Record {
    /// When it happened, Unix time.
    pub(super) fn at_ns(&self) -> i64 {
        crate::kernel::clock::unix_ns(self.happening.at, self.offset_ns)
    }
}

/// What was learned, each the latest.
#[derive(Debug, Default)]
pub(super) struct Learning {
    /// New evidence about idle limits.
    pub(super) lessons: Vec<Lesson>,
    /// Every learned limit, if they changed.
    pub(super) rows: Option<Vec<LearnedRow>>,
}

impl Learning {
    /// Takes in what is later: of each destination the latest counts.
    pub(super) fn merge(&mut self, later: Self) {
        for lesson in later.lessons {
            self.lessons.retain(|known| !lesson.is_of_the_same(known));
            self.lessons.push(lesson);
        }
        self.rows = later.rows.or(self.rows.take());
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.lessons.is_empty() && self.rows.is_none()
    }
}

/// What waits, and what the writer has in hand.
#[derive(Debug, Default)]
struct Waiting {
    records: Vec<Record>,
    /// By worth, with those that the writer has in hand.
    numbers: [usize; Worth::ALL.len()],
    learning: Learning,
    is_over: bool,
}

/// What the writer takes at once.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) records: Vec<Record>,
    pub(super) learning: Learning,
    /// Nothing more will come.
    pub(super) is_over: bool,
}

/// Records between the watching thread, which never waits, and the writing one.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

/// Records that may wait, some 500 bytes each.
const fn room(worth: Worth) -> usize {
    match worth {
        Worth::Silence => 8192,
        Worth::Setting | Worth::Ordinary => 2048,
    }
}

/// With this many waiting, the writer is woken.
const MANY: usize = 1024;

impl Queue {
    /// Puts records in. Those for which there is no room go to `refused`.
    pub(super) fn put(&self, records: Vec<Record>, mut refused: impl FnMut(&Record)) {
        let mut waiting = self.lock();
        let Waiting { records: all, numbers, .. } = &mut *waiting;
        for record in records {
            match numbers.get_mut(record.worth as usize) {
                Some(number) if *number < room(record.worth) => {
                    *number += 1;
                    all.push(record);
                }
                _ => refused(&record),
            }
        }
        if waiting.records.len() >= MANY {
            self.news.notify_one();
        }
    }

    /// Puts in what was learned.
    pub(super) fn learn(&self, learning: Learning) {
        self.lock().learning.merge(learning);
    }

    /// Nothing more will come.
    pub(super) fn finish(&self) {
        self.lock().is_over = true;
        self.news.notify_one();
    }

    /// Takes all that waits: after this time, sooner if there is much of it, at once if nothing more will come.
    pub(super) fn take(&self, patience: Duration) -> Taken {
        let is_calm = |waiting: &mut Waiting| !waiting.is_over && waiting.records.len() < MANY;
        let (mut waiting, _) = self
            .news
            .wait_timeout_while(self.lock(), patience, is_calm)
            .unwrap_or_else(PoisonError::into_inner);
        Taken {
            records: std::mem::take(&mut waiting.records),
            learning: std::mem::take(&mut waiting.learning),
            is_over: waiting.is_over,
        }
    }

    /// The writer has no use for these any more: there is room again.
    pub(super) fn done(&self, records: &[Record]) {
        let mut waiting = self.lock();
        for record in records {
            if let Some(number) = waiting.numbers.get_mut(record.worth as usize) {
                *number = number.saturating_sub(1);
            }
        }
    }

    /// It is whole between two calls, even if the other thread has panicked.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason why a record finds no room here.
pub(super) const REFUSED: Loss = Loss::Queue;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{around, idle_drop};

    fn records(worth: Worth, n: u64) -> Vec<Record> {
        let record =
            |id| Record { offset_ns: 0, around: around(), worth, happening: idle_drop(id, 1000) };
        (0..n).map(record).collect()
    }

    fn n_refused(queue: &Queue, worth: Worth, n: u64) -> u64 {
        let mut n_refused = 0;
        queue.put(records(worth, n), |_| n_refused += 1);
        n_refused
    }

    #[test]
    fn a_flood_of_what_is_worth_less_leaves_room_for_the_rest() {
        let queue = Queue::default();
        assert_eq!(n_refused(&queue, Worth::Ordinary, 5000), 5000 - 2048);
        assert_eq!(n_refused(&queue, Worth::Setting, 2048), 0);
        assert_eq!(n_refused(&queue, Worth::Silence, 8192), 0);
        assert_eq!(n_refused(&queue, Worth::Silence, 1), 1);
    }

    #[test]
    fn what_the_writer_has_in_hand_takes_room_until_it_is_done() {
        let queue = Queue::default();
        assert_eq!(n_refused(&queue, Worth::Ordinary, 2048), 0);
        let taken = queue.take(Duration::ZERO);
        assert_eq!((taken.records.len(), taken.is_over), (2048, false));
        assert_eq!(n_refused(&queue, Worth::Ordinary, 1), 1);
        queue.done(&taken.records);
        assert_eq!(n_refused(&queue, Worth::Ordinary, 1), 0);
        queue.finish();
        let rest = queue.take(Duration::from_mins(10));
        assert_eq!((rest.records.len(), rest.is_over), (1, true));
    }
}
