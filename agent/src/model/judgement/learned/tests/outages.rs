//! Outages: they kill connections of every quiet time, and are no limit.

use super::*;
use crate::model::observed::{ending::Unacked, errno::ECONNRESET};

#[test]
fn one_outage_of_the_peer_kills_connections_of_every_quiet_time_and_is_only_a_guess() {
    let mut learned = learned();
    // The peer went dark at 10,000 s; connections had been quiet for other times by then.
    for (quiet, died) in [(20, 10_010), (400, 10_300), (3000, 12_900)] {
        drop_after(&mut learned, quiet, died);
    }
    let found = estimate(&learned, 13_000).unwrap();
    assert_eq!((found.n_occasions, found.confidence), (1, Confidence::Guess));
    assert!(limit_rows(&learned, 13_000)[0].meaning.contains("one outage"));
}

#[test]
fn an_outage_beside_a_real_limit_does_not_shorten_it() {
    let mut learned = learned();
    drop_after(&mut learned, 20, 10_010);
    for n in 10..13 {
        drop_after(&mut learned, 350, n * HOUR);
    }
    assert_eq!(estimate(&learned, DAY).unwrap().shortest_killed_ms, 350_000);
}

#[test]
fn an_outage_with_many_victims_does_not_displace_other_occasions() {
    let mut learned = learned();
    drop_after(&mut learned, 350, HOUR);
    drop_after(&mut learned, 350, 2 * HOUR);
    for n in 0..100 {
        drop_after(&mut learned, 1000 + n, 9 * HOUR + u64::from(n));
    }
    let found = estimate(&learned, DAY).unwrap();
    assert_eq!((found.n_occasions, found.shortest_killed_ms), (3, 350_000));
}

/// Six that ping every 5 s and one that was quiet, all cut at one moment.
#[test]
fn who_dies_while_busy_connections_of_the_same_peer_die_is_no_evidence() {
    let mut learned = learned();
    let cut = 10_000;
    drop_after(&mut learned, 300, cut + 20);
    assert!(estimate(&learned, DAY).is_some(), "so far nobody else is known");
    for id in 1..=5 {
        let quiet_ms = 1000 * u32::try_from(id).unwrap();
        let cause = Cause::UserTimeout;
        let death = Death { cause, quiet_ms, silent_ms: quiet_ms + 15_000, ..idle_drop(0) };
        die(&mut learned, &with_id(id), cut + 15, &death);
    }
    assert_eq!(estimate(&learned, DAY), None);
    // Another day, another moment: a true one.
    drop_after(&mut learned, 350, DAY);
    let found = estimate(&learned, DAY + HOUR).unwrap();
    assert_eq!((found.n_deaths, found.n_explained), (1, 1));
}

#[test]
fn a_peer_that_had_answered_after_such_quiet_times_before_went_dark() {
    let mut learned = learned();
    let died = 10_000;
    drop_after(&mut learned, 300, died - 20);
    let had = Death { survived_ms: 60_000, ..keepalive_timeout(60) };
    die(&mut learned, &probing(1, 60), died, &had);
    assert_eq!(estimate(&learned, DAY), None);
}

#[test]
fn who_dies_while_others_are_silent_too_is_no_evidence() {
    let mut learned = learned();
    for n in 1..=4 {
        let death = Death { others: Others::Silent(3), ..idle_drop(350) };
        die(&mut learned, &peer(15), n * HOUR, &death);
        let death = Death { others: Others::Silent(3), ..keepalive_timeout(350) };
        die(&mut learned, &probing(1, 350), n * HOUR, &death);
    }
    assert_eq!(estimate(&learned, DAY), None);
}

#[test]
fn who_dies_at_the_first_probe_while_others_are_answered_was_forgotten_by_the_path() {
    let mut learned = learned();
    // Idle 30 s: answered all the time. Idle 60 s: dead at their first probe.
    for n in 1..=3 {
        let now = n * HOUR;
        learned.survived(&probing(1, 30), at(now), 30_000);
        for id in 10..20 {
            let death = Death { others: Others::Answered(463), ..keepalive_timeout(60) };
            die(&mut learned, &probing(id, 60), now, &death);
        }
        let found = estimate(&learned, now).unwrap();
        assert_eq!((found.longest_survived_ms, found.shortest_killed_ms), (Some(30_000), 60_000));
        let confidence = Confidence::ALL[usize::try_from(n - 1).unwrap()];
        assert_eq!((found.n_occasions, found.confidence), (n, confidence));
    }
    let meaning = limit_rows(&learned, DAY).remove(0).meaning;
    assert!(meaning.contains("between 30 s and 1 min, 30 deaths"), "{meaning}");
    assert!(meaning.contains("while others to the same peer were answered"), "{meaning}");
}

