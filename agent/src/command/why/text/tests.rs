//! The words for connections in known states.

use super::*;
use crate::command::why::{answer::judge, in_window::AskedWhen};
use crate::{
    model::{
        judgement::death::Cause,
        observed::{
            ending::{Ending, Unacked},
            setsockopt::SockOpt,
            socket::{Socket, State},
            watched::Watched,
        },
    },
    view::life::{
        CallSeen, Life,
        tests_support::{GAVE_UP, RESET, app, dead, live},
    },
};

fn page(lives: Vec<Life>) -> String {
    let cases = judge(lives, &[], &[], None, AskedWhen::default());
    let page = WhyText {
        behind: None,
        cases: &cases,
        peer: Some("172.16.0.15"),
        window: "in the last 24 h",
        notes: &["from the agent".to_owned()],
        in_full: false,
        now: 0.0,
        style: Style { colour: false },
    };
    let text = page.to_string();
    let first = text.lines().next().unwrap().chars().count();
    assert!(first <= WIDTH && first > 10, "{text}");
    text
}

#[test]
fn the_first_line_is_the_answer() {
    let dropped = (0..7).map(|id| dead(&app(id, None, 400_000), RESET)).collect();
    let refused = Ending { errno: 111, unacked: Unacked::Nothing, sent_ms: None, ..RESET };
    let mut connecting = dead(&app(1, None, 0), refused);
    connecting.end.as_mut().unwrap().cause = Cause::ConnectFailed;
    connecting.end.as_mut().unwrap().errno = Some("ECONNREFUSED".to_owned());
    let stuck = Socket {
        in_flight: true,
        retransmits: 7,
        retransmitting_ms: Some(39_000),
        silent_ms: 119_000,
        ..app(1, None, 39_000)
    };
    let kept = Socket {
        watched: Watched {
            ms: 2_000_000,
            longest_quiet_ms: 20_000,
            peer_probes: 9,
            ..Watched::default()
        },
        ..app(1, None, 1_000)
    };
    let cases: [(Vec<Life>, &str); 9] = [
        (
            vec![dead(&app(2, None, 400_000), RESET), live(&stuck)],
            "1 connection of app to 172.16.0.15:2717 waits for an answer, for 39 s; the kernel gives up in about \
             14 min 50 s.",
        ),
        (
            vec![live(&app(1, None, 400_000))],
            "1 connection of app to 172.16.0.15:2717 is quiet for longer than 5 min 50 s (assumed), so probably dropped: \
             keepalive is off.",
        ),
        (
            vec![live(&kept)],
            "Nothing is wrong with 172.16.0.15: 1 connection, kept so far by something else than its own probes.",
        ),
        (
            dropped,
            "7 connections of app to 172.16.0.15:2717 died of silence: keepalive is off, and nobody \
             ever set it on them.",
        ),
        (
            vec![live(&app(1, Some(7200), 100_000))],
            "1 connection of app to 172.16.0.15:2717 will be dropped once quiet for 5 min 50 s (assumed): \
             keepalive is on, but the first probe comes only after 2 h.",
        ),
        (
            vec![dead(&app(1, Some(60), 90_000), GAVE_UP)],
            "1 connection of app to 172.16.0.15:2717 got no answer any more, noticed after \
             1 min 30 s: the peer or the path went dark.",
        ),
        (
            vec![connecting],
            "172.16.0.15:2717 refuses: 1 connection of app could not be opened (ECONNREFUSED).",
        ),
        (
            vec![live(&app(1, Some(60), 0))],
            "Nothing is wrong with 172.16.0.15: 1 connection, protected.",
        ),
        (
            Vec::new(),
            "No connection with 172.16.0.15: none lives, and none is known to have died in the last \
             24 h.",
        ),
    ];
    for (lives, answer) in cases {
        let text = page(lives).replace('\n', " ");
        assert!(text.starts_with(answer), "{answer}\n{text}");
    }
}

