//! What another idle time would have changed: which deaths it would have prevented, which it would have
//! noticed sooner.

use super::{
    connection::{KeepaliveSettings, ms},
    life::{Life, LifeEnd},
};
use crate::model::{
    judgement::{
        death::{Cause, MIDDLEBOX_MS},
        verdict::Verdict,
    },
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
    /// This host closed them after a quiet time and got no answer: if the path had forgotten them, probes would have kept them
    /// until then; if the peer was gone, that would have been noticed sooner.
    pub kept_or_noticed: usize,
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
    /// It ended because this host closed it: one of the two, and nobody knows which.
    KeptOrNoticed,
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
    /// The path forgot them before their first probe, as others show.
    pub is_probed_too_late: bool,
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
            Cause::Abandoned => self.abandoned(life, end),
            Cause::KeepaliveReset => match connection.verdict {
                // The path was not the one that forgot.
                Some(Verdict::Protected) => Instead::NoticedSooner,
                _ => self.kept(connection.silent_seconds, connection.limit.idle_limit_seconds),
            },
            // Its probe came too late.
            Cause::KeepaliveTimeout if end.forgotten || self.is_probed_too_late => {
                self.kept(life.quiet_before_end_seconds(), connection.limit.idle_limit_seconds)
            }
            Cause::KeepaliveTimeout if f64::from(self.detection) < connection.silent_seconds => {
                Instead::NoticedSooner
            }
            Cause::RetransmitTimeout => Instead::NeedsUserTimeout,
            _ => Instead::Unchanged,
        })
    }

    /// Somebody closed it, whatever had become of the path by then: what counts is whether probes would have kept it until then.
    fn abandoned(&self, life: &Life, end: &LifeEnd) -> Instead {
        let connection = &life.connection;
        let quiet = life.quiet_before_end_seconds();
        // Of a peer that others lost, too, no probe would have got an answer.
        let is_outage = end.others_silent.is_some_and(|n| n > 0);
        let may_be_forgotten = !is_outage && quiet >= f64::from(MIDDLEBOX_MS) / 1000.0;
        if end.forgotten || may_be_forgotten {
            return match self.kept(quiet, connection.limit.idle_limit_seconds) {
                Instead::Prevented if !end.forgotten => Instead::KeptOrNoticed,
                instead => instead,
            };
        }
        // Known only where no data was in flight, for which keepalive waits.
        let closed_after = end.closed_after_seconds;
        if closed_after.is_some_and(|closed_after| f64::from(self.detection) < closed_after) {
            Instead::NoticedSooner
        } else {
            Instead::Unchanged
        }
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
                Instead::KeptOrNoticed => &mut counts.kept_or_noticed,
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
        model::observed::{ending::Ending, socket::State},
        view::life::tests_support::{
            CLOSED_UNANSWERED, GAVE_UP, RESET, app, dead, died_from, live,
        },
    };

    const USUAL: Setting =
        Setting { idle: 60, detection: 90, limit: None, is_probed_too_late: false };

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
        // Others show that the path had forgotten it before its first probe.
        let forgotten = Setting { is_probed_too_late: true, ..USUAL };
        assert_eq!(forgotten.instead(&late), Some(Instead::Prevented));
        let in_time = dead(&app(1, Some(60), 90_000), GAVE_UP);
        assert_eq!(USUAL.instead(&in_time), Some(Instead::Unchanged));
    }

    #[test]
    fn what_this_host_closed_would_have_been_kept_until_then_if_the_path_forgot_it() {
        let closed_after = |quiet_ms: u32| {
            let socket = app(1, None, quiet_ms + 100_000);
            Life::dead(died_from(&socket, State::FinWait1, CLOSED_UNANSWERED)).unwrap()
        };
        let instead = |life: &Life| Setting { idle: 15, detection: 45, ..USUAL }.instead(life);
        // Idle for 70 s when its program was killed, as where the path forgets after 30 s.
        let killed = closed_after(70_000);
        assert_eq!(killed.end.as_ref().unwrap().cause, Cause::Abandoned);
        assert_eq!(instead(&killed), Some(Instead::KeptOrNoticed));
        let mut known = killed.clone();
        known.end.as_mut().unwrap().forgotten = true;
        assert_eq!(instead(&known), Some(Instead::Prevented));
        // Others that had been busy fell silent with it: no probe would have been answered.
        let mut outage = killed.clone();
        outage.end.as_mut().unwrap().others_silent = Some(3);
        assert_eq!(instead(&outage), Some(Instead::NoticedSooner));
        // In use until it was closed; and probed as early as that already.
        assert_eq!(instead(&closed_after(4_000)), Some(Instead::Unchanged));
        let mut probed = killed;
        probed.connection.settings.keepalive = true;
        (probed.connection.settings.idle.seconds, probed.connection.settings.interval.seconds) =
            (15, 10);
        assert_eq!(instead(&probed), Some(Instead::Unchanged));
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
