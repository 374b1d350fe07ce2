//! The words about connections whose probes come in time for the limit in force, and later than what killed others; and what is
//! proposed for all connections to one server.

use super::tests_support::said_of;
use crate::{
    advice::Proposal,
    command::why::{
        answer::{Judged, judge},
        in_window::AskedWhen,
    },
    fix::{
        known::KnownPaths,
        plan::{LeftAlone, MostValues, plan},
    },
    model::{
        judgement::{
            idle_limit::{IdleLimit, Limits},
            verdict::{Surroundings, Verdict},
        },
        observed::{setting::OwnSettings, socket::Socket, watched::Watched},
    },
    view::{
        life::{
            Finding, Life,
            tests_support::{GAVE_UP, app, around, dead, live},
        },
        neighbours::{Neighbours, peer_timer::PeerTimers},
        row::Row,
    },
};
use std::iter;

const NOW: f64 = 10_000.0;

fn judged(lives: Vec<Life>, others: &[Life]) -> Vec<Judged> {
    judge(lives, others, &[], None, AskedWhen { now: NOW, ..AskedWhen::default() })
}

fn page(lives: Vec<Life>, others: &[Life]) -> String {
    said_of(&judged(lives, others), Some("it"))
}

/// As curl: 60 s, then each 60 s.
fn curl(id: u64, silent_ms: u32) -> Socket {
    let own =
        OwnSettings { idle_seconds: 60, interval_seconds: 60, count: 9, ..OwnSettings::default() };
    Socket { own, ..app(id, Some(60), silent_ms) }
}

/// Its first probe went out after 60 s of quiet, 47 s ago, and is not answered.
fn waiting(id: u64) -> Socket {
    Socket { probes_unanswered: 1, timer_ms: Some(13_000), ..curl(id, 107_000) }
}

/// Its data is not answered for this time, sent after 45 s of quiet.
fn hangs(id: u64, since_ms: u32) -> Socket {
    Socket {
        in_flight: true,
        retransmits: 7,
        retransmitting_ms: Some(since_ms),
        silent_ms: 45_000 + since_ms,
        quiet_ms: since_ms,
        ..app(id, None, since_ms)
    }
}

/// It probes after 10 s, for long, and is answered.
fn answered(id: u64) -> Socket {
    let watched = Watched { ms: 600_000, longest_quiet_ms: 10_000, ..Watched::default() };
    Socket { watched, ..app(id, Some(10), 4_000) }
}

fn to_port(port: u16, mut socket: Socket) -> Socket {
    socket.remote.port = port;
    socket
}

/// What hangs, and what is answered, on other ports of the host.
fn of_host() -> Vec<Life> {
    let all = [to_port(80, hangs(8, 90_000)), to_port(81, hangs(9, 60_000))];
    all.iter().chain(&[to_port(82, answered(7))]).map(live).collect()
}

#[test]
fn a_lost_probe_beside_others_that_hang_after_less_quiet_is_probably_forgotten_by_the_path() {
    let cases = judged(vec![live(&waiting(1))], &of_host());
    assert_eq!(cases[0].finding, Finding::ProbablyForgotten);
    assert!(cases[0].finding.is_of_silence(), "exit code 1");
    let said = said_of(&cases, Some("it"));
    let head = "1 connection of app to 172.16.0.15:2717 was probably forgotten by the path: a probe that was sent 47 s ago, \
                after 1 min of quiet, is not answered, the next goes out in about 13 s; and 2 connections to the same host get \
                no answer any more after 45 s of quiet, while others are answered. A guess:";
    assert!(said.starts_with(head), "{said}");
    assert!(said.contains("a guess: between 10 s and 45 s"), "{said}");
    assert!(!said.contains("may be lost, "), "{said}");
    // The verdict is a promise by the limit in force, and stays.
    assert_eq!(cases[0].verdict.map(Verdict::as_str), Some("protected"));
    assert_eq!(cases[0].proposal, Proposal { idle: 11, interval: 10, count: 9 });
}

#[test]
fn a_lost_probe_is_no_more_than_that_beside_an_outage_or_healthy_neighbours() {
    let finding = |socket: &Socket, others: &[Life]| {
        let cases = judged(vec![live(socket)], others);
        let said = said_of(&cases, Some("it"));
        assert!(!said.contains("forgotten by the path"), "{said}");
        cases[0].finding
    };
    // Nobody else is known, or all are well.
    assert_eq!(finding(&waiting(1), &[]), Finding::ProbeUnanswered);
    assert_eq!(finding(&waiting(1), &[live(&answered(7))]), Finding::ProbeUnanswered);
    // One went on after as long a quiet time.
    let watched = Watched { ms: 600_000, longest_quiet_ms: 60_000, ..Watched::default() };
    let mut others = of_host();
    others.push(live(&to_port(80, Socket { watched, ..curl(6, 4_000) })));
    assert_eq!(finding(&waiting(1), &others), Finding::ProbeUnanswered);
    // It went on after as long a quiet time itself.
    assert_eq!(finding(&Socket { watched, ..waiting(1) }, &of_host()), Finding::ProbeUnanswered);
    // Nobody is answered any more, also what was busy.
    let busy = Watched { ms: 600_000, longest_quiet_ms: 2_100, ..Watched::default() };
    let cut = |id, port| {
        let silent_ms = 52_000;
        to_port(port, Socket { watched: busy, silent_ms, quiet_ms: 50_000, ..hangs(id, 50_000) })
    };
    let outage = [live(&cut(8, 80)), live(&cut(9, 81))];
    assert_eq!(finding(&waiting(1), &outage), Finding::ProbablyLost);
    // The probe came sooner than what killed others.
    let own = OwnSettings { idle_seconds: 12, ..waiting(1).own };
    let soon = Socket { own, silent_ms: 59_000, quiet_ms: 59_000, ..waiting(1) };
    assert_eq!(finding(&soon, &of_host()), Finding::ProbeUnanswered);
}

