//! The words about peers: what closes first, what went dark for all, and what a single lost probe ended.

mod timer;

use super::{
    tests_support::{closes_after, said_of, stuck},
    *,
};
use crate::{
    command::why::{answer::judge, in_window::AskedWhen},
    model::{
        judgement::{death::Cause, learned::LearnedRow, learned_limit::Confidence},
        observed::{
            ending::{Ending, Unacked},
            peer_closed::PeerClosed,
            setting::OwnSettings,
            socket::{Direction, Endpoint, Socket, State},
            watched::Watched,
        },
    },
    view::life::{
        Life,
        tests_support::{GAVE_UP, RESET, app, dead, died_from, live},
    },
};

use std::net::Ipv4Addr;

fn page(lives: Vec<Life>, learned: &[LearnedRow]) -> String {
    let cases = judge(lives, &[], learned, None, AskedWhen::default());
    said_of(&cases, Some("it"))
}

#[test]
fn what_was_closed_before_the_peer_read_it_is_not_said_to_have_met_no_answer() {
    let blocked = Socket {
        window_closed: true,
        in_flight: true,
        retransmitting_ms: Some(20_000),
        ..app(1, None, 0)
    };
    let said = page(vec![live(&blocked)], &[]);
    assert!(said.contains("the peer's program does not read enough, its host answers"), "{said}");
    let orphan = Socket { is_orphan: true, state: State::FinWait1, ..blocked };
    let said = page(vec![live(&orphan)], &[]);
    let head = "1 connection of app to 172.16.0.15:2717 was closed by this host before the peer had taken what was written:";
    assert!(said.starts_with(head) && said.contains("the kernel gives up in about"), "{said}");
    assert!(!said.contains("without an answer") && !said.contains(" fix "), "{said}");
    let repeated = Socket { retransmits: 3, retransmitting_ms: Some(5_000), ..orphan };
    let said = page(vec![live(&Socket { window_closed: false, ..repeated })], &[]);
    assert!(said.contains("was closed by this host without an answer"), "{said}");
}

#[test]
fn what_both_ends_have_closed_shows_neither_a_lost_fin_nor_a_path_that_forgets() {
    // The server closed it after 25 s; the client wrote after 5 min, read the end, and closed it.
    let wrote = Socket {
        in_flight: true,
        retransmits: 7,
        retransmitting_ms: Some(39_000),
        silent_ms: 339_000,
        is_orphan: true,
        state: State::LastAck,
        ..app(1, None, 39_000)
    };
    let said = page(vec![live(&wrote)], &closes_after(25.0, Confidence::Guess));
    let head = "1 connection of app to 172.16.0.15:2717 was closed by this host after the peer had closed it: what was written in \
                between is not answered, and only the kernel still repeats it, for 39 s";
    assert!(said.starts_with(head), "{said}");
    assert!(said.contains("set the idle time of the pool below 25 s"), "{said}");
    assert!(!said.contains("FIN") && !said.contains("SO_KEEPALIVE"), "{said}");
    // The look-alike: no FIN has come.
    let open = Socket { state: State::FinWait1, ..wrote };
    let said = page(vec![live(&open)], &closes_after(25.0, Confidence::Guess));
    assert!(said.contains("was closed by this host without an answer"), "{said}");
    assert!(said.contains("and its FIN was lost: that looks the same"), "{said}");
    // After its death.
    let closed = Socket { peer_closed: Some(PeerClosed { ms: 400_000, is_seen: true }), ..wrote };
    let gone =
        Ending { in_keepalive_timer: false, unacked: Unacked::Data, retransmits: 8, ..GAVE_UP };
    let gone = Ending { retransmitting_ms: Some(61_000), ..gone };
    let socket = Socket { silent_ms: 400_000, ..closed };
    let life = Life::dead(died_from(&socket, State::LastAck, gone)).unwrap();
    let said = page(vec![life], &closes_after(25.0, Confidence::Guess));
    let head = "172.16.0.15:2717 had closed 1 connection of app when the program wrote again, and nobody answered";
    assert!(said.starts_with(head) && !said.contains("died of silence"), "{said}");
}

