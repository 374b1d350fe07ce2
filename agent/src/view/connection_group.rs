//! A case: the connections of one process with one peer under one setting and one verdict. Connections that are alike are reported once.

use super::{
    connection::KeepaliveSettings,
    life::{Finding, InWindow, Life, LifeEnd},
    what_if::{Setting, WhatIf},
};
use crate::model::{
    judgement::{
        death::{Cause, Certainty},
        gap::GapFrom,
        verdict::Verdict,
    },
    observed::{
        setsockopt::SockOpt,
        setting::{OwnValues, SettingOrigin},
        socket::{Direction, SocketKind},
    },
};
use jiff::Timestamp;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

/// The other side of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// The address and port that we connected to.
    Server(SocketAddr),
    /// They connected to this port of ours.
    ClientsOf(u16),
}

/// What the connections of a case have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct GroupKey {
    /// The server, or the clients of a port.
    pub peer: Peer,
    /// The network namespace of this host's end: an address is another peer in another one.
    pub netns: u32,
    /// The name of the process, if it is known.
    pub process: Option<String>,
    /// What it is part of, as it is shown.
    pub part_of: Option<String>,
    /// The settings of each socket itself, as far as they are its program's.
    pub own: OwnValues,
    /// What the kernel uses, where it is not known whose settings these are: seconds, seconds and a number of probes.
    pub of_unknown_origin: Option<(u32, u32, u32)>,
    /// What is promised of each: the namespace's settings and the timer that runs decide, too.
    pub verdict: Option<Verdict>,
    /// It lives, and only the timer that runs makes it late: those that are opened now are not.
    pub is_late_by_timer: bool,
    /// It lives, and something has kept it busy so far.
    pub is_busy: bool,
    /// It lives, and what was written cannot be sent: that is no matter of the path.
    pub is_held_back: bool,
    /// It is being opened, and nobody answers its SYN: that is no data.
    pub is_opening: bool,
    /// It hung before the time that was asked for, and went on hanging through it.
    pub hung_before: bool,
    /// A drill of keepwatch had cut its path: nothing else explains what came of it.
    pub is_drilled: bool,
}

/// Connections that are alike.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConnectionGroup {
    /// What they have in common.
    pub key: GroupKey,
    /// They: those of the worst finding first, then the latest.
    pub lives: Vec<Life>,
}

/// When connections that are alike ended, and when that began: RFC 3339, UTC.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ConnectionTimes {
    /// How many of them there are.
    pub deaths: usize,
    /// On how many occasions they ended.
    pub occasions: usize,
    /// The first end.
    pub first_at: String,
    /// The last end.
    pub last_at: String,
    /// The first data of the last occasion that was never answered; null if none was in flight.
    pub unanswered_since: Option<String>,
    /// The last packet of the one that was silent first on that occasion.
    pub last_packet_at: Option<String>,
    /// The longest time that one of them waited for an answer; null if none had data in flight.
    pub longest_wait_seconds: Option<f64>,
    /// When this host closed the last of them while its last data, or probes, were unanswered.
    pub given_up_at: Option<String>,
    /// This host closed all of them after the peer had spoken last.
    pub peer_spoke_last: bool,
    /// This host closed all of them, and nothing but its FIN went unanswered.
    #[serde(skip)]
    pub lacks_fin: bool,
}

/// Quiet times of connections that are alike, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct QuietRange {
    /// The shortest.
    #[serde(rename = "least_quiet_seconds")]
    pub least: f64,
    /// The longest.
    #[serde(rename = "most_quiet_seconds")]
    pub most: f64,
}

