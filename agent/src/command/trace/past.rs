//! Deaths out of the history on disk, between what the agent still remembers: its memory is bounded, and a busy host's
//! connections push out one another.

use crate::{
    command::{
        Failure,
        why::history::{HistorySource, most_deaths},
    },
    model::{
        judgement::{verdict::Surroundings, worth::Worth},
        table::happening::EventName,
        text::count::counted,
    },
    serve::AgentStatus,
    store::{DeathRow, Query},
    view::{
        connection::ms, event_filter::EventFilter, event_row::EventRow, filter::Filter,
        value_enum::EventChoice,
    },
};
use std::{
    collections::{BTreeSet, VecDeque},
    path::Path,
};

/// Deaths that the history holds, and that wait for their place among what is remembered.
#[derive(Debug, Default)]
pub(super) struct PastDeaths {
    /// Of earlier agents, oldest first.
    before: VecDeque<EventRow>,
    /// Of this agent, in its order of time.
    own: VecDeque<EventRow>,
    /// Deaths that the agent has forgotten.
    pub(super) n_forgotten: u64,
    /// What was not read.
    pub(super) notes: Vec<String>,
}

impl PastDeaths {
    /// What is wanted of the agent's own run, or of the time that was asked for. `measured`: by the limits of this call.
    pub(super) fn read(
        path: &Path,
        status: &AgentStatus,
        wanted: &EventFilter,
        measured: Option<&Surroundings>,
    ) -> Result<Self, Failure> {
        let mut past = Self::default();
        let wants_ends = wanted.event.is_empty()
            || wanted.event.iter().any(|choice| {
                matches!(
                    choice,
                    EventChoice::All | EventChoice::One(EventName::Died | EventName::Ended)
                )
            });
        if !wants_ends {
            past.notes.push(
                "of a connection that the agent has forgotten only the end is kept: --event died"
                    .to_owned(),
            );
            return Ok(past);
        }
        if !wanted.filter.uid.is_empty() || !wanted.filter.condition.is_empty() {
            past.notes.push(
                "the history on disk knows no users and conditions, and is left out".to_owned(),
            );
            return Ok(past);
        }
        let Some(history) = &status.history else {
            past.notes.push("this agent keeps no history on disk".to_owned());
            return Ok(past);
        };
        let started = status.started_unix_seconds;
        let history = HistorySource::of_agent(path, history);
        let since = wanted.since.or(Some(started));
        for query in queries(&wanted.filter) {
            let query = Query { since, until: wanted.until, ..query };
            let each = |mut event: EventRow| {
                if let Some(around) = measured {
                    event.connection = event.connection.measured(around);
                }
                wanted.admits_end(&event).then_some(event)
            };
            past.take(&history, &query, started, each)?;
        }
        past.in_order();
        Ok(past)
    }

    fn take(
        &mut self,
        history: &HistorySource<'_>,
        query: &Query,
        started: f64,
        wanted: impl Fn(EventRow) -> Option<EventRow>,
    ) -> Result<(), Failure> {
        for worth in Worth::ALL {
            let most = most_deaths(worth);
            let mut n_read = 0;
            let query = Query { worth: Some(worth), limit: Some(most), ..query.clone() };
            let n_unreadable = history.deaths(&query, |DeathRow { event, .. }| {
                n_read += 1;
                if let Some(event) = wanted(event) {
                    let is_own = event.time.unix_seconds >= started;
                    let place = if is_own { &mut self.own } else { &mut self.before };
                    place.push_back(event);
                }
                true
            })?;
            if n_read == most {
                let what = worth.words();
                self.notes.push(format!("of {what} on disk the latest {most} were looked at"));
            }
            if n_unreadable > 0 {
                let are = if n_unreadable == 1 { "is" } else { "are" };
                let deaths = counted(n_unreadable, "death");
                self.notes.push(format!("{deaths} {are} of a later version of keepwatch"));
            }
        }
        Ok(())
    }

