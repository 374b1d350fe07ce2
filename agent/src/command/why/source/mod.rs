//! Where the facts come from: the living from the agent or the kernel, the dead from the agent's memory
//! and from the history on disk; and what therefore cannot be known.

mod beside;
mod explain_name;

pub(super) use beside::LocalProgram;

use super::{
    WhyArgs,
    history::{self, HistorySource},
    inherited, lost_events,
    target::{self, Meaning, Selection, Target},
    then::NotOfThen,
};
use crate::{
    command::{
        Failure,
        source::{Kernel, Source, living::LivingRows, peer_lives},
        time_window::TimeWindow,
        timestamp::unix_seconds,
    },
    config::{self, CarriedOptions},
    drill::notes::NotedDrills,
    fix::taken_back::TakenBack,
    kernel::clock,
    model::judgement::{
        given_limits::GivenLimits, idle_limit::ConfiguredPath, learned::LearnedRow,
        verdict::Surroundings,
    },
    serve::{AgentStatus, client},
    store::{self, HistoryReader},
    view::{
        event_row::EventRow,
        filter::Filter,
        life::{Life, LifeEnd, lives as lives_of},
        row::Row,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    path::Path,
};

/// What was asked cannot be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{name} does not resolve ({cause}), and nothing of this host is called so{near}")]
    Unresolved { name: String, cause: io::Error, near: String },
    #[error(
        "nothing that has connections is called {name}: no process, unit, container, pod, workload, Kubernetes namespace, path \
         of the config or host{near}; `keepwatch why` without a name answers for everything"
    )]
    Unknown { name: String, near: String },
}

/// The connections, live and dead, that the word names.
pub(super) struct FoundLives {
    pub(super) lives: Vec<Life>,
    /// Others that live, to the servers that these are in trouble with.
    pub(super) neighbours: Vec<Life>,
    pub(super) learned: Vec<LearnedRow>,
    /// The programs of this host that all of them lead to.
    pub(super) behind: Option<LocalProgram>,
    /// What the word was taken for.
    pub(super) taken_for: String,
    /// Which sources were used, and what cannot be known without the others.
    pub(super) notes: Vec<String>,
}

/// Of connections that the agent remembers, and that died, at most this number of each worth.
const MOST_REMEMBERED: usize = 1000;

pub(super) fn find(
    args: &WhyArgs,
    socket: &config::SocketArgs,
    limits: &config::LimitArgs,
    window: &TimeWindow,
    now: f64,
) -> Result<FoundLives, Failure> {
    let mut sources = Sources::open(args, socket, limits, window, now)?;
    let target = args.peer.as_deref().map_or(Target::Everything, Target::parse);
    let (mut lives, taken_for) = sources.search(&target)?;
    if lives.is_empty()
        && let Some(hidden) = sources.hidden
    {
        return Err(Failure::Hidden(hidden));
    }
    sources.notes.extend(sources.not_of_then.notes());
    let drills = NotedDrills::read(&args.state.state_dir).unwrap_or_else(|error| {
        sources
            .notes
            .push(format!("whether a drill of keepwatch cut a path is not known: {error}"));
        NotedDrills::default()
    });
    drills.mark(&mut lives, now);
    TakenBack::read(&args.state.state_dir)
        .unwrap_or_else(|error| {
            sources.notes.push(format!("what `fix --undo` had to write is not known: {error}"));
            TakenBack::default()
        })
        .mark(&mut lives);
    history::add_calls(&mut lives, sources.history.living_calls()?);
    if let Some(since) = sources.blind_to_calls_since {
        let is_later = |end: &LifeEnd| unix_seconds(&end.at).is_some_and(|at| at >= since);
        for life in &mut lives {
            life.calls_unseen = life.end.as_ref().is_none_or(is_later);
        }
    }
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
    sources.notes.extend(history::dated_ahead(&lives, now));
    if sources.n_left_out > 0 {
        let live = match sources.n_left_out {
            1 => "1 more connection lives that is like others here, and is".to_owned(),
            n => format!("{n} more connections live that are like others here, and are"),
        };
        sources.notes.push(format!("{live} not counted: ask for one peer or process"));
    }
    let mut neighbours = match target {
        Target::Everything => Vec::new(),
        _ => sources.neighbours(&lives)?,
    };
    drills.mark(&mut neighbours, now);
    let behind = sources.behind(&lives)?;
    let learned = sources.learned()?;
    // Who floods the history is not known: it need not be who was asked for.
    let of_whom = if matches!(target, Target::Everything) { "" } else { "of the whole host, " };
    let not_kept = sources.history.not_kept(window)?;
    sources.notes.extend(not_kept.map(|not_kept| format!("{of_whom}{not_kept}")));
    // Not before: what a note says was lost counts here, too.
    if let Some(since) = lost_events::watched_since(&lives, sources.agent_started)
        && let Some(lost) = sources.history.events_lost(since)?
    {
        lost_events::mark(&mut lives, lost, sources.agent_started);
    }
    let mut notes = vec![window.note("what ended")];
    notes.append(&mut sources.notes);
    Ok(FoundLives { lives, neighbours, learned, behind, taken_for, notes })
}

