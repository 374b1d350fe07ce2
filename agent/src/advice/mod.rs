//! What to change so that a connection survives being quiet: which client or server a process is
//! most likely, and the line that sets keepalive there.
//!
//! [`clients`] is the data, with versions and sources; [`process_clues`] reads what a process shows of itself;
//! [`recognise`](mod@recognise) weighs that, and says which of it is a guess. [`remedy`](mod@remedy) puts the line
//! together, or falls back on the pod, the unit and the sysctl. A [`Proposal`] is checked against all that is known of
//! the path and of the socket.

pub(crate) mod clients;
mod go_build;
pub(crate) mod kept_clues;
mod known_files;
pub(crate) mod place;
pub(crate) mod process_clues;
pub(crate) mod recognise;
pub(crate) mod remedy;

use serde::Serialize;

/// The values to set: what a line is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Proposal {
    /// Silence before the first probe, seconds.
    #[serde(rename = "idle_seconds")]
    pub idle: u32,
    /// Silence between two probes, seconds.
    #[serde(rename = "interval_seconds")]
    pub interval: u32,
    /// Unanswered probes that end the connection.
    pub count: u32,
}

/// What a proposal must agree with: all that is known of a path and of the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Constraints {
    /// The limit in force, seconds.
    pub limit: u32,
    /// The longest quiet time that was survived, seconds.
    pub survived: Option<f64>,
    /// The shortest that killed.
    pub killed: Option<f64>,
    /// What the kernel uses now, if keepalive is on.
    pub now: Option<Proposal>,
}

impl Constraints {
    /// The quiet time that a probe must come well before, seconds; at least 1.
    fn must_stay_below(&self) -> u32 {
        let limit = f64::from(self.limit.max(1));
        // The path forgets somewhere between what was survived and what killed.
        let killed =
            self.killed.map(|killed| (killed / 2.0).max(self.survived.unwrap_or(0.0).min(killed)));
        let least = killed.map_or(limit, |killed| killed.min(limit));
        whole(least)
    }

