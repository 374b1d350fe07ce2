//! Causes, each beside what looks like it.

use super::*;
use crate::model::observed::{
    ending::{Unsent, tests_support::RESET},
    peer_closed::PeerClosed,
    setting::OwnSettings,
    socket::tests_support::socket,
    watched::Watched,
};

/// Data was repeated for 13 s.
const SILENCE: Ending = Ending {
    errno: ETIMEDOUT,
    retransmits: 5,
    retransmitting_ms: Some(13_000),
    sent_ms: Some(400),
    ..RESET
};

pub(super) fn quiet(silent_ms: u32) -> Socket {
    Socket { silent_ms, ..socket() }
}

pub(super) fn cause(socket: &Socket, old: State, ending: Ending, limit_ms: Option<u64>) -> Cause {
    Death::of(socket, old, ending, limit_ms).unwrap().cause
}

pub(super) fn established(socket: &Socket, ending: Ending) -> Cause {
    cause(socket, State::Established, ending, None)
}

#[test]
fn data_after_silence_is_an_idle_drop_unless_the_connection_survived_as_much_before() {
    let death = Death::of(&quiet(350_000), State::Established, RESET, None).unwrap();
    assert_eq!((death.cause, death.quiet_ms), (Cause::IdleDrop, 350_000));
    let watched = Watched { longest_quiet_ms: 349_000, ..Watched::default() };
    let survived = Socket { watched, ..quiet(350_000) };
    assert_eq!(established(&survived, RESET), Cause::PeerReset);
    let death = Death::of(&quiet(350_500), State::Established, SILENCE, None).unwrap();
    assert_eq!((death.cause, death.quiet_ms), (Cause::IdleDrop, 337_500));
    assert_eq!(established(&quiet(13_100), SILENCE), Cause::RetransmitTimeout);
}

#[test]
fn an_idle_drop_takes_as_much_quiet_as_a_device_needs_to_forget() {
    // A ping each 3 s, and a cut wire.
    assert_eq!(established(&quiet(16_200), SILENCE), Cause::RetransmitTimeout);
    assert_eq!(established(&quiet(19_900), RESET), Cause::PeerReset);
    assert_eq!(established(&quiet(20_000), RESET), Cause::IdleDrop);
    // Unless the path is known for it.
    let of = |silent_ms| cause(&quiet(silent_ms), State::Established, RESET, Some(8_000));
    assert_eq!((of(6_500), of(6_300)), (Cause::IdleDrop, Cause::PeerReset));
    let own = OwnSettings { user_timeout_ms: 10_000, ..OwnSettings::default() };
    let timed = Socket { own, ..quiet(21_400) };
    assert_eq!(established(&timed, SILENCE), Cause::UserTimeout);
}

#[test]
fn what_this_host_closed_while_it_repeated_was_given_up_although_a_reset_came_at_last() {
    // Data was repeated, the program closed it, the peer came back without memory.
    let back = |retransmits, ms| Ending { retransmits, retransmitting_ms: Some(ms), ..RESET };
    let in_state = |old, ending| cause(&quiet(28_000), old, ending, None);
    assert_eq!(in_state(State::FinWait1, back(7, 27_000)), Cause::Abandoned);
    assert_eq!(in_state(State::Established, back(7, 27_000)), Cause::PeerReset);
    // A packet or two may be lost by chance; and a peer that closed by a reset had the data.
    let soon = cause(&quiet(3_000), State::FinWait1, back(2, 600), None);
    assert_eq!(soon, Cause::LocalClosed);
    let acked = Ending { unacked: Unacked::Nothing, ..back(0, 0) };
    assert_eq!(in_state(State::FinWait1, acked), Cause::LocalClosed);
}

