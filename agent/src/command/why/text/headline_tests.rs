//! The first sentence: what it says of others that hang, of others that are answered, and of the last word.

use super::{
    tests_support::{said_behind, said_of, stuck},
    *,
};
use crate::{
    command::why::{answer::judge, in_window::AskedWhen},
    model::observed::{
        ending::Ending,
        setting::OwnSettings,
        socket::{Comm, Endpoint, Owner, Socket, State},
        watched::Watched,
    },
    view::life::tests_support::{
        CLOSED_UNANSWERED, GAVE_UP, NEVER_TAKEN, RESET, app, dead, died_from, live,
    },
};

fn said(lives: Vec<Life>, peer: Option<&str>) -> String {
    said_of(&judge(lives, &[], &[], None, AskedWhen::default()), peer)
}

/// It was answered a moment ago.
fn answered(id: u64) -> Socket {
    let watched = Watched {
        ms: 600_000,
        longest_quiet_ms: 5_000,
        longest_silence_ms: 5_000,
        ..Watched::default()
    };
    Socket { watched, ..app(id, Some(5), 1_000) }
}

fn to_host(socket: Socket, host: u8, program: &str) -> Life {
    let mut name = [0; 16];
    name[..program.len()].copy_from_slice(program.as_bytes());
    let addr = std::net::Ipv4Addr::new(10, 0, 0, host).to_ipv6_mapped();
    let pid = 900 + u32::from(host);
    let owner = Some(Owner { pid, fd: Some(5), comm: Comm::new(name) });
    live(&Socket { remote: Endpoint { addr, ..socket.remote }, owner, ..socket })
}

#[test]
fn it_says_whether_others_to_the_same_peer_are_answered() {
    let beside = said(vec![live(&stuck(1)), live(&answered(2))], Some("app"));
    let head = "1 connection of app to 172.16.0.15:2717 waits for an answer, for 39 s, while others to the same peer are \
                answered; the kernel gives up in about";
    assert!(beside.starts_with(head), "{beside}");
    // Nobody else goes there; or another one hangs.
    for other in [vec![], vec![live(&stuck(2))]] {
        let alone = said([vec![live(&stuck(1))], other].concat(), Some("app"));
        assert!(!alone.contains("others to the same"), "{alone}");
    }
}

#[test]
fn in_an_outage_it_says_that_others_to_the_host_hang_too_and_not_of_itself() {
    // It had gone on after as long a quiet time before.
    let watched = Watched { ms: 600_000, longest_quiet_ms: 80_000, ..Watched::default() };
    let outage = |id, port| {
        let socket = Socket { watched, ..stuck(id) };
        live(&Socket { remote: Endpoint { port, ..socket.remote }, ..socket })
    };
    const NOR: &str = ", nor do others to the same host get one;";
    let both = said(vec![outage(1, 80), outage(2, 81)], Some("app"));
    assert!(both.contains(NOR), "{both}");
    // All that hang are of this sentence.
    let alone = said(vec![outage(1, 80), outage(2, 80)], Some("app"));
    assert!(alone.starts_with("2 connections of app") && !alone.contains(NOR), "{alone}");
}

#[test]
fn a_port_that_is_gone_is_told_from_a_host_that_is() {
    let to_port = |socket: Socket, port| {
        live(&Socket { remote: Endpoint { port, ..socket.remote }, ..socket })
    };
    // After a moment of quiet.
    let hangs = |id| to_port(Socket { silent_ms: 39_300, ..stuck(id) }, 80);
    let beside = |longest_silence_ms| {
        let Socket { watched, .. } = answered(3);
        let watched = Watched { longest_silence_ms, ..watched };
        let other = to_port(Socket { watched, ..answered(3) }, 81);
        said(vec![hangs(1), hangs(2), other], Some("app"))
    };
    let port = beside(5_000);
    assert!(port.contains(", while others to other ports of the host are answered;"), "{port}");
    let gone = "no path forgets after so little quiet: this port of the peer is gone, or the way to it: others to its host are \
                answered all the while";
    assert!(port.contains(gone), "{port}");
    // The other one had been silent, too, and hears the host again.
    let over = beside(35_000);
    assert!(!over.contains("this port of the peer is gone"), "{over}");
    assert!(!over.contains("the peer or the path is gone"), "{over}");
    // Nobody hears it.
    let outage = said(vec![hangs(1), hangs(2), to_port(stuck(3), 81)], Some("app"));
    assert!(outage.contains("so little quiet: the peer or the path is gone"), "{outage}");
}

