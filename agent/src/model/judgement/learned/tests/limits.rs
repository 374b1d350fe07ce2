//! Limits of paths: the interval of evidence, its confidence, and what does not count.

use super::*;

#[test]
fn a_limit_is_longer_than_what_was_survived_and_at_most_what_killed() {
    let mut learned = learned();
    for n in 1..=7 {
        learned.survived(&peer(15), at(n * HOUR), 340_000);
        drop_after(&mut learned, 350, n * HOUR + 900);
    }
    let found = estimate(&learned, 8 * HOUR).unwrap();
    assert_eq!((found.longest_survived_ms, found.shortest_killed_ms), (Some(340_000), 350_000));
    assert_eq!((found.n_deaths, found.n_survivals), (7, 7));
    assert_eq!((found.confidence, found.seconds()), (Confidence::Sure, 350));
    let row = limit_rows(&learned, 8 * HOUR).remove(0);
    assert_eq!((row.remote.as_str(), row.netns), ("172.16.0.15:2717", None));
    assert!(row.meaning.contains("between 5 min 40 s and 5 min 50 s, 7 deaths"), "{}", row.meaning);
    assert!(row.looks_like.unwrap().contains("AWS NAT Gateway, NLB"));
}

#[test]
fn what_kills_and_is_survived_in_one_rhythm_is_a_guess_unless_a_device_is_like_that() {
    let confidence = |survived_ms, killed: [u32; 3]| {
        let mut learned = learned();
        for (n, seconds) in (1..).zip(killed) {
            drop_after(&mut learned, seconds, n * HOUR);
        }
        learned.survived(&peer(15), at(4 * HOUR), survived_ms);
        estimate(&learned, 5 * HOUR).unwrap().confidence
    };
    // Pings every 118 s.
    assert_eq!(confidence(116_250, [118, 118, 118]), Confidence::Guess);
    assert_eq!(confidence(116_250, [118, 150, 200]), Confidence::Sure);
    assert_eq!(confidence(100_000, [118, 118, 118]), Confidence::Sure);
    // The path kept less when two died of that rhythm; a third had been quiet for longer.
    assert_eq!(confidence(116_250, [118, 118, 200]), Confidence::Guess);
    // AWS.
    assert_eq!(confidence(346_000, [351, 351, 351]), Confidence::Sure);
}

#[test]
fn one_death_in_a_rhythm_that_was_survived_many_times_does_not_bound_the_limit_that_others_show() {
    let estimate_of = |n_survived: u64| {
        let mut learned = learned();
        for n in 1..=n_survived {
            learned.survived(&peer(15), at(n * 600), 29_900);
        }
        // A firewall that was started anew; and the limit of 45 s.
        for (n, seconds) in (1..).zip([30, 53, 61, 70]) {
            drop_after(&mut learned, seconds, (10 + n) * HOUR);
        }
        estimate(&learned, 20 * HOUR).unwrap()
    };
    let many = estimate_of(12);
    assert_eq!(
        (many.longest_survived_ms, many.seconds()),
        (Some(29_900), 61),
        "two that no single outage explains"
    );
    assert_eq!((many.n_deaths, many.n_contradicted), (3, 1));
    let few = estimate_of(3);
    assert_eq!((few.n_deaths, few.n_contradicted), (4, 0), "that may be the limit");
}

#[test]
fn a_device_is_named_only_where_there_is_room_for_no_other() {
    let mut learned = learned();
    for n in 1..=3 {
        drop_after(&mut learned, 355, n * HOUR);
    }
    assert_eq!(limit_rows(&learned, DAY)[0].looks_like, None, "all that is below 355 s");
    learned.survived(&peer(15), at(4 * HOUR), 200_000);
    assert_eq!(limit_rows(&learned, DAY)[0].looks_like, None, "f5 has 300 s");
    learned.survived(&peer(15), at(4 * HOUR), 310_000);
    let row = limit_rows(&learned, DAY).remove(0);
    assert!(row.looks_like.unwrap().contains("AWS"));
    assert_eq!(row.idle_limit_seconds, 350);
}

#[test]
fn below_20_s_and_within_one_minute_nothing_is_sure() {
    let short = |learned: &mut Learned, seconds| {
        // A limit of 12 s is configured, or such a time would not even count.
        learned.survived(&peer(15), at(seconds - 60), 9_000);
        learned.died(&peer(15), at(seconds), &idle_drop(12), 9_600);
    };
    let mut one = learned();
    for n in 1..=6 {
        short(&mut one, n * HOUR);
    }
    assert_eq!(estimate(&one, DAY).unwrap().confidence, Confidence::Likely);
    let mut another = learned();
    for n in 0..4 {
        short(&mut another, HOUR + 13 * n);
    }
    let found = estimate(&another, DAY).unwrap();
    assert_eq!((found.n_deaths, found.n_occasions, found.confidence), (4, 1, Confidence::Guess));
}

