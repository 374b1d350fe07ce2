//! A clean-up by the clock: connections with several peers, quiet or busy, that end at the same time of day on several
//! days. Firewalls that forget every connection at midnight do that.
//!
//! An end counts where it is known to a few seconds when the connection was lost: by an unprompted reset, or while it
//! was busy. A connection that was quiet may have been lost at any moment of its quiet time: it only adds to what
//! others show. Where ends in masses are ordinary, two of them at the same time of day are chance.

use super::span::Span;
use crate::model::{judgement::learned_limit::Confidence, text::wall_time::WallTime};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

const DAY_MS: i64 = 86_400_000;
/// Ends within this time are one mass ending.
const TOGETHER_MS: i64 = 60_000;
/// A moment of loss is known if it is within this time.
const NARROW_MS: i64 = 30_000;
/// Times of day this far apart are the same.
const SAME_TIME_MS: i64 = 90_000;
/// Connections and peers that make it one of many.
const MIN_CONNECTIONS: u64 = 3;
const MIN_PEERS: usize = 2;
/// Mass endings remembered, and peers and processes of each.
const MAX_ENDINGS: usize = 256;
const MAX_PEERS: usize = 16;
const MAX_PROCESSES: usize = 4;
/// Mass endings of that size on one day that are no coincidence.
const MAX_ALIKE: usize = 3;

/// Connections that were lost at about the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MassEnding {
    /// Inode number of the network namespace; none for the agent's own.
    pub netns: Option<u32>,
    /// When the first was lost, Unix milliseconds.
    pub at_ms: i64,
    /// Connections lost.
    pub connections: u64,
    /// Their peers, as far as there is room.
    pub peers: BTreeSet<Ipv6Addr>,
    /// Their processes, as far as there is room.
    pub processes: BTreeSet<Box<str>>,
}

/// One lost connection.
#[derive(Clone, Debug)]
pub(super) struct LostConnection {
    pub(super) netns: Option<u32>,
    /// It was lost within this time.
    pub(super) within: Span,
    pub(super) peer: Ipv6Addr,
    pub(super) process: Option<Box<str>>,
}

impl MassEnding {
    fn is_of_many(&self) -> bool {
        self.connections >= MIN_CONNECTIONS && self.peers.len() >= MIN_PEERS
    }

    fn add(&mut self, loss: LostConnection) {
        self.connections += 1;
        if self.peers.len() < MAX_PEERS {
            self.peers.insert(loss.peer);
        }
        if self.processes.len() < MAX_PROCESSES {
            self.processes.extend(loss.process);
        }
    }
}

/// All mass endings, and what may become one.
#[derive(Debug, Default)]
pub(super) struct MassEndings {
    all: Vec<MassEnding>,
    is_news: bool,
}

impl MassEndings {
    pub(super) fn note(&mut self, loss: LostConnection) {
        let is_narrow = loss.within.ms() <= NARROW_MS;
        let began_ms = loss.within.began_ms;
        let known = self.all.iter_mut().rev().find(|ending| {
            ending.netns == loss.netns
                && if is_narrow {
                    (ending.at_ms - began_ms).abs() <= TOGETHER_MS
                } else {
                    ending.is_of_many() && loss.within.contains(ending.at_ms)
                }
        });
        match known {
            Some(known) => {
                known.add(loss);
                self.is_news |= known.is_of_many();
            }
            None if is_narrow => {
                let mut ending = MassEnding {
                    netns: loss.netns,
                    at_ms: began_ms,
                    connections: 0,
                    peers: BTreeSet::new(),
                    processes: BTreeSet::new(),
                };
                ending.add(loss);
                self.all.push(ending);
                self.keep_bounds();
            }
            None => {}
        }
    }

    /// Forgets what was never many first, then what another namespace made up.
    fn keep_bounds(&mut self) {
        if self.all.len() <= MAX_ENDINGS {
            return;
        }
        let worth = |ending: &MassEnding| {
            (ending.is_of_many(), ending.netns.is_none(), ending.connections, ending.at_ms)
        };
        // The newest may still grow.
        let old = self.all.iter().enumerate().rev().skip(1);
        if let Some((place, _)) = old.min_by_key(|(_, ending)| worth(ending)) {
            self.all.remove(place);
        }
    }

    pub(super) fn remember(&mut self, endings: Vec<MassEnding>, now_ms: i64) {
        let young = |it: &MassEnding| it.at_ms <= now_ms && now_ms - it.at_ms < super::WINDOW_MS;
        self.all.splice(..0, endings.into_iter().filter(young).take(MAX_ENDINGS));
    }

    /// What is old is forgotten; all that there is, if it is news.
    pub(super) fn take_news(&mut self, now_ms: i64) -> Option<Vec<MassEnding>> {
        let n_before = self.all.len();
        self.all.retain(|it| now_ms - it.at_ms < super::WINDOW_MS);
        let is_news = std::mem::take(&mut self.is_news) || self.all.len() < n_before;
        is_news.then(|| self.of_many().cloned().collect())
    }

    fn of_many(&self) -> impl Iterator<Item = &MassEnding> {
        self.all.iter().filter(|ending| ending.is_of_many())
    }

    /// The moments of mass endings in that namespace.
    pub(super) fn moments(&self, netns: Option<u32>) -> impl Iterator<Item = i64> {
        self.of_many().filter(move |ending| ending.netns == netns).map(|ending| ending.at_ms)
    }

