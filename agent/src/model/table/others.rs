//! How other connections to the same peer fare while one of them dies: a path that forgot one of them leaves the others alone
//! for as long as they are not quiet; a peer or a path that is gone takes all of them.
//!
//! One look over the table answers for every death of that peer within a second.

use super::Table;
use crate::model::{
    judgement::death::{Cause, Death, Others},
    observed::socket::{Direction, Socket, SocketId, Time},
};
use hashbrown::HashMap;
use std::{collections::VecDeque, net::Ipv6Addr};

/// An answer is good for this time.
const FRESH_MS: u64 = 1000;
/// Looks over the table within that time; further peers stay without an answer.
const MAX_LOOKS: usize = 4;
/// Connections to one peer that are looked at.
const MAX_SEEN: usize = 4096;
/// Deaths that are remembered, and for how long.
const MAX_FALLEN: usize = 4096;
const FALLEN_MS: u64 = 600_000;
/// What came in this soon after data was sent may have been on its way already.
const ON_ITS_WAY_MS: u64 = 100;
/// A connection that had been quiet for longer than this may itself have been forgotten.
const ACTIVE_MS: u32 = 20_000;

/// A service that connections of this host lead to, or one of its own with the clients at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PeerService {
    netns: u32,
    addr: Ipv6Addr,
    direction: Direction,
    port: u16,
}

impl PeerService {
    const fn of(socket: &Socket) -> Self {
        let port = match socket.direction {
            Direction::Outbound => socket.remote.port,
            Direction::Inbound => socket.local.port,
        };
        Self { netns: socket.netns, addr: socket.remote.addr, direction: socket.direction, port }
    }
}

/// One of the others.
#[derive(Clone, Copy, Debug)]
struct OtherConnection {
    id: SocketId,
    /// When its peer was heard last.
    heard: Time,
    /// What it sent since is not answered: how long it had been quiet before.
    unanswered_after_ms: Option<u32>,
}

/// What is known of others.
#[derive(Debug, Default)]
pub(super) struct OtherConnections {
    looked: Time,
    seen: HashMap<PeerService, Vec<OtherConnection>>,
    fallen: VecDeque<(PeerService, Time, OtherConnection)>,
}

impl OtherConnections {
    /// Remembers a death by silence.
    fn fell(&mut self, at: Time, socket: &Socket, death: &Death) {
        let quiet_ms = match death.cause {
            Cause::KeepaliveTimeout => socket.idle().value.saturating_mul(1000),
            Cause::UserTimeout
            | Cause::RetransmitTimeout
            | Cause::Unreachable
            | Cause::Abandoned
            | Cause::IdleDrop => death.quiet_ms,
            _ => return,
        };
        let heard = at.ms_before(death.silent_ms);
        let other = OtherConnection { id: socket.id, heard, unanswered_after_ms: Some(quiet_ms) };
        self.fallen.push_back((PeerService::of(socket), at, other));
        while self.fallen.len() > MAX_FALLEN
            || self.fallen.front().is_some_and(|(_, then, _)| at.ms_since(*then) > FALLEN_MS)
        {
            self.fallen.pop_front();
        }
    }
}

impl Table {
    /// How others to the same peer fared while this one died.
    pub(super) fn others(&mut self, at: Time, socket: &Socket, death: &Death) -> Others {
        let service = PeerService::of(socket);
        let heard = at.ms_before(death.silent_ms);
        // When the first of what was never answered went out.
        let asked = match death.cause {
            Cause::KeepaliveTimeout => heard.ms_after(u64::from(socket.idle().value) * 1000),
            _ => death.unanswered_ms().map_or(heard, |ms| at.ms_before(ms)),
        };
        let active_ms = ACTIVE_MS.min(death.quiet_ms / 2);
        let fallen: Vec<OtherConnection> = self
            .others
            .fallen
            .iter()
            .filter(|(of, ended, other)| *of == service && *ended >= heard && other.id != socket.id)
            .map(|(_, _, other)| *other)
            .collect();
        let living = self.look_at(service, at).iter().filter(|other| other.id != socket.id);
        let (mut n_answered, mut n_silent) = (0, 0);
        for other in living.chain(&fallen) {
            if other.heard > asked.ms_after(ON_ITS_WAY_MS) {
                n_answered += 1;
            } else if other.unanswered_after_ms.is_some_and(|ms| ms < active_ms) {
                n_silent += 1;
            }
        }
        self.others.fell(at, socket, death);
        match (n_answered, n_silent) {
            (0, 0) => Others::Unknown,
            (0, n) => Others::Silent(n),
            (n, _) => Others::Answered(n),
        }
    }

    /// Remembers a death that asks for no others.
    pub(super) fn fell(&mut self, at: Time, socket: &Socket, death: &Death) {
        self.others.fell(at, socket, death);
    }

