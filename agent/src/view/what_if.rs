//! What another idle time would have changed: which deaths it would have prevented, which it would have
//! noticed sooner.

use super::{
    connection::{KeepaliveSettings, ms},
    life::Life,
};
use crate::model::{
    judgement::{death::Cause, verdict::Verdict},
    observed::probe_timing::fires_by_ms,
};
use serde::Serialize;

/// The counts, over all deaths of a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct WhatIf {
    /// Deaths that are judged: all but orderly ends.
    pub deaths: usize,
    /// Probes would have kept the path from forgetting them.
    pub prevented: usize,
    /// They would have died all the same, and would have been noticed sooner.
    pub noticed_sooner: usize,
    /// Data was in flight: keepalive waits then, only a user timeout is sooner.
    pub needs_user_timeout: usize,
    /// Nothing would have changed.
    pub unchanged: usize,
    /// What killed them is not known.
    pub unknown: usize,
}

/// What would have become of one death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instead {
    /// Probes would have kept the connection alive.
    Prevented,
    /// It would have been noticed sooner.
    NoticedSooner,
    /// Keepalive has no say while data is in flight.
    NeedsUserTimeout,
    /// It would have died as it did.
    Unchanged,
    /// It is not known what killed it.
    Unknown,
}

/// Keepalive settings that are tried in thought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Setting {
    /// The first probe, seconds.
    pub idle: u32,
    /// Silence until the kernel gives up, seconds.
    pub detection: u32,
    /// A quiet time that this path is known to let pass, seconds.
    pub limit: Option<f64>,
}

impl Setting {
    /// What would have become of `life`; none if it lives, or ended as somebody wanted.
    pub(crate) fn instead(&self, life: &Life) -> Option<Instead> {
        let end = life.end.as_ref()?;
        let connection = &life.connection;
        // Of both settings the longer of idle and interval counts; the proposal's interval is not the longer one.
        let KeepaliveSettings { keepalive, idle, interval, .. } = connection.settings;
        let before = keepalive.then_some(f64::from(idle.seconds.max(interval.seconds)));
        let is_earlier = before.is_none_or(|before| f64::from(self.idle) < before);
        Some(match end.cause {
            cause if cause.is_orderly() => return None,
            Cause::LocalReset => return None,
            Cause::Unknown => Instead::Unknown,
            _ if !is_earlier => match end.cause {
                Cause::RetransmitTimeout => Instead::NeedsUserTimeout,
                _ => Instead::Unchanged,
            },
            Cause::IdleDrop => {
                self.kept(connection.quiet_seconds, connection.limit.idle_limit_seconds)
            }
            Cause::Abandoned if end.forgotten => {
                self.kept(connection.quiet_seconds, connection.limit.idle_limit_seconds)
            }
            Cause::KeepaliveReset => match connection.verdict {
                // The path was not the one that forgot.
                Some(Verdict::Protected) => Instead::NoticedSooner,
                _ => self.kept(connection.silent_seconds, connection.limit.idle_limit_seconds),
            },
            // Its probe came too late.
            Cause::KeepaliveTimeout if end.forgotten => {
                self.kept(life.quiet_before_end_seconds(), connection.limit.idle_limit_seconds)
            }
            Cause::KeepaliveTimeout if f64::from(self.detection) < connection.silent_seconds => {
                Instead::NoticedSooner
            }
            Cause::RetransmitTimeout => Instead::NeedsUserTimeout,
            _ => Instead::Unchanged,
        })
    }

    /// What killed it, killed it after `quiet` seconds at most: is a probe in time before that, also if
    /// the kernel's timer is late?
    fn kept(&self, quiet: f64, configured: u32) -> Instead {
        let forgotten_after = self.limit.unwrap_or_else(|| f64::from(configured)).min(quiet);
        if fires_by_ms(u64::from(self.idle) * 1000) < ms(forgotten_after) {
            Instead::Prevented
        } else if f64::from(self.idle) < quiet {
            Instead::NoticedSooner
        } else {
            Instead::Unchanged
        }
    }
}

impl WhatIf {
    /// The counts over `lives`.
    pub(crate) fn of<'a>(lives: impl IntoIterator<Item = &'a Life>, setting: &Setting) -> Self {
        let mut counts = Self::default();
        for instead in lives.into_iter().filter_map(|life| setting.instead(life)) {
            counts.deaths += 1;
            *match instead {
                Instead::Prevented => &mut counts.prevented,
                Instead::NoticedSooner => &mut counts.noticed_sooner,
                Instead::NeedsUserTimeout => &mut counts.needs_user_timeout,
                Instead::Unchanged => &mut counts.unchanged,
                Instead::Unknown => &mut counts.unknown,
            } += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observed::ending::Ending,
        view::life::tests_support::{GAVE_UP, RESET, app, dead, live},
    };

    const USUAL: Setting = Setting { idle: 60, detection: 90, limit: None };

    #[test]
    fn a_probe_before_the_limit_would_have_kept_what_was_dropped() {
        let dropped = dead(&app(1, None, 400_000), RESET);
        assert_eq!(USUAL.instead(&dropped), Some(Instead::Prevented));
        // It was forgotten within 20 s: 60 s are too late for that.
        let soon = dead(&app(1, None, 20_000), RESET);
        assert_eq!(USUAL.instead(&soon), Some(Instead::Unchanged));
        // Learned: the path forgets after 50 s, so a probe after 60 s only tells.
        let learned = Setting { limit: Some(50.0), ..USUAL };
        assert_eq!(learned.instead(&dropped), Some(Instead::NoticedSooner));
    }

    #[test]
    fn a_dark_peer_is_not_brought_back_but_noticed_sooner() {
        let late = dead(&app(1, Some(7200), 7_875_000), GAVE_UP);
        assert_eq!(USUAL.instead(&late), Some(Instead::NoticedSooner));
        let in_time = dead(&app(1, Some(60), 90_000), GAVE_UP);
        assert_eq!(USUAL.instead(&in_time), Some(Instead::Unchanged));
    }

    #[test]
    fn data_in_flight_is_not_keepalives_business() {
        let in_flight = Ending { errno: 110, retransmits: 15, ..RESET };
        let life = dead(&app(1, None, 1_000), in_flight);
        assert_eq!(life.end.as_ref().unwrap().cause, Cause::RetransmitTimeout);
        assert_eq!(USUAL.instead(&life), Some(Instead::NeedsUserTimeout));
    }

    #[test]
    fn the_living_are_not_counted() {
        let lives = [live(&app(1, None, 0)), dead(&app(2, None, 400_000), RESET)];
        let counts = WhatIf::of(&lives, &USUAL);
        assert_eq!((counts.deaths, counts.prevented), (1, 1));
    }
}