/// The kernel itself, if it is to be read.
fn read_kernel(
    is_wanted: bool,
    args: &WhyArgs,
    limits: &config::LimitArgs,
) -> Result<Option<Kernel>, Failure> {
    is_wanted.then(|| Kernel::open(args.source, &args.owners, limits)).transpose()
}

struct Sources<'a> {
    agent: Option<&'a Path>,
    /// Unix time of its start.
    agent_started: Option<f64>,
    /// Unix time since which nobody sees calls, if that is so.
    blind_to_calls_since: Option<f64>,
    kernel: Option<Kernel>,
    history: HistorySource<'a>,
    window: &'a TimeWindow,
    /// What a printed command needs, too.
    carried: CarriedOptions,
    /// The limits of this call, if there are any.
    given: Option<GivenLimits>,
    /// What they make of verdicts.
    around: Option<Surroundings>,
    /// The configured paths: of this call, else those of the agent.
    paths: Vec<ConfiguredPath>,
    /// When each connection that lives was read, by its id: Unix time.
    read_at: BTreeMap<String, f64>,
    /// Live connections that are not held, because many like them are.
    n_left_out: usize,
    /// Of which processes no connection is shown, in words.
    hidden: Option<String>,
    /// Live connections that are left out, because the window is over.
    not_of_then: NotOfThen,
    /// Unix time.
    now: f64,
    notes: Vec<String>,
}

impl<'a> Sources<'a> {
    fn open(
        args: &WhyArgs,
        socket: &'a config::SocketArgs,
        limits: &config::LimitArgs,
        window: &'a TimeWindow,
        now: f64,
    ) -> Result<Self, Failure> {
        let carried = CarriedOptions::default().with_socket(socket).with_state(&args.state);
        let carried = carried.with_limits(limits);
        let socket = socket.socket.as_path();
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
            Some(AgentStatus { history: Some(history), .. }) => {
                HistorySource::of_agent(socket, history)
            }
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
            (None, Some(kernel)) => format!("{}, now", kernel.name()),
            (None, None) => "nobody who sees what lives".to_owned(),
        };
        match (&status, &history) {
            (_, HistorySource::Agent(..) | HistorySource::File(_)) => {
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
        let of_agent = status.as_ref().map(|status| &status.paths[..]).unwrap_or_default();
        let paths = match limits.path.as_slice() {
            [] => of_agent.iter().map(ConfiguredPath::from).collect(),
            of_call => of_call.to_vec(),
        };
        Ok(Self {
            paths,
            not_of_then: NotOfThen::default(),
            read_at: BTreeMap::new(),
            now,
            agent_started: status.as_ref().map(|status| status.started_unix_seconds),
            blind_to_calls_since: status
                .as_ref()
                .filter(|status| history::is_blind_to_calls(status))
                .map(|status| status.started_unix_seconds),
            agent: status.map(|_| socket),
            kernel,
            history,
            window,
            carried,
            given,
            around,
            n_left_out: 0,
            hidden: None,
            notes,
        })
    }

    /// What the word finds, and what it was taken for.
    fn search(&mut self, target: &Target) -> Result<(Vec<Life>, String), Failure> {
        let mut tried = Vec::new();
        for Meaning { selections, taken_for } in target.meanings(&self.paths) {
            let mut lives = self.lives(&selections)?;
            self.take_out_of_now(&mut lives);
            if !lives.is_empty() {
                self.note_port(target, &taken_for)?;
                let is_it =
                    |path: &ConfiguredPath| taken_for.starts_with(&format!("path {} (", path.name));
                if self.paths.iter().any(is_it) {
                    self.notes.push(format!("asked for the {taken_for} of the configuration"));
                }
                return Ok((lives, taken_for));
            }
            tried.push(taken_for);
        }
        let unresolved = match target.as_host() {
            Some(Ok(Meaning { selections, taken_for })) => {
                let mut lives = self.lives(&selections)?;
                self.take_out_of_now(&mut lives);
                return Ok((lives, taken_for));
            }
            Some(Err(cause)) => Some(cause),
            None => None,
        };
        if let (Target::Name(name, _), Some(cause)) = (target, unresolved) {
            self.explain_name(target, name, cause)?;
        }
        Ok((Vec::new(), tried.join(" or ")))
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
            let command = self.carried.after(&format!("why :{port}"));
            let note = format!("{port} is also a port, which {with}: {command}");
            self.notes.insert(0, note);
        }
        Ok(())
    }