/// Sorts connections into cases, worst first. If a time that is over was asked for, what began or ended in it comes before what
/// went on through it.
pub(crate) fn cases(lives: Vec<Life>) -> Vec<ConnectionGroup> {
    let mut by_key: BTreeMap<GroupKey, Vec<Life>> = BTreeMap::new();
    for life in lives {
        by_key.entry(GroupKey::of(&life)).or_default().push(life);
    }
    let mut cases: Vec<ConnectionGroup> = by_key
        .into_iter()
        .map(|(key, mut lives)| {
            share_evidence(&mut lives);
            let at = |life: &Life| life.end.as_ref().map(|end| end.at.clone());
            lives.sort_by_cached_key(|life| (life.finding(), std::cmp::Reverse(at(life))));
            ConnectionGroup { key, lives }
        })
        .collect();
    cases.sort_by_cached_key(|case| {
        let finding = case.finding();
        let n_worst = case.of(finding).count();
        // What is fine comes last, whenever it was.
        let is_of_other_time =
            finding < Finding::Fine && !case.lives.iter().any(Life::is_of_window);
        (
            finding == Finding::Fine,
            is_of_other_time,
            finding,
            case.key.is_busy,
            std::cmp::Reverse(n_worst),
        )
    });
    cases
}

/// One death of a case that shows that the path forgot it shows it of the others that died of the same cause after as long
/// a quiet time, if nothing contradicts: whether others to the peer were answered meanwhile is often not known of each.
fn share_evidence(lives: &mut [Life]) {
    let mut shown: BTreeMap<Cause, f64> = BTreeMap::new();
    for life in lives.iter() {
        if let Some(end) = life.end.as_ref().filter(|end| end.forgotten) {
            let shortest = shown.entry(end.cause).or_insert(f64::INFINITY);
            *shortest = shortest.min(life.quiet_before_end_seconds());
        }
    }
    for life in lives {
        let quiet = life.quiet_before_end_seconds();
        let had_survived = life.connection.longest_quiet_seconds >= 0.8 * quiet;
        let n_unanswered = life.connection.probes_unanswered;
        if let Some(end) = &mut life.end
            && let Some(shortest) = shown.get(&end.cause)
        {
            // One probe may get lost on any path.
            let may_be_lost = end.cause == Cause::KeepaliveTimeout && n_unanswered < 2;
            let is_contradicted = had_survived || may_be_lost || end.others_silent.is_some();
            end.forgotten |= quiet >= 0.9 * shortest && !is_contradicted;
        }
    }
}

impl GroupKey {
    fn of(life: &Life) -> Self {
        let connection = &life.connection;
        let peer = match connection.direction() {
            Direction::Outbound => Peer::Server(connection.remote),
            Direction::Inbound => Peer::ClientsOf(connection.local.port()),
        };
        let may_be_forgotten = matches!(life.finding(), Finding::Unprotected | Finding::Overdue);
        Self {
            peer,
            netns: connection.netns,
            process: life.owner().map(|owner| owner.process.clone()),
            part_of: connection.part_of.words(),
            own: life.own(),
            of_unknown_origin: of_unknown_origin(&connection.settings),
            verdict: connection.verdict,
            is_late_by_timer: may_be_forgotten
                && connection.verdict == Some(Verdict::Late)
                && connection.gap_from == Some(GapFrom::ArmedTimer),
            is_busy: may_be_forgotten && connection.is_busy_so_far(),
            is_held_back: life.end.is_none() && connection.is_held_back(),
            is_opening: life.finding() == Finding::Opening,
            hung_before: life.in_window == Some(InWindow::HungBefore),
            is_drilled: life.finding() == Finding::Drilled,
        }
    }
}

/// Idle time, interval and number of probes, if it is not known whose they are.
fn of_unknown_origin(settings: &KeepaliveSettings) -> Option<(u32, u32, u32)> {
    let KeepaliveSettings { idle, interval, count, .. } = settings;
    let values = (idle.seconds, interval.seconds, count.probes);
    [idle.from, interval.from, count.from].contains(&SettingOrigin::Unknown).then_some(values)
}

impl ConnectionGroup {
    /// The worst finding of its connections.
    pub(crate) fn finding(&self) -> Finding {
        self.lives.iter().map(Life::finding).min().unwrap_or(Finding::Fine)
    }

    /// The connections with this finding.
    pub(crate) fn of(&self, finding: Finding) -> impl Iterator<Item = &Life> {
        self.lives.iter().filter(move |life| life.finding() == finding)
    }

    /// Whether the peer had closed all of those with this finding, before this host did.
    pub(crate) fn was_closed_by_peer(&self, finding: Finding) -> bool {
        self.of(finding).all(|life| life.connection.state.is_closed_by_peer())
    }

