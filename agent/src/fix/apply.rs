//! Setting what was planned, socket by socket: written down, borrowed, compared, set, and read again.
//!
//! Nothing is written down of a process that does not lend: its sockets are asked first. Of one that has lent a socket the others
//! are written down and then borrowed, once; what has changed since the plan is settled in the journal. No copy is held while the
//! disk is waited for: it would keep a connection open that its program closes.

use super::{
    journal::{Change, Error, Journal, SettledSocket, SocketPlace, UnsetOptions},
    plan::{PlannedOptions, options},
};
use crate::{
    kernel::borrowed_socket::{BorrowedSocket, OpenProcesses, Refusal, WantedSocket},
    model::{
        observed::{setting::SettingOrigin, socket::SocketKind},
        text::closed_set::closed_set,
    },
    view::{connection::Connection, row::Row},
};
use std::collections::HashSet;

/// Sockets of one batch: written down with one sync.
const BATCH: usize = 512;

closed_set! {
    /// What became of a socket.
    pub(crate) enum FixOutcome {
        /// It has the new options: they were read again.
        Fixed = "fixed",
        /// It has the options of before.
        Undone = "undone",
        /// Somebody set it in the meantime, and it stays so.
        ChangedSince = "changed_since",
        /// It was not reached or not set.
        Refused = "refused",
    }
}

/// What became of one, with the reason of a refusal.
pub(crate) type SocketFate = (FixOutcome, Option<Refusal>);

/// A socket to be set, and the processes that have a descriptor of it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Which it is, and what it has and gets.
    pub(crate) change: Change,
    /// Its user timeout, milliseconds, by which the plan was made.
    pub(crate) user_timeout_ms: u32,
    /// Process and descriptor, first the one that it is counted for.
    pub(crate) holders: Vec<(u32, u32)>,
    /// Where the values come from, in words.
    pub(crate) origin: String,
}

impl Candidate {
    /// That of a row, which gets these options.
    pub(crate) fn new(row: &Row, planned: PlannedOptions) -> Self {
        let PlannedOptions { options: after, origin } = planned;
        let connection = &row.connection;
        let owner = row.owners.first();
        let settings = &connection.settings;
        let is_unset = |from| from == SettingOrigin::Netns;
        Self {
            change: Change {
                id: row.id().to_owned(),
                netns: connection.netns,
                local: connection.local,
                remote: connection.remote,
                is_mptcp: connection.made_by == SocketKind::Mptcp,
                pid: owner.map_or(0, |owner| owner.pid),
                process: owner.map(|owner| owner.process.clone()).unwrap_or_default(),
                before: options(connection),
                unset: UnsetOptions {
                    idle: is_unset(settings.idle.from),
                    interval: is_unset(settings.interval.from),
                    count: is_unset(settings.count.from),
                },
                after,
            },
            user_timeout_ms: settings.user_timeout_ms,
            holders: holders(row),
            origin,
        }
    }
}

/// Where the socket of a connection is.
pub(crate) const fn place(connection: &Connection) -> SocketPlace {
    (connection.netns, connection.local, connection.remote)
}

/// Processes that have a descriptor of a row's socket.
pub(crate) fn holders(row: &Row) -> Vec<(u32, u32)> {
    row.owners.iter().filter_map(|owner| Some((owner.pid, owner.fd?))).collect()
}

/// Borrows a socket from the first that still has it. It is refused as gone only if all are gone: a child that was just starting
/// had copies of the descriptors.
pub(crate) fn borrow(
    processes: &mut OpenProcesses,
    holders: &[(u32, u32)],
    wanted: &WantedSocket,
) -> Result<BorrowedSocket, Refusal> {
    let mut refusal = Refusal::NoDescriptor;
    for &(pid, fd) in holders {
        match processes.borrow(pid, fd, wanted) {
            Ok(socket) => return Ok(socket),
            Err(why) if matches!(refusal, Refusal::NoDescriptor | Refusal::Gone) => refusal = why,
            Err(_) => {}
        }
    }
    Err(refusal)
}

/// Sets all of them. What was written down and not done needs no undoing: it is settled in the journal.
pub(crate) fn apply(
    candidates: &[Candidate],
    journal: &mut Journal,
    at: &str,
    mut each: impl FnMut(&Candidate, SocketFate),
) -> Result<(), Error> {
    let mut processes = OpenProcesses::default();
    let mut lenders = HashSet::new();
    for batch in candidates.chunks(BATCH) {
        let mut ready = Vec::new();
        for candidate in batch {
            let holder = candidate.holders.first().map(|(pid, _)| *pid);
            if holder.is_some_and(|pid| lenders.contains(&pid)) {
                ready.push(candidate);
                continue;
            }
            match as_planned(&mut processes, candidate) {
                Ok(_) => {
                    lenders.extend(holder);
                    ready.push(candidate);
                }
                Err(fate) => each(candidate, fate),
            }
        }
        if ready.is_empty() {
            continue;
        }
        journal.intend(ready.iter().map(|candidate| candidate.change.clone()), at)?;
        let mut settled = Vec::new();
        for candidate in ready {
            let fate = set(&mut processes, candidate);
            if fate.0 != FixOutcome::Fixed {
                let id = candidate.change.id.clone();
                settled.push(SettledSocket { id, is_as_before: fate.1 == Some(Refusal::Failed) });
            }
            each(candidate, fate);
        }
        if !settled.is_empty() {
            journal.settle(journal.run(), settled)?;
        }
    }
    Ok(())
}

const fn refused(why: Refusal) -> SocketFate {
    (FixOutcome::Refused, Some(why))
}

const CHANGED: SocketFate = (FixOutcome::ChangedSince, None);

/// Borrows the socket, if it is as its row said.
fn as_planned(
    processes: &mut OpenProcesses,
    candidate: &Candidate,
) -> Result<BorrowedSocket, SocketFate> {
    let wanted = candidate.change.wanted().ok_or(refused(Refusal::NoDescriptor))?;
    let socket = borrow(processes, &candidate.holders, &wanted).map_err(refused)?;
    let now = socket.options().map_err(refused)?;
    // MPTCP does not say.
    let timeout_ms = socket.user_timeout_ms().unwrap_or(candidate.user_timeout_ms);
    let is_same = now == candidate.change.before && timeout_ms == candidate.user_timeout_ms;
    if is_same { Ok(socket) } else { Err(CHANGED) }
}

fn set(processes: &mut OpenProcesses, candidate: &Candidate) -> SocketFate {
    let Change { before, after, .. } = candidate.change;
    let socket = match as_planned(processes, candidate) {
        Ok(socket) => socket,
        Err(fate) => return fate,
    };
    match socket.set(before, after).and_then(|()| socket.options()) {
        Ok(now) if now == after => (FixOutcome::Fixed, None),
        // Its program was faster.
        Ok(_) => CHANGED,
        Err(why) => {
            // Half of it may be set.
            socket.set(after, before).ok();
            refused(why)
        }
    }
}
