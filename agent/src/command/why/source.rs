//! Where the facts come from: the living from the agent or the kernel, the dead from the agent's memory
//! and from the history on disk; and what therefore cannot be known.

use super::{
    WhyArgs,
    history::{self, HistorySource},
    inherited,
    known_names::{self, KnownNames, NameField},
    living::LivingRows,
    target::{self, Meaning, Selection, Target},
};
use crate::{
    command::{
        Failure,
        source::{Kernel, Source},
        time_window::TimeWindow,
    },
    config,
    model::{
        judgement::{
            given_limits::GivenLimits, idle_limit::ConfiguredPath, learned::LearnedRow,
            verdict::Surroundings,
        },
        observed::socket::Direction,
        table::happening::EventName,
        text::sanitize,
    },
    serve::client,
    store::{self, DeathRow, HistoryReader},
    view::{
        connection::{Connection, RowOwner},
        event_filter::EventFilter,
        event_row::{EventRow, StreamLine},
        filter::Filter,
        life::{Life, lives as lives_of},
        row::Row,
        value_enum::EventChoice,
    },
};
use std::{collections::BTreeSet, io, net::SocketAddr, path::Path};

/// What was asked cannot be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{name} does not resolve ({cause}), and nothing of this host is called so{near}")]
    Unresolved { name: String, cause: io::Error, near: String },
}

/// The connections, live and dead, that the word names.
pub(super) struct FoundLives {
    pub(super) lives: Vec<Life>,
    /// Others that live, to the servers that these are in trouble with.
    pub(super) neighbours: Vec<Life>,
    pub(super) learned: Vec<LearnedRow>,
    /// What the word was taken for.
    pub(super) taken_for: String,
    /// Which sources were used, and what cannot be known without the others.
    pub(super) notes: Vec<String>,
}

/// Of connections that the agent remembers, and that died, at most this number of each worth.
const MOST_REMEMBERED: usize = 1000;

pub(super) fn find(
    args: &WhyArgs,
    socket: &Path,
    limits: &config::LimitArgs,
    window: &TimeWindow,
) -> Result<FoundLives, Failure> {
    let mut sources = Sources::open(args, socket, limits, window)?;
    let target = args.peer.as_deref().map_or(Target::Everything, Target::parse);
    let (mut lives, taken_for) = sources.search(&target, &limits.path)?;
    if let Some(agent) = sources.agent {
        sources.notes.extend(inherited::add(agent, &mut lives));
    }
    if let Some(around) = &sources.around {
        // The agent has measured what lives; deaths were measured when they came.
        for life in lives.iter_mut().filter(|life| life.end.is_some()) {
            life.connection = life.connection.clone().measured(around);
        }
    }
    if window.is_past() && lives.iter().any(|life| life.end.is_none()) {
        sources.notes.push(
            "of what still lives, settings and quiet times are those of now, not of then"
                .to_owned(),
        );
    }
    if sources.n_left_out > 0 {
        sources.notes.push(format!(
            "{} more connections live that are like others here, and are not counted: ask for one peer or process",
            sources.n_left_out
        ));
    }
    let neighbours = match target {
        Target::Everything => Vec::new(),
        _ => sources.neighbours(&lives)?,
    };
    let learned = sources.learned()?;
    // Who floods the history is not known: it need not be who was asked for.
    let of_whom = if matches!(target, Target::Everything) { "" } else { "of the whole host, " };
    let not_kept = sources.history.not_kept(window)?;
    sources.notes.extend(not_kept.map(|not_kept| format!("{of_whom}{not_kept}")));
    let mut notes = vec![window.note("what ended")];
    notes.append(&mut sources.notes);
    Ok(FoundLives { lives, neighbours, learned, taken_for, notes })
}

/// The kernel itself, if it is to be read.
fn read_kernel(
    is_wanted: bool,
    args: &WhyArgs,
    limits: &config::LimitArgs,
) -> Result<Option<Kernel>, Failure> {
    is_wanted.then(|| Kernel::open(&args.owners, limits)).transpose()
}

struct Sources<'a> {
    agent: Option<&'a Path>,
    kernel: Option<Kernel>,
    history: HistorySource<'a>,
    window: &'a TimeWindow,
    /// The limits of this call, if there are any.
    given: Option<GivenLimits>,
    /// What they make of verdicts.
    around: Option<Surroundings>,
    /// Live connections that are not held, because many like them are.
    n_left_out: usize,
    notes: Vec<String>,
}

