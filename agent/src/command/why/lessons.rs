//! What was learned that concerns a case: of its peer, and of the time of day at which its connections ended. Of a
//! peer's neighbours nothing is said here.

use crate::{
    command::timestamp::unix_seconds,
    kernel::host,
    model::{
        judgement::{
            learned::{CleanUpRow, LearnedRow, LimitRow, PeerClosesRow},
            learned_limit::Confidence,
        },
        observed::socket::Direction,
        text::duration::tenths,
    },
    view::{
        connection::ms,
        connection_group::ConnectionGroup,
        life::{Finding, Life},
        neighbours::{KilledHere, peer_timer::PeerTimers},
    },
};
use std::{collections::HashMap, net::SocketAddr};

/// A peer, as it is written, and the network namespace if that is not our own.
type LearnedOf<'a> = (&'a str, Option<u32>);

/// Everything that was learned, by what it concerns.
#[derive(Debug)]
pub(super) struct KnownLessons<'a> {
    own_netns: Option<u32>,
    limits: HashMap<LearnedOf<'a>, &'a LimitRow>,
    closes: HashMap<LearnedOf<'a>, &'a PeerClosesRow>,
    clean_ups: Vec<&'a CleanUpRow>,
    pub(super) timers: PeerTimers,
}

impl<'a> KnownLessons<'a> {
    pub(super) fn of(learned: &'a [LearnedRow]) -> Self {
        let mut known = Self {
            own_netns: host::own_netns(),
            limits: HashMap::new(),
            closes: HashMap::new(),
            clean_ups: Vec::new(),
            timers: PeerTimers::of(learned, host::own_netns()),
        };
        for row in learned {
            match row {
                LearnedRow::PathLimit(row) => {
                    known.limits.insert((row.remote.as_str(), row.netns), row);
                }
                LearnedRow::PeerCloses(row) => {
                    known.closes.insert((row.remote.as_str(), row.netns), row);
                }
                LearnedRow::CleanUp(row) => known.clean_ups.push(row),
            }
        }
        known
    }

    /// Whether this is a network namespace other than this command's.
    pub(super) fn is_foreign(&self, netns: u32) -> bool {
        self.own_netns.is_some_and(|own| own != netns)
    }
}

/// What concerns one case.
#[derive(Debug, Default)]
pub(super) struct Lessons {
    pub(super) limit: Option<LimitRow>,
    pub(super) closes: Option<PeerClosesRow>,
    pub(super) clean_up: Option<CleanUpRow>,
}

impl Lessons {
    /// `killed`: the shortest quiet time that killed one that the answer shows.
    pub(super) fn of(
        case: &ConnectionGroup,
        known: &KnownLessons<'_>,
        killed: Option<&KilledHere>,
    ) -> Self {
        let Some(example) = case.example() else {
            return Self::default();
        };
        let connection = &example.connection;
        let addr = connection.remote.ip().to_canonical();
        let peer = match connection.direction() {
            Direction::Outbound => SocketAddr::new(addr, connection.remote.port()).to_string(),
            Direction::Inbound => addr.to_string(),
        };
        let netns = known.is_foreign(connection.netns).then_some(connection.netns);
        let destination: LearnedOf<'_> = (&peer, netns);
        let is_of_it = |row: &&&CleanUpRow| row.netns == netns && ended_with(case, row);
        Self {
            limit: known.limits.get(&destination).map(|&row| {
                let is_outage_ruled_out = case.is_outage_ruled_out();
                with_shown_death(&beside_answers(row, is_outage_ruled_out), killed)
            }),
            closes: known.closes.get(&destination).map(|&row| row.clone()),
            clean_up: known.clean_ups.iter().rfind(is_of_it).map(|&row| row.clone()),
        }
    }
}

/// A limit as it was learned, where the answer shows that others were answered meanwhile: no outage explains it, then.
fn beside_answers(row: &LimitRow, is_outage_ruled_out: bool) -> LimitRow {
    let mut row = row.clone();
    if row.confidence == Confidence::Guess && is_outage_ruled_out {
        row.meaning = row.in_words(true);
    }
    row
}

/// A limit as it was learned, with a death that the same answer shows: what was learned may be older, or have left it out.
fn with_shown_death(row: &LimitRow, killed: Option<&KilledHere>) -> LimitRow {
    /// What is rounded to the same second is no other evidence.
    const SAME_SECONDS: f64 = 1.0;
    let mut row = row.clone();
    let is_news = |it: &&KilledHere| it.quiet + SAME_SECONDS < row.shortest_killed_seconds;
    let Some(KilledHere { quiet: killed, death }) = killed.filter(is_news) else {
        return row;
    };
    let killed = *killed;
    let shown = tenths(ms(killed));
    row.meaning = match row.longest_survived_seconds {
        Some(survived) if survived < killed => format!(
            "between {} and {shown} with {death}; learned without it: {}",
            tenths(ms(survived)),
            row.meaning
        ),
        Some(survived) => format!(
            "{}; but {death} came after {shown} of quiet, and others went on after {}: no limit explains both",
            row.meaning,
            tenths(ms(survived)),
        ),
        None => {
            format!("at {shown} or before with {death}; learned without it: {}", row.meaning)
        }
    };
    row.shortest_killed_seconds = killed;
    row
}

