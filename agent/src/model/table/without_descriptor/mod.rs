//! Sockets that a walk did not meet, because no process has them open: looked at by their addresses, or in the list of
//! their network namespace. Only what was seen to be gone is believed to be.

use super::{Table, storage::Slot};
use crate::model::{
    judgement::death::Death,
    observed::{
        ending::Discovery,
        kernel_owner,
        listeners::share,
        socket::{Owner, Socket, SocketId, SocketKind, State, Time},
    },
};

/// While a connection waits to be accepted for less than this, it is looked at again soon: then it may be accepted any moment. So it
/// is while it is known for less than this, and nobody was found to have it open.
const WATCHED_CLOSELY_MS: u32 = 60_000;

impl Table {
    /// The sockets that the walk in progress has not met so far: of each what is asked for.
    pub fn unmet<T>(&self, of: impl Fn(&Socket) -> T) -> Vec<T> {
        let slots = (0..self.slots.end()).filter_map(|n| self.slots.unmet(n, self.n_walk));
        slots.map(|slot| of(&slot.socket)).collect()
    }

    /// A socket as it was seen last.
    pub fn last_seen(&self, id: SocketId) -> Option<Socket> {
        self.before(id).map(|slot| slot.socket)
    }

    /// A socket was looked at without a descriptor.
    pub(super) fn found(&mut self, mut socket: Socket) {
        if self.walk.as_ref().is_some_and(|walk| walk.ended.contains(&socket.id)) {
            return;
        }
        let before = self.before(socket.id);
        if let Some(before) = before {
            // The list of a namespace has those, too, that the walk has met.
            if before.walk == self.n_walk || before.socket.at > socket.at {
                return;
            }
            if socket.state == State::Close || is_another(&before.socket, &socket) {
                self.gone(socket.id, socket.at);
                return;
            }
            Self::keep_direction(&mut socket, &before.socket);
            socket.inode = before.socket.inode;
        } else if socket.state == State::Close {
            return;
        }
        self.listeners.infer_direction(&mut socket);
        if socket.is_unaccepted {
            self.find_listeners(&mut socket);
        } else {
            socket.owner = Self::holder(&socket, before);
            // A child that had forked and not yet executed its program had it open, too.
            self.more_owners.remove(&socket.id);
        }
        self.doubt(before, &socket, socket.state, socket.probes_unanswered);
        let probes = socket.probes_unanswered;
        self.compare(before, &mut socket, None, probes);
        self.judge_anew(before, &socket);
        if socket.is_unaccepted {
            socket.is_unaccepted = socket.is_left_unaccepted();
            self.n_due += u64::from(socket.unaccepted_ms() < WATCHED_CLOSELY_MS);
        } else if is_new_and_unheld(&socket, before) {
            self.n_due += 1;
        }
        self.put_held(socket, before);
    }

    /// The owner of a socket that no process has open.
    fn holder(socket: &Socket, before: Option<Slot>) -> Option<Owner> {
        if socket.kind == SocketKind::Kernel {
            return socket.owner;
        }
        // Of the last one that had it, the descriptor is gone.
        let last = before.and_then(|before| before.socket.owner);
        kernel_owner::taker(socket).or(last.map(|owner| Owner { fd: None, ..owner }))
    }

    /// Whose a connection is that waits to be accepted.
    fn find_listeners(&mut self, socket: &mut Socket) {
        let listeners = self.listeners.of(socket);
        let more = |id| self.more_owners.get(&id).into_iter().flatten().copied();
        let owners = listeners.iter().flat_map(|it| it.owner.into_iter().chain(more(it.id)));
        let kind = |owner: &Owner| (owner.comm, self.owners.identity(owner.pid));
        let others = share(socket, &listeners, owners, |a, b| kind(a) == kind(b));
        self.more_owners.remove(&socket.id);
        if !others.is_empty() {
            self.more_owners.insert(socket.id, others);
        }
    }

    /// A socket was looked for, and is not there any more.
    pub(super) fn gone(&mut self, id: SocketId, at: Time) {
        let Some(Slot { socket, .. }) = self.before(id).filter(|slot| slot.socket.at <= at) else {
            return;
        };
        self.settle_verdict(id);
        self.n_pruned += 1;
        let after_loss = self.walk.as_mut().is_some_and(|walk| {
            walk.n_gone += 1;
            walk.after_loss
        });
        if socket.is_connection() {
            if after_loss || !self.hears_ends() {
                // Its end was reported by an event that was lost, or nothing reports ends.
                self.died(at, socket, Death::unseen(&socket, Discovery::Gone, at));
            } else {
                self.doubt_gone(socket, at);
            }
        }
        self.remove(id);
    }
}

/// Whether a process may have got it, by accepting it or from another one, after the walk had passed that process.
fn is_new_and_unheld(socket: &Socket, before: Option<Slot>) -> bool {
    let was_held = before.and_then(|before| before.socket.owner?.fd).is_some();
    let may_be_held = socket.kind == SocketKind::Program
        && socket.state == State::Established
        && !socket.is_orphan
        && kernel_owner::taker(socket).is_none();
    may_be_held && !was_held && socket.watched.ms < WATCHED_CLOSELY_MS
}

/// Whether another socket has the same id: where the kernel gives no cookies, an id is made of an address, which may be
/// used again.
fn is_another(before: &Socket, found: &Socket) -> bool {
    (before.netns, before.remote) != (found.netns, found.remote)
        || (before.local.port != 0 && before.local.port != found.local.port)
}

#[cfg(test)]
mod tests;