#[test]
fn what_this_host_gave_up_is_no_orderly_end() {
    // Its request was the last data: it waited for the answer, and closed.
    let fin = |errno| Ending {
        errno,
        unacked: Unacked::Fin,
        sent_ms: Some(19_900),
        received_data_ms: Some(20_000),
        ..RESET
    };
    let of = |silent_ms, old, errno| cause(&quiet(silent_ms), old, fin(errno), None);
    assert_eq!(of(20_000, State::FinWait1, ETIMEDOUT), Cause::Abandoned);
    assert_eq!(of(20_000, State::FinWait1, ECONNRESET), Cause::Abandoned);
    // The look-alikes: a busy connection that both ends drop, a server that closes by a reset as soon as it sees the FIN.
    assert_eq!(of(6_000, State::FinWait1, ECONNRESET), Cause::LocalClosed);
    let answered = Ending { received_data_ms: Some(19_800), ..fin(ECONNRESET) };
    let closed = |limit_ms| cause(&quiet(20_000), State::FinWait1, answered, limit_ms);
    assert_eq!((closed(None), closed(Some(30_000))), (Cause::LocalClosed, Cause::LocalClosed));
    assert_eq!(closed(Some(20_000)), Cause::Abandoned, "the path is known to forget after that");
    // A FIN that was acknowledged.
    let orphan = Socket { is_orphan: true, ..quiet(20_000) };
    assert_eq!(cause(&orphan, State::FinWait2, fin(ECONNRESET), None), Cause::LocalClosed);
    // One that closed only its own half still waits for the answer.
    assert_eq!(of(20_000, State::FinWait2, ECONNRESET), Cause::PeerReset);
    assert_eq!(of(20_000, State::FinWait2, 0), Cause::LocalClosed);
    // By a reset of its own, with its data unanswered; and without.
    let aborted = Ending { errno: 0, ..SILENCE };
    assert_eq!(established(&quiet(20_000), aborted), Cause::Abandoned);
    let orderly = Ending { errno: 0, unacked: Unacked::Nothing, ..RESET };
    assert_eq!(established(&quiet(20_000), orderly), Cause::LocalReset);
}

#[test]
fn what_ended_it_is_named_beside_what_the_network_said() {
    let unreachable = Ending { errno: EHOSTUNREACH, ..SILENCE };
    assert_eq!(established(&quiet(13_500), unreachable), Cause::Unreachable);
    let own = OwnSettings { user_timeout_ms: 15_000, ..OwnSettings::default() };
    let timed = Socket { own, ..quiet(13_500) };
    let death = Death::of(&timed, State::Established, unreachable, None).unwrap();
    assert_eq!(death.cause, Cause::UserTimeout);
    let evidence = death.evidence(&timed);
    assert!(evidence.contains("15000 ms") && evidence.contains("EHOSTUNREACH"), "{evidence}");
    // ICMP shortens the waits: the kernel's own count has begun anew after 255.
    let told = Socket { soft_errno: EHOSTUNREACH, ..quiet(926_000) };
    let ending = Ending { retransmits: 13, retransmitting_ms: Some(926_000), ..unreachable };
    let evidence = Death::of(&told, State::Established, ending, None).unwrap().evidence(&told);
    assert!(evidence.ends_with("gave up after retransmissions for 15 min 26 s"), "{evidence}");
}

#[test]
fn others_to_the_same_peer_tell_an_outage_from_a_path_that_forgot() {
    let socket = quiet(73_000);
    let drop = Death::of(&socket, State::Established, SILENCE, None).unwrap();
    assert_eq!(drop.beside(&socket, Others::Answered(3)).cause, Cause::IdleDrop);
    let outage = drop.beside(&socket, Others::Silent(2));
    assert_eq!(outage.cause, Cause::RetransmitTimeout);
    assert!(outage.evidence(&socket).contains("an outage"), "{}", outage.evidence(&socket));
    let own = OwnSettings { idle_seconds: 60, ..OwnSettings::default() };
    let probed = Socket { keepalive: true, own, probes_unanswered: 3, ..quiet(75_000) };
    let ending =
        Ending { in_keepalive_timer: true, errno: ETIMEDOUT, unacked: Unacked::Nothing, ..RESET };
    let death = Death::of(&probed, State::Established, ending, None).unwrap();
    assert!(death.beside(&probed, Others::Answered(463)).is_forgotten(&probed));
    // Its host answered others meanwhile, on other ports.
    let beside_host = death.beside(&probed, Others::HostAnswered(2));
    assert!(beside_host.is_forgotten(&probed));
    let evidence = beside_host.evidence(&probed);
    assert!(evidence.contains("2 other connections to other ports of the same host"), "{evidence}");
    // One probe may get lost.
    let one = Socket { probes_unanswered: 1, ..probed };
    let lost = Death::of(&one, State::Established, ending, None).unwrap();
    for others in [Others::Answered(463), Others::HostAnswered(463)] {
        assert!(!lost.beside(&one, others).is_forgotten(&one));
    }
    assert!(!death.beside(&probed, Others::Unknown).is_forgotten(&probed));
    // It survived that idle time before: so it is not what the path forgets after.
    let watched = Watched { longest_quiet_ms: 60_000, ..Watched::default() };
    let survivor = Socket { watched, ..probed };
    let death = Death::of(&survivor, State::Established, ending, None).unwrap();
    for others in [Others::Answered(463), Others::HostAnswered(463)] {
        assert!(!death.beside(&survivor, others).is_forgotten(&survivor));
    }
}

