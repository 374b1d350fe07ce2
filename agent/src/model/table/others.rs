//! How other connections to the same peer fare while one of them dies: a path that forgot one of them leaves the others alone
//! for as long as they are not quiet; a peer or a path that is gone takes all of them.
//!
//! A connection that was opened later shows only that the peer lives now: a server that was started anew answers newcomers, and knows
//! nobody from before. One look over the table answers for every death of that peer within a second.

use super::Table;
use crate::model::{
    judgement::{
        death::{Cause, Death, Others},
        facts::ConnectionFacts as _,
    },
    observed::socket::{Direction, Socket, SocketId, State, Time},
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
    /// What it sent is not answered.
    unanswered: Option<Unanswered>,
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
    /// It met a reset: only of the same service that shows anything.
    by_reset: bool,
}

impl Unanswered {
    const fn of(since: Time, after_ms: u32, survived_ms: u32) -> Self {
        let was_survived = after_ms / 5 * 4 <= survived_ms;
        Self { since, after_ms, was_survived, by_reset: false }
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
        let (since, after_ms, by_reset) = match death.cause {
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
                (at.ms_before(death.ending.retransmitting_ms.unwrap_or(0)), 0, false)
            }
            Cause::PeerReset if death.ending.has_unacked_data() => (at, death.quiet_ms, true),
            _ => return,
        };
        let unanswered =
            Unanswered { by_reset, ..Unanswered::of(since, after_ms, death.survived_ms) };
        let other = OtherConnection {
            id: socket.id,
            service: PeerService::of(socket),
            heard: Some(heard),
            opened: death.age_ms.map(|age_ms| Time(at.0.saturating_sub(age_ms * 1_000_000))),
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
        self.look_at(host, at);
        let seen = self.others.seen.get(&host).map_or(&[][..], Vec::as_slice);
        let others = || seen.iter().chain(&fallen).filter(|other| other.id != socket.id);
        let was_there = |other: &OtherConnection| other.opened.is_none_or(|opened| opened <= heard);
        let last_heard = LastHeard::of(others().filter(|other| was_there(other)), service);
        for other in others() {
            let is_of_it = other.service == service;
            // Clients at one address may be many machines: of theirs only silence shows something.
            let is_heard = |later_ms| {
                service.direction == Direction::Outbound
                    && other.service.direction == Direction::Outbound
                    && other.heard.is_some_and(|it| it > asked.ms_after(later_ms))
            };
            if is_of_it && was_there(other) && is_heard(ON_ITS_WAY_MS) {
                n_answered += 1;
            } else if was_there(other) && is_heard(ANSWER_MS) {
                n_of_host += 1;
            } else if other.unanswered.is_some_and(|it| {
                // Answered later than that, this one shows that the peer still lived then.
                it.since.ms_after(ON_ITS_WAY_MS) >= heard
                    && it.was_active(active_ms)
                    && (is_of_it || !it.by_reset)
                    && !(it.since.ms_after(ANSWER_MS) < asked
                        && last_heard.is_after(it.since, is_of_it))
            }) {
                n_silent += 1;
            }
        }
        self.others.fell(at, socket, death);
        match (n_answered, n_silent) {
            // Some were answered and some fell silent, as with one of two servers behind an address: that shows nothing.
            (0, 0) if n_of_host > 0 => Others::HostAnswered(n_of_host),
            (0, 0) | (1.., 1..) => Others::Unknown,
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
                        && other.heard.is_some_and(|heard| heard > since.ms_after(ANSWER_MS))
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

/// When those that were there before heard their peer last: a silence that began earlier was over by then, or is one
/// connection's own. What falls silent at the same moment as others are answered may be one of two servers behind an
/// address.
#[derive(Clone, Copy, Debug)]
struct LastHeard {
    by_service: Option<Time>,
    by_host: Option<Time>,
}

impl LastHeard {
    fn of<'a>(others: impl Iterator<Item = &'a OtherConnection>, service: PeerService) -> Self {
        let mut last = Self { by_service: None, by_host: None };
        // Clients at one address may be many machines.
        let outbound = others.filter(|other| other.service.direction == Direction::Outbound);
        for other in outbound {
            last.by_host = last.by_host.max(other.heard);
            if other.service == service {
                last.by_service = last.by_service.max(other.heard);
            }
        }
        last
    }

    /// Whether one was heard after a silence began. Behind one address each port may lead to another machine.
    fn is_after(self, since: Time, is_of_service: bool) -> bool {
        let heard = if is_of_service { self.by_service } else { self.by_host };
        heard.is_some_and(|heard| heard > since.ms_after(ANSWER_MS))
    }
}

impl OtherConnection {
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
            let quiet_ms = match socket.state {
                State::SynSent => 0,
                _ => socket.silent_ms.saturating_sub(ms),
            };
            Unanswered::of(socket.at.ms_before(ms), quiet_ms, socket.watched.longest_quiet_ms)
        });
        Self {
            id: socket.id,
            service: PeerService::of(socket),
            // A connection that is not there yet has heard nobody.
            heard: socket.is_open().then(|| socket.at.ms_before(socket.silent_ms)),
            opened,
            unanswered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        observed::{
            ending::Ending, event::Event, setting::OwnSettings, socket::tests_support::socket,
            watched::Watched,
        },
        table::{
            happening::Happened,
            tests::{nobody_answered, table},
        },
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
        ends(&mut table)
    }

