//! Every socket of the host, as events and walks tell it.
//!
//! `apply` cannot fail: what it cannot use, it counts. Between two walks events keep the table true;
//! a walk corrects what events did not say (settings, owners, times) and what was lost.

mod learn;
mod observe;
mod owners;
mod unseen;

use super::{
    death::{Death, Ending},
    event::{Event, Fire},
    filter::Filter,
    history::{Histories, History},
    identity::Identity,
    label::{Budget, OwnerLabels},
    learned::Learned,
    limit::PathNumber,
    moment::{Moment, What},
    row::Row,
    setting::Netns,
    slots::{Slot, Slots},
    snapshot::{Share, Snapshot, Sums},
    socket::{Direction, DirectionFrom, Owner, Socket, SocketId, State, Time},
    tally::Tally,
    verdict::Policy,
};
use observe::{Pending, Suspects};
use owners::Owners;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
pub use unseen::Heard;
use unseen::Unseen;

/// A walk in progress.
#[derive(Debug, Default)]
struct Walk {
    /// Sockets that ended since it began: it may still bring a sample from before.
    ended: BTreeSet<SocketId>,
    netns: BTreeMap<u32, Netns>,
    n_untracked: u64,
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
    pub owners: Budget,
}

impl Bounds {
    /// Bounds of sockets and histories; the default ones of owners.
    pub fn new(sockets: usize, histories: usize) -> Self {
        let (labels, owners) = (OwnerLabels::default(), Budget::default());
        Self { sockets, histories, labels, owners }
    }
}

/// Every socket of the host.
#[derive(Debug)]
pub struct Table {
    policy: Arc<Policy>,
    max_sockets: usize,
    budget: Budget,
    slots: Slots,
    owners: Owners,
    /// Owners beyond the first: few sockets have them.
    more_owners: BTreeMap<SocketId, Vec<Owner>>,
    /// Listening sockets by namespace and port.
    listeners: BTreeMap<(u32, u16), u32>,
    sums: Sums,
    netns: BTreeMap<u32, Netns>,
    n_untracked: u64,
    n_pruned: u64,
    walk: Option<Walk>,
    n_walk: u16,
    n_unowned: u64,
    histories: Histories,
    tally: Tally,
    /// What happened since somebody asked last.
    moments: Vec<Moment>,
    pending: Pending,
    suspects: Suspects,
    unseen: Unseen,
    learned: Learned,
    /// The shortest learned limit of each path.
    learned_seconds: BTreeMap<PathNumber, u32>,
    /// Events were lost and no walk has been finished since: a difference may have been reported by a lost event.
    is_blind: bool,
}

impl Table {
    /// A table without sockets.
    pub fn new(policy: impl Into<Arc<Policy>>, bounds: Bounds) -> Self {
        Self {
            policy: policy.into(),
            max_sockets: bounds.sockets,
            budget: bounds.owners,
            slots: Slots::default(),
            owners: Owners::new(bounds.labels),
            more_owners: BTreeMap::new(),
            listeners: BTreeMap::new(),
            sums: Sums::default(),
            netns: BTreeMap::new(),
            n_untracked: 0,
            n_pruned: 0,
            walk: None,
            n_walk: 0,
            n_unowned: 0,
            histories: Histories::new(bounds.histories),
            tally: Tally::new(bounds.labels),
            moments: Vec::new(),
            pending: Pending::default(),
            suspects: Suspects::default(),
            unseen: Unseen::default(),
            learned: Learned::new(0),
            learned_seconds: BTreeMap::new(),
            is_blind: false,
        }
    }

