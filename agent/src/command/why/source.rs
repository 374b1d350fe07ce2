//! Where the facts come from: the living from the agent or the kernel, the dead from the agent's memory
//! and from the history on disk; and what therefore cannot be known.

use super::{
    WhyArgs,
    target::{Meaning, Selection, Target},
};
use crate::{
    command::{
        Failure,
        source::{Kernel, NOT_USED, Source},
        timestamp,
    },
    config,
    kernel::clock,
    model::{
        judgement::{death::Cause, learned::LearnedRow, worth::Worth},
        table::happening::EventName,
    },
    serve::client,
    store::{self, CallRow, DeathRow, HistoryReader, NotKept, Query},
    view::{
        event_filter::EventFilter,
        event_row::{EventRow, StreamLine},
        filter::Filter,
        life::{CallSeen, Life, lives},
        row::Row,
        value_enum::EventChoice,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// The connections, live and dead, that the word names.
pub(super) struct FoundLives {
    pub(super) lives: Vec<Life>,
    pub(super) learned: Vec<LearnedRow>,
    /// What the word was taken for.
    pub(super) taken_for: String,
    /// Which sources were used, and what cannot be known without the others.
    pub(super) notes: Vec<String>,
}

/// Deaths of each worth that are read at most, the latest: more are of one kind anyway.
const MOST_DEATHS: [(Worth, u32); 2] = [(Worth::Silence, 4000), (Worth::Ordinary, 1000)];

/// Of connections that the agent remembers, and that died, at most this number of each worth.
const MOST_REMEMBERED: usize = 1000;

pub(super) fn find(
    args: &WhyArgs,
    socket: &Path,
    limits: &config::LimitArgs,
) -> Result<FoundLives, Failure> {
    let mut sources = Sources::open(args, socket, limits)?;
    let since = clock::unix_seconds() - args.since.as_secs_f64();
    let mut meanings = Target::parse(&args.peer).meanings(&limits.path).into_iter();
    let mut taken_for = args.peer.escape_debug().to_string();
    let mut lives = Vec::new();
    if let Some(first) = meanings.next() {
        let (found, words) = sources.first_that_finds(first, meanings, since)?;
        lives = found;
        taken_for = words;
    }
    let learned = sources.learned()?;
    let not_kept = sources.history.not_kept(since, None)?;
    sources.notes.extend(not_kept.into_iter().map(|it| it.meaning));
    Ok(FoundLives { lives, learned, taken_for, notes: sources.notes })
}

/// The kernel itself, if it is to be read.
fn read_kernel(
    is_wanted: bool,
    args: &WhyArgs,
    limits: &config::LimitArgs,
) -> Result<Option<Kernel>, Failure> {
    is_wanted.then(|| Kernel::open(&args.owners, limits)).transpose()
}

/// The history on disk.
enum HistorySource<'a> {
    /// As the agent that writes it reads it.
    Agent(&'a Path),
    File(HistoryReader),
    None,
}

impl HistorySource<'_> {
    /// Passes deaths on; how many could not be read.
    fn deaths(&self, query: &Query, each: impl FnMut(DeathRow) -> bool) -> Result<u64, Failure> {
        Ok(match self {
            Self::Agent(path) => client::deaths(path, query, each)?,
            Self::File(reader) => reader.deaths(query, each)?,
            Self::None => 0,
        })
    }

    /// How many deaths of each worth a query finds, whatever its limit.
    fn count(&self, query: &Query) -> Result<BTreeMap<Worth, u64>, Failure> {
        Ok(match self {
            Self::Agent(path) => client::death_count(path, query)?,
            Self::File(reader) => reader.count(query)?,
            Self::None => BTreeMap::new(),
        })
    }

    /// What happened from `since` on and before `until` (Unix seconds), and is in no history.
    fn not_kept(&self, since: f64, until: Option<f64>) -> Result<Vec<NotKept>, Failure> {
        Ok(match self {
            Self::Agent(path) => client::not_kept(path, Some(since), until)?,
            Self::File(reader) => reader.not_kept(Some(since), until)?,
            Self::None => Vec::new(),
        })
    }
}

struct Sources<'a> {
    agent: Option<&'a Path>,
    kernel: Option<Kernel>,
    history: HistorySource<'a>,
    notes: Vec<String>,
}

