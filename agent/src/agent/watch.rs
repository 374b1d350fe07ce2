//! The watching thread: the only writer of the table. Takes events out of the ring as they come,
//! walks over every socket from time to time, and publishes the sums.

use crate::{
    kernel::{
        clock, decode,
        hooks::{self, Hooks},
        ring::Ring,
        snapshot,
    },
    model::{
        event::Event,
        snapshot::{Health, Snapshot},
        socket::Time,
        table::Table,
    },
    talk::say,
};
use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch::Sender;

/// Why watching ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hooks do not answer.
    #[error(transparent)]
    Hooks(#[from] hooks::Error),
    /// A walk failed, or is not to be believed.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The ring buffer cannot be waited for.
    #[error("cannot wait for events")]
    Wait(#[source] io::Error),
}

/// How often, how much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Time between walks.
    pub(super) interval: Duration,
    /// Process names in a picture.
    pub(super) max_names: usize,
}

/// The reader comes by this often when the hooks do not wake it.
const TICK: Duration = Duration::from_millis(100);
/// Pictures are published at most this often.
const PUBLISH_MS: u64 = 1000;
/// A walk takes at most one in this many parts of the time.
const WALK_SHARE: u64 = 20;

pub(super) struct Watch {
    hooks: Hooks,
    ring: Ring,
    table: Arc<Mutex<Table>>,
    publish: Sender<Arc<Snapshot>>,
    pace: Pace,
    health: Health,
    walked: Time,
    walk_ms: u64,
    published: Time,
    /// Events that were lost before the last walk began.
    n_lost: u64,
}

impl Watch {
    pub(super) fn new(
        mut hooks: Hooks,
        table: Arc<Mutex<Table>>,
        publish: Sender<Arc<Snapshot>>,
        pace: Pace,
    ) -> Result<Self, Error> {
        let health = Health {
            hooks: hooks
                .status()
                .iter()
                .map(|status| {
                    (status.signal.as_str(), status.signal.mechanism(), status.failure.is_none())
                })
                .collect(),
            ..Health::default()
        };
        Ok(Self {
            ring: hooks.ring()?,
            hooks,
            table,
            publish,
            pace,
            health,
            walked: Time(0),
            walk_ms: 0,
            published: Time(0),
            n_lost: 0,
        })
    }

    /// Watches until `stop`.
    pub(super) fn run(mut self, stop: &AtomicBool) -> Result<(), Error> {
        while !stop.load(Ordering::Relaxed) {
            self.ring.wait(TICK).map_err(Error::Wait)?;
            self.drain();
            let now = clock::now();
            if self.walk_is_due(now) {
                self.walk_or_say()?;
            } else if now.ms_since(self.published) >= PUBLISH_MS {
                self.publish(now)?;
            }
        }
        Ok(())
    }

    /// After the interval; sooner when connections came whose owner only a walk can tell.
    fn walk_is_due(&self, now: Time) -> bool {
        let since_ms = now.ms_since(self.walked);
        let interval_ms = u64::try_from(self.pace.interval.as_millis()).unwrap_or(u64::MAX);
        let rest_ms = self.walk_ms.saturating_mul(WALK_SHARE);
        let soon_ms = PUBLISH_MS.min(interval_ms);
        let due_ms = if table(&self.table).n_unowned() > 0 { soon_ms } else { interval_ms };
        since_ms >= due_ms.max(rest_ms)
    }

    /// A walk that fails once is counted and told; what is wrong for good ends the agent.
    fn walk_or_say(&mut self) -> Result<(), Error> {
        match self.walk() {
            Err(Error::Snapshot(error @ snapshot::Error::Read(_))) => {
                self.health.n_failed_walks += 1;
                self.walked = clock::now();
                say(&format!("warning: a snapshot failed, the next may not: {error}"));
                Ok(())
            }
            ended => ended,
        }
    }

    /// Walks over every socket, and takes events meanwhile.
    pub(super) fn walk(&mut self) -> Result<(), Error> {
        let began = clock::now();
        let n_lost = self.count_lost()?;
        self.drain();
        let mut walk = self.hooks.snapshot()?;
        table(&self.table).begin_walk();
        loop {
            let mut locked = table(&self.table);
            let goes_on = walk.read(|event| locked.apply(event))?;
            drop(locked);
            if !goes_on {
                break;
            }
            self.drain();
        }
        self.drain();
        table(&self.table).end_walk(n_lost > self.n_lost);
        self.n_lost = n_lost;
        let ended = clock::now();
        self.walked = ended;
        self.walk_ms = ended.ms_since(began);
        self.health.n_walks += 1;
        self.health.walk_seconds = Duration::from_millis(self.walk_ms).as_secs_f64();
        self.health.walked_at_seconds = clock::unix_seconds();
        self.publish(ended)
    }

    fn drain(&mut self) {
        let Self { ring, table: shared, health, .. } = self;
        let flow = &mut health.flow;
        let mut locked = table(shared);
        flow.received += ring.drain(|record: Result<Event, decode::Error>| match record {
            Ok(event) => {
                flow.decoded += 1;
                locked.apply(event);
            }
            Err(_) => flow.undecodable += 1,
        });
    }

    fn count_lost(&mut self) -> Result<u64, Error> {
        let counts = self.hooks.counts()?;
        let flow = &mut self.health.flow;
        flow.seen = counts.seen;
        flow.submitted = counts.submitted;
        flow.dropped = counts.dropped;
        flow.filtered = counts.filtered;
        Ok(flow.dropped + flow.undecodable)
    }

    fn publish(&mut self, now: Time) -> Result<(), Error> {
        self.published = now;
        self.count_lost()?;
        let mut picture = table(&self.table).picture(self.pace.max_names);
        let n_pruned = picture.health.n_pruned;
        picture.health = Health { n_pruned, ..self.health.clone() };
        self.publish.send_replace(Arc::new(picture));
        Ok(())
    }
}

/// The table is whole between two calls, even if a reader has panicked.
fn table(shared: &Mutex<Table>) -> MutexGuard<'_, Table> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