    /// The worst finding of those that ended.
    pub(crate) fn finding_of_dead(&self) -> Finding {
        self.dead().map(Life::finding).min().unwrap_or(Finding::Fine)
    }

    /// When the dead of the worst finding ended, and when that began; none if all live.
    pub(crate) fn times(&self) -> Option<ConnectionTimes> {
        let finding = self.finding_of_dead();
        let worst: Vec<&Life> = self.of(finding).filter(|life| life.end.is_some()).collect();
        let ends = || worst.iter().filter_map(|life| life.end.as_ref());
        let occasions = self.occasions();
        let last = occasions.last()?;
        // Nobody waited from one occasion to the next.
        let of_last = || ends().filter(|end| end.at.parse().is_ok_and(|at: Timestamp| at >= *last));
        Some(ConnectionTimes {
            deaths: worst.len(),
            occasions: occasions.len(),
            first_at: ends().map(|end| &end.at).min()?.clone(),
            last_at: ends().map(|end| &end.at).max()?.clone(),
            unanswered_since: of_last().filter_map(|end| end.unanswered_since.clone()).min(),
            last_packet_at: of_last().filter_map(|end| end.last_packet_at.clone()).min(),
            longest_wait_seconds: ends().filter_map(LifeEnd::waited_seconds).reduce(f64::max),
            peer_spoke_last: ends().all(|end| end.peer_spoke_last),
            lacks_fin: worst.iter().all(|life| life.lacks_fin()),
            given_up_at: worst.iter().filter_map(|life| life.given_up_at.clone()).max(),
        })
    }

    /// The beginnings of the occasions on which the dead of the worst finding ended, a minute apart or more: one outage explains
    /// what ends at one.
    fn occasions(&self) -> Vec<Timestamp> {
        const APART_SECONDS: i64 = 60;
        let of_worst = self.of(self.finding_of_dead());
        let ends = of_worst.filter_map(|life| life.end.as_ref()?.at.parse().ok());
        let mut ends: Vec<Timestamp> = ends.collect();
        ends.sort_unstable();
        let mut before: Option<Timestamp> = None;
        ends.retain(|end| {
            let is_new = before.is_none_or(|it| end.as_second() - it.as_second() >= APART_SECONDS);
            before = Some(*end);
            is_new
        });
        ends
    }

    /// The number of these occasions.
    pub(crate) fn n_occasions(&self) -> usize {
        self.occasions().len()
    }

    /// Whether others to the same peer were answered while one of the worst died: then an outage of the peer hardly explains it.
    pub(crate) fn is_outage_ruled_out(&self) -> bool {
        let worst = self.of(self.finding_of_dead()).filter_map(|life| life.end.as_ref());
        worst.into_iter().any(|end| end.others_answered.is_some())
    }

    /// The connections that ended.
    pub(crate) fn dead(&self) -> impl Iterator<Item = &Life> {
        self.lives.iter().filter(|life| life.end.is_some())
    }

    /// The one of them that speaks for them: the latest of the worst.
    pub(crate) fn worst_dead(&self) -> Option<&Life> {
        self.dead().next()
    }