#[test]
fn five_hundred_alike_are_one_paragraph_that_fits_the_terminal() {
    let mut lives: Vec<_> = (0..500).map(|id| dead(&app(id, None, 400_000), RESET)).collect();
    lives.push(live(&app(600, None, 349_000)));
    let text = page(lives);
    assert!(text.lines().count() < 24, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    assert!(text.contains("500 dropped while quiet (idle_drop)"), "{text}");
    assert!(text.contains("500 of 500 deaths prevented"), "{text}");
    assert!(text.contains("quiet for 5 min 49 s"), "{text}");
    assert!(text.contains("SO_KEEPALIVE, &(int){1}"), "{text}");
}

#[test]
fn who_called_what_when_and_what_was_refused_is_told() {
    let mut life = live(&app(1, Some(0), 0));
    life.is_whole = true;
    for (option, value, result) in [(SockOpt::Keepalive, 1, "ok"), (SockOpt::Idle, 0, "EINVAL")] {
        life.calls.push(CallSeen {
            at: "1970-01-01T00:00:00Z".to_owned(),
            option,
            value: Some(value),
            result: result.to_owned(),
            by: life.owner().cloned(),
            inherited: false,
        });
    }
    let text = page(vec![life]);
    assert!(text.contains("TCP_KEEPIDLE was refused with EINVAL"), "{text}");
    assert!(text.contains("TCP_KEEPIDLE = 0 s: refused: EINVAL at "), "{text}");
    assert!(text.contains("by app[812]") && text.contains("SO_KEEPALIVE = 1: ok"), "{text}");
}

#[test]
fn of_what_is_well_one_line_says_who_set_it() {
    let called = |option, value, inherited| CallSeen {
        at: "1970-01-01T00:00:00Z".to_owned(),
        option,
        value: Some(value),
        result: "ok".to_owned(),
        by: live(&app(1, None, 0)).owner().cloned(),
        inherited,
    };
    let said = |calls: &[CallSeen]| {
        let mut life = live(&app(1, Some(60), 0));
        life.calls = calls.to_vec();
        let text = page(vec![life]);
        assert!(text.contains("Nothing is wrong"), "{text}");
        text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
    };
    let on = called(SockOpt::Keepalive, 1, false);
    let idle = called(SockOpt::Idle, 60, false);
    let by_call = said(&[on.clone(), idle.clone()]);
    assert!(by_call.contains("; set by app[812] at "), "{by_call}");
    let inherited = said(&[called(SockOpt::Keepalive, 1, true)]);
    assert!(inherited.contains("; set on its listening socket by app[812] at "), "{inherited}");
    let twice = said(&[on.clone(), on.clone()]);
    assert!(twice.contains("; set by app[812], 2 times, last at "), "{twice}");
    // Turned on by nobody that was seen: a call of another option, or one that turned it off, is no answer.
    for calls in [&[][..], &[idle], &[called(SockOpt::Keepalive, 0, false)]] {
        let unseen = said(calls);
        assert!(unseen.contains("; no call was seen for it: it was set before"), "{unseen}");
    }
    let mut seen = live(&app(1, Some(60), 0));
    seen.calls = vec![on];
    let text = page(vec![seen, live(&app(2, Some(60), 0))]).replace("\n         ", " ");
    assert!(text.contains("; of 1 of 2 no call was seen"), "{text}");
}

#[test]
fn what_was_seen_to_change_without_a_call_was_not_set_before_the_agent_started() {
    let said = |changed: &[SockOpt]| {
        let mut life = live(&app(1, Some(60), 0));
        life.changed = changed.to_vec();
        let text = page(vec![life]);
        text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
    };
    let all = said(&[SockOpt::Keepalive, SockOpt::Idle]);
    let seen = "; SO_KEEPALIVE, TCP_KEEPIDLE changed without a setsockopt call (io_uring, BPF, a 32-bit program)";
    assert!(all.contains(seen) && !all.contains("no call was seen"), "{all}");
    // The look-alike: one of them was set before anybody looked.
    let some = said(&[SockOpt::Idle]);
    assert!(
        some.contains("; no call was seen for the rest: it was set before the agent"),
        "{some}"
    );
}

#[test]
fn a_call_may_be_among_the_events_that_were_lost() {
    let said = |idle: Option<u32>, events_lost: bool| {
        let mut life = live(&app(1, idle, 0));
        (life.is_whole, life.events_lost) = (!events_lost, events_lost);
        let text = page(vec![life]);
        text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
    };
    let nobody = "; nobody ever called setsockopt for it, seen from the beginning";
    assert!(said(None, false).contains(nobody));
    let off = said(None, true);
    assert!(off.contains("whether a program tried to set it: events were lost"), "{off}");
    assert!(!off.contains(nobody), "{off}");
    let on = said(Some(60), true);
    assert!(on.contains("; no call was seen for it: events were lost while it lived"), "{on}");
}

#[test]
fn without_a_hook_for_calls_nothing_is_said_of_them() {
    for idle in [None, Some(60)] {
        let mut life = live(&app(1, idle, 0));
        (life.is_whole, life.calls_unseen) = (true, true);
        let text = page(vec![life]);
        assert!(text.contains("keepalive") && !text.contains("call"), "{text}");
        assert!(!text.contains("whether a program"), "{text}");
    }
}

#[test]
fn of_what_nobody_set_nobody_is_said_to_have_set_it() {
    let local = Socket { remote: app(1, None, 0).local, ..app(1, None, 0) };
    let text = page(vec![live(&local)]);
    assert!(text.contains("keepalive off") && !text.contains("set by"), "{text}");
    assert!(!text.contains("no call was seen"), "{text}");
}

/// `app`, whose sysctl was made 30 s after its timer was armed with 2 h.
fn armed(id: u64, rest_ms: u32) -> Socket {
    let mut socket = Socket { timer_ms: Some(rest_ms), ..app(id, Some(0), 7_000) };
    (socket.ambient.idle_seconds, socket.ambient.interval_seconds, socket.ambient.count) =
        (30, 10, 3);
    socket.received_ms = 7_000;
    socket
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_sysctl_that_older_timers_do_not_follow_is_told_and_new_connections_are_a_case_of_their_own() {
    let mut lives: Vec<Life> = (0..40).map(|id| live(&armed(id, 7_020_000))).collect();
    lives.extend((50..55).map(|id| live(&armed(id, 23_000))));
    let text = words(&page(lives));
    let head = "40 connections of app to 172.16.0.15:2717 will be dropped once quiet for 5 min 50 s (assumed): the first \
                probe goes out after 30 s of silence by the sysctl, but the timer was set before that and fires only in \
                1 h 57 min; new connections follow at once: re-open them.";
    assert!(text.starts_with(head), "{text}");
    assert!(
        text.contains("the timer that runs was set before that, and fires in up to 1 h 57 min")
    );
    assert!(text.contains("fix re-open these connections"), "{text}");
    assert!(!text.contains("TCP_KEEPIDLE"), "what is set is right: {text}");
    assert!(text.contains("fine app[812] -> 172.16.0.15:2717 5 live"), "{text}");
}

#[test]
fn a_program_that_has_given_up_does_not_wait_and_comes_after_one_that_does() {
    let waits = Socket {
        in_flight: true,
        retransmits: 7,
        retransmitting_ms: Some(39_000),
        silent_ms: 119_000,
        ..app(1, None, 39_000)
    };
    let closed = Socket { state: State::FinWait1, is_orphan: true, ..app(2, None, 9_000) };
    let orphan =
        Socket { retransmits: 6, retransmitting_ms: Some(9_000), in_flight: true, ..closed };
    let alone = words(&page(vec![live(&orphan)]));
    let head = "1 connection of app to 172.16.0.15:2717 was closed by this host without an answer: only the kernel";
    assert!(alone.starts_with(head), "{alone}");
    assert!(!alone.contains("waits for an answer"), "{alone}");
    let both = words(&page(vec![live(&orphan), live(&waits)]));
    assert!(
        both.starts_with("1 connection of app to 172.16.0.15:2717 waits for an answer"),
        "{both}"
    );
}

#[test]
fn a_probe_that_is_not_answered_for_long_is_not_called_nothing() {
    let probing = |ago_ms: u32| {
        let mut socket = app(1, Some(60), 104_000);
        socket.own.interval_seconds = 60;
        Socket { probes_unanswered: 1, timer_ms: Some(60_000 - ago_ms), ..socket }
    };
    let text = words(&page(vec![live(&probing(44_000))]));
    let head = "1 connection of app to 172.16.0.15:2717 sent a probe 44 s ago that is not answered yet, the next goes out \
                in about 16 s; a single one may be lost.";
    assert!(text.starts_with(head), "{text}");
    assert!(page(vec![live(&probing(1_000))]).starts_with("Nothing is wrong"));
}

#[test]
fn what_something_keeps_busy_is_a_case_of_its_own_without_advice() {
    let busy = Watched { ms: 400_000, longest_quiet_ms: 15_000, ..Watched::default() };
    let kept_busy = || live(&Socket { watched: busy, ..app(2, None, 3_000) });
    let text = words(&page(vec![live(&app(1, None, 300_000)), kept_busy()]));
    assert!(
        text.starts_with("1 connection of app to 172.16.0.15:2717 will be dropped once"),
        "{text}"
    );
    assert!(text.contains("One more finding below"), "{text}");
    let alone = words(&page(vec![kept_busy()]));
    let busy = "but was never seen quiet for more than 15 s in the 6 min 40 s that it was watched";
    assert!(alone.contains(busy) && alone.contains("(`kept` once that is 17 min 30 s)"), "{alone}");
    assert!(!alone.contains("SO_KEEPALIVE, "), "{alone}");
}

#[test]
fn connections_to_one_server_get_one_proposal() {
    let mut other = app(2, None, 80_000);
    other.own.interval_seconds = 30;
    let lives = vec![dead(&app(1, None, 64_000), RESET), dead(&other, RESET)];
    let cases = judge(lives, &[], &[], None, AskedWhen::default());
    assert_eq!(cases.len(), 2);
    assert_eq!(cases[0].proposal, cases[1].proposal);
    assert_eq!(cases[0].proposal.idle, 15);
}

#[test]
fn what_hangs_is_a_guess_of_the_limit_beside_the_one_that_is_assumed() {
    let stuck = Socket {
        in_flight: true,
        retransmits: 7,
        retransmitting_ms: Some(39_000),
        silent_ms: 119_000,
        ..app(1, None, 39_000)
    };
    let of = |lives: Vec<Life>, others: &[Life]| {
        let case = judge(lives, others, &[], None, AskedWhen::default()).remove(0);
        case.limit().unwrap()
    };
    let neighbour = of(vec![live(&app(2, None, 195_000))], &[live(&stuck)]);
    let expected = "assumed to be 5 min 50 s (default); a guess: at most 1 min 20 s, because 1 connection of app to the \
                    same peer gets no answer, for 39 s";
    assert_eq!(neighbour, expected);
    let mut answered = live(&app(3, Some(20), 0));
    answered.connection.watched_seconds = 600.0;
    answered.connection.longest_quiet_seconds = 20.0;
    let own = of(vec![live(&stuck)], &[answered]);
    assert!(
        own.starts_with("between 20 s and 1 min 20 s if the path has forgotten it: others"),
        "{own}"
    );
    assert_eq!(of(vec![live(&app(2, None, 195_000))], &[]), "assumed to be 5 min 50 s (default)");
}

#[test]
fn a_guess_stands_beside_the_time_in_which_a_quiet_neighbour_is_dropped() {
    let stuck = Socket {
        in_flight: true,
        retransmits: 7,
        retransmitting_ms: Some(39_000),
        silent_ms: 92_000,
        ..app(1, None, 39_000)
    };
    let said = |quiet_ms, others: &[Life]| {
        let quiet = vec![live(&app(2, None, quiet_ms))];
        let case = judge(quiet, others, &[], None, AskedWhen::default()).remove(0);
        (case.meaning.clone(), case.live_in_words(), case.proposal.idle)
    };
    let (head, live_words, idle) = said(101_000, &[live(&stuck)]);
    assert!(head.contains("once quiet for 5 min 50 s (assumed), ~53 s (guess): keep"), "{head}");
    let expected = "dropped already if the path forgets after ~53 s (guess), else in 4 min 9 s if it stays quiet";
    assert!(live_words.contains(expected), "{live_words}");
    assert!(idle < 53, "{idle}");
    let (_, live_words, _) = said(50_000, &[live(&stuck)]);
    assert!(live_words.contains("dropped in 3.0 s if it stays quiet and the path"), "{live_words}");
    let (head, live_words, _) = said(101_000, &[]);
    assert!(!head.contains("guess") && !live_words.contains("guess"), "{head} {live_words}");
    assert!(live_words.contains("dropped in 4 min 9 s if it stays quiet"), "{live_words}");
}

#[test]
fn what_is_known_of_an_earlier_look_says_so() {
    let said = |age_ms| {
        let watched = Watched { age_ms, ..Watched::default() };
        let stuck = Socket {
            in_flight: true,
            retransmits: 4,
            retransmitting_ms: Some(28_000),
            silent_ms: 30_000,
            watched,
            ..app(1, None, 28_000)
        };
        judge(vec![live(&stuck)], &[], &[], None, AskedWhen::default())[0].meaning.clone()
    };
    let old = said(4_200);
    assert!(old.contains("waits for an answer, for 28 s (as of 4.2 s ago); the kernel"), "{old}");
    assert!(said(300).contains("waits for an answer, for 28 s; the kernel"), "{}", said(300));
}

#[test]
fn of_a_past_time_a_hang_says_since_when_and_that_it_lasts() {
    let stuck = Socket {
        in_flight: true,
        retransmits: 7,
        retransmitting_ms: Some(39_000),
        silent_ms: 119_000,
        ..app(1, None, 39_000)
    };
    let asked = AskedWhen { now: 1_000_000.0, is_of_past: true, ..AskedWhen::default() };
    let said = judge(vec![live(&stuck)], &[], &[], None, asked)[0].meaning.clone();
    assert!(said.contains("waits for an answer, since ") && said.contains(", still now"), "{said}");
    assert!(!said.contains("for 39 s"), "{said}");
}

#[test]
fn an_armed_timer_is_the_reason_although_an_option_was_refused() {
    let refused = |option| CallSeen {
        at: "1970-01-01T00:00:00Z".to_owned(),
        option,
        value: Some(0),
        result: "EINVAL".to_owned(),
        by: None,
        inherited: false,
    };
    let said = |socket: &Socket, option| {
        let mut life = live(socket);
        life.calls.push(refused(option));
        judge(vec![life], &[], &[], None, AskedWhen::default())[0].meaning.clone()
    };
    let timer = said(&armed(1, 7_140_000), SockOpt::Idle);
    assert!(!timer.contains("refused"), "{timer}");
    let late = said(&app(1, Some(7200), 0), SockOpt::Idle);
    assert!(late.contains("TCP_KEEPIDLE was refused with EINVAL, so the first probe"), "{late}");
    let other = said(&app(1, Some(7200), 0), SockOpt::Interval);
    assert!(!other.contains("refused"), "{other}");
}

#[test]
fn what_went_on_after_more_quiet_than_its_limit_speaks_against_that_limit() {
    let survived = |longest_quiet_ms| {
        let watched = Watched { ms: 900_000, age_ms: 0, longest_quiet_ms, ..Watched::default() };
        let page = page(vec![live(&Socket { watched, ..app(1, None, 100_000) })]);
        page.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let said = survived(400_000);
    assert!(said.contains("it went on after 6 min 40 s of quiet: the path keeps it"), "{said}");
    assert!(!survived(300_000).contains("went on after"));
}