    fn lives(&mut self, selections: &[Selection]) -> Result<Vec<Life>, Failure> {
        let rows = self.living(selections)?;
        let past = self.remembered(selections)?;
        let mut lives = self.dated(lives_of(rows, past));
        self.add_history(&mut lives, selections)?;
        let answers = self.history.late_answers(self.window.since_seconds())?;
        history::add_late_answers(&mut lives, answers);
        let window = self.window;
        let of_window = (window.since_seconds(), window.until_seconds().unwrap_or(self.now));
        lives.retain(|life| {
            if life.unanswered_times_of(of_window).next().is_some() {
                return true;
            }
            let began = life.trouble_began();
            life.end.as_ref().is_none_or(|end| window.overlaps(began, &end.at))
        });
        Ok(lives)
    }

    /// These, with the time at which each was read.
    fn dated(&self, mut lives: Vec<Life>) -> Vec<Life> {
        for life in lives.iter_mut().filter(|life| life.end.is_none()) {
            let id = life.connection.id.as_deref().unwrap_or_default();
            life.read_at = self.read_at.get(id).copied();
        }
        lives
    }

    /// Of a window that is over, only what was so in it is an answer.
    fn take_out_of_now(&mut self, lives: &mut Vec<Life>) {
        if let Some(until) = self.window.until_seconds() {
            let window = (self.window.since_seconds(), until);
            self.not_of_then.take_out(lives, window, self.now);
        }
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
        let mut read_at: BTreeMap<String, f64> = BTreeMap::new();
        if let Some(path) = self.agent {
            for selection in selections {
                let filter = self.measured(&selection.filter);
                let asked_at = clock::unix_seconds();
                client::fresh_sockets(path, &filter, |row| {
                    if selection.admits_remote(row.connection.remote) {
                        read_at.entry(row.id().to_owned()).or_insert(asked_at);
                        rows.take(row);
                    }
                    true
                })?;
            }
        }
        if let Some(kernel) = &mut self.kernel {
            kernel.walk(&Filter::default(), |socket, owners, identity, around| {
                if selections.iter().any(|one| one.admits(socket, owners, identity, around)) {
                    let row = Row::new(socket, owners, identity, around, socket.at);
                    read_at.entry(row.id().to_owned()).or_insert_with(clock::unix_seconds);
                    rows.take(row);
                }
                Ok(())
            })?;
            self.hidden = kernel.hidden();
            self.notes.extend(kernel.unseen());
        }
        self.read_at.extend(read_at);
        let (rows, n_left_out) = rows.finish();
        self.n_left_out = self.n_left_out.max(n_left_out);
        Ok(rows)
    }

    /// What the agent remembers, in the order of time.
    fn remembered(&self, selections: &[Selection]) -> Result<Vec<EventRow>, Failure> {
        let Some(path) = self.agent else {
            return Ok(Vec::new());
        };
        let mut happenings: Vec<EventRow> = Vec::new();
        for selection in selections {
            // Those before are in the history, if there is one.
            let dead = (!matches!(self.history, HistorySource::None)).then_some(MOST_REMEMBERED);
            let filter = self.measured(&selection.filter);
            let is_of_it = |row: &EventRow| selection.admits_remote(row.connection.remote);
            happenings.extend(peer_lives::remembered(path, filter, dead, is_of_it)?);
        }
        // Several selections may find the same. Its wall time may differ by what that clock was set meanwhile.
        let key = |row: &EventRow| {
            let (moment, of) = (row.monotonic_seconds.to_bits(), row.connection.id.clone());
            (moment, of, row.event, row.details.option)
        };
        let mut known = HashSet::new();
        happenings.retain(|row| known.insert(key(row)));
        happenings.sort_by(|a, b| a.monotonic_seconds.total_cmp(&b.monotonic_seconds));
        Ok(happenings)
    }

    /// Adds what only the disk knows: deaths before the agent started or that it has forgotten, and
    /// calls that were refused.
    fn add_history(
        &mut self,
        lives: &mut Vec<Life>,
        selections: &[Selection],
    ) -> Result<(), Failure> {
        // An id and an end: ids are used again after a reboot. The wall clock may have been set since it was written down.
        let key = |life: &Life| {
            (life.connection.id.clone(), life.end.as_ref().map(|end| end.monotonic_ms))
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