#[test]
fn what_hung_after_a_moment_and_meets_nobody_now_may_be_of_a_device_that_lost_its_state() {
    let said = |opened_seconds_ago: u32| {
        let mut newcomer = live(&answered(2));
        newcomer.connection.watched_seconds = f64::from(opened_seconds_ago);
        let at = jiff::Timestamp::from_second(1000 - i64::from(opened_seconds_ago));
        newcomer.opened_at = Some(at.unwrap().to_string());
        let hangs = Socket { silent_ms: 100_300, retransmitting_ms: Some(100_000), ..stuck(1) };
        let lives = vec![live(&hangs), newcomer];
        let asked = AskedWhen { now: 1000.0, ..AskedWhen::default() };
        said_of(&judge(lives, &[], &[], None, asked), Some("app"))
    };
    const LOST: &str = "or a device between has lost its state: what is repeated now meets nobody";
    let forgotten = said(60);
    assert!(forgotten.contains(LOST), "{forgotten}");
    // Nothing was repeated since the newcomer was answered.
    let open = said(10);
    assert!(!open.contains(LOST) && !open.contains("the path is gone"), "{open}");
    // Whether others were answered all the time is not known of what came later.
    assert!(
        open.contains("others are answered now: the peer or the path was gone before, or"),
        "{open}"
    );
    assert!(!open.contains("again"), "{open}");
}

#[test]
fn of_what_is_being_opened_only_that_has_heard_nothing() {
    let opening = Socket {
        state: State::SynSent,
        in_flight: true,
        retransmits: 3,
        retransmitting_ms: Some(9_000),
        ..app(1, None, 9_000)
    };
    let both = said(vec![live(&opening), live(&answered(2))], Some("app"));
    let alone = said(vec![live(&opening)], Some("app"));
    const NOTHING: &str = "1 connection so far: nothing has come from the peer";
    assert!(alone.contains(NOTHING) && !alone.contains("more is open"), "{alone}");
    assert!(both.contains(NOTHING), "{both}");
}

#[test]
fn what_cannot_be_opened_is_said_beside_what_is_worse_and_its_syns_are_no_data() {
    let opening = |id| {
        let (retransmits, retransmitting_ms) = (10, Some(83_000));
        let state = State::SynSent;
        let socket =
            Socket { state, in_flight: true, retransmits, retransmitting_ms, ..app(id, None, 0) };
        live(&socket)
    };
    let overdue = live(&app(9, None, 400_000));
    let mut lives: Vec<Life> = (1..=5).map(opening).collect();
    lives.push(overdue.clone());
    let said_of_both = said(lives, Some("app"));
    let head = "1 connection of app to 172.16.0.15:2717 is quiet for longer than 5 min 50 s";
    assert!(said_of_both.starts_with(head), "{said_of_both}");
    let syns = "5 connections of app to 172.16.0.15:2717 cannot be opened so far: up to 11 SYNs got no answer, for up to 1 min 23 s; \
                the kernel gives up in about";
    assert!(said_of_both.contains(syns), "{said_of_both}");
    let part = "5 connections so far: nothing has come from the peer, up to 11 SYNs got no answer";
    assert!(said_of_both.contains(part), "{said_of_both}");
    assert!(!said_of_both.contains("data unanswered"), "{said_of_both}");
    // The look-alike: what is open and has data unanswered.
    let data = said(vec![live(&stuck(1)), overdue], Some("app"));
    assert!(data.contains("1 with data unanswered") && !data.contains("SYN"), "{data}");
}

