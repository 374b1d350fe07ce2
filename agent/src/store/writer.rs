//! The thread that writes the history. The watching thread only ever puts something into a bounded queue:
//! what finds no room there, or no room on the disk, is counted, and the agent goes on.

use super::{
    Error, Options, claim,
    database::{self, Batch, Database, Learning},
    wanted::{Budget, Wanted},
};
use crate::{
    files,
    kernel::clock,
    model::{
        learned::{Lesson, LimitRow},
        moment::Moment,
        socket::Time,
        verdict::Policy,
    },
    talk::say,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Moments that may wait, some 400 bytes each.
const MAX_WAITING: usize = 8192;
/// Batches that may wait.
const MAX_BATCHES: usize = 256;
/// Time between two commits.
const COMMIT_MS: u64 = 1000;
/// Time between two looks at age and size.
const TIDY_MS: u64 = 10_000;
/// Time between two attempts to open a file that could not be opened.
const RETRY_MS: u64 = 5000;

/// Why something is not in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It was ordinary (an orderly end, a verdict that changed), and there was too much of that.
    Ordinary,
    /// The writing thread was behind.
    Queue,
    /// It could not be written.
    Disk,
}

impl Loss {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Ordinary, Self::Queue, Self::Disk];

    /// The name in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Queue => "queue",
            Self::Disk => "disk",
        }
    }
}

/// How the history is, as the agent shows it. Fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The state directory.
    pub folder: PathBuf,
    /// Bytes in use.
    pub bytes: u64,
    /// What was written since the agent's start.
    pub written: u64,
    /// What was not, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Why nothing is written at the moment; null if all is well.
    pub trouble: Option<String>,
}

/// What the writing thread and everybody else share.
#[derive(Debug, Default)]
pub struct Health {
    folder: PathBuf,
    n_waiting: AtomicUsize,
    n_bytes: AtomicU64,
    n_written: AtomicU64,
    n_lost: [AtomicU64; Loss::ALL.len()],
    trouble: Mutex<Option<String>>,
}

impl Health {
    /// What is not in the history for this reason.
    pub fn lost(&self, loss: Loss) -> u64 {
        self.n_lost.get(loss as usize).map_or(0, |n| n.load(Ordering::Relaxed))
    }

