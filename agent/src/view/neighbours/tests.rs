//! What neighbours show, and what only looks like it.

use super::*;
use crate::{
    model::{
        observed::{socket::Socket, watched::Watched},
        text::wall_time::{WallTime, unix_seconds},
    },
    view::{
        connection_group::cases,
        life::tests_support::{GAVE_UP, app, dead, live},
    },
};

/// A minute after the deaths of these tests.
fn now() -> f64 {
    unix_seconds("2026-01-02T03:05:00Z").unwrap()
}

fn neighbours_of(cases: &[ConnectionGroup], others: &[Life], now: f64) -> Neighbours {
    let timers = PeerTimers::default();
    Neighbours::of(cases.iter().flat_map(|case| &case.lives), others.iter(), &timers, now)
}

fn found(lives: Vec<Life>, others: &[Life]) -> Option<(f64, f64)> {
    let cases = cases(lives);
    let case = cases.first().unwrap();
    let earlier = neighbours_of(&cases, others, now()).earlier_probe(case, case.finding());
    earlier.map(|earlier| (earlier.survived, earlier.killed))
}

fn probing(id: u64, idle: u32, watched_seconds: f64) -> Life {
    let mut life = live(&app(id, Some(idle), 0));
    life.connection.watched_seconds = watched_seconds;
    life.connection.longest_quiet_seconds = f64::from(idle);
    life
}

/// Two probes are unanswered: the first after 60 s of silence.
fn silent(id: u64) -> Socket {
    let mut socket = app(id, Some(60), 130_000);
    (socket.own.interval_seconds, socket.own.count) = (60, 9);
    Socket { probes_unanswered: 2, timer_ms: Some(50_000), ..socket }
}

#[test]
fn a_probe_that_met_silence_beside_sooner_ones_that_were_answered_came_too_late() {
    let died = || dead(&app(1, Some(60), 90_000), GAVE_UP);
    let soon = [probing(2, 30, 600.0), probing(3, 15, 600.0)];
    assert_eq!(found(vec![died()], &soon), Some((30.0, 60.0)));
    // They were answered before only, or are younger; an outage was seen.
    let mut stale = probing(2, 30, 600.0);
    stale.connection.silent_seconds = 100.0;
    assert_eq!(found(vec![died()], &[stale]), None);
    let mut younger = probing(2, 30, 600.0);
    younger.opened_at = Some("2026-01-02T03:04:30Z".to_owned());
    assert_eq!(found(vec![died()], &[younger]), None);
    let mut in_outage = died();
    in_outage.end.as_mut().unwrap().others_silent = Some(3);
    assert_eq!(found(vec![in_outage], &soon), None);
    // Nobody else lives; the others probe as late; nobody has seen them probe yet.
    assert_eq!(found(vec![died()], &[]), None);
    assert_eq!(found(vec![died()], &[probing(2, 60, 600.0)]), None);
    assert_eq!(found(vec![died()], &[probing(2, 30, 5.0)]), None);
    // A busy one has sent none.
    let mut busy = probing(2, 30, 600.0);
    busy.connection.longest_quiet_seconds = 1.0;
    assert_eq!(found(vec![died()], &[busy]), None);
    // They get no answer either: the peer is silent.
    let mut unanswered = probing(2, 30, 600.0);
    unanswered.connection.probes_unanswered = 1;
    assert_eq!(found(vec![died()], &[unanswered]), None);
    // It was answered before.
    let mut answered_before = died();
    answered_before.end.as_mut().unwrap().probes_sent = 7;
    assert_eq!(found(vec![answered_before], &soon), None);
}

#[test]
fn a_first_probe_that_meets_silence_now_is_judged_beside_its_neighbours_as_well() {
    let neighbour = [probing(2, 20, 600.0)];
    assert_eq!(found(vec![live(&silent(1))], &neighbour), Some((20.0, 60.0)));
    let cases = cases(vec![live(&silent(1))]);
    let guess = neighbours_of(&cases, &neighbour, 0.0).limit(&cases[0]).unwrap();
    assert_eq!((guess.answered_after, guess.n_hanging), (Some(20.0), 1));
    assert!((59.0..=61.0).contains(&guess.hangs_after), "{guess:?}");
    // It went on after as long a quiet time before: the peer is gone, even if others are answered.
    let mut answered_before = live(&silent(1));
    answered_before.connection.longest_quiet_seconds = 60.0;
    assert_eq!(found(vec![answered_before.clone()], &neighbour), None);
    let cases = crate::view::connection_group::cases(vec![answered_before]);
    assert_eq!(neighbours_of(&cases, &neighbour, 0.0).limit(&cases[0]), None);
}

