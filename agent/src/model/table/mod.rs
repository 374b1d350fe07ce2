//! Every socket of the host, as events and walks tell it.
//!
//! `apply` cannot fail: what it cannot use, it counts. Between two walks events keep the table true;
//! a walk corrects what events did not say (settings, owners, times) and what was lost.

pub mod agent_health;
#[cfg(test)]
mod any_order;
mod compare_samples;
pub mod counters;
mod deaths;
pub mod happening;
pub mod histogram;
pub mod histories;
mod learned_limits;
mod missed_events;
pub mod orphan_owners;
mod others;
mod own_addresses;
mod owner_ids;
pub mod owner_label;
mod reconfigure;
mod socket_owners;
mod storage;
pub mod sums;
mod without_descriptor;

use super::{
    judgement::{death::Death, idle_limit::PathNumber, learned::Learned, verdict::Surroundings},
    observed::{
        drilled_path::DrilledPath,
        ending::Ending,
        event::{Event, Fire},
        listeners::Listeners,
        owner_identity::Identity,
        setting::NetnsSettings,
        socket::{Direction, DirectionFrom, Owner, Socket, SocketId, State, Time},
    },
};
use compare_samples::{Pending, Suspects, join_with_last_look};
use counters::Counters;
use happening::{Happened, Happening};
use histories::{ConnectionHistory, Histories};
pub use missed_events::Heard;
use missed_events::Unseen;
use orphan_owners::OrphanOwners;
use others::OtherConnections;
use owner_ids::OwnerNumber;
use owner_label::{OwnerBudget, OwnerLabels};
use socket_owners::Owners;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use storage::{Slot, Slots};
use sums::{Share, Sums, Totals};

/// A walk in progress.
#[derive(Debug, Default)]
struct Walk {
    /// Sockets that ended since it began: it may still bring a sample from before.
    ended: BTreeSet<SocketId>,
    netns: BTreeMap<u32, NetnsSettings>,
    n_untracked: u64,
    /// Sockets that were looked for and are gone.
    n_gone: u64,
    /// Processes that have sockets, and the last one met: a walk goes by process.
    met: BTreeSet<u32>,
    last_met: Option<u32>,
    /// Events were lost since the walk before: an end or a call may have gone unseen.
    after_loss: bool,
}

/// How much the table may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Sockets in any state, listeners included.
    pub sockets: usize,
    /// Connections, live and dead, whose events are remembered.
    pub histories: usize,
    /// Which labels name owners in metrics.
    pub labels: OwnerLabels,
    /// Owners with rows of their own in metrics.
    pub owners: OwnerBudget,
}

impl Bounds {
    /// Bounds of sockets and histories; the default ones of owners.
    pub fn new(sockets: usize, histories: usize) -> Self {
        let (labels, owners) = (OwnerLabels::default(), OwnerBudget::default());
        Self { sockets, histories, labels, owners }
    }
}

/// Every socket of the host.
#[derive(Debug)]
pub struct Table {
    around: Arc<Surroundings>,
    max_sockets: usize,
    budget: OwnerBudget,
    slots: Slots,
    owners: Owners,
    /// Owners beyond the first: few sockets have them.
    more_owners: BTreeMap<SocketId, Vec<Owner>>,
    listeners: Listeners,
    sums: Sums,
    netns: BTreeMap<u32, NetnsSettings>,
    n_untracked: u64,
    n_pruned: u64,
    walk: Option<Walk>,
    /// Its last byte.
    n_walk: u8,
    n_due: u64,
    histories: Histories,
    tally: Counters,
    /// The happenings since somebody asked last.
    happenings: Vec<Happening>,
    pending: Pending,
    suspects: Suspects,
    unseen: Unseen,
    others: OtherConnections,
    orphan_owners: OrphanOwners,
    learned: Learned,
    /// What is dead or silent of a drill teaches nothing.
    drilled: Vec<DrilledPath>,
    /// The shortest learned limit of each path.
    learned_seconds: BTreeMap<PathNumber, u32>,
    /// Events were lost and no walk has been finished since: a difference may have been reported by a lost event.
    is_blind: bool,
}

