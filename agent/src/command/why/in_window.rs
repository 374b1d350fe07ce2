//! How a connection stands to a time that is over: what began or ended in it is the answer, and what hung through it comes after.

use crate::{
    command::timestamp::unix_seconds,
    model::judgement::condition::Condition,
    view::{
        life::{InWindow, Life},
        neighbours::witness::PeerWitness,
    },
};

/// How it stands to this window: Unix times.
pub(super) fn in_window(life: &Life, (since, until): (f64, f64), now: f64) -> InWindow {
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
        view::life::tests_support::{GAVE_UP, RESET, app, dead, live},
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
    fn what_is_well_lasted_unless_it_was_opened_then() {
        let mut well = live(&app(1, None, 5_000));
        assert_eq!(of(&well), InWindow::Lasted);
        well.opened_at = Some(at(WINDOW.0 + 1.0));
        assert_eq!(of(&well), InWindow::BeganOrEnded);
    }
}
