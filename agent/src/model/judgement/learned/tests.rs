//! What is learned, as a specification.

use super::*;
use crate::model::{
    judgement::{death::Certainty, destination::Destination},
    observed::{
        ending::Ending,
        socket::{State, tests_support::socket},
    },
};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn at(seconds: u64) -> Time {
    Time(seconds * 1_000_000_000)
}

fn peer(number: u8) -> Socket {
    let mut socket = socket();
    socket.remote.addr = std::net::Ipv4Addr::new(172, 16, 0, number).to_ipv6_mapped();
    socket
}

fn learned() -> Learned {
    Learned::new(1_700_000_000_000)
}

/// The first data after `quiet` seconds of quiet met a reset.
fn idle_drop(quiet: u32) -> Death {
    Death {
        others: Default::default(),
        cause: Cause::IdleDrop,
        certainty: Certainty::Inferred,
        old: State::Established,
        ending: Ending::default(),
        quiet_ms: quiet * 1000,
        silent_ms: quiet * 1000 + 100,
        age_ms: None,
        probes_sent: 0,
        probes_unanswered: 0,
        survived_ms: 0,
    }
}

fn of(learned: &Learned, now: u64) -> Option<Estimate> {
    let known = learned.by_destination.get(&Destination::of(&peer(15)))?;
    Estimate::of(&known.evidence, learned.ms(at(now)))
}

#[test]
fn a_limit_is_longer_than_what_was_survived_and_at_most_what_killed() {
    let mut learned = learned();
    for n in 1..=7 {
        learned.survived(&peer(15), at(n * HOUR), 340_000);
        learned.died(&peer(15), at(n * HOUR + 900), &idle_drop(350));
    }
    let estimate = of(&learned, 8 * HOUR).unwrap();
    assert_eq!(
        (estimate.longest_survived_ms, estimate.shortest_killed_ms),
        (Some(340_000), 350_000)
    );
    assert_eq!((estimate.n_deaths, estimate.n_survivals), (7, 7));
    assert_eq!((estimate.confidence, estimate.seconds()), (Confidence::Sure, 350));
    let row = learned.rows(|_| None, at(8 * HOUR)).remove(0);
    assert_eq!(row.destination, "172.16.0.15:2717");
    assert!(row.meaning.contains("between 5 min 40 s and 5 min 50 s, 7 deaths"), "{}", row.meaning);
    assert!(row.looks_like.unwrap().contains("AWS NAT Gateway, NLB"));
}

#[test]
fn one_outage_of_the_peer_kills_connections_of_every_quiet_time_and_is_only_a_guess() {
    let mut learned = learned();
    // The peer went dark at 10,000 s; connections had been quiet for other times by then.
    for (quiet, died) in [(20, 10_010), (400, 10_300), (3000, 12_900)] {
        learned.died(&peer(15), at(died), &idle_drop(quiet));
    }
    let estimate = of(&learned, 13_000).unwrap();
    assert_eq!((estimate.n_occasions, estimate.confidence), (1, Confidence::Guess));
    assert!(learned.rows(|_| None, at(13_000))[0].meaning.contains("one outage"));
    let limits =
        Limits::new(Vec::new(), crate::model::judgement::idle_limit::IdleLimit::default(), false);
    assert!(learned.seconds_of_paths(&limits, at(13_000)).is_empty(), "no metric of a guess");
}

#[test]
fn an_outage_beside_a_real_limit_does_not_shorten_it() {
    let mut learned = learned();
    learned.died(&peer(15), at(10_010), &idle_drop(20));
    for n in 10..13 {
        learned.died(&peer(15), at(n * HOUR), &idle_drop(350));
    }
    let estimate = of(&learned, DAY).unwrap();
    assert_eq!(estimate.shortest_killed_ms, 350_000);
}

#[test]
fn a_death_after_a_quiet_time_that_others_survived_says_nothing_of_a_limit() {
    let mut learned = learned();
    learned.died(&peer(15), at(HOUR), &idle_drop(60));
    learned.died(&peer(15), at(2 * HOUR), &idle_drop(60));
    learned.survived(&peer(15), at(3 * HOUR), 300_000);
    assert_eq!(of(&learned, 4 * HOUR), None);
    learned.died(&peer(15), at(4 * HOUR), &idle_drop(900));
    let estimate = of(&learned, 5 * HOUR).unwrap();
    assert_eq!((estimate.n_deaths, estimate.n_contradicted), (1, 2));
}

#[test]
fn a_limit_that_was_made_shorter_is_learned_anew_after_three_occasions() {
    let mut learned = learned();
    learned.survived(&peer(15), at(DAY), 3_000_000);
    for n in 1..=2 {
        learned.died(&peer(15), at(DAY + n * HOUR), &idle_drop(300));
        assert_eq!(of(&learned, DAY + n * HOUR), None, "after {n}");
    }
    learned.died(&peer(15), at(DAY + 3 * HOUR), &idle_drop(300));
    assert_eq!(of(&learned, DAY + 4 * HOUR).unwrap().shortest_killed_ms, 300_000);
}

