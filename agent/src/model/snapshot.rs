//! Sums over the table: what a scrape shows. It costs by series, not by sockets.

use super::{
    event::Fire,
    label::{Budget, Claim, OwnerName},
    limit::PathNumber,
    roll::{Number, Roll},
    setting::Netns,
    socket::{Direction, Socket, State},
    tally::Tally,
    verdict::{Policy, Verdict},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// Upper bounds of the idle histogram, seconds: the real idle limits, and what runtimes set.
pub const IDLE_BOUNDS: &[u32] =
    &[15, 30, 60, 120, 240, 300, 350, 600, 900, 1200, 1800, 3600, 7200, 7440];
/// Upper bounds of the detection time histogram, seconds.
pub const DETECTION_BOUNDS: &[u32] =
    &[30, 60, 120, 240, 350, 600, 900, 1800, 3600, 7200, 7875, 14400, 86400];

/// How many sockets have a value up to each bound, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Upper bounds, ascending; above the last is one more count.
    pub bounds: &'static [u32],
    /// One count a bound, not cumulative, and one above.
    pub counts: Vec<u64>,
    /// Sum of the values, seconds.
    pub sum: u64,
}

impl Distribution {
    pub(super) fn new(bounds: &'static [u32]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0 }
    }

    pub(super) fn add(&mut self, value: u64) {
        self.change(value, Sign::Plus);
    }

    fn change(&mut self, value: u64, sign: Sign) {
        let bucket = self.bounds.partition_point(|&bound| u64::from(bound) < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            sign.apply(count, 1);
        }
        sign.apply(&mut self.sum, value);
    }
}

/// A series of the socket gauges, before names are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    /// The end that opened the connection.
    pub direction: Direction,
    /// What keepalive does for it.
    pub verdict: Verdict,
    /// The path to its peer.
    pub path: PathNumber,
    /// The number of its owner.
    pub whose: Number,
}

/// What one established connection adds to the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    class: Class,
    past_limit: bool,
    probing: bool,
    /// Idle and detection time, while keepalive is on.
    times: Option<(u32, u64)>,
}

impl Share {
    /// The share of a socket of this owner; none unless it is established.
    pub fn of(socket: &Socket, whose: Number, policy: &Policy) -> Option<Self> {
        (socket.state == State::Established).then(|| Self {
            class: Class {
                direction: socket.direction,
                verdict: policy.verdict(socket),
                path: policy.path(socket),
                whose,
            },
            past_limit: policy
                .until_limit_ms(socket, socket.quiet_ms.into())
                .is_some_and(|rest_ms| rest_ms < 0),
            // One may be on its way: what answers it is seen at the next sample only.
            probing: socket.keepalive && socket.probes_unanswered > 1 && !socket.in_flight,
            times: socket.detection_seconds().map(|seconds| (socket.idle().value, seconds)),
        })
    }
}

/// Counts of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Established connections.
    pub sockets: u64,
    /// Quiet for longer than the idle limit.
    pub past_limit: u64,
    /// With two or more unanswered probes.
    pub probing: u64,
}

impl ClassCounts {
    fn change(&mut self, share: &Share, sign: Sign) {
        sign.apply(&mut self.sockets, 1);
        sign.apply(&mut self.past_limit, share.past_limit.into());
        sign.apply(&mut self.probing, share.probing.into());
    }

    const fn add(&mut self, other: Self) {
        self.sockets += other.sockets;
        self.past_limit += other.past_limit;
        self.probing += other.probing;
    }
}

/// The running sums of a table.
#[derive(Clone, Debug)]
pub struct Sums {
    classes: BTreeMap<Class, ClassCounts>,
    idle: BTreeMap<Direction, Distribution>,
    detection: BTreeMap<Direction, Distribution>,
}

#[derive(Clone, Copy)]
enum Sign {
    Plus,
    Minus,
}

impl Sign {
    const fn apply(self, to: &mut u64, amount: u64) {
        *to = match self {
            Self::Plus => to.saturating_add(amount),
            Self::Minus => to.saturating_sub(amount),
        };
    }
}

impl Default for Sums {
    fn default() -> Self {
        let distributions = |bounds| {
            Direction::ALL.iter().map(|&direction| (direction, Distribution::new(bounds))).collect()
        };
        Self {
            classes: BTreeMap::new(),
            idle: distributions(IDLE_BOUNDS),
            detection: distributions(DETECTION_BOUNDS),
        }
    }
}

impl Sums {
    /// Takes `old` out and puts `new` in.
    pub fn replace(&mut self, old: Option<Share>, new: Option<Share>) {
        if old == new {
            return;
        }
        for (share, sign) in [(old, Sign::Minus), (new, Sign::Plus)] {
            if let Some(share) = share {
                self.change(&share, sign);
            }
        }
    }