impl<'a> Sources<'a> {
    fn open(
        args: &WhyArgs,
        socket: &'a Path,
        limits: &config::LimitArgs,
        window: &'a TimeWindow,
    ) -> Result<Self, Failure> {
        let mut notes = Vec::new();
        let (status, denied) = match (args.source, args.source.agent(socket)) {
            // There may be a history that may be read.
            (Source::Auto, Err(Failure::Client(denied @ client::Error::Denied { .. }))) => {
                (None, Some(denied))
            }
            (_, answer) => (answer?, None),
        };
        let given = limits.of_this_call();
        let around = given.as_ref().map(|_| limits.surroundings());
        if around.is_some() {
            notes.push("measured against the idle limits of this call".to_owned());
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
        if let Some(status) = &status {
            notes.extend(history::what_is_missing(status, &history, window)?);
        }
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
        Ok(Self {
            agent: status.map(|_| socket),
            kernel,
            history,
            window,
            given,
            around,
            n_left_out: 0,
            notes,
        })
    }

    /// What the word finds, and what it was taken for.
    fn search(
        &mut self,
        target: &Target,
        paths: &[ConfiguredPath],
    ) -> Result<(Vec<Life>, String), Failure> {
        let mut tried = Vec::new();
        for Meaning { selections, taken_for } in target.meanings(paths) {
            let lives = self.lives(&selections)?;
            if !lives.is_empty() {
                self.note_port(target, &taken_for)?;
                return Ok((lives, taken_for));
            }
            tried.push(taken_for);
        }
        let unresolved = match target.as_host() {
            Some(Ok(Meaning { selections, taken_for })) => {
                return Ok((self.lives(&selections)?, taken_for));
            }
            Some(Err(cause)) => Some(cause),
            None => None,
        };
        if let (Target::Name(name, _), Some(cause)) = (target, unresolved) {
            self.explain_name(target, name, paths, cause)?;
        }
        Ok((Vec::new(), tried.join(" or ")))
    }

    /// Says what there is in place of a name that found nothing. An unknown host is an error.
    fn explain_name(
        &mut self,
        target: &Target,
        name: &str,
        paths: &[ConfiguredPath],
        cause: io::Error,
    ) -> Result<(), Failure> {
        let name = sanitize::escaped(name.as_bytes());
        if let Some(last) = self.last_end(target, paths)? {
            self.notes.insert(
                0,
                format!(
                    "{name} had connections, but none of them ended or hung in that time: the last one that is known \
                     ended {}",
                    self.window.time(last)
                ),
            );
            return Ok(());
        }
        let names = self.names(paths)?;
        let near = names.near(&name);
        let there_is = match near.as_slice() {
            [] => String::new(),
            near => format!("; there is {}", known_names::in_words(near)),
        };
        if names.has(&name) {
            self.notes.insert(0, format!("{name} has connections, but none of that time"));
        } else if target.looks_like_a_host() {
            return Err(Error::Unresolved { name, cause, near: there_is }.into());
        } else if near.is_empty() {
            self.notes.insert(
                0,
                format!(
                    "nothing is called {name}: no process, unit, container, pod, workload, \
                     Kubernetes namespace, path or host"
                ),
            );
        } else {
            self.notes.insert(0, format!("nothing is called {name}{there_is}"));
        }
        Ok(())
    }

    /// When the last connection ended that the word names, whatever the window: Unix time.
    fn last_end(&self, target: &Target, paths: &[ConfiguredPath]) -> Result<Option<f64>, Failure> {
        let mut last: Option<f64> = None;
        for meaning in target.meanings(paths) {
            for selection in &meaning.selections {
                let found = self.history.last_end(&selection.query)?;
                last = last.into_iter().chain(found).max_by(f64::total_cmp);
            }
        }
        Ok(last)
    }

    /// Of a number that found a process: says so if it is a port, too.
    fn note_port(&mut self, target: &Target, taken_for: &str) -> Result<(), Failure> {
        let Target::Number(number) = target else {
            return Ok(());
        };
        let Some(port) =
            target::as_port(*number).filter(|port| *taken_for != format!("port {port}"))
        else {
            return Ok(());
        };
        let n = self.lives(&Meaning::of_port(port).selections)?.len();
        if n > 0 {
            let with = if n == 1 { "1 connection has" } else { &format!("{n} connections have") };
            let note = format!("{port} is also a port, which {with}: keepwatch why :{port}");
            self.notes.insert(0, note);
        }
        Ok(())
    }

    /// The names that owners of connections have, and had in the window.
    fn names(&mut self, paths: &[ConfiguredPath]) -> Result<KnownNames, Failure> {
        let mut names = KnownNames::default();
        let mut meet = |owners: &[RowOwner], connection: &Connection| {
            names.meet(owners.iter().map(|owner| owner.process.as_str()), &connection.part_of);
        };
        for Meaning { selections, .. } in Target::Everything.meanings(&[]) {
            for Row { connection, owners, .. } in self.living(&selections)? {
                meet(&owners, &connection);
            }
            for EventRow { connection, owners, .. } in self.remembered(&selections)? {
                meet(&owners, &connection);
            }
            for selection in &selections {
                let met = |row: DeathRow| meet(&row.event.owners, &row.event.connection);
                self.history.dead(&selection.query, self.window, met)?;
            }
        }
        for path in paths {
            names.add(NameField::Path, &path.name);
        }
        Ok(names)
    }

    fn lives(&mut self, selections: &[Selection]) -> Result<Vec<Life>, Failure> {
        let rows = self.living(selections)?;
        let past = self.remembered(selections)?;
        let mut lives = lives_of(rows, past);
        self.add_history(&mut lives, selections)?;
        let window = self.window;
        let was_there = |life: &Life| {
            let opened_at = life.opened_at.as_deref();
            !window.is_past() || opened_at.is_none_or(|at| window.is_before_its_end(at))
        };
        lives.retain(|life| {
            let began = life.trouble_began();
            let end = life.end.as_ref();
            end.map_or_else(|| was_there(life), |end| window.overlaps(began, &end.at))
        });
        Ok(lives)
    }

    fn note_once(&mut self, note: &str) {
        if !self.notes.iter().any(|known| known == note) {
            self.notes.push(note.to_owned());
        }
    }

    /// The same filter, measured by the limits of this call.
    fn measured(&self, filter: &Filter) -> Filter {
        Filter { measured_by: self.given.clone(), ..filter.clone() }
    }

    fn living(&mut self, selections: &[Selection]) -> Result<Vec<Row>, Failure> {
        let mut rows = LivingRows::default();
        if let Some(path) = self.agent {
            for selection in selections {
                let filter = self.measured(&selection.filter);
                client::sockets(path, &filter, |row| {
                    if selection.admits_remote(row.connection.remote) {
                        rows.take(row);
                    }
                    true
                })?;
            }
        }
        if let Some(kernel) = &mut self.kernel {
            kernel.walk(&Filter::default(), |socket, owners, identity, around| {
                if selections.iter().any(|one| one.admits(socket, owners, identity, around)) {
                    rows.take(Row::new(socket, owners, identity, around, socket.at));
                }
                Ok(())
            })?;
        }
        let (rows, n_left_out) = rows.finish();
        self.n_left_out = self.n_left_out.max(n_left_out);
        Ok(rows)
    }

    /// Other connections to the servers that some of these are in trouble with: those that live, and those that the agent
    /// remembers.
    fn neighbours(&mut self, lives: &[Life]) -> Result<Vec<Life>, Failure> {
        const MOST_SERVERS: usize = 32;
        let servers = lives.iter().filter(|life| life.finding().is_of_silence());
        let servers = servers
            .filter(|life| life.connection.direction() == Direction::Outbound)
            .map(|life| life.connection.remote);
        let servers: BTreeSet<SocketAddr> = servers.collect();
        if servers.is_empty() {
            return Ok(Vec::new());
        }
        let known: BTreeSet<&str> =
            lives.iter().filter_map(|life| life.connection.id.as_deref()).collect();
        let servers = servers.into_iter().take(MOST_SERVERS);
        let n_left_out = self.n_left_out;
        let selections = [Selection::servers(servers)];
        let rows = self.living(&selections)?;
        self.n_left_out = n_left_out;
        let past = self.remembered(&selections)?;
        let is_other =
            |life: &Life| !known.contains(life.connection.id.as_deref().unwrap_or_default());
        Ok(lives_of(rows, past).into_iter().filter(is_other).collect())
    }

    /// What the agent remembers, in the order of time.
    fn remembered(&self, selections: &[Selection]) -> Result<Vec<EventRow>, Failure> {
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
                    EventName::GivenUp,
                    EventName::Died,
                    EventName::Ended,
                ]
                .map(EventChoice::One)
                .to_vec(),
                past_only: true,
                // Those before are in the history, if there is one.
                dead: (!matches!(self.history, HistorySource::None)).then_some(MOST_REMEMBERED),
                filter: self.measured(&selection.filter),
                ..EventFilter::default()
            };
            client::events(path, &wanted, |line| {
                if let Some(StreamLine::Event(row)) = line
                    && selection.admits_remote(row.connection.remote)
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
    ) -> Result<(), Failure> {
        // An id and an end: ids are used again after a reboot.
        let key = |life: &Life| {
            let end = life.end.as_ref().map(|end| end.at.get(..19).unwrap_or_default().to_owned());
            (life.connection.id.clone(), end)
        };
        let mut known: BTreeSet<_> = lives.iter().map(key).collect();
        let mut notes: Vec<String> = Vec::new();
        for selection in selections {
            let found = self.history.dead(&selection.query, self.window, |row| {
                if selection.admits_remote(row.event.connection.remote)
                    && let Some(life) = history::life(row)
                    && known.insert(key(&life))
                {
                    lives.push(life);
                }
            })?;
            notes.extend(found);
        }
        for note in &notes {
            self.note_once(note);
        }
        Ok(())
    }

    /// What was learned; nothing where the question brings its own limits.
    fn learned(&self) -> Result<Vec<LearnedRow>, Failure> {
        if self.given.is_some() { Ok(Vec::new()) } else { self.history.learned() }
    }
}