    /// What was survived on a path that kills, seconds: more is a hope. A connection that was hardly ever quiet says
    /// nothing about the path.
    fn survived_near_the_limit(&self) -> Option<u32> {
        const NEAR: f64 = 8.0;
        let (survived, killed) = self.survived.zip(self.killed)?;
        (survived * NEAR >= killed).then(|| whole(survived.min(killed)))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a u32")]
const fn whole(seconds: f64) -> u32 {
    seconds.max(1.0) as u32
}

impl Proposal {
    /// Below every limit that is known of the large clouds, and a dead peer is noticed in 90 s.
    pub(crate) const USUAL: Self = Self { idle: 60, interval: 10, count: 3 };

    /// Values for a path: the first probe, and each one after it, at half the time that the path keeps a connection at
    /// the latest. No value is larger than the one in force, and a dead peer is noticed no later than now.
    pub(crate) fn fitting(known: &Constraints) -> Self {
        let most = known.survived_near_the_limit().unwrap_or(u32::MAX);
        let half = (known.must_stay_below() / 2).min(most);
        let mut fitting = Self::with_idle(half.clamp(1, Self::USUAL.idle));
        if let Some(now) = known.now {
            fitting.idle = fitting.idle.min(now.idle).max(1);
            fitting.interval = fitting.interval.min(now.interval).min(fitting.idle).max(1);
            if fitting.detection_seconds() > now.detection_seconds() {
                fitting.count = now.count.max(1);
            }
        }
        fitting
    }

    /// Values with this idle time.
    pub(crate) fn with_idle(idle: u32) -> Self {
        Self { idle, interval: Self::USUAL.interval.min(idle), count: Self::USUAL.count }
    }

    /// The same for a client that can set no idle time below `least` seconds.
    pub(crate) fn at_least(self, least: u32) -> Self {
        Self { idle: self.idle.max(least), ..self }
    }

    /// Silence until a dead peer is noticed, seconds.
    pub(crate) const fn detection_seconds(self) -> u32 {
        self.idle.saturating_add(self.interval.saturating_mul(self.count))
    }

    /// A line of the data with these values in its places.
    pub(crate) fn fill(self, line: &str) -> String {
        line.replace("{idle}", &self.idle.to_string())
            .replace("{interval}", &self.interval.to_string())
            .replace("{count}", &self.count.to_string())
            .replace("{retrans}", &self.count.saturating_sub(1).to_string())
            .replace("{idle_ms}", &format!("{}000", self.idle))
            .replace("{tenths}", &format!("{}0", self.idle))
            .replace("{minutes}", &(self.idle / 60).max(1).to_string())
            .replace("{timeout_ms}", &format!("{}000", self.detection_seconds()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::judgement::gap::with_slack;

    /// The longest silence that probes with these values leave, seconds.
    fn gap(proposal: Proposal) -> f64 {
        let ms = u64::from(proposal.idle.max(proposal.interval)) * 1000;
        let latest = [100, 250, 1000].map(|hz| with_slack(ms, hz)).into_iter().max().unwrap();
        f64::from(u32::try_from(latest).unwrap()) / 1000.0
    }

    #[test]
    fn what_is_proposed_lies_below_every_limit_that_a_timer_in_seconds_can_reach() {
        for limit in 2..=7440 {
            let proposal = Proposal::fitting(&Constraints { limit, ..Constraints::default() });
            assert!(gap(proposal) < f64::from(limit), "{limit}: {proposal:?}");
            assert!(
                proposal.interval <= proposal.idle && proposal.interval > 0,
                "{limit}: {proposal:?}"
            );
            assert!(proposal.idle <= 60 && proposal.count == 3, "{limit}: {proposal:?}");
        }
        let usual = Proposal::fitting(&Constraints { limit: 350, ..Constraints::default() });
        assert_eq!(usual, Proposal::USUAL);
    }

    #[test]
    fn what_is_proposed_agrees_with_all_that_is_known() {
        for limit in [2, 8, 45, 60, 240, 350, 3600, 7440] {
            for killed in [2.5, 6.2, 8.4, 13.0, 60.0, 65.3, 349.0, 5000.0] {
                for survived in [None, Some(1.0), Some(3.0), Some(30.0), Some(13.0), Some(9000.0)] {
                    for now in [
                        (7200, 75, 9),
                        (2, 1, 3),
                        (10, 60, 3),
                        (60, 1, 10),
                        (1, 1, 1),
                        (300, 100, 3),
                    ] {
                        let now = Proposal { idle: now.0, interval: now.1, count: now.2 };
                        let known =
                            Constraints { limit, survived, killed: Some(killed), now: Some(now) };
                        let it = Proposal::fitting(&known);
                        let most = f64::from(limit).min(killed);
                        assert!(gap(it) < most, "{known:?}: {it:?}");
                        assert!(
                            it.idle <= now.idle && it.interval <= now.interval,
                            "{known:?}: {it:?}"
                        );
                        assert!(
                            it.detection_seconds() <= now.detection_seconds(),
                            "{known:?}: {it:?}"
                        );
                        assert!(
                            it.idle > 0 && it.interval > 0 && it.count > 0,
                            "{known:?}: {it:?}"
                        );
                        if let Some(survived) =
                            survived.filter(|it| (killed / 2.0..killed).contains(it))
                        {
                            assert!(
                                f64::from(it.idle) <= (survived / 2.0).max(1.0),
                                "{known:?}: {it:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn no_more_is_proposed_than_was_survived_on_a_path_that_kills() {
        let known = |survived| Constraints {
            limit: 350,
            survived: Some(survived),
            killed: Some(74.0),
            now: None,
        };
        assert_eq!(Proposal::fitting(&known(13.0)).idle, 13);
        assert_eq!(Proposal::fitting(&known(30.0)).idle, 18);
        // It was never quiet for long.
        assert_eq!(Proposal::fitting(&known(2.0)).idle, 18);
    }

    #[test]
    fn a_path_that_killed_at_a_minute_and_kept_half_a_minute_gets_a_probe_each_quarter() {
        let known = Constraints { limit: 350, survived: Some(30.0), killed: Some(60.0), now: None };
        assert_eq!(Proposal::fitting(&known), Proposal { idle: 15, interval: 10, count: 3 });
        // A connection that was never quiet says nothing about the path.
        let busy = Constraints { survived: Some(0.5), killed: Some(300.0), ..known };
        assert_eq!(Proposal::fitting(&busy), Proposal::USUAL);
    }

    #[test]
    fn a_line_is_filled_with_the_values() {
        let line = Proposal::USUAL
            .fill("idle={idle} ms={idle_ms} {interval}x{count} t={timeout_ms} {minutes} {retrans}");
        assert_eq!(line, "idle=60 ms=60000 10x3 t=90000 1 2");
    }
}
