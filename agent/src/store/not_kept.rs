//! What is not in the history, and why: sums by minute, so that an answer about a time can say what it lacks.

use super::columns::unsigned;
use crate::model::{judgement::worth::Worth, text::closed_set::closed_set};
use rusqlite::{Connection, Transaction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

closed_set! {
    /// Why something is not in the history.
    pub enum Loss {
        /// There was more of that than its budget allows.
        Budget = "budget",
        /// The writing thread was behind.
        Queue = "queue",
        /// It could not be written.
        Disk = "disk",
        /// It did not fit the tables.
        Invalid = "invalid",
        /// It was deleted so that the history stays within its size.
        Size = "size",
        /// The agent never got it from the kernel.
        Kernel = "kernel",
    }
}

const MINUTE_NS: i64 = 60_000_000_000;
/// LossSums that wait to be written at most: a day of everything.
const MOST_WAITING: usize = 24 * 60 * Worth::ALL.len() * Loss::ALL.len();

/// Numbers by the minute in which the records happened.
#[derive(Debug, Default)]
pub(super) struct LossSums(BTreeMap<(i64, Worth, Loss), u64>);

impl LossSums {
    /// Counts records that happened then.
    pub(super) fn add(&mut self, at_ns: i64, worth: Worth, loss: Loss, n: u64) {
        let mut minute = at_ns.div_euclid(MINUTE_NS);
        if self.0.len() >= MOST_WAITING {
            // For a day nothing could be written: that is what matters then, not the minute.
            minute = self.0.last_key_value().map_or(minute, |(&(last, ..), _)| last);
        }
        *self.0.entry((minute, worth, loss)).or_default() += n;
    }

    /// Takes those of `other` in.
    pub(super) fn merge(&mut self, other: Self) {
        for ((minute, worth, loss), n) in other.0 {
            self.add(minute.saturating_mul(MINUTE_NS), worth, loss, n);
        }
    }

    /// Passes on each number.
    pub(super) fn each(&self, mut each: impl FnMut(Worth, u64)) {
        self.0.iter().for_each(|(&(_, worth, _), &n)| each(worth, n));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds them to those of the file.
    pub(super) fn write(&self, into: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut insert = into.prepare_cached(
            "INSERT INTO not_kept (minute_ns, worth, reason, n) VALUES (?, ?, ?, ?) \
             ON CONFLICT DO UPDATE SET n = n + excluded.n",
        )?;
        for (&(minute, worth, loss), &n) in &self.0 {
            let minute_ns = minute.saturating_mul(MINUTE_NS);
            insert.execute((minute_ns, worth as u8, loss.as_str(), unsigned(n)))?;
        }
        Ok(())
    }
}

/// Records of one kind that are not in the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotKept {
    /// What they would have been worth.
    pub worth: Worth,
    /// Why they are not there.
    pub reason: Loss,
    /// Their number.
    pub records: u64,
    /// Unix time at the beginning of the minute of the first one.
    pub first_unix_seconds: f64,
    /// Unix time at the end of the minute of the last one.
    pub last_unix_seconds: f64,
    /// All of this, but for the time, in words.
    pub meaning: String,
}

impl NotKept {
    fn meaning(worth: Worth, reason: Loss, n: u64) -> String {
        let why = match reason {
            Loss::Kernel => {
                let events = if n == 1 { "1 event was" } else { &format!("{n} events were") };
                return format!(
                    "{events} lost between the kernel and the agent: a connection may be missing, a call, or its cause"
                );
            }
            // Nobody misses the ends of everyday life.
            Loss::Budget if worth == Worth::Ordinary => {
                return match n {
                    1 => "1 ordinary end (a reset, failure or orderly close) was only counted"
                        .to_owned(),
                    n => format!(
                        "{n} ordinary ends (resets, failures, orderly closes) were only counted"
                    ),
                };
            }
            Loss::Budget => "there were more of the kind than the history takes",
            Loss::Queue => "the disk was too slow",
            Loss::Disk => "the disk could not be written",
            Loss::Invalid => "it did not fit the history: please report that",
            Loss::Size => "room was made for others: see --history-bytes",
        };
        let were = if n == 1 { "was" } else { "were" };
        format!("{} {were} not kept: {why}", worth.counted(n))
    }
}

/// What happened from `since` on and before `until`, and is not in the file; all of it without them.
pub(super) fn read(
    from: &Connection,
    since_ns: Option<i64>,
    until_ns: Option<i64>,
) -> rusqlite::Result<Vec<NotKept>> {
    let mut sums = from.prepare(
        "SELECT worth, reason, sum(n), min(minute_ns), max(minute_ns) FROM not_kept \
         WHERE minute_ns > ? AND minute_ns < ? GROUP BY worth, reason ORDER BY worth, reason",
    )?;
    // The minute in which the time begins counts, too.
    let after_ns = since_ns.map_or(i64::MIN, |since_ns| since_ns.saturating_sub(MINUTE_NS));
    let mut rows = sums.query((after_ns, until_ns.unwrap_or(i64::MAX)))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (worth, reason): (usize, String) = (row.get(0)?, row.get(1)?);
        let reason = Loss::ALL.into_iter().find(|loss| loss.as_str() == reason);
        // A later version may know more.
        let (Some(&worth), Some(reason)) = (Worth::ALL.get(worth), reason) else {
            continue;
        };
        let (n, first_ns, last_ns): (u64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        found.push(NotKept {
            worth,
            reason,
            records: n,
            first_unix_seconds: seconds(first_ns),
            last_unix_seconds: seconds(last_ns.saturating_add(MINUTE_NS)),
            meaning: NotKept::meaning(worth, reason, n),
        });
    }
    Ok(found)
}

fn seconds(ns: i64) -> f64 {
    crate::model::text::duration::signed_seconds(ns / 1_000_000)
}
