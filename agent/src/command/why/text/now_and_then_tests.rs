//! The words for cases of which some live and some are dead, and for programs that hang while their connections are fine.

use super::{
    tests_support::{said_of, stuck},
    *,
};
use crate::{
    command::why::{answer::judge, in_window::AskedWhen, lessons::tests_support::learned_limit},
    model::text::wall_time::WallTime,
    model::{
        judgement::{condition::CANNOT_SEND, death::Cause, learned::LearnedRow, learned::LimitRow},
        observed::{
            ending::Ending,
            socket::{Socket, State},
            watched::Watched,
        },
    },
    view::life::{
        UnansweredTime,
        tests_support::{CLOSED_UNANSWERED, GAVE_UP, RESET, app, dead, died_from, live},
    },
};

fn judged(lives: Vec<Life>) -> Vec<Judged> {
    judge(lives, &[], &[], None, AskedWhen::default())
}

fn said(lives: Vec<Life>) -> String {
    said_of(&judged(lives), Some("172.16.0.15"))
}

/// Died at this second of a minute.
fn died(id: u64, second: u32, quiet_ms: u32, ending: Ending) -> Life {
    let mut life = dead(&app(id, None, quiet_ms), ending);
    life.end.as_mut().unwrap().at = format!("2026-01-02T10:41:{second:02}Z");
    life
}

fn at(second: u32) -> String {
    let at = format!("2026-01-02T10:41:{second:02}Z");
    timestamp::local(&at, "%H:%M:%S")
}

#[test]
fn each_death_has_its_time_and_evidence_also_beside_one_that_lives() {
    let busy = Ending { sent_ms: Some(10), ..RESET };
    let text = said(vec![
        live(&app(1, None, 5_000)),
        died(2, 7, 400_000, RESET),
        died(3, 9, 2_000, busy),
        died(4, 11, 2_000, busy),
    ]);
    assert!(text.starts_with("1 connection of app to 172.16.0.15:2717 died of silence"), "{text}");
    assert!(text.contains(&format!("keepalive is off. That was at {}.", at(7))), "{text}");
    let dropped = format!("1 dropped while quiet (idle_drop) at {}", at(7));
    let reset = format!("2 reset by the peer (peer_reset) between {} and {}", at(9), at(11));
    assert!(text.contains(&dropped) && text.contains(&reset), "{text}");
    let evidence = format!("at {}: a reset came 2.0 s after the last packet", at(11));
    assert!(text.contains(&evidence) && text.contains("then the first data met a reset"), "{text}");
    // The worst lives: what died is told all the same.
    let text = said(vec![live(&app(1, None, 5_000)), died(3, 9, 2_000, busy)]);
    assert!(text.starts_with("1 connection of app to 172.16.0.15:2717 will be dropped"), "{text}");
    assert!(!text.contains("That was at"), "{text}");
    assert!(
        text.contains(&format!("died 1 reset by the peer (peer_reset) died at {}", at(9))),
        "{text}"
    );
    assert!(text.contains(&format!("at {}: a reset came 2.0 s", at(9))), "{text}");
}

#[test]
fn what_is_told_in_one_line_has_its_times() {
    let others = |n: u16| {
        let mut life = died(u64::from(n), 7, 400_000, RESET);
        life.connection.remote.set_port(3000 + n);
        life
    };
    let text = said((0..10).map(others).collect());
    let also = format!("1 dropped while quiet (idle_drop) at {}", at(7));
    assert!(text.contains("also app[812]") && text.contains(&also), "{text}");
}

#[test]
fn what_this_host_could_not_send_is_the_reason_in_the_head_and_nothing_is_proposed_for_it() {
    let held = Ending { held_back_ms: Some(78_000), ..RESET };
    let reset = said(vec![died(1, 7, 90_000, held)]);
    let head = format!(
        "172.16.0.15:2717 reset 1 connection of app after this host could not send for 1 min 18 s: {CANNOT_SEND}."
    );
    assert!(reset.starts_with(&head), "{reset}");
    assert!(!reset.contains("idle timeout"), "{reset}");
    // Beside one that lives it is told, too.
    let beside = said(vec![live(&app(2, None, 5_000)), died(1, 7, 90_000, held)]);
    assert!(beside.contains(&format!("at {}: a reset came", at(7))), "{beside}");
    assert!(beside.contains(CANNOT_SEND), "{beside}");
    let mut probed = dead(&app(1, Some(60), 90_000), GAVE_UP);
    probed.end.as_mut().unwrap().unsent_seconds = Some(30.0);
    let probed = said(vec![probed]);
    assert!(probed.contains("was given up after this host could not send for 30 s"), "{probed}");
    assert!(probed.contains("Look at the routes") && !probed.contains("went dark"), "{probed}");
    let dark = said(vec![dead(&app(1, Some(60), 90_000), GAVE_UP)]);
    assert!(dark.contains("went dark") && !dark.contains("could not send"), "{dark}");
}