#[test]
fn a_peer_that_is_heard_while_data_goes_unanswered_is_not_gone() {
    const HEARD: &str = "the peer is heard all the same: what this host sends does not get through";
    // It pushes each second; or it fell silent just before.
    let hangs = |silent_ms| said(vec![live(&Socket { silent_ms, ..stuck(1) })], Some("app"));
    let (pushes, silent) = (hangs(500), hangs(39_300));
    assert!(pushes.contains(HEARD) && !pushes.contains("gone"), "{pushes}");
    assert!(!silent.contains(HEARD) && silent.contains("the path is gone"), "{silent}");
    // One of two hears it, and one that its program has closed does, too.
    let of = |id, silent_ms| Socket { silent_ms, ..stuck(id) };
    let closed = Socket { state: State::FinWait1, is_orphan: true, ..of(3, 500) };
    let all = vec![live(&of(1, 500)), live(&of(2, 39_300)), live(&closed)];
    let some = said(all, Some("app"));
    assert!(!some.contains(", while the peer is heard"), "{some}");
    // Its program gave it up.
    let dead = |heard_seconds| {
        let socket = app(1, None, 140_000);
        let mut life = Life::dead(died_from(&socket, State::FinWait1, CLOSED_UNANSWERED)).unwrap();
        life.end.as_mut().unwrap().heard_seconds = heard_seconds;
        life
    };
    let heard = said(vec![dead(Some(0.8))], Some("app"));
    let text = "was closed by this host although the peer was heard until 0.8 s before: what was sent does not get through";
    assert!(heard.contains(text), "{heard}");
    let one_of_two = said(vec![dead(Some(0.8)), dead(None)], Some("app"));
    for silent in [said(vec![dead(None)], Some("app")), one_of_two] {
        assert!(silent.contains("the peer or the path went dark"), "{silent}");
    }
}

#[test]
fn a_newcomer_that_is_answered_shows_that_the_peer_is_not_gone() {
    let opened = |seconds_ago: u32| {
        let mut life = live(&answered(2));
        life.connection.watched_seconds = f64::from(seconds_ago);
        // Judged at 1000 s.
        let at = jiff::Timestamp::from_second(1000 - i64::from(seconds_ago));
        life.opened_at = Some(at.unwrap().to_string());
        life
    };
    let said = |newcomer: Option<u32>| {
        let lives = std::iter::once(live(&stuck(1))).chain(newcomer.map(opened)).collect();
        let asked = AskedWhen { now: 1000.0, ..AskedWhen::default() };
        said_of(&judge(lives, &[], &[], None, asked), Some("app"))
    };
    let since = said(Some(30));
    let limit = "at most 1 min 20 s if the path has forgotten it: the peer's host answers others since, and nothing that is \
                 repeated on this one";
    assert!(
        since.contains(limit) && since.contains(", while others to the same host were answered"),
        "{since}"
    );
    // Nothing was repeated since it came; or there is none.
    for unknown in [said(Some(10)), said(None)] {
        assert!(unknown.contains("as a peer that is gone looks, too"), "{unknown}");
    }
}

#[test]
fn others_that_hang_are_named_with_it_and_what_only_may_hang_is_not() {
    let one = to_host(stuck(1), 1, "checkout");
    let two = [to_host(stuck(2), 2, "cache"), to_host(stuck(3), 3, "jobs")];
    let quiet = to_host(app(4, None, 5_000), 4, "idle");
    let all = said([&[one.clone(), quiet.clone()], &two[..]].concat(), None);
    assert!(
        all.contains(". 2 others of cache and jobs hang, too. 3 more findings below."),
        "{all}"
    );
    let alone = said(vec![one.clone(), quiet.clone()], None);
    assert!(!alone.contains("hang, too") && alone.contains(" One more finding below."), "{alone}");
    let another = said(vec![one, two[0].clone()], None);
    assert!(another.contains(". Another connection of cache hangs, too."), "{another}");
    let quiet = said(vec![quiet], None);
    assert!(!quiet.contains("hang"), "{quiet}");
}

#[test]
fn what_a_path_or_a_peer_that_was_gone_ended_is_advised_by_what_would_have_helped() {
    let advised = |life: Life| {
        let cases = judge(vec![life], &[], &[], None, AskedWhen::default());
        cases[0].advice.iter().flat_map(|it| it.lines.clone()).collect::<String>()
    };
    // Its data was repeated for a quarter of an hour: keepalive waits meanwhile.
    let in_flight = Ending { errno: 110, retransmits: 15, ..RESET };
    let lines = advised(dead(&app(1, None, 1_000), in_flight));
    assert!(lines.contains("TCP_USER_TIMEOUT") && !lines.contains("KEEPIDLE"), "{lines}");
    // Its program gave up by itself, in an outage that took others, too: after 45 s, and after half an hour.
    let closed_after = |seconds: u32, n_silent: Option<u32>| {
        let socket = app(1, None, seconds * 1000 + 100_000);
        let mut life = Life::dead(died_from(&socket, State::FinWait1, CLOSED_UNANSWERED)).unwrap();
        life.end.as_mut().unwrap().others_silent = n_silent;
        advised(life)
    };
    assert_eq!(closed_after(45, Some(3)), "");
    for noticed_late in [closed_after(1800, Some(3)), closed_after(45, None)] {
        assert!(noticed_late.contains("TCP_KEEPIDLE"), "{noticed_late}");
    }
}

