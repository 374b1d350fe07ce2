//! The history on disk, as the agent that writes it reads it, or as a file.

use crate::{
    command::{Failure, time_window::TimeWindow, timestamp::unix_seconds},
    kernel::hooks::Signal,
    model::{
        judgement::{death::Cause, learned::LearnedRow, worth::Worth},
        text::count::counted,
    },
    serve::{AgentStatus, client},
    store::{
        CallRow, DeathRow, HistoryFileId, HistoryReader, HistoryStatus, LateAnswer, Loss, Query,
    },
    view::life::{CallSeen, Life, UnansweredTime},
};
use std::{collections::BTreeMap, path::Path};

/// The history on disk.
pub(in crate::command) enum HistorySource<'a> {
    /// Of the agent with this socket: its file, if this command may read that, else what the agent reads of it, for twice the
    /// CPU.
    Agent(&'a Path, Option<HistoryReader>),
    File(HistoryReader),
    None,
}

impl<'a> HistorySource<'a> {
    /// The history that this agent writes.
    pub(in crate::command) fn of_agent(socket: &'a Path, status: &HistoryStatus) -> Self {
        let is_it = status.file.is_some() && HistoryFileId::of(&status.folder) == status.file;
        let own = is_it.then(|| HistoryReader::open(&status.folder).ok()).flatten();
        Self::Agent(socket, own)
    }

    /// Passes deaths on; how many could not be read.
    pub(in crate::command) fn deaths(
        &self,
        query: &Query,
        each: impl FnMut(DeathRow) -> bool,
    ) -> Result<u64, Failure> {
        Ok(match self {
            Self::Agent(path, None) => client::deaths(path, query, each)?,
            Self::Agent(_, Some(reader)) | Self::File(reader) => reader.deaths(query, each)?,
            Self::None => 0,
        })
    }

    /// Whether it has a death from before this Unix time.
    pub(super) fn reaches_before(&self, time: f64) -> Result<bool, Failure> {
        let mut is_any = false;
        let query = Query { until: Some(time), limit: Some(1), ..Query::default() };
        self.deaths(&query, |_| {
            is_any = true;
            false
        })?;
        Ok(is_any)
    }

    /// Unix time of the latest death that a query finds.
    pub(super) fn last_end(&self, query: &Query) -> Result<Option<f64>, Failure> {
        let mut last = None;
        self.deaths(&Query { limit: Some(1), ..query.clone() }, |row| {
            last = Some(row.event.time.unix_seconds);
            false
        })?;
        Ok(last)
    }

    /// How many deaths of each worth a query finds, whatever its limit.
    fn count(&self, query: &Query) -> Result<BTreeMap<Worth, u64>, Failure> {
        Ok(match self {
            Self::Agent(path, None) => client::death_count(path, query)?,
            Self::Agent(_, Some(reader)) | Self::File(reader) => reader.count(query)?,
            Self::None => BTreeMap::new(),
        })
    }

    /// What happened in a window and is in no history, in one line.
    pub(super) fn not_kept(&self, window: &TimeWindow) -> Result<Option<String>, Failure> {
        let (since, until) = (Some(window.since_seconds()), window.until_seconds());
        let found = match self {
            Self::Agent(path, None) => client::not_kept(path, since, until)?,
            Self::Agent(_, Some(reader)) | Self::File(reader) => reader.not_kept(since, until)?,
            Self::None => Vec::new(),
        };
        let meanings: Vec<String> = found.into_iter().map(|it| it.meaning).collect();
        Ok((!meanings.is_empty()).then(|| meanings.join("; ")))
    }

    /// From when to when the agent lost events, since this time: Unix seconds. None if it lost no event.
    pub(super) fn events_lost(&self, since: f64) -> Result<Option<(f64, f64)>, Failure> {
        let found = match self {
            Self::Agent(path, None) => client::not_kept(path, Some(since), None)?,
            Self::Agent(_, Some(reader)) | Self::File(reader) => {
                reader.not_kept(Some(since), None)?
            }
            Self::None => Vec::new(),
        };
        let lost = found.into_iter().find(|it| it.reason == Loss::Kernel);
        Ok(lost.map(|it| (it.first_unix_seconds, it.last_unix_seconds)))
    }

