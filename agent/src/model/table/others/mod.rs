//! How other connections to the same peer fare while one of them dies: a path that forgot one of them leaves the others alone
//! for as long as they are not quiet; a peer or a path that is gone takes all of them.
//!
//! A connection that was opened later shows only that the peer lives now: a server that was started anew answers newcomers, and knows
//! nobody from before. One look over the table answers for every death of that peer within a second.

mod heard_times;
#[cfg(test)]
mod tests;

use self::heard_times::HeardTimes;
use super::Table;
use crate::model::{
    judgement::{
        death::{Cause, Death, Others},
        facts::ConnectionFacts as _,
    },
    observed::{
        socket::{Direction, Socket, SocketId, State, Time},
        watched::Watched,
    },
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
/// What came in this long after another connection fell silent shows that the peer lived: it was no packet on its way.
const ANSWER_MS: u64 = 2000;
/// A connection that had been quiet for longer than this, and than it had survived before, may itself have been forgotten.
const ACTIVE_MS: u32 = 20_000;
/// Repetitions of a SYN that show silence.
const SILENT_SYNS: u8 = 2;

/// A host as a network namespace sees it.
type PeerHost = (u32, Ipv6Addr);

/// A service that connections of this host lead to, or one of its own with the clients at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PeerService {
    direction: Direction,
    port: u16,
}

impl PeerService {
    const fn of(socket: &Socket) -> Self {
        let port = match socket.direction {
            Direction::Outbound => socket.remote.port,
            Direction::Inbound => socket.local.port,
        };
        Self { direction: socket.direction, port }
    }
}

/// One of the others.
#[derive(Clone, Copy, Debug)]
struct OtherConnection {
    id: SocketId,
    service: PeerService,
    /// When its peer was heard last, if it is established.
    heard: Option<Time>,
    /// When it was opened, if that was seen.
    opened: Option<Time>,
    /// How it went on. Of one that gets answers.
    watched: Option<WatchedSilence>,
    /// What it sent is not answered.
    unanswered: Option<Unanswered>,
}

/// How the peer of one connection was heard while it was watched.
#[derive(Clone, Copy, Debug)]
struct WatchedSilence {
    since: Time,
    /// The peer was never silent for longer: milliseconds.
    longest_ms: u32,
    /// It had to repeat for long, nobody knows when.
    has_repeated: bool,
}

/// What one connection sent and nobody answered.
#[derive(Clone, Copy, Debug)]
struct Unanswered {
    /// When the first of it went out.
    since: Time,
    /// How long it had been quiet before, milliseconds.
    after_ms: u32,
    /// It had survived about as much before: no path forgot it.
    was_survived: bool,
    /// It met a reset, or was a SYN: a port may be filtered, or its accept queue be full. Only of the same service that shows
    /// anything.
    of_port: bool,
}

impl Unanswered {
    const fn of(since: Time, after_ms: u32, survived_ms: u32) -> Self {
        let was_survived = after_ms / 5 * 4 <= survived_ms;
        Self { since, after_ms, was_survived, of_port: false }
    }

    const fn was_active(&self, active_ms: u32) -> bool {
        self.was_survived || self.after_ms < active_ms
    }
}

/// What is known of others.
#[derive(Debug, Default)]
pub(super) struct OtherConnections {
    looked: Time,
    seen: HashMap<PeerHost, Vec<OtherConnection>>,
    fallen: VecDeque<(PeerHost, Time, OtherConnection)>,
}

