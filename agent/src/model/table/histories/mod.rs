//! The history of each connection, in bounded memory.
//!
//! The first happenings and the last are kept of each: how it began, and how it ended. Of the
//! connections the living stay; the dead make room, those first that are worth least.

mod dead;
mod lasting_calls;
mod moment;
mod past_owners;

use super::happening::{Happened, Happening};
use crate::model::{
    judgement::{
        death::Death,
        verdict::Surroundings,
        worth::{Party, Worth},
    },
    observed::{
        ending::Discovery,
        owner_identity::Identity,
        setsockopt::Call,
        socket::{Owner, Socket, SocketId, Time},
    },
};
use dead::Dead;
pub use moment::Moment;
use moment::PastSurroundings;
use past_owners::PastOwners;
use std::{collections::HashMap, sync::Arc};

/// Moments kept from the beginning of a connection.
const N_FIRST: usize = 8;
/// Moments kept from its end.
const N_LAST: usize = 8;

/// The history of one connection.
#[derive(Clone, Debug)]
pub struct ConnectionHistory {
    /// The socket as it was at the last happening.
    pub socket: Socket,
    /// The identity of its owner, as far as it is known.
    pub identity: Option<Arc<Identity>>,
    /// When it was opened, if that was seen.
    pub opened: Option<Time>,
    /// Probes sent, as far as seen.
    pub probes_sent: u32,
    /// The first and the last probe.
    pub probes: Option<(Time, Time)>,
    /// The longest quiet time after which it went on, milliseconds.
    pub survived_ms: u32,
    /// Moments that fell out between the first and the last.
    pub n_forgotten: u32,
    /// The happenings that are kept, oldest first.
    pub moments: Vec<Moment>,
    owners: PastOwners,
    /// The time of the last of its calls that was passed on while it lives.
    calls_taken_until: Option<Time>,
}

impl ConnectionHistory {
    fn new(socket: Socket) -> Self {
        Self {
            socket,
            identity: None,
            opened: None,
            probes_sent: 0,
            probes: None,
            survived_ms: 0,
            n_forgotten: 0,
            moments: Vec::new(),
            owners: PastOwners::default(),
            calls_taken_until: None,
        }
    }

    fn record(&mut self, happening: &Happening, around: Arc<Surroundings>) {
        let Happening { at, socket, what, .. } = happening;
        // A caller is the owner only as long as nothing better is known: others set options of a connection, too.
        let (owner, identity) = match &happening.holder {
            Some(holder) => (Some(holder.owner), &holder.identity),
            None if self.is_by_owner(*what) => (socket.owner, &happening.identity),
            None => (None, &None),
        };
        if identity.is_some() {
            self.identity.clone_from(identity);
        }
        let owner = owner.or(self.socket.owner);
        self.socket = Socket { owner, ..*socket };
        match what {
            Happened::Opened => self.opened = Some(*at),
            Happened::ProbeSent => {
                self.probes_sent += 1;
                self.probes = Some((self.probes.map_or(*at, |(first, _)| first), *at));
            }
            Happened::QuietSurvived { quiet_ms } => {
                self.survived_ms = self.survived_ms.max(*quiet_ms);
            }
            _ => {}
        }
        if self.moments.len() >= N_FIRST + N_LAST {
            self.moments.remove(N_FIRST);
            self.n_forgotten += 1;
        }
        // Most connections have one or two moments, and a vector begins with room for four.
        self.moments.reserve_exact(1);
        let whose = self.owners.number(happening);
        self.moments.push(Moment::of(happening, whose, around));
    }

    /// Whether the owner did it, and nobody else, as far as both are known.
    fn is_by_owner(&self, what: Happened) -> bool {
        let both = doer(what).zip(self.socket.owner);
        both.is_none_or(|(doer, owner)| doer.pid == owner.pid)
    }

    /// Whether the last of it was that nobody had it open any more.
    pub(super) fn was_found_gone(&self) -> bool {
        let is_it = |moment: &Moment| matches!(&moment.what, Happened::Died(it) if it.ending.found == Discovery::Gone);
        self.moments.last().is_some_and(is_it)
    }

    /// The setsockopt calls that are kept, oldest first.
    pub fn calls(&self) -> impl Iterator<Item = (Time, Call)> {
        self.moments.iter().filter_map(|moment| match moment.what {
            Happened::Setting(call) => Some((moment.at, call)),
            _ => None,
        })
    }

