//! What was learned, as it is shown: one row for each fact. Fields are only ever added.

use super::{clean_up::CleanUpRow, peer_closes::PeerClosesRow};
use crate::model::{
    judgement::learned_limit::Confidence,
    text::{
        count::counted,
        duration::{ms, tenths},
        wall_time::WallTime,
    },
};
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
    /// The peer may close by itself after this time without data, which is sooner: a FIN that was lost explains the deaths as
    /// well.
    #[serde(default)]
    pub peer_closes_after_seconds: Option<f64>,
    /// The longest quiet time that was survived after the deaths, if that is longer than what killed: the path has changed, or
    /// there is more than one.
    #[serde(default)]
    pub outlived_seconds: Option<f64>,
    /// All of it, in one sentence.
    pub meaning: String,
}

impl LimitRow {
    /// All of it, in one sentence. `is_outage_ruled_out`: others were answered meanwhile, so no outage of the peer explains it.
    pub fn in_words(&self, is_outage_ruled_out: bool) -> String {
        let time = |seconds: f64| tenths(ms(seconds));
        let shortest = time(self.shortest_killed_seconds);
        let interval = match self.longest_survived_seconds.map(time) {
            // Both may be the same when they are rounded.
            Some(longest) if longest != shortest => format!("between {longest} and {shortest}"),
            Some(_) => format!("at about {shortest}"),
            None => format!("at {shortest} or before"),
        };
        let deaths = counted(self.deaths, "death");
        let beside = match self.deaths_singled_out {
            0 => String::new(),
            n if n == self.deaths => ", while others to the same peer were answered".to_owned(),
            n => format!(", {n} of them while others to the same peer were answered"),
        };
        if let Some(outlived) = self.outlived_seconds.map(time) {
            return format!(
                "quiet connections were dropped {interval}, {deaths}{beside}; others went on after {outlived} since: the path \
                 changes, or there is more than one; a guess"
            );
        }
        let looks =
            self.looks_like.as_ref().map(|devices| format!(": as {devices}")).unwrap_or_default();
        let sure = match self.confidence {
            Confidence::Guess if is_outage_ruled_out => "; a guess: it was seen on one occasion",
            Confidence::Guess => "; a guess: one outage of the peer would explain it too",
            Confidence::Likely => "; likely",
            Confidence::Sure => "; sure",
        };
        let closes = self.peer_closes_after_seconds.map(|after| {
            format!(
                ". Or the peer closes by itself {} after the last data, as it did before, and its FIN was lost",
                time(after)
            )
        });
        format!(
            "quiet connections are dropped {interval}, {deaths}{beside}{looks}{sure}{}",
            closes.unwrap_or_default()
        )
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// A limit that six deaths on three occasions taught, the shortest after 38.4 s of quiet.
    pub(crate) fn limit_row() -> LimitRow {
        LimitRow {
            remote: "10.0.0.9:5432".to_owned(),
            netns: None,
            time: WallTime::default(),
            longest_survived_seconds: Some(11.0),
            shortest_killed_seconds: 38.4,
            survivals: 9,
            deaths: 6,
            deaths_singled_out: 0,
            deaths_contradicted: 0,
            deaths_explained: 0,
            occasions: 3,
            confidence: Confidence::Likely,
            idle_limit_seconds: 38,
            looks_like: None,
            peer_closes_after_seconds: None,
            outlived_seconds: None,
            meaning: "quiet connections are dropped between 11 s and 38 s".to_owned(),
        }
    }
}
