//! How a connection stands to the time that was asked about.

use super::{Life, UnansweredTime};
use crate::model::text::wall_time::unix_seconds;

/// How a connection stands to the time that a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InWindow {
    /// It ended in it, or its trouble began in it.
    BeganOrEnded,
    /// It was there, and nothing that is wrong with it began.
    Lasted,
    /// Its trouble had begun before, and went on through it.
    HungBefore,
}

impl UnansweredTime {
    /// From when to when it was: Unix times.
    pub(crate) fn unix_seconds(&self) -> Option<(f64, f64)> {
        unix_seconds(&self.since).zip(unix_seconds(&self.until))
    }

    /// Whether it is the same time, of one connection: two of them do not overlap, however their clocks differ.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let times = self.unix_seconds().zip(other.unix_seconds());
        times.is_none_or(|(a, b)| a.0 < b.1 && b.0 < a.1)
    }
}

impl Life {
    /// The times of a window in which its data went unanswered, after which it went on: Unix times.
    pub(crate) fn unanswered_times_of(
        &self,
        (since, until): (f64, f64),
    ) -> impl Iterator<Item = (f64, f64)> {
        let times = self.unanswered_times.iter().filter_map(UnansweredTime::unix_seconds);
        times.filter(move |(from, to)| *from <= until && *to >= since)
    }

    /// Whether something of it began or ended in the time that was asked for, or none was.
    pub(crate) fn is_of_window(&self) -> bool {
        self.in_window.is_none_or(|it| it == InWindow::BeganOrEnded)
    }
}