    /// Calls on connections that live, as far as the history holds them.
    pub(super) fn living_calls(&self) -> Result<Vec<CallRow>, Failure> {
        Ok(match self {
            Self::Agent(path, None) => client::calls(path)?,
            Self::Agent(_, Some(reader)) | Self::File(reader) => reader.living_calls()?,
            Self::None => Vec::new(),
        })
    }

    /// What was answered late from this Unix time on, of agents before this one, too, if the file can be read here.
    pub(super) fn late_answers(&self, since: f64) -> Result<Vec<LateAnswer>, Failure> {
        Ok(match self {
            Self::Agent(_, Some(reader)) | Self::File(reader) => reader.late_answers(since)?,
            Self::Agent(_, None) | Self::None => Vec::new(),
        })
    }

    /// Everything that was learned.
    pub(super) fn learned(&self) -> Result<Vec<LearnedRow>, Failure> {
        Ok(match self {
            // It has learned since it wrote that down.
            Self::Agent(path, _) => client::learned(path)?,
            Self::File(reader) => reader.learned()?,
            Self::None => Vec::new(),
        })
    }

    /// Passes on deaths of a window, and those that may have hung in it. What is to be said of the reading.
    pub(super) fn dead(
        &self,
        query: &Query,
        window: &TimeWindow,
        mut each: impl FnMut(DeathRow),
    ) -> Result<Vec<String>, Failure> {
        let (mut notes, mut n_unreadable) = (Vec::new(), 0);
        let mut last_count: Option<(Query, BTreeMap<Worth, u64>)> = None;
        for (worth, since, until) in Worth::ALL.into_iter().flat_map(|worth| asked(window, worth)) {
            let most = most_deaths(worth);
            let query = Query {
                since: Some(since),
                until,
                worth: Some(worth),
                limit: Some(most),
                ..query.clone()
            };
            let mut n_read = 0;
            n_unreadable += self.deaths(&query, |row| {
                n_read += 1;
                each(row);
                true
            })?;
            if n_read == most {
                // One look counts all worths.
                let all = Query { worth: None, limit: None, ..query };
                let found = match last_count.take() {
                    Some((of, found)) if of == all => found,
                    _ => self.count(&all)?,
                };
                let (n, what) = (found.get(&worth).copied().unwrap_or_default(), worth.words());
                notes.push(format!("of {n} {what} the latest {most} are counted here"));
                last_count = Some((all, found));
            }
        }
        if n_unreadable > 0 {
            let (are, them) = if n_unreadable == 1 { ("is", "it") } else { ("are", "them") };
            notes.push(format!(
                "{} {are} passed over: a later version of keepwatch wrote {them}",
                counted(n_unreadable, "death")
            ));
        }
        Ok(notes)
    }
}

/// What the agent that answers cannot know of the window.
pub(super) fn what_is_missing(
    status: &AgentStatus,
    history: &HistorySource<'_>,
    window: &TimeWindow,
) -> Result<Option<String>, Failure> {
    let started = window.time(status.started_unix_seconds);
    let mut missing = Vec::new();
    if status.started_unix_seconds > window.since_seconds() {
        let before = if history.reaches_before(status.started_unix_seconds)? {
            "of the time before, what earlier agents wrote down"
        } else {
            "nothing is known of the time before"
        };
        missing.push(format!("the agent watches since {started}; {before}"));
    }
    if status.source.as_deref() == Some("proc") {
        let not_seen = status.not_seen.join("; ");
        missing.push(format!("the agent reads /proc, without eBPF: not seen are {not_seen}"));
    }
    if is_blind_to_calls(status) {
        missing.push("the agent has no hook for setsockopt: who set what is not known".to_owned());
    }
    let n_lost = status.flow.n_lost();
    // The history has them by the minute.
    if n_lost > 0 && matches!(history, HistorySource::None) {
        let were = if n_lost == 1 { "was" } else { "were" };
        let events = counted(n_lost, "event");
        missing.push(format!(
            "{events} {were} lost since the agent's start at {started}: a connection may be missing here, or its cause"
        ));
    }
    Ok((!missing.is_empty()).then(|| missing.join("; ")))
}