#[test]
fn a_hang_of_the_last_quarter_of_an_hour_and_an_old_look_are_told_of_what_lives() {
    let asked = AskedWhen { now: 1_767_350_000.0, ..AskedWhen::default() };
    let text = |hung_ago: i64, looked_ago| {
        let ago = |seconds: i64| WallTime::of_unix_ms((1_767_350_000 - seconds) * 1000).at;
        let mut life = live(&app(1, None, 5_000));
        life.connection.looked_at_seconds_ago = looked_ago;
        life.unanswered_times =
            vec![UnansweredTime { since: ago(hung_ago + 54), until: ago(hung_ago) }];
        said_of(&judge(vec![life], &[], &[], None, asked), Some("172.16.0.15"))
    };
    let (lately, before) = (text(15, 0.0), text(1_000, 0.0));
    assert!(lately.contains("got no answer from ") && lately.contains("went on"), "{lately}");
    assert!(!before.contains("got no answer from "), "{before}");
    let (old, young) = (text(1_000, 58.5), text(1_000, 9.0));
    assert!(old.contains("quiet for 5.0 s (as of 58 s ago)"), "{old}");
    assert!(young.contains("quiet for 5.0 s,"), "{young}");
}

#[test]
fn of_what_hangs_the_systems_values_are_those_of_now() {
    let quiet = Socket { keepalive: true, ..app(1, None, 39_000) };
    let hangs =
        Socket { in_flight: true, retransmits: 7, retransmitting_ms: Some(39_000), ..quiet };
    let hangs = said(vec![live(&hangs)]);
    assert!(hangs.contains("(the system's values now)"), "{hangs}");
    // By these values a probe would have gone out while it was quiet.
    let quiet_before = |silent_ms| {
        let mut socket = Socket {
            in_flight: true,
            retransmits: 7,
            retransmitting_ms: Some(39_000),
            silent_ms,
            ..quiet
        };
        socket.ambient.idle_seconds = 60;
        said(vec![live(&socket)])
    };
    let older = "(the system's values now; its timer was set before that)";
    let (long, short) = (quiet_before(160_000), quiet_before(99_000));
    assert!(long.contains(older), "{long}");
    assert!(short.contains("(the system's values now)"), "{short}");
    let quiet = said(vec![live(&quiet)]);
    assert!(quiet.contains("(the system's values)"), "{quiet}");
}

fn asked(ago_ms: u32) -> Socket {
    Socket { spoke_last_ms: Some(ago_ms), ..app(1, None, ago_ms) }
}

#[test]
fn an_answer_that_is_owed_now_comes_before_what_may_come_and_before_what_is_over() {
    let waits = "172.16.0.15:2717 has acknowledged the last data of 1 connection of app, sent 20 s ago, and none has come \
                 since: where it owes an answer, its program does not give it, or it is lost on the way. 1 connection of app";
    for lives in
        [vec![live(&asked(20_000))], vec![live(&asked(20_000)), died(2, 7, 400_000, RESET)]]
    {
        let text = said(lives);
        assert!(text.starts_with(waits), "{text}");
    }
    // Something worse hangs.
    let stuck = Socket {
        in_flight: true,
        retransmits: 7,
        retransmitting_ms: Some(39_000),
        silent_ms: 119_000,
        ..app(3, None, 39_000)
    };
    let text = said(vec![live(&asked(20_000)), live(&stuck)]);
    assert!(
        text.starts_with("1 connection of app to 172.16.0.15:2717 waits for an answer"),
        "{text}"
    );
    // It is answered.
    let text = said(vec![live(&app(1, None, 20_000))]);
    assert!(text.starts_with("1 connection of app to 172.16.0.15:2717 will be dropped"), "{text}");
}

#[test]
fn of_a_whole_host_only_what_was_never_silent_for_as_long_waits_for_an_answer() {
    let host = |longest_quiet_ms| {
        let watched = Watched { ms: 100_000, longest_quiet_ms, ..Watched::default() };
        said_of(&judged(vec![live(&Socket { watched, ..asked(20_000) })]), None)
    };
    assert!(host(2_000).starts_with("172.16.0.15:2717 has acknowledged"), "{}", host(2_000));
    assert!(host(60_000).starts_with("1 connection of app to"), "{}", host(60_000));
}