#[test]
fn an_idle_drop_after_less_than_a_device_could_have_is_no_evidence() {
    let mut learned = learned();
    for n in 1..=5 {
        drop_after(&mut learned, 19, n * HOUR);
    }
    assert_eq!(estimate(&learned, DAY), None);
    learned.died(&peer(15), at(6 * HOUR), &idle_drop(19), 16_000);
    assert_eq!(estimate(&learned, DAY).unwrap().n_deaths, 1, "most of a limit that is configured");
}

#[test]
fn a_death_after_a_quiet_time_that_others_survived_says_nothing_of_a_limit() {
    let mut learned = learned();
    drop_after(&mut learned, 60, HOUR);
    drop_after(&mut learned, 60, 2 * HOUR);
    learned.survived(&peer(15), at(3 * HOUR), 300_000);
    assert_eq!(estimate(&learned, 4 * HOUR), None);
    drop_after(&mut learned, 900, 4 * HOUR);
    let found = estimate(&learned, 5 * HOUR).unwrap();
    assert_eq!((found.n_deaths, found.n_contradicted), (1, 2));
}

/// A death after `quiet` seconds of quiet, while others to the same peer were answered.
fn drop_alone(learned: &mut Learned, quiet: u32, seconds: u64) {
    let alone = Death { others: Others::Answered(4), ..idle_drop(quiet) };
    die(learned, &peer(15), seconds, &alone);
}

#[test]
fn one_that_goes_on_after_more_quiet_does_not_undo_at_once_what_several_died_of_alone() {
    let mut learned = learned();
    learned.survived(&peer(15), at(HOUR - 600), 24_000);
    drop_alone(&mut learned, 51, HOUR);
    drop_alone(&mut learned, 73, HOUR + 20);
    drop_alone(&mut learned, 223, HOUR + 300);
    // The path keeps more from now on, or another way of it does.
    learned.survived(&peer(15), at(2 * HOUR), 99_000);
    let found = estimate(&learned, 2 * HOUR).unwrap();
    assert_eq!((found.shortest_killed_ms, found.outlived_ms), (51_000, Some(99_000)));
    assert_eq!((found.confidence, found.n_deaths), (Confidence::Guess, 3));
    let said = limit_rows(&learned, 2 * HOUR).remove(0).meaning;
    assert_eq!(
        said,
        "quiet connections were dropped at 51 s or before, 3 deaths, while others to the same peer were answered; others went on \
         after 1 min 39 s since: the path changes, or there is more than one; a guess"
    );
    // A day later only what was not outlived is left.
    let found = estimate(&learned, DAY + 2 * HOUR).unwrap();
    assert_eq!((found.shortest_killed_ms, found.outlived_ms), (223_000, None));
}

#[test]
fn one_death_alone_or_several_that_an_outage_explains_are_undone_by_one_that_goes_on_after_more() {
    let mut once = learned();
    drop_alone(&mut once, 51, HOUR);
    once.survived(&peer(15), at(2 * HOUR), 99_000);
    assert_eq!(estimate(&once, 2 * HOUR), None);
    let mut dark = learned();
    drop_after(&mut dark, 51, HOUR);
    drop_after(&mut dark, 51, HOUR + 900);
    dark.survived(&peer(15), at(2 * HOUR), 99_000);
    assert_eq!(estimate(&dark, 2 * HOUR), None);
    // What went on after more was before it.
    let mut shorter = learned();
    shorter.survived(&peer(15), at(HOUR - 600), 99_000);
    drop_alone(&mut shorter, 51, HOUR);
    drop_alone(&mut shorter, 51, HOUR + 900);
    let found = estimate(&shorter, 2 * HOUR).unwrap();
    assert_eq!((found.outlived_ms, found.confidence), (None, Confidence::Likely));
}

#[test]
fn what_died_alone_counts_from_the_first_time_on_and_what_an_outage_explains_from_the_second() {
    let shortest = |alone: bool| {
        let mut learned = learned();
        drop_after(&mut learned, 255, HOUR);
        drop_after(&mut learned, 300, 2 * HOUR);
        if alone {
            drop_alone(&mut learned, 61, 3 * HOUR);
        } else {
            drop_after(&mut learned, 61, 2 * HOUR + 20);
        }
        estimate(&learned, 4 * HOUR).unwrap().shortest_killed_ms
    };
    assert_eq!((shortest(true), shortest(false)), (61_000, 255_000));
}

