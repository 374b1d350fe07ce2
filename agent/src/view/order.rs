//! The orders in which connections are shown: the one that will be dropped next comes first.

use super::row::Row;
use crate::model::{
    judgement::{
        condition::{Condition, Diagnosis},
        facts::ConnectionFacts,
        verdict::{Surroundings, Verdict},
    },
    observed::socket::{Endpoint, Owner, Socket, SocketId},
};
use serde::{Deserialize, Serialize};

/// The order of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sort {
    /// What is in trouble first, then what is dropped next
    #[default]
    Limit,
    /// Longest quiet first
    Quiet,
    /// Longest time until death is noticed first; never before all
    Detection,
    /// Most unanswered probes first
    Unanswered,
    /// By peer
    Peer,
    /// By process
    Process,
}

impl Sort {
    /// Every order, in the order of the key that steps through them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Limit, Self::Quiet, Self::Detection, Self::Unanswered, Self::Peer, Self::Process];

    /// What it is by, in words.
    pub(crate) const fn as_words(self) -> &'static str {
        match self {
            Self::Limit => "trouble, then time until dropped",
            Self::Quiet => "quiet time",
            Self::Detection => "time until noticed",
            Self::Unanswered => "unanswered probes",
            Self::Peer => "peer",
            Self::Process => "process",
        }
    }
}

/// Where something stands in an order; what is less comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OrderKey {
    group: u8,
    first: u128,
    then: u64,
    id: SocketId,
}

impl OrderKey {
    /// Its place in the opposite order.
    #[must_use]
    pub(crate) const fn reversed(self) -> Self {
        let Self { group, first, then, id } = self;
        Self { group: !group, first: !first, then: !then, id }
    }
}

/// What of a connection decides about its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    id: SocketId,
    condition: Condition,
    /// Milliseconds until it is dropped, by its path or by the kernel, if no packet is sent on it; less than 0 if its path
    /// probably has. None of one that is protected and answers.
    until_dropped_ms: Option<i64>,
    until_limit_ms: Option<i64>,
    quiet_ms: u64,
    /// How long a death stays unnoticed; none if for ever.
    noticed_seconds: Option<u64>,
    probes_unanswered: u8,
    remote: Endpoint,
    process: Option<(u128, u32)>,
}

impl Standing {
    /// Of a socket as it is now.
    pub(crate) fn of(socket: &Socket, owner: Option<&Owner>, around: &Surroundings) -> Self {
        let trouble = around.condition(socket);
        let until_limit_ms = around.until_limit_ms(socket, socket.quiet_ms.into());
        Self {
            id: socket.id,
            condition: trouble.condition,
            until_dropped_ms: until_dropped(
                around.verdict(socket),
                trouble,
                until_limit_ms,
                socket,
            ),
            until_limit_ms,
            quiet_ms: socket.quiet_ms.into(),
            noticed_seconds: noticed(
                trouble.condition,
                socket.gives_up_repeating_ms().div_ceil(1000),
                socket.detected_after_seconds(),
            ),
            probes_unanswered: socket.probes_missed(),
            remote: socket.remote,
            process: owner.map(|owner| (name_number(owner.comm.as_bytes()), owner.pid)),
        }
    }

    /// The place of a row that was already made.
    pub(crate) fn of_row(row: &Row) -> Self {
        let owner = row.owners.first();
        Self {
            id: row.id().parse().unwrap_or_default(),
            condition: row.connection.condition(),
            until_dropped_ms: until_dropped_ms(row),
            until_limit_ms: row.until_limit_seconds.map(ms),
            quiet_ms: ms(row.connection.quiet_seconds).unsigned_abs(),
            noticed_seconds: noticed_seconds(row),
            probes_unanswered: row.connection.probes_unanswered,
            remote: row.connection.remote.into(),
            process: owner.map(|owner| (name_number(owner.process.as_bytes()), owner.pid)),
        }
    }

    /// How it is now.
    pub(crate) const fn condition(&self) -> Condition {
        self.condition
    }

    /// The place of its trouble among the urgent ones.
    fn urgency(&self) -> Option<u8> {
        let urgent = Condition::ALL.iter().filter(|condition| condition.is_urgent());
        (0..FINE).zip(urgent).find_map(|(n, urgent)| (*urgent == self.condition).then_some(n))
    }