#[test]
fn what_hangs_is_shown_to_a_quiet_neighbour_to_the_same_server_in_the_same_namespace() {
    let stuck = |id| Socket {
        in_flight: true,
        retransmits: 7,
        retransmitting_ms: Some(39_000),
        silent_ms: 119_000,
        ..app(id, None, 39_000)
    };
    let quiet = || cases(vec![live(&app(1, None, 195_000))]);
    let hanging = [live(&stuck(8)), live(&stuck(9))];
    let neighbours = neighbours_of(&quiet(), &hanging, 0.0);
    let guess = neighbours.limit(&quiet()[0]).unwrap();
    assert_eq!((guess.hangs_after, guess.n_hanging), (80.0, 2));
    let processes = [("app".to_owned(), 812)].into();
    assert_eq!((guess.processes, guess.hanging_seconds), (processes, 39.0));
    assert!(neighbours.is_silent(&quiet()[0]));
    // One went on after 100 s: no limit explains those that hang.
    let mut survived = live(&app(3, None, 0));
    survived.connection.longest_quiet_seconds = 100.0;
    let mut others = hanging.to_vec();
    others.push(survived);
    assert_eq!(neighbours_of(&quiet(), &others, 0.0).limit(&quiet()[0]), None);
    let elsewhere = [live(&Socket { netns: 7, ..stuck(8) })];
    assert_eq!(neighbours_of(&quiet(), &elsewhere, 0.0).limit(&quiet()[0]), None);
}

#[test]
fn a_neighbour_that_was_lost_in_the_dark_tells_those_that_would_never_notice() {
    // It died at 03:04:05, its 9 probes unanswered; 75 s lie between two of them.
    let lost = [dead(&app(9, Some(60), 90_000), GAVE_UP)];
    let is_silent = |silent_ms, lost: &[Life]| {
        let cases = cases(vec![live(&app(1, None, silent_ms))]);
        neighbours_of(&cases, lost, now()).is_silent(&cases[0])
    };
    assert!(is_silent(800_000, &lost));
    // It heard the server since.
    assert!(!is_silent(5_000, &lost));
    assert!(!is_silent(800_000, &[]));
}

/// Data is unanswered for this time, sent after this quiet time.
fn stuck(id: u64, since_ms: u32, quiet_ms: u32) -> Socket {
    Socket {
        in_flight: true,
        retransmits: 7,
        retransmitting_ms: Some(since_ms),
        silent_ms: since_ms + quiet_ms,
        ..app(id, None, since_ms)
    }
}

/// It pings each 2 s, has done so for long, and gets no answer for this time.
fn busy(id: u64, since_ms: u32) -> Socket {
    let watched = Watched { ms: 600_000, longest_quiet_ms: 2_100, ..Watched::default() };
    Socket { watched, ..stuck(id, since_ms, 2_000) }
}

#[test]
fn what_hung_before_an_outage_keeps_its_limit_and_what_hangs_by_it_shows_none() {
    // One hangs for 11 min after 60 s of quiet; the others were answered until a cut 12 s ago.
    let older = || vec![live(&stuck(1, 660_000, 60_000))];
    let cut = [live(&busy(8, 12_000)), live(&busy(9, 11_000))];
    let of = |lives: Vec<Life>, others: &[Life]| {
        let cases = cases(lives);
        let neighbours = neighbours_of(&cases, others, 10_000.0);
        (neighbours.is_outage(&cases[0]), neighbours.limit(&cases[0]))
    };
    let (is_outage, guess) = of(older(), &cut);
    let guess = guess.unwrap();
    assert!(!is_outage && guess.is_heard, "{guess:?}");
    assert_eq!((guess.hangs_after, guess.heard_after, guess.n_hanging), (60.0, Some(2.1), 1));
    // They are not answered any more: the last packet came 13 s ago.
    assert_eq!(guess.heard_until, Some(10_000.0 - 13.0));
    let busy_one = || vec![live(&busy(7, 12_000))];
    assert_eq!(of(busy_one(), &older()), (true, None));
    // Its look-alike: the others are answered still.
    let answered = [live(&app(8, None, 500))];
    let (is_outage, guess) = of(older(), &answered);
    assert!(!is_outage && guess.as_ref().is_some_and(|it| it.is_heard), "{guess:?}");
    assert_eq!(guess.unwrap().heard_until, None);
    // One hangs after 2 s of quiet while others are answered: its own matter, and no limit.
    assert_eq!(of(busy_one(), &answered), (false, None));
    // All of them began to hang together.
    let (is_outage, guess) = of(vec![live(&stuck(1, 10_000, 60_000))], &cut);
    assert_eq!((is_outage, guess), (true, None));
}