#[test]
fn who_closed_first_is_told_by_the_state() {
    let of = |old| cause(&socket(), old, Ending::default(), None);
    assert_eq!(of(State::LastAck), Cause::PeerClosed);
    assert_eq!(of(State::FinWait2), Cause::LocalClosed);
    assert_eq!(of(State::Closing), Cause::LocalClosed);
    assert_eq!(of(State::Established), Cause::LocalReset);
    assert_eq!(Death::of(&socket(), State::Listen, Ending::default(), None), None);
}

#[test]
fn what_icmp_said_is_no_reset() {
    // `-j REJECT` of a firewall that does not know the connection any more.
    let refused = Ending { errno: ECONNREFUSED, ..SILENCE };
    let death = Death::of(&quiet(38_000), State::Established, refused, None).unwrap();
    assert_eq!((death.cause, death.quiet_ms), (Cause::IdleDrop, 25_000));
    let evidence = death.evidence(&quiet(38_000));
    assert!(evidence.contains("ECONNREFUSED") && !evidence.contains("reset"), "{evidence}");
    assert_eq!(established(&quiet(13_500), refused), Cause::Unreachable);
    let own = OwnSettings { user_timeout_ms: 4_000, ..OwnSettings::default() };
    let timed = Socket { own, ..quiet(13_500) };
    assert_eq!(established(&timed, refused), Cause::UserTimeout);
    let forgotten = Death::of(&Socket { own, ..quiet(38_000) }, State::Established, refused, None);
    let evidence = forgotten.unwrap().evidence(&Socket { own, ..quiet(38_000) });
    assert!(evidence.contains("the user timeout of 4000 ms ended it"), "{evidence}");
}

#[test]
fn a_host_that_cannot_be_reached_by_one_connection_only_is_a_path_that_forgot() {
    let unreachable = Ending { errno: EHOSTUNREACH, ..SILENCE };
    let socket = quiet(60_000);
    let death = Death::of(&socket, State::Established, unreachable, None).unwrap();
    assert_eq!(death.cause, Cause::Unreachable);
    assert_eq!(death.beside(&socket, Others::Answered(2)).cause, Cause::IdleDrop);
    assert_eq!(death.beside(&socket, Others::Silent(2)).cause, Cause::Unreachable);
    let busy = quiet(14_000);
    let death = Death::of(&busy, State::Established, unreachable, None).unwrap();
    assert_eq!(death.beside(&busy, Others::Answered(2)).cause, Cause::Unreachable);
}

#[test]
fn a_half_closed_connection_is_lost_like_any_other() {
    // The peer closed its half, and waits for the answer: it meets silence.
    let last = |ending| cause(&quiet(60_000), State::LastAck, ending, None);
    assert_eq!(last(SILENCE), Cause::IdleDrop);
    assert_eq!(cause(&quiet(14_000), State::CloseWait, SILENCE, None), Cause::RetransmitTimeout);
    // The look-alikes: only our FIN goes unanswered, or the peer had closed for good and resets what comes.
    let fin = Ending { unacked: Unacked::Fin, ..SILENCE };
    assert_eq!(last(fin), Cause::PeerClosed);
    assert_eq!(last(RESET), Cause::PeerClosed);
    assert_eq!(cause(&quiet(27_000), State::CloseWait, RESET, Some(20_000)), Cause::IdleDrop);
}