impl Table {
    /// A table without sockets.
    pub fn new(around: impl Into<Arc<Surroundings>>, bounds: Bounds) -> Self {
        Self {
            around: around.into(),
            max_sockets: bounds.sockets,
            budget: bounds.owners,
            slots: Slots::default(),
            owners: Owners::new(bounds.labels),
            more_owners: BTreeMap::new(),
            listeners: Listeners::default(),
            sums: Sums::default(),
            netns: BTreeMap::new(),
            n_untracked: 0,
            n_pruned: 0,
            walk: None,
            n_walk: 0,
            n_due: 0,
            histories: Histories::new(bounds.histories),
            tally: Counters::new(bounds.labels),
            happenings: Vec::new(),
            pending: Pending::default(),
            suspects: Suspects::default(),
            unseen: Unseen::default(),
            others: OtherConnections::default(),
            orphan_owners: OrphanOwners::default(),
            learned: Learned::default(),
            drilled: Vec::new(),
            learned_seconds: BTreeMap::new(),
            is_blind: false,
        }
    }

    /// A walk begins. Sockets that it does not meet ([`Self::unmet`]) are to be looked at by their addresses before it
    /// ends. `after_loss`: events were lost since the walk before.
    pub fn begin_walk(&mut self, after_loss: bool) {
        self.n_walk = self.n_walk.wrapping_add(1);
        self.n_due = 0;
        self.walk = Some(Walk { after_loss, ..Walk::default() });
    }

    /// The walk has shown everything. How many sockets were found to be gone.
    pub fn end_walk(&mut self) -> u64 {
        let Some(walk) = self.walk.take() else {
            return 0;
        };
        if walk.after_loss {
            self.is_blind = false;
        }
        self.netns = walk.netns;
        self.n_untracked = walk.n_untracked;
        self.owners.keep(walk.met);
        self.unseen.walk_ended();
        walk.n_gone
    }

