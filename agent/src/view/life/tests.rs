//! Findings, ends and what joins them.

use super::{
    tests_support::{GAVE_UP, RESET, app, around, dead, live},
    *,
};
use crate::{
    model::{
        observed::{
            ending::Ending,
            socket::{Socket, State},
        },
        table::happening::{Happened, Happening},
    },
    view::event_row::EventDetails,
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
    let closed = Socket { state: State::CloseWait, ..app(1, None, 400_000) };
    let closing = Socket { state: State::FinWait2, is_orphan: true, ..app(1, None, 0) };
    let all = [
        live(&stuck),
        overdue,
        dead(&app(1, None, 400_000), RESET),
        dead(&app(1, Some(60), 90_000), GAVE_UP),
        live(&app(1, None, 0)),
        live(&closed),
        live(&closing),
    ];
    let findings: Vec<Finding> = all.iter().map(Life::finding).collect();
    assert!(findings.is_sorted(), "{findings:?}");
    assert_eq!((findings[0], findings[1]), (Finding::Stuck, Finding::Overdue));
    assert_eq!((findings[5], findings[6]), (Finding::PeerClosed, Finding::Fine));
}

#[test]
fn a_reset_out_of_the_blue_is_not_called_a_death_of_silence() {
    let nothing_sent = Ending { sent_ms: None, unacked: false, ..RESET };
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
    let nobody_heard = Ending { errno: 111, unacked: false, sent_ms: None, ..RESET };
    let reset = dead(&app(1, None, 2_000), nobody_heard);
    assert_eq!(reset.trouble_began(), None, "it began when it ended");
    assert!(live(&app(1, None, 0)).trouble_began().is_none());
}

#[test]
fn calls_and_ends_join_their_connection() {
    let one = app(1, None, 0);
    let row = |socket| Row::new(socket, socket.owner.iter(), None, &around(), socket.at);
    let told = |event, details| EventRow {
        event,
        details,
        ..EventRow::new(
            &Happening::new(one.at, one, Happened::Opened),
            WallTime::default(),
            &around(),
        )
    };
    let refused = EventDetails {
        option: Some(SockOpt::Idle),
        value: Some(0),
        result: Some("EINVAL".to_owned()),
        ..EventDetails::default()
    };
    let past =
        vec![told(EventName::Opened, EventDetails::default()), told(EventName::Setting, refused)];
    let other = app(2, None, 0);
    let both = lives(vec![row(&one), row(&other)], past.clone());
    assert_eq!(both.len(), 2);
    assert!(both[0].is_whole && !both[1].is_whole);
    assert_eq!(both[0].calls[0].result, "EINVAL");
    assert_eq!(both[1].calls, []);
    // Its connect was refused before, on the same socket.
    let mut refused = told(EventName::Died, EventDetails::default());
    refused.details.cause = Some(Cause::ConnectFailed);
    refused.connection.local.set_port(7);
    let retried: Vec<_> = [refused.clone()].into_iter().chain(past).collect();
    let again = lives(vec![row(&one)], retried);
    assert_eq!(again.iter().map(|life| life.end.is_none()).collect::<Vec<_>>(), [true, false]);
    assert_eq!((again[0].calls.len(), again[1].calls.len()), (1, 0));
    // The same one died after the rows were read.
    refused.connection.local = one.local.socket_addr();
    let gone = lives(vec![row(&one)], vec![refused]);
    assert_eq!(gone.iter().map(|life| life.end.is_none()).collect::<Vec<_>>(), [false]);
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