    /// Its place in this order.
    pub(crate) fn key(&self, sort: Sort) -> OrderKey {
        let Self { id, .. } = *self;
        let key = |group, first: u128, then| OrderKey { group, first, then, id };
        match sort {
            // First what is in trouble now. The protected ones are not dropped, whatever the time.
            Sort::Limit => match (self.urgency(), self.until_dropped_ms, self.until_limit_ms) {
                (Some(urgency), rest, _) => key(urgency, upwards(rest.unwrap_or(i64::MAX)), 0),
                (None, Some(rest), _) => key(FINE, upwards(rest), 0),
                (None, None, rest) => key(FINE + 1, upwards(rest.unwrap_or(i64::MAX)), 0),
            },
            Sort::Quiet => key(0, downwards(self.quiet_ms), 0),
            Sort::Detection => key(0, downwards(self.noticed_seconds.unwrap_or(u64::MAX)), 0),
            Sort::Unanswered => {
                let rest = upwards(self.until_dropped_ms.unwrap_or(i64::MAX));
                let rest = u64::try_from(rest).unwrap_or(u64::MAX);
                key(0, downwards(self.probes_unanswered.into()), rest)
            }
            Sort::Peer => {
                key(0, u128::from_be_bytes(self.remote.addr.octets()), self.remote.port.into())
            }
            Sort::Process => match self.process {
                Some((name, pid)) => key(0, name, pid.into()),
                None => key(1, 0, 0),
            },
        }
    }
}

/// The group of connections without urgent trouble.
const FINE: u8 = 3;

/// How long a death of a row's connection stays unnoticed, seconds; none if for ever.
pub(crate) fn noticed_seconds(row: &Row) -> Option<u64> {
    let settings = &row.connection.settings;
    let (repeated, probed) =
        (settings.in_flight_detection_seconds, row.connection.detected_after_seconds());
    noticed(row.connection.condition(), repeated, probed)
}

/// What hangs waits for its repetitions, whatever its probes.
fn noticed(
    condition: Condition,
    repeated_seconds: u64,
    probed_seconds: Option<u64>,
) -> Option<u64> {
    if condition == Condition::Stuck { Some(repeated_seconds) } else { probed_seconds }
}

/// Milliseconds until a row's connection is dropped, if it is dropped at all.
pub(crate) fn until_dropped_ms(row: &Row) -> Option<i64> {
    let trouble = Diagnosis {
        condition: row.connection.condition(),
        since_ms: 0,
        is_least: false,
        gives_up_ms: row.connection.gives_up_seconds.map(|seconds| ms(seconds).unsigned_abs()),
    };
    until_dropped(row.verdict(), trouble, row.until_limit_seconds.map(ms), &row.connection)
}