    fn ends(table: &mut Table) -> (Cause, Others) {
        let dies = Socket { state: State::Close, ..at(1, 73_000) };
        let ending = nobody_answered();
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
        let answered = [probed(2, 0), probed(3, 0)];
        assert_eq!(cause_beside(&answered), (Cause::IdleDrop, Others::Answered(2)));
        // One of two servers behind an address is gone: nobody can say whose this was.
        let mixed = [probed(2, 0), probed(3, 3)];
        assert_eq!(cause_beside(&mixed), (Cause::IdleDrop, Others::Unknown));
    }

    #[test]
    fn a_neighbour_that_was_last_seen_as_it_sent_a_probe_shows_nothing() {
        let sends = Socket { timer_ms: Some(5_000), silent_ms: 14_000, ..probed(2, 1) };
        assert_eq!(cause_beside(&[sends]), (Cause::IdleDrop, Others::Unknown));
        let waits = Socket { timer_ms: Some(4_000), ..sends };
        assert_eq!(cause_beside(&[waits]), (Cause::RetransmitTimeout, Others::Silent(1)));
    }

    #[test]
    fn what_fell_silent_before_others_were_heard_again_hides_no_answers() {
        // A cut took the first, 50 s ago; since then the peer answers the second.
        let cut = Socket {
            retransmits: 7,
            retransmitting_ms: Some(50_000),
            in_flight: true,
            ..at(2, 52_000)
        };
        assert_eq!(cause_beside(&[cut]), (Cause::RetransmitTimeout, Others::Silent(1)));
        assert_eq!(cause_beside(&[cut, at(3, 500)]), (Cause::IdleDrop, Others::Answered(1)));
        // Answers of another port speak for the host, and not for a service of its own behind the same address.
        let mut other_port = at(3, 500);
        other_port.remote.port = 6379;
        assert_eq!(cause_beside(&[cut, other_port]), (Cause::RetransmitTimeout, Others::Silent(1)));
        let mut cut_there = cut;
        cut_there.remote.port = 6380;
        let beside_host = (Cause::IdleDrop, Others::HostAnswered(1));
        assert_eq!(cause_beside(&[cut_there, other_port]), beside_host);
    }

    #[test]
    fn neighbours_that_had_been_quiet_themselves_show_nothing() {
        let quiet = Socket { retransmits: 5, retransmitting_ms: Some(13_000), ..at(2, 75_000) };
        assert_eq!(cause_beside(&[quiet]), (Cause::IdleDrop, Others::Unknown));
    }

    #[test]
    fn a_later_connection_shows_only_that_the_peer_lives_now() {
        // The server was started anew: it answers the newcomer, and knows nobody from before.
        let newcomer = Socket { state: State::SynSent, ..at(2, 0) };
        let mut table = table();
        let opened = Socket { at: Time((NOW_S - 15) * 1_000_000_000), ..newcomer };
        let event = |socket, old| Event::StateChange { socket, old, ending: Ending::default() };
        table.apply(event(opened, State::Close));
        table.apply(event(Socket { state: State::Established, ..opened }, State::SynSent));
        table.apply(Event::Seen(Socket { state: State::Established, ..at(2, 500) }));
        assert_eq!(ends(&mut table), (Cause::IdleDrop, Others::Unknown));
    }

    #[test]
    fn an_attempt_to_connect_was_not_answered() {
        let connecting = Socket { state: State::SynSent, silent_ms: 0, ..at(2, 0) };
        assert_eq!(cause_beside(&[connecting]), (Cause::IdleDrop, Others::Unknown));
        let repeated = Socket {
            retransmits: 3,
            retransmitting_ms: Some(9_000),
            in_flight: true,
            ..connecting
        };
        assert_eq!(cause_beside(&[repeated]), (Cause::RetransmitTimeout, Others::Silent(1)));
    }

    #[test]
    fn a_heartbeat_each_half_minute_that_was_survived_before_shows_an_outage() {
        let beats = |longest_quiet_ms| Socket {
            retransmits: 5,
            retransmitting_ms: Some(13_000),
            watched: Watched { longest_quiet_ms, ..Watched::default() },
            in_flight: true,
            ..at(2, 43_000)
        };
        assert_eq!(cause_beside(&[beats(30_000)]), (Cause::RetransmitTimeout, Others::Silent(1)));
        assert_eq!(cause_beside(&[beats(5_000)]), (Cause::IdleDrop, Others::Unknown));
    }

    #[test]
    fn silence_of_the_whole_host_counts_and_answers_of_another_service_show_the_host_only() {
        let mut silent = probed(2, 3);
        silent.remote.port = 6379;
        assert_eq!(cause_beside(&[silent]), (Cause::RetransmitTimeout, Others::Silent(1)));
        let mut answered = probed(2, 0);
        answered.remote.port = 6379;
        assert_eq!(cause_beside(&[answered]), (Cause::IdleDrop, Others::HostAnswered(1)));
        // It was answered before only, or is a client of ours at that address; or the same service fell silent.
        let before = Socket { silent_ms: 60_000, quiet_ms: 60_000, ..answered };
        let client = Socket { direction: Direction::Inbound, ..answered };
        for other in [before, client] {
            assert_eq!(cause_beside(&[other]), (Cause::IdleDrop, Others::Unknown));
        }
        let of_it = probed(3, 3);
        let outage = (Cause::RetransmitTimeout, Others::Silent(1));
        assert_eq!(cause_beside(&[answered, of_it]), outage);
    }

    #[test]
    fn neighbours_of_another_namespace_or_address_show_nothing() {
        let mut other_addr = probed(3, 3);
        other_addr.remote.addr = "::ffff:172.16.0.16".parse().unwrap();
        let other_netns = Socket { netns: 7, ..probed(4, 3) };
        let others = [other_addr, other_netns];
        assert_eq!(cause_beside(&others), (Cause::IdleDrop, Others::Unknown));
    }
}