#[test]
fn a_limit_that_was_made_shorter_is_a_guess_at_once_and_more_after_more_occasions() {
    let mut learned = learned();
    learned.survived(&peer(15), at(DAY), 3_000_000);
    drop_after(&mut learned, 5000, DAY - HOUR);
    for (n, confidence) in
        [(1, Confidence::Guess), (2, Confidence::Likely), (3, Confidence::Likely)]
    {
        drop_after(&mut learned, 300, DAY + n * HOUR);
        let found = estimate(&learned, DAY + n * HOUR).unwrap();
        assert_eq!((found.shortest_killed_ms, found.confidence), (300_000, confidence), "{n}");
    }
    // It was no shorter limit: somebody survives again.
    learned.survived(&peer(15), at(2 * DAY), 3_000_000);
    assert_eq!(estimate(&learned, 2 * DAY).unwrap().shortest_killed_ms, 5_000_000);
}

#[test]
fn orderly_ends_teach_no_limit_and_probes_that_met_silence_only_beside_others() {
    let mut learned = learned();
    for cause in [Cause::PeerClosed, Cause::LocalClosed, Cause::LocalReset, Cause::ConnectFailed] {
        die(&mut learned, &peer(15), HOUR, &Death { cause, ..idle_drop(350) });
    }
    assert_eq!(estimate(&learned, HOUR), None);
    for n in 3..6 {
        die(&mut learned, &probing(1, 7200), n * 3 * HOUR, &keepalive_timeout(7200));
    }
    assert_eq!(estimate(&learned, DAY), None);
    let reset = Death {
        cause: Cause::KeepaliveReset,
        silent_ms: 7_200_100,
        probes_unanswered: 1,
        ..idle_drop(0)
    };
    die(&mut learned, &probing(1, 7200), 20 * HOUR, &reset);
    let found = estimate(&learned, DAY).unwrap();
    assert_eq!((found.n_deaths, found.shortest_killed_ms), (4, 7_200_000));
}

#[test]
fn probes_that_were_lost_an_interval_after_one_that_was_answered_show_a_limit_above_the_idle_time()
{
    let mut learned = learned();
    let own = OwnSettings { idle_seconds: 20, interval_seconds: 35, ..OwnSettings::default() };
    let socket = Socket { keepalive: true, own, ..peer(15) };
    // Each of them 1.9 s late, and so was the end.
    let death = Death {
        silent_ms: 36_864 * 10,
        probes_unanswered: 9,
        others: Others::Answered(4),
        ..keepalive_timeout(20)
    };
    learned.survived(&socket, at(HOUR - 400), 20_000);
    die(&mut learned, &socket, HOUR, &death);
    let found = estimate(&learned, DAY).unwrap();
    assert_eq!((found.longest_survived_ms, found.shortest_killed_ms), (Some(20_000), 36_864));
}

#[test]
fn the_quiet_time_before_an_unanswered_probe_is_what_passed_before_the_first_of_them() {
    let mut learned = learned();
    // After an answered probe the next one goes out an interval later, however short the idle time is.
    let own = OwnSettings { idle_seconds: 10, interval_seconds: 60, ..OwnSettings::default() };
    let socket = Socket { keepalive: true, own, ..peer(15) };
    let reset = Death {
        cause: Cause::KeepaliveReset,
        silent_ms: 60_000,
        probes_unanswered: 1,
        ..idle_drop(0)
    };
    die(&mut learned, &socket, HOUR, &reset);
    assert_eq!(estimate(&learned, DAY).unwrap().shortest_killed_ms, 60_000);
}

#[test]
fn what_is_old_is_forgotten() {
    let mut learned = learned();
    for n in 1..=3 {
        drop_after(&mut learned, 350, n * HOUR);
    }
    assert!(estimate(&learned, 7 * DAY).is_some());
    assert_eq!(estimate(&learned, 8 * DAY), None);
    assert_eq!(learned.take_lessons(at(DAY), false).len(), 1);
    let lessons = learned.take_lessons(at(8 * DAY), false);
    assert!(matches!(&lessons[..], [Lesson::Peer(_, evidence)] if evidence.is_empty()));
    assert!(learned.rows(at(8 * DAY)).is_empty());
}

