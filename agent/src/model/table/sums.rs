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
        condition::Condition,
        idle_limit::PathNumber,
        verdict::{Surroundings, Verdict},
    },
    observed::{
        setting::NetnsSettings,
        socket::{Direction, Socket, State},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A series of the gauge of established connections; the owner is a number before names are folded, then a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketSeries<Whose> {
    /// The end that opened the connection.
    pub direction: Direction,
    /// What is promised of it.
    pub verdict: Verdict,
    /// The path to its peer.
    pub path: PathNumber,
    /// Its owner.
    pub owner: Whose,
}

/// A series of the gauge of connections in trouble, in any state but listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TroubleSeries<Whose> {
    /// The end that opened the connection.
    pub direction: Direction,
    /// How it is.
    pub condition: Condition,
    /// The path to its peer.
    pub path: PathNumber,
    /// Its owner.
    pub owner: Whose,
}

/// What one connection adds to the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    established: Option<SocketSeries<OwnerNumber>>,
    trouble: Option<TroubleSeries<OwnerNumber>>,
    /// Idle and detection time, while it is established with keepalive on.
    times: Option<(u32, u64)>,
}

impl Share {
    /// The share of a socket of this owner; none unless it is a connection.
    pub fn of(socket: &Socket, owner: OwnerNumber, around: &Surroundings) -> Option<Self> {
        if !socket.is_connection() {
            return None;
        }
        let (direction, path) = (socket.direction, around.path(socket));
        let is_established = socket.state == State::Established;
        let verdict = || around.verdict(socket);
        let condition = around.condition(socket).condition;
        Some(Self {
            established: is_established.then(|| SocketSeries {
                direction,
                verdict: verdict(),
                path,
                owner,
            }),
            trouble: (condition != Condition::Fine).then_some(TroubleSeries {
                direction,
                condition,
                path,
                owner,
            }),
            times: socket
                .detection_seconds()
                .filter(|_| is_established)
                .map(|seconds| (socket.idle().value, seconds)),
        })
    }
}

/// The running sums of a table.
#[derive(Clone, Debug)]
pub struct Sums {
    sockets: BTreeMap<SocketSeries<OwnerNumber>, u64>,
    troubles: BTreeMap<TroubleSeries<OwnerNumber>, u64>,
    idle: BTreeMap<Direction, Distribution>,
    detection: BTreeMap<Direction, Distribution>,
}

impl Default for Sums {
    fn default() -> Self {
        let distributions = |bounds| {
            Direction::ALL.iter().map(|&direction| (direction, Distribution::new(bounds))).collect()
        };
        Self {
            sockets: BTreeMap::new(),
            troubles: BTreeMap::new(),
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
        let Share { established, trouble, times } = *share;
        if let Some(series) = established {
            count(&mut self.sockets, series, sign);
        }
        if let Some(series) = trouble {
            count(&mut self.troubles, series, sign);
        }
        if let (Some((idle, detection)), Some(series)) = (times, established) {
            for (distributions, value) in
                [(&mut self.idle, u64::from(idle)), (&mut self.detection, detection)]
            {
                if let Some(distribution) = distributions.get_mut(&series.direction) {
                    distribution.change(value, sign);
                }
            }
        }
    }

    /// A picture for scrapes in which owners have rows of their own within the budget: those with most
    /// sockets. The rest is in `~other`, so that every sum stays exact.
    pub(super) fn totals(&self, roll: &OwnerNumbers, budget: OwnerBudget) -> Totals {
        let other = roll.labels().other();
        // Two numbers may have one name: an owner's rows are those of its name.
        let mut rows: BTreeMap<OwnerName, (Claim, BTreeSet<RowKey>)> = BTreeMap::new();
        let mut claim = |number, n_sockets, key| {
            if let Some(name) = roll.name(number).filter(|name| **name != other) {
                let (claim, keys) = rows.entry(name.clone()).or_default();
                claim.n_sockets += n_sockets;
                keys.insert(key);
            }
        };
        for (&SocketSeries { direction, verdict, path, owner }, &n) in &self.sockets {
            claim(owner, n, RowKey::Socket(direction, verdict, path));
        }
        for &TroubleSeries { direction, condition, path, owner } in self.troubles.keys() {
            claim(owner, 0, RowKey::Condition(direction, condition, path));
        }
        let n_owners = rows.len();
        let claims = rows
            .into_iter()
            .map(|(owner, (claim, keys))| (owner, Claim { n_rows: keys.len(), ..claim }));
        let shown = budget.shown(claims.collect());
        let folded = |number| {
            roll.name(number).map(|name| if shown.contains(name) { name } else { &other }.clone())
        };
        let mut totals = Totals {
            n_folded: n_owners - shown.len(),
            idle: self.idle.clone(),
            detection: self.detection.clone(),
            ..Totals::default()
        };
        for (&SocketSeries { direction, verdict, path, owner }, n) in &self.sockets {
            if let Some(owner) = folded(owner) {
                let series = SocketSeries { direction, verdict, path, owner };
                *totals.sockets.entry(series).or_default() += n;
            }
        }
        for (&TroubleSeries { direction, condition, path, owner }, n) in &self.troubles {
            if let Some(owner) = folded(owner) {
                let series = TroubleSeries { direction, condition, path, owner };
                *totals.troubles.entry(series).or_default() += n;
            }
        }
        totals
    }
}

/// A row of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RowKey {
    Socket(Direction, Verdict, PathNumber),
    Condition(Direction, Condition, PathNumber),
}

fn count<K: Ord + Copy>(counts: &mut BTreeMap<K, u64>, key: K, sign: Sign) {
    let n = counts.entry(key).or_default();
    sign.apply(n, 1);
    if *n == 0 {
        counts.remove(&key);
    }
}

/// What scrapes read until the next one is published.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Established connections.
    pub sockets: BTreeMap<SocketSeries<OwnerName>, u64>,
    /// Connections in trouble.
    pub troubles: BTreeMap<TroubleSeries<OwnerName>, u64>,
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

    fn around() -> Surroundings {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        Surroundings::new(limits, 250)
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
        let overdue = Socket { keepalive: false, ..on };
        let closed = Socket { state: State::CloseWait, ..on };
        let all = [socket(), on, overdue, closed];
        for socket in all {
            sums.replace(None, share(&socket));
        }
        let totals = sums.totals(&roll(), OwnerBudget::default());
        assert_eq!(totals.sockets.values().sum::<u64>(), 3);
        let troubles: Vec<_> =
            totals.troubles.iter().map(|(series, n)| (series.condition, *n)).collect();
        assert_eq!(troubles, [(Condition::Overdue, 1), (Condition::PeerClosed, 1)]);
        assert_eq!(totals.idle[&Direction::Outbound].sum, 60);
        for socket in all {
            sums.replace(share(&socket), None);
        }
        let totals = sums.totals(&roll(), OwnerBudget::default());
        assert!(totals.sockets.is_empty() && totals.troubles.is_empty());
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
        assert_eq!(totals.sockets.len(), 101);
        assert!(totals.n_folded > 60_000, "{}", totals.n_folded);
        assert_eq!(totals.sockets.values().sum::<u64>(), 100_001);
        let top = OwnerLabels::default().of(&named(77));
        assert!(totals.sockets.keys().any(|series| series.owner == top));
    }

    #[test]
    fn only_established_connections_count_as_such_and_listeners_not_at_all() {
        let closing = share(&Socket { state: State::FinWait2, ..socket() }).unwrap();
        assert_eq!((closing.established, closing.trouble, closing.times), (None, None, None));
        assert_eq!(share(&Socket { state: State::Listen, ..socket() }), None);
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