    fn look_at(&mut self, service: PeerService, now: Time) -> &[OtherConnection] {
        if now.ms_since(self.others.looked) >= FRESH_MS {
            self.others.looked = now;
            self.others.seen.clear();
        }
        if !self.others.seen.contains_key(&service) && self.others.seen.len() < MAX_LOOKS {
            let sockets = self.slots.to_peer(service.addr);
            let is_it =
                |socket: &Socket| socket.is_connection() && PeerService::of(socket) == service;
            let seen: Vec<OtherConnection> = sockets
                .filter(is_it)
                .map(|socket| OtherConnection::of(&socket))
                .take(MAX_SEEN)
                .collect();
            self.others.seen.insert(service, seen);
        }
        self.others.seen.get(&service).map_or(&[], Vec::as_slice)
    }
}

impl OtherConnection {
    fn of(socket: &Socket) -> Self {
        let waiting_ms = match socket.retransmits {
            0 if socket.in_flight => None,
            0 => socket.probing_ms(),
            _ => socket.retransmitting_ms.map(u64::from),
        };
        let unanswered_after_ms = waiting_ms
            .and_then(|ms| u32::try_from(u64::from(socket.silent_ms).saturating_sub(ms)).ok());
        let heard = socket.at.ms_before(socket.silent_ms);
        Self { id: socket.id, heard, unanswered_after_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        observed::{
            ending::Ending,
            errno::ETIMEDOUT,
            event::Event,
            setting::OwnSettings,
            socket::{State, tests_support::socket},
        },
        table::{happening::Happened, tests::table},
    };

    const NOW_S: u64 = 2_000;

    fn now() -> Time {
        Time(NOW_S * 1_000_000_000)
    }

    fn at(id: u64, silent_ms: u32) -> Socket {
        Socket { id: SocketId(id), at: now(), silent_ms, quiet_ms: silent_ms, ..socket() }
    }

    /// Probed each 5 s, with this number of probes unanswered.
    fn probed(id: u64, probes_unanswered: u8) -> Socket {
        let own =
            OwnSettings { idle_seconds: 5, interval_seconds: 5, count: 9, user_timeout_ms: 0 };
        let silent_ms =
            1_000 + 5_000 * (u32::from(probes_unanswered) + u32::from(probes_unanswered > 0));
        let timer_ms = Some(4_000);
        Socket { keepalive: true, own, probes_unanswered, timer_ms, ..at(id, silent_ms) }
    }

    /// The cause of the death of one that was quiet for 60 s until 13 s ago, beside these.
    fn cause_beside(others: &[Socket]) -> (Cause, Others) {
        let mut table = table();
        for other in others {
            table.apply(Event::Seen(*other));
        }
        let dies = Socket { state: State::Close, ..at(1, 73_000) };
        let ending = Ending {
            errno: ETIMEDOUT,
            unacked: true,
            retransmits: 5,
            retransmitting_ms: Some(13_000),
            ..Ending::default()
        };
        table.apply(Event::StateChange { socket: dies, old: State::Established, ending });
        let deaths = table.take_happenings();
        let Some(Happened::Died(death)) = deaths.last().map(|happening| happening.what) else {
            panic!("no death: {deaths:?}");
        };
        (death.cause, death.others)
    }

    #[test]
    fn neighbours_that_were_active_and_fell_silent_with_it_show_an_outage() {
        assert_eq!(cause_beside(&[]), (Cause::IdleDrop, Others::Unknown));
        let silent = [probed(2, 2), probed(3, 3)];
        assert_eq!(cause_beside(&silent), (Cause::RetransmitTimeout, Others::Silent(2)));
    }

    #[test]
    fn a_neighbour_that_is_answered_shows_a_path_that_forgot() {
        let answered = [probed(2, 0), probed(3, 3)];
        assert_eq!(cause_beside(&answered), (Cause::IdleDrop, Others::Answered(1)));
    }

    #[test]
    fn neighbours_that_had_been_quiet_themselves_show_nothing() {
        let quiet = Socket { retransmits: 5, retransmitting_ms: Some(13_000), ..at(2, 75_000) };
        assert_eq!(cause_beside(&[quiet]), (Cause::IdleDrop, Others::Unknown));
    }

    #[test]
    fn neighbours_of_another_service_namespace_or_address_show_nothing() {
        let mut other_port = probed(2, 3);
        other_port.remote.port = 6379;
        let mut other_addr = probed(3, 3);
        other_addr.remote.addr = "::ffff:172.16.0.16".parse().unwrap();
        let other_netns = Socket { netns: 7, ..probed(4, 3) };
        let others = [other_port, other_addr, other_netns];
        assert_eq!(cause_beside(&others), (Cause::IdleDrop, Others::Unknown));
    }
}