#[test]
fn what_its_probes_will_not_keep_is_not_called_fine() {
    let cases = judged(vec![live(&curl(1, 20_000))], &of_host());
    let said = said_of(&cases, Some("it"));
    assert_eq!(cases[0].finding, Finding::ProbablyLate);
    let head = "1 connection of app to 172.16.0.15:2717 is protected by the limit of 5 min 50 s (assumed), but its probes leave \
                up to 1 min";
    assert!(said.starts_with(head), "{said}");
    assert!(said.contains("dropped in 25 s if it stays quiet and the path forgets"), "{said}");
    // It probes sooner; or something else keeps it busy.
    let busy = Watched { ms: 600_000, longest_quiet_ms: 5_000, ..Watched::default() };
    for fine in [answered(1), Socket { watched: busy, ..curl(1, 3_000) }] {
        let cases = judged(vec![live(&fine)], &of_host());
        assert_eq!(cases[0].finding, Finding::Fine, "{}", said_of(&cases, Some("it")));
    }
}

/// It died of its probes, the first after 60 s of quiet.
fn died(id: u64) -> Life {
    let socket = Socket { probes_unanswered: 9, ..curl(id, 600_000) };
    let mut life = dead(&socket, GAVE_UP);
    let end = life.end.as_mut().unwrap();
    end.at = "1970-01-01T02:46:30Z".to_owned();
    end.last_packet_at = Some("1970-01-01T02:36:30Z".to_owned());
    life
}

#[test]
fn a_death_by_the_first_probe_beside_answers_of_the_same_host_is_not_called_the_peers() {
    let other_port = [live(&to_port(82, answered(7)))];
    let said = page(vec![died(1)], &other_port);
    let head = "1 connection of app to 172.16.0.15:2717 got no answer to the first probe, and others to other ports of the same \
                host that probe sooner were answered: the path probably forgot it before.";
    assert!(said.starts_with(head), "{said}");
    assert!(!said.contains("nothing to set here"), "{said}");
    assert!(said.contains("between that and 1 min. First probe after at most 15 s"), "{said}");
    // Those that hang after less quiet show it, too.
    let said = page(vec![died(1)], &of_host()[..2]);
    assert!(said.contains("nothing to set here"), "nobody shows that the host is there: {said}");
    let mut pinged = to_port(82, answered(7));
    pinged.keepalive = false;
    let others: Vec<Life> = of_host().into_iter().take(2).chain([live(&pinged)]).collect();
    let said = page(vec![died(1)], &others);
    assert!(said.contains("get no answer any more after 45 s of quiet"), "{said}");
    assert!(!said.contains("nothing to set here"), "{said}");
}

#[test]
fn what_hangs_after_a_quiet_time_that_others_show_to_be_too_long_needs_earlier_probes() {
    let own = OwnSettings { idle_seconds: 120, ..curl(1, 0).own };
    let hanging = Socket { own, keepalive: true, ..hangs(1, 30_000) };
    let hanging = Socket { silent_ms: 120_000, ..hanging };
    let said = page(vec![live(&hanging)], &of_host());
    assert!(said.contains("TCP_KEEPIDLE"), "{said}");
    // By the limit in force its probes come in time, and nobody shows anything else; or one went on after as much.
    let watched = Watched { ms: 600_000, longest_quiet_ms: 100_000, ..Watched::default() };
    let survivor = Socket { watched, ..answered(7) };
    for others in [vec![], vec![live(&survivor)]] {
        let said = page(vec![live(&hanging)], &others);
        assert!(said.contains("TCP_USER_TIMEOUT") && !said.contains("TCP_KEEPIDLE"), "{said}");
        let is_asked = said.contains("if this measures a limit below 1 min 30 s");
        assert_eq!(is_asked && said.contains("keepwatch measure "), others.is_empty(), "{said}");
    }
}