    fn change(&mut self, share: &Share, sign: Sign) {
        let counts = self.classes.entry(share.class).or_default();
        counts.change(share, sign);
        if *counts == ClassCounts::default() {
            self.classes.remove(&share.class);
        }
        if let Some((idle, detection)) = share.times {
            for (distributions, value) in
                [(&mut self.idle, u64::from(idle)), (&mut self.detection, detection)]
            {
                if let Some(distribution) = distributions.get_mut(&share.class.direction) {
                    distribution.change(value, sign);
                }
            }
        }
    }

    /// A picture for scrapes in which owners have rows of their own within the budget: those with most
    /// sockets. The rest is in `~other`, so that every sum stays exact.
    pub(super) fn picture(&self, roll: &Roll, budget: Budget) -> Snapshot {
        let mut series: BTreeMap<Series, ClassCounts> = BTreeMap::new();
        for (class, counts) in &self.classes {
            if let Some(owner) = roll.name(class.whose).cloned() {
                let Class { direction, verdict, path, .. } = *class;
                let key = Series { direction, verdict, path, owner };
                series.entry(key).or_default().add(*counts);
            }
        }
        let mut claims: BTreeMap<OwnerName, Claim> = BTreeMap::new();
        let other = roll.labels().other();
        for (Series { owner, .. }, counts) in series.iter().filter(|(it, _)| it.owner != other) {
            let claim = claims.entry(owner.clone()).or_default();
            claim.n_sockets += counts.sockets;
            // Of the sockets, of those past the limit.
            claim.n_rows += 2;
        }
        let n_owners = claims.len();
        let shown = budget.shown(claims);
        let mut folded: BTreeMap<Series, ClassCounts> = BTreeMap::new();
        for (Series { direction, verdict, path, owner }, counts) in series {
            let owner = if shown.contains(&owner) { owner } else { other.clone() };
            folded.entry(Series { direction, verdict, path, owner }).or_default().add(counts);
        }
        Snapshot {
            series: folded,
            n_folded: n_owners - shown.len(),
            idle: self.idle.clone(),
            detection: self.detection.clone(),
            ..Snapshot::default()
        }
    }
}

/// A series of the socket gauges, as exported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// The end that opened the connections.
    pub direction: Direction,
    /// What keepalive does for them.
    pub verdict: Verdict,
    /// The path to the peers.
    pub path: PathNumber,
    /// The owner as its labels name it.
    pub owner: OwnerName,
}

/// What scrapes read until the next one is published.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts of established connections by series.
    pub series: BTreeMap<Series, ClassCounts>,
    /// Owners that are in [`OTHER`](super::label::OTHER) now.
    pub n_folded: usize,
    /// Effective idle times of established connections with keepalive.
    pub idle: BTreeMap<Direction, Distribution>,
    /// Detection times of the same connections.
    pub detection: BTreeMap<Direction, Distribution>,
    /// The sysctls of each network namespace that has sockets.
    pub netns: BTreeMap<u32, Netns>,
    /// What verdicts depend on; none before the first picture.
    pub policy: Option<Arc<Policy>>,
    /// Sockets in the table.
    pub n_tracked: u64,
    /// Sockets that the last walk met and the full table could not take.
    pub n_untracked: u64,
    /// What has happened since the agent's start.
    pub tally: Tally,
    /// The shortest learned limit of each path, seconds.
    pub learned: BTreeMap<PathNumber, u32>,
    /// What the agent says of itself.
    pub health: Health,
}

/// The agent's own figures.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Signal, mechanism, whether it is attached.
    pub hooks: Vec<(&'static str, &'static str, bool)>,
    /// Records at each stage.
    pub flow: Flow,
    /// Walks that were finished.
    pub n_walks: u64,
    /// Walks that ended with an error.
    pub n_failed_walks: u64,
    /// CPU time of the last walk.
    pub walk_cpu_ms: u64,
    /// Wall time of the last walk.
    pub walk_seconds: f64,
    /// Seconds since 1970 at the end of the last walk; 0 before the first.
    pub walked_at_seconds: f64,
    /// Sockets removed without an event that reported their end.
    pub n_pruned: u64,
    /// Moments that found no room in a history.
    pub n_unrecorded: u64,
    /// Fires of keepalive timers by outcome, exact whether or not events were lost.
    pub fires: [u64; Fire::ALL.len()],
    /// Connections that ended, exact whether or not events were lost.
    pub n_ended: u64,
}

