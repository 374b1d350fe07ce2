//! What is known of a connection and of its path when values are proposed for it: the same for `fix` and for `why`.

use crate::{
    advice::{Constraints, Proposal},
    model::{
        judgement::{
            destination::Destination,
            learned::{LearnedRow, LimitRow},
            learned_limit::Confidence,
            limit_source::LimitSource,
        },
        text::duration::{duration, tenths},
    },
    view::{
        connection::{Connection, ms},
        neighbours::{
            Neighbours,
            path_evidence::{KilledAfter, PathEvidence},
            peer_timer::PeerTimers,
        },
    },
};
use std::collections::HashMap;

/// Idle limits as they were learned, by destination.
#[derive(Debug, Default)]
pub(crate) struct LearnedPaths {
    by_destination: HashMap<Destination, LimitRow>,
    /// The peers' own idle timers.
    pub(crate) timers: PeerTimers,
    /// The network namespace that destinations without one are in.
    home: Option<u32>,
}

impl LearnedPaths {
    /// `home`: the network namespace of those who learned them.
    pub(crate) fn new(rows: Vec<LearnedRow>, home: Option<u32>) -> Self {
        let timers = PeerTimers::of(&rows, home);
        let limits = rows.into_iter().filter_map(|row| match row {
            LearnedRow::PathLimit(row) => {
                let destination: Destination = row.remote.parse().ok()?;
                Some((destination.in_netns(row.netns), row))
            }
            _ => None,
        });
        Self { by_destination: limits.collect(), timers, home }
    }

    /// What was learned of the path of a connection.
    pub(crate) fn of(&self, connection: &Connection) -> Option<&LimitRow> {
        self.by_destination.get(&Destination::of(connection, self.home))
    }
}

/// All that is known of paths: what was learned of them, and what the connections there show now.
#[derive(Debug, Default)]
pub(crate) struct KnownPaths {
    /// Idle limits as they were learned.
    pub(crate) learned: LearnedPaths,
    /// The connections there, and those that died.
    pub(crate) neighbours: Neighbours,
}

impl KnownPaths {
    /// A quiet time that killed others, and that the probes of a connection leave although the limit in force is longer.
    pub(crate) fn killed_sooner(&self, connection: &Connection) -> Option<KilledAfter> {
        self.neighbours.killed_sooner(connection, self.learned.of(connection))
    }
}

/// What a proposal for a connection must agree with. `evidence`: what others there show.
pub(crate) fn constraints(
    connection: &Connection,
    learned: Option<&LimitRow>,
    evidence: &PathEvidence,
) -> Constraints {
    let settings = &connection.settings;
    let now = Proposal {
        idle: settings.idle.seconds,
        interval: settings.interval.seconds,
        count: settings.count.probes,
    };
    let mut known = Constraints {
        limit: limit_in_force(connection, learned),
        survived: None,
        killed: None,
        now: Some(now).filter(|_| settings.keepalive),
        own: settings.own(),
        pause: pause_of_pings(connection),
    };
    if let Some(learned) = learned {
        known.with_learned(learned);
    }
    known.with_seen(evidence.survived, evidence.killed.as_ref().map(|killed| killed.quiet));
    known
}

/// The limit in force on the path of a connection, seconds; of one that died before a limit was sure, the one that is now.
pub(crate) fn limit_in_force(connection: &Connection, learned: Option<&LimitRow>) -> u32 {
    let applied = &connection.limit;
    let sure = learned.filter(|it| it.confidence == Confidence::Sure);
    match (&applied.idle_limit_from, sure) {
        (LimitSource::Default | LimitSource::Learned, Some(sure)) => sure.idle_limit_seconds,
        _ => applied.idle_limit_seconds,
    }
}

/// The longest time between two packets of a connection that something kept alive for long, if it is short.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "less than a minute")]
fn pause_of_pings(connection: &Connection) -> Option<u32> {
    let longest = connection.longest_quiet_seconds;
    let is_rhythm = (5.0..60.0).contains(&longest) && connection.watched_seconds >= 4.0 * longest;
    is_rhythm.then_some(longest.round() as u32)
}

/// What the first probe of a proposal has to come before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueOrigin {
    /// The end of the user timeout, with room for a second probe.
    UserTimeout,
    /// A quiet time that killed connections to that peer.
    Experience,
    /// The longest pause that was seen while something kept the connection busy.
    Pause,
    /// The limit in force.
    Limit,
}

impl ValueOrigin {
    /// What makes the proposal that fits to `known` as short as it is.
    pub(crate) fn of(known: &Constraints) -> Self {
        let idle = Proposal::fitting(known).idle;
        let is_longer_without = |change: &dyn Fn(&mut Constraints)| {
            let mut other = *known;
            change(&mut other);
            Proposal::fitting(&other).idle > idle
        };
        if is_longer_without(&|known| known.own.user_timeout_ms = 0) {
            Self::UserTimeout
        } else if is_longer_without(&|known| (known.survived, known.killed) = (None, None)) {
            Self::Experience
        } else if is_longer_without(&|known| known.pause = None) {
            Self::Pause
        } else {
            Self::Limit
        }
    }

    /// The same in words, after "follow".
    pub(crate) fn in_words(
        self,
        connection: &Connection,
        known: &Constraints,
        learned: Option<&LimitRow>,
        evidence: &PathEvidence,
    ) -> String {
        let limit = &connection.limit;
        match (self, learned, known.killed) {
            (Self::UserTimeout, ..) => format!(
                "the user timeout of {}: a second probe has to come well before it",
                tenths(known.own.user_timeout_ms)
            ),
            (Self::Experience, Some(learned), Some(killed))
                if learned.shortest_killed_seconds <= killed =>
            {
                format!("what was learned of {}: {}", learned.remote, learned.meaning)
            }
            (Self::Experience, _, Some(killed)) => match &evidence.killed {
                Some(killed) => format!("what was seen: {}", killed.shown_by),
                None => {
                    format!("what got no answer any more after {} of quiet", tenths(ms(killed)))
                }
            },
            (Self::Pause, ..) => format!(
                "what was seen: never quiet for more than {} in the {} that it was watched",
                duration(known.pause.unwrap_or_default()),
                duration(ms(connection.watched_seconds) / 1000),
            ),
            _ => format!("the limit of {} ({})", limit.in_words(), limit.idle_limit_from),
        }
    }
}