    /// Every clean-up. `zone_ms`: the host's time of day minus UTC.
    pub(super) fn rows(&self, zone_ms: i64) -> Vec<CleanUpRow> {
        let mut by_netns: BTreeMap<Option<u32>, Vec<&MassEnding>> = BTreeMap::new();
        for ending in self.of_many() {
            by_netns.entry(ending.netns).or_default().push(ending);
        }
        let mut rows = Vec::new();
        for endings in by_netns.values_mut() {
            endings.sort_by_key(|ending| ending.at_ms);
            let mut left: Vec<&MassEnding> =
                endings.iter().copied().filter(|it| stands_out(it, endings, zone_ms)).collect();
            while let Some(first) = left.first().copied() {
                let (same, others) =
                    left.into_iter().partition(|it| same_time_of_day(first.at_ms, it.at_ms));
                left = others;
                rows.extend(CleanUpRow::of(&same, zone_ms));
            }
        }
        rows
    }
}

const fn day(at_ms: i64, zone_ms: i64) -> i64 {
    // Half a day on, so that midnight is not on the edge between two days.
    (at_ms + zone_ms + DAY_MS / 2).div_euclid(DAY_MS)
}

fn same_time_of_day(one_ms: i64, other_ms: i64) -> bool {
    let apart = (one_ms - other_ms).rem_euclid(DAY_MS);
    apart.min(DAY_MS - apart) <= SAME_TIME_MS
}

/// Whether few others on its day were as large.
fn stands_out(ending: &MassEnding, all: &[&MassEnding], zone_ms: i64) -> bool {
    let is_alike = |it: &&&MassEnding| {
        day(it.at_ms, zone_ms) == day(ending.at_ms, zone_ms)
            && it.connections * 2 >= ending.connections
    };
    all.iter().filter(is_alike).count() <= MAX_ALIKE
}

/// A clean-up by the clock, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CleanUpRow {
    /// Inode number of the network namespace; null for the agent's own.
    pub netns: Option<u32>,
    /// When it happened last: Unix time.
    #[serde(flatten)]
    pub time: WallTime,
    /// The time of day in the host's zone: HH:MM.
    pub time_of_day: String,
    /// Days on which it was seen.
    pub days: u64,
    /// Connections that it ended.
    pub connections: u64,
    /// Addresses of their peers, some of them.
    pub peers: Vec<String>,
    /// The process, if all of them belonged to one.
    pub process: Option<String>,
    /// How sure it is.
    pub confidence: Confidence,
    /// All of it, in one sentence.
    pub meaning: String,
}

impl CleanUpRow {
    fn of(endings: &[&MassEnding], zone_ms: i64) -> Option<Self> {
        let days: BTreeSet<i64> = endings.iter().map(|it| day(it.at_ms, zone_ms)).collect();
        let n_days = u64::try_from(days.len()).unwrap_or(u64::MAX);
        let last = endings.last().filter(|_| n_days >= 2)?;
        let connections = endings.iter().map(|it| it.connections).sum();
        let peers: BTreeSet<Ipv6Addr> = endings.iter().flat_map(|it| it.peers.clone()).collect();
        let mut processes: Vec<Box<str>> =
            endings.iter().flat_map(|it| it.processes.clone()).collect();
        processes.sort_unstable();
        processes.dedup();
        let process = match processes.as_slice() {
            [process] => Some(process.to_string()),
            _ => None,
        };
        let time_of_day = time_of_day(endings, zone_ms);
        let nights = format!("{n_days} days, {connections} connections");
        let meaning = match &process {
            Some(process) => format!(
                "connections of {process} with several peers end together at {time_of_day} ({nights}): a scheduled \
                 clean-up on the way, or a job of {process} or of its peers at that time"
            ),
            None => format!(
                "connections with several peers end together at {time_of_day} ({nights}): a scheduled clean-up on the \
                 way, or jobs of these programs or their peers at that time (a capture shows whether the peers send the \
                 resets). Nothing prevents it; where it is silent, keepalive notices it within its detection time"
            ),
        };
        let is_sure = n_days >= 3 && process.is_none();
        Some(Self {
            netns: last.netns,
            time: WallTime::of_unix_ms(last.at_ms),
            time_of_day,
            days: n_days,
            connections,
            peers: peers.iter().map(|peer| peer.to_canonical().to_string()).collect(),
            process,
            confidence: if is_sure { Confidence::Sure } else { Confidence::Likely },
            meaning,
        })
    }
}

/// HH:MM of the one in the middle, to the next minute where it began some seconds before.
fn time_of_day(endings: &[&MassEnding], zone_ms: i64) -> String {
    let first_ms = endings.first().map_or(0, |it| it.at_ms);
    // Differences to the first, so that midnight is not on the edge.
    let mut apart: Vec<i64> = endings
        .iter()
        .map(|it| (it.at_ms - first_ms + DAY_MS / 2).rem_euclid(DAY_MS) - DAY_MS / 2)
        .collect();
    apart.sort_unstable();
    let middle_ms = first_ms + apart.get(apart.len() / 2).copied().unwrap_or_default();
    let minutes = (middle_ms + zone_ms + 15_000).rem_euclid(DAY_MS) / 60_000;
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}