    /// What verdicts depend on.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy)
    }

    /// A walk begins. What it does not meet until it ends is gone. `after_loss`: events were lost
    /// since the walk before.
    pub fn begin_walk(&mut self, after_loss: bool) {
        self.n_walk = self.n_walk.wrapping_add(1);
        self.n_unowned = 0;
        self.unseen.walk_began();
        self.walk = Some(Walk { after_loss, ..Walk::default() });
    }

    /// The walk met everything. How many sockets it did not meet any more.
    pub fn end_walk(&mut self, now: Time) -> u64 {
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
        self.prune(walk.after_loss, now)
    }

    /// Takes an observation in.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Seen(socket) => self.seen(socket),
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
        self.infer_direction(&mut socket);
        self.doubt(before, &socket, socket.state, socket.probes_unanswered);
        let survived_ms = self.compare(before, &socket, None, socket.probes_unanswered);
        self.judge_anew(before, &socket);
        self.put(socket, before, survived_ms);
    }

    /// The sample of an event, with what only earlier ones could tell.
    fn completed(mut socket: Socket, before: Option<Slot>) -> Socket {
        if let Some(Slot { socket: before, .. }) = before {
            socket.owner = before.owner.or(socket.owner);
            socket.shared |= before.shared;
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
        let survived_ms = self.compare(before, &socket, None, socket.probes_unanswered);
        if socket.state == State::Close {
            if let Some(death) = Death::of(&socket, old, ending, survived_ms) {
                self.died(socket.at, socket, death);
            }
            self.end(socket.id);
            return;
        }
        if old == State::Close {
            for moment in self.pending.take(&socket) {
                self.histories.record(&moment);
            }
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
        if socket.owner.is_none() {
            self.n_unowned += 1;
        }
        if socket.state == State::Established {
            self.happened(Moment::new(socket.at, socket, What::Opened));
        }
        self.put(socket, before, survived_ms);
    }

    fn destroyed(&mut self, socket: Socket) {
        self.doubt_freed(&socket);
        self.end(socket.id);
    }

    fn fired(&mut self, socket: Socket, outcome: Fire, probes_before: u8) {
        let before = self.before(socket.id);
        let socket = Self::completed(socket, before);
        self.unseen.fire_told(socket.id, probes_before);
        self.doubt(before, &socket, socket.state, probes_before);
        let survived_ms = self.compare(before, &socket, None, probes_before);
        let what = match outcome {
            Fire::Sent => What::ProbeSent,
            outcome => What::TimerFired(outcome),
        };
        self.happened(Moment::new(socket.at, socket, what));
        if before.is_some() {
            self.put(socket, before, survived_ms);
        }
    }

    fn died(&mut self, at: Time, socket: Socket, mut death: Death) {
        let mut calls = Vec::new();
        if let Some(history) = self.histories.get(socket.id) {
            if history.was_found_gone() {
                return; // one dies once
            }
            death.age_ms = history.opened.map(|opened| at.ms_since(opened));
            death.probes_sent = history.probes_sent;
            calls = history.calls().collect();
        }
        if !self.policy.is_local(&socket) {
            self.learned.died(&socket, at, &death);
        }
        self.happened(Moment { calls, ..Moment::new(at, socket, What::Died(death)) });
    }

    fn happened(&mut self, mut moment: Moment) {
        let whose = self.whose(&moment.socket);
        let name = || self.owners.roll.labels().of(&whose);
        self.tally.record(&moment, &self.policy, name);
        moment.identity = whose.identity;
        self.histories.record(&moment);
        self.moments.push(moment);
    }

    /// What happened since this was asked last.
    pub fn take_moments(&mut self) -> Vec<Moment> {
        std::mem::take(&mut self.moments)
    }

    /// What is remembered of connections, live and dead.
    pub fn histories(&self) -> impl Iterator<Item = &History> {
        self.histories.iter()
    }

    /// What is known of one connection.
    pub fn history(&self, id: SocketId) -> Option<&History> {
        self.histories.get(id)
    }

    fn keep_direction(socket: &mut Socket, before: &Socket) {
        // Cookies are never reused, but a socket may connect again.
        if before.direction_from == DirectionFrom::Seen && before.remote == socket.remote {
            socket.direction = before.direction;
            socket.direction_from = DirectionFrom::Seen;
        }
    }

    /// `listen(fd, 0)` leaves no backlog to infer from; the listener itself does.
    fn infer_direction(&self, socket: &mut Socket) {
        if socket.direction_from == DirectionFrom::Inferred
            && socket.is_connection()
            && self.listeners.contains_key(&(socket.netns, socket.local.port))
        {
            socket.direction = Direction::Inbound;
        }
    }

    /// Stores a socket, marked with the current walk: else [`Self::end_walk`] would prune sockets that events
    /// reported during the walk.
    fn put(&mut self, socket: Socket, before: Option<Slot>, survived_ms: u32) {
        let old = before.and_then(|before| Share::of(&before.socket, before.whose, &self.policy));
        let whose = self.owners.number(socket.owner);
        let slot = Slot { socket, walk: self.n_walk, survived_ms, whose };
        match before {
            Some(before) => {
                self.owners.roll.give_back(before.whose);
                self.count_listener(&before.socket, -1);
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
        self.count_listener(&socket, 1);
        self.sums.replace(old, Share::of(&socket, whose, &self.policy));
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
            self.count_listener(&socket, -1);
            self.sums.replace(Share::of(&socket, whose, &self.policy), None);
            self.owners.roll.give_back(whose);
        }
    }

    fn count_listener(&mut self, socket: &Socket, change: i32) {
        if socket.state == State::Listen {
            let key = (socket.netns, socket.local.port);
            let n_listeners = self.listeners.entry(key).or_default();
            *n_listeners = n_listeners.saturating_add_signed(change);
            if *n_listeners == 0 {
                self.listeners.remove(&key);
            }
        }
    }

    /// Connections that opened since the last walk began and whose owner only a walk can tell.
    pub const fn n_unowned(&self) -> u64 {
        self.n_unowned
    }

    /// Sockets in the table.
    pub fn n_sockets(&self) -> u64 {
        u64::try_from(self.slots.len()).unwrap_or(u64::MAX)
    }

    /// The sums that scrapes read, as they are now.
    pub fn picture(&self) -> Snapshot {
        let mut picture = self.sums.picture(&self.owners.roll, self.budget);
        picture.netns.clone_from(&self.netns);
        picture.policy = Some(self.policy());
        picture.n_tracked = self.n_sockets();
        picture.n_untracked = self.n_untracked;
        picture.health.n_pruned = self.n_pruned;
        picture.health.n_unrecorded = self.histories.n_unrecorded();
        picture.tally = self.tally.clone();
        picture.learned.clone_from(&self.learned_seconds);
        picture
    }

    /// Rows of a part of the table: those from slot `from` on, until `n_slots` were looked at. Then
    /// where to go on; none at the end. Between two parts sockets may come and go.
    pub fn rows(
        &self,
        filter: &Filter,
        now: Time,
        from: u32,
        n_slots: u32,
    ) -> (Vec<Row>, Option<u32>) {
        let mut rows = Vec::new();
        let next = self.scan(filter, from, n_slots, |socket, owners, identity| {
            rows.push(Row::new(socket, owners, &self.policy, now).of(identity));
        });
        (rows, next)
    }

    /// Passes on what the filter admits of a part of the table, as [`Self::rows`] does: each socket
    /// with its owners, foremost first, and what that one is part of.
    pub fn scan(
        &self,
        filter: &Filter,
        from: u32,
        n_slots: u32,
        mut each: impl FnMut(&Socket, &[Owner], Option<&Identity>),
    ) -> Option<u32> {
        let end = from.saturating_add(n_slots).min(self.slots.end());
        let mut owners: Vec<Owner> = Vec::new();
        for Slot { socket, whose, .. } in (from..end).filter_map(|number| self.slots.get(number)) {
            if !filter.admits(&socket, &self.policy) {
                continue;
            }
            owners.clear();
            owners.extend(self.more_owners.get(&socket.id).into_iter().flatten());
            owners.sort_unstable();
            owners.splice(..0, socket.owner);
            let identity = self.owners.roll.get(whose).and_then(|it| it.identity.as_deref());
            if filter.admits_owner(&owners) && filter.admits_identity(identity) {
                each(&socket, &owners, identity);
            }
        }
        (end < self.slots.end()).then_some(end)
    }
}

#[cfg(test)]
pub(in crate::model) mod tests;
