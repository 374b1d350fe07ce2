//! The owners of sockets: what was looked up of processes, and which of several owners counts.

use super::{
    Table,
    happening::Happening,
    histories::ConnectionHistory,
    owner_ids::{OwnerNumber, OwnerNumbers},
    owner_label::OwnerLabels,
    storage::Slot,
};
use crate::model::{
    judgement::verdict::Surroundings,
    observed::{
        event::Event,
        owner_identity::{Identity, KnownProcess, NamedOwner, OwnerCandidate, foremost},
        socket::{Comm, Owner, Socket},
    },
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// Processes that wait to be looked up: more than that are left to the next walk.
const MAX_WAITING: usize = 4096;

/// A process that has sockets.
#[derive(Debug)]
struct OwningProcess {
    known: KnownProcess,
    /// Its name when it was asked for last, and the number that goes with that.
    last: Option<(Comm, OwnerNumber)>,
}

/// The owners of the table's sockets.
#[derive(Debug)]
pub(super) struct Owners {
    processes: HashMap<u32, OwningProcess>,
    pub(super) roll: OwnerNumbers,
    /// Processes to look up.
    waiting: BTreeSet<u32>,
    /// Those of them that have sockets in the table.
    unknown: HashSet<u32>,
}

impl Owners {
    pub(super) fn new(labels: OwnerLabels) -> Self {
        Self {
            processes: HashMap::new(),
            roll: OwnerNumbers::new(labels),
            waiting: BTreeSet::new(),
            unknown: HashSet::new(),
        }
    }

    /// The number of an owner, to be given back.
    pub(super) fn number(&mut self, owner: Option<Owner>) -> OwnerNumber {
        let Some(Owner { pid, comm, .. }) = owner else {
            return self.roll.take(NamedOwner::default());
        };
        let Some(process) = self.processes.get_mut(&pid) else {
            if pid == Owner::KERNEL {
                return self.roll.take(NamedOwner { process: comm, identity: None });
            }
            self.unknown.insert(pid);
            if self.waiting.len() < MAX_WAITING {
                self.waiting.insert(pid);
            }
            return self.roll.take(NamedOwner { process: comm, identity: None });
        };
        match process.last {
            Some((last, number)) if last == comm => self.roll.take_again(number),
            before => {
                let identity = Some(Arc::clone(&process.known.identity));
                let number = self.roll.take(NamedOwner { process: comm, identity });
                process.last = Some((comm, self.roll.take_again(number)));
                if let Some((_, before)) = before {
                    self.roll.give_back(before);
                }
                number
            }
        }
    }

    /// What was looked up. Whether it is news of sockets in the table.
    fn learn(&mut self, pid: u32, known: KnownProcess) -> bool {
        let before = self.processes.get(&pid);
        if before.is_some_and(|process| process.known == known) {
            return false;
        }
        let is_another = before.is_some();
        self.forget(pid);
        self.processes.insert(pid, OwningProcess { known, last: None });
        self.unknown.remove(&pid) || is_another
    }

    fn forget(&mut self, pid: u32) {
        if let Some(OwningProcess { last: Some((_, number)), .. }) = self.processes.remove(&pid) {
            self.roll.give_back(number);
        }
    }

    /// A walk met these processes: the others have no socket any more. Each is looked up again, for
    /// its id may have been reused, or it was moved to another cgroup.
    pub(super) fn keep(&mut self, met: BTreeSet<u32>) {
        let gone: Vec<u32> =
            self.processes.keys().filter(|pid| !met.contains(pid)).copied().collect();
        for pid in gone {
            self.forget(pid);
        }
        self.unknown.retain(|pid| met.contains(pid));
        self.waiting.extend(met);
    }

    /// What was looked up of a process.
    pub(super) fn identity(&self, pid: u32) -> Option<&Identity> {
        self.processes.get(&pid).map(|process| process.known.identity.as_ref())
    }

    fn candidate(&self, owner: Owner) -> OwnerCandidate<'_> {
        OwnerCandidate::new(owner, self.processes.get(&owner.pid).map(|process| &process.known))
    }
}

