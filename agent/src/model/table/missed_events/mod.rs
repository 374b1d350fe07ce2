//! Changes that no hook reported. A sample shows a change without a report: if none comes for
//! a second, and nothing was lost on the way, then a hook was not run. Such a death is reported all the
//! same, late and with an unknown cause; and each such run is counted.
//!
//! A hook tells a change before anybody can see it, so its record stands in the ring before any sample
//! that shows the change. But it may wait there behind another that is still being written.

use super::{Table, compare_samples::SETTLES_MS, storage::Slot};
use crate::model::{
    judgement::death::Death,
    observed::{
        ending::Discovery,
        socket::{Socket, SocketId, State, Time},
    },
};
use std::collections::HashMap;

/// Sockets in doubt at once, some 5 MB: beyond, nothing is suspected.
const MAX_DOUBTS: usize = 8192;

/// What samples show of one socket and no hook has reported (yet).
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// When it was seen first, and last.
    since: Time,
    last: Time,
    /// Changes of its state.
    n_changes: u64,
    /// Unanswered probes: as hooks reported them, and as samples show them.
    probes: Option<(u8, u8)>,
    /// It ended: how that was found, and how the connection was before.
    end: Option<(Discovery, Socket)>,
    /// Something was lost meanwhile: it may have been this.
    is_excused: bool,
}

/// Which changes are reported at all: without hooks, none.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// Whether hooks report changes of state.
    pub states: bool,
    /// Whether hooks report fires of keepalive timers.
    pub timers: bool,
    /// Whether hooks report calls of setsockopt.
    pub calls: bool,
}

/// All sockets in doubt.
#[derive(Debug)]
pub(super) struct Unseen {
    doubts: HashMap<SocketId, Doubt>,
    heard: Heard,
    n_walks_ended: u64,
    n_runs: u64,
}

impl Default for Unseen {
    fn default() -> Self {
        let heard = Heard { states: true, timers: true, calls: true };
        Self { doubts: HashMap::new(), heard, n_walks_ended: 0, n_runs: 0 }
    }
}

impl Unseen {
    /// The doubt about a socket, if there may be one: before the first walk is over not every hook
    /// need be attached.
    fn doubt(&mut self, id: SocketId, at: Time, is_excused: bool) -> Option<&mut Doubt> {
        let is_full = self.doubts.len() >= MAX_DOUBTS && !self.doubts.contains_key(&id);
        if self.n_walks_ended == 0 || is_full {
            return None;
        }
        let new = Doubt { since: at, last: at, n_changes: 0, probes: None, end: None, is_excused };
        let doubt = self.doubts.entry(id).or_insert(new);
        doubt.last = doubt.last.max(at);
        doubt.is_excused |= is_excused;
        Some(doubt)
    }

    /// A change of state was reported late.
    pub(super) fn state_told(&mut self, socket: &Socket) {
        let Some(doubt) = self.doubts.get_mut(&socket.id) else {
            return;
        };
        if socket.at <= doubt.last {
            doubt.n_changes = doubt.n_changes.saturating_sub(1);
        }
        doubt.end = None;
    }

    /// A hook reported a fire of its timer, with this number of probes unanswered before.
    pub(super) fn fire_told(&mut self, id: SocketId, probes_before: u8) {
        if let Some(doubt) = self.doubts.get_mut(&id)
            && doubt.probes.is_some_and(|(_, seen)| probes_before < seen)
        {
            doubt.probes = None;
        }
    }

    /// It is freed: how it was before its end was found out, if no hook reported that.
    fn freed(&mut self, id: SocketId) -> Option<Socket> {
        self.doubts.get_mut(&id)?.end.take().map(|(_, socket)| socket)
    }

    pub(super) const fn walk_ended(&mut self) {
        self.n_walks_ended += 1;
    }

    /// Records were lost: all that is in doubt may have been among them.
    pub(super) fn excuse_all(&mut self) {
        self.doubts.values_mut().for_each(|doubt| doubt.is_excused = true);
    }

    /// What nothing has explained by now.
    fn settled(&mut self, now: Time) -> Vec<(SocketId, Doubt)> {
        let is_due = |_: &SocketId, doubt: &mut Doubt| now.ms_since(doubt.since) >= SETTLES_MS;
        let settled = self.doubts.extract_if(is_due).collect();
        if self.doubts.is_empty() {
            self.doubts.shrink_to_fit();
        }
        settled
    }
}

/// Whether a hook reports something on each way from one state to another: it does for SYN_SENT, LISTEN,
/// ESTABLISHED, FIN_WAIT1, CLOSE_WAIT and CLOSE. No way leads back: there a sample was taken between the
/// report of a change and the change.
const fn is_told(from: State, to: State) -> bool {
    use State::{
        Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv,
        SynSent, TimeWait,
    };
    match from {
        SynSent | SynRecv => !matches!(to, SynSent | SynRecv | Listen),
        Established => !matches!(to, Established | SynSent | SynRecv | Listen),
        CloseWait | LastAck | FinWait1 | FinWait2 | Closing | TimeWait | Listen => {
            matches!(to, Close)
        }
        Close => false,
    }
}

