//! How a connection stands to the time that was asked for: what began or ended in it is the answer, and what hung through it
//! comes after. What went unanswered in it, and went on, is part of the answer, too.

use crate::{
    command::timestamp::unix_seconds,
    model::judgement::condition::Condition,
    view::{
        life::{Finding, InWindow, Life},
        neighbours::witness::PeerWitness,
    },
};

/// When somebody asks, and about which time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AskedWhen {
    /// Unix time.
    pub(super) now: f64,
    /// The time that the question is about ended before that.
    pub(super) is_of_past: bool,
    /// From when to when that time was, if it is over: Unix times.
    pub(super) window: Option<(f64, f64)>,
    /// From when on it is, over or not: Unix time.
    pub(super) since: f64,
}

/// Notes how it stands to the time that was asked for.
pub(super) fn place(life: &mut Life, asked: AskedWhen) {
    let (since, until) = asked.window.unwrap_or((asked.since, asked.now));
    let went_on = life.unanswered_times_of((since, until)).last();
    let Some(window) = asked.window else {
        life.went_on = went_on.is_some() && life.end.is_none() && life.finding() == Finding::Fine;
        return;
    };
    match went_on.filter(|_| !has_worse(life, window, asked.now)) {
        None => life.in_window = Some(in_window(life, window, asked.now)),
        Some((from, to)) => {
            let began_or_ended = from >= since || to <= until;
            life.went_on = true;
            life.in_window =
                Some(if began_or_ended { InWindow::BeganOrEnded } else { InWindow::HungBefore });
        }
    }
}

/// Whether it was lost in this window, or by a trouble that lasted through it.
fn has_worse(life: &Life, window: (f64, f64), now: f64) -> bool {
    let (since, until) = window;
    let began = began(life, now);
    match &life.end {
        Some(end) => {
            let ended = unix_seconds(&end.at).unwrap_or(f64::INFINITY);
            life.finding() != Finding::Fine && began.unwrap_or(ended) <= until && ended >= since
        }
        None => {
            life.finding() < Finding::AnsweredAgain && began.is_some_and(|began| began <= until)
        }
    }
}

/// How it stands to this window: Unix times.
fn in_window(life: &Life, (since, until): (f64, f64), now: f64) -> InWindow {
    let ended = life.end.as_ref().and_then(|end| unix_seconds(&end.at));
    if ended.is_some_and(|ended| ended >= since && ended <= until) {
        return InWindow::BeganOrEnded;
    }
    match began(life, now) {
        Some(began) if began < since => InWindow::HungBefore,
        Some(_) => InWindow::BeganOrEnded,
        None if life.end.is_some() => InWindow::BeganOrEnded,
        None => {
            let opened = life.opened_at.as_deref().and_then(unix_seconds);
            let is_new = opened.is_some_and(|opened| opened >= since && opened <= until);
            if is_new { InWindow::BeganOrEnded } else { InWindow::Lasted }
        }
    }
}

