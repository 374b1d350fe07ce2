//! The orders in which connections are shown: the one that will be dropped next comes first.

use super::row::Row;
use crate::model::{
    judgement::verdict::{Surroundings, Verdict},
    observed::socket::{Endpoint, Owner, Socket, SocketId},
};
use serde::{Deserialize, Serialize};

/// Unanswered probes from which a connection counts as half-dead; a single one may be lost.
pub(crate) const HALF_DEAD_PROBES: u8 = 2;

/// The order of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sort {
    /// Dropped next first
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
            Self::Limit => "time until dropped",
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
    until_dropped_ms: Option<i64>,
    until_limit_ms: Option<i64>,
    quiet_ms: u64,
    detection_seconds: Option<u64>,
    probes_unanswered: u8,
    remote: Endpoint,
    process: Option<(u128, u32)>,
}

impl Standing {
    /// Of a socket that was sampled `age_ms` ago.
    pub(crate) fn of(
        socket: &Socket,
        owner: Option<&Owner>,
        around: &Surroundings,
        age_ms: u64,
    ) -> Self {
        let quiet_ms = u64::from(socket.quiet_ms) + age_ms;
        let until_limit_ms = around.until_limit_ms(socket, quiet_ms);
        let until_given_up_ms = until_given_up_ms(&Probing {
            next_probe_ms: socket.next_probe_ms().map(|ms| ms.saturating_sub(age_ms)),
            unanswered: socket.probes_unanswered,
            detection_seconds: socket.detection_seconds(),
            idle_seconds: socket.idle().value,
            interval_seconds: socket.interval().value,
        });
        Self {
            id: socket.id,
            until_dropped_ms: sooner(around.verdict(socket), until_limit_ms, until_given_up_ms),
            until_limit_ms,
            quiet_ms,
            detection_seconds: socket.detection_seconds(),
            probes_unanswered: socket.probes_unanswered,
            remote: socket.remote,
            process: owner.map(|owner| (name_number(owner.comm.as_bytes()), owner.pid)),
        }
    }

    /// The place of a row that was already made.
    pub(crate) fn of_row(row: &Row) -> Self {
        let until_limit_ms = row.until_limit_seconds.map(ms);
        let owner = row.owners.first();
        Self {
            id: row.id().parse().unwrap_or_default(),
            until_dropped_ms: until_dropped_ms(row),
            until_limit_ms,
            quiet_ms: ms(row.connection.quiet_seconds).unsigned_abs(),
            detection_seconds: row.connection.settings.detection_seconds,
            probes_unanswered: row.connection.probes_unanswered,
            remote: row.connection.remote.into(),
            process: owner.map(|owner| (name_number(owner.process.as_bytes()), owner.pid)),
        }
    }

    /// Milliseconds until it is dropped, by its path or by the kernel, if no packet is sent on it; less
    /// than 0 if its path probably has. None of one that is protected and answers.
    pub(crate) const fn until_dropped_ms(&self) -> Option<i64> {
        self.until_dropped_ms
    }

