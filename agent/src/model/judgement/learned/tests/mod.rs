//! What is learned, as a specification: a rule, and what only looks like it.

mod clean_ups;
mod limits;
mod outages;
mod peer_closings;

use super::*;
use crate::model::{
    judgement::{death::Certainty, destination::Destination, idle_limit::IdleLimit},
    observed::{
        ending::Ending,
        setting::OwnSettings,
        socket::{Comm, Owner, SocketId, State, tests_support::socket},
    },
};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// Midnight in UTC.
const BEGAN_MS: i64 = 1_699_920_000_000;

fn at(seconds: u64) -> Time {
    Time(seconds * 1_000_000_000)
}

fn peer(number: u8) -> Socket {
    let mut socket = socket();
    socket.remote.addr = std::net::Ipv4Addr::new(172, 16, 0, number).to_ipv6_mapped();
    socket
}

fn with_id(id: u64) -> Socket {
    Socket { id: SocketId(id), ..peer(15) }
}

fn learned() -> Learned {
    Learned::new(Home { unix_offset_ms: BEGAN_MS, netns: Some(socket().netns), zone_ms: 0 })
}

/// The first data after `quiet` seconds of quiet met a reset.
fn idle_drop(quiet: u32) -> Death {
    Death {
        cause: Cause::IdleDrop,
        certainty: Certainty::Inferred,
        old: State::Established,
        ending: Ending::default(),
        quiet_ms: quiet * 1000,
        silent_ms: quiet * 1000 + 100,
        age_ms: None,
        given_up: None,
        probes_sent: 0,
        probes_unanswered: 0,
        survived_ms: 0,
        could_be_forgotten: false,
        others: Others::Unknown,
        other_reason: None,
    }
}

/// Probes of a socket with an interval of 10 s: the first after `idle` seconds, and three of them met silence.
fn keepalive_timeout(idle: u32) -> Death {
    let cause = Cause::KeepaliveTimeout;
    let silent_ms = (idle + 30) * 1000;
    Death { cause, silent_ms, quiet_ms: silent_ms, probes_unanswered: 3, ..idle_drop(0) }
}

fn probing(id: u64, idle_seconds: u32) -> Socket {
    let own = OwnSettings { idle_seconds, interval_seconds: 10, ..OwnSettings::default() };
    Socket { keepalive: true, own, ..with_id(id) }
}

/// The shortest quiet time that a device could have.
const USUAL_MS: u32 = 20_000;

fn die(learned: &mut Learned, socket: &Socket, seconds: u64, death: &Death) {
    learned.died(socket, at(seconds), death, USUAL_MS);
}

fn drop_after(learned: &mut Learned, quiet: u32, seconds: u64) {
    die(learned, &peer(15), seconds, &idle_drop(quiet));
}

fn estimate(learned: &Learned, now: u64) -> Option<Estimate> {
    let destination = Destination::of(&peer(15), learned.netns());
    learned.estimates(at(now)).find(|(it, _)| *it == destination).map(|(_, estimate)| estimate)
}

fn limit_rows(learned: &Learned, now: u64) -> Vec<LimitRow> {
    let limit = |row| if let LearnedRow::PathLimit(row) = row { Some(row) } else { None };
    learned.rows(at(now)).into_iter().filter_map(limit).collect()
}

fn closes_rows(learned: &Learned, now: u64) -> Vec<PeerClosesRow> {
    let closes = |row| if let LearnedRow::PeerCloses(row) = row { Some(row) } else { None };
    learned.rows(at(now)).into_iter().filter_map(closes).collect()
}

fn clean_up_rows(learned: &Learned, now: u64) -> Vec<CleanUpRow> {
    let clean_up = |row| if let LearnedRow::CleanUp(row) = row { Some(row) } else { None };
    learned.rows(at(now)).into_iter().filter_map(clean_up).collect()
}

/// Numbers that look random, and are the same in each run.
struct Dice(u64);

impl Dice {
    /// From 0 to `below` - 1.
    fn roll(&mut self, below: u64) -> u64 {
        // Knuth's MMIX; its high bits are good.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}
