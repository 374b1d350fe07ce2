//! Outages of made-up witnesses.

use super::*;
use crate::view::neighbours::witness::UnansweredSince;

fn darkened(case: usize, heard: f64, since: f64) -> HostWitness {
    let unanswered = UnansweredSince { since, is_outage: true, is_alone: false };
    let witness =
        PeerWitness { heard: Some(heard), unanswered: Some(unanswered), ..PeerWitness::default() };
    HostWitness { witness, ..of_case(case) }
}

fn of_case(case: usize) -> HostWitness {
    let witness = PeerWitness::default();
    HostWitness { case, port: 443, witness, answered: None, hung: None, hung_before: false }
}

fn heard(at: f64) -> HostWitness {
    let witness = PeerWitness { heard: Some(at), ..PeerWitness::default() };
    HostWitness { witness, ..of_case(99) }
}

#[test]
fn the_most_that_fell_silent_within_a_minute_are_together() {
    let all: Vec<HostWitness> = [0.0, 100.0, 110.0, 130.0, 160.0, 161.0, 200.0]
        .into_iter()
        .enumerate()
        .map(|(case, since)| darkened(case, -1.0, since))
        .collect();
    let outage = Outage::of(all.clone(), false).unwrap();
    assert_eq!((outage.since, outage.n, outage.cases.len()), (110.0, 4, 4));
    assert!(outage.is_of_many());
    assert!(!Outage::of(all[..4].to_vec(), false).unwrap().is_of_many());
}

#[test]
fn what_hung_before_the_last_packet_came_is_not_of_it_and_hides_it_not() {
    // As one that hangs for 24 s when the wire is cut at 100, and one that dies of an earlier trouble.
    let cut = [(1, 99.0, 101.0), (2, 100.0, 102.0), (3, 98.0, 103.0), (4, 97.0, 104.0)];
    let cut = cut.map(|(case, heard, since)| darkened(case, heard, since));
    let older = [darkened(5, 20.0, 76.0), darkened(6, 10.0, 80.0)];
    let all = [&cut[..], &older].concat();
    let outage = Outage::of(all.clone(), false).unwrap();
    assert_eq!((outage.heard_until, outage.since, outage.n), (Some(100.0), 101.0, 4));
    assert!(outage.last_end.is_infinite() && outage.heard_again.is_none(), "they still wait");
    // A neighbour that was answered shows the bound; one that still is shows that the host is there.
    let beside = |at| Outage::of([&all[..], &[heard(at)]].concat(), false);
    assert_eq!(beside(100.9).unwrap().heard_until, Some(100.9));
    assert_eq!(beside(140.0), None);
}

#[test]
fn what_a_path_had_forgotten_a_moment_before_does_not_tell_when_an_outage_began() {
    let mut forgotten = darkened(9, -100.0, 94.0);
    forgotten.witness.unanswered.as_mut().unwrap().is_outage = false;
    let cut = [(1, 92.0, 101.0), (2, 93.0, 102.0), (3, 90.0, 103.0), (4, 91.0, 104.0)];
    let mut all = cut.map(|(case, heard, since)| darkened(case, heard, since)).to_vec();
    all.push(forgotten);
    let outage = Outage::of(all, false).unwrap();
    assert_eq!((outage.heard_until, outage.since, outage.n), (Some(93.0), 101.0, 4));
}

#[test]
fn an_outage_that_is_over_is_reported_although_the_host_is_heard_again() {
    let mut all = [1, 2, 3, 4].map(|case| darkened(case, 99.0, 101.0));
    for it in &mut all {
        it.witness.ended = Some(130.0);
    }
    let beside = |at| Outage::of([&all[..], &[heard(at)]].concat(), false);
    assert!(beside(500.0).is_some_and(|it| it.last_end < 131.0), "heard after the last had ended");
    assert_eq!(beside(120.0), None, "heard meanwhile");
}

/// Went unanswered from then to then.
fn went_on(case: usize, since: f64, answered: f64) -> HostWitness {
    let unanswered = UnansweredSince { since, is_outage: true, is_alone: false };
    let witness = PeerWitness { unanswered: Some(unanswered), ..PeerWitness::default() };
    HostWitness { witness, answered: Some(answered), ..of_case(case) }
}