    /// A death of it, with what only its past shows. `at`: the end.
    pub(super) fn completed(&self, death: Death, at: Time) -> Death {
        let is_closing = |moment: &&Moment| matches!(moment.what, Happened::GivenUp);
        let given_up = self.moments.iter().rev().find(is_closing).map(|it| it.given_up(at));
        Death {
            age_ms: self.opened.map(|opened| at.ms_since(opened)),
            given_up,
            probes_sent: self.probes_sent,
            ..death
        }
    }

    /// What it is worth now that it is dead; none while it lives.
    pub fn worth(&self) -> Option<Worth> {
        let Some(Moment { what: Happened::Died(death), .. }) = self.moments.last() else {
            return None;
        };
        let worth = death.cause.worth();
        let has_refused = self.calls().any(|(_, call)| call.errno != 0);
        Some(if has_refused { worth.min(Worth::Setting) } else { worth })
    }

    /// Every happening that is kept, as it was streamed, with what its verdict depended on then.
    pub fn replay(&self) -> impl Iterator<Item = (Happening, Arc<Surroundings>)> {
        self.moments.iter().map(|moment| {
            let (socket, around) = moment.recall(self.socket);
            let (owner, identity) = self.owners.get(moment.whose);
            let what = moment.what();
            let happening = Happening {
                at: moment.at,
                socket: Socket { owner: doer(what).or(owner), ..socket },
                what,
                identity,
                holder: None,
                calls: Vec::new(),
            };
            (happening.held_by(self.socket.owner, self.identity.as_ref()), Arc::clone(around))
        })
    }
}

/// The process that caused an event, if it is not the owner of the connection.
const fn doer(what: Happened) -> Option<Owner> {
    match what {
        Happened::Setting(call) => call.by,
        _ => None,
    }
}

/// This part of the room is for deaths of silence alone.
const SILENCE_PART: usize = 8;

/// The histories of the host's connections.
#[derive(Debug)]
pub struct Histories {
    max: usize,
    /// Boxed: a map has room for nearly twice what is in it.
    by_id: HashMap<SocketId, Box<ConnectionHistory>>,
    dead: Dead,
    surroundings: PastSurroundings,
    n_unrecorded: u64,
}

impl Histories {
    /// At most `max` connections.
    pub fn new(max: usize) -> Self {
        let (dead, surroundings) = (Dead::default(), PastSurroundings::default());
        Self { max, by_id: HashMap::new(), dead, surroundings, n_unrecorded: 0 }
    }

    /// Takes an event in, and what its verdict depends on.
    pub fn record(&mut self, happening: &Happening, around: &Surroundings) {
        let id = happening.socket.id;
        if id == SocketId::default() || !happening.what.is_news() {
            return;
        }
        self.forget_another(&happening.socket);
        if !self.by_id.contains_key(&id) {
            let is_silence = matches!(&happening.what, Happened::Died(death) if death.cause.worth() == Worth::Silence);
            if !self.has_room(is_silence) {
                self.n_unrecorded += 1;
                return;
            }
        }
        let around = self.surroundings.of(&happening.socket, around);
        let history = self
            .by_id
            .entry(id)
            .or_insert_with(|| Box::new(ConnectionHistory::new(happening.socket)));
        history.record(happening, around);
        if let Some(worth) = history.worth() {
            let party = Party::of(&history.socket, history.identity.as_deref());
            self.dead.push(id, worth, &party);
        }
    }

    /// A socket can connect again, and before 5.12 ids are used again: what has died there was another connection.
    fn forget_another(&mut self, socket: &Socket) {
        let ends = |socket: &Socket| (socket.local, socket.remote);
        let is_another = |past: &ConnectionHistory| ends(&past.socket) != ends(socket);
        if self.get(socket.id).is_some_and(is_another) {
            self.forget(socket.id);
        }
    }

    /// Forgets one that has died; one that lives by the same id stays.
    fn forget(&mut self, id: SocketId) {
        if self.get(id).is_some_and(|past| past.worth().is_some()) {
            self.by_id.remove(&id);
        }
    }

    /// Makes room for one more, and says whether there is.
    ///
    /// Connections whose end was lost look alive until a walk misses them, and under a flood of connections they take
    /// all room that they may have. So a part of it is for deaths of silence: these go out only for one another.
    fn has_room(&mut self, is_silence: bool) -> bool {
        let reserved = self.max / SILENCE_PART;
        loop {
            let unused =
                if is_silence { 0 } else { reserved.saturating_sub(self.dead.n_of_silence()) };
            if self.by_id.len() + unused < self.max {
                return true;
            }
            match self.dead.pop(if is_silence { 0 } else { reserved }) {
                Some(dead) => self.forget(dead),
                None => return false,
            }
        }
    }