/// Whether an agent with hooks has none that sees calls.
pub(super) fn is_blind_to_calls(status: &AgentStatus) -> bool {
    !status.hooks.is_empty() && !status.carries(Signal::Setsockopt)
}

/// What is to be said of deaths that are later than now.
pub(super) fn dated_ahead(lives: &[Life], now: f64) -> Option<String> {
    /// Of a clock that is set by less, nobody is confused.
    const SLACK_SECONDS: f64 = 60.0;
    let is_ahead = |life: &&Life| {
        let end = life.end.as_ref().and_then(|end| unix_seconds(&end.at));
        end.is_some_and(|at| at > now + SLACK_SECONDS)
    };
    let n = lives.iter().filter(is_ahead).count();
    let are = if n == 1 { "is" } else { "are" };
    let deaths = counted(u64::try_from(n).unwrap_or(u64::MAX), "death");
    (n > 0).then(|| {
        format!("{deaths} {are} dated later than now: this host's clock was ahead when they were written down")
    })
}

/// The times that are asked for: of what died of silence also the time after the window, in which what hung in it ended.
fn asked(window: &TimeWindow, worth: Worth) -> Vec<(Worth, f64, Option<f64>)> {
    let (since, until) = (window.since_seconds(), window.until_seconds());
    let after = until.zip(window.last_end_seconds()).filter(|_| worth == Worth::Silence);
    let after = after.map(|(until, last_end)| (worth, until, Some(last_end)));
    [(worth, since, until)].into_iter().chain(after).collect()
}

/// Deaths of one worth that are read at most, the latest: more are of one kind anyway.
pub(in crate::command) const fn most_deaths(worth: Worth) -> u32 {
    match worth {
        Worth::Silence | Worth::Setting => 4000,
        Worth::Ordinary => 1000,
    }
}

/// A connection from the history.
pub(super) fn life(row: DeathRow) -> Option<Life> {
    let DeathRow { opened_at, calls, event, .. } = row;
    let mut life = Life::dead(event)?;
    life.is_whole = opened_at.is_some();
    life.opened_at = opened_at;
    life.calls = calls.into_iter().map(call).collect();
    // One whose opening failed was seen from its beginning all the same.
    life.is_whole |= life.end.as_ref().is_some_and(|end| end.cause == Cause::ConnectFailed);
    Some(life)
}

fn call(row: CallRow) -> CallSeen {
    CallSeen {
        at: row.time.at,
        option: row.option,
        value: row.value,
        result: row.result,
        by: row.by,
        inherited: false,
    }
}

/// Adds calls that only the history knows to connections that live: an agent that was started since has not seen them.
pub(super) fn add_calls(lives: &mut [Life], rows: Vec<CallRow>) {
    let mut of_socket: BTreeMap<String, Vec<CallSeen>> = BTreeMap::new();
    for row in rows {
        if let Some(id) = row.on.id.clone() {
            of_socket.entry(id).or_default().push(call(row));
        }
    }
    for life in lives.iter_mut().filter(|life| life.end.is_none()) {
        let id = life.connection.id.as_deref().unwrap_or_default();
        for call in of_socket.remove(id).into_iter().flatten() {
            if !life.calls.iter().any(|known| is_same(known, &call)) {
                life.calls.push(call);
            }
        }
        life.calls.sort_by(|a, b| a.at.cmp(&b.at));
    }
}

/// Adds the times in which data of these went unanswered, as far as only the history knows them.
pub(super) fn add_late_answers(lives: &mut [Life], answers: Vec<LateAnswer>) {
    let mut of_socket: BTreeMap<String, Vec<UnansweredTime>> = BTreeMap::new();
    for LateAnswer { id, time, unanswered_seconds } in answers {
        let time = UnansweredTime::until(time.at, unanswered_seconds);
        of_socket.entry(id).or_default().extend(time);
    }
    for life in lives {
        let id = life.connection.id.as_deref().unwrap_or_default();
        for time in of_socket.remove(id).into_iter().flatten() {
            if !life.unanswered_times.iter().any(|known| known.overlaps(&time)) {
                life.unanswered_times.push(time);
            }
        }
        life.unanswered_times.sort_by(|a, b| a.until.cmp(&b.until));
    }
}