impl<'a> Sources<'a> {
    fn open(args: &WhyArgs, socket: &'a Path, limits: &config::LimitArgs) -> Result<Self, Failure> {
        let mut notes = Vec::new();
        let (status, denied) = match (args.source, args.source.agent(socket)) {
            // There may be a history that may be read.
            (Source::Auto, Err(Failure::Client(denied @ client::Error::Denied { .. }))) => {
                (None, Some(denied))
            }
            (_, answer) => (answer?, None),
        };
        if status.is_some() && limits.are_for_this_call() {
            notes.push(format!("warning: {NOT_USED}"));
        }
        let history = match &status {
            Some(status) if status.history.is_some() => HistorySource::Agent(socket),
            _ => match HistoryReader::open(&args.state.state_dir) {
                Ok(reader) => HistorySource::File(reader),
                Err(store::Error::None { .. }) => HistorySource::None,
                Err(error) => {
                    notes.push(format!("without the history on disk: {error}"));
                    HistorySource::None
                }
            },
        };
        let kernel = read_kernel(status.is_none(), args, limits);
        let kernel = kernel.map_err(|failure| denied.map_or(failure, Failure::from));
        let kernel = match (&status, kernel) {
            (_, Ok(kernel)) => kernel,
            // Dead connections are reported all the same.
            (None, Err(failure)) if matches!(history, HistorySource::File(_)) => {
                notes.push(format!("what lives is not known: {failure}"));
                None
            }
            (_, Err(failure)) => return Err(failure),
        };
        let living = match (&status, &kernel) {
            (Some(status), _) => format!("the agent (process {})", status.pid),
            (None, Some(_)) => "the kernel, now".to_owned(),
            (None, None) => "nobody who sees what lives".to_owned(),
        };
        match (&status, &history) {
            (_, HistorySource::Agent(_) | HistorySource::File(_)) => {
                notes.insert(0, format!("from {living}, and the history on disk"));
            }
            (Some(_), HistorySource::None) => notes
                .insert(0, format!("from {living}: what happened before it started is not known")),
            (None, HistorySource::None) => notes.insert(
                0,
                format!(
                    "from {living}. No agent runs and there is no history: what died before, of \
                     what, and who set what is not known. Start one: keepwatch run"
                ),
            ),
        }
        Ok(Self { agent: status.map(|_| socket), kernel, history, notes })
    }

    /// What the first meaning finds that finds something, and what that takes the word for.
    fn first_that_finds(
        &mut self,
        first: Meaning,
        others: impl Iterator<Item = Meaning>,
        since: f64,
    ) -> Result<(Vec<Life>, String), Failure> {
        let mut taken_for = None;
        for Meaning { selections, taken_for: words } in [first].into_iter().chain(others) {
            let lives = self.lives(&selections, since)?;
            if !lives.is_empty() {
                return Ok((lives, words));
            }
            taken_for.get_or_insert(words);
        }
        Ok((Vec::new(), taken_for.unwrap_or_default()))
    }

    fn lives(&mut self, selections: &[Selection], since: f64) -> Result<Vec<Life>, Failure> {
        let rows = self.living(selections)?;
        let past = self.remembered(selections, since)?;
        let mut lives = lives(rows, past);
        self.add_history(&mut lives, selections, since)?;
        Ok(lives)
    }

    fn living(&mut self, selections: &[Selection]) -> Result<Vec<Row>, Failure> {
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        if let Some(path) = self.agent {
            for selection in selections {
                client::sockets(path, &selection.filter, |row| {
                    if selection.admits_remote(row.connection.remote) {
                        rows.insert(row.id().to_owned(), row);
                    }
                    true
                })?;
            }
        }
        if let Some(kernel) = &mut self.kernel {
            kernel.walk(&Filter::default(), |socket, owners, identity, around| {
                if selections.iter().any(|one| one.admits(socket, owners, identity, around)) {
                    let row = Row::new(socket, owners, identity, around, socket.at);
                    rows.insert(row.id().to_owned(), row);
                }
                Ok(())
            })?;
        }
        Ok(rows.into_values().collect())
    }