/// Records at each stage since the start. Conservation: `seen = submitted + dropped + filtered`,
/// `submitted = received` (once the ring is empty), `received = decoded + undecodable`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Runs of event hooks.
    pub seen: u64,
    /// Records put into the ring buffer.
    pub submitted: u64,
    /// Records for which it had no room.
    pub dropped: u64,
    /// Runs that the kernel skipped, because the hook ran on that CPU already.
    #[serde(default)]
    pub skipped: u64,
    /// Runs that never happened, as snapshots found out: a lower bound.
    #[serde(default)]
    pub unseen: u64,
    /// Runs that needed no record.
    pub filtered: u64,
    /// Records taken out of the ring buffer.
    pub received: u64,
    /// Records that became events.
    pub decoded: u64,
    /// Records that could not be understood, and were skipped.
    pub undecodable: u64,
}

impl Flow {
    /// What was lost, by stage.
    pub const fn lost(&self) -> [(&'static str, u64); 4] {
        let Self { unseen, skipped, dropped, undecodable, .. } = *self;
        [
            ("unseen", unseen),
            ("skipped", skipped),
            ("ring_full", dropped),
            ("undecodable", undecodable),
        ]
    }

    /// All that was lost: the one number for "events lost", wherever it stands.
    pub const fn n_lost(&self) -> u64 {
        let Self { unseen, skipped, dropped, undecodable, .. } = *self;
        unseen + skipped + dropped + undecodable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        label::OwnerLabels,
        limit::{IdleLimit, Limits},
        roll::Whose,
        setting::Own,
        socket::{Comm, tests_support::socket},
    };
    use std::collections::BTreeSet;

    fn policy() -> Policy {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        Policy { limits, host: BTreeSet::new(), hz: 250 }
    }

    fn roll() -> Roll {
        Roll::new(OwnerLabels::default())
    }

    fn share(socket: &Socket) -> Option<Share> {
        Share::of(socket, Number::default(), &policy())
    }

    fn named(name: u32) -> Whose {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(format!("{name:08}").as_bytes());
        Whose { process: Comm::new(bytes), identity: None }
    }

    #[test]
    fn events_lost_is_the_sum_of_all_stages() {
        let flow =
            Flow { unseen: 1, skipped: 10, dropped: 100, undecodable: 1000, ..Flow::default() };
        assert_eq!(flow.n_lost(), 1111);
        assert_eq!(flow.lost().iter().map(|(_, n)| n).sum::<u64>(), flow.n_lost());
        let healthy = Flow { seen: 9, submitted: 7, filtered: 2, received: 7, decoded: 7, ..flow };
        assert_eq!(healthy.n_lost(), flow.n_lost(), "what arrived is not lost");
    }

    #[test]
    fn what_is_put_in_and_taken_out_leaves_nothing() {
        let mut sums = Sums::default();
        let on = Socket {
            keepalive: true,
            own: Own { idle_seconds: 60, ..Own::default() },
            quiet_ms: 400_000,
            ..socket()
        };
        for share in [share(&socket()), share(&on)] {
            sums.replace(None, share);
        }
        let picture = sums.picture(&roll(), Budget::default());
        assert_eq!(picture.series.values().map(|counts| counts.sockets).sum::<u64>(), 2);
        assert_eq!(picture.series.values().map(|counts| counts.past_limit).sum::<u64>(), 1);
        assert_eq!(picture.idle[&Direction::Outbound].sum, 60);
        sums.replace(share(&socket()), None);
        sums.replace(share(&on), None);
        assert!(sums.picture(&roll(), Budget::default()).series.is_empty());
        assert_eq!(sums.idle, Sums::default().idle);
        assert_eq!(sums.detection, Sums::default().detection);
    }

    #[test]
    fn any_number_of_names_is_a_few_series_and_the_sum_stays_exact() {
        let (mut sums, mut roll) = (Sums::default(), roll());
        for name in (1..=100_000).chain([77]) {
            let whose = roll.take(named(name));
            sums.replace(None, Share::of(&socket(), whose, &policy()));
        }
        let picture = sums.picture(&roll, Budget { n_owners: 100, ..Budget::default() });
        assert_eq!(picture.series.len(), 101);
        assert!(picture.n_folded > 60_000, "{}", picture.n_folded);
        assert_eq!(picture.series.values().map(|counts| counts.sockets).sum::<u64>(), 100_001);
        let top = OwnerLabels::default().of(&named(77));
        assert!(picture.series.keys().any(|series| series.owner == top));
    }

    #[test]
    fn only_established_connections_count() {
        assert_eq!(share(&Socket { state: State::CloseWait, ..socket() }), None);
    }

    #[test]
    fn a_value_on_a_bound_is_under_it() {
        let mut distribution = Distribution::new(&[60, 350]);
        for value in [60, 61, 350, 351] {
            distribution.change(value, Sign::Plus);
        }
        assert_eq!(distribution.counts, [1, 2, 1]);
    }
}