#[test]
fn what_went_on_shows_an_outage_that_is_over_and_what_was_answered_all_the_time_that_there_was_none()
 {
    let times = [(1, 101.0), (2, 102.0), (3, 103.0), (4, 104.0)];
    let mut all = times.map(|(case, since)| went_on(case, since, 175.0)).to_vec();
    // One of them is heard since, and a new one was opened.
    all.push(heard(900.0));
    all.last_mut().unwrap().witness.opened = Some(180.0);
    let outage = Outage::of(all.clone(), false).unwrap();
    assert_eq!((outage.since, outage.heard_again, outage.n), (101.0, Some(175.0), 4));
    let hosts = [IpAddr::from([10, 0, 0, 1])].into();
    let said = Outage { hosts, ..outage }.in_words(1_000.0);
    assert!(said.contains("to 1 port, and it was heard again by "), "{said}");
    // The answer itself comes before it is seen.
    let hung = Some((101.0, 175.0));
    let answer = HostWitness { hung, ..heard(174.0) };
    assert_eq!(Outage::of([&all[..], &[answer]].concat(), false).unwrap().n, 4);
    // It has never been quiet for longer than 3 s: it was answered in these 74 s, too.
    let beside = |longest_silence, watched_since| {
        let mut beside = heard(990.0);
        beside.witness.busy =
            Some(BusyTime { since: watched_since, longest_silence, has_repeated: false });
        Outage::of([&all[..], &[beside]].concat(), false)
    };
    assert_eq!(beside(3.0, 0.0), None);
    assert!(beside(80.0, 0.0).is_some(), "it may have been quiet all the time");
    assert!(beside(3.0, 200.0).is_some(), "nobody watched it then");
    let with = |it: HostWitness| Outage::of([&all[..], &[it]].concat(), false);
    // Nobody watched it, and it was heard as the others were answered; or in the middle.
    assert!(with(heard(174.0)).is_some() && with(heard(150.0)).is_none());
    // Its probes went unanswered, too, and it was heard again before the others were.
    let mut probing = heard(150.0);
    let busy = BusyTime { since: 0.0, longest_silence: 20.0, has_repeated: true };
    probing.witness.busy = Some(busy);
    assert_eq!(with(probing).map(|it| it.heard_again), Some(Some(150.0)));
    probing.witness.busy = Some(BusyTime { has_repeated: false, ..busy });
    assert_eq!(with(probing), None);
}

#[test]
fn what_a_path_forgot_in_an_outage_hangs_on_when_the_host_is_heard_again() {
    // The path forgot them while it was cut: a new connection is answered, these wait.
    let mut all = [1, 2, 3, 4].map(|case| darkened(case, 99.0, 101.0)).to_vec();
    all.push(heard(300.0));
    all.last_mut().unwrap().witness.opened = Some(160.0);
    let outage = Outage::of(all.clone(), false).unwrap();
    assert_eq!((outage.heard_again, outage.n), (Some(160.0), 4));
    // One that fell silent when it was there again is no part of it.
    all.push(darkened(5, 161.0, 161.0));
    assert_eq!(Outage::of(all, false).unwrap().n, 4);
}

#[test]
fn hosts_that_went_dark_together_are_one_outage_and_one_that_was_answered_is_not_of_it() {
    let host = |last: u8, since: f64, n: usize| Outage {
        hosts: [IpAddr::from([10, 0, 0, last])].into(),
        netns: [1].into(),
        heard_until: Some(since - 2.0),
        since,
        heard_again: None,
        n_heard: 0,
        last_end: f64::INFINITY,
        n,
        cases: (0..n).map(|it| usize::from(last) * 10 + it).collect(),
        ports: [443].into(),
    };
    let hosts = [(1, 100.0, 2), (2, 101.0, 1), (3, 101.5, 1), (4, 101.5, 1), (5, 400.0, 3)];
    let joined = together(hosts.map(|(last, since, n)| host(last, since, n)).to_vec());
    let largest = joined.iter().filter(|it| it.is_of_many()).max_by_key(|it| it.n).unwrap();
    let said = largest.in_words(1_000.0);
    assert!(
        said.starts_with(
            "10.0.0.1, 10.0.0.2, 10.0.0.3 and 1 host more, or the path to them, went dark between "
        ),
        "{said}"
    );
    assert!(said.ends_with("for 5 connections of 5 kinds, to 1 port"), "{said}");
    // All are heard again only if each is.
    let again = |first: Option<f64>, second: Option<f64>| {
        let heard = |last, heard_again: Option<f64>| {
            let n_heard = usize::from(heard_again.is_some());
            Outage { heard_again, n_heard, ..host(last, 100.0, 2) }
        };
        heard(1, first).and(heard(2, second)).in_words(1_000.0)
    };
    assert!(again(Some(150.0), Some(160.0)).contains("all were heard again by "));
    // One is still dark.
    assert!(again(Some(150.0), None).contains(", and one of them was heard again by "));
    assert!(again(None, Some(160.0)).contains(", and one of them was heard again by "));
    assert!(!again(None, None).contains("heard again"));
    // Three alone are said by their cases.
    assert!(!joined.last().unwrap().is_of_many());
    // What another namespace saw much later has nothing to do with it; what it saw at once may.
    let n_hosts = |since| {
        let elsewhere = Outage { netns: [2].into(), ..host(2, since, 2) };
        together(vec![host(1, 100.0, 2), elsewhere])[0].hosts.len()
    };
    assert_eq!((n_hosts(142.0), n_hosts(101.0)), (1, 2));
}

