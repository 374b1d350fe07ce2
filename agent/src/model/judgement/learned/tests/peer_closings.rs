//! The peer's own timer: connections that it ends after always the same time.

use super::*;
use crate::model::observed::socket::Direction;

#[test]
fn a_server_that_closes_after_always_the_same_time_has_a_timer_and_no_middlebox() {
    let mut learned = learned();
    // Node's keepAliveTimeout; its timer is late now and then.
    for (n, quiet_ms) in [5_003, 5_120, 5_004, 5_004, 5_390].into_iter().enumerate() {
        let now = (n as u64 + 1) * 5 * MINUTE;
        learned.peer_closed(&peer(15), at(now), quiet_ms);
        learned.peer_closed(&peer(15), at(now + 1), quiet_ms + 2);
        let confidence = closes_rows(&learned, now + 2).remove(0).confidence;
        assert_eq!(confidence > Confidence::Guess, n >= 2, "after {} occasions", n + 1);
    }
    let row = closes_rows(&learned, HOUR).remove(0);
    assert_eq!((row.after_seconds, row.connections, row.occasions), (5.003, 10, 5));
    assert_eq!(row.confidence, Confidence::Sure);
    assert!(
        row.meaning.contains("closes connections 5.0 s after the last data"),
        "{}",
        row.meaning
    );
    assert!(row.meaning.contains("Set the pool's idle time below 5.0 s"), "{}", row.meaning);
    assert!(limit_rows(&learned, HOUR).is_empty());
}

#[test]
fn a_timer_of_the_peer_wins_over_a_limit_that_it_explains_as_well() {
    let mut learned = learned();
    for n in 1..=3 {
        learned.survived(&peer(15), at(n * HOUR), 60_000);
        drop_after(&mut learned, 80, n * HOUR + 900);
    }
    assert_eq!(estimate(&learned, DAY).unwrap().confidence, Confidence::Sure);
    for n in 4..=6 {
        learned.peer_closed(&peer(15), at(n * HOUR), 75_000);
    }
    assert_eq!(estimate(&learned, DAY), None, "the pool used what nginx was closing");
    // A path that forgets before the timer of the peer is due is a path.
    for n in 7..=9 {
        drop_after(&mut learned, 65, n * HOUR);
    }
    let found = estimate(&learned, DAY).unwrap();
    assert_eq!((found.shortest_killed_ms, found.n_deaths, found.n_explained), (65_000, 3, 3));
}

#[test]
fn late_resets_of_a_peer_are_closings_too() {
    let mut learned = learned();
    let reset = Death { cause: Cause::PeerReset, ..idle_drop(60) };
    for n in 1..=3 {
        die(&mut learned, &peer(15), n * HOUR, &reset);
    }
    let [row] = &closes_rows(&learned, DAY)[..] else { panic!("one row") };
    assert_eq!((row.after_seconds, row.connections), (60.0, 3));
    assert_eq!(estimate(&learned, DAY), None);
}

#[test]
fn restarts_of_a_peer_are_no_timer() {
    // Ten connections of every quiet time at each of six restarts.
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut learned = learned();
        for n in 1..=6 {
            for _ in 0..10 {
                let quiet_ms = 3_000 + u32::try_from(dice.roll(57_000)).unwrap();
                learned.peer_closed(&peer(15), at(n * HOUR), quiet_ms);
            }
        }
        assert!(closes_rows(&learned, DAY).is_empty(), "seed {seed}");
    }
}

#[test]
fn once_and_many_at_once_are_no_habit_and_a_longer_quiet_time_that_went_on_disproves_one() {
    let mut learned = learned();
    let confidence = |learned: &Learned| closes_rows(learned, DAY).first().map(|it| it.confidence);
    for n in 0..20 {
        learned.peer_closed(&peer(15), at(HOUR + n), 60_000);
    }
    learned.peer_closed(&peer(15), at(2 * HOUR), 60_000);
    assert_eq!(confidence(&learned), Some(Confidence::Guess));
    learned.peer_closed(&peer(15), at(3 * HOUR), 60_000);
    assert_eq!(confidence(&learned), Some(Confidence::Likely));
    learned.survived(&peer(15), at(4 * HOUR), 61_000);
    assert_eq!(confidence(&learned), Some(Confidence::Likely), "within what timers differ");
    learned.survived(&peer(15), at(4 * HOUR), 120_000);
    assert_eq!(confidence(&learned), None);
}

#[test]
fn what_the_peer_closed_once_is_a_guess_that_explains_nothing() {
    let mut learned = learned();
    learned.peer_closed(&peer(15), at(HOUR), 21_000);
    let row = closes_rows(&learned, DAY).remove(0);
    assert_eq!((row.after_seconds, row.confidence), (21.0, Confidence::Guess));
    assert!(row.meaning.starts_with("closed by the peer 21 s after the last data (1 time so far)"));
    for n in 2..=4 {
        drop_after(&mut learned, 40, n * HOUR);
    }
    let found = estimate(&learned, DAY).unwrap();
    assert_eq!((found.n_deaths, found.n_explained), (3, 0), "the path forgets, too");
    // After another time: a restart, or an end like any other.
    learned.peer_closed(&peer(15), at(5 * HOUR), 47_000);
    assert!(closes_rows(&learned, DAY).is_empty());
    // Clients go when they like.
    let client = Socket { direction: Direction::Inbound, ..peer(16) };
    learned.peer_closed(&client, at(HOUR), 21_000);
    assert!(closes_rows(&learned, DAY).is_empty());
}

#[test]
fn what_a_fin_that_was_lost_explains_as_well_is_no_sure_limit() {
    let beside = |quiet: u32| Death { others: Others::Answered(3), ..idle_drop(quiet) };
    let three = |learned: &mut Learned, quiet: u32| {
        for n in 2..=4 {
            learned.survived(&peer(15), at(n * HOUR - 900), 29_000);
            die(learned, &peer(15), n * HOUR, &beside(quiet));
        }
    };
    // It closed one connection so: that others were answered says nothing of its FIN.
    let mut once = learned();
    once.peer_closed(&peer(15), at(HOUR), 31_000);
    three(&mut once, 40);
    let row = limit_rows(&once, DAY).remove(0);
    assert_eq!((row.confidence, row.deaths, row.deaths_singled_out), (Confidence::Likely, 3, 0));
    assert_eq!(row.peer_closes_after_seconds, Some(31.0));
    assert!(row.meaning.ends_with("Or the peer closes by itself 31 s after the last data, as it did before, and its FIN was lost"));
    // A cut was seen meanwhile.
    let cause = Cause::RetransmitTimeout;
    for n in 2..=4 {
        die(&mut once, &with_id(9), n * HOUR - 5, &Death { cause, ..idle_drop(2) });
    }
    assert_eq!(estimate(&once, DAY), None);
    // A path that forgets sooner than the peer closes is learned as ever.
    let mut sooner = learned();
    sooner.peer_closed(&peer(15), at(HOUR), 50_000);
    three(&mut sooner, 40);
    let row = limit_rows(&sooner, DAY).remove(0);
    assert_eq!((row.confidence, row.deaths_singled_out), (Confidence::Sure, 3));
    assert_eq!(row.peer_closes_after_seconds, None);
}