/// Closed by this host, when its last data was acknowledged for 20 s and not answered.
fn given_up(id: u64, longest_quiet_ms: u32) -> Life {
    let watched = Watched { ms: 100_000, longest_quiet_ms, ..Watched::default() };
    let socket = Socket { is_orphan: true, watched, ..app(id, None, 19_000) };
    let asked = Ending { sent_ms: Some(20_000), received_data_ms: None, ..Ending::default() };
    Life::dead(died_from(&socket, State::FinWait2, asked)).unwrap()
}

#[test]
fn what_a_client_gave_up_waiting_for_is_told_and_of_a_whole_host_only_if_it_is_unusual() {
    let at = timestamp::local("2026-01-02T03:04:05Z", "%H:%M:%S");
    let waited = format!(
        "172.16.0.15:2717 had acknowledged the last data of 2 connections of app, and none came for up to 20 s after that, until \
         this host closed them, last at {at}: where it owed an answer, its program did not give it in that time, or it was lost on \
         the way."
    );
    let usual = vec![given_up(1, 60_000), given_up(2, 60_000)];
    let text = said(usual.clone());
    assert!(text.starts_with("Nothing is wrong with") && text.contains(&waited), "{text}");
    assert!(text.contains("; 2 closed by this host up to 20 s after the last data"), "{text}");
    let of_host = |lives| said_of(&judged(lives), None);
    assert!(!of_host(usual).contains(" had acknowledged"));
    assert!(of_host(vec![given_up(1, 2_000), given_up(2, 2_000)]).contains(&waited));
    // What died of silence comes with it, and what hangs comes before.
    let text = said(vec![given_up(1, 2_000), given_up(2, 2_000), died(3, 7, 400_000, RESET)]);
    assert!(text.starts_with(&waited), "{text}");
    let text = said(vec![given_up(1, 2_000), live(&stuck(3))]);
    assert!(text.starts_with("1 connection of app to 172.16.0.15:2717 waits"), "{text}");
    assert!(!text.contains("172.16.0.15:2717 had acknowledged"), "{text}");
}

#[test]
fn a_stopped_program_is_what_is_wrong_whatever_its_connections_promise() {
    let stopped = |socket: &Socket| {
        let mut cases = judged(vec![live(socket)]);
        cases[0].stopped = vec![812];
        said_of(&cases, Some("app"))
    };
    let head = "app[812] is stopped (by a signal, a debugger or a frozen cgroup): it neither reads nor answers.";
    let well = stopped(&app(1, Some(60), 0));
    assert!(well.starts_with(&format!("{head} Nothing else is wrong with app")), "{well}");
    let off = stopped(&app(1, None, 5_000));
    assert!(off.starts_with(&format!("{head} 1 connection of app to")), "{off}");
    assert!(off.contains("of a process that is stopped"), "{off}");
}

#[test]
fn a_death_of_another_connection_is_not_said_to_be_shown_here() {
    let learned = LearnedRow::PathLimit(LimitRow {
        netns: crate::kernel::host::own_netns().map(|_| app(1, None, 0).netns),
        meaning: "quiet connections are dropped".to_owned(),
        ..learned_limit(Some(30.0))
    });
    let mut shop = died(2, 7, 53_000, RESET);
    shop.owners[0].process = "shop".to_owned();
    let cases =
        judge(vec![live(&app(1, None, 5_000)), shop], &[], &[learned], None, AskedWhen::default());
    let limits: Vec<_> = cases.iter().map(|case| case.limit().unwrap()).collect();
    assert_eq!(cases[0].case.of(Finding::Dropped).count(), 1);
    assert_eq!(cases[0].causes[0].cause, Cause::IdleDrop);
    assert!(limits[0].contains("with the death that is shown here"), "{limits:?}");
    assert!(limits[1].contains("with a death of shop that this answer shows, too"), "{limits:?}");
}

#[test]
fn of_a_time_that_was_asked_for_what_began_or_ended_then_comes_first_and_what_went_on_after_it() {
    let now = timestamp::unix_seconds("2026-01-02T10:51:00Z").unwrap();
    let hangs = |id, since_ms, process: &str| {
        let socket = Socket {
            in_flight: true,
            retransmits: 9,
            retransmitting_ms: Some(since_ms),
            silent_ms: since_ms + 9_000,
            ..app(id, None, since_ms)
        };
        let mut life = live(&socket);
        life.owners[0].process = process.to_owned();
        life
    };
    // One hangs for 20 minutes, and one died 10 minutes ago.
    let older = || hangs(1, 1_200_000, "older");
    let page = |lives, window| {
        let asked = AskedWhen {
            now,
            is_of_past: window,
            window: window.then_some((now - 600.0, now - 540.0)),
            since: now - 600.0,
        };
        said_of(&judge(lives, &[], &[], None, asked), Some("172.16.0.0/16"))
    };
    let lives = || vec![older(), died(2, 7, 400_000, RESET)];
    let then = page(lives(), true);
    assert!(then.starts_with("1 connection of app to 172.16.0.15:2717 died of silence"), "{then}");
    assert!(then.contains("One more finding below, which began before that time."), "{then}");
    let heading = "older[812] -> 172.16.0.15:2717 1 live (began before that time)";
    assert!(then.contains(heading), "{then}");
    // Without a time, and if it began then, what hangs comes first.
    let now_first = page(lives(), false);
    assert!(now_first.starts_with("1 connection of older to"), "{now_first}");
    assert!(!now_first.contains("before that time"), "{now_first}");
    let began_then = page(vec![hangs(1, 570_000, "older"), died(2, 7, 400_000, RESET)], true);
    assert!(began_then.starts_with("1 connection of older to"), "{began_then}");
    assert!(!began_then.contains("before that time"), "{began_then}");
    // Nothing else was wrong then: that is said.
    let alone = page(vec![older()], true);
    assert!(
        alone.starts_with("What was wrong then had begun before. 1 connection of older"),
        "{alone}"
    );
}

