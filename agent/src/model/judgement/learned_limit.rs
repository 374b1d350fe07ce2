//! A limit that was learned, and how sure it is.

use crate::model::text::{closed_set::closed_set, duration::duration};
use serde::{Deserialize, Serialize};
use std::fmt;

closed_set! {
    /// How sure something learned is.
    pub enum Confidence {
        /// One outage of the peer would explain the deaths as well.
        Guess = "guess",
        /// It would take several outages.
        Likely = "likely",
        /// It would take three or more, and quiet times of at least half the limit were survived.
        Sure = "sure",
    }
}

/// A limit that was learned of a destination, shown as `~21 s (guess)`. It is evidence: it stands beside the limit that
/// applies, and takes its place only where it is sure and nothing is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedLimit {
    /// The limit in seconds.
    pub seconds: u32,
    /// The quiet time that the path is known to keep, seconds: the limit itself, if a device was recognised.
    pub kept_seconds: u32,
    /// How sure it is.
    pub confidence: Confidence,
}

impl fmt::Display for LearnedLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "~{} ({})", duration(self.seconds), self.confidence.as_str())
    }
}
