//! A moment of a connection as it was: what happened, the settings and times of then, and the limit that was in force.

use super::{
    super::happening::{Happened, Happening},
    past_owners::PastOwnerNumber,
};
use crate::model::{
    judgement::{
        death::{Death, GivenUp},
        idle_limit::{Applied, Limits},
        verdict::Surroundings,
    },
    observed::{
        peer_closed::PeerClosed,
        setting::{NetnsSettings, OwnSettings},
        socket::{Socket, State, Time},
        watched::Watched,
    },
};
use std::sync::Arc;

/// What happened, and how the connection was by then.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When it happened.
    pub at: Time,
    pub(super) what: Happened<Box<Death>>,
    then: Then,
    /// Whose it was.
    pub(super) whose: PastOwnerNumber,
    /// What its verdict depended on.
    around: Arc<Surroundings>,
}

/// All of a socket that may change while it lives.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of the socket, as there")]
struct Then {
    own: OwnSettings,
    ambient: NetnsSettings,
    rto_max_ms: u32,
    quiet_ms: u32,
    silent_ms: u32,
    received_ms: u32,
    spoke_last_ms: Option<u32>,
    peer_closed: Option<PeerClosed>,
    timer_ms: Option<u32>,
    retransmitting_ms: Option<u32>,
    watched: Watched,
    retransmits: u8,
    could_not_send: bool,
    fin_only: bool,
    soft_errno: u16,
    window_closed: bool,
    is_orphan: bool,
    is_unaccepted: bool,
    keepalive: bool,
    state: State,
    in_flight: bool,
    probes_unanswered: u8,
    round_trip_ms: u16,
}

impl Then {
    const fn of(socket: &Socket) -> Self {
        // No `..`: whoever adds a field decides here whether the past depends on it.
        let Socket {
            id: _,
            address: _,
            at: _,
            local: _,
            remote: _,
            netns: _,
            inode: _,
            own,
            ambient,
            rto_max_ms,
            syn_retries: _,
            keepalive,
            state,
            in_flight,
            retransmits,
            retransmitting_ms,
            could_not_send,
            fin_only,
            soft_errno,
            window_closed,
            unread_ms: _,
            is_orphan,
            is_unaccepted,
            n_queued: _,
            n_listeners: _,
            kind: _,
            probes_unanswered,
            round_trip_ms,
            direction: _,
            direction_from: _,
            owner: _,
            shared: _,
            quiet_ms,
            silent_ms,
            spoke_last_ms,
            peer_closed,
            received_ms,
            quiet_at_most: _,
            segs_in: _,
            segs_out: _,
            watched,
            timer_ms,
        } = *socket;
        Self {
            own,
            ambient,
            rto_max_ms,
            quiet_ms,
            silent_ms,
            received_ms,
            spoke_last_ms,
            peer_closed,
            timer_ms,
            retransmitting_ms,
            watched,
            retransmits,
            could_not_send,
            fin_only,
            soft_errno,
            window_closed,
            is_orphan,
            is_unaccepted,
            keepalive,
            state,
            in_flight,
            probes_unanswered,
            round_trip_ms,
        }
    }

    /// The socket as it was, of what is known of it now.
    const fn of_known(self, known: Socket) -> Socket {
        let Self {
            own,
            ambient,
            rto_max_ms,
            quiet_ms,
            silent_ms,
            received_ms,
            spoke_last_ms,
            peer_closed,
            timer_ms,
            retransmitting_ms,
            watched,
            retransmits,
            could_not_send,
            fin_only,
            soft_errno,
            window_closed,
            is_orphan,
            is_unaccepted,
            keepalive,
            state,
            in_flight,
            probes_unanswered,
            round_trip_ms,
        } = self;
        Socket {
            own,
            ambient,
            rto_max_ms,
            keepalive,
            state,
            in_flight,
            fin_only,
            retransmits,
            retransmitting_ms,
            could_not_send,
            soft_errno,
            window_closed,
            is_orphan,
            is_unaccepted,
            probes_unanswered,
            round_trip_ms,
            quiet_ms,
            silent_ms,
            spoke_last_ms,
            peer_closed,
            received_ms,
            watched,
            timer_ms,
            ..known
        }
    }
}

impl Moment {
    /// The moment of a happening, by the limits that are in force now.
    pub(super) fn of(
        happening: &Happening,
        whose: PastOwnerNumber,
        around: Arc<Surroundings>,
    ) -> Self {
        let Happening { at, socket, what, .. } = happening;
        let what = what.with_death(|death| Box::new(*death));
        Self { at: *at, what, then: Then::of(socket), whose, around }
    }

    /// What it was.
    pub fn what(&self) -> Happened {
        self.what.with_death(|death| **death)
    }

    /// Of a close before an answer came: what matters of it at the end.
    pub(super) const fn given_up(&self, end: Time) -> GivenUp {
        let waited_ms = match self.then.retransmitting_ms {
            Some(ms) => ms,
            None => 0,
        };
        GivenUp { ago_ms: end.ms_since(self.at), silent_ms: self.then.silent_ms, waited_ms }
    }

    /// The socket by then, of what is known of it now; and what its verdict depended on.
    pub(super) const fn recall(&self, known: Socket) -> (Socket, &Arc<Surroundings>) {
        (Socket { at: self.at, ..self.then.of_known(known) }, &self.around)
    }
}

/// Surroundings of one connection each: the limit in force, and whether its peer was on this host. Many have the same.
#[derive(Debug, Default)]
pub(super) struct PastSurroundings {
    known: Vec<Arc<Surroundings>>,
}

impl PastSurroundings {
    /// Above this number those are given up that nobody remembers any more.
    const MANY: usize = 64;

    /// Those of `socket`, out of those of all.
    pub(super) fn of(&mut self, socket: &Socket, around: &Surroundings) -> Arc<Surroundings> {
        let applied = around.limits.of(socket);
        let host = around.host.only(socket.remote);
        let is_same = |known: &&Arc<Surroundings>| {
            known.host == host && known.hz == around.hz && only(known) == Some(applied)
        };
        if let Some(known) = self.known.iter().find(is_same) {
            return Arc::clone(known);
        }
        if self.known.len() >= Self::MANY {
            self.known.retain(|known| Arc::strong_count(known) > 1);
        }
        let limits = Limits::only(applied.clone());
        let new = Arc::new(Surroundings { limits, host, hz: around.hz });
        self.known.push(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
impl PastSurroundings {
    pub(super) const fn len(&self) -> usize {
        self.known.len()
    }
}

fn only(around: &Surroundings) -> Option<&Applied> {
    around.limits.all().next()
}