#[test]
fn nothing_is_said_of_neighbours_of_another_port_or_of_the_nameless_path() {
    use crate::model::judgement::idle_limit::ConfiguredPath;
    let mut learned = learned();
    for n in 1..=3 {
        learned.survived(&peer(15), at(n * HOUR - 900), 300_000);
        drop_after(&mut learned, 350, n * HOUR);
        learned.survived(&peer(16), at(n * HOUR), 7_000_000);
    }
    // One death of each neighbour: together they would be three occasions.
    for (n, number) in [(4, 17), (5, 18), (6, 19)] {
        die(&mut learned, &peer(number), n * HOUR, &idle_drop(30));
    }
    let rows = limit_rows(&learned, DAY);
    let names: Vec<_> = rows.iter().map(|row| (row.remote.as_str(), row.confidence)).collect();
    let guess = Confidence::Guess;
    assert_eq!(
        names,
        [
            ("172.16.0.15:2717", Confidence::Sure),
            ("172.16.0.17:2717", guess),
            ("172.16.0.18:2717", guess),
            ("172.16.0.19:2717", guess)
        ]
    );
    let limits = |paths| Limits::new(paths, IdleLimit::default(), false);
    assert!(learned.seconds_of_paths(&limits(Vec::new()), at(DAY)).is_empty());
    let path = |peers: &str| ConfiguredPath {
        name: "db".to_owned(),
        peers: peers.parse().unwrap(),
        port: None,
        limit: IdleLimit { seconds: 900, preset: None },
    };
    let all = learned.seconds_of_paths(&limits(vec![path("172.16.0.0/16")]), at(DAY));
    assert_eq!(all, [(1, 350)].into(), "guesses are no metric");
    let others = learned.seconds_of_paths(&limits(vec![path("172.16.0.16/29")]), at(DAY));
    assert!(others.is_empty());
}

#[test]
fn another_network_namespace_neither_teaches_nor_masks() {
    let elsewhere = Socket { netns: 7, ..peer(15) };
    let three = |learned: &mut Learned, socket: &Socket| {
        for n in 1..=3 {
            learned.survived(socket, at(n * HOUR - 900), 300_000);
            die(learned, socket, n * HOUR, &idle_drop(350));
        }
    };
    let mut taught = learned();
    three(&mut taught, &elsewhere);
    assert_eq!(estimate(&taught, DAY), None);
    let row = limit_rows(&taught, DAY).remove(0);
    assert_eq!((row.remote.as_str(), row.netns), ("172.16.0.15:2717", Some(7)));
    let mut masked = learned();
    three(&mut masked, &peer(15));
    masked.survived(&elsewhere, at(4 * HOUR), 7_000_000);
    assert_eq!(estimate(&masked, DAY).unwrap().confidence, Confidence::Sure);
    let elsewhere = Socket { netns: 8, ..peer(15) };
    masked.survived(&elsewhere, at(4 * HOUR), 7_000_000);
    assert_eq!(limit_rows(&masked, DAY).len(), 1);
}

#[test]
fn another_network_namespace_takes_no_room_of_ours() {
    let mut learned = learned();
    let far = |netns, n: u32| {
        let mut socket = Socket { netns, ..socket() };
        socket.remote.addr = std::net::Ipv4Addr::from_bits(n).to_ipv6_mapped();
        socket
    };
    let own = socket().netns;
    let max = u32::try_from(MAX_DESTINATIONS).unwrap();
    for n in 1..=max {
        die(&mut learned, &far(7, n), HOUR + u64::from(n), &idle_drop(350));
    }
    for n in 1..=max {
        die(&mut learned, &far(own, n), HOUR, &idle_drop(350));
    }
    let n_foreign =
        |learned: &Learned| learned.by_destination.keys().filter(|it| it.netns.is_some()).count();
    assert_eq!((learned.by_destination.len(), n_foreign(&learned)), (MAX_DESTINATIONS, 0));
    die(&mut learned, &far(7, 1), 2 * HOUR, &idle_drop(350));
    assert_eq!(learned.by_destination.len() - n_foreign(&learned), MAX_DESTINATIONS);
}

#[test]
fn what_was_told_can_be_remembered_by_another() {
    let mut before = learned();
    for n in 1..=3 {
        before.survived(&peer(15), at(n * HOUR), 340_000);
        drop_after(&mut before, 350, n * HOUR + 900);
        before.peer_closed(&peer(16), at(n * HOUR), 75_000);
    }
    let lessons = before.take_lessons(at(4 * HOUR), true);
    assert!(before.take_lessons(at(5 * HOUR), true).is_empty(), "nothing new");
    // Another boot: the monotonic clock began anew.
    let home = Home { unix_offset_ms: BEGAN_MS + 4 * 3_600_000, ..before.home };
    let mut after = Learned::new(home);
    after.remember(lessons, at(60));
    let rows = after.rows(at(60));
    assert_eq!(rows.len(), 2);
    assert_eq!(rows, before.rows(at(4 * HOUR)));
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
        let now = HOUR + u64::from(n) * 400;
        drop_after(&mut learned, 350, now);
        learned.peer_closed(&peer(15), at(now), 3_000 + 1_000 * n);
        let timeout = Death { cause: Cause::UserTimeout, ..idle_drop(1) };
        die(&mut learned, &peer(15), now + 200, &timeout);
    }
    assert_eq!(learned.by_destination.len(), MAX_DESTINATIONS);
    let known = &learned.by_destination[&Destination::of(&peer(15), learned.netns())];
    assert_eq!(known.evidence.len(), 2 * evidence::MAX_KILLS + 16);
}
