//! Every socket of the host, as events and walks tell it.
//!
//! `apply` cannot fail: what it cannot use, it counts. Between two walks events keep the table true;
//! a walk corrects what events did not say (settings, owners, times) and what was lost.

use super::{
    event::Event,
    filter::Filter,
    row::Row,
    setting::Netns,
    slots::{Slot, Slots},
    snapshot::{Share, Snapshot, Sums},
    socket::{Direction, DirectionFrom, Owner, Socket, SocketId, State, Time},
    verdict::Policy,
};
use std::collections::{BTreeMap, BTreeSet};

/// A walk in progress.
#[derive(Debug, Default)]
struct Walk {
    /// Sockets that ended since it began: it may still bring a sample from before.
    ended: BTreeSet<SocketId>,
    netns: BTreeMap<u32, Netns>,
    n_untracked: u64,
}

/// Every socket of the host.
#[derive(Debug)]
pub struct Table {
    policy: Policy,
    max_sockets: usize,
    slots: Slots,
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
}

impl Table {
    /// An empty table that will hold at most `max_sockets`.
    pub fn new(policy: Policy, max_sockets: usize) -> Self {
        Self {
            policy,
            max_sockets,
            slots: Slots::default(),
            more_owners: BTreeMap::new(),
            listeners: BTreeMap::new(),
            sums: Sums::default(),
            netns: BTreeMap::new(),
            n_untracked: 0,
            n_pruned: 0,
            walk: None,
            n_walk: 0,
            n_unowned: 0,
        }
    }

    /// A walk begins. What it does not meet until it ends is gone.
    pub fn begin_walk(&mut self) {
        self.n_walk = self.n_walk.wrapping_add(1);
        self.n_unowned = 0;
        self.walk = Some(Walk::default());
    }

    /// The walk met everything. `events_lost`: whether an end may have gone unseen since the walk
    /// before.
    pub fn end_walk(&mut self, events_lost: bool) {
        let Some(walk) = self.walk.take() else {
            return;
        };
        self.netns = walk.netns;
        self.n_untracked = walk.n_untracked;
        let mut unseen = Vec::new();
        for number in 0..self.slots.end() {
            // A descriptor that is gone was closed, and what is closed does not stay established.
            // Without a descriptor (a full accept queue, an orphan that still closes) only events
            // tell the end, so such a socket goes when they were lost.
            if let Some(Slot { socket, walk }) = self.slots.get(number)
                && *walk != self.n_walk
                && (events_lost || socket.owner.is_some_and(|owner| owner.fd.is_some()))
            {
                unseen.push(socket.id);
            }
        }
        for id in unseen {
            self.n_pruned += 1;
            self.remove(id);
        }
    }