    /// Several questions may find the same.
    fn in_order(&mut self) {
        let Self { before, own, .. } = self;
        let at = |row: &EventRow| row.time.unix_seconds;
        before.make_contiguous().sort_by(|a, b| at(a).total_cmp(&at(b)));
        let at = |row: &EventRow| row.monotonic_seconds;
        own.make_contiguous().sort_by(|a, b| at(a).total_cmp(&at(b)));
        for rows in [before, own] {
            let mut known = BTreeSet::new();
            rows.retain(|row| known.insert((row.time.at.clone(), key(row))));
        }
    }

    /// What comes before a remembered event. The event itself waits no longer.
    pub(super) fn until(&mut self, event: &EventRow) -> Vec<EventRow> {
        let mut rows: Vec<EventRow> = self.before.drain(..).collect();
        let at_ms = ms(event.monotonic_seconds);
        while let Some(row) = self.own.pop_front_if(|row| ms(row.monotonic_seconds) < at_ms) {
            rows.push(row);
        }
        let mut now = self.own.iter().take_while(|row| ms(row.monotonic_seconds) == at_ms);
        if let Some(same) = now.position(|row| key(row) == key(event)) {
            self.own.remove(same);
        }
        self.n_forgotten += u64::try_from(rows.len()).unwrap_or_default();
        rows
    }

    /// What comes after all that is remembered.
    pub(super) fn rest(&mut self) -> Vec<EventRow> {
        let rows: Vec<EventRow> = self.before.drain(..).chain(self.own.drain(..)).collect();
        self.n_forgotten += u64::try_from(rows.len()).unwrap_or_default();
        rows
    }
}

/// By which an end that is remembered is the same as one on disk: the connection, and the time to the millisecond.
fn key(row: &EventRow) -> (Option<String>, EventName, u64) {
    (row.connection.id.clone(), row.event, ms(row.monotonic_seconds))
}

/// Questions that find together all that a filter may admit, and as little else as can be: one for each value of what admits the
/// least.
fn queries(filter: &Filter) -> Vec<Query> {
    let Filter { id, pid, process, unit, container, namespace, workload, pod, .. } = filter;
    let one = |query: Query| Query {
        peer: only(&filter.peer).map(|peer| peer.net),
        port: only(&filter.port).copied(),
        netns: only(&filter.netns).copied(),
        ..query
    };
    let named = |names: &[String], set: fn(&mut Query, String)| -> Vec<Query> {
        let of = |name: &String| {
            let mut query = Query::default();
            set(&mut query, name.clone());
            query
        };
        names.iter().map(of).collect()
    };
    let ids: Vec<String> = id.iter().map(ToString::to_string).collect();
    let pids = pid.iter().map(|pid| Query { pid: Some(*pid), ..Query::default() });
    let service = |name: &String| (!name.contains('.')).then(|| format!("{name}.service"));
    let units: Vec<String> = unit.iter().cloned().chain(unit.iter().filter_map(service)).collect();
    let of_each = [
        named(&ids, |query, id| query.id = Some(id)),
        pids.collect(),
        named(pod, |query, name| query.pod = Some(name)),
        named(container, |query, name| query.container = Some(name)),
        named(workload, |query, name| query.workload = Some(name)),
        named(&units, |query, name| query.unit = Some(name)),
        named(process, |query, name| query.process = Some(name)),
        named(namespace, |query, name| query.namespace = Some(name)),
    ];
    let narrowest = of_each.into_iter().find(|queries| !queries.is_empty());
    narrowest.unwrap_or_else(|| vec![Query::default()]).into_iter().map(one).collect()
}