#[test]
fn a_death_by_probes_that_others_do_not_explain_stays_the_peers() {
    let mut outage = died(1);
    outage.end.as_mut().unwrap().others_silent = Some(2);
    let mut survivor = died(1);
    survivor.connection.longest_quiet_seconds = 60.0;
    let answered = [live(&to_port(82, answered(7)))];
    let late = [live(&to_port(82, curl(7, 4_000)))];
    for (life, others) in
        [(outage, &answered[..]), (survivor, &answered[..]), (died(1), &late[..]), (died(1), &[])]
    {
        let said = page(vec![life], others);
        assert!(said.contains("nothing to set here: keepalive noticed it"), "{said}");
    }
}

#[test]
fn what_others_show_of_one_death_holds_for_the_next_of_its_kind_before_they_are_heard_again() {
    let earlier = died(1);
    // It died later than the neighbour was heard last.
    let mut latest = died(2);
    let end = latest.end.as_mut().unwrap();
    (end.at, end.last_packet_at) =
        ("1970-01-01T02:46:39Z".to_owned(), Some("1970-01-01T02:44:30Z".to_owned()));
    let mut neighbour = live(&to_port(82, answered(7)));
    neighbour.connection.silent_seconds = 80.0;
    let said = |lives: Vec<Life>| page(lives, std::slice::from_ref(&neighbour));
    let both = said(vec![earlier, latest.clone()]);
    assert!(
        both.contains("2 connections of app to 172.16.0.15:2717 got no answer to the first probe"),
        "{both}"
    );
    // Alone it is not explained yet.
    let alone = said(vec![latest]);
    assert!(alone.contains("nothing to set here: keepalive noticed it"), "{alone}");
}

/// What `fix` would set on a connection beside others, and why.
fn planned(
    socket: &Socket,
    others: &[Life],
    around: &Surroundings,
) -> Result<(Proposal, String), LeftAlone> {
    let row = Row::new(socket, [], None, around, socket.at);
    let neighbours = Neighbours::of(iter::empty(), others.iter(), &PeerTimers::default(), NOW);
    let paths = KnownPaths { neighbours, ..KnownPaths::default() };
    let planned = plan(&row, &paths, MostValues::default(), 250)?;
    let options = planned.options;
    let values = Proposal {
        idle: options.idle_seconds,
        interval: options.interval_seconds,
        count: options.count,
    };
    Ok((values, planned.origin))
}

#[test]
fn all_connections_to_a_server_get_one_proposal_from_why_and_from_fix() {
    // As hub: the first probe of one kind met silence, the other kind is off, and a third is protected.
    let silent = Socket { probes_unanswered: 3, timer_ms: Some(50_000), ..curl(1, 190_000) };
    let late = curl(3, 5_000);
    let late = Socket { own: OwnSettings { idle_seconds: 90, ..late.own }, ..late };
    let lives = [silent, app(2, None, 5_000), late, answered(7)];
    let cases = judged(lives.iter().map(live).collect(), &[]);
    let others: Vec<Life> = lives.iter().map(live).collect();
    let times = |it: Proposal| (it.idle, it.interval);
    for case in cases.iter().filter(|case| case.finding != Finding::Fine) {
        assert_eq!(times(case.proposal), (10, 10), "{:?}", case.finding);
    }
    let found: Vec<Finding> = cases.iter().map(|case| case.finding).collect();
    let expected_findings =
        [Finding::PeerSilent, Finding::Unprotected, Finding::ProbablyLate, Finding::Fine];
    assert_eq!(found, expected_findings);
    // One limit, too: that of another port that hangs sooner is said beside.
    let sooner = [live(&to_port(80, hangs(8, 90_000)))];
    let cases = judged(lives.iter().map(live).collect(), &sooner);
    for case in cases.iter().filter(|case| case.finding != Finding::Fine) {
        let said = case.limit().unwrap_or_default();
        assert!(said.contains("after 45 s of quiet"), "{:?}: {said}", case.finding);
        assert_eq!(times(case.proposal), (10, 10), "{:?}", case.finding);
    }
    for socket in [&lives[1], &lives[2]] {
        let (values, origin) = planned(socket, &others, &around()).unwrap();
        assert_eq!(times(values), (10, 10));
        assert!(origin.starts_with("what was seen: ") && origin.contains("of quiet"), "{origin}");
    }
}

#[test]
fn a_protected_connection_is_fixed_only_where_its_limit_is_assumed_and_others_died_sooner() {
    let others = of_host();
    assert!(planned(&curl(1, 5_000), &others, &around()).is_ok());
    assert_eq!(planned(&curl(1, 5_000), &[], &around()), Err(LeftAlone::Protected));
    assert_eq!(planned(&answered(1), &others, &around()), Err(LeftAlone::Protected));
    let limits = Limits::new(Vec::new(), IdleLimit { seconds: 350, preset: None }, true);
    let given = Surroundings { limits, ..around() };
    assert_eq!(planned(&curl(1, 5_000), &others, &given), Err(LeftAlone::ProtectedAsSet));
    assert_eq!(planned(&curl(1, 5_000), &[], &given), Err(LeftAlone::Protected));
    // What is off obeys what is seen under any limit, as before.
    for around in [&around(), &given] {
        let (values, _) = planned(&app(1, None, 5_000), &others, around).unwrap();
        assert_eq!(values.idle, 11);
    }
}