impl OtherConnections {
    /// Remembers a death by silence, or of a busy connection by a reset. What else a look has shown of it is over.
    fn fell(&mut self, at: Time, socket: &Socket, death: &Death) {
        let host = (socket.netns, socket.remote.addr);
        if let Some(seen) = self.seen.get_mut(&host) {
            seen.retain(|other| other.id != socket.id);
        }
        // What a peer that has closed does not answer shows nothing.
        if socket.was_closed_by_peer() {
            return;
        }
        let heard = at.ms_before(death.silent_ms);
        let (since, after_ms, of_port) = match death.cause {
            Cause::KeepaliveTimeout => {
                let quiet_ms = death.quiet_before_probe_ms(socket).unwrap_or_default();
                (heard.ms_after(quiet_ms.into()), quiet_ms, false)
            }
            Cause::UserTimeout
            | Cause::RetransmitTimeout
            | Cause::Unreachable
            | Cause::Abandoned
            | Cause::IdleDrop => {
                let ms = death.unanswered_ms().unwrap_or(0);
                (at.ms_before(ms), death.quiet_ms, false)
            }
            Cause::ConnectFailed if death.ending.retransmits >= SILENT_SYNS => {
                (at.ms_before(death.ending.retransmitting_ms.unwrap_or(0)), 0, true)
            }
            Cause::PeerReset if death.ending.has_unacked_data() => (at, death.quiet_ms, true),
            _ => return,
        };
        let unanswered =
            Unanswered { of_port, ..Unanswered::of(since, after_ms, death.survived_ms) };
        let other = OtherConnection {
            id: socket.id,
            service: PeerService::of(socket),
            heard: Some(heard),
            opened: death.age_ms.map(|age_ms| Time(at.0.saturating_sub(age_ms * 1_000_000))),
            watched: None,
            unanswered: Some(unanswered),
        };
        self.fallen.push_back((host, at, other));
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
        let host = (socket.netns, socket.remote.addr);
        let service = PeerService::of(socket);
        let heard = at.ms_before(death.silent_ms);
        // When the first of what was never answered went out.
        let asked = match death.cause {
            Cause::KeepaliveTimeout => {
                heard.ms_after(death.quiet_before_probe_ms(socket).unwrap_or_default().into())
            }
            _ => death.unanswered_ms().map_or(heard, |ms| at.ms_before(ms)),
        };
        let active_ms = ACTIVE_MS.min(death.quiet_ms / 2);
        let fallen: Vec<OtherConnection> = self
            .others
            .fallen
            .iter()
            .filter(|(of, ended, _)| *of == host && *ended >= heard)
            .map(|(_, _, other)| *other)
            .collect();
        let (mut n_answered, mut n_of_host, mut n_silent) = (0, 0, 0);
        let mut is_service_silent = false;
        self.look_at(host, at);
        let seen = self.others.seen.get(&host).map_or(&[][..], Vec::as_slice);
        let others = || seen.iter().chain(&fallen).filter(|other| other.id != socket.id);
        let was_there = |other: &OtherConnection| other.opened.is_none_or(|opened| opened <= heard);
        let heard_times = HeardTimes::of(others(), service, asked);
        for other in others() {
            let is_of_it = other.service == service;
            // Clients at one address may be many machines: of theirs only silence shows something.
            let is_heard = |later_ms| {
                service.direction == Direction::Outbound
                    && other.service.direction == Direction::Outbound
                    && other.is_answer_to(asked, later_ms)
            };
            if is_of_it && was_there(other) && is_heard(ON_ITS_WAY_MS) {
                n_answered += 1;
            } else if was_there(other) && is_heard(ANSWER_MS) {
                n_of_host += 1;
            } else if other.heard.is_none_or(|it| it <= asked.ms_after(ANSWER_MS))
                && other.unanswered.is_some_and(|it| {
                    // Answered later than that, this one shows that the peer still lived then.
                    it.since.ms_after(ON_ITS_WAY_MS) >= heard
                        && it.was_active(active_ms)
                        && (is_of_it || !it.of_port)
                        && !heard_times.is_between(it.since, asked, is_of_it)
                })
            {
                n_silent += 1;
                is_service_silent |= is_of_it && other.unanswered.is_some_and(|it| !it.of_port);
            }
        }
        self.others.fell(at, socket, death);
        match (n_answered, n_silent) {
            // Some were answered and some fell silent, as with one of two servers behind an address: that shows nothing.
            (0, 0) if n_of_host > 0 => Others::HostAnswered(n_of_host),
            (0, 0) | (1.., 1..) => Others::Unknown,
            // The host was there: what other ports of it do not answer shows nothing of this one.
            (0, _) if n_of_host > 0 && !is_service_silent => Others::Unknown,
            (0, n) => Others::Silent(n),
            (n, 0) => Others::Answered(n),
        }
    }

