//! Sums over the table: what a scrape shows. It costs by series, not by sockets.

use super::{
    agent_health::AgentHealth,
    counters::Counters,
    histogram::{DETECTION_BOUNDS, Distribution, IDLE_BOUNDS, Sign},
    owner_ids::{OwnerNumber, OwnerNumbers},
    owner_label::{Claim, OwnerBudget, OwnerName},
};
use crate::model::{
    judgement::{
        idle_limit::PathNumber,
        verdict::{Surroundings, Verdict},
    },
    observed::{
        setting::NetnsSettings,
        socket::{Direction, Socket, State},
    },
};
use std::{collections::BTreeMap, sync::Arc};

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
    pub whose: OwnerNumber,
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
    pub fn of(socket: &Socket, whose: OwnerNumber, around: &Surroundings) -> Option<Self> {
        (socket.state == State::Established).then(|| Self {
            class: Class {
                direction: socket.direction,
                verdict: around.verdict(socket),
                path: around.path(socket),
                whose,
            },
            past_limit: around
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
    pub(super) fn totals(&self, roll: &OwnerNumbers, budget: OwnerBudget) -> Totals {
        let mut series: BTreeMap<SocketSeries, ClassCounts> = BTreeMap::new();
        for (class, counts) in &self.classes {
            if let Some(owner) = roll.name(class.whose).cloned() {
                let Class { direction, verdict, path, .. } = *class;
                let key = SocketSeries { direction, verdict, path, owner };
                series.entry(key).or_default().add(*counts);
            }
        }
        let mut claims: BTreeMap<OwnerName, Claim> = BTreeMap::new();
        let other = roll.labels().other();
        for (SocketSeries { owner, .. }, counts) in
            series.iter().filter(|(it, _)| it.owner != other)
        {
            let claim = claims.entry(owner.clone()).or_default();
            claim.n_sockets += counts.sockets;
            // Of the sockets, of those past the limit.
            claim.n_rows += 2;
        }
        let n_owners = claims.len();
        let shown = budget.shown(claims);
        let mut folded: BTreeMap<SocketSeries, ClassCounts> = BTreeMap::new();
        for (SocketSeries { direction, verdict, path, owner }, counts) in series {
            let owner = if shown.contains(&owner) { owner } else { other.clone() };
            folded.entry(SocketSeries { direction, verdict, path, owner }).or_default().add(counts);
        }
        Totals {
            series: folded,
            n_folded: n_owners - shown.len(),
            idle: self.idle.clone(),
            detection: self.detection.clone(),
            ..Totals::default()
        }
    }
}

/// A series of the socket gauges, as exported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketSeries {
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
pub struct Totals {
    /// Counts of established connections by series.
    pub series: BTreeMap<SocketSeries, ClassCounts>,
    /// Owners that are in [`OTHER`](super::label::OTHER) now.
    pub n_folded: usize,
    /// Effective idle times of established connections with keepalive.
    pub idle: BTreeMap<Direction, Distribution>,
    /// Detection times of the same connections.
    pub detection: BTreeMap<Direction, Distribution>,
    /// The sysctls of each network namespace that has sockets.
    pub netns: BTreeMap<u32, NetnsSettings>,
    /// What verdicts depend on; none before the first picture.
    pub around: Option<Arc<Surroundings>>,
    /// Sockets in the table.
    pub n_tracked: u64,
    /// Sockets that the last walk met and the full table could not take.
    pub n_untracked: u64,
    /// What has happened since the agent's start.
    pub tally: Counters,
    /// The shortest learned limit of each path, seconds.
    pub learned: BTreeMap<PathNumber, u32>,
    /// What the agent says of itself.
    pub health: AgentHealth,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::table::agent_health::EventFlow;
    use crate::model::{
        judgement::idle_limit::{IdleLimit, Limits},
        observed::{
            owner_identity::NamedOwner,
            setting::OwnSettings,
            socket::{Comm, tests_support::socket},
        },
        table::owner_label::OwnerLabels,
    };
    use std::collections::BTreeSet;

    fn around() -> Surroundings {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        Surroundings { limits, host: BTreeSet::new(), hz: 250 }
    }

    fn roll() -> OwnerNumbers {
        OwnerNumbers::new(OwnerLabels::default())
    }

    fn share(socket: &Socket) -> Option<Share> {
        Share::of(socket, OwnerNumber::default(), &around())
    }

    fn named(name: u32) -> NamedOwner {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(format!("{name:08}").as_bytes());
        NamedOwner { process: Comm::new(bytes), identity: None }
    }

    #[test]
    fn events_lost_is_the_sum_of_all_stages() {
        let flow = EventFlow {
            unseen: 1,
            skipped: 10,
            dropped: 100,
            undecodable: 1000,
            ..EventFlow::default()
        };
        assert_eq!(flow.n_lost(), 1111);
        assert_eq!(flow.lost().iter().map(|(_, n)| n).sum::<u64>(), flow.n_lost());
        let healthy =
            EventFlow { seen: 9, submitted: 7, filtered: 2, received: 7, decoded: 7, ..flow };
        assert_eq!(healthy.n_lost(), flow.n_lost(), "what arrived is not lost");
    }

    #[test]
    fn what_is_put_in_and_taken_out_leaves_nothing() {
        let mut sums = Sums::default();
        let on = Socket {
            keepalive: true,
            own: OwnSettings { idle_seconds: 60, ..OwnSettings::default() },
            quiet_ms: 400_000,
            ..socket()
        };
        for share in [share(&socket()), share(&on)] {
            sums.replace(None, share);
        }
        let totals = sums.totals(&roll(), OwnerBudget::default());
        assert_eq!(totals.series.values().map(|counts| counts.sockets).sum::<u64>(), 2);
        assert_eq!(totals.series.values().map(|counts| counts.past_limit).sum::<u64>(), 1);
        assert_eq!(totals.idle[&Direction::Outbound].sum, 60);
        sums.replace(share(&socket()), None);
        sums.replace(share(&on), None);
        assert!(sums.totals(&roll(), OwnerBudget::default()).series.is_empty());
        assert_eq!(sums.idle, Sums::default().idle);
        assert_eq!(sums.detection, Sums::default().detection);
    }

    #[test]
    fn any_number_of_names_is_a_few_series_and_the_sum_stays_exact() {
        let (mut sums, mut roll) = (Sums::default(), roll());
        for name in (1..=100_000).chain([77]) {
            let whose = roll.take(named(name));
            sums.replace(None, Share::of(&socket(), whose, &around()));
        }
        let totals = sums.totals(&roll, OwnerBudget { n_owners: 100, ..OwnerBudget::default() });
        assert_eq!(totals.series.len(), 101);
        assert!(totals.n_folded > 60_000, "{}", totals.n_folded);
        assert_eq!(totals.series.values().map(|counts| counts.sockets).sum::<u64>(), 100_001);
        let top = OwnerLabels::default().of(&named(77));
        assert!(totals.series.keys().any(|series| series.owner == top));
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