/// When what is wrong with it began, Unix time: what nobody answered, else the condition that it is in.
fn began(life: &Life, now: f64) -> Option<f64> {
    if let Some(unanswered) = PeerWitness::of(life, now).unanswered {
        return Some(unanswered.since);
    }
    if life.end.is_some() {
        return life.trouble_began().and_then(unix_seconds);
    }
    let connection = &life.connection;
    let lasts =
        connection.condition_seconds.filter(|_| connection.condition() != Condition::Fine)?;
    Some(life.read_at.unwrap_or(now) - lasts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::timestamp,
        model::observed::socket::Socket,
        view::life::{
            UnansweredTime,
            tests_support::{GAVE_UP, RESET, app, dead, live},
        },
    };

    const NOW: f64 = 1_767_350_000.0;
    const WINDOW: (f64, f64) = (NOW - 600.0, NOW - 580.0);

    fn at(seconds: f64) -> String {
        timestamp::of_unix(seconds).to_string()
    }

    fn of(life: &Life) -> InWindow {
        in_window(life, WINDOW, NOW)
    }

    fn hangs(since_seconds: u32) -> Life {
        let ms = since_seconds * 1000;
        live(&Socket {
            in_flight: true,
            retransmits: 7,
            retransmitting_ms: Some(ms),
            silent_ms: ms + 5_000,
            ..app(1, None, ms)
        })
    }

    #[test]
    fn what_hangs_is_of_the_window_in_which_it_began_and_not_of_a_later_one() {
        assert_eq!(of(&hangs(590)), InWindow::BeganOrEnded);
        assert_eq!(of(&hangs(1200)), InWindow::HungBefore);
    }

    #[test]
    fn a_death_is_of_the_window_in_which_it_began_or_ended() {
        let died = |since: f64, end: f64| {
            let mut life = dead(&app(1, None, 60_000), RESET);
            let it = life.end.as_mut().unwrap();
            (it.unanswered_since, it.at) = (Some(at(since)), at(end));
            of(&life)
        };
        assert_eq!(died(WINDOW.0 + 1.0, NOW), InWindow::BeganOrEnded);
        assert_eq!(died(WINDOW.0 - 60.0, WINDOW.0 + 1.0), InWindow::BeganOrEnded);
        assert_eq!(died(WINDOW.0 - 60.0, NOW), InWindow::HungBefore);
    }

    #[test]
    fn a_silence_that_a_probe_found_began_with_that_probe_and_not_with_the_last_packet() {
        // Idle 60 s: the last packet came 50 s before the window, the first probe in vain in it.
        let probed = |last_packet: f64| {
            let mut socket = app(1, Some(60), 80_000);
            socket.probes_unanswered = 1;
            let mut life = dead(&socket, GAVE_UP);
            let end = life.end.as_mut().unwrap();
            (end.last_packet_at, end.at) = (Some(at(last_packet)), at(NOW));
            of(&life)
        };
        assert_eq!(probed(WINDOW.0 - 50.0), InWindow::BeganOrEnded);
        assert_eq!(probed(WINDOW.0 - 300.0), InWindow::HungBefore);
    }

    #[test]
    fn what_went_unanswered_in_the_window_and_went_on_is_of_it_whatever_became_of_it() {
        let placed = |mut life: Life, from: f64, to: f64, window: Option<(f64, f64)>| {
            let (since, until) = (at(from), at(to));
            life.unanswered_times = vec![UnansweredTime { since, until }];
            let since = NOW - 86_400.0;
            let asked = AskedWhen { now: NOW, is_of_past: window.is_some(), window, since };
            place(&mut life, asked);
            (life.went_on, life.finding(), life.in_window)
        };
        let (began, over) = (WINDOW.0 + 1.0, WINDOW.0 + 12.0);
        let of_it = (true, Finding::AnsweredAgain, Some(InWindow::BeganOrEnded));
        let well = || live(&app(1, Some(60), 5_000));
        let unprotected = || live(&app(1, None, 5_000));
        let ended_later = || {
            let mut life = dead(&app(1, None, 60_000), RESET);
            life.end.as_mut().unwrap().at = at(NOW - 20.0);
            life.end.as_mut().unwrap().unanswered_since = Some(at(NOW - 25.0));
            life
        };
        for life in [well(), unprotected(), hangs(20), ended_later()] {
            assert_eq!(placed(life, began, over, Some(WINDOW)), of_it);
        }
        let through = placed(well(), WINDOW.0 - 9.0, WINDOW.1 + 9.0, Some(WINDOW));
        assert_eq!(through.2, Some(InWindow::HungBefore));
        // At another time, or beside what is worse.
        assert!(!placed(well(), WINDOW.1 + 5.0, WINDOW.1 + 50.0, Some(WINDOW)).0);
        assert!(!placed(hangs(585), began, began + 2.0, Some(WINDOW)).0);
        // Now it is what there is to say of one that is well, and of no other.
        assert!(placed(well(), began, over, None).0);
        assert!(!placed(unprotected(), began, over, None).0);
        assert!(!placed(ended_later(), began, over, None).0);
    }

    #[test]
    fn what_is_well_lasted_unless_it_was_opened_then() {
        let mut well = live(&app(1, None, 5_000));
        assert_eq!(of(&well), InWindow::Lasted);
        well.opened_at = Some(at(WINDOW.0 + 1.0));
        assert_eq!(of(&well), InWindow::BeganOrEnded);
    }
}