/// The page for one of a kind, and for two.
fn of_one_and_two(life: impl Fn(u64) -> Life) -> [String; 2] {
    [vec![life(1)], vec![life(1), life(2)]].map(said)
}

#[test]
fn each_finding_has_the_verb_of_one_and_of_several() {
    let closed = |id| {
        let socket = app(id, None, 5_000);
        Life::dead(died_from(&socket, State::FinWait1, CLOSED_UNANSWERED)).unwrap()
    };
    let hangs = |id, state, retransmits| {
        live(&Socket {
            in_flight: true,
            state,
            retransmits,
            retransmitting_ms: Some(39_000),
            silent_ms: 119_000,
            ..app(id, None, 39_000)
        })
    };
    let kinds: [(&str, [String; 2]); 9] = [
        ("dropped", of_one_and_two(|id| died(id, 7, 400_000, RESET))),
        ("dark", of_one_and_two(|id| dead(&app(id, Some(60), 90_000), GAVE_UP))),
        ("abandoned", of_one_and_two(closed)),
        ("reset", of_one_and_two(|id| died(id, 7, 30_000, Ending { sent_ms: Some(10), ..RESET }))),
        ("stuck", of_one_and_two(|id| hangs(id, State::Established, 2))),
        ("opening", of_one_and_two(|id| hangs(id, State::SynSent, 2))),
        ("unprotected", of_one_and_two(|id| live(&app(id, None, 5_000)))),
        ("overdue", of_one_and_two(|id| live(&app(id, None, 400_000)))),
        ("fine", of_one_and_two(|id| live(&app(id, Some(60), 5_000)))),
    ];
    for (kind, [one, two]) in &kinds {
        let head = |text: &str| text.split(" app[").next().unwrap_or_default().to_owned();
        let (one, two) = (head(one), head(two));
        assert!(
            one.contains("1 connection") && two.contains("2 connections"),
            "{kind}: {one} {two}"
        );
        for noun in ["connections", "probes", "SYNs", "retransmissions", "deaths", "kinds"] {
            assert!(!one.contains(&format!(" 1 {noun}")), "{kind}: {one}");
        }
        for verb in [" was ", " waits ", " has sent ", " hangs ", " gets "] {
            assert!(!two.contains(verb), "{kind}: {two}");
        }
    }
    let [one, two] = of_one_and_two(closed);
    assert!(one.contains("any more, and was closed by this host after"), "{one}");
    assert!(two.contains("any more, and were closed by this host after up to"), "{two}");
    let [one, two] = of_one_and_two(|id| hangs(id, State::SynSent, 2));
    assert!(
        one.contains("so far: 3 SYNs got") && two.contains("so far: up to 3 SYNs got"),
        "{one}"
    );
}

#[test]
fn a_program_that_does_not_read_what_came_is_named_where_it_is_asked_for() {
    let of = |unread_ms| {
        let socket = Socket { unread_ms, ..app(1, None, 1_000) };
        said(vec![live(&socket)])
    };
    let unread = of(Some(57_000));
    let told = "app[812] has not read what came from 172.16.0.15:2717 57 s ago. ";
    assert!(unread.starts_with("1 connection of app") && unread.contains(told), "{unread}");
    assert!(unread.contains("1 whose program here has not read what came 57 s ago"), "{unread}");
    for reads in [of(None), of(Some(3_000))] {
        assert!(!reads.contains("has not read"), "{reads}");
    }
    // Of the whole host it is not told so: an idle client may leave a goodbye unread.
    let socket = Socket { unread_ms: Some(57_000), ..app(1, None, 1_000) };
    let of_all = said_of(&judged(vec![live(&socket)]), None);
    assert!(!of_all.contains(told), "{of_all}");
}
