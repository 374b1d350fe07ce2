//! The peers' own idle timers, as they were learned: what hangs or died after a longer time without data may have been closed by
//! the peer, whose FIN was lost. That shows no path that forgets.

use super::Neighbours;
use crate::{
    model::{
        judgement::{
            death::Cause,
            destination::Destination,
            learned::{LearnedRow, PeerClosesRow},
            learned_limit::Confidence,
            limit_source::LimitSource,
        },
        text::wall_time::unix_seconds,
    },
    view::{
        connection::Connection,
        connection_group::ConnectionGroup,
        life::{Finding, Life, LifeEnd},
        neighbours::witness::quiet_before,
    },
};
use std::collections::HashMap;

/// What is about as long as something else.
const ABOUT: f64 = 0.95;

/// The timers of peers, by destination.
#[derive(Debug, Default)]
pub(crate) struct PeerTimers {
    by_destination: HashMap<Destination, PeerTimer>,
    /// The network namespace that destinations without one are in.
    home: Option<u32>,
}

/// The timer of one peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PeerTimer {
    /// It closes after this time without data, seconds.
    after: f64,
    /// It did so again and again.
    pub(super) is_habit: bool,
}

impl PeerTimers {
    /// From what was learned. `home`: the network namespace of those who learned it.
    pub(crate) fn of<'a>(
        rows: impl IntoIterator<Item = &'a LearnedRow>,
        home: Option<u32>,
    ) -> Self {
        let timers = rows.into_iter().filter_map(|row| {
            let LearnedRow::PeerCloses(row) = row else { return None };
            let destination: Destination = row.remote.parse().ok()?;
            Some((destination.in_netns(row.netns), PeerTimer::of(row)))
        });
        Self { by_destination: timers.collect(), home }
    }

    /// The timer that may have ended what hangs or died.
    pub(super) fn that_ended(&self, life: &Life) -> Option<PeerTimer> {
        let destination = Destination::of(&life.connection, self.home);
        self.by_destination.get(&destination).copied().filter(|timer| timer.may_have_ended(life))
    }
}

impl PeerTimer {
    /// The timer of a peer that was learned.
    pub(crate) fn of(row: &PeerClosesRow) -> Self {
        Self { after: row.after_seconds, is_habit: row.confidence > Confidence::Guess }
    }

    /// Whether it was over before the first of what was not answered was sent, and before the limit that is known of the path.
    pub(crate) fn may_have_ended(self, life: &Life) -> bool {
        let limit = &life.connection.limit;
        let is_first = limit.idle_limit_from == LimitSource::Default
            || self.after < f64::from(limit.idle_limit_seconds);
        is_first && quiet_before_unanswered(life).is_some_and(|quiet| quiet >= ABOUT * self.after)
    }
}

/// Of what hangs, or was lost because nobody answered or a reset did: the quiet time before, seconds.
fn quiet_before_unanswered(life: &Life) -> Option<f64> {
    // Its FIN came.
    if life.connection.state.is_closed_by_peer() {
        return None;
    }
    let Some(end) = &life.end else { return quiet_before(life) };
    let is_it = match end.cause {
        Cause::IdleDrop
        | Cause::KeepaliveTimeout
        | Cause::KeepaliveReset
        | Cause::UserTimeout
        | Cause::RetransmitTimeout
        | Cause::Abandoned => true,
        Cause::PeerReset => life.connection.in_flight,
        _ => false,
    };
    let is_lost = matches!(life.finding(), Finding::Dropped | Finding::Dark | Finding::Failed);
    (is_it && is_lost && !life.is_unsent()).then(|| life.quiet_before_end_seconds())
}

impl Connection {
    /// Whether the peer had closed its half, and what is unanswered was sent to nobody.
    pub(super) fn is_closed_by_peer(&self) -> bool {
        self.peer_closed_seconds.is_some_and(|closed| self.silent_seconds + 0.1 >= closed)
    }
}

impl Neighbours {
    /// When the peer refused new connections, if it did within a minute after it ended those of a case, Unix time: its program had
    /// ended, and no timer of it closed them.
    pub(crate) fn refused_soon_after(&self, case: &ConnectionGroup) -> Option<f64> {
        const SOON_SECONDS: f64 = 60.0;
        let is_refused =
            |life: &&Life| life.end.as_ref().is_some_and(|it| refused_at(it).is_some());
        let ends = case.of(case.finding()).filter(|life| !is_refused(life));
        let ended = ends.filter_map(Life::closed_at);
        let ended = ended.min_by(f64::total_cmp)?;
        let soon = self.at(case)?.refused.iter().copied();
        soon.filter(|at| (ended - 1.0..=ended + SOON_SECONDS).contains(at)).min_by(f64::total_cmp)
    }
}

/// When a connection was refused, if it ended so.
pub(super) fn refused_at(end: &LifeEnd) -> Option<f64> {
    let is_it = end.cause == Cause::ConnectFailed && end.errno.as_deref() == Some("ECONNREFUSED");
    unix_seconds(&end.at).filter(|_| is_it)
}
