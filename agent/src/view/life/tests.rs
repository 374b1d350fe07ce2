//! Findings of connections, live and dead.

use super::{
    tests_support::{GAVE_UP, NEVER_TAKEN, RESET, app, dead, died_from, live},
    *,
};
use crate::model::observed::{
    ending::{Ending, Unacked, Unsent},
    peer_closed::PeerClosed,
    socket::{DirectionFrom, Socket, State},
};

#[test]
fn what_died_of_silence_or_may_is_a_finding() {
    let cases = [
        (dead(&app(1, None, 400_000), RESET), Finding::Dropped, true),
        (dead(&app(1, Some(60), 90_000), GAVE_UP), Finding::Dark, true),
        (live(&app(1, None, 0)), Finding::Unprotected, true),
        (live(&app(1, Some(7200), 0)), Finding::Unprotected, true),
        (live(&app(1, Some(60), 0)), Finding::Fine, false),
    ];
    for (life, finding, of_silence) in cases {
        assert_eq!((life.finding(), life.finding().is_of_silence()), (finding, of_silence));
    }
}

#[test]
fn what_hangs_now_comes_before_what_died_and_that_before_what_may() {
    let stuck = Socket { in_flight: true, retransmits: 7, ..app(1, None, 0) };
    let overdue = live(&app(1, None, 400_000));
    let peer_closed = Some(PeerClosed { ms: 400_000, is_seen: true });
    let closed = Socket { state: State::CloseWait, peer_closed, ..app(1, None, 400_000) };
    let closing = Socket { state: State::FinWait2, is_orphan: true, ..app(1, None, 0) };
    // It has closed its half only, and waits for the answer.
    let half = Socket { is_orphan: false, ..closing };
    let all = [
        live(&stuck),
        overdue,
        dead(&app(1, None, 400_000), RESET),
        dead(&app(1, Some(60), 90_000), GAVE_UP),
        live(&app(1, None, 0)),
        live(&half),
        live(&closed),
        live(&closing),
    ];
    let findings: Vec<Finding> = all.iter().map(Life::finding).collect();
    assert!(findings.is_sorted(), "{findings:?}");
    assert_eq!((findings[0], findings[1]), (Finding::Stuck, Finding::Overdue));
    assert_eq!(findings[5..], [Finding::Unprotected, Finding::PeerClosed, Finding::Fine]);
}

#[test]
fn what_a_host_closed_before_the_peer_read_it_is_given_up_and_what_a_program_still_has_open_is_blocked()
 {
    let blocked = Socket {
        window_closed: true,
        in_flight: true,
        retransmitting_ms: Some(20_000),
        ..app(1, None, 0)
    };
    assert_eq!(live(&blocked).finding(), Finding::Blocked);
    let orphan = live(&Socket { is_orphan: true, state: State::FinWait1, ..blocked });
    assert!(orphan.is_blocked() && orphan.connection.gives_up_seconds.is_some());
    assert_eq!(orphan.finding(), Finding::GivenUp);
}

#[test]
fn what_somebody_aborted_from_outside_is_no_orderly_end_and_a_programs_own_reset_is() {
    let of = |errno| dead(&app(1, None, 5_000), Ending { errno, ..Ending::default() });
    let (aborted, reset) = (of(103), of(0));
    assert_eq!((aborted.finding(), reset.finding()), (Finding::Failed, Finding::Fine));
    assert!(!aborted.finding().is_of_silence());
}

#[test]
fn what_the_peer_never_took_was_lost_by_nobody_on_the_way_and_is_said_so() {
    let killed = Socket { is_orphan: true, ..app(1, None, 100_000) };
    let of =
        |socket: &Socket, ending| Life::dead(died_from(socket, State::FinWait1, ending)).unwrap();
    let unread = of(&killed, NEVER_TAKEN);
    assert_eq!(unread.finding(), Finding::Failed);
    assert!(!unread.finding().is_of_silence());
    // Nobody answered probes of its window; or it ended in order.
    assert_eq!(
        of(&Socket { probes_unanswered: 1, ..killed }, NEVER_TAKEN).finding(),
        Finding::Dark
    );
    let orderly = Ending { errno: 0, unsent: Unsent::Nothing, ..NEVER_TAKEN };
    assert_eq!(of(&killed, orderly).finding(), Finding::Fine);
}