    /// Takes an observation in.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Seen(socket) => self.seen(socket),
            Event::Found(socket) => self.found(socket),
            Event::Gone { id, at } => self.gone(id, at),
            Event::StateChange { socket, old, ending } => self.state_changed(socket, old, ending),
            Event::Destroyed(socket) => self.destroyed(socket),
            Event::Fired { socket, outcome, probes_before } => {
                self.fired(socket, outcome, probes_before);
            }
            Event::Called { socket, call } => self.called(socket, call),
        }
    }

    fn before(&self, id: SocketId) -> Option<Slot> {
        self.slots.find(id).and_then(|number| self.slots.get(number))
    }

    fn seen(&mut self, mut socket: Socket) {
        if let Some(walk) = &mut self.walk {
            walk.netns.insert(socket.netns, socket.ambient);
            let pid = socket.owner.map(|owner| owner.pid);
            if pid != walk.last_met {
                walk.last_met = pid;
                walk.met.extend(pid);
            }
            if walk.ended.contains(&socket.id) {
                return;
            }
        }
        let before = self.before(socket.id);
        if let Some(before) = before {
            if before.walk == self.n_walk
                && let (Some(first), Some(another)) = (before.socket.owner, socket.owner)
                && first.fd.is_some()
            {
                // The walk met it before, by another descriptor; or an event came during the walk.
                if first != another {
                    let more = self.more_owners.entry(socket.id).or_default();
                    if !more.contains(&another) {
                        more.push(another);
                        self.choose_owner(before, false);
                    }
                }
                return;
            }
            if before.socket.at > socket.at {
                // An event that was taken after the walk's sample has been applied already.
                let newer = Socket { owner: socket.owner, shared: socket.shared, ..before.socket };
                socket = newer;
            }
            self.more_owners.remove(&socket.id);
            Self::keep_direction(&mut socket, &before.socket);
        }
        self.listeners.infer_direction(&mut socket);
        self.doubt(before, &socket, socket.state, socket.probes_unanswered);
        let probes = socket.probes_unanswered;
        self.compare(before, &mut socket, None, probes);
        self.judge_anew(before, &socket);
        self.put(socket, before);
    }

    /// The sample of an event, with what only earlier ones could tell.
    fn completed(mut socket: Socket, before: Option<Slot>) -> Socket {
        if let Some(Slot { socket: before, .. }) = before {
            socket.owner = before.owner.or(socket.owner);
            socket.shared |= before.shared;
            // Events say nothing of it: only a look without a descriptor does.
            (socket.is_unaccepted, socket.n_listeners) = (before.is_unaccepted, before.n_listeners);
            if socket.inode == 0 {
                socket.inode = before.inode;
            }
            Self::keep_direction(&mut socket, &before);
        }
        socket
    }

    fn state_changed(&mut self, socket: Socket, old: State, ending: Ending) {
        let before = self.before(socket.id);
        let mut socket = Self::completed(socket, before);
        self.unseen.state_told(&socket);
        self.doubt(before, &socket, old, socket.probes_unanswered);
        let probes = socket.probes_unanswered;
        self.compare(before, &mut socket, None, probes);
        if socket.state == State::Close {
            self.settle_verdict(socket.id);
            let ending = join_with_last_look(&mut socket, ending, before);
            if let Some(death) = Death::of(&socket, old, ending, self.known_limit_ms(&socket)) {
                self.died(socket.at, socket, death);
            }
            self.end(socket.id);
            return;
        }
        if old == State::Close {
            for happening in self.pending.take(&socket) {
                self.histories.record(&happening, &self.around);
            }
        }
        if old == State::Established
            && socket.state == State::CloseWait
            && let Some(quiet_ms) = ending.without_data_ms()
            && !self.around.is_local(&socket)
        {
            self.learned.peer_closed(&socket, socket.at, quiet_ms);
        }
        if socket.state.is_closed_from(old) && socket.owes_an_answer() {
            self.happened(Happening::new(socket.at, socket, Happened::GivenUp));
        }
        let opened = match (old, socket.state) {
            (_, State::SynSent) | (State::SynSent, State::Established) => Some(Direction::Outbound),
            (State::SynRecv, State::Established) => Some(Direction::Inbound),
            _ => None,
        };
        if let Some(direction) = opened {
            socket.direction = direction;
            socket.direction_from = DirectionFrom::Seen;
        }
        // A hook sees it enter FIN_WAIT1 before it is an orphan (`__tcp_close` in net/ipv4/tcp.c).
        let is_left_hanging = socket.state.is_closing() && socket.retransmits > 0;
        // A look finds who has it open, and under which number.
        let is_held_unseen = socket.owner.is_none_or(|owner| owner.fd.is_none());
        if is_held_unseen || is_left_hanging && !socket.is_orphan {
            self.n_due += 1;
        }
        if socket.state == State::Established {
            self.happened(Happening::new(socket.at, socket, Happened::Opened));
        }
        self.put(socket, before);
    }

    fn destroyed(&mut self, socket: Socket) {
        self.doubt_freed(&socket);
        self.end(socket.id);
    }

    fn fired(&mut self, socket: Socket, outcome: Fire, probes_before: u8) {
        let before = self.before(socket.id);
        let mut socket = Self::completed(socket, before);
        self.unseen.fire_told(socket.id, probes_before);
        self.doubt(before, &socket, socket.state, probes_before);
        self.compare(before, &mut socket, None, probes_before);
        let what = match outcome {
            Fire::Sent => Happened::ProbeSent,
            outcome => Happened::TimerFired(outcome),
        };
        self.happened(Happening::new(socket.at, socket, what));
        if before.is_some() {
            self.put(socket, before);
        }
    }

    fn happened(&mut self, mut happening: Happening) {
        let whose = self.whose(&happening.socket);
        let name = || self.owners.roll.labels().of(&whose);
        self.tally.record(&happening, &self.around, name);
        happening.identity = whose.identity;
        self.histories.record(&happening, &self.around);
        self.happenings.push(happening);
    }

    /// Calls of connections that live, to be written down: see `Histories::take_lasting_calls`.
    pub fn take_lasting_calls(
        &mut self,
        now: Time,
        least_ms: u64,
        most: usize,
    ) -> Vec<(Happening, Arc<Surroundings>)> {
        self.histories.take_lasting_calls(now, least_ms, most)
    }

    /// The histories of connections, live and dead.
    pub fn histories(&self) -> impl Iterator<Item = &ConnectionHistory> {
        self.histories.iter()
    }

    /// The history of one connection.
    pub fn history(&self, id: SocketId) -> Option<&ConnectionHistory> {
        self.histories.get(id)
    }

    fn keep_direction(socket: &mut Socket, before: &Socket) {
        // Cookies are never reused, but a socket may connect again.
        if before.direction_from == DirectionFrom::Seen && before.remote == socket.remote {
            socket.direction = before.direction;
            socket.direction_from = DirectionFrom::Seen;
        }
    }

    /// Stores a socket, marked with the current walk: what events reported during the walk need not be looked at.
    fn put(&mut self, socket: Socket, before: Option<Slot>) {
        if socket.is_orphan {
            return self.put_held(socket, before);
        }
        let whose = self.owners.number(socket.owner);
        self.store(socket, before, whose);
    }

    /// The same for a socket that no process has open: its last owner may be gone, and its process id another's.
    fn put_held(&mut self, mut socket: Socket, before: Option<Slot>) {
        let process = |owner: Option<Owner>| owner.map(|owner| (owner.pid, owner.comm));
        let whose = match before {
            Some(before) if process(before.socket.owner) == process(socket.owner) => {
                self.owners.roll.take_again(before.whose)
            }
            None if let Some(whose) = self.owner_of_orphan(&mut socket) => whose,
            _ => self.owners.number(socket.owner),
        };
        self.store(socket, before, whose);
    }

    fn store(&mut self, socket: Socket, before: Option<Slot>, whose: OwnerNumber) {
        let old = before.and_then(|before| Share::of(&before.socket, before.whose, &self.around));
        let slot = Slot { socket, walk: self.n_walk, whose };
        match before {
            Some(before) => {
                self.owners.roll.give_back(before.whose);
                self.listeners.remove(&before.socket);
                self.slots.replace(&slot);
            }
            None if self.slots.len() >= self.max_sockets => {
                self.owners.roll.give_back(whose);
                match &mut self.walk {
                    Some(walk) => walk.n_untracked += 1,
                    None => self.n_untracked += 1,
                }
                return;
            }
            None => self.slots.insert(&slot),
        }
        self.listeners.add(&socket);
        self.sums.replace(old, Share::of(&socket, whose, &self.around));
    }

    fn end(&mut self, id: SocketId) {
        if let Some(walk) = &mut self.walk {
            walk.ended.insert(id);
        }
        self.remove(id);
    }

    fn remove(&mut self, id: SocketId) {
        if let Some(Slot { socket, whose, .. }) = self.slots.remove(id) {
            self.more_owners.remove(&id);
            self.listeners.remove(&socket);
            self.sums.replace(Share::of(&socket, whose, &self.around), None);
            self.owners.roll.give_back(whose);
        }
    }

    /// Connections about which only a walk can tell what an event left open: an owner, or whether a program still waits.
    pub const fn n_due(&self) -> u64 {
        self.n_due
    }

    /// Sockets in the table.
    pub fn n_sockets(&self) -> u64 {
        u64::try_from(self.slots.len()).unwrap_or(u64::MAX)
    }

    /// The sums that scrapes read, as they are now.
    pub fn totals(&self) -> Totals {
        let mut totals = self.sums.totals(&self.owners.roll, self.budget);
        totals.netns.clone_from(&self.netns);
        totals.around = Some(self.surroundings());
        totals.n_tracked = self.n_sockets();
        totals.n_untracked = self.n_untracked;
        totals.health.n_pruned = self.n_pruned;
        totals.health.n_unrecorded = self.histories.n_unrecorded();
        totals.tally = self.tally.clone();
        totals.learned.clone_from(&self.learned_seconds);
        totals
    }

    /// Passes on the wanted ones of `n_slots` slots of the table, from slot `from` on, each with its owners, foremost first,
    /// and the identity of that one. Returns where to go on; none at the end. Between two parts sockets may come and go.
    pub fn scan(
        &self,
        from: u32,
        n_slots: u32,
        is_wanted: impl Fn(&Socket) -> bool,
        mut each: impl FnMut(&Socket, &[Owner], Option<&Identity>),
    ) -> Option<u32> {
        let end = from.saturating_add(n_slots).min(self.slots.end());
        let mut owners: Vec<Owner> = Vec::new();
        for Slot { socket, whose, .. } in (from..end).filter_map(|number| self.slots.get(number)) {
            if !is_wanted(&socket) {
                continue;
            }
            owners.clear();
            owners.extend(self.more_owners.get(&socket.id).into_iter().flatten());
            owners.sort_unstable();
            owners.splice(..0, socket.owner);
            let identity = self.owners.roll.get(whose).and_then(|it| it.identity.as_deref());
            each(&socket, &owners, identity);
        }
        (end < self.slots.end()).then_some(end)
    }
}

#[cfg(test)]
pub(in crate::model) mod tests;
