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

use crate::model::{judgement::learned::LimitRow, observed::setting::OwnValues};
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
    /// What the program set: none of its times is raised, and its user timeout has to leave room for a second probe.
    pub own: OwnValues,
    /// The longest pause between packets that come again and again by themselves, seconds: where nothing longer was survived,
    /// nobody has seen that the path keeps more.
    pub pause: Option<u32>,
}

impl Constraints {
    /// Adds what was learned of the path, however sure it is: a shorter time is safe to obey.
    pub(crate) fn with_learned(&mut self, learned: &LimitRow) {
        self.with_seen(learned.longest_survived_seconds, Some(learned.shortest_killed_seconds));
    }

    /// Adds quiet times that were survived, and that killed.
    pub(crate) fn with_seen(&mut self, survived: Option<f64>, killed: Option<f64>) {
        self.killed = self.killed.into_iter().chain(killed).min_by(f64::total_cmp);
        self.survived = self.survived.into_iter().chain(survived).max_by(f64::total_cmp);
    }

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

/// The smallest of these, at least 1.
fn smallest(value: u32, others: impl IntoIterator<Item = Option<u32>>) -> u32 {
    others.into_iter().flatten().fold(value, u32::min).max(1)
}

impl Proposal {
    /// Below every limit that is known of the large clouds, and a dead peer is noticed in 90 s.
    pub(crate) const USUAL: Self = Self { idle: 60, interval: 10, count: 3 };

    /// Values for a connection, whoever proposes them. The first probe, and each one after it, goes out at half the time that
    /// the path keeps a connection at the latest. No value is larger than the one in force or than what the program set, a
    /// dead peer is noticed no later than now, and no single lost probe ends a healthy connection, as far as the user
    /// timeout allows that.
    pub(crate) fn fitting(known: &Constraints) -> Self {
        let Constraints { now, own, .. } = *known;
        let is_longest =
            |pause: &u32| known.survived.is_none_or(|survived| survived < f64::from(*pause));
        let pause = known.pause.filter(is_longest);
        let is_set = |value: u32| (value > 0).then_some(value);
        let most = known.survived_near_the_limit();
        let half = known.must_stay_below() / 2;
        let idle = [most, pause, is_set(own.idle), now.map(|now| now.idle)];
        let mut fitting = Self::with_idle(smallest(half.min(Self::USUAL.idle), idle));
        let interval = [Some(fitting.idle), is_set(own.interval), now.map(|now| now.interval)];
        fitting.interval = smallest(fitting.interval, interval);
        fitting.count = is_set(own.count).unwrap_or(fitting.count);
        if let Some(now) = now
            && fitting.detection_seconds() > now.detection_seconds()
        {
            fitting.count = now.count.max(1);
        }
        fitting.within(own.user_timeout_ms)
    }

    /// The same with a second probe well before a user timeout: with that the kernel ends the connection at the first fire of
    /// its timer past the timeout, if one probe is unanswered (`tcp_keepalive_timer` in net/ipv4/tcp_timer.c).
    fn within(self, user_timeout_ms: u32) -> Self {
        let third = (user_timeout_ms > 0).then_some(user_timeout_ms / 3000);
        Self {
            idle: smallest(self.idle, [third]),
            interval: smallest(self.interval, [third]),
            ..self
        }
    }

    /// Whether a user timeout ends a connection with these values before a second probe goes out.
    pub(crate) fn is_cut_short_by(self, user_timeout_ms: u32) -> bool {
        let second_probe_ms = (u64::from(self.idle) + u64::from(self.interval)) * 1000;
        user_timeout_ms > 0 && u64::from(user_timeout_ms) <= second_probe_ms
    }

    /// Values with this idle time.
    pub(crate) fn with_idle(idle: u32) -> Self {
        Self { idle, interval: Self::USUAL.interval.min(idle), count: Self::USUAL.count }
    }

    /// The same for a client that can set no idle time below `least` seconds.
    pub(crate) fn at_least(self, least: u32) -> Self {
        Self { idle: self.idle.max(least), ..self }
    }

    /// Silence until a dead peer is noticed, seconds, without a user timeout.
    pub(crate) const fn detection_seconds(self) -> u32 {
        self.idle.saturating_add(self.interval.saturating_mul(self.count))
    }

    /// The same with a user timeout, which takes the place of the count; 0 is unset.
    pub(crate) fn noticed_after_seconds(self, user_timeout_ms: u32) -> u32 {
        if user_timeout_ms == 0 {
            return self.detection_seconds();
        }
        let rest = user_timeout_ms.div_ceil(1000).saturating_sub(self.idle);
        let rounds = rest.div_ceil(self.interval.max(1)).max(1);
        self.idle.saturating_add(self.interval.saturating_mul(rounds))
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
    use crate::model::observed::probe_timing::{fires_by_ms, timer_wheel::with_slack};

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
                        let known = Constraints {
                            limit,
                            survived,
                            killed: Some(killed),
                            now: Some(now),
                            ..Constraints::default()
                        };
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
            ..Constraints::default()
        };
        assert_eq!(Proposal::fitting(&known(13.0)).idle, 13);
        assert_eq!(Proposal::fitting(&known(30.0)).idle, 18);
        // It was never quiet for long.
        assert_eq!(Proposal::fitting(&known(2.0)).idle, 18);
    }