    fn lose(&self, loss: Loss, n: usize) {
        if let Some(lost) = self.n_lost.get(loss as usize) {
            lost.fetch_add(u64::try_from(n).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.n_bytes.load(Ordering::Relaxed)
    }

    /// All of it.
    pub fn status(&self) -> Status {
        Status {
            folder: self.folder.clone(),
            bytes: self.bytes(),
            written: self.n_written.load(Ordering::Relaxed),
            lost: Loss::ALL.map(|loss| (loss.as_str().to_owned(), self.lost(loss))).into(),
            trouble: self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// What goes through the queue.
#[derive(Debug)]
enum Message {
    Batch(Batch),
    Learning(Learning),
}

/// The end of the queue where things are put in.
#[derive(Debug)]
pub struct Writer {
    queue: SyncSender<Message>,
    health: Arc<Health>,
    budget: Budget,
}

/// The writing thread, to wait for.
#[derive(Debug)]
pub struct Writing(JoinHandle<()>);

impl Writing {
    /// Waits until everything is written; the writer must be gone.
    pub fn finish(self) {
        drop(self.0.join());
    }
}

impl Writer {
    /// Opens the history, and starts the thread. What agents before this one learned comes with it. A
    /// history that cannot be written does not keep an agent from running: it says so, and tries again. One
    /// that another agent writes does.
    pub fn start(options: Options) -> Result<(Self, Writing, Arc<Health>, Vec<Lesson>), Error> {
        let health = Arc::new(Health { folder: options.folder.clone(), ..Health::default() });
        let mut thread = Thread {
            options,
            health: Arc::clone(&health),
            claim: None,
            database: None,
            tried: clock::now(),
            tidied: clock::now(),
            told: None,
            batches: Vec::new(),
            learning: Learning::default(),
        };
        match thread.open() {
            Err(error @ Error::Taken { .. }) => return Err(error),
            opened => thread.note(opened),
        }
        let lessons = thread.database.as_ref().map_or_else(Vec::new, |database| {
            database.lessons().unwrap_or_else(|error| {
                say(&format!("warning: what was learned before is lost: {error}"));
                Vec::new()
            })
        });
        let (queue, waiting) = mpsc::sync_channel(MAX_BATCHES);
        let handle = std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || thread.run(&waiting))
            .map_err(Error::Thread)?;
        let writer = Self { queue, health: Arc::clone(&health), budget: Budget::new(clock::now()) };
        Ok((writer, Writing(handle), health, lessons))
    }

    /// Takes what belongs into the history. Never waits.
    pub fn take(&mut self, moments: &[Moment], policy: &Arc<Policy>) {
        let now = clock::now();
        let mut chosen: Vec<Moment> = Vec::new();
        let room = MAX_WAITING.saturating_sub(self.health.n_waiting.load(Ordering::Relaxed));
        for moment in moments {
            match Wanted::of(moment, policy) {
                Wanted::No => {}
                Wanted::Ordinary if !self.budget.allows(now) => self.health.lose(Loss::Ordinary, 1),
                // The latter half is for what is not ordinary.
                Wanted::Ordinary if chosen.len() >= room.saturating_sub(MAX_WAITING / 2) => {
                    self.health.lose(Loss::Queue, 1);
                }
                _ if chosen.len() >= room => self.health.lose(Loss::Queue, 1),
                _ => chosen.push(moment.clone()),
            }
        }
        if chosen.is_empty() {
            return;
        }
        let n = chosen.len();
        let batch = Batch {
            offset_ns: clock::unix_offset_ns(),
            policy: Arc::clone(policy),
            moments: chosen,
        };
        self.health.n_waiting.fetch_add(n, Ordering::Relaxed);
        if self.queue.try_send(Message::Batch(batch)).is_err() {
            self.health.n_waiting.fetch_sub(n, Ordering::Relaxed);
            self.health.lose(Loss::Queue, n);
        }
    }

    /// Takes what was learned. Never waits.
    pub fn learn(&self, lessons: Vec<Lesson>, limits: Vec<LimitRow>) {
        let n = lessons.len();
        let learning = Learning { lessons, limits: Some(limits) };
        if self.queue.try_send(Message::Learning(learning)).is_err() {
            self.health.lose(Loss::Queue, n);
        }
    }
}

/// The writing thread.
#[derive(Debug)]
struct Thread {
    options: Options,
    health: Arc<Health>,
    /// On the folder, once it could be had.
    claim: Option<files::Lock>,
    database: Option<Database>,
    tried: Time,
    tidied: Time,
    /// The trouble that was told of.
    told: Option<String>,
    batches: Vec<Batch>,
    learning: Learning,
}

impl Thread {
    fn run(mut self, queue: &Receiver<Message>) {
        let mut committed = clock::now();
        loop {
            let message = queue.recv_timeout(Duration::from_millis(COMMIT_MS));
            let is_over = matches!(message, Err(RecvTimeoutError::Disconnected));
            match message {
                Ok(Message::Batch(batch)) => self.batches.push(batch),
                Ok(Message::Learning(learning)) => self.take_learning(learning),
                Err(_) => {}
            }
            let now = clock::now();
            let n_waiting = self.health.n_waiting.load(Ordering::Relaxed);
            if now.ms_since(committed) >= COMMIT_MS || n_waiting > MAX_WAITING / 4 || is_over {
                committed = now;
                self.commit(now);
            }
            if now.ms_since(self.tidied) >= TIDY_MS {
                self.tidied = now;
                self.tidy(now);
            }
            if is_over {
                return;
            }
        }
    }

    /// The latest of each destination.
    fn take_learning(&mut self, Learning { lessons, limits }: Learning) {
        for lesson in lessons {
            self.learning.lessons.retain(|known| known.destination != lesson.destination);
            self.learning.lessons.push(lesson);
        }
        self.learning.limits = limits.or(self.learning.limits.take());
    }

    fn open(&mut self) -> Result<(), Error> {
        if self.claim.is_none() {
            self.claim = Some(claim(&self.options.folder)?);
        }
        self.database = Some(Database::open(&self.options)?);
        self.tidy(clock::now());
        Ok(())
    }

    fn note(&mut self, opened: Result<(), Error>) {
        if let Err(error) = opened {
            self.trouble(&error);
        }
    }

    fn commit(&mut self, now: Time) {
        if self.database.is_none() && now.ms_since(self.tried) >= RETRY_MS {
            self.tried = now;
            let opened = self.open();
            self.note(opened);
        }
        let batches = std::mem::take(&mut self.batches);
        let n: usize = batches.iter().map(|batch| batch.moments.len()).sum();
        self.health.n_waiting.fetch_sub(n, Ordering::Relaxed);
        let has_learned = !self.learning.lessons.is_empty() || self.learning.limits.is_some();
        if n == 0 && !has_learned {
            return;
        }
        if self.write(&batches) {
            self.learning = Learning::default();
            self.health.n_written.fetch_add(u64::try_from(n).unwrap_or(0), Ordering::Relaxed);
        } else {
            self.health.lose(Loss::Disk, n);
        }
    }

    /// Whether it is written.
    fn write(&mut self, batches: &[Batch]) -> bool {
        let Some(database) = &mut self.database else {
            return false;
        };
        let Err(error) = database.write(batches, &self.learning) else {
            self.all_is_well();
            return true;
        };
        if error.is_corrupt() {
            return self.begin_anew(&error)
                && self
                    .database
                    .as_mut()
                    .is_some_and(|database| database.write(batches, &self.learning).is_ok());
        }
        self.trouble(&error);
        false
    }

    fn begin_anew(&mut self, error: &Error) -> bool {
        self.database = None;
        if let Err(error) = database::set_aside(&self.options.folder, error) {
            self.trouble(&error);
            return false;
        }
        let opened = self.open();
        self.note(opened);
        self.database.is_some()
    }

    fn tidy(&mut self, now: Time) {
        let Some(database) = &mut self.database else {
            return;
        };
        let tidied = database.keep_bounds(now).and_then(|()| database.bytes());
        match tidied {
            Ok(bytes) => {
                self.health.n_bytes.store(bytes, Ordering::Relaxed);
                self.all_is_well();
            }
            Err(error) if error.is_corrupt() => drop(self.begin_anew(&error)),
            Err(error) => self.trouble(&error),
        }
    }

    /// Says what is wrong, once.
    fn trouble(&mut self, error: &Error) {
        let text = error.to_string();
        if self.told.as_ref() != Some(&text) {
            say(&format!("warning: nothing is written down at the moment: {text}"));
            self.health.set_trouble(Some(text.clone()));
            self.told = Some(text);
        }
    }

    fn all_is_well(&mut self) {
        if self.told.take().is_some() {
            let n_lost = self.health.lost(Loss::Disk);
            say(&format!("the history is written again; {n_lost} records were lost so far"));
            self.health.set_trouble(None);
        }
    }
}