#[test]
fn a_peer_that_closes_sooner_than_the_path_forgets_is_answered_by_the_pool() {
    let quiet = || vec![live(&app(1, None, 30_000))];
    let said = page(quiet(), &closes_after(40.0, Confidence::Likely));
    let head = "1 connection of app to 172.16.0.15:2717 will be closed by the peer after 40 s without data, as it does:";
    assert!(said.starts_with(head), "{said}");
    assert!(said.contains("fix set the idle time of the pool below 40 s"), "{said}");
    assert!(!said.contains("SO_KEEPALIVE") && !said.contains("if it stays quiet"), "{said}");
    // The path comes first.
    let said = page(quiet(), &closes_after(400.0, Confidence::Likely));
    assert!(said.contains("will be dropped once quiet for 5 min 50 s"), "{said}");
    assert!(said.contains("SO_KEEPALIVE") && !said.contains("closed by the peer"), "{said}");
}

#[test]
fn what_the_peer_closed_once_or_twice_is_promised_to_nobody_that_turns_keepalive_on() {
    let quiet = |quiet_ms| vec![live(&app(1, None, quiet_ms))];
    let guess = closes_after(40.0, Confidence::Guess);
    let said = page(quiet(30_000), &guess);
    let head = "1 connection of app to 172.16.0.15:2717 will be dropped once quiet for 5 min 50 s (assumed): keepalive is off; \
                or closed by the peer after 40 s without data (8 times so far): keepalive does not change that if the peer counts \
                only data.";
    assert!(said.starts_with(head), "{said}");
    assert!(
        said.contains("closed by the peer in 10 s if it does that again, else dropped"),
        "{said}"
    );
    let pool =
        "fix if that is an idle timeout of the peer: set the idle time of the pool below 40 s.";
    let keepalive = said.find("SO_KEEPALIVE");
    assert!(said.find(pool).is_some_and(|pool| keepalive > Some(pool)), "{said}");
    // One was quiet for longer, and the peer did not close it; or the path forgets sooner.
    for said in [
        page(quiet(60_000), &guess),
        page(quiet(30_000), &closes_after(400.0, Confidence::Guess)),
        page(quiet(30_000), &[]),
    ] {
        assert!(!said.contains("closed by the peer") && !said.contains("pool"), "{said}");
        assert!(said.contains("SO_KEEPALIVE"), "{said}");
    }
    // What has ended in order is no finding because of it.
    let ended = Ending { errno: 0, unacked: Unacked::Nothing, ..RESET };
    let mut closed = dead(&app(1, None, 40_000), ended);
    closed.end.as_mut().unwrap().cause = Cause::PeerClosed;
    let said = page(vec![closed], &guess);
    assert!(said.starts_with("Nothing is wrong") && !said.contains("last data"), "{said}");
}

#[test]
fn a_limit_that_somebody_has_set_is_not_called_assumed() {
    let said = |from: &str| {
        let mut life = live(&app(1, None, 30_000));
        life.connection.limit.idle_limit_from = from.parse().unwrap();
        page(vec![life], &[])
    };
    let flag = said("configured by flag");
    assert!(flag.contains("limit set to 5 min 50 s (configured by flag)"), "{flag}");
    assert!(!flag.contains("assumed"), "{flag}");
    let preset = said("preset aws by config file");
    assert!(preset.contains("limit set to 5 min 50 s (preset aws by config file)"), "{preset}");
    let default = said("default");
    assert!(default.contains("limit assumed to be 5 min 50 s (default)"), "{default}");
}