#[test]
fn data_for_a_peer_that_had_closed_is_no_idle_drop_however_long_it_was_quiet() {
    let closed = |ms, silent_ms, direction| Socket {
        peer_closed: Some(PeerClosed { ms, is_seen: true }),
        direction,
        ..quiet(silent_ms)
    };
    let of = |socket: &Socket, ending| {
        Death::of(socket, State::CloseWait, ending, Some(45_000)).unwrap()
    };
    // Its client wrote once more and closed it, too: both have ended it, and nobody answers.
    let both = |ms, silent_ms| {
        let socket = closed(ms, silent_ms, Direction::Outbound);
        Death::of(&socket, State::LastAck, SILENCE, Some(45_000)).unwrap().cause
    };
    assert_eq!(both(400_000, 400_000), Cause::PeerClosed);
    // Something came from the peer since its FIN: it had closed no more than its half.
    assert_eq!(both(400_000, 390_000), Cause::IdleDrop);
    // The server's idle timer closed it after 21 s; its client used it after 62 s.
    for direction in Direction::ALL {
        let socket = closed(41_000, 41_000, direction);
        let death = of(&socket, RESET);
        assert_eq!(death.cause, Cause::PeerClosed);
        assert_eq!(
            death.evidence(&socket),
            "the peer had closed it 41 s before; its program wrote into it, and a reset answered"
        );
        assert!(!death.is_forgotten(&socket));
    }
    // Something was acknowledged since: the peer had closed only its half.
    let used = closed(90_000, 41_000, Direction::Outbound);
    assert_eq!(of(&used, RESET).cause, Cause::IdleDrop);
    // Silence: whoever answers a request after the client's FIN meets a path that forgot; a client that was told goodbye does not.
    let client = closed(60_000, 60_000, Direction::Outbound);
    let death = of(&client, SILENCE);
    assert_eq!((death.cause, death.could_be_forgotten), (Cause::RetransmitTimeout, false));
    let evidence = death.evidence(&client);
    assert!(
        evidence.starts_with("the peer had closed it 1 min before, and its program wrote"),
        "{evidence}"
    );
    assert_eq!(of(&closed(60_000, 60_000, Direction::Inbound), SILENCE).cause, Cause::IdleDrop);
}

#[test]
fn what_this_host_could_not_send_is_no_idle_drop() {
    let held_back = Ending { held_back_ms: Some(30_000), ..RESET };
    let death = Death::of(&quiet(71_000), State::Established, held_back, Some(45_000)).unwrap();
    assert_eq!((death.cause, death.could_be_forgotten), (Cause::PeerReset, false));
    let evidence = death.evidence(&quiet(71_000));
    assert!(
        evidence.contains("tried for 30 s, and this host could not send it: there is no route"),
        "{evidence}"
    );
    let silence = Ending { held_back_ms: Some(30_000), ..SILENCE };
    assert_eq!(established(&quiet(71_000), silence), Cause::RetransmitTimeout);
    assert_eq!(established(&quiet(71_000), RESET), Cause::IdleDrop);
}

#[test]
fn a_close_after_probes_that_only_this_connection_misses_shows_that_it_was_forgotten() {
    let own = OwnSettings { idle_seconds: 60, interval_seconds: 60, ..OwnSettings::default() };
    let probed = Socket { keepalive: true, own, probes_unanswered: 2, ..quiet(277_000) };
    let fin = Ending {
        unacked: Unacked::Fin,
        retransmitting_ms: Some(107_000),
        sent_ms: Some(277_000),
        received_data_ms: Some(277_000),
        ..SILENCE
    };
    let death = Death::of(&probed, State::FinWait1, fin, None).unwrap();
    assert_eq!((death.cause, death.quiet_ms), (Cause::Abandoned, 60_000));
    assert_eq!(death.closed_after_ms(), Some(170_000));
    assert!(death.beside(&probed, Others::Answered(1)).is_forgotten(&probed));
    assert!(!death.beside(&probed, Others::Silent(1)).is_forgotten(&probed));
    assert!(!death.is_forgotten(&probed), "nobody else shows that the peer lives");
    let evidence = death.evidence(&probed);
    assert!(evidence.contains("after 2 min 50 s without an answer"), "{evidence}");
}

#[test]
fn a_peer_that_was_started_anew_is_no_path_that_forgot() {
    let reset = Ending { unacked: Unacked::Nothing, sent_ms: None, ..RESET };
    let probing = Socket { keepalive: true, probes_unanswered: 1, ..quiet(22_500) };
    let death = |survived_ms, silent_ms| {
        let watched = Watched { longest_quiet_ms: survived_ms, ..Watched::default() };
        let socket = Socket { silent_ms, watched, ..probing };
        Death::of(&socket, State::Established, reset, None).unwrap()
    };
    assert!(death(0, 22_500).is_forgotten(&probing));
    // Its probes had been answered after 21 s, or no device forgets so soon.
    for restarted in [death(21_000, 22_500), death(0, 12_000)] {
        assert_eq!(restarted.cause, Cause::KeepaliveReset);
        assert!(!restarted.is_forgotten(&probing));
        let evidence = restarted.evidence(&probing);
        assert!(evidence.contains("started anew"), "{evidence}");
    }
}