#[test]
fn what_both_ends_had_closed_is_fine_and_what_one_of_them_may_miss_is_not() {
    let fin = Socket {
        in_flight: true,
        fin_only: true,
        retransmits: 4,
        retransmitting_ms: Some(3_000),
        is_orphan: true,
        state: State::LastAck,
        ..app(1, None, 60_000)
    };
    assert_eq!(live(&fin).finding(), Finding::Fine);
    // Data goes unanswered too; or nobody knows whether the peer has closed.
    assert_eq!(live(&Socket { fin_only: false, ..fin }).finding(), Finding::GivenUp);
    assert_eq!(live(&Socket { state: State::FinWait1, ..fin }).finding(), Finding::GivenUp);
}

#[test]
fn a_reset_out_of_the_blue_is_not_called_a_death_of_silence() {
    let nothing_sent = Ending { sent_ms: None, unacked: Unacked::Nothing, ..RESET };
    assert_eq!(dead(&app(1, None, 300_000), nothing_sent).finding(), Finding::Failed);
    assert_eq!(dead(&app(1, None, 2_000), nothing_sent).finding(), Finding::Failed);
}

#[test]
fn a_death_says_when_it_began() {
    // Quiet for 6 min 40 s less 10 ms, then data, and 10 ms later a reset.
    let end = dead(&app(1, None, 400_000), RESET).end.unwrap();
    assert_eq!(end.last_packet_at.as_deref(), Some("2026-01-02T02:57:25.000000Z"));
    assert_eq!(end.unanswered_since.as_deref(), Some("2026-01-02T03:04:04.990000Z"));
    let gave_up = dead(&app(1, Some(60), 90_000), GAVE_UP);
    assert_eq!(gave_up.trouble_began(), Some("2026-01-02T03:02:35.000000Z"));
    assert_eq!(gave_up.end.unwrap().unanswered_since, None, "probes are no data");
    let nobody_heard = Ending { errno: 111, unacked: Unacked::Nothing, sent_ms: None, ..RESET };
    let reset = dead(&app(1, None, 2_000), nobody_heard);
    assert_eq!(reset.trouble_began(), None, "it began when it ended");
    assert!(live(&app(1, None, 0)).trouble_began().is_none());
}

#[test]
fn what_is_being_opened_is_not_called_unprotected_and_a_half_closed_one_that_waits_is() {
    let opening = |retransmits| Socket { state: State::SynSent, retransmits, ..app(1, None, 0) };
    assert_eq!(live(&opening(7)).finding(), Finding::Opening);
    assert_eq!(live(&opening(0)).finding(), Finding::Fine);
    let half_closed = Socket { state: State::FinWait2, ..app(1, None, 0) };
    assert_eq!(live(&half_closed).finding(), Finding::Unprotected);
    let closed = Socket { is_orphan: true, ..half_closed };
    assert_eq!(live(&closed).finding(), Finding::Fine);
}

#[test]
fn what_is_being_opened_was_watched_from_its_beginning_if_its_syn_was_seen() {
    let at =
        |state, direction_from| live(&Socket { state, direction_from, ..app(1, None, 0) }).is_whole;
    assert!(at(State::SynSent, DirectionFrom::Seen));
    assert!(!at(State::SynSent, DirectionFrom::Inferred));
    assert!(!at(State::Established, DirectionFrom::Seen), "its opening says so");
}

#[test]
fn a_close_is_a_timer_that_probes_do_not_reach_only_after_a_time_without_data() {
    let closed = |sent_ms, probes_sent| {
        let ending =
            Ending { errno: 0, unacked: Unacked::Nothing, sent_ms: Some(sent_ms), ..RESET };
        let mut life = dead(&app(1, Some(2), 1_000), ending);
        let end = life.end.as_mut().unwrap();
        (end.cause, end.probes_sent) = (Cause::PeerClosed, probes_sent);
        life.finding()
    };
    assert_eq!(closed(60_000, 29), Finding::ClosedAlthoughProbed);
    // It was probed some time before, and closed right after data: as every session of SMTP is.
    assert_eq!(closed(1, 29), Finding::Fine);
    assert_eq!(closed(4_000, 1), Finding::Fine);
    assert_eq!(closed(60_000, 0), Finding::Fine);
}