    /// Whether another connection to the same service, which was there when this one heard its peer last, was heard after a
    /// moment.
    pub(super) fn was_heard_since(
        &mut self,
        at: Time,
        socket: &Socket,
        heard: Time,
        since: Time,
    ) -> bool {
        let host = (socket.netns, socket.remote.addr);
        let service = PeerService::of(socket);
        self.look_at(host, at);
        let seen = self.others.seen.get(&host).map_or(&[][..], Vec::as_slice);
        service.direction == Direction::Outbound
            && seen.iter().filter(|other| other.id != socket.id && other.service == service).any(
                |other| {
                    other.opened.is_none_or(|opened| opened <= heard)
                        && other.is_answer_to(since, ANSWER_MS)
                },
            )
    }

    /// Remembers a death that asks for no others.
    pub(super) fn fell(&mut self, at: Time, socket: &Socket, death: &Death) {
        self.others.fell(at, socket, death);
    }

    fn look_at(&mut self, host: PeerHost, now: Time) {
        if now.ms_since(self.others.looked) >= FRESH_MS {
            self.others.looked = now;
            self.others.seen.clear();
        }
        if !self.others.seen.contains_key(&host) && self.others.seen.len() < MAX_LOOKS {
            let sockets = self.slots.to_peer(host.1).filter(|socket| socket.netns == host.0);
            let opened = |id| self.histories.get(id).and_then(|history| history.opened);
            let seen: Vec<OtherConnection> = sockets
                .filter(Socket::is_connection)
                .map(|socket| OtherConnection::of(&socket, opened(socket.id)))
                .take(MAX_SEEN)
                .collect();
            self.others.seen.insert(host, seen);
        }
    }
}

impl WatchedSilence {
    fn of(socket: &Socket) -> Self {
        let Watched { ms, age_ms, longest_silence_ms, .. } = socket.watched;
        Self {
            since: socket.at.ms_before(ms.saturating_add(age_ms)),
            longest_ms: longest_silence_ms.max(socket.silent_ms),
            has_repeated: socket.watched.has_repeated(),
        }
    }
}

impl OtherConnection {
    /// Whether its peer was heard after a moment. One that had to repeat for long may have heard it only after an outage: it counts
    /// if that was soon.
    fn is_answer_to(&self, asked: Time, later_ms: u64) -> bool {
        let Some(heard) = self.heard.filter(|heard| *heard > asked.ms_after(later_ms)) else {
            return false;
        };
        let soon = asked.ms_after(ACTIVE_MS.into());
        match self.watched {
            Some(it) if it.since <= asked && it.has_repeated => {
                heard <= soon || it.longest_ms <= ACTIVE_MS
            }
            _ => true,
        }
    }

    fn of(socket: &Socket, opened: Option<Time>) -> Self {
        let waiting_ms = match socket.retransmits {
            // Its own end is over, and this one's is what it waits for.
            _ if socket.was_closed_by_peer() => None,
            0 if socket.in_flight => None,
            // The look may be that of the probe itself.
            0 => socket
                .probing_ms()
                .filter(|&ms| socket.probes_unanswered >= 2 || ms > ON_ITS_WAY_MS),
            n if socket.state == State::SynSent && n < SILENT_SYNS => None,
            _ => socket.retransmitting_ms.map(u64::from),
        };
        let unanswered = waiting_ms.and_then(|ms| u32::try_from(ms).ok()).map(|ms| {
            let of_port = socket.state == State::SynSent;
            let quiet_ms = if of_port { 0 } else { socket.silent_ms.saturating_sub(ms) };
            let since = socket.at.ms_before(ms);
            Unanswered {
                of_port,
                ..Unanswered::of(since, quiet_ms, socket.watched.longest_quiet_ms)
            }
        });
        Self {
            id: socket.id,
            service: PeerService::of(socket),
            // A connection that is not there yet has heard nobody.
            heard: socket.is_open().then(|| socket.at.ms_before(socket.silent_ms)),
            opened,
            watched: unanswered.is_none().then(|| WatchedSilence::of(socket)),
            unanswered,
        }
    }
}