fn evidence(socket: &Socket, ending: Ending) -> String {
    Death::of(socket, State::Established, ending, None).unwrap().evidence(socket)
}

#[test]
fn a_close_beside_unanswered_probes_names_no_fin_and_one_unanswered_probe_is_no_reason() {
    let closes = Ending { errno: 0, unacked: Unacked::Nothing, ..RESET };
    let probed = |probes_unanswered| Socket { keepalive: true, probes_unanswered, ..quiet(40_000) };
    assert_eq!(established(&probed(2), closes), Cause::Abandoned);
    let said = evidence(&probed(2), closes);
    assert!(said.starts_with("this host closed it by a reset while 2 probes"), "{said}");
    assert!(!said.contains("FIN"), "{said}");
    assert_eq!(established(&probed(1), closes), Cause::LocalReset);
}

#[test]
fn a_reset_of_what_nobody_had_accepted_is_no_close_with_data_unread() {
    let closes = Ending { errno: 0, unacked: Unacked::Nothing, ..RESET };
    let queued = evidence(&quiet(100), Ending { unaccepted: true, ..closes });
    assert_eq!(queued, "nobody had accepted it: its listening socket was closed");
    let accepted = evidence(&quiet(100), closes);
    // A program that moves it away closes it so, too, and sends nothing: the kernel does not show the difference.
    let may_be = "the program closed it with unread data, or with SO_LINGER 0, or has moved it away (TCP_REPAIR, as CRIU does)";
    assert_eq!(accepted, may_be);
    // The look-alike: one that ended with a FIN.
    let in_order = Death::of(&quiet(100), State::FinWait2, Ending::default(), None).unwrap();
    let in_order = in_order.evidence(&quiet(100));
    assert!(!in_order.contains("TCP_REPAIR"), "{in_order}");
}

#[test]
fn a_reset_in_place_of_an_answer_is_an_idle_timer_only_if_it_raced_the_request() {
    let refused = |sent_ms| {
        let (sent_ms, received_data_ms) = (Some(sent_ms), Some(sent_ms + 25_000));
        evidence(
            &quiet(sent_ms.unwrap() - 40),
            Ending { sent_ms, received_data_ms, unacked: Unacked::Nothing, ..RESET },
        )
    };
    let soon = refused(120);
    assert!(soon.contains("own idle timeout is over") && soon.contains("25 s before"), "{soon}");
    let late = refused(15_000);
    assert!(late.contains("gives a request up") && !late.contains("idle timeout"), "{late}");
    // A reset 40 s after the request may be from a device, too.
    let none = refused(40_000);
    assert!(!none.contains("acknowledged"), "{none}");
}

#[test]
fn a_closed_window_is_told_from_a_host_that_cannot_send_and_from_a_peer_that_is_silent() {
    let own = OwnSettings { user_timeout_ms: 8_000, ..OwnSettings::default() };
    let waits = Ending {
        errno: ETIMEDOUT,
        retransmitting_ms: Some(8_100),
        unacked: Unacked::Nothing,
        unsent: Unsent::WindowClosed,
        ..RESET
    };
    let answers = Socket { own, ..quiet(400) };
    let said = evidence(&answers, waits);
    assert!(
        said.contains("did not read enough; its host answered meanwhile, 0.4 s before"),
        "{said}"
    );
    let said = evidence(&Socket { own, ..quiet(9_000) }, waits);
    assert!(said.ends_with("did not read enough; nothing was received for 9.0 s"), "{said}");
    let said = evidence(&answers, Ending { unsent: Unsent::Waits, ..waits });
    assert!(said.contains("this host could not send") && !said.contains("window"), "{said}");
}