    /// Takes an observation in.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Seen(socket) => self.seen(socket),
            Event::StateChange { socket, old } => self.state_changed(socket, old),
            Event::Destroyed(socket) => self.end(socket.id),
        }
    }

    fn seen(&mut self, mut socket: Socket) {
        if let Some(walk) = &mut self.walk {
            walk.netns.insert(socket.netns, socket.ambient);
            if walk.ended.contains(&socket.id) {
                return;
            }
        }
        let before = self.slots.find(socket.id).and_then(|number| self.slots.get(number)).copied();
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
        self.put(socket, before, self.n_walk);
    }

    fn state_changed(&mut self, mut socket: Socket, old: State) {
        if socket.state == State::Close {
            self.end(socket.id);
            return;
        }
        let before = self.slots.find(socket.id).and_then(|number| self.slots.get(number)).copied();
        if let Some(before) = before {
            socket.owner = socket.owner.or(before.socket.owner);
            Self::keep_direction(&mut socket, &before.socket);
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
        // A socket with an owner that the current walk has not met yet must not seem unmet at its
        // end; and one that was opened meanwhile is met by no walk.
        self.put(socket, before, self.n_walk);
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

    fn put(&mut self, socket: Socket, before: Option<Slot>, walk: u16) {
        let old = before.and_then(|before| Share::of(&before.socket, &self.policy));
        let slot = Slot { socket, walk };
        match before {
            Some(before) => {
                self.count_listener(&before.socket, -1);
                let place = self.slots.find(socket.id).and_then(|n| self.slots.get_mut(n));
                if let Some(place) = place {
                    *place = Some(slot);
                }
            }
            None if self.slots.len() >= self.max_sockets => {
                match &mut self.walk {
                    Some(walk) => walk.n_untracked += 1,
                    None => self.n_untracked += 1,
                }
                return;
            }
            None => self.slots.insert(slot),
        }
        self.count_listener(&socket, 1);
        self.sums.replace(old, Share::of(&socket, &self.policy));
    }

    fn end(&mut self, id: SocketId) {
        if let Some(walk) = &mut self.walk {
            walk.ended.insert(id);
        }
        self.remove(id);
    }

    fn remove(&mut self, id: SocketId) {
        if let Some(Slot { socket, .. }) = self.slots.remove(id) {
            self.more_owners.remove(&id);
            self.count_listener(&socket, -1);
            self.sums.replace(Share::of(&socket, &self.policy), None);
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

    /// The sums, with at most `max_names` process names.
    pub fn picture(&self, max_names: usize) -> Snapshot {
        let mut picture = self.sums.picture(max_names);
        picture.netns.clone_from(&self.netns);
        picture.n_tracked = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        picture.n_untracked = self.n_untracked;
        picture.health.n_pruned = self.n_pruned;
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
        let end = from.saturating_add(n_slots).min(self.slots.end());
        let rows = (from..end)
            .filter_map(|number| self.slots.get(number))
            .filter(|slot| filter.admits(&slot.socket, &self.policy))
            .filter_map(|Slot { socket, .. }| {
                let more = self.more_owners.get(&socket.id);
                let mut owners: Vec<Owner> =
                    socket.owner.iter().chain(more.into_iter().flatten()).copied().collect();
                owners.sort_unstable();
                filter.admits_owner(&owners).then(|| Row::new(socket, &owners, &self.policy, now))
            })
            .collect();
        (rows, (end < self.slots.end()).then_some(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        limit::{IdleLimit, Limits},
        socket::{Comm, tests_support::socket},
    };

    fn table() -> Table {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        Table::new(Policy { limits, host: BTreeSet::new(), hz: 250 }, 1000)
    }

    fn owned(id: u64, fd: u32) -> Socket {
        let owner = Owner { pid: 7, fd: Some(fd), comm: Comm::default() };
        Socket { id: SocketId(id), owner: Some(owner), ..socket() }
    }

    fn rows(table: &Table) -> Vec<Row> {
        let all = Filter { all: true, ..Filter::default() };
        table.rows(&all, Time(1_000_000), 0, u32::MAX).0
    }

    fn walk(table: &mut Table, sockets: &[Socket]) {
        table.begin_walk();
        for socket in sockets {
            table.apply(Event::Seen(*socket));
        }
        table.end_walk(false);
    }

    fn change(table: &mut Table, socket: Socket, old: State, new: State) {
        table.apply(Event::StateChange { socket: Socket { state: new, ..socket }, old });
    }

    #[test]
    fn a_connection_that_opens_and_closes_between_walks_is_known_and_gone() {
        let mut table = table();
        change(&mut table, socket(), State::Close, State::SynSent);
        change(&mut table, socket(), State::SynSent, State::Established);
        let row = rows(&table).pop().unwrap();
        assert_eq!((row.direction, row.direction_from), (Direction::Outbound, DirectionFrom::Seen));
        assert_eq!(table.picture(9).series.len(), 1);
        change(&mut table, socket(), State::Established, State::Close);
        assert!(rows(&table).is_empty());
        assert!(table.picture(9).series.is_empty());
    }

    #[test]
    fn what_a_walk_does_not_meet_any_more_is_gone() {
        let mut table = table();
        walk(&mut table, &[owned(1, 3), owned(2, 4)]);
        walk(&mut table, &[owned(2, 4)]);
        assert_eq!(rows(&table).len(), 1);
        assert_eq!(table.picture(9).health.n_pruned, 1);
    }

    #[test]
    fn a_connection_without_descriptor_stays_until_its_end_or_until_events_are_lost() {
        let mut table = table();
        change(&mut table, socket(), State::SynRecv, State::Established);
        walk(&mut table, &[]);
        walk(&mut table, &[]);
        assert_eq!(rows(&table).len(), 1);
        table.begin_walk();
        table.end_walk(true);
        assert!(rows(&table).is_empty());
    }

    #[test]
    fn a_socket_that_ends_during_a_walk_is_not_brought_back_by_it() {
        let mut table = table();
        table.begin_walk();
        change(&mut table, owned(1, 3), State::Established, State::Close);
        table.apply(Event::Seen(owned(1, 3)));
        table.end_walk(false);
        assert!(rows(&table).is_empty());
    }

    #[test]
    fn a_connection_opened_during_a_walk_survives_its_end() {
        let mut table = table();
        table.begin_walk();
        change(&mut table, owned(1, 3), State::SynSent, State::Established);
        table.end_walk(false);
        assert_eq!(rows(&table).len(), 1);
    }

    #[test]
    fn every_descriptor_of_every_process_is_an_owner_once() {
        let mut table = table();
        for _ in 0..2 {
            walk(&mut table, &[owned(1, 3), owned(1, 9)]);
        }
        let fds = |table: &Table| -> Vec<_> {
            rows(table)[0].owners.iter().map(|owner| owner.fd).collect()
        };
        assert_eq!(fds(&table), [Some(3), Some(9)]);
        table.begin_walk();
        let unowned = Socket { owner: None, ..owned(1, 3) };
        change(&mut table, unowned, State::Established, State::CloseWait);
        table.apply(Event::Seen(owned(1, 3)));
        table.apply(Event::Seen(owned(1, 9)));
        table.end_walk(false);
        assert_eq!(fds(&table), [Some(3), Some(9)]);
        walk(&mut table, &[owned(1, 9)]);
        assert_eq!(rows(&table)[0].owners.len(), 1);
    }

    #[test]
    fn a_seen_direction_outlives_walks_and_a_listener_tells_that_of_older_ones() {
        let mut table = table();
        change(&mut table, owned(1, 3), State::SynRecv, State::Established);
        let listener = Socket { state: State::Listen, ..owned(2, 4) };
        walk(&mut table, &[listener, owned(1, 3), owned(3, 5)]);
        let rows = rows(&table);
        assert!(
            rows.iter()
                .filter(|row| row.state == State::Established)
                .all(|row| row.direction == Direction::Inbound)
        );
        let from: Vec<_> = rows.iter().map(|row| row.direction_from).collect();
        assert_eq!(from.iter().filter(|from| **from == DirectionFrom::Seen).count(), 1);
    }

    #[test]
    fn a_full_table_says_how_many_it_could_not_take() {
        let mut table = table();
        table.max_sockets = 1;
        walk(&mut table, &[owned(1, 3), owned(2, 4), owned(3, 5)]);
        assert_eq!((rows(&table).len(), table.picture(9).n_untracked), (1, 2));
    }

    #[test]
    fn rows_come_in_parts() {
        let mut table = table();
        let sockets: Vec<_> = (1..=10).map(|id| owned(id, 3)).collect();
        walk(&mut table, &sockets);
        let (first, next) = table.rows(&Filter::default(), Time(0), 0, 4);
        let (rest, end) = table.rows(&Filter::default(), Time(0), next.unwrap(), u32::MAX);
        assert_eq!((first.len(), rest.len(), end), (4, 6, None));
    }
}
