//! Connections out of what is live and what happened to them. One socket may carry one connection after the other: a
//! program that connects again on it, after a refusal or by connect(AF_UNSPEC).

use super::{CallSeen, Life, UnansweredTime, before};
use crate::{
    advice::process_clues::Traces,
    model::{observed::setsockopt::SockOpt, table::happening::EventName},
    view::{event_row::EventRow, row::Row},
};
use std::collections::BTreeMap;

/// The past of a connection, as far as events report it.
#[derive(Default)]
struct ReportedPast {
    is_whole: bool,
    opened_at: Option<String>,
    given_up_at: Option<String>,
    clues: Option<Traces>,
    calls: Vec<CallSeen>,
    changed: Vec<SockOpt>,
    unanswered_times: Vec<UnansweredTime>,
}

impl ReportedPast {
    fn added_to(self, mut life: Life) -> Life {
        life.is_whole |= self.is_whole;
        life.opened_at = life.opened_at.take().or(self.opened_at);
        life.given_up_at = self.given_up_at.or(life.given_up_at);
        life.clues = life.clues.take().or(self.clues);
        life.calls = self.calls;
        life.changed = self.changed;
        life.unanswered_times = self.unanswered_times;
        life
    }
}

/// Joins what is live with what happened: `past` is in the order of time.
pub(crate) fn lives(rows: Vec<Row>, past: Vec<EventRow>) -> Vec<Life> {
    let mut live: BTreeMap<String, Life> =
        rows.into_iter().map(|row| (row.id().to_owned(), Life::live(row))).collect();
    let mut ended: Vec<Life> = Vec::new();
    let mut told: BTreeMap<String, ReportedPast> = BTreeMap::new();
    for happening in past {
        let Some(id) = happening.connection.id.clone() else {
            continue;
        };
        let known = told.entry(id.clone()).or_default();
        match happening.event {
            EventName::Opened => {
                known.is_whole = true;
                known.opened_at = Some(happening.time.at);
            }
            EventName::Setting => known.calls.extend(CallSeen::of(happening)),
            EventName::GivenUp => {
                known.given_up_at = Some(happening.time.at);
                known.clues = happening.details.clues;
            }
            EventName::DataAnswered => {
                known.unanswered_times.extend(UnansweredTime::of(happening));
            }
            EventName::Changed => known.changed.extend(happening.details.option),
            EventName::Died | EventName::Ended => {
                let Some(dead) = Life::dead(happening) else { continue };
                let known = std::mem::take(known);
                // It ended after the rows were read, unless the socket carries another connection by now.
                live.retain(|of, life| *of != id || !life.is_between_ends_of(&dead));
                ended.push(known.added_to(dead));
            }
            _ => {}
        }
    }
    for (id, known) in told {
        if let Some(life) = live.remove(&id) {
            live.insert(id, known.added_to(life));
        }
    }
    live.into_values().chain(ended).collect()
}

impl UnansweredTime {
    /// None if the event is another.
    fn of(happening: EventRow) -> Option<Self> {
        Self::until(happening.time.at, happening.details.data_unanswered_seconds?)
    }

    /// That of data which was answered at this time (RFC 3339, UTC), and had gone unanswered before.
    pub(crate) fn until(until: String, unanswered_seconds: f64) -> Option<Self> {
        Some(Self { since: before(&until, unanswered_seconds)?, until })
    }
}

impl Life {
    fn is_between_ends_of(&self, other: &Self) -> bool {
        let ends = |life: &Self| (life.connection.local, life.connection.remote);
        ends(self) == ends(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            table::happening::{Happened, Happening},
            text::wall_time::WallTime,
        },
        view::{
            event_row::EventDetails,
            life::tests_support::{RESET, app, around, died},
        },
    };

    #[test]
    fn a_socket_that_connects_again_lives_beside_its_end() {
        let first = app(1, None, 400_000);
        let mut second = app(1, None, 0);
        second.local.port = 40_000;
        let row = |socket| Row::new(socket, socket.owner.iter(), None, &around(), socket.at);
        let joined = lives(vec![row(&second)], vec![died(&first, RESET)]);
        assert_eq!(joined.iter().map(|life| life.end.is_some()).collect::<Vec<_>>(), [false, true]);
        // The same connection, whose end came after the rows.
        let joined = lives(vec![row(&first)], vec![died(&first, RESET)]);
        assert_eq!(joined.iter().map(|life| life.end.is_some()).collect::<Vec<_>>(), [true]);
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
        let showed =
            EventDetails { clues: Some(Traces::of_name("app")), ..EventDetails::default() };
        let past = vec![
            told(EventName::Opened, EventDetails::default()),
            told(EventName::Setting, refused),
            told(EventName::GivenUp, showed),
        ];
        let joined = lives(vec![row(&one), row(&app(2, None, 0))], past);
        assert_eq!(joined.len(), 2);
        assert!(joined[0].is_whole && !joined[1].is_whole);
        assert_eq!(joined[0].calls[0].result, "EINVAL");
        assert_eq!(joined[0].clues, Some(Traces::of_name("app")), "its process may be gone");
        assert_eq!((joined[1].calls.len(), &joined[1].clues), (0, &None));
    }
}