impl Table {
    /// Which changes the hooks tell: of others nothing is suspected.
    pub const fn set_heard(&mut self, heard: Heard) {
        self.unseen.heard = heard;
    }

    /// Whether a change of settings that no call explains says that there was none.
    pub(super) const fn hears_calls(&self) -> bool {
        self.unseen.heard.calls
    }

    /// Whether an end that a look finds may have been reported otherwise.
    pub(super) const fn hears_ends(&self) -> bool {
        self.unseen.heard.states
    }

    /// Runs of hooks that were due, as samples show, and did not happen.
    pub const fn n_unseen(&self) -> u64 {
        self.unseen.n_runs
    }

    fn is_excused(&self) -> bool {
        self.is_blind || self.walk.as_ref().is_some_and(|walk| walk.after_loss)
    }

    /// Compares a sample with what hooks reported before. `state`: the state that it was found in; `probes`:
    /// unanswered ones that it was found with, before what is reported now.
    pub(super) fn doubt(
        &mut self,
        before: Option<Slot>,
        socket: &Socket,
        state: State,
        probes: u8,
    ) {
        let Some(Slot { socket: before, .. }) = before else {
            return;
        };
        if socket.at <= before.at {
            return;
        }
        let is_excused = self.is_excused();
        let Heard { states, timers, .. } = self.unseen.heard;
        if !states && state == State::Close && before.is_connection() {
            self.settle_verdict(before.id);
            self.died(socket.at, before, Death::unseen(&before, Discovery::Closed, socket.at));
            return;
        }
        let changed = states && is_told(before.state, state);
        let is_probing = |socket: &Socket| socket.keepalive && !socket.in_flight;
        let n_probes = probes.saturating_sub(before.probes_unanswered);
        // Retransmission and a closed window have probes too, but only with data in flight.
        let probed = timers && n_probes > 0 && is_probing(&before) && is_probing(socket);
        let is_back = state != State::Close && self.unseen.doubts.contains_key(&socket.id);
        if !(changed || probed || is_back) {
            return;
        }
        let Some(doubt) = self.unseen.doubt(socket.id, socket.at, is_excused) else {
            return;
        };
        if is_back {
            doubt.end = None;
        }
        if probed {
            let told = doubt.probes.map_or(before.probes_unanswered, |(told, _)| told);
            doubt.probes = Some((told, probes));
        }
        if changed
            && state == State::Close
            && socket.state == State::Close
            && before.is_connection()
        {
            let closed = Socket {
                state: before.state,
                local: before.local,
                remote: before.remote,
                direction: before.direction,
                direction_from: before.direction_from,
                quiet_ms: socket.silent_ms,
                ..*socket
            };
            doubt.end = Some((Discovery::Closed, closed));
        } else if changed {
            doubt.n_changes += 1;
        }
    }

    /// A connection is not there any more, and no hook has reported its end, so far.
    pub(super) fn doubt_gone(&mut self, socket: Socket, at: Time) {
        let is_excused = self.is_excused();
        if self.unseen.heard.states
            && let Some(doubt) = self.unseen.doubt(socket.id, at, is_excused)
        {
            doubt.end = Some((Discovery::Gone, socket));
        }
    }

    /// The kernel frees a socket. A connection until now: no hook reported its end.
    pub(super) fn doubt_freed(&mut self, socket: &Socket) {
        self.settle_verdict(socket.id);
        let before = self.before(socket.id).map(|slot| slot.socket);
        let connected = before.filter(Socket::is_connection);
        let Some(before) = connected.or_else(|| self.unseen.freed(socket.id)) else {
            return;
        };
        let is_excused = self.is_excused();
        if self.unseen.heard.states
            && let Some(doubt) = self.unseen.doubt(socket.id, socket.at, is_excused)
        {
            doubt.n_changes += 1;
        }
        self.died(socket.at, before, Death::unseen(&before, Discovery::Freed, socket.at));
    }

    /// Believes what nothing has explained in time.
    pub(super) fn settle_doubts(&mut self, now: Time) {
        if self.unseen.doubts.is_empty() {
            return;
        }
        for (_, doubt) in self.unseen.settled(now) {
            let Doubt { last, n_changes, probes, end, is_excused, .. } = doubt;
            let n_probes = probes.map_or(0, |(told, seen)| u64::from(seen.saturating_sub(told)));
            if !is_excused {
                self.unseen.n_runs += n_changes + n_probes + u64::from(end.is_some());
            }
            if let Some((found, socket)) = end {
                self.died(last, socket, Death::unseen(&socket, found, last));
            }
        }
    }
}

#[cfg(test)]
mod tests;