/// Of one call both know the time, each by a wall clock that may have been set meanwhile.
fn is_same(a: &CallSeen, b: &CallSeen) -> bool {
    (a.option, a.value, &a.result) == (b.option, b.value, &b.result) && is_about(&a.at, &b.at)
}

/// Whether two times are one, each by a wall clock that may have been set meanwhile.
fn is_about(a: &str, b: &str) -> bool {
    const ABOUT_SECONDS: f64 = 1.0;
    unix_seconds(a).zip(unix_seconds(b)).is_none_or(|(a, b)| (a - b).abs() < ABOUT_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            observed::setsockopt::{SockOpt, When},
            text::wall_time::WallTime,
        },
        store::ConnectionRef,
        view::{
            connection::{PartOf, RowOwner},
            life::tests_support::{RESET, app, dead, live},
        },
    };

    fn row(id: &str, second: u32) -> CallRow {
        let connection = live(&app(1, None, 0)).connection;
        CallRow {
            time: WallTime {
                at: format!("2026-11-25T10:00:{second:02}.000000Z"),
                ..WallTime::default()
            },
            monotonic_seconds: 7.0,
            option: SockOpt::Keepalive,
            value: Some(1),
            result: "ok".to_owned(),
            when: When::AfterConnect,
            by: Some(RowOwner { pid: 77, process: "keepwatch".to_owned(), fd: None }),
            on: ConnectionRef {
                id: Some(id.to_owned()),
                netns: connection.netns,
                local: connection.local,
                remote: connection.remote,
                part_of: PartOf::default(),
            },
        }
    }

    #[test]
    fn a_call_that_only_the_history_knows_is_added_once_and_to_no_other_connection() {
        let id = |life: &Life| life.connection.id.clone().unwrap();
        let mut lives = vec![
            live(&app(1, None, 0)),
            live(&app(2, None, 0)),
            dead(&app(3, None, 60_000), RESET),
        ];
        let known = call(row("sk:1", 3));
        lives[0].calls = vec![known.clone()];
        let all = [0, 2].map(|place| id(&lives[place]));
        let rows = vec![row(&all[0], 9), row(&all[0], 3), row(&all[1], 4), row("sk:99", 5)];
        add_calls(&mut lives, rows);
        let calls = lives.iter().map(|life| life.calls.len()).collect::<Vec<_>>();
        assert_eq!(calls, [2, 0, 0]);
        assert_eq!((&lives[0].calls[0], lives[0].calls[1].by.clone().unwrap().pid), (&known, 77));
    }

    #[test]
    fn a_late_answer_that_only_the_history_knows_is_added_once_and_to_no_other_connection() {
        let answered = |id: &str, second: u32| {
            let CallRow { time, on, .. } = row(id, second);
            LateAnswer { id: on.id.unwrap_or_default(), time, unanswered_seconds: 7.0 }
        };
        let mut lives = vec![live(&app(1, None, 0)), dead(&app(3, None, 60_000), RESET)];
        let ids: Vec<_> = lives.iter().map(|life| life.connection.id.clone().unwrap()).collect();
        let known = UnansweredTime::until(row("sk:1", 30).time.at, 7.0).unwrap();
        lives[0].unanswered_times = vec![known.clone()];
        let answers =
            [(&ids[0], 30), (&ids[0], 20), (&ids[1], 40)].map(|(id, at)| answered(id, at));
        add_late_answers(&mut lives, answers.into());
        let [of_live, of_dead] = [0, 1].map(|place| lives[place].unanswered_times.clone());
        assert_eq!((of_live.len(), &of_live[1], of_dead.len()), (2, &known, 1));
        // The wall clock was set between the event and its writing.
        add_late_answers(&mut lives, vec![answered(&ids[0], 33)]);
        assert_eq!(lives[0].unanswered_times.len(), 2);
        assert_eq!(of_live[0].since, "2026-11-25T10:00:13.000000Z");
    }
}