#[test]
fn a_probe_that_waits_beside_others_that_nobody_answers_is_not_called_a_lost_packet() {
    const GUESS: &str = "A guess: it may be this probe alone";
    let waiting = Socket {
        probes_unanswered: 1,
        timer_ms: Some(5_000),
        silent_ms: 15_000,
        quiet_ms: 15_000,
        ..app(1, Some(10), 0)
    };
    let waiting = Socket { own: OwnSettings { interval_seconds: 10, ..waiting.own }, ..waiting };
    let said = |others: &[Life]| {
        let case = judge(vec![live(&waiting)], others, &[], None, AskedWhen::default()).remove(0);
        // A finding is exit code 1.
        assert_eq!(case.finding == Finding::ProbablyLost, case.finding.is_of_silence());
        case.meaning
    };
    // It hangs for 9 s.
    let hangs = Socket { retransmitting_ms: Some(9_000), silent_ms: 89_000, ..stuck(2) };
    let beside = said(&[live(&hangs)]);
    assert!(beside.contains("others to 172.16.0.15 get no answer since "), "{beside}");
    assert!(beside.ends_with(GUESS) && !beside.contains("may be lost"), "{beside}");
    let mut other_port = hangs;
    other_port.remote.port = 6379;
    assert!(said(&[live(&other_port)]).contains("get no answer since"));
    // It heard the peer since the other one hangs, but nobody has heard it since the probe.
    let older = said(&[live(&stuck(2)), live(&stuck(3))]);
    assert!(
        older.contains("is probably lost: a probe that was sent 5.0 s ago, after 10 s of quiet"),
        "{older}"
    );
    let others =
        "2 other connections to 172.16.0.15 get no answer either, and nobody has heard it since";
    assert!(older.contains(others) && older.ends_with(GUESS), "{older}");
    // Others are answered; or there are none; or they are well.
    let answered = [live(&hangs), live(&app(3, None, 500))];
    let well = [live(&app(3, None, 30_000))];
    for calm in [said(&answered), said(&[]), said(&well)] {
        assert!(calm.ends_with("; a single one may be lost"), "{calm}");
    }
}

#[test]
fn a_pool_that_was_closed_a_moment_ago_leaks_nothing() {
    let closed =
        |silent_ms| vec![live(&Socket { state: State::CloseWait, ..app(1, None, silent_ms) })];
    let habit = closes_after(40.0, Confidence::Likely);
    let said = page(closed(2_500), &habit);
    assert!(said.contains("the peer closes what has had no data for 40 s"), "{said}");
    for said in [page(closed(2_500), &[]), page(closed(900_000), &habit)] {
        assert!(said.contains("it does not read, or it leaks it"), "{said}");
    }
}

#[test]
fn a_single_lost_probe_is_said_where_the_settings_allow_no_second_one() {
    let died = |count, user_timeout_ms| {
        let mut socket = app(1, Some(60), 61_000);
        (socket.own.count, socket.own.interval_seconds) = (count, 3);
        socket.own.user_timeout_ms = user_timeout_ms;
        vec![dead(&Socket { probes_unanswered: 1, ..socket }, GAVE_UP)]
    };
    let by_count = page(died(1, 0), &[]);
    assert!(by_count.contains("was ended by a single probe that got no answer"), "{by_count}");
    assert!(
        by_count.contains("TCP_KEEPCNT, 3") && !by_count.contains("nothing to set"),
        "{by_count}"
    );
    let by_user_timeout = page(died(9, 62_000), &[]);
    assert!(by_user_timeout.contains("was ended by a single probe"), "{by_user_timeout}");
    assert!(by_user_timeout.contains("TCP_USER_TIMEOUT"), "{by_user_timeout}");
    for ordinary in [page(died(9, 0), &[]), page(died(1, 90_000), &[])] {
        assert!(ordinary.contains("nothing to set here: keepalive noticed it"), "{ordinary}");
        assert!(!ordinary.contains("a single probe"), "{ordinary}");
    }
}

/// It probes each 5 s, was answered for long, and is not any more for 38 s.
fn silent(id: u64, longest_quiet_ms: u32) -> Socket {
    let watched = Watched { ms: 600_000, longest_quiet_ms, ..Watched::default() };
    let mut socket = app(id, Some(5), 43_000);
    socket.own.interval_seconds = 5;
    Socket { probes_unanswered: 8, timer_ms: Some(2_000), watched, ..socket }
}

