//! The watching thread: the only writer of the table. Takes events as they come, walks over every socket from time to
//! time (`walk`), passes on what happened and publishes the sums. Where both come from is a [`Sight`]: hooks
//! ([`HookSight`]), or /proc where there are none ([`ProcSight`]).

mod hook_sight;
mod proc_sight;
mod sight;
mod walk;

pub use hook_sight::HookSight;
pub(crate) use proc_sight::ProcSight;
pub use sight::Sight;
use sight::locked as table;
pub(super) use walk::WALK_SHARE;

use crate::{
    drill::notes::DrillsWatched,
    kernel::{clock, decode, hooks, proc_source, snapshot},
    log::pace::Paced,
    model::{
        judgement::{
            learned::{LearnedRow, Lesson},
            verdict::Surroundings,
        },
        observed::{event::Event, socket::Time},
        table::{
            Table,
            agent_health::{AgentHealth, EventFlow},
            happening::{Happening, News, Notice},
            sums::Totals,
        },
    },
    owner::Resolver,
    serve::FreshLook,
};
use rustix::fd::AsFd as _;
use std::{
    collections::{BTreeSet, HashMap},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tracing::warn;

/// The failure that ended the watching thread.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hooks do not answer.
    #[error(transparent)]
    Hooks(#[from] hooks::Error),
    /// A walk failed, or is not to be believed.
    #[error(transparent)]
    Totals(#[from] snapshot::Error),
    /// /proc cannot be read.
    #[error(transparent)]
    Proc(#[from] proc_source::Error),
    /// The ring buffer cannot be waited for.
    #[error("cannot wait for events")]
    Wait(#[source] io::Error),
}

/// Receives what the watching thread observes.
pub trait Audience {
    /// Takes the events since the last call, in order.
    fn news(&mut self, news: News);
    /// Takes processes that own connections: their ids, and when they started, in ticks since boot.
    fn met(&mut self, _processes: &[(u32, u64)]) {}
    /// This number of further events was lost, of whatever kind.
    fn lost(&mut self, _n: u64) {}
    /// Takes the new sums for scrapes.
    fn totals(&mut self, totals: Totals);
    /// Calls of connections that live, with what their verdicts depended on: they are no news, and a later agent did not see them.
    fn lasting_calls(&mut self, _calls: Vec<(Happening, Arc<Surroundings>)>) {}
    /// What was learned: the evidence that is new, and all that follows.
    fn learned(&mut self, _lessons: Vec<Lesson>, _rows: Vec<LearnedRow>) {}
}

/// The reader comes by this often when the hooks do not wake it.
const TICK: Duration = Duration::from_millis(100);
/// Pictures are published at most this often.
const PUBLISH_MS: u64 = 1000;
/// Processes that are looked up at once: some milliseconds.
const LOOK_UPS: usize = 256;
/// Events for which memory is kept between bursts.
const NEWS_KEPT: usize = 1024;
/// The watching thread: it reads events and snapshots, and keeps the table.
pub struct Watch<A> {
    sight: Box<dyn Sight>,
    table: Arc<Mutex<Table>>,
    audience: A,
    resolver: Resolver,
    /// Time between two walks.
    interval: Duration,
    /// Where drills are noted down, if anywhere.
    drills: Option<DrillsWatched>,
    /// Where answers of now are asked for.
    asked_by: Option<Arc<FreshLook>>,
    /// For the sake of one, a walk.
    is_walk_asked: bool,
    /// How many had asked before the ring was read the last time.
    n_asked: u64,
    health: AgentHealth,
    walked: Time,
    /// CPU time that events took so far.
    drain_cpu: Duration,
    failures: Paced,
    /// Events that were lost before the last walk began.
    n_lost: u64,
    /// Events had been lost when the last walk began.
    was_after_loss: bool,
    /// Of lost events and of skipped runs of hooks, how many the stream has reported.
    n_lost_told: u64,
    n_skipped_told: u64,
    /// Hooks that had not been run, as far as known when the last walk began.
    n_unseen: u64,
    n_happenings: u64,
    /// Events received when the last walk ended.
    n_received: u64,
    /// What a walk reads at once.
    batch: Vec<Event>,
    /// What the ring gave at once.
    news: Vec<Event>,
}

impl<A: Audience> Watch<A> {
    /// A watcher that has not looked yet.
    pub fn new(
        sight: Box<dyn Sight>,
        table: Arc<Mutex<Table>>,
        audience: A,
        resolver: Resolver,
        interval: Duration,
    ) -> Self {
        self::table(&table).set_heard(sight.heard());
        Self {
            health: sight.health(),
            sight,
            table,
            audience,
            resolver,
            interval,
            drills: None,
            asked_by: None,
            is_walk_asked: false,
            n_asked: 0,
            walked: Time(0),
            drain_cpu: Duration::ZERO,
            failures: Paced::default(),
            n_lost: 0,
            was_after_loss: false,
            n_lost_told: 0,
            n_skipped_told: 0,
            n_unseen: 0,
            n_happenings: 0,
            n_received: 0,
            batch: Vec::new(),
            news: Vec::new(),
        }
    }

    /// Deaths of what a drill has cut teach nothing.
    #[must_use]
    pub(crate) fn told_of(self, drills: DrillsWatched) -> Self {
        Self { drills: Some(drills), ..self }
    }

    /// Reads the ring, and walks, when this asks for it, too.
    #[must_use]
    pub(crate) fn asked_by(self, asked_by: Arc<FreshLook>) -> Self {
        Self { asked_by: Some(asked_by), ..self }
    }

    /// The receiver of what is observed.
    pub const fn audience(&mut self) -> &mut A {
        &mut self.audience
    }

    /// Watches until `stop` is set.
    pub fn run(mut self, stop: &AtomicBool) -> Result<(), Error> {
        while !stop.load(Ordering::Relaxed) {
            self.wait().map_err(Error::Wait)?;
            self.drain();
            self.look_up();
            let now = clock::now();
            self.count()?;
            self.sight.log_troubles(now)?;
            table(&self.table).settle(now);
            self.tell(Vec::new());
            self.answer();
            if self.walk_is_due(now) {
                self.walk_or_say()?;
            } else if now.ms_since(self.health.published) >= PUBLISH_MS {
                self.publish(now);
            }
        }
        // Events of the last moment are reported too.
        self.drain();
        self.count()?;
        self.tell(Vec::new());
        let now = clock::now();
        self.keep_calls(now, 0);
        self.publish(now);
        self.teach(now, true);
        Ok(())
    }

    /// Until the hooks wake the reader, somebody asks, or a tick is over.
    fn wait(&mut self) -> io::Result<()> {
        let asked_by = self.asked_by.as_ref().map(|asked_by| asked_by.as_fd());
        self.sight.wait(asked_by, TICK)?;
        self.is_walk_asked |= self.asked_by.as_ref().is_some_and(|asked_by| asked_by.take_walk());
        Ok(())
    }

    /// Looks up whose the processes are that came, and after a walk all: without holding the table,
    /// and taking events meanwhile.
    fn look_up(&mut self) {
        let mut waiting = table(&self.table).take_processes();
        while !waiting.is_empty() {
            let next = waiting.iter().nth(LOOK_UPS).copied();
            let rest = next.map(|pid| waiting.split_off(&pid)).unwrap_or_default();
            self.look_up_these(std::mem::replace(&mut waiting, rest), &HashMap::new());
            self.drain();
        }
        self.resolver.pause();
    }

    /// `cgroups`: where those were that may have ended meanwhile.
    fn look_up_these(&mut self, pids: BTreeSet<u32>, cgroups: &HashMap<u32, u64>) {
        let look_up = |pid| {
            let known = self.resolver.look_up(pid, cgroups.get(&pid).copied());
            known.map(|known| (pid, known))
        };
        let found: Vec<_> = pids.into_iter().filter_map(look_up).collect();
        let met: Vec<(u32, u64)> = found.iter().map(|(pid, known)| (*pid, known.started)).collect();
        table(&self.table).identify(found);
        self.audience.met(&met);
    }

    /// Answers those who wait: what the hooks had noted is taken in, but for what was lost.
    fn answer(&self) {
        if let Some(asked_by) = &self.asked_by {
            asked_by.answer(self.n_asked, self.lost() > self.n_lost);
        }
    }

    /// Takes what the ring has, and counts what that costs.
    fn drain(&mut self) {
        let began = clock::thread_cpu();
        self.take_events();
        self.drain_cpu += clock::thread_cpu().saturating_sub(began);
    }

    fn take_events(&mut self) {
        self.n_asked = self.asked_by.as_ref().map_or(0, |asked_by| asked_by.n_asked());
        let Self { sight, health, news, .. } = self;
        let flow = &mut health.flow;
        let mut cgroups = HashMap::new();
        let mut take = |record: Result<Event, decode::Error>, cgroup| match record {
            Ok(event) => {
                flow.decoded += 1;
                let pid = event.owner().map(|owner| owner.pid);
                cgroups.extend(pid.zip(cgroup));
                news.push(event);
            }
            Err(_) => flow.undecodable += 1,
        };
        let n_received = sight.drain(&mut take);
        flow.received += n_received;
        if self.news.is_empty() {
            return;
        }
        // Before anything else: a process that connected a moment ago may be gone the next.
        let mut strangers = table(&self.table).strangers(&self.news);
        strangers = strangers.into_iter().take(LOOK_UPS).collect();
        self.look_up_these(strangers, &cgroups);
        // A drill is noted down before it begins.
        self.hear_of_drills();
        let mut locked = table(&self.table);
        self.news.drain(..).for_each(|event| locked.apply(event));
        drop(locked);
        self.news.shrink_to(NEWS_KEPT);
    }

    fn hear_of_drills(&mut self) {
        match self.drills.as_mut().and_then(DrillsWatched::news) {
            Some(Ok(paths)) => table(&self.table).set_drilled(paths),
            Some(Err(error)) => {
                warn!(%error, "what drills have cut is not known: their deaths count as those of paths");
            }
            None => {}
        }
    }

    /// Events lost that no snapshot has found out yet: what the next one is for.
    const fn lost(&self) -> u64 {
        self.health.flow.n_lost() - self.health.flow.unseen
    }

    /// Reads what the sight counts itself.
    fn count(&mut self) -> Result<(), Error> {
        let (lost_before, all_lost_before) = (self.lost(), self.health.flow.n_lost());
        self.sight.count(&mut self.health)?;
        self.health.flow.unseen = table(&self.table).n_unseen();
        if self.lost() > lost_before {
            table(&self.table).events_lost();
        }
        // Fewer are unseen when a walk has met what the events were about.
        match self.health.flow.n_lost().saturating_sub(all_lost_before) {
            0 => {}
            n => self.audience.lost(n),
        }
        Ok(())
    }

    /// Passes on what happened, and what was lost.
    fn tell(&mut self, mut notices: Vec<Notice>) {
        let EventFlow { dropped, undecodable, skipped: n_skipped, .. } = self.health.flow;
        let n_lost = dropped + undecodable;
        let events = n_lost - std::mem::replace(&mut self.n_lost_told, n_lost);
        let skipped = n_skipped - std::mem::replace(&mut self.n_skipped_told, n_skipped);
        if events + skipped > 0 {
            notices.insert(0, Notice::Lost { events, skipped });
        }
        let (happenings, around) = {
            let mut table = table(&self.table);
            (table.take_happenings(), table.surroundings())
        };
        if !happenings.is_empty() || !notices.is_empty() {
            let n_before = self.n_happenings;
            self.n_happenings += u64::try_from(happenings.len()).unwrap_or_default();
            self.audience.news(News { n_before, happenings, notices, around });
        }
    }

    fn publish(&mut self, now: Time) {
        self.health.published = now;
        let mut totals = table(&self.table).totals();
        let AgentHealth { n_pruned, n_unrecorded, .. } = totals.health;
        totals.health = AgentHealth { n_pruned, n_unrecorded, ..self.health.clone() };
        self.audience.totals(totals);
        self.teach(now, false);
    }

    /// Passes on calls of connections that live, and are known for this time.
    fn keep_calls(&mut self, now: Time, least_ms: u64) {
        /// Of each walk, and at the end: half of what the history has room for.
        const MOST_CALLS: usize = 1024;
        let calls = table(&self.table).take_lasting_calls(now, least_ms, MOST_CALLS);
        if !calls.is_empty() {
            self.audience.lasting_calls(calls);
        }
    }

    /// Passes on what was learned; `all`: also what can wait.
    fn teach(&mut self, now: Time, all: bool) {
        let mut table = table(&self.table);
        let lessons = table.take_lessons(now, all);
        if !lessons.is_empty() {
            let rows = table.learned(now);
            drop(table);
            self.audience.learned(lessons, rows);
        }
    }
}