#[test]
fn an_outage_that_lasts_comes_before_a_larger_one_that_is_over() {
    let outage = |n, heard_again: Option<f64>| Outage {
        hosts: [IpAddr::from([10, 0, 0, 1])].into(),
        netns: BTreeSet::new(),
        heard_until: None,
        since: if heard_again.is_some() { 0.0 } else { 300.0 },
        heard_again,
        n_heard: usize::from(heard_again.is_some()),
        last_end: f64::INFINITY,
        n,
        cases: BTreeSet::new(),
        ports: BTreeSet::new(),
    };
    let all = [outage(22, Some(9.0)), outage(4, None), outage(5, None), outage(30, Some(9.0))];
    let n = |told: Vec<Outage>| told.iter().map(|it| it.n).collect::<Vec<_>>();
    assert_eq!(n(lasting_then_over(all.into_iter())), [5, 30]);
    assert_eq!(n(lasting_then_over([outage(6, Some(9.0))].into_iter())), [6]);
    // Part of the one that lasts: some of its hosts are heard again.
    let part = Outage { since: 330.0, ..outage(9, Some(340.0)) };
    assert_eq!(n(lasting_then_over([outage(12, None), part].into_iter())), [12]);
    // Of a time that is over each is told, in its order.
    let at = |n, since| Outage { since, ..outage(n, Some(since + 30.0)) };
    let of_then = [at(11, 400.0), at(22, 0.0), at(8, 410.0), at(5, 900.0), at(4, 1_500.0)];
    assert_eq!(n(each_of_a_time(of_then.into_iter())), [22, 11, 5]);
}

#[test]
fn the_outage_that_lasts_is_found_beside_a_larger_one_of_the_same_host_that_is_over() {
    let before = [1, 2, 3, 4, 5, 6].map(|case| went_on(case, 101.0, 175.0));
    let now = [1, 2, 3, 4].map(|case| darkened(case, 399.0, 401.0));
    let found = |all: &[HostWitness]| {
        Outage::each_of(all, false).map(|it| (it.since, it.is_over())).collect::<Vec<_>>()
    };
    assert_eq!(found(&[&before[..], &now].concat()), [(101.0, true), (401.0, false)]);
    assert_eq!(found(&before), [(101.0, true)]);
    assert_eq!(found(&now), [(401.0, false)]);
}

#[test]
fn what_a_path_forgot_hides_no_outage_however_many_hang() {
    // The last words of five killed programs meet a path that had forgotten them.
    let forgotten = |case| {
        let mut it = darkened(case, 20.0, 300.0);
        it.witness.unanswered.as_mut().unwrap().is_outage = false;
        it
    };
    let cut = [1, 2, 3, 4].map(|case| darkened(case, 99.0, 101.0));
    let killed = [5, 6, 7, 8, 9].map(forgotten);
    let all = [&cut[..], &killed].concat();
    assert_eq!(Outage::of(all, false).map(|it| (it.since, it.n)), Some((101.0, 4)));
    assert_eq!(Outage::of(killed.to_vec(), false), None);
}

#[test]
fn an_older_outage_does_not_hide_the_one_of_the_time_that_was_asked_for() {
    let older: Vec<HostWitness> = (10..16)
        .map(|case| HostWitness { hung_before: true, ..darkened(case, -1.0, 1.0) })
        .collect();
    let of_then = [1, 2, 3, 4].map(|case| darkened(case, 99.0, 101.0));
    let all = [&older[..], &of_then].concat();
    assert_eq!(Outage::of(all.clone(), false).map(|it| (it.since, it.n)), Some((101.0, 4)));
    assert_eq!(Outage::of(older.clone(), false), None);
    assert_eq!(Outage::of(older, true).map(|it| (it.since, it.n)), Some((1.0, 6)));
}