#[test]
fn that_the_client_spoke_last_comes_first_only_where_that_is_unusual() {
    // Its last data was sent 7 s ago and is acknowledged.
    let spoke = |longest_quiet_ms| {
        let watched = Watched { ms: 900_000, longest_quiet_ms, ..Watched::default() };
        live(&Socket { spoke_last_ms: Some(7_000), watched, ..app(1, None, 7_000) })
    };
    let last =
        "172.16.0.15:2717 has acknowledged the last data of 1 connection of app, sent 7.0 s ago";
    let usual = said(vec![spoke(120_000)], Some("app"));
    assert!(
        usual.starts_with("1 connection of app to 172.16.0.15:2717 will be dropped"),
        "{usual}"
    );
    assert!(usual.contains(&format!("keepalive is off. {last}")), "{usual}");
    let unusual = said(vec![spoke(1_000)], Some("app"));
    assert!(unusual.starts_with(last), "{unusual}");
    // Nobody asked for it.
    let host = said(vec![spoke(120_000)], None);
    assert!(!host.contains("has acknowledged"), "{host}");
}

#[test]
fn a_program_that_has_shut_down_what_hangs_no_longer_waits_and_one_that_closed_it_does_not_have_it()
{
    let in_state =
        |state, is_orphan| said(vec![live(&Socket { state, is_orphan, ..stuck(1) })], Some("app"));
    let shut = in_state(State::FinWait1, false);
    let head = "1 connection of app to 172.16.0.15:2717 was shut down by the program, which still has it open, and what it had \
                sent goes unanswered, for 39 s";
    assert!(shut.starts_with(head), "{shut}");
    let open = in_state(State::Established, false);
    assert!(open.contains(" waits for an answer, for 39 s"), "{open}");
    let closed = in_state(State::FinWait1, true);
    assert!(closed.contains(" was closed by this host without an answer"), "{closed}");
}

#[test]
fn who_died_when_an_outage_began_that_takes_others_died_of_it_and_who_died_long_before_did_not() {
    // By a single probe, under a short user timeout.
    let died = |at: &str| {
        let own = OwnSettings { user_timeout_ms: 15_000, idle_seconds: 20, ..app(1, None, 0).own };
        let socket = Socket { own, probes_unanswered: 1, ..app(1, Some(20), 35_000) };
        let mut life = dead(&socket, GAVE_UP);
        life.end.as_mut().unwrap().at = at.to_owned();
        life.end.as_mut().unwrap().last_packet_at = None;
        life.end.as_mut().unwrap().unanswered_since = Some(at.to_owned());
        life
    };
    let now = timestamp::unix_seconds("2026-01-02T10:41:40Z").unwrap();
    let asked = AskedWhen { now, ..AskedWhen::default() };
    // It hangs for 39 s, after a moment of quiet.
    let hangs = [live(&Socket { silent_ms: 40_000, ..stuck(2) })];
    let said = |at: &str, others: &[Life]| {
        said_of(&judge(vec![died(at)], others, &[], None, asked), Some("app"))
    };
    let with = said("2026-01-02T10:41:05Z", &hangs);
    assert!(with.contains(", and others to 172.16.0.15 get no answer since "), "{with}");
    for alone in [said("2026-01-02T10:41:05Z", &[]), said("2026-01-02T10:31:05Z", &hangs)] {
        assert!(!alone.contains("get no answer since"), "{alone}");
    }
}