    /// What the agent remembers, in the order of time.
    fn remembered(&self, selections: &[Selection], since: f64) -> Result<Vec<EventRow>, Failure> {
        let Some(path) = self.agent else {
            return Ok(Vec::new());
        };
        let mut happenings: Vec<EventRow> = Vec::new();
        for selection in selections {
            let wanted = EventFilter {
                event: [
                    EventName::Opened,
                    EventName::Setting,
                    EventName::Changed,
                    EventName::Died,
                    EventName::Ended,
                ]
                .map(EventChoice::One)
                .to_vec(),
                past_only: true,
                // Those before are in the history, if there is one.
                dead: (!matches!(self.history, HistorySource::None)).then_some(MOST_REMEMBERED),
                filter: selection.filter.clone(),
                ..EventFilter::default()
            };
            client::events(path, &wanted, |line| {
                if let Some(StreamLine::Event(row)) = line
                    && selection.admits_remote(row.connection.remote)
                    && (row.details.cause.is_none() || is_after(&row.at, since))
                {
                    happenings.push(*row);
                }
                true
            })?;
        }
        happenings.sort_by(|a, b| a.monotonic_seconds.total_cmp(&b.monotonic_seconds));
        happenings.dedup();
        Ok(happenings)
    }

    /// Adds what only the disk knows: deaths before the agent started or that it has forgotten, and
    /// calls that were refused.
    fn add_history(
        &mut self,
        lives: &mut Vec<Life>,
        selections: &[Selection],
        since: f64,
    ) -> Result<(), Failure> {
        // An id and an end: ids are used again after a reboot.
        let key = |life: &Life| {
            let end = life.end.as_ref().map(|end| end.at.get(..19).unwrap_or_default().to_owned());
            (life.connection.id.clone(), end)
        };
        let mut known: BTreeSet<_> = lives.iter().map(key).collect();
        let mut n_unreadable = 0;
        let mut left_out: BTreeMap<Worth, u64> = BTreeMap::new();
        for selection in selections {
            let mut query = Query { since: Some(since), ..selection.query.clone() };
            let mut is_cut = false;
            for (worth, most) in MOST_DEATHS {
                (query.worth, query.limit) = (Some(worth), Some(most));
                let mut n_read = 0;
                let mut add = |row: DeathRow| {
                    n_read += 1;
                    if selection.admits_remote(row.event.connection.remote)
                        && let Some(life) = of_history(row)
                        && known.insert(key(&life))
                    {
                        lives.push(life);
                    }
                    true
                };
                n_unreadable += self.history.deaths(&query, &mut add)?;
                is_cut |= n_read == most;
            }
            if is_cut {
                (query.worth, query.limit) = (None, None);
                let found = self.history.count(&query)?;
                for (worth, most) in MOST_DEATHS {
                    let n = found.get(&worth).copied().unwrap_or_default();
                    *left_out.entry(worth).or_default() += n.saturating_sub(u64::from(most));
                }
            }
        }
        for (worth, n) in left_out.into_iter().filter(|&(_, n)| n > 0) {
            let what = worth.words();
            self.notes.push(format!(
                "{n} more {what} before these are in the history, and not counted here"
            ));
        }
        if n_unreadable > 0 {
            self.notes.push(format!(
                "{n_unreadable} deaths are passed over: a later version of keepwatch wrote them"
            ));
        }
        Ok(())
    }

    fn learned(&self) -> Result<Vec<LearnedRow>, Failure> {
        Ok(match &self.history {
            HistorySource::Agent(path) => client::learned(path)?,
            HistorySource::File(reader) => reader.learned()?,
            HistorySource::None => Vec::new(),
        })
    }
}

/// A connection from the history.
fn of_history(row: DeathRow) -> Option<Life> {
    let DeathRow { opened_at, calls, event, .. } = row;
    let mut life = Life::dead(event)?;
    life.is_whole = opened_at.is_some();
    life.calls = calls.into_iter().map(call_of_history).collect();
    // ConnectionRef opening failed was seen all the same.
    life.is_whole |= life.end.as_ref().is_some_and(|end| end.cause == Cause::ConnectFailed);
    Some(life)
}

fn call_of_history(row: CallRow) -> CallSeen {
    CallSeen {
        at: row.at,
        option: row.option,
        value: row.value,
        result: row.result,
        by: row.on.owner,
    }
}

fn is_after(at: &str, unix_seconds: f64) -> bool {
    timestamp::unix_seconds(at).is_some_and(|at| at >= unix_seconds)
}