#[test]
fn who_hangs_after_what_it_survived_shows_an_outage_and_no_limit() {
    let outage = page(vec![live(&stuck(1)), live(&silent(2, 5_100))], &[]);
    assert!(outage.contains("no limit explains: the peer or the path is gone"), "{outage}");
    assert!(!outage.contains("if the path has forgotten"), "{outage}");
    let stuck_case =
        judge(vec![live(&stuck(1)), live(&silent(2, 5_100))], &[], &[], None, AskedWhen::default());
    let lines =
        |case: &Judged| case.advice.iter().flat_map(|it| it.lines.clone()).collect::<String>();
    assert!(
        stuck_case[0].is_outage && !lines(&stuck_case[0]).contains("KEEPIDLE"),
        "{stuck_case:?}"
    );
    // Its first probe came after 25 s, and it was never quiet for as long before: one limit may explain both.
    let mut probed = Socket { quiet_ms: 63_000, silent_ms: 63_000, ..silent(2, 0) };
    probed.own.idle_seconds = 25;
    let limit = page(vec![live(&stuck(1)), live(&probed)], &[]);
    assert!(limit.contains("if the path has forgotten it"), "{limit}");
    // The other was answered until 15 s ago: what had hung before is not of that outage.
    let later = Socket {
        silent_ms: 15_000,
        quiet_ms: 15_000,
        probes_unanswered: 3,
        timer_ms: Some(5_000),
        ..silent(2, 5_100)
    };
    let older = page(vec![live(&stuck(1)), live(&later)], &[]);
    let expected = "between 5.1 s and 1 min 20 s if the path has forgotten it: others to the same peer, quiet for up to 5.1 \
                    s at a time, were answered since, until";
    assert!(older.contains(expected) && !older.contains("no limit explains"), "{older}");
    let own = "1 with unanswered probes, no path forgets after so little quiet: the peer or the path is gone";
    assert!(older.contains(own), "{older}");
}

#[test]
fn a_server_obeys_the_quiet_time_after_which_one_of_its_clients_hangs() {
    let of_client = |host: u8, quiet_ms: u32| {
        let mut socket = Socket {
            direction: Direction::Inbound,
            silent_ms: quiet_ms + 39_000,
            ..stuck(host.into())
        };
        socket.remote.addr = Ipv4Addr::new(10, 0, 0, host).to_ipv6_mapped();
        live(&socket)
    };
    let judged = |lives: Vec<Life>| {
        let cases = judge(lives, &[], &[], None, AskedWhen::default());
        assert_eq!(cases.len(), 1, "clients of one port");
        (cases[0].proposal.idle, said_of(&cases, None))
    };
    // The shortest of all clients: one setting is for all of them.
    let (idle, said) =
        judged(vec![of_client(1, 90_000), of_client(2, 60_000), of_client(3, 80_000)]);
    assert!(idle <= 30, "{idle}: {said}");
    assert!(said.contains("at most 1 min if the path has forgotten them"), "{said}");
    // After a moment nothing has forgotten it.
    let (idle, said) = judged(vec![of_client(1, 3_000)]);
    assert!(idle >= 60 && said.contains("the peer or the path is gone"), "{idle}: {said}");
}

#[test]
fn what_went_dark_for_many_is_said_once_for_all_of_them() {
    let to = |socket: Socket, port: u16| {
        live(&Socket { remote: Endpoint { port, ..socket.remote }, ..socket })
    };
    let quiet: Vec<Life> = [(1, 80), (2, 80), (3, 81)].map(|(id, port)| to(stuck(id), port)).into();
    let all = |more: &[Life]| page([&quiet, more].concat(), &[]);
    let busy = to(silent(4, 5_100), 82);
    let said = all(std::slice::from_ref(&busy));
    assert!(said.starts_with("172.16.0.15, or the path to it, went dark between "), "{said}");
    assert!(said.contains("for 4 connections of 3 kinds, to 3 ports. "), "{said}");
    // Fewer; or all of them after quiet times that a path may forget after; or while the host answers somebody.
    let few = page(vec![quiet[0].clone(), busy.clone()], &[]);
    let forgotten = all(&[to(stuck(4), 82)]);
    let answered = all(&[busy, to(app(5, Some(5), 1_000), 83)]);
    for said in [few, forgotten, answered] {
        assert!(!said.contains("or the path to it, went dark"), "{said}");
    }
}