#[test]
fn what_was_closed_after_the_peer_had_spoken_waited_for_the_rest_at_most_and_what_had_asked_for_an_answer()
 {
    // Closed after 5 min of quiet, and nobody answered the FIN.
    let closed = |received_data_ms| {
        let ending = Ending { sent_ms: Some(400_100), received_data_ms, ..CLOSED_UNANSWERED };
        Life::dead(died_from(&app(1, None, 400_000), State::FinWait1, ending)).unwrap()
    };
    let idle = said(vec![closed(Some(400_000))], Some("app"));
    let head = "1 connection of app to 172.16.0.15:2717 was closed by this host after 5 min of quiet, and nobody answered the \
                FIN: the peer or the path was gone. The peer had spoken last: no request of it was unanswered, unless the answer was \
                not whole; the peer may still have it open.";
    assert!(idle.starts_with(head), "{idle}");
    assert!(idle.contains("; the FIN went unanswered since ") && !idle.contains("waiting since"));
    assert!(idle.contains("after 5 min of quiet, when the peer had spoken last"), "{idle}");
    let mut forgotten = closed(Some(400_000));
    forgotten.end.as_mut().unwrap().forgotten = true;
    let forgotten = said(vec![forgotten], Some("app"));
    assert!(forgotten.contains("the FIN: the path had forgotten it. The peer had"), "{forgotten}");
    let asked = said(vec![closed(None)], Some("app"));
    assert!(asked.contains("after 5 min without an answer, and its FIN"), "{asked}");
    assert!(asked.contains("the FIN went unanswered since "), "{asked}");
    assert!(!asked.contains("had spoken last"), "{asked}");
    // Both sent data within a tick: nobody knows whether it waited.
    let unclear = said(vec![closed(Some(400_100))], Some("app"));
    assert!(unclear.contains("this host closed it after 5 min of quiet, and its FIN"), "{unclear}");
    for word in ["had spoken last", "without an answer", "waiting", "request"] {
        assert!(!unclear.contains(word), "{word}: {unclear}");
    }
    let both = said(vec![closed(None), closed(Some(400_000))], Some("app"));
    assert!(!both.contains("had spoken last"), "{both}");
}

#[test]
fn what_is_blocked_says_what_the_path_may_have_done_meanwhile_and_agrees_with_the_verdict() {
    // Its window is closed for 2 min; the probe after 104 s is not answered.
    let blocked = |idle, silent_ms| {
        let mut life = live(&Socket {
            in_flight: true,
            window_closed: true,
            retransmitting_ms: Some(120_000),
            silent_ms,
            ..app(1, idle, silent_ms)
        });
        life.connection.limit.idle_limit_seconds = 45;
        judge(vec![life], &[], &[], None, AskedWhen::default())
    };
    let forgotten = blocked(None, 68_000);
    let text = said_of(&forgotten, Some("app"));
    assert!(
        text.contains("its host was heard 1 min 8 s ago, longer than the path keeps"),
        "{text}"
    );
    assert!(
        text.contains("it may have forgotten this one") && !text.contains("no matter"),
        "{text}"
    );
    assert!(forgotten[0].is_of_silence() && !forgotten[0].advice.is_empty(), "as `check` says");
    // Its host answers, and what will count once the peer reads is said beside.
    let answers = blocked(None, 16_000);
    let text = said_of(&answers, Some("app"));
    assert!(
        text.contains("does not read enough, its host answers. Once the peer reads, the path"),
        "{text}"
    );
    assert!(answers[0].is_of_silence());
    // Protected otherwise.
    let protected = blocked(Some(10), 16_000);
    let text = said_of(&protected, Some("app"));
    assert!(text.contains("its host answers. That is no matter of keepalive"), "{text}");
    assert!(!protected[0].is_of_silence() && protected[0].advice.is_empty());
}

#[test]
fn what_this_host_closed_before_the_peer_read_it_is_blamed_on_nobody_in_between() {
    let killed = Socket { is_orphan: true, ..app(1, None, 100_000) };
    let of = |socket: &Socket| {
        let life = Life::dead(died_from(socket, State::FinWait1, NEVER_TAKEN)).unwrap();
        said(vec![life], Some("app"))
    };
    let unread = of(&killed);
    let head = "1 connection of app to 172.16.0.15:2717 was closed by this host before the peer had taken what was written: its \
                program did not read enough, its host answered.";
    assert!(unread.starts_with(head), "{unread}");
    for word in ["dark", "silence", "what if", "setsockopt("] {
        assert!(!unread.contains(word), "{word}: {unread}");
    }
    let dark = of(&Socket { probes_unanswered: 1, ..killed });
    assert!(dark.contains("the peer or the path went dark"), "{dark}");
    assert!(dark.contains("1 probe of its window went unanswered"), "{dark}");
}

