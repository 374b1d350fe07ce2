//! The words about a peer that closes by itself, where a FIN may have been lost; and about an outage that others rule out.

use super::super::tests_support::{closes_after, said_of};
use crate::{
    command::why::{
        answer::{Judged, judge},
        in_window::AskedWhen,
        lessons::tests_support::learned_limit,
    },
    kernel::host,
    model::{
        judgement::{
            learned::{LearnedRow, LimitRow},
            learned_limit::Confidence,
        },
        observed::{ending::Ending, socket::Socket},
    },
    view::life::{
        Finding, Life,
        tests_support::{RESET, app, dead, live},
    },
};

fn judged(lives: Vec<Life>, others: &[Life], learned: &[LearnedRow]) -> Vec<Judged> {
    judge(lives, others, learned, None, AskedWhen::default())
}

fn page(lives: Vec<Life>, learned: &[LearnedRow]) -> String {
    said_of(&judged(lives, &[], learned), Some("it"))
}

/// Its data was repeated for 13 s, sent after 40 s of quiet.
fn lost_in_silence() -> Life {
    let ending = Ending { errno: 110, retransmits: 5, retransmitting_ms: Some(13_000), ..RESET };
    dead(&app(1, None, 53_000), ending)
}

/// The same, and it hangs.
fn hangs(id: u64) -> Life {
    live(&Socket {
        in_flight: true,
        retransmits: 5,
        retransmitting_ms: Some(13_000),
        silent_ms: 53_000,
        ..app(id, None, 13_000)
    })
}

#[test]
fn what_may_have_been_closed_by_the_peers_timer_is_told_the_pool_and_what_tells_it_apart() {
    let pool = "set the idle time of the pool below 31 s";
    let measure = "keepwatch measure 172.16.0.15:2717";
    for lives in [vec![lost_in_silence()], vec![hangs(1)]] {
        let habit = page(lives.clone(), &closes_after(31.0, Confidence::Likely));
        let closed = "the peer closes by itself after 31 s without data, so it had probably closed it, and its FIN was lost";
        assert!(habit.contains(closed) && habit.contains(pool), "{habit}");
        assert!(habit.contains(measure), "{habit}");
        assert!(!habit.contains("TCP_KEEPIDLE") && !habit.contains("what if"), "{habit}");
        let guess = page(lives.clone(), &closes_after(31.0, Confidence::Guess));
        assert!(guess.contains("and its FIN was lost: that looks the same"), "{guess}");
        // Nobody knows which of both it was: the answers to both stand there, the pool first.
        let keepalive = guess.find("TCP_KEEPIDLE");
        assert!(guess.find(pool).is_some_and(|pool| keepalive > Some(pool)), "{guess}");
        assert!(guess.contains(measure), "{guess}");
        // The peer closes later than that, or nothing is known of it.
        for other in [page(lives.clone(), &closes_after(60.0, Confidence::Sure)), page(lives, &[])]
        {
            assert!(!other.contains("FIN was lost") && !other.contains("pool"), "{other}");
            assert!(other.contains("TCP_KEEPIDLE"), "{other}");
        }
    }
}

#[test]
fn what_may_have_been_closed_by_the_peers_timer_lets_guess_no_limit_for_others() {
    let habit = closes_after(31.0, Confidence::Likely);
    let quiet = |learned: &[LearnedRow], others: &[Life]| {
        let case = judged(vec![live(&app(7, Some(60), 20_000))], others, learned).remove(0);
        assert!(case.finding == Finding::Fine || !others.is_empty(), "{}", case.meaning);
        (case.limit_guess.map(|it| it.hangs_after), case.path_guess.map(|it| it.quiet))
    };
    assert_eq!(quiet(&habit, &[hangs(1), lost_in_silence()]), (None, None));
    assert_eq!(quiet(&[], &[hangs(1)]).0, Some(40.0));
    // A path that forgets sooner than the peer closes is one.
    let later = closes_after(60.0, Confidence::Likely);
    assert_eq!(quiet(&later, &[hangs(1)]).0, Some(40.0));
}

#[test]
fn where_others_were_answered_meanwhile_no_line_says_that_an_outage_explains_it_too() {
    let mut row = LimitRow { confidence: Confidence::Guess, deaths: 1, ..learned_limit(None) };
    row.netns = host::own_netns().map(|_| app(1, None, 0).netns);
    row.shortest_killed_seconds = 40.0;
    row.meaning = row.in_words(false);
    let said = |others_answered| {
        let mut life = dead(&app(1, None, 40_000), RESET);
        life.end.as_mut().unwrap().others_answered = others_answered;
        page(vec![life], &[LearnedRow::PathLimit(row.clone())])
    };
    let (alone, beside) = (said(None), said(Some(3)));
    assert!(beside.contains("hardly an outage of the peer"), "{beside}");
    assert!(beside.contains("a guess: it was seen on one occasion"), "{beside}");
    assert!(!beside.contains("one outage"), "{beside}");
    assert!(alone.contains("one outage of the peer would explain it too"), "{alone}");
    assert!(!alone.contains("hardly an outage"), "{alone}");
}

#[test]
fn what_the_peer_should_have_closed_is_not_promised_to_be_closed() {
    let habit = closes_after(31.0, Confidence::Likely);
    let said = |quiet_ms| page(vec![live(&app(1, None, quiet_ms))], &habit);
    let over = said(60_000);
    assert!(over.contains("that is over, and no FIN has come: it was probably lost"), "{over}");
    assert!(over.contains("set the idle time of the pool below 31 s"), "{over}");
    let to_come = said(20_000);
    assert!(to_come.contains("sooner than the path forgets it"), "{to_come}");
}