#[test]
fn neighbours_that_were_answered_before_it_hung_only_show_nothing() {
    let hangs = || cases(vec![live(&stuck(1, 39_000, 60_000))]);
    let neighbour = |silent_ms, opened_at: Option<&str>| {
        let mut life = probing(2, 20, 600.0);
        life.connection.silent_seconds = silent_ms;
        life.opened_at = opened_at.map(str::to_owned);
        [life]
    };
    let guess = |others: &[Life]| {
        let cases = hangs();
        neighbours_of(&cases, others, now()).limit(&cases[0]).unwrap()
    };
    assert_eq!(guess(&neighbour(5.0, None)).answered_after, Some(20.0));
    for other in [neighbour(40.0, None), neighbour(5.0, Some("2026-01-02T03:04:50Z"))] {
        let guess = guess(&other);
        assert_eq!((guess.answered_after, guess.heard_after, guess.is_heard), (None, None, false));
    }
}

#[test]
fn after_a_restart_of_the_agent_an_answered_neighbour_still_speaks_against_a_peer_that_is_gone() {
    let cases = cases(vec![live(&stuck(1, 39_000, 60_000))]);
    let young = live(&app(2, None, 500));
    let guess = neighbours_of(&cases, &[young], 0.0).limit(&cases[0]).unwrap();
    assert_eq!((guess.answered_after, guess.heard_after, guess.is_heard), (None, None, true));
}

#[test]
fn only_what_sends_nothing_does_not_notice_that_nobody_answers() {
    let hanging = [live(&stuck(8, 39_000, 60_000))];
    let is_silent = |socket: &Socket, others: &[Life]| {
        let cases = cases(vec![live(socket)]);
        neighbours_of(&cases, others, 0.0).is_silent(&cases[0])
    };
    assert!(is_silent(&app(1, None, 195_000), &hanging));
    // Its own probe will notice; it was answered since; it is younger than that.
    assert!(!is_silent(&app(1, Some(7200), 195_000), &hanging));
    assert!(!is_silent(&app(1, None, 10_000), &hanging));
    assert!(!is_silent(&app(1, None, 6_000), &hanging));
    // Others were answered since: the path forgot those that hang.
    let answered = [hanging[0].clone(), live(&app(2, None, 500))];
    assert!(!is_silent(&app(1, None, 195_000), &answered));
}

#[test]
fn a_quiet_one_learns_from_what_hangs_at_other_ports_of_its_host() {
    let mut other_port = stuck(8, 39_000, 53_000);
    other_port.remote.port = 6379;
    let quiet = cases(vec![live(&app(1, None, 101_000))]);
    let guess = |other: &Socket| {
        let others = [live(other)];
        neighbours_of(&quiet, &others, 0.0).limit(&quiet[0])
    };
    let found = guess(&other_port).unwrap();
    assert_eq!((found.is_of_host, found.hangs_after), (true, 53.0));
    let mut elsewhere = other_port;
    elsewhere.remote.addr = "::ffff:172.16.0.16".parse().unwrap();
    assert_eq!(guess(&elsewhere), None);
    // What hangs itself is not explained by another port.
    let hangs = cases(vec![live(&stuck(1, 9_000, 2_000))]);
    let others = [live(&other_port)];
    assert_eq!(neighbours_of(&hangs, &others, 0.0).limit(&hangs[0]), None);
}