/// Until the kernel gives up on what is unanswered, or the path forgets what is not protected.
fn until_dropped(
    verdict: Verdict,
    trouble: Diagnosis,
    until_limit_ms: Option<i64>,
    of: &impl ConnectionFacts,
) -> Option<i64> {
    match trouble.condition {
        Condition::Stuck | Condition::PeerSilent => i64::try_from(trouble.gives_up_ms?).ok(),
        Condition::Overdue | Condition::Fine if verdict.is_unprotected() => {
            let quiet_ms = i64::try_from(of.quiet_ms()).ok()?;
            Some(of.forgotten_in_ms(until_limit_ms?.saturating_add(quiet_ms)))
        }
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds that rows hold exactly")]
fn ms(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// A number that sorts as a signed one does.
const fn upwards(number: i64) -> u128 {
    (number.cast_unsigned() ^ (1 << 63)) as u128
}

const fn downwards(number: u64) -> u128 {
    (u64::MAX - number) as u128
}

/// A number that sorts as the first 16 bytes of a name do.
fn name_number(name: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    for (byte, of_name) in bytes.iter_mut().zip(name) {
        *byte = *of_name;
    }
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::idle_limit::{IdleLimit, Limits},
        observed::{
            setting::OwnSettings,
            socket::{Comm, tests_support::socket},
        },
    };

    fn around() -> Surroundings {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        Surroundings::new(limits, 250)
    }

    fn named(id: u64, name: &[u8]) -> Socket {
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name);
        let owner = Some(Owner { pid: 7, fd: None, comm: Comm::new(bytes) });
        Socket { id: SocketId(id), owner, ..socket() }
    }

    fn probed(id: u64, probes_unanswered: u8) -> Socket {
        let own =
            OwnSettings { idle_seconds: 60, interval_seconds: 10, count: 5, user_timeout_ms: 0 };
        let timer_ms = Some(4_000);
        Socket { keepalive: true, own, probes_unanswered, timer_ms, ..named(id, b"db") }
    }

    fn order(sockets: &[Socket], sort: Sort) -> Vec<u64> {
        let mut keys: Vec<OrderKey> = sockets
            .iter()
            .map(|socket| Standing::of(socket, socket.owner.as_ref(), &around()).key(sort))
            .collect();
        keys.sort_unstable();
        keys.iter().map(|key| key.id.0).collect()
    }

    #[test]
    fn the_connection_dropped_next_comes_first_and_protected_ones_last() {
        let quiet = |id, quiet_ms, idle_seconds| {
            let own = OwnSettings { idle_seconds, ..OwnSettings::default() };
            Socket { quiet_ms, own, keepalive: idle_seconds > 0, ..named(id, b"") }
        };
        let sockets = [
            quiet(1, 349_000, 60),
            quiet(2, 0, 0),
            quiet(3, 300_000, 7200),
            quiet(4, 100_000, 0),
            quiet(5, 400_000, 0),
        ];
        assert_eq!(order(&sockets, Sort::Limit), [5, 3, 4, 2, 1]);
        assert_eq!(order(&sockets, Sort::Quiet), [5, 1, 3, 4, 2]);
    }

    #[test]
    fn what_is_in_trouble_comes_first_and_is_dropped_when_the_kernel_gives_up() {
        let standing = |socket: &Socket| Standing::of(socket, None, &around());
        assert_eq!(standing(&probed(1, 1)).until_dropped_ms, None, "one probe may get lost");
        // The first probe comes in 40 s, and keeps it; the next one would come 10 min later.
        let own = OwnSettings { idle_seconds: 60, interval_seconds: 600, ..OwnSettings::default() };
        let between = |quiet_ms, timer_ms| {
            let socket = named(1, b"");
            Socket {
                own,
                keepalive: true,
                quiet_ms,
                silent_ms: quiet_ms,
                received_ms: quiet_ms,
                timer_ms,
                ..socket
            }
        };
        let first = standing(&between(20_000, Some(40_000)));
        assert_eq!(first.until_dropped_ms, Some(390_000));
        let later = standing(&between(100_000, Some(500_000)));
        assert_eq!(later.until_dropped_ms, Some(250_000));
        // The third probe in 4 s, then two more and a last wait, 10 s each.
        assert_eq!(standing(&probed(1, 2)).until_dropped_ms, Some(34_000));
        assert_eq!(standing(&probed(1, 5)).until_dropped_ms, Some(4_000));
        let stuck = Socket {
            in_flight: true,
            retransmits: 7,
            retransmitting_ms: Some(39_000),
            ..named(4, b"")
        };
        let overdue = Socket { quiet_ms: 351_000, ..named(5, b"") };
        let soon = Socket { quiet_ms: 349_900, ..named(1, b"") };
        let sockets = [soon, probed(2, 3), overdue, probed(3, 0), stuck];
        assert_eq!(order(&sockets, Sort::Limit), [4, 2, 5, 1, 3]);
        assert_eq!(order(&[named(1, b""), probed(2, 2), probed(3, 4)], Sort::Unanswered)[0], 3);
    }

    #[test]
    fn what_is_never_noticed_comes_before_what_is_noticed_late() {
        assert_eq!(order(&[probed(1, 0), named(2, b"")], Sort::Detection), [2, 1]);
        // What hangs is noticed by its repetitions, in about a quarter of an hour.
        let repeated = Socket { in_flight: true, retransmits: 7, ..named(3, b"") };
        let hangs = Socket { retransmitting_ms: Some(39_000), ..repeated };
        assert_eq!(order(&[probed(1, 0), hangs, named(2, b"")], Sort::Detection), [2, 3, 1]);
    }

    #[test]
    fn peers_and_names_are_in_their_own_order_and_nobody_is_last() {
        let peer = |id, peer: &str| {
            let remote = peer.parse::<std::net::SocketAddr>().unwrap().into();
            Socket { remote, ..named(id, b"") }
        };
        let peers = [peer(1, "[2001:db8::1]:1"), peer(2, "10.0.0.9:443"), peer(3, "10.0.0.9:80")];
        assert_eq!(order(&peers, Sort::Peer), [3, 2, 1]);
        let nobody = Socket { owner: None, ..named(1, b"") };
        let sockets = [nobody, named(2, b"web"), named(3, b"db"), named(4, b"web-long-names-")];
        assert_eq!(order(&sockets, Sort::Process), [3, 2, 4, 1]);
    }

    #[test]
    fn the_opposite_order_is_the_order_from_its_end() {
        let mut keys: Vec<OrderKey> = [probed(1, 2), named(2, b"")]
            .iter()
            .map(|socket| Standing::of(socket, None, &around()).key(Sort::Limit).reversed())
            .collect();
        keys.sort_unstable();
        assert_eq!(keys.iter().map(|key| key.id.0).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_row_stands_where_its_socket_stands() {
        for socket in [probed(1, 0), probed(2, 3), named(3, b"postgres")] {
            let row = Row::new(&socket, socket.owner.iter(), None, &around(), socket.at);
            let standing = Standing::of(&socket, socket.owner.as_ref(), &around());
            assert_eq!(Standing::of_row(&row), standing);
        }
    }
}