    #[test]
    fn a_path_that_killed_at_a_minute_and_kept_half_a_minute_gets_a_probe_each_quarter() {
        let known = Constraints {
            limit: 350,
            survived: Some(30.0),
            killed: Some(60.0),
            ..Constraints::default()
        };
        assert_eq!(Proposal::fitting(&known), Proposal { idle: 15, interval: 10, count: 3 });
        // A connection that was never quiet says nothing about the path.
        let busy = Constraints { survived: Some(0.5), killed: Some(300.0), ..known };
        assert_eq!(Proposal::fitting(&busy), Proposal::USUAL);
    }

    #[test]
    fn a_user_timeout_leaves_room_for_a_second_probe_beside_whatever_else_is_known() {
        for user_timeout_ms in [3_000, 5_500, 9_000, 20_000, 30_000, 100_000, 900_000] {
            for limit in [4, 20, 45, 350, 7440] {
                for killed in [None, Some(11.0), Some(38.4), Some(400.0)] {
                    for (idle, interval, count) in [(0, 0, 0), (9, 9, 3), (2, 0, 0), (0, 1, 1)] {
                        let own =
                            OwnValues { keepalive: true, idle, interval, count, user_timeout_ms };
                        for now in [None, Some(Proposal { idle: 7200, interval: 75, count: 9 })] {
                            let known =
                                Constraints { limit, killed, now, own, ..Constraints::default() };
                            let it = Proposal::fitting(&known);
                            assert!(!it.is_cut_short_by(user_timeout_ms), "{known:?}: {it:?}");
                            // The wheel's lateness counts, too.
                            let second = fires_by_ms(u64::from(it.idle) * 1000) - 1000
                                + fires_by_ms(u64::from(it.interval) * 1000)
                                - 1000;
                            assert!(second < user_timeout_ms.into(), "{known:?}: {it:?}");
                        }
                    }
                }
            }
        }
        // The look-alike: a user timeout that is far longer changes nothing; none at all neither.
        let own = |user_timeout_ms| OwnValues { user_timeout_ms, ..OwnValues::default() };
        let fitting = |user_timeout_ms| {
            let own = own(user_timeout_ms);
            Proposal::fitting(&Constraints { limit: 350, own, ..Constraints::default() })
        };
        assert_eq!((fitting(0), fitting(180_000)), (Proposal::USUAL, Proposal::USUAL));
        assert_eq!(fitting(9_000), Proposal { idle: 3, interval: 3, count: 3 });
        // Too short for two probes in whole seconds: that is said.
        assert!(fitting(2_000).is_cut_short_by(2_000));
        assert!(Proposal { idle: 9, interval: 9, count: 3 }.is_cut_short_by(9_000));
    }

    #[test]
    fn with_a_user_timeout_a_dead_peer_is_noticed_by_that_whatever_the_count() {
        let it = Proposal { idle: 3, interval: 3, count: 9 };
        assert_eq!(it.noticed_after_seconds(0), 30);
        assert_eq!(it.noticed_after_seconds(9_000), 9);
        assert_eq!(it.noticed_after_seconds(9_500), 12);
        // One probe has to go unanswered in any case.
        assert_eq!(it.noticed_after_seconds(500), 6);
    }

    #[test]
    fn nothing_that_the_program_set_is_raised_and_no_pause_is_longer_than_what_was_seen() {
        let own = OwnValues { idle: 15, interval: 4, count: 9, ..OwnValues::default() };
        let known = Constraints { limit: 350, own, ..Constraints::default() };
        assert_eq!(Proposal::fitting(&known), Proposal { idle: 15, interval: 4, count: 9 });
        let pinged = Constraints { limit: 350, pause: Some(16), ..Constraints::default() };
        assert_eq!(Proposal::fitting(&pinged), Proposal { idle: 16, interval: 10, count: 3 });
        // Something longer is known to be kept.
        let kept = Constraints { survived: Some(20.0), killed: Some(69.0), ..pinged };
        assert_eq!(Proposal::fitting(&kept).idle, 17);
        assert_eq!(Proposal::fitting(&Constraints { survived: Some(8.0), ..kept }).idle, 16);
    }

    #[test]
    fn a_line_is_filled_with_the_values() {
        let line = Proposal::USUAL
            .fill("idle={idle} ms={idle_ms} {interval}x{count} t={timeout_ms} {minutes} {retrans}");
        assert_eq!(line, "idle=60 ms=60000 10x3 t=90000 1 2");
    }
}