#[test]
fn what_was_read_later_than_the_rest_is_dated_by_its_own_time() {
    // The neighbour was heard 14 s after the other began to hang, which shows only if it is dated 20 s later.
    let hangs = cases(vec![live(&stuck(1, 10_000, 60_000))]);
    let neighbour = |read_at: Option<f64>| Life { read_at, ..live(&app(2, None, 16_000)) };
    let is_heard = |read_at| {
        let others = [neighbour(read_at)];
        neighbours_of(&hangs, &others, 100.0).limit(&hangs[0]).unwrap().is_heard
    };
    assert!(!is_heard(None));
    assert!(is_heard(Some(120.0)));
}

#[test]
fn what_was_sent_in_an_outage_shows_no_limit_also_when_newcomers_are_answered_again() {
    let hangs = |id, since_ms: u32, after_ms: u32| {
        live(&Socket {
            in_flight: true,
            retransmits: 7,
            retransmitting_ms: Some(since_ms),
            silent_ms: since_ms + after_ms,
            ..app(id, None, since_ms)
        })
    };
    let victim = || vec![hangs(1, 90_000, 39_000)];
    let guess = |others: &[Life]| {
        let cases = cases(victim());
        let neighbours = neighbours_of(&cases, others, now());
        let evidence = neighbours.evidence(&cases[0].lives[0].connection);
        (neighbours.is_outage(&cases[0]), neighbours.limit(&cases[0]), evidence.killed)
    };
    // It had spoken 4 s before it fell silent, and the server was opened again 20 s ago.
    let moment = hangs(2, 95_000, 4_000);
    let mut newcomer = live(&app(3, None, 0));
    newcomer.opened_at = Some("2026-01-02T03:04:40Z".to_owned());
    assert_eq!(guess(&[moment.clone(), newcomer.clone()]), (true, None, None));
    // Without it a limit may explain the hang; or it fell silent long before; or others were answered all the time.
    let mut busy = live(&app(4, None, 0));
    (busy.connection.watched_seconds, busy.connection.longest_quiet_seconds) = (600.0, 1.0);
    let long_before = hangs(2, 200_000, 4_000);
    for others in [vec![newcomer.clone()], vec![long_before, newcomer], vec![moment, busy]] {
        let (is_outage, limit, killed) = guess(&others);
        assert!(!is_outage, "{others:?}");
        assert_eq!(limit.map(|limit| limit.hangs_after), Some(39.0), "{others:?}");
        assert!(killed.is_some(), "{others:?}");
    }
}

#[test]
fn what_hangs_since_an_outage_is_forgotten_only_if_it_was_repeated_when_the_peer_was_there_again() {
    let hangs = |ms| Socket {
        in_flight: true,
        retransmits: 7,
        retransmitting_ms: Some(ms),
        silent_ms: ms + 2_000,
        ..app(1, None, ms)
    };
    const NOW_MS: i64 = 1_767_323_100_000; // 2026-01-02T03:05:00Z
    // Another one was opened when the path was there again.
    let is_forgotten = |hangs_ms: u32, opened_ago: i64| {
        let mut other = live(&app(2, None, 0));
        other.opened_at = Some(WallTime::of_unix_ms(NOW_MS - opened_ago * 1000).at);
        let cases = cases(vec![live(&hangs(hangs_ms))]);
        neighbours_of(&cases, &[other], now()).is_forgotten(&cases[0])
    };
    // The last repetition came after 16 to 33 s, the next one comes after 67 s at the latest.
    assert!(!is_forgotten(33_000, 3));
    assert!(is_forgotten(100_000, 80));
    assert!(!is_forgotten(100_000, 3));
    // None comes later than 2 min after the one before.
    assert!(is_forgotten(600_000, 140));
    assert!(!is_forgotten(600_000, 60));
}

#[test]
fn of_many_deaths_one_in_an_outage_makes_no_outage_of_the_others() {
    let lost = |id, others_silent| {
        let mut life = dead(&app(id, Some(60), 90_000), GAVE_UP);
        life.end.as_mut().unwrap().others_silent = others_silent;
        life
    };
    let is_outage = |lives: Vec<Life>| {
        let cases = cases(lives);
        neighbours_of(&cases, &[], now()).is_outage(&cases[0])
    };
    assert!(is_outage(vec![lost(1, Some(2)), lost(2, Some(1))]));
    assert!(!is_outage(vec![lost(1, Some(2)), lost(2, None)]));
}