    /// Its place in this order.
    pub(crate) fn key(&self, sort: Sort) -> OrderKey {
        let Self { id, .. } = *self;
        let key = |group, first: u128, then| OrderKey { group, first, then, id };
        match sort {
            // The protected ones are not dropped, whatever the time.
            Sort::Limit => match (self.until_dropped_ms, self.until_limit_ms) {
                (Some(rest), _) => key(0, upwards(rest), 0),
                (None, rest) => key(1, upwards(rest.unwrap_or(i64::MAX)), 0),
            },
            Sort::Quiet => key(0, downwards(self.quiet_ms), 0),
            Sort::Detection => key(0, downwards(self.detection_seconds.unwrap_or(u64::MAX)), 0),
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

/// Milliseconds until a row's connection is dropped, as [`Standing::until_dropped_ms`].
pub(crate) fn until_dropped_ms(row: &Row) -> Option<i64> {
    let until_given_up_ms = until_given_up_ms(&Probing {
        next_probe_ms: row.next_probe_seconds.map(|seconds| ms(seconds).unsigned_abs()),
        unanswered: row.connection.probes_unanswered,
        detection_seconds: row.connection.settings.detection_seconds,
        idle_seconds: row.connection.settings.idle.seconds,
        interval_seconds: row.connection.settings.interval.seconds,
    });
    sooner(row.verdict(), row.until_limit_seconds.map(ms), until_given_up_ms)
}

/// Whether this number of unanswered probes makes a connection half-dead.
pub(crate) const fn is_half_dead(probes_unanswered: u8) -> bool {
    probes_unanswered >= HALF_DEAD_PROBES
}

/// What decides when the kernel gives up.
struct Probing {
    next_probe_ms: Option<u64>,
    unanswered: u8,
    detection_seconds: Option<u64>,
    idle_seconds: u32,
    interval_seconds: u32,
}

/// Milliseconds until the kernel gives up on a half-dead connection: what is left of its detection
/// time after the probes that went out, from the next one on.
fn until_given_up_ms(probing: &Probing) -> Option<i64> {
    let Probing { next_probe_ms, unanswered, detection_seconds, idle_seconds, interval_seconds } =
        probing;
    if !is_half_dead(*unanswered) {
        return None;
    }
    let spent = u64::from(*idle_seconds) + u64::from(*interval_seconds) * u64::from(*unanswered);
    let rest_ms = (*detection_seconds)?.saturating_sub(spent).saturating_mul(1000);
    i64::try_from((*next_probe_ms)?.saturating_add(rest_ms)).ok()
}

/// What comes first: the path forgets an unprotected connection, or the kernel gives up.
fn sooner(verdict: Verdict, limit_ms: Option<i64>, given_up_ms: Option<i64>) -> Option<i64> {
    let limit_ms = limit_ms.filter(|_| matches!(verdict, Verdict::Off | Verdict::Late));
    limit_ms.into_iter().chain(given_up_ms).min()
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
    use std::collections::BTreeSet;

    fn around() -> Surroundings {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        Surroundings { limits, host: BTreeSet::new(), hz: 250 }
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
            .map(|socket| Standing::of(socket, socket.owner.as_ref(), &around(), 0).key(sort))
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
    fn a_half_dead_connection_is_dropped_when_the_kernel_gives_up() {
        let standing = |socket: &Socket| Standing::of(socket, None, &around(), 1_000);
        assert_eq!(standing(&probed(1, 1)).until_dropped_ms(), None, "one probe may get lost");
        // The third probe in 3 s, then two more and a last wait, 10 s each.
        assert_eq!(standing(&probed(1, 2)).until_dropped_ms(), Some(33_000));
        assert_eq!(standing(&probed(1, 5)).until_dropped_ms(), Some(3_000));
        assert_eq!(order(&[named(1, b""), probed(2, 3), probed(3, 0)], Sort::Limit), [2, 1, 3]);
        assert_eq!(order(&[named(1, b""), probed(2, 2), probed(3, 4)], Sort::Unanswered)[0], 3);
    }

    #[test]
    fn what_is_never_noticed_comes_before_what_is_noticed_late() {
        assert_eq!(order(&[probed(1, 0), named(2, b"")], Sort::Detection), [2, 1]);
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
            .map(|socket| Standing::of(socket, None, &around(), 0).key(Sort::Limit).reversed())
            .collect();
        keys.sort_unstable();
        assert_eq!(keys.iter().map(|key| key.id.0).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_row_stands_where_its_socket_stands() {
        for socket in [probed(1, 0), probed(2, 3), named(3, b"postgres")] {
            let row = Row::new(&socket, socket.owner.iter(), None, &around(), socket.at);
            let standing = Standing::of(&socket, socket.owner.as_ref(), &around(), 0);
            assert_eq!(Standing::of_row(&row), standing);
        }
    }
}