#[test]
fn what_was_closed_while_the_peer_did_not_read_is_no_loss_and_unanswered_probes_of_its_window_are()
{
    // The FIN waits for room behind what was written; the peer answered the last probe of its window 2 min before.
    let waits = Ending {
        errno: ETIMEDOUT,
        retransmitting_ms: Some(330_000),
        sent_ms: Some(335_000),
        unacked: Unacked::Nothing,
        unsent: Unsent::WindowClosed,
        ..RESET
    };
    let killed = Socket { is_orphan: true, ..quiet(120_000) };
    let ends = |socket: &Socket, ending| {
        Death::of(socket, State::FinWait1, ending, None)
            .unwrap()
            .beside(socket, Others::Answered(2))
    };
    let unread = ends(&killed, waits);
    assert_eq!((unread.cause, unread.certainty), (Cause::LocalClosed, Certainty::Exact));
    assert!(!unread.is_forgotten(&killed) && unread.closed_after_ms().is_none());
    let said = unread.evidence(&killed);
    assert!(said.contains("program did not read enough") && said.contains("nor the FIN"), "{said}");
    assert!(said.contains("its host answered meanwhile, 2 min before the end"), "{said}");
    // The path went dark meanwhile; or the window is open, and the FIN went unanswered.
    let dark = Socket { probes_unanswered: 1, silent_ms: 240_000, ..killed };
    let lost = ends(&dark, waits);
    assert_eq!(lost.cause, Cause::Abandoned);
    let said = lost.evidence(&dark);
    assert!(
        said.contains("1 probe of its window went unanswered, nothing received for 4"),
        "{said}"
    );
    let fin = Ending { unsent: Unsent::Nothing, unacked: Unacked::Fin, ..waits };
    assert_eq!(ends(&killed, fin).cause, Cause::Abandoned);
    // A program that has ended only what it sends still has it open: its user timeout ended it.
    let own = OwnSettings { user_timeout_ms: 8_000, ..OwnSettings::default() };
    let open = Socket { own, ..quiet(400) };
    assert_ne!(ends(&open, waits).cause, Cause::LocalClosed);
}

#[test]
fn a_death_by_probes_that_came_an_interval_after_an_answered_one_names_the_interval() {
    let own = OwnSettings { idle_seconds: 20, interval_seconds: 35, count: 9, user_timeout_ms: 0 };
    let silent = |silent_ms| Socket {
        keepalive: true,
        own,
        probes_unanswered: 9,
        silent_ms,
        quiet_ms: silent_ms,
        ..socket()
    };
    let died = |socket: &Socket| {
        let ending = Ending { errno: ETIMEDOUT, in_keepalive_timer: true, ..Ending::default() };
        let death = Death::of(socket, State::Established, ending, None).unwrap();
        let death = death.beside(socket, Others::Answered(4));
        assert_eq!(death.cause, Cause::KeepaliveTimeout);
        death
    };
    // The first one at 20 s was answered; whether anybody saw that or not.
    for survived_ms in [0, 20_000] {
        let watched = Watched { longest_quiet_ms: survived_ms, ..Watched::default() };
        let socket = Socket { watched, ..silent(36_864 * 10) };
        let death = died(&socket);
        assert!(death.is_forgotten(&socket), "{survived_ms}");
        let evidence = death.evidence(&socket);
        let named = "after 20 s of quiet had been answered, and the first of these came 36 s later, by the interval";
        assert!(evidence.contains(named), "{evidence}");
    }
    // The look-alike: the first probe of all met silence; and one that had survived as much before.
    let first = silent(20_480 + 9 * 36_864);
    let evidence = died(&first).evidence(&first);
    assert!(!evidence.contains("interval"), "{evidence}");
    let watched = Watched { longest_quiet_ms: 35_000, ..Watched::default() };
    let survived = Socket { watched, ..silent(36_864 * 10) };
    assert!(!died(&survived).is_forgotten(&survived));
}

#[test]
fn data_sent_after_lost_probes_followed_the_quiet_time_of_the_timer_that_sent_the_first() {
    let own = OwnSettings { idle_seconds: 20, interval_seconds: 35, count: 9, user_timeout_ms: 0 };
    // Two probes are unanswered, and then data is, for 13 s.
    let quiet_ms = |before_data_ms: u32, longest_quiet_ms: u32| {
        let watched = Watched { longest_quiet_ms, ..Watched::default() };
        let silent_ms = before_data_ms + 13_000;
        let probed = Socket { keepalive: true, own, probes_unanswered: 2, ..quiet(silent_ms) };
        let socket = Socket { watched, ..probed };
        Death::of(&socket, State::Established, SILENCE, None).unwrap().quiet_ms
    };
    assert_eq!(quiet_ms(80_000, 20_000), 35_000);
    // None was answered before; the second one came an interval after the first, which was the first of all.
    assert_eq!((quiet_ms(80_000, 0), quiet_ms(60_000, 20_000)), (20_000, 20_000));
}