impl Table {
    /// Processes to look up, each once: those that the last walk met, and those that came since.
    pub fn take_processes(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.owners.waiting)
    }

    /// Owners in these events of whom nothing is known: best looked up before the events are applied,
    /// for a process may be gone soon.
    pub fn strangers(&self, events: &[Event]) -> BTreeSet<u32> {
        events
            .iter()
            .filter_map(Event::owner)
            .map(|owner| owner.pid)
            .filter(|pid| *pid != Owner::KERNEL && !self.owners.processes.contains_key(pid))
            .collect()
    }

    /// What was looked up of processes. A process that is gone stays as it was known.
    pub fn identify(&mut self, found: impl IntoIterator<Item = (u32, KnownProcess)>) {
        let news: HashSet<u32> = found
            .into_iter()
            .filter_map(|(pid, known)| self.owners.learn(pid, known).then_some(pid))
            .collect();
        if news.is_empty() {
            return;
        }
        for number in 0..self.slots.end() {
            let Some(slot) = self.slots.get(number) else {
                continue;
            };
            let more = self.more_owners.get(&slot.socket.id).filter(|_| slot.socket.shared);
            let mut owners = slot.socket.owner.iter().chain(more.into_iter().flatten());
            if owners.any(|owner| news.contains(&owner.pid)) {
                self.choose_owner(slot, true);
            }
        }
    }

    /// Lets the owner that counts be the socket's first.
    pub(super) fn choose_owner(&mut self, slot: Slot, even_if_same: bool) {
        let Slot { socket, .. } = slot;
        let mut chosen = socket;
        if let Some(more) = self.more_owners.get_mut(&socket.id) {
            let owners = socket.owner.iter().chain(more.iter());
            chosen.owner = foremost(owners.map(|&owner| self.owners.candidate(owner)));
            if let (Some(first), Some(before)) = (chosen.owner, socket.owner)
                && let Some(place) = more.iter_mut().find(|owner| **owner == first)
            {
                *place = before;
            }
        }
        if even_if_same || chosen.owner != socket.owner {
            self.put(chosen, Some(slot));
        }
    }

    /// What is kept of a connection, as it was streamed, with its owner of now where none was known then: a program takes a
    /// connection that the peer opened only after that, and in no event.
    pub fn replay<'a>(
        &'a self,
        history: &'a ConnectionHistory,
    ) -> impl Iterator<Item = (Happening, Arc<Surroundings>)> {
        // Who called is no owner for certain.
        let is_called = history.calls().next().is_some();
        let is_known = history.socket.owner.is_some() && history.identity.is_some() && !is_called;
        let slot = if is_known { None } else { self.before(history.socket.id) };
        let owner = slot.and_then(|slot| slot.socket.owner);
        let whose = slot.and_then(|slot| self.owners.roll.get(slot.whose));
        let identity = whose.and_then(|whose| whose.identity.as_ref());
        history.replay().map(move |(mut happening, around)| {
            let by = happening.socket.owner.or(owner);
            happening.socket.owner = by;
            if by.map(|by| by.pid) == owner.map(|owner| owner.pid) {
                happening.identity = happening.identity.or_else(|| identity.cloned());
            }
            (happening.held_by(owner, identity), around)
        })
    }

    /// The owner of this socket, as far as that is known.
    pub(super) fn whose(&self, socket: &Socket) -> NamedOwner {
        let Some(Owner { pid, comm, .. }) = socket.owner else {
            return NamedOwner::default();
        };
        let slot = self.slots.find(socket.id).and_then(|number| self.slots.get(number));
        let is_its = |owner: Owner| (owner.pid, owner.comm) == (pid, comm);
        let kept = slot.filter(|slot| slot.socket.owner.is_some_and(is_its));
        // Also of a process that is gone.
        kept.and_then(|slot| self.owners.roll.get(slot.whose)).cloned().unwrap_or_else(|| {
            let process = self.owners.processes.get(&pid);
            let identity = process.map(|process| Arc::clone(&process.known.identity));
            NamedOwner { process: comm, identity }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        observed::{
            ending::Ending,
            setsockopt::{Call, SockOpt, When},
            socket::{SocketId, State, tests_support::socket},
        },
        table::{
            happening::{Happened, Happening},
            tests::{rows, table},
        },
    };

    fn owner(pid: u32, name: &[u8]) -> Owner {
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name);
        Owner { pid, fd: Some(3), comm: Comm::new(bytes) }
    }

    fn held_by(id: u64, owner: Owner) -> Event {
        Event::Seen(Socket { id: SocketId(id), owner: Some(owner), shared: true, ..socket() })
    }

    fn walk(table: &mut Table, events: &[Event]) {
        table.begin_walk(false);
        for event in events {
            table.apply(*event);
        }
        for id in table.unmet(|socket| socket.id) {
            table.apply(Event::Gone { id, at: socket().at });
        }
        table.end_walk();
    }

    fn known(started: u64, unit: &str) -> KnownProcess {
        let identity = Identity { unit: Some(unit.into()), ..Identity::default() };
        KnownProcess { started, identity: Arc::new(identity) }
    }

    fn workloads(table: &Table) -> Vec<(String, u64)> {
        let sockets = table.totals().sockets;
        sockets.iter().map(|(it, n)| (it.owner.values()[1].to_owned(), *n)).collect()
    }

    #[test]
    fn what_was_looked_up_is_shown_and_counted() {
        let mut table = table();
        walk(&mut table, &[held_by(1, owner(7, b"nginx")), held_by(2, owner(8, b"nginx"))]);
        assert_eq!(table.take_processes(), [7, 8].into());
        assert!(table.take_processes().is_empty(), "each once");
        table.identify([(7, known(1, "a.service")), (8, known(1, "b.service"))]);
        assert_eq!(workloads(&table), [("a.service".to_owned(), 1), ("b.service".to_owned(), 1)]);
        let shown: Vec<_> = rows(&table)
            .into_iter()
            .map(|(_, owners, unit)| (owners[0].pid, unit.unwrap_or_default()))
            .collect();
        assert_eq!(shown, [(7, "a.service".to_owned()), (8, "b.service".to_owned())]);
    }

    #[test]
    fn a_socket_of_a_known_process_is_of_its_unit_at_once_and_of_an_unknown_one_soon() {
        let mut table = table();
        walk(&mut table, &[held_by(1, owner(7, b"nginx"))]);
        table.identify([(7, known(1, "a.service"))]);
        table.take_processes();
        table.apply(held_by(2, owner(7, b"nginx")));
        assert_eq!(workloads(&table), [("a.service".to_owned(), 2)]);
        table.apply(held_by(3, owner(9, b"curl")));
        assert_eq!(table.take_processes(), [9].into());
    }

    #[test]
    fn what_is_known_before_an_event_comes_is_told_with_it() {
        let mut table = table();
        let event = held_by(1, owner(9, b"curl"));
        assert_eq!(table.strangers(&[event]), [9].into());
        table.identify([(9, known(1, "job.service"))]);
        assert!(table.strangers(&[event]).is_empty());
        table.apply(event);
        assert_eq!(workloads(&table), [("job.service".to_owned(), 1)]);
    }

    /// A call of `caller` on a socket that has no id yet.
    fn early_call(caller: Owner) -> Event {
        let by = Some(caller);
        let (option, value) = (SockOpt::Idle, Some(61));
        let call = Call { option, value, errno: 0, by, when: When::BeforeConnect };
        let state = State::Close;
        let socket = Socket { id: SocketId::default(), inode: 77, owner: by, state, ..socket() };
        Event::Called { socket, call }
    }

    fn listens(id: u64) -> Event {
        let (id, state) = (SocketId(id), State::Listen);
        let socket = Socket { id, inode: 77, owner: None, state, ..socket() };
        Event::StateChange { socket, old: State::Close, ending: Ending::default() }
    }

    /// The calls that are remembered of a connection: by whom, and the unit of that.
    fn remembered(table: &Table, id: u64) -> Vec<(u32, Option<String>)> {
        let history = table.history(SocketId(id)).unwrap();
        let calls = table.replay(history).filter(|(it, _)| matches!(it.what, Happened::Setting(_)));
        calls
            .map(|(it, _)| {
                let unit =
                    it.identity.and_then(|identity| identity.unit.as_deref().map(str::to_owned));
                (it.socket.owner.unwrap().pid, unit)
            })
            .collect()
    }

    #[test]
    fn a_call_before_listening_is_of_the_callers_unit_also_when_the_caller_is_gone() {
        let mut table = table();
        let gate = owner(7, b"gate");
        table.identify([(7, known(1, "gate.service"))]);
        table.apply(early_call(gate));
        let of_gate = vec![(7, Some("gate.service".to_owned()))];
        // A walk that does not meet the process forgets it.
        walk(&mut table, &[]);
        table.apply(listens(1));
        assert_eq!(remembered(&table, 1), of_gate);
        let history = table.history(SocketId(1)).unwrap();
        let (call, _) = table.replay(history).next().unwrap();
        assert_eq!(call.socket.local, socket().local, "it is known by now where it listens");
    }

    #[test]
    fn an_accepted_connection_is_remembered_as_of_the_process_that_took_it_later() {
        let mut table = table();
        let accepted = Socket { owner: None, ..socket() };
        let (old, ending) = (State::SynRecv, Ending::default());
        table.apply(Event::StateChange { socket: accepted, old, ending });
        let of_opening = |table: &Table| {
            let (opened, _) = table.replay(table.history(SocketId(1)).unwrap()).next().unwrap();
            let unit = opened.identity.and_then(|it| it.unit.as_deref().map(str::to_owned));
            (opened.socket.owner.map(|owner| owner.pid), unit)
        };
        assert_eq!(of_opening(&table), (None, None));
        table.identify([(7, known(1, "web.service"))]);
        walk(&mut table, &[held_by(1, owner(7, b"web"))]);
        assert_eq!(of_opening(&table), (Some(7), Some("web.service".to_owned())));
    }

    #[test]
    fn a_call_of_another_process_is_of_that_ones_unit_and_takes_no_connection_over() {
        let mut table = table();
        let (web, fixer) = (owner(7, b"web"), owner(8, b"fixer"));
        table.identify([(7, known(1, "web.service")), (8, known(1, "fix.service"))]);
        table.apply(held_by(1, web));
        let connection = Socket { owner: Some(web), ..socket() };
        table.happened(Happening::new(connection.at, connection, Happened::Opened));
        let by = |caller: Owner| {
            let (option, value, by) = (SockOpt::Idle, Some(61), Some(caller));
            let call = Call { option, value, errno: 0, by, when: When::AfterConnect };
            Event::Called { socket: Socket { owner: by, ..socket() }, call }
        };
        table.apply(by(fixer));
        let history = table.history(SocketId(1)).unwrap();
        assert_eq!(history.identity.as_ref().unwrap().unit.as_deref(), Some("web.service"));
        assert_eq!(history.socket.owner.map(|owner| owner.pid), Some(7));
        table.apply(by(web));
        let stranger = |it: &Happening| {
            let holder = it.holder.as_ref()?;
            let unit = holder.identity.as_ref().and_then(|it| it.unit.as_deref());
            Some((holder.owner.pid, unit.map(str::to_owned), holder.is_foreign))
        };
        let of_web = Some((7, Some("web.service".to_owned()), true));
        let reported: Vec<_> = table.take_happenings();
        let calls = |it: &&Happening| matches!(it.what, Happened::Setting(_));
        let reported: Vec<_> = reported.iter().filter(calls).map(stranger).collect();
        assert_eq!(reported, [of_web.clone(), None]);
        let history = table.history(SocketId(1)).unwrap();
        let kept: Vec<_> = table.replay(history).map(|(it, _)| it).collect();
        let kept: Vec<_> = kept.iter().filter(calls).map(stranger).collect();
        assert_eq!(kept, [of_web, None]);
        let units = ["fix.service", "web.service"].map(|unit| Some(unit.to_owned()));
        let [of_fixer, of_web] = units;
        assert_eq!(remembered(&table, 1), [(8, of_fixer), (7, of_web)]);
    }

    #[test]
    fn a_connection_whose_first_known_event_is_a_strangers_call_stays_its_owners() {
        let mut table = table();
        let (web, fixer) = (owner(7, b"web"), owner(8, b"fixer"));
        let call = |by: Option<Owner>| {
            let call = Call {
                option: SockOpt::Idle,
                value: Some(61),
                errno: 0,
                by,
                when: When::AfterConnect,
            };
            Event::Called { socket: Socket { owner: by, ..socket() }, call }
        };
        let owners = |table: &Table| {
            let history = table.history(SocketId(1)).unwrap();
            let (last, _) = table.replay(history).last().unwrap();
            (last.socket.owner.unwrap().pid, last.holder.map(|holder| holder.owner.pid))
        };
        // It is older than the agent.
        table.apply(held_by(1, web));
        table.apply(call(Some(fixer)));
        assert_eq!(owners(&table), (8, Some(7)));
        // A child that it was passed on to is no stranger, and found by both.
        table.apply(call(Some(Owner { pid: 9, ..web })));
        assert_eq!(owners(&table), (9, Some(7)));
        let strangers = table.take_happenings().iter().filter(|it| it.is_by_stranger()).count();
        assert_eq!(strangers, 1);
    }

    #[test]
    fn the_owner_of_a_connection_may_be_found_out_after_a_strangers_call() {
        let mut table = table();
        let (web, fixer) = (owner(7, b"web"), owner(8, b"fixer"));
        table.identify([(8, known(1, "fix.service"))]);
        let (option, value, by) = (SockOpt::Idle, Some(61), Some(fixer));
        let call = Call { option, value, errno: 0, by, when: When::AfterConnect };
        table.apply(Event::Called { socket: Socket { owner: by, ..socket() }, call });
        walk(&mut table, &[held_by(1, web)]);
        let (called, _) = table.replay(table.history(SocketId(1)).unwrap()).next().unwrap();
        assert_eq!(called.socket.owner.map(|owner| owner.pid), Some(8));
        assert_eq!(called.holder.map(|holder| holder.owner.pid), Some(7));
    }

    #[test]
    fn a_process_that_moves_or_whose_id_is_reused_takes_its_sockets_along() {
        let mut table = table();
        walk(&mut table, &[held_by(1, owner(7, b"sh"))]);
        table.identify([(7, known(1, "session.scope"))]);
        table.identify([(7, known(1, "a.service"))]);
        assert_eq!(workloads(&table), [("a.service".to_owned(), 1)]);
        table.identify([(7, known(99, "b.service"))]);
        assert_eq!(workloads(&table), [("b.service".to_owned(), 1)]);
        // The process is gone with its sockets: the next one with its id is looked up, not taken for it.
        walk(&mut table, &[]);
        table.apply(held_by(2, owner(7, b"sh")));
        assert_eq!(workloads(&table), [(String::new(), 1)]);
        assert_eq!(table.take_processes(), [7].into());
    }

    #[test]
    fn of_several_owners_the_foremost_counts_in_whichever_order_a_walk_meets_them() {
        let (init, service) = (owner(1, b"systemd"), owner(70, b"sshd"));
        for order in [[init, service], [service, init]] {
            let mut table = table();
            for _ in 0..2 {
                walk(&mut table, &order.map(|owner| held_by(1, owner)));
                table.identify([(1, known(0, "init.scope")), (70, known(9, "ssh.service"))]);
                assert_eq!(workloads(&table), [("ssh.service".to_owned(), 1)]);
                let (_, owners, _) = rows(&table).pop().unwrap();
                let pids: Vec<u32> = owners.iter().map(|owner| owner.pid).collect();
                assert_eq!(pids, [70, 1]);
            }
        }
    }

    #[test]
    fn nothing_is_left_of_owners_that_are_gone() {
        let mut table = table();
        for n in 0..500_u32 {
            let name = n.to_string();
            walk(&mut table, &[held_by(u64::from(n), owner(n + 2, name.as_bytes()))]);
            table.identify([(n + 2, known(1, &name))]);
        }
        walk(&mut table, &[]);
        assert!(table.totals().sockets.is_empty());
        assert!(table.owners.processes.is_empty());
        assert_eq!(table.owners.roll.len(), 1, "nobody");
    }
}