/// Whether connections of a case were lost at that time of day.
fn ended_with(case: &ConnectionGroup, clean_up: &CleanUpRow) -> bool {
    let finding = case.finding();
    let is_loss = matches!(finding, Finding::Dropped | Finding::Dark | Finding::Failed);
    is_loss && case.of(finding).any(|life| was_lost_at(life, clean_up.time.unix_seconds))
}

/// Whether it was lost at the time of day of this moment, as far as that is known.
fn was_lost_at(life: &Life, moment: f64) -> bool {
    const DAY: f64 = 86_400.0;
    const ABOUT: f64 = 90.0;
    let Some(end) = life.end.as_ref().and_then(|end| unix_seconds(&end.at)) else {
        return false;
    };
    // It may have been lost at any moment since its last packet. In a day every time of day comes once.
    let last_packet = life.end.as_ref().and_then(|end| unix_seconds(end.last_packet_at.as_ref()?));
    let since = last_packet.filter(|last| end - last < DAY / 2.0).unwrap_or(end);
    (moment - since + ABOUT).rem_euclid(DAY) <= end - since + 2.0 * ABOUT
}

#[cfg(test)]
pub(super) mod tests_support {
    use super::LimitRow;
    use crate::model::judgement::learned::tests_support::limit_row;

    /// A limit that two deaths on two occasions taught, the shorter after 70.4 s of quiet.
    pub(in crate::command::why) fn learned_limit(
        longest_survived_seconds: Option<f64>,
    ) -> LimitRow {
        LimitRow {
            remote: "172.16.0.15:2717".to_owned(),
            longest_survived_seconds,
            shortest_killed_seconds: 70.4,
            deaths: 2,
            occasions: 2,
            idle_limit_seconds: 70,
            meaning: "quiet connections are dropped between 30 s and 1 min 10 s".to_owned(),
            ..limit_row()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{tests_support::learned_limit, *};
    use crate::{
        model::text::wall_time::WallTime,
        view::{
            connection_group::cases,
            life::tests_support::{RESET, app, dead, live},
        },
    };

    fn clean_up(at: &str) -> LearnedRow {
        let unix_seconds = unix_seconds(at).unwrap();
        LearnedRow::CleanUp(CleanUpRow {
            netns: host::own_netns().map(|_| app(1, None, 0).netns),
            time: WallTime { unix_seconds, ..WallTime::default() },
            time_of_day: "03:04".to_owned(),
            days: 2,
            connections: 8,
            peers: Vec::new(),
            process: None,
            confidence: Confidence::Likely,
            meaning: "together".to_owned(),
        })
    }

    fn is_one(lives: Vec<Life>, at: &str) -> bool {
        let learned = [clean_up(at)];
        Lessons::of(&cases(lives)[0], &KnownLessons::of(&learned), None).clean_up.is_some()
    }

    #[test]
    fn what_was_lost_at_the_time_of_day_of_a_clean_up_is_told_so_and_other_ends_are_not() {
        // It ended at 03:04:05 of another day.
        let lost = |quiet_ms| vec![dead(&app(1, None, quiet_ms), RESET)];
        assert!(is_one(lost(30_000), "2026-02-07T03:04:00Z"));
        assert!(!is_one(lost(30_000), "2026-02-07T09:00:00Z"));
        // It had been quiet since 02:04.
        assert!(is_one(lost(3_600_000), "2026-02-07T02:30:00Z"));
        assert!(!is_one(lost(3_600_000), "2026-02-07T01:30:00Z"));
        assert!(!is_one(vec![live(&app(1, None, 0))], "2026-02-07T03:04:00Z"));
    }

    #[test]
    fn a_death_that_is_shown_is_in_the_limit_beside_it() {
        let said = |survived, killed: Option<f64>| {
            let death = "the death that is shown here".to_owned();
            let killed = killed.map(|quiet| KilledHere { quiet, death });
            with_shown_death(&learned_limit(survived), killed.as_ref())
        };
        let with = said(Some(30.0), Some(53.0));
        assert!(with.meaning.starts_with("between 30 s and 53 s with the death"), "{with:?}");
        assert_eq!(with.shortest_killed_seconds.to_string(), "53");
        assert!(said(None, Some(53.0)).meaning.starts_with("at 53 s or before"));
        assert!(said(Some(60.0), Some(53.0)).meaning.contains("no limit explains both"));
        // What was learned has it already, or nothing was killed here.
        for killed in [Some(70.0), Some(400.0), None] {
            assert_eq!(said(Some(30.0), killed), learned_limit(Some(30.0)));
        }
    }
}