#[test]
fn what_was_aborted_from_outside_is_said_so_and_a_programs_own_reset_is_its_business() {
    let of = |errno| {
        said(vec![dead(&app(1, None, 5_000), Ending { errno, ..Ending::default() })], Some("app"))
    };
    let head = "1 connection of app to 172.16.0.15:2717 was aborted on this host from outside the program, as `ss -K` does";
    assert!(of(103).starts_with(head), "{}", of(103));
    let own =
        "Nothing is wrong with app: no connection lives, 1 closed by this host without a FIN.";
    assert!(of(0).starts_with(own), "{}", of(0));
    // The look-alike: with a FIN it ended in order.
    let closed = Life::dead(died_from(&app(2, None, 5_000), State::FinWait2, Ending::default()));
    let in_order = said(closed.into_iter().collect(), Some("app"));
    assert!(in_order.contains("no connection lives, 1 ended in order"), "{in_order}");
}

#[test]
fn what_hangs_behind_a_program_of_this_host_comes_before_what_is_over_and_after_what_hangs_itself()
{
    let refused = Ending { errno: 111, ..RESET };
    let mut over = dead(&app(1, None, 0), refused);
    over.end.as_mut().unwrap().cause = Cause::ConnectFailed;
    let well = live(&app(2, Some(60), 1_000));
    let of = |lives: Vec<Life>, n_hanging| {
        let cases = judge(lives, &[], &[], None, AskedWhen::default());
        let command = "keepwatch why pgbouncer --socket /run/kw.sock".to_owned();
        let behind = LocalProgram { name: "pgbouncer".to_owned(), command, n_hanging };
        said_behind(&cases, Some("pgapp"), Some(&behind))
    };
    let first = "What these connections wait for may be behind pgbouncer, of whose own connections 1 gets no answer now: \
                 keepwatch why pgbouncer --socket /run/kw.sock. ";
    let after_a_refusal = of(vec![over.clone(), well.clone()], 1);
    assert!(
        after_a_refusal.starts_with(&format!("{first}172.16.0.15:2717 refuses: ")),
        "{after_a_refusal}"
    );
    let nothing_else = of(vec![well.clone()], 1);
    assert!(
        nothing_else.starts_with(&format!("{first}Nothing else is wrong with")),
        "{nothing_else}"
    );
    // The look-alikes: nothing hangs behind it, and the connection to it hangs itself.
    let over = of(vec![over, well.clone()], 0);
    assert!(!over.contains("behind"), "{over}");
    let well = of(vec![well], 0);
    assert!(
        well.starts_with("Nothing is wrong") && well.contains("be behind pgbouncer: keepwatch"),
        "{well}"
    );
    let itself = of(vec![live(&stuck(3))], 1);
    assert!(
        itself.starts_with("1 connection of app") && itself.contains(first.trim_end()),
        "{itself}"
    );
}

#[test]
fn a_late_reset_is_its_programs_only_where_nothing_was_repeated_and_unclear_after_a_long_quiet_time()
 {
    let late = |quiet_ms, retransmits| {
        let ending = Ending { sent_ms: Some(88), retransmits, ..RESET };
        said(vec![dead(&app(1, None, quiet_ms), ending)], Some("app"))
    };
    let own_timer = late(8_000, 0);
    assert!(own_timer.contains("its own idle timeout is likely. "), "{own_timer}");
    assert!(own_timer.contains("sure the kernel reported it"), "{own_timer}");
    let unclear = late(75_000, 0);
    let or_device = "its own idle timeout is likely; a device that had forgotten it, and is slow to say so, looks the same";
    assert!(
        unclear.contains(or_device) && !unclear.contains("the kernel reported it"),
        "{unclear}"
    );
    let forgotten = late(75_000, 1);
    assert!(forgotten.contains("died of silence"), "{forgotten}");
    let repeated = late(8_000, 1);
    assert!(repeated.contains("with a request unanswered, after 1 repetition"), "{repeated}");
    assert!(!repeated.contains("unread") && !repeated.contains("timeout is likely"), "{repeated}");
}