#[test]
fn a_connect_that_hangs_is_no_matter_of_keepalive() {
    let opening = Socket { state: State::SynSent, ..stuck(1) };
    let said = page(vec![live(&opening)], &[]);
    let head = "1 connection of app to 172.16.0.15:2717 cannot be opened so far: 8 SYNs got no answer, for 39 s; the \
                kernel gives up in about 1 min 32 s.";
    assert!(said.starts_with(head), "{said}");
    assert!(said.contains("does the peer run") && !said.contains("keepalive"), "{said}");
}

#[test]
fn what_pings_is_not_told_to_ping_less_often() {
    let pings = |ms| Watched { ms, longest_quiet_ms: 15_000, ..Watched::default() };
    let idle = |watched| {
        let socket = Socket { watched, ..stuck(1) };
        judge(vec![live(&socket)], &[], &[], None, AskedWhen::default())[0].proposal.idle
    };
    assert_eq!(idle(pings(600_000)), 15);
    // It was not watched for long enough to know.
    assert_eq!(idle(pings(20_000)), 20);
}

#[test]
fn a_restart_of_the_peer_is_no_idle_timer_of_it() {
    let closed = |id, without_data_ms, at: &str| {
        let ending = Ending {
            errno: 0,
            unacked: Unacked::Nothing,
            sent_ms: Some(without_data_ms),
            received_data_ms: Some(without_data_ms),
            ..RESET
        };
        let mut life = dead(&app(id, Some(2), 1_000), ending);
        let end = life.end.as_mut().unwrap();
        (end.cause, end.probes_sent, end.at) = (Cause::PeerClosed, 9, at.to_owned());
        life
    };
    let at = "2026-01-02T03:04:05Z";
    let restart = page(vec![closed(1, 6_000, at), closed(2, 19_000, at)], &[]);
    assert!(restart.contains("closed by the peer all at once"), "{restart}");
    assert!(!restart.contains("send something"), "{restart}");
    let timer = page(vec![closed(1, 60_000, at), closed(2, 60_000, "2026-01-02T03:14:05Z")], &[]);
    assert!(
        timer.contains("after up to 1 min without data, while probes were answered"),
        "{timer}"
    );
    assert!(timer.contains("send something of your protocol"), "{timer}");
}

#[test]
fn a_death_in_an_outage_teaches_no_limit() {
    let dark = |others_silent| {
        let mut life = dead(&app(1, None, 25_000), Ending { errno: 110, ..RESET });
        let end = life.end.as_mut().unwrap();
        (end.cause, end.forgotten, end.others_silent) =
            (Cause::RetransmitTimeout, false, others_silent);
        vec![life]
    };
    let outage = page(dark(Some(9)), &[]);
    assert!(outage.contains("limit none explains it: others to the same peer"), "{outage}");
    let alone = page(dark(None), &[]);
    assert!(alone.contains("limit assumed to be 5 min 50 s"), "{alone}");
}

#[test]
fn a_reset_that_met_a_request_after_a_quiet_time_is_the_peers_own_timer() {
    let reset = |quiet_ms, unacked| {
        let late = Ending { sent_ms: Some(700), round_trip_us: Some(300), unacked, ..RESET };
        let mut life = dead(&app(1, None, quiet_ms), late);
        life.end.as_mut().unwrap().cause = Cause::PeerReset;
        life.end.as_mut().unwrap().forgotten = false;
        page(vec![life], &[])
    };
    let unread = reset(6_900, Unacked::Data);
    let head = "172.16.0.15:2717 reset 1 connection of app with a request unread, after 6.2 s of quiet: its own idle";
    assert!(unread.starts_with(head), "{unread}");
    for other in [reset(1_000, Unacked::Data), reset(6_900, Unacked::Nothing)] {
        assert!(other.starts_with("172.16.0.15:2717 reset 1 connection of app."), "{other}");
    }
}