    /// The connections that still exist.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Life> {
        self.lives.iter().filter(|life| life.end.is_none())
    }

    /// How many died of what, how many of these inferred; the most first.
    pub(crate) fn causes(&self) -> Vec<(Cause, usize, usize)> {
        let mut counts: BTreeMap<Cause, (usize, usize)> = BTreeMap::new();
        for end in self.dead().filter_map(|life| life.end.as_ref()) {
            let (all, inferred) = counts.entry(end.cause).or_default();
            *all += 1;
            *inferred += usize::from(end.certainty == Certainty::Inferred);
        }
        let mut causes: Vec<_> =
            counts.into_iter().map(|(cause, (all, inferred))| (cause, all, inferred)).collect();
        causes.sort_by_key(|&(_, all, _)| std::cmp::Reverse(all));
        causes
    }

    /// The one that speaks for them: the latest of the worst.
    pub(crate) fn example(&self) -> Option<&Life> {
        self.lives.first()
    }

    /// Processes, lowest id first.
    pub(crate) fn pids(&self) -> BTreeSet<u32> {
        self.lives.iter().filter_map(|life| Some(life.owner()?.pid)).collect()
    }

    /// Addresses of the other side.
    pub(crate) fn peers(&self) -> BTreeSet<IpAddr> {
        self.lives.iter().map(|life| life.connection.remote.ip()).collect()
    }

    /// Whether nobody ever called setsockopt on any of them: none if not all were watched from their beginning. A
    /// value of their own was set by somebody, seen or not.
    pub(crate) fn nobody_ever_set(&self) -> Option<bool> {
        // On what MPTCP or the kernel made, others set options, and no hook sees it.
        let is_set = |life: &Life| {
            !life.calls.is_empty()
                || !life.changed.is_empty()
                || life.connection.made_by != SocketKind::Program
        };
        if self.has_own_values() || self.lives.iter().any(is_set) {
            return Some(false);
        }
        self.lives.iter().all(|life| life.is_whole && !life.calls_unseen).then_some(true)
    }

    /// Whether nobody saw who called setsockopt on them, for there was no hook.
    pub(crate) fn calls_unseen(&self) -> bool {
        self.lives.iter().any(|life| life.calls_unseen)
    }

    /// Whether events were lost while one of them was watched.
    pub(crate) fn events_lost(&self) -> bool {
        self.lives.iter().any(|life| life.events_lost)
    }

    /// Whether anything is set on the sockets themselves.
    pub(crate) fn has_own_values(&self) -> bool {
        !SockOpt::set_in(&self.key.own).is_empty()
    }

    /// The shortest and the longest quiet time before the deaths of a finding, or of the living, seconds.
    pub(crate) fn quiet_seconds(&self) -> Option<QuietRange> {
        self.quiet_seconds_of(self.finding())
    }

    /// The same of those that died, of their worst finding.
    pub(crate) fn quiet_seconds_of_dead(&self) -> Option<QuietRange> {
        self.quiet_seconds_of(self.finding_of_dead())
    }

    fn quiet_seconds_of(&self, finding: Finding) -> Option<QuietRange> {
        let times = self.of(finding).map(|life| match &life.end {
            Some(end)
                if finding == Finding::Dropped
                    && !matches!(end.cause, Cause::IdleDrop | Cause::Abandoned) =>
            {
                life.connection.silent_seconds
            }
            _ => life.connection.quiet_seconds,
        });
        times.fold(None, |range: Option<QuietRange>, time| {
            let range = range.unwrap_or(QuietRange { least: time, most: time });
            Some(QuietRange { least: time.min(range.least), most: time.max(range.most) })
        })
    }

    /// Whether the path is taken to forget them before the first probe.
    pub(crate) fn is_unprotected(&self) -> bool {
        self.lives
            .iter()
            .any(|life| matches!(life.connection.verdict, Some(Verdict::Off | Verdict::Late)))
    }

    /// What another setting would have changed.
    pub(crate) fn what_if(&self, setting: &Setting) -> WhatIf {
        WhatIf::of(&self.lives, setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::life::tests_support::{GAVE_UP, RESET, app, dead, live};

    #[test]
    fn what_is_alike_is_one_case_and_the_worst_comes_first() {
        let mut lives: Vec<_> = (0..500).map(|id| dead(&app(id, None, 400_000), RESET)).collect();
        lives.push(live(&app(600, None, 0)));
        lives.push(live(&app(601, Some(60), 0)));
        lives.push(dead(&app(602, Some(61), 91_000), GAVE_UP));
        let cases = cases(lives);
        let told: Vec<_> = cases.iter().map(|case| (case.finding(), case.lives.len())).collect();
        assert_eq!(told, [(Finding::Dropped, 501), (Finding::Dark, 1), (Finding::Fine, 1)]);
        assert_eq!(cases[0].causes(), [(Cause::IdleDrop, 500, 500)]);
        assert_eq!(cases[0].quiet_seconds(), Some(QuietRange { least: 399.99, most: 399.99 }));
    }

    #[test]
    fn what_one_death_shows_of_the_path_it_shows_of_others_that_died_alike() {
        // As curl's: closed after 170 s, two probes of it unanswered.
        let closed = |id: u64, changes: fn(&mut Life)| {
            let mut life = dead(&app(id, Some(60), 170_000), GAVE_UP);
            life.connection.probes_unanswered = 2;
            life.connection.local.set_port(40_000 + u16::try_from(id).unwrap());
            let end = life.end.as_mut().unwrap();
            (end.cause, end.forgotten) = (Cause::Abandoned, false);
            end.at = format!("2026-01-02T10:{id:02}:00Z");
            changes(&mut life);
            life
        };
        let shown: fn(&mut Life) = |life| {
            let end = life.end.as_mut().unwrap();
            (end.forgotten, end.others_answered) = (true, Some(1));
        };
        let n_dropped = |lives: Vec<Life>| {
            let cases = cases(lives);
            assert_eq!(cases.len(), 1, "ports and times make no case");
            cases[0].of(Finding::Dropped).count()
        };
        let alike = |n: u64| (1..=n).map(|id| closed(id, |_| ()));
        assert_eq!(n_dropped(alike(5).collect()), 0);
        assert_eq!(n_dropped(alike(4).chain([closed(5, shown)]).collect()), 5);
        let contradicted: [fn(&mut Life); 4] = [
            |life| life.end.as_mut().unwrap().others_silent = Some(3),
            |life| life.connection.longest_quiet_seconds = 60.0,
            |life| life.connection.quiet_seconds = 30.0,
            |life| life.end.as_mut().unwrap().cause = Cause::KeepaliveTimeout,
        ];
        for changes in contradicted {
            assert_eq!(n_dropped(vec![closed(1, shown), closed(2, changes)]), 1);
        }
    }

    #[test]
    fn a_case_says_from_when_to_when() {
        let at = |id, quiet_ms, at: &str| {
            let mut life = dead(&app(id, None, quiet_ms), RESET);
            life.end.as_mut().unwrap().at = at.to_owned();
            life
        };
        let case = cases(vec![
            at(1, 400_000, "2026-01-02T10:01:15Z"),
            at(2, 500_000, "2026-01-02T10:01:12Z"),
            live(&app(3, None, 0)),
        ])
        .remove(0);
        let times = case.times().unwrap();
        assert_eq!((times.deaths, times.first_at.as_str()), (2, "2026-01-02T10:01:12Z"));
        assert_eq!(times.last_at, "2026-01-02T10:01:15Z");
        assert_eq!(times.unanswered_since.as_deref(), Some("2026-01-02T03:04:04.990000Z"));
        assert_eq!(times.last_packet_at.as_deref(), Some("2026-01-02T02:55:45.000000Z"));
        assert_eq!(cases(vec![live(&app(3, None, 0))])[0].times(), None);
    }

    #[test]
    fn nobody_waits_from_one_occasion_to_the_next() {
        let at = |id, at: &str, since: &str| {
            let mut life = dead(&app(id, None, 400_000), RESET);
            let end = life.end.as_mut().unwrap();
            (end.at, end.unanswered_since) = (at.to_owned(), Some(since.to_owned()));
            life
        };
        let case = cases(vec![
            at(1, "2026-01-02T10:01:48Z", "2026-01-02T10:00:00Z"),
            at(2, "2026-01-02T10:01:50Z", "2026-01-02T10:00:01Z"),
            at(3, "2026-01-02T10:21:48Z", "2026-01-02T10:20:00Z"),
        ])
        .remove(0);
        let times = case.times().unwrap();
        assert_eq!((times.deaths, times.occasions), (3, 2));
        assert_eq!(times.unanswered_since.as_deref(), Some("2026-01-02T10:20:00Z"));
        assert_eq!(times.longest_wait_seconds, Some(109.0));
    }

    #[test]
    fn that_nobody_set_anything_is_only_said_of_what_was_watched_from_its_beginning() {
        let seen = dead(&app(1, None, 400_000), RESET);
        let case = |lives| cases(lives).remove(0);
        assert_eq!(case(vec![seen.clone()]).nobody_ever_set(), Some(true));
        assert_eq!(case(vec![seen, live(&app(2, None, 0))]).nobody_ever_set(), None);
    }
}