#[test]
fn orderly_ends_teach_nothing_and_probes_that_met_silence_only_beside_others() {
    let mut learned = learned();
    for cause in [Cause::PeerClosed, Cause::LocalClosed, Cause::PeerReset] {
        learned.died(&peer(15), at(HOUR), &Death { cause, ..idle_drop(350) });
    }
    assert_eq!(of(&learned, HOUR), None);
    let probing = Socket { keepalive: true, ..peer(15) };
    let silent_ms = 7_875_000;
    for n in 3..6 {
        let cause = Cause::KeepaliveTimeout;
        learned.died(&probing, at(n * 3 * HOUR), &Death { cause, silent_ms, ..idle_drop(0) });
    }
    assert_eq!(of(&learned, DAY), None);
    let cause = Cause::KeepaliveReset;
    learned.died(&probing, at(20 * HOUR), &Death { cause, silent_ms, ..idle_drop(0) });
    let estimate = of(&learned, DAY).unwrap();
    assert_eq!((estimate.n_deaths, estimate.shortest_killed_ms), (4, 7_200_000));
}

#[test]
fn what_is_old_is_forgotten() {
    let mut learned = learned();
    for n in 1..=3 {
        learned.died(&peer(15), at(n * HOUR), &idle_drop(350));
    }
    assert!(of(&learned, 7 * DAY).is_some());
    assert_eq!(of(&learned, 8 * DAY), None);
    assert_eq!(learned.take_lessons(at(DAY), false).len(), 1);
    let lessons = learned.take_lessons(at(8 * DAY), false);
    assert_eq!(lessons.iter().map(|lesson| lesson.evidence.len()).collect::<Vec<_>>(), [0]);
    assert!(learned.rows(|_| None, at(8 * DAY)).is_empty());
}

#[test]
fn neighbours_help_where_a_peer_alone_does_not_say_enough() {
    let mut learned = learned();
    learned.died(&peer(15), at(HOUR), &idle_drop(352));
    assert_eq!(of(&learned, 9 * HOUR).unwrap().confidence, Confidence::Guess);
    learned.died(&peer(16), at(3 * HOUR), &idle_drop(351));
    learned.died(&peer(17), at(5 * HOUR), &idle_drop(350));
    let rows = learned.rows(|_| None, at(9 * HOUR));
    assert_eq!((rows[0].confidence, rows[0].deaths), (Confidence::Likely, 3));
    let names: Vec<&str> = rows.iter().map(|row| row.destination.as_str()).collect();
    let each = ["172.16.0.0/24", "172.16.0.15:2717", "172.16.0.16:2717", "172.16.0.17:2717"];
    assert_eq!(names, each);
    let rows = learned.rows(|_| Some("db".to_owned()), at(9 * HOUR));
    assert_eq!(rows.last().unwrap().destination, "db");
    assert_eq!(rows.last().unwrap().deaths, 3);
}

#[test]
fn what_was_told_can_be_remembered_by_another() {
    let mut before = learned();
    for n in 1..=3 {
        before.survived(&peer(15), at(n * HOUR), 340_000);
        before.died(&peer(15), at(n * HOUR + 900), &idle_drop(350));
    }
    let lessons = before.take_lessons(at(4 * HOUR), true);
    assert!(before.take_lessons(at(5 * HOUR), true).is_empty(), "nothing new");
    // Another boot: the monotonic clock began anew.
    let mut after = Learned::new(1_700_000_000_000 + 4 * 3_600_000);
    after.remember(lessons, at(60));
    assert_eq!(after.rows(|_| None, at(60)), before.rows(|_| None, at(4 * HOUR)));
}

#[test]
fn memory_is_bounded_and_deaths_stay_longer_than_survivals() {
    let mut learned = learned();
    let far = |n: u32| {
        let mut socket = socket();
        socket.remote.addr = std::net::Ipv4Addr::from_bits(n).to_ipv6_mapped();
        socket
    };
    for n in 1..=5000 {
        learned.survived(&far(n), at(HOUR), 10_000);
    }
    for n in 0..200 {
        learned.died(&peer(15), at(HOUR + n * 400), &idle_drop(350));
    }
    assert_eq!(learned.by_destination.len(), MAX_DESTINATIONS);
    let known = &learned.by_destination[&Destination::of(&peer(15))];
    assert_eq!(known.evidence.len(), MAX_KILLS);
}

#[test]
fn a_destination_reads_back_as_it_is_written() {
    for text in ["10.0.0.5", "10.0.0.5:5432", "2001:db8::1", "[2001:db8::1]:443"] {
        assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
    }
}

#[test]
fn an_outage_with_many_victims_does_not_displace_other_occasions() {
    let mut learned = learned();
    learned.died(&peer(15), at(HOUR), &idle_drop(350));
    learned.died(&peer(15), at(2 * HOUR), &idle_drop(350));
    for n in 0..100 {
        learned.died(&peer(15), at(9 * HOUR + u64::from(n)), &idle_drop(1000 + n));
    }
    let estimate = of(&learned, DAY).unwrap();
    assert_eq!((estimate.n_occasions, estimate.shortest_killed_ms), (3, 350_000));
}

#[test]
fn a_peer_that_is_reached_another_way_does_not_hide_the_limit_of_the_others() {
    let mut learned = learned();
    for n in 1..=3 {
        learned.died(&peer(15), at(n * HOUR), &idle_drop(350));
        learned.survived(&peer(16), at(n * HOUR), 7_000_000);
    }
    let rows = learned.rows(|_| Some("db".to_owned()), at(DAY));
    let path = rows.iter().find(|row| row.destination == "db").unwrap();
    assert_eq!((path.seconds, path.deaths), (350, 3));
}