#[test]
fn a_first_probe_that_came_too_late_is_not_called_a_dark_peer() {
    let died = || vec![dead(&Socket { probes_unanswered: 3, ..app(1, Some(60), 90_000) }, GAVE_UP)];
    let mut neighbour = live(&app(2, Some(20), 0));
    neighbour.connection.watched_seconds = 600.0;
    neighbour.connection.longest_quiet_seconds = 20.0;
    let now = timestamp::unix_seconds("2026-01-02T03:05:00Z").unwrap();
    let asked = AskedWhen { now, ..AskedWhen::default() };
    let said = |others: &[Life]| judge(died(), others, &[], None, asked)[0].meaning.clone();
    assert!(said(&[neighbour]).ends_with("were answered: the path forgot it before"));
    assert!(said(&[]).ends_with("the peer or the path went dark"));
}

#[test]
fn what_keeps_from_sending_is_said_only_where_it_is_the_same_for_all() {
    let held = |id, window_closed| {
        live(&Socket {
            in_flight: true,
            retransmitting_ms: Some(39_000),
            probes_unanswered: 3,
            window_closed,
            ..app(id, None, 39_000)
        })
    };
    let head =
        "2 connections of app to 172.16.0.15:2717 cannot send what was written, for up to 39 s";
    for (closed, reason) in [
        (
            [false, false],
            ": there is no route, its interface is down, its own address is gone, or a firewall of this host drops it; the kernel",
        ),
        ([true, true], ": the peer's window is closed, and it does not answer probes of it"),
        ([true, false], "; the kernel gives up"),
    ] {
        let said = page(vec![held(1, closed[0]), held(2, closed[1])], &[]);
        assert!(said.starts_with(&format!("{head}{reason}")), "{said}");
    }
}

#[test]
fn what_is_well_beside_an_outage_is_not_called_well_without_it() {
    let said = |quiet_ms, others: &[Life]| {
        let well = vec![live(&app(1, Some(60), quiet_ms))];
        let cases = judge(well, others, &[], None, AskedWhen::default());
        said_of(&cases, Some("it"))
    };
    let dark = [live(&silent(2, 5_100))];
    let beside = said(45_000, &dark);
    assert!(beside.contains("But others to 172.16.0.15 get no answer since "), "{beside}");
    // It was heard since; what hangs may be forgotten by the path.
    for calm in [said(1_000, &dark), said(45_000, &[live(&stuck(2))]), said(45_000, &[])] {
        assert!(!calm.contains("But others"), "{calm}");
    }
}

#[test]
fn the_head_and_the_evidence_of_a_death_say_the_same_of_the_others() {
    let died = |others_answered, others_silent| {
        let mut life = dead(&Socket { probes_unanswered: 9, ..app(1, Some(60), 90_000) }, GAVE_UP);
        let end = life.end.as_mut().unwrap();
        (end.others_answered, end.others_silent) = (others_answered, others_silent);
        page(vec![life], &[])
    };
    let there = died(Some(4), None);
    assert!(there.contains("while others to the same peer were answered: the peer was"), "{there}");
    assert!(there.contains("answered meanwhile: the peer was there"), "{there}");
    let gone = died(None, Some(4));
    assert!(gone.contains("the peer or the path went dark"), "{gone}");
    assert!(gone.contains("others to the same peer fell silent with it"), "{gone}");
    for said in [&there, &gone] {
        assert!(!said.contains("look the same"), "{said}");
    }
    let alone = died(None, None);
    assert!(alone.contains("went dark") && alone.contains("look the same"), "{alone}");
}
