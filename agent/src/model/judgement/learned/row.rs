//! What was learned, as it is shown: one row for each fact. Fields are only ever added.

use super::{clean_up::CleanUpRow, peer_closes::PeerClosesRow};
use crate::model::{judgement::learned_limit::Confidence, text::wall_time::WallTime};
use serde::{Deserialize, Serialize};

/// A fact that follows from how connections ended and went on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LearnedRow {
    /// How long the path to a destination keeps a quiet connection.
    PathLimit(LimitRow),
    /// The peer closes connections by itself after a time without data.
    PeerCloses(PeerClosesRow),
    /// Connections end together at a time of day.
    CleanUp(CleanUpRow),
}

impl LearnedRow {
    /// The name of the kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::PathLimit(_) => "path_limit",
            Self::PeerCloses(_) => "peer_closes",
            Self::CleanUp(_) => "clean_up",
        }
    }

    /// The peer that it is about; of a clean-up none.
    pub fn destination(&self) -> Option<&str> {
        match self {
            Self::PathLimit(row) => Some(&row.remote),
            Self::PeerCloses(row) => Some(&row.remote),
            Self::CleanUp(_) => None,
        }
    }

    /// How sure it is.
    pub const fn confidence(&self) -> Confidence {
        match self {
            Self::PathLimit(row) => row.confidence,
            Self::PeerCloses(row) => row.confidence,
            Self::CleanUp(row) => row.confidence,
        }
    }

    /// All of it, in one sentence.
    pub fn meaning(&self) -> &str {
        match self {
            Self::PathLimit(row) => &row.meaning,
            Self::PeerCloses(row) => &row.meaning,
            Self::CleanUp(row) => &row.meaning,
        }
    }

    /// When the last evidence came.
    pub const fn unix_seconds(&self) -> f64 {
        match self {
            Self::PathLimit(row) => row.time.unix_seconds,
            Self::PeerCloses(row) => row.time.unix_seconds,
            Self::CleanUp(row) => row.time.unix_seconds,
        }
    }
}

/// An idle limit as learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitRow {
    /// An address, or an address and a port.
    pub remote: String,
    /// Inode number of the network namespace; null for the agent's own.
    pub netns: Option<u32>,
    /// When the last evidence came.
    #[serde(flatten)]
    pub time: WallTime,
    /// The longest quiet time that was survived; null if none was.
    pub longest_survived_seconds: Option<f64>,
    /// The shortest that killed.
    pub shortest_killed_seconds: f64,
    /// The number of quiet times that were survived.
    pub survivals: u64,
    /// Deaths that say so.
    pub deaths: u64,
    /// Those of them that died while others with the same peer were answered.
    pub deaths_singled_out: u64,
    /// Deaths that were left out, because as long a quiet time was survived.
    pub deaths_contradicted: u64,
    /// Deaths that were left out, because an outage, a clean-up or the peer's own timer explains them.
    pub deaths_explained: u64,
    /// Outages of the peer that would be needed to explain the deaths without a limit.
    pub occasions: u64,
    /// How sure it is.
    pub confidence: Confidence,
    /// The limit that the evidence shows.
    pub idle_limit_seconds: u32,
    /// Devices with such a limit.
    pub looks_like: Option<String>,
    /// All of it, in one sentence.
    pub meaning: String,
}