#[test]
fn who_dies_at_the_first_probe_while_its_host_answers_on_other_ports_is_evidence_of_its_own() {
    let after = |others| {
        let mut learned = learned();
        for n in 1..=2 {
            let death = Death { others, ..keepalive_timeout(60) };
            die(&mut learned, &probing(1, 60), n * HOUR, &death);
        }
        estimate(&learned, 2 * HOUR).map(|it| (it.shortest_killed_ms, it.confidence))
    };
    assert_eq!(after(Others::HostAnswered(3)), Some((60_000, Confidence::Likely)));
    // A host that answers nobody, or of which nobody knows, may be gone.
    assert_eq!(after(Others::Unknown), None);
    assert_eq!(after(Others::Silent(3)), None);
}

#[test]
fn a_connection_that_dies_alone_while_busy_is_no_outage() {
    let mut learned = learned();
    drop_after(&mut learned, 300, 10_020);
    let cause = Cause::RetransmitTimeout;
    let alone = Death { cause, others: Others::Answered(5), ..idle_drop(1) };
    die(&mut learned, &with_id(9), 10_010, &alone);
    assert!(estimate(&learned, DAY).is_some());
    die(&mut learned, &with_id(9), 10_010, &Death { others: Others::Unknown, ..alone });
    assert_eq!(estimate(&learned, DAY), None);
}

#[test]
fn no_sequence_of_one_outage_is_ever_sure() {
    for seed in 0..3000 {
        let mut dice = Dice(seed);
        let mut learned = learned();
        let outage = 100_000;
        // Connections that live, each with a habit of its own; some were quiet and went on before.
        for _ in 0..dice.roll(20) {
            let quiet = 3 + u32::try_from(dice.roll(4000)).unwrap();
            learned.survived(&with_id(dice.roll(30)), at(outage - dice.roll(90_000)), quiet * 1000);
        }
        let mut deaths = Vec::new();
        for id in 0..=dice.roll(30) {
            // Each was heard last before the outage, and finds out after it: by data or by probes.
            let heard = outage - dice.roll(5000);
            let tried = outage + dice.roll(5000);
            let quiet = u32::try_from(tried - heard).unwrap();
            let death = match dice.roll(4) {
                0 => keepalive_timeout(quiet),
                1 => {
                    Death { cause: Cause::KeepaliveReset, probes_unanswered: 1, ..idle_drop(quiet) }
                }
                _ => idle_drop(quiet),
            };
            let socket = Socket { id: SocketId(id), ..probing(id, quiet) };
            deaths.push((heard + u64::from(death.silent_ms) / 1000, socket, death));
        }
        // The peer is back after a while, and those who connect then are answered.
        let back = outage + dice.roll(3000);
        deaths.sort_by_key(|(died, ..)| *died);
        for (died, socket, death) in &mut deaths {
            if *died > back && dice.roll(2) == 0 {
                death.others = Others::Answered(1);
            }
            die(&mut learned, socket, *died, death);
            let found = estimate(&learned, *died);
            let is_sure = found.is_some_and(|it| it.confidence == Confidence::Sure);
            assert!(!is_sure, "seed {seed}: {found:?}");
        }
    }
}

#[test]
fn a_reset_at_the_end_of_an_outage_teaches_neither_a_limit_nor_a_timer_and_hides_no_limit() {
    let mut learned = learned();
    for n in 10..13 {
        drop_after(&mut learned, 350, n * HOUR);
        let before = estimate(&learned, n * HOUR + 1);
        // Quiet for an hour, in which the limit killed another one; then repeated in vain for 54 s, until a reset came.
        let ending = Ending {
            errno: ECONNRESET,
            unacked: Unacked::Data,
            retransmits: 7,
            retransmitting_ms: Some(54_000),
            ..Ending::default()
        };
        let quiet_ms = 3_600_000;
        let silent_ms = quiet_ms + 54_000;
        let cause = Cause::PeerReset;
        let death = Death { cause, ending, quiet_ms, silent_ms, ..idle_drop(0) };
        die(&mut learned, &with_id(n), n * HOUR + 600, &death);
        assert_eq!(estimate(&learned, n * HOUR + 1), before);
    }
    let found = estimate(&learned, DAY).unwrap();
    assert_eq!((found.shortest_killed_ms, found.n_deaths, found.n_explained), (350_000, 3, 0));
    assert!(closes_rows(&learned, DAY).is_empty());
}
