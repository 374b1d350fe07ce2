//! The history of each connection, in bounded memory.
//!
//! The first happenings and the last are kept of each: how it began, and how it ended. Of the
//! connections the living stay; the dead make room, those first that died first.

use super::happening::{Happened, Happening};
use crate::model::observed::{
    ending::Discovery,
    owner_identity::Identity,
    setsockopt::Call,
    socket::{Owner, Socket, SocketId, Time},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

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
    pub happenings: Vec<(Time, Happened)>,
}

impl ConnectionHistory {
    const fn new(socket: Socket) -> Self {
        Self {
            socket,
            identity: None,
            opened: None,
            probes_sent: 0,
            probes: None,
            survived_ms: 0,
            n_forgotten: 0,
            happenings: Vec::new(),
        }
    }

    fn record(&mut self, happening: &Happening) {
        let Happening { at, socket, what, identity, .. } = happening;
        if identity.is_some() {
            self.identity.clone_from(identity);
        }
        self.socket = Socket { owner: socket.owner.or(self.socket.owner), ..*socket };
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
        if self.happenings.len() >= N_FIRST + N_LAST {
            self.happenings.remove(N_FIRST);
            self.n_forgotten += 1;
        }
        // Most connections have one or two happenings, and a vector begins with room for four.
        self.happenings.reserve_exact(1);
        self.happenings.push((*at, *what));
    }

    /// Whether the last of it was that nobody had it open any more.
    pub(super) fn was_found_gone(&self) -> bool {
        let is_it = |what: &Happened| matches!(what, Happened::Died(it) if it.ending.found == Discovery::Gone);
        self.happenings.last().is_some_and(|(_, what)| is_it(what))
    }

    /// The setsockopt calls that are kept, oldest first.
    pub fn calls(&self) -> impl Iterator<Item = (Time, Call)> {
        self.happenings.iter().filter_map(|&(at, what)| match what {
            Happened::Setting(call) => Some((at, call)),
            _ => None,
        })
    }

    /// Every happening that is kept, as it would have been streamed, but with the socket as it was last.
    pub fn replay(&self) -> impl Iterator<Item = Happening> {
        self.happenings.iter().map(|&(at, what)| Happening {
            at,
            socket: Socket { at, owner: doer(what).or(self.socket.owner), ..self.socket },
            what,
            identity: self.identity.clone(),
            calls: Vec::new(),
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

/// The histories of the host's connections.
#[derive(Debug)]
pub struct Histories {
    max: usize,
    /// Boxed: a map has room for nearly twice what is in it.
    by_id: HashMap<SocketId, Box<ConnectionHistory>>,
    dead: VecDeque<SocketId>,
    n_unrecorded: u64,
}

impl Histories {
    /// At most `max` connections.
    pub fn new(max: usize) -> Self {
        Self { max, by_id: HashMap::new(), dead: VecDeque::new(), n_unrecorded: 0 }
    }

    /// Takes an event in.
    pub fn record(&mut self, happening: &Happening) {
        let id = happening.socket.id;
        if id == SocketId::default() || !happening.what.is_news() {
            return;
        }
        if !self.by_id.contains_key(&id) {
            while self.by_id.len() >= self.max {
                match self.dead.pop_front() {
                    Some(dead) => drop(self.by_id.remove(&dead)),
                    None => break,
                }
            }
            if self.by_id.len() >= self.max {
                self.n_unrecorded += 1;
                return;
            }
        }
        let history = self.by_id.entry(id);
        history
            .or_insert_with(|| Box::new(ConnectionHistory::new(happening.socket)))
            .record(happening);
        if let Happened::Died(_) = happening.what {
            self.dead.push_back(id);
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
        judgement::death::Death,
        observed::{
            ending::Ending,
            socket::{State, tests_support::socket},
        },
    };

    fn happening(id: u64, at_seconds: u64, what: Happened) -> Happening {
        let at = Time(at_seconds * 1_000_000_000);
        Happening::new(at, Socket { id: SocketId(id), at, ..socket() }, what)
    }

    fn died() -> Happened {
        Happened::Died(Death::of(&socket(), State::LastAck, Ending::default(), None).unwrap())
    }

    #[test]
    fn the_first_and_the_last_moments_are_kept() {
        let mut histories = Histories::new(10);
        histories.record(&happening(1, 0, Happened::Opened));
        for n in 1..=100 {
            histories.record(&happening(1, n, Happened::ProbeSent));
        }
        histories.record(&happening(1, 101, died()));
        let history = histories.get(SocketId(1)).unwrap();
        assert_eq!((history.probes_sent, history.happenings.len()), (100, N_FIRST + N_LAST));
        assert_eq!(history.happenings.first().unwrap().1, Happened::Opened);
        assert_eq!(history.happenings.last().unwrap().1, died());
        assert_eq!(history.n_forgotten, 102 - 16);
        assert_eq!(history.probes, Some((Time(1_000_000_000), Time(100_000_000_000))));
    }

    #[test]
    fn the_dead_make_room_for_the_living() {
        let mut histories = Histories::new(2);
        histories.record(&happening(1, 0, Happened::Opened));
        histories.record(&happening(2, 1, Happened::Opened));
        histories.record(&happening(3, 2, Happened::Opened));
        assert!(histories.get(SocketId(3)).is_none());
        assert_eq!(histories.n_unrecorded(), 1);
        histories.record(&happening(1, 3, died()));
        histories.record(&happening(3, 4, Happened::Opened));
        assert!(histories.get(SocketId(1)).is_none());
        assert!(histories.get(SocketId(2)).is_some());
        assert!(histories.get(SocketId(3)).is_some());
    }
}