/// The value, where any other would be one too many.
const fn only<T>(values: &[T]) -> Option<&T> {
    match values {
        [value] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::life::tests_support::{GAVE_UP, RESET, app, died};

    /// An end of this connection, this long after the boot.
    fn end(id: u64, seconds: f64) -> EventRow {
        EventRow { monotonic_seconds: seconds, ..died(&app(id, None, 60_000), RESET) }
    }

    fn past(before: Vec<EventRow>, own: Vec<EventRow>) -> PastDeaths {
        let mut past =
            PastDeaths { before: before.into(), own: own.into(), ..PastDeaths::default() };
        past.in_order();
        past
    }

    fn ids(rows: &[EventRow]) -> Vec<&str> {
        rows.iter().filter_map(|row| row.connection.id.as_deref()).collect()
    }

    #[test]
    fn what_is_forgotten_comes_in_its_place_and_what_is_remembered_once() {
        // Several that one process took with it at one moment; the disk tells the latest first.
        let own =
            vec![end(5, 90.0), end(4, 70.0004), end(3, 70.0001), end(2, 70.0002), end(1, 50.0)];
        let mut past = past(vec![end(9, 4000.0)], own);
        assert_eq!(ids(&past.until(&end(2, 70.0))), ["sk:9", "sk:1"]);
        assert_eq!(ids(&past.until(&end(3, 70.0))), [""; 0]);
        assert_eq!(ids(&past.until(&end(6, 80.0))), ["sk:4"], "no memory has it");
        assert_eq!(ids(&past.rest()), ["sk:5"]);
        assert_eq!(past.n_forgotten, 4);
        assert_eq!(ids(&past.rest()), [""; 0]);
    }

    #[test]
    fn what_two_questions_find_is_shown_once() {
        let mut past = past(Vec::new(), vec![end(1, 50.0), end(1, 50.0), end(2, 50.0)]);
        assert_eq!(ids(&past.rest()), ["sk:1", "sk:2"]);
    }

    #[test]
    fn an_end_on_disk_is_wanted_as_one_that_is_remembered_would_be() {
        let wanted =
            |json: serde_json::Value| -> EventFilter { serde_json::from_value(json).unwrap() };
        let dropped = end(1, 50.0);
        let timeout = died(&app(2, Some(60), 91_000), GAVE_UP);
        let ended = EventRow { event: EventName::Ended, ..dropped.clone() };
        for (filter, admitted) in [
            (serde_json::json!({}), [true, true, false]),
            (serde_json::json!({ "event": ["ended"] }), [false, false, true]),
            (serde_json::json!({ "event": ["all"] }), [true, true, true]),
            (serde_json::json!({ "cause": ["idle_drop"] }), [true, false, true]),
            (
                serde_json::json!({ "cause": ["idle_drop"], "event": ["died"] }),
                [true, false, false],
            ),
            (serde_json::json!({ "filter": { "process": ["app"] } }), [true, true, false]),
            (serde_json::json!({ "filter": { "process": ["ap"] } }), [false, false, false]),
            (serde_json::json!({ "filter": { "id": ["sk:2"] } }), [false, true, false]),
            // All of them at 2026-01-02T03:04:05Z.
            (
                serde_json::json!({ "since": 1_767_323_045.0, "until": 1_767_323_046.0 }),
                [true, true, false],
            ),
            (serde_json::json!({ "until": 1_767_323_045.0 }), [false, false, false]),
        ] {
            let wanted = wanted(filter);
            let found = [&dropped, &timeout, &ended].map(|row| wanted.admits_end(row));
            assert_eq!(found, admitted, "{wanted:?}");
        }
    }

    #[test]
    fn the_narrowest_condition_asks_the_disk_and_a_unit_is_a_service_too() {
        let filter = |json| -> Filter { serde_json::from_value(json).unwrap() };
        let units =
            queries(&filter(serde_json::json!({ "unit": ["web", "db.scope"], "port": [80] })));
        let asked: Vec<_> = units.iter().map(|it| (it.unit.as_deref().unwrap(), it.port)).collect();
        assert_eq!(asked, [("web", Some(80)), ("db.scope", Some(80)), ("web.service", Some(80))]);
        let several = queries(&filter(
            serde_json::json!({ "pid": [1, 2], "process": ["a"], "port": [1, 2] }),
        ));
        assert_eq!(
            several.iter().map(|it| (it.pid, it.port)).collect::<Vec<_>>(),
            [(Some(1), None), (Some(2), None)]
        );
        assert_eq!(queries(&Filter::default()), [Query::default()]);
    }
}