    /// The history of one connection.
    pub fn get(&self, id: SocketId) -> Option<&ConnectionHistory> {
        self.by_id.get(&id).map(AsRef::as_ref)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &ConnectionHistory> {
        self.by_id.values().map(AsRef::as_ref)
    }

    /// Moments of connections for which there was no room.
    pub const fn n_unrecorded(&self) -> u64 {
        self.n_unrecorded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::{
            death::Cause,
            host_addresses::HostAddresses,
            idle_limit::{IdleLimit, Limits},
        },
        observed::{
            ending::Ending,
            socket::{Comm, State, tests_support::socket},
        },
    };
    use std::collections::BTreeSet;

    fn happening(id: u64, at_seconds: u64, what: Happened) -> Happening {
        let at = Time(at_seconds * 1_000_000_000);
        Happening::new(at, Socket { id: SocketId(id), at, ..socket() }, what)
    }

    fn around() -> Surroundings {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        Surroundings::new(limits, 250)
    }

    fn record(histories: &mut Histories, happening: &Happening) {
        histories.record(happening, &around());
    }

    fn died() -> Happened {
        Happened::Died(Death::of(&socket(), State::LastAck, Ending::default(), None).unwrap())
    }

    fn with_cause(cause: Cause) -> Happened {
        let death = Death::of(&socket(), State::LastAck, Ending::default(), None).unwrap();
        Happened::Died(Death { cause, ..death })
    }

    #[test]
    fn the_first_and_the_last_moments_are_kept() {
        let mut histories = Histories::new(10);
        record(&mut histories, &happening(1, 0, Happened::Opened));
        for n in 1..=100 {
            record(&mut histories, &happening(1, n, Happened::ProbeSent));
        }
        record(&mut histories, &happening(1, 101, died()));
        let history = histories.get(SocketId(1)).unwrap();
        assert_eq!((history.probes_sent, history.moments.len()), (100, N_FIRST + N_LAST));
        assert_eq!(history.moments.first().unwrap().what(), Happened::Opened);
        assert_eq!(history.moments.last().unwrap().what(), died());
        assert_eq!(history.n_forgotten, 102 - 16);
        assert_eq!(history.probes, Some((Time(1_000_000_000), Time(100_000_000_000))));
    }

    #[test]
    fn another_connection_of_the_same_socket_has_a_history_of_its_own() {
        let mut histories = Histories::new(10);
        record(&mut histories, &happening(1, 0, Happened::Opened));
        record(&mut histories, &happening(1, 1, died()));
        let mut again = happening(1, 2, Happened::Opened);
        again.socket.local.port = 40_000;
        record(&mut histories, &again);
        let moments = &histories.get(SocketId(1)).unwrap().moments;
        assert_eq!((moments.len(), moments[0].what()), (1, Happened::Opened));
    }

    #[test]
    fn the_dead_make_room_for_the_living() {
        let mut histories = Histories::new(2);
        record(&mut histories, &happening(1, 0, Happened::Opened));
        record(&mut histories, &happening(2, 1, Happened::Opened));
        record(&mut histories, &happening(3, 2, Happened::Opened));
        assert!(histories.get(SocketId(3)).is_none());
        assert_eq!(histories.n_unrecorded(), 1);
        record(&mut histories, &happening(1, 3, died()));
        record(&mut histories, &happening(3, 4, Happened::Opened));
        assert!(histories.get(SocketId(1)).is_none());
        assert!(histories.get(SocketId(2)).is_some());
        assert!(histories.get(SocketId(3)).is_some());
    }

    #[test]
    fn a_flood_of_connections_that_seem_to_live_leaves_deaths_of_silence_and_room_for_more() {
        let mut histories = Histories::new(100);
        record(&mut histories, &happening(1, 1, with_cause(Cause::IdleDrop)));
        for id in 100..10_000 {
            record(&mut histories, &happening(id, id, Happened::Opened));
        }
        for id in 2..=12 {
            record(&mut histories, &happening(id, id, with_cause(Cause::IdleDrop)));
        }
        assert!((1..=12).all(|id| histories.get(SocketId(id)).is_some()));
        record(&mut histories, &happening(13, 13, with_cause(Cause::IdleDrop)));
        assert!(histories.get(SocketId(1)).is_none(), "they go out only for one another");
        assert_eq!(histories.iter().count(), 100);
    }

    #[test]
    fn a_flood_of_resets_leaves_deaths_of_silence() {
        let mut histories = Histories::new(100);
        for id in 1..=20 {
            record(&mut histories, &happening(id, id, Happened::Opened));
            record(&mut histories, &happening(id, id, with_cause(Cause::IdleDrop)));
        }
        for id in 100..10_000 {
            record(&mut histories, &happening(id, id, Happened::Opened));
            record(&mut histories, &happening(id, id, with_cause(Cause::PeerReset)));
        }
        assert!((1..=20).all(|id| histories.get(SocketId(id)).is_some()));
        assert_eq!((histories.iter().count(), histories.n_unrecorded()), (100, 0));
    }

    #[test]
    fn the_past_keeps_the_settings_and_limits_of_then() {
        let mut histories = Histories::new(10);
        let with_limit = |seconds| {
            let limit = IdleLimit { seconds, preset: None };
            let limits = Limits::new(Vec::new(), limit, true);
            Surroundings { limits, ..around() }
        };
        let mut probing = happening(1, 10, Happened::ProbeSent);
        probing.socket.own.idle_seconds = 10;
        probing.socket.keepalive = true;
        probing.socket.silent_ms = 10_000;
        histories.record(&probing, &with_limit(350));
        let mut later = happening(1, 100, Happened::ProbeAnswered { unanswered: 1 });
        later.socket.own.idle_seconds = 60;
        later.socket.silent_ms = 60_000;
        histories.record(&later, &with_limit(8));
        let mut past = histories.get(SocketId(1)).unwrap().replay();
        let (first, then) = past.next().unwrap();
        assert_eq!(first, probing);
        assert_eq!(then.limits.of(&first.socket).seconds, 350);
        let (second, then) = past.next().unwrap();
        assert_eq!(second, later);
        assert_eq!(then.limits.of(&second.socket).seconds, 8);
    }

    #[test]
    fn the_past_keeps_the_owner_of_then() {
        let owned = |at_seconds, pid| {
            let mut happening = happening(1, at_seconds, Happened::ProbeSent);
            let owner = Owner { pid, fd: Some(3), comm: Comm::default() };
            happening.socket.owner = (pid != 0).then_some(owner);
            happening
        };
        let mut histories = Histories::new(10);
        // It is accepted, and later its descriptor is passed on.
        for happening in [owned(1, 0), owned(2, 70), owned(3, 80)] {
            record(&mut histories, &happening);
        }
        let past = histories.get(SocketId(1)).unwrap().replay();
        let pids: Vec<_> = past.map(|(it, _)| it.socket.owner.map(|owner| owner.pid)).collect();
        assert_eq!(pids, [Some(70), Some(70), Some(80)]);
    }

    #[test]
    fn a_peer_that_was_on_this_host_was_so_then() {
        let mut histories = Histories::new(10);
        let (away, mut here) = (around(), around());
        here.host = BTreeSet::from([socket().remote.addr]).into();
        for around in [&here, &away, &here] {
            histories.record(&happening(1, 1, Happened::ProbeSent), around);
        }
        let past = histories.get(SocketId(1)).unwrap().replay();
        let local: Vec<bool> = past.map(|(it, around)| around.is_local(&it.socket)).collect();
        assert_eq!(local, [true, false, true]);
        assert_eq!(histories.surroundings.len(), 2, "each once");
    }

    #[test]
    fn what_was_passed_on_from_an_address_of_both_ends_was_so_then() {
        let peer = socket().remote;
        let own = BTreeSet::from([peer.addr]);
        let host = HostAddresses::new(own.clone(), BTreeSet::from([peer]));
        let (passed_on, here) =
            (Surroundings { host, ..around() }, Surroundings { host: own.into(), ..around() });
        let mut from_host = happening(1, 1, Happened::ProbeSent);
        from_host.socket.local.addr = peer.addr;
        let was_local = |around: &Surroundings| {
            let mut histories = Histories::new(10);
            histories.record(&from_host, around);
            let past = histories.get(SocketId(1)).unwrap().replay();
            past.map(|(it, around)| around.is_local(&it.socket)).collect::<Vec<_>>()
        };
        assert_eq!((was_local(&passed_on), was_local(&here)), (vec![false], vec![true]));
    }
}
