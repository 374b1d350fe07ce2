//! The thread that writes the history. The watching thread only ever puts something into a bounded queue:
//! what finds no room there, or no room on the disk, is counted, and the agent goes on.

use super::{
    Error, Health, Loss, Options, Writing, claim,
    database::{self, Batch, Database, Learning},
    sampling::{Budget, Retention},
};
use crate::{
    files,
    kernel::clock,
    log::pace::{Spell, Turn},
    model::{
        judgement::{
            learned::{LearnedRow, Lesson},
            verdict::Surroundings,
        },
        observed::socket::Time,
        table::happening::Happening,
    },
};
use std::{
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    time::Duration,
};
use tracing::{info, warn};

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

/// What goes through the queue.
#[derive(Debug)]
enum WriterMessage {
    Batch(Batch),
    Learning(Learning),
}

/// The end of the queue where things are put in.
#[derive(Debug)]
pub(crate) struct HistoryWriter {
    queue: SyncSender<WriterMessage>,
    health: Arc<Health>,
    budget: Budget,
}

impl HistoryWriter {
    /// Opens the history, and starts the thread. What agents before this one learned comes with it. A
    /// history that cannot be written does not keep an agent from running: it says so, and tries again. One
    /// that another agent writes does.
    pub(crate) fn start(
        options: Options,
    ) -> Result<(Self, Writing, Arc<Health>, Vec<Lesson>), Error> {
        let health = Arc::new(Health::of(options.folder.clone()));
        let mut thread = Thread {
            options,
            health: Arc::clone(&health),
            claim: None,
            database: None,
            tried: clock::now(),
            tidied: clock::now(),
            spell: Spell::default(),
            batches: Vec::new(),
            learning: Learning::default(),
        };
        match thread.open() {
            Err(error @ Error::Taken { .. }) => return Err(error),
            opened => thread.note(opened),
        }
        let lessons = thread.database.as_ref().map_or_else(Vec::new, |database| {
            database.lessons().unwrap_or_else(|error| {
                warn!(cause = %error, "what was learned before is lost");
                Vec::new()
            })
        });
        let (queue, waiting) = mpsc::sync_channel(MAX_BATCHES);
        let handle = std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || thread.run(&waiting))
            .map_err(Error::Thread)?;
        let writer = Self { queue, health: Arc::clone(&health), budget: Budget::new(clock::now()) };
        let writing = Writing::new(handle, Arc::clone(&health));
        Ok((writer, writing, health, lessons))
    }

    /// Takes what belongs into the history. Never waits.
    pub(crate) fn take(&mut self, happenings: &[Happening], around: &Arc<Surroundings>) {
        let now = clock::now();
        let mut chosen: Vec<Happening> = Vec::new();
        let room = MAX_WAITING.saturating_sub(self.health.n_waiting.load(Ordering::Relaxed));
        for happening in happenings {
            match Retention::of(happening, around) {
                Retention::No => {}
                Retention::Ordinary if !self.budget.allows(now) => {
                    self.health.lose(Loss::Ordinary, 1);
                }
                // The latter half is for what is not ordinary.
                Retention::Ordinary if chosen.len() >= room.saturating_sub(MAX_WAITING / 2) => {
                    self.health.lose(Loss::Queue, 1);
                }
                _ if chosen.len() >= room => self.health.lose(Loss::Queue, 1),
                _ => chosen.push(happening.clone()),
            }
        }
        if chosen.is_empty() {
            return;
        }
        let n = chosen.len();
        let batch = Batch {
            offset_ns: clock::unix_offset_ns(),
            around: Arc::clone(around),
            happenings: chosen,
        };
        self.health.n_waiting.fetch_add(n, Ordering::Relaxed);
        if self.queue.try_send(WriterMessage::Batch(batch)).is_err() {
            self.health.n_waiting.fetch_sub(n, Ordering::Relaxed);
            self.health.lose(Loss::Queue, n);
        }
    }

    /// Takes what was learned. Never waits.
    pub(crate) fn learn(&self, lessons: Vec<Lesson>, rows: Vec<LearnedRow>) {
        let n = lessons.len();
        let learning = Learning { lessons, rows: Some(rows) };
        if self.queue.try_send(WriterMessage::Learning(learning)).is_err() {
            self.health.lose(Loss::Queue, n);
        }
    }
}

#[derive(Debug)]
struct Thread {
    options: Options,
    health: Arc<Health>,
    /// On the folder, once it could be had.
    claim: Option<files::Lock>,
    database: Option<Database>,
    tried: Time,
    tidied: Time,
    /// The time in which nothing is written.
    spell: Spell,
    batches: Vec<Batch>,
    learning: Learning,
}

/// What became of batches.
enum WriteOutcome {
    Yes,
    No,
    /// Somebody else has locked the file: they wait, as long as there is room.
    Later,
}

impl Thread {
    fn run(mut self, queue: &Receiver<WriterMessage>) {
        let mut committed = clock::now();
        loop {
            let message = queue.recv_timeout(Duration::from_millis(COMMIT_MS));
            let is_over = matches!(message, Err(RecvTimeoutError::Disconnected));
            match message {
                Ok(WriterMessage::Batch(batch)) => self.batches.push(batch),
                Ok(WriterMessage::Learning(learning)) => self.take_learning(learning),
                Err(_) => {}
            }
            let now = clock::now();
            let n_waiting = self.health.n_waiting.load(Ordering::Relaxed);
            if now.ms_since(committed) >= COMMIT_MS || n_waiting > MAX_WAITING / 4 || is_over {
                self.commit(now);
                // Not before: a commit that waited for a lock is not repeated for each batch that came meanwhile.
                committed = clock::now();
            }
            if now.ms_since(self.tidied) >= TIDY_MS && !is_over {
                self.tidied = now;
                self.look_for_the_file();
                self.tidy(now);
            }
            if is_over {
                let left = self.batches.iter().map(|batch| batch.happenings.len()).sum();
                self.health.lose(Loss::Disk, left);
                let ended = self.spell.finish();
                self.tell_turn(ended, "");
                return;
            }
        }
    }

    /// The latest of each destination.
    fn take_learning(&mut self, Learning { lessons, rows }: Learning) {
        for lesson in lessons {
            self.learning.lessons.retain(|known| !lesson.is_of_the_same(known));
            self.learning.lessons.push(lesson);
        }
        self.learning.rows = rows.or(self.learning.rows.take());
    }

    fn open(&mut self) -> Result<(), Error> {
        if self.claim.is_none() {
            self.claim = Some(claim(&self.options.folder)?);
        }
        self.database = Some(Database::open(&self.options)?);
        // It has written that this run began.
        self.all_is_well(clock::now());
        self.tidy(clock::now());
        Ok(())
    }

    fn note(&mut self, opened: Result<(), Error>) {
        if let Err(error) = opened {
            self.trouble(&error, clock::now());
        }
    }

    fn commit(&mut self, now: Time) {
        if self.database.is_none() && now.ms_since(self.tried) >= RETRY_MS {
            self.tried = now;
            let opened = self.open();
            self.note(opened);
        }
        let batches = std::mem::take(&mut self.batches);
        let n: usize = batches.iter().map(|batch| batch.happenings.len()).sum();
        self.health.n_waiting.fetch_sub(n, Ordering::Relaxed);
        let has_learned = !self.learning.lessons.is_empty() || self.learning.rows.is_some();
        if n == 0 && !has_learned {
            return;
        }
        match self.write(&batches, now) {
            WriteOutcome::Yes => {
                self.learning = Learning::default();
                self.health.n_written.fetch_add(u64::try_from(n).unwrap_or(0), Ordering::Relaxed);
            }
            WriteOutcome::No => self.health.lose(Loss::Disk, n),
            WriteOutcome::Later => {
                self.health.n_waiting.fetch_add(n, Ordering::Relaxed);
                self.batches = batches;
            }
        }
    }

    fn write(&mut self, batches: &[Batch], now: Time) -> WriteOutcome {
        let Some(database) = &mut self.database else {
            return WriteOutcome::No;
        };
        let Err(error) = database.write(batches, &self.learning) else {
            self.all_is_well(now);
            return WriteOutcome::Yes;
        };
        if error.is_corrupt() {
            let is_anew = self.begin_anew(&error)
                && self
                    .database
                    .as_mut()
                    .is_some_and(|database| database.write(batches, &self.learning).is_ok());
            return if is_anew { WriteOutcome::Yes } else { WriteOutcome::No };
        }
        self.trouble(&error, now);
        if error.is_busy() { WriteOutcome::Later } else { WriteOutcome::No }
    }

    /// A file that somebody deleted or moved takes what is written, and nobody finds it there.
    fn look_for_the_file(&mut self) {
        let is_gone = self.database.as_ref().is_some_and(|database| !database.is_in_place());
        if is_gone {
            warn!("the history was deleted or moved away, and is begun anew");
            self.database = None;
            let opened = self.open();
            self.note(opened);
        }
    }

    fn begin_anew(&mut self, error: &Error) -> bool {
        self.database = None;
        if let Err(error) = database::set_aside(&self.options.folder, error) {
            self.trouble(&error, clock::now());
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
            // That is no proof: on a full disk it succeeds, for it frees what it takes.
            Ok(bytes) => {
                self.health.n_bytes.store(bytes, Ordering::Relaxed);
                if !self.health.is_in_trouble() {
                    self.all_is_well(now);
                }
            }
            Err(error) if error.is_corrupt() => drop(self.begin_anew(&error)),
            Err(error) => self.trouble(&error, now),
        }
    }

    /// Notes an error; the log reports it when it begins.
    fn trouble(&mut self, error: &Error, now: Time) {
        let text = error.to_string();
        let turn = self.spell.see(true, now);
        self.tell_turn(turn, &text);
        self.health.set_trouble(Some(text));
    }

    /// Notes a success; the log reports it when it has lasted for a while.
    fn all_is_well(&mut self, now: Time) {
        self.health.set_trouble(None);
        let turn = self.spell.see(false, now);
        self.tell_turn(turn, "");
    }

    fn tell_turn(&self, turn: Option<Turn>, cause: &str) {
        match turn {
            Some(Turn::Begins) => {
                warn!(cause, "the history is not written at the moment");
            }
            Some(Turn::Ends) => {
                info!(lost = self.health.lost(Loss::Disk), "the history is written again");
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::tests_support::logged,
        store::tests::{StateFolder, around, idle_drop},
    };

    const fn at(second: u64) -> Time {
        Time((1_000_000 + second) * 1_000_000_000)
    }

    fn thread(folder: &StateFolder) -> Thread {
        let options = folder.options();
        let health = Arc::new(Health::of(options.folder.clone()));
        let mut thread = Thread {
            claim: None,
            options,
            health,
            database: None,
            tried: at(0),
            tidied: at(0),
            spell: Spell::default(),
            batches: Vec::new(),
            learning: Learning::default(),
        };
        thread.open().unwrap();
        thread
    }

    fn commit_one(thread: &mut Thread, now: Time) {
        let happenings = vec![idle_drop(1, 1000)];
        thread.health.n_waiting.fetch_add(1, Ordering::Relaxed);
        thread.batches.push(Batch { offset_ns: 0, around: around(), happenings });
        thread.commit(now);
    }

    #[test]
    fn while_writing_fails_and_tidying_does_not_there_is_one_line_and_one_when_it_is_over() {
        let folder = StateFolder::new();
        let mut thread = thread(&folder);
        let other = rusqlite::Connection::open(folder.options().folder.join(super::super::FILE));
        let other = other.unwrap();
        other
            .execute_batch(
                "CREATE TRIGGER full BEFORE INSERT ON deaths
                 BEGIN SELECT RAISE(ABORT, 'disk \x1b[31mis full'); END",
            )
            .unwrap();
        let lines = logged(|| {
            for second in 0..60 {
                commit_one(&mut thread, at(second));
                thread.tidy(at(second));
                assert!(thread.health.status().trouble.unwrap().contains("full"));
            }
            other.execute_batch("DROP TRIGGER full").unwrap();
            for second in 60..90 {
                commit_one(&mut thread, at(second));
                thread.tidy(at(second));
                assert_eq!(thread.health.status().trouble, None);
            }
        });
        let said: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
        assert_eq!(said.len(), 2, "{lines:?}");
        assert!(said[0].contains("not written") && said[1].contains("written again"), "{said:?}");
        assert!(lines[0]["cause"].as_str().unwrap().contains("is full"), "{lines:?}");
        assert_eq!((&lines[0]["level"], &lines[1]["level"]), (&"warn".into(), &"info".into()));
        assert_eq!(lines[1]["lost"], 60);
    }

    #[test]
    fn while_somebody_else_locks_it_records_wait_and_what_is_left_at_the_end_is_counted() {
        let folder = StateFolder::new();
        let (mut writer, writing, health, _) = HistoryWriter::start(folder.options()).unwrap();
        let file = folder.options().folder.join(super::super::FILE);
        let other = rusqlite::Connection::open(&file).unwrap();
        let until = |what: &str, is_so: &dyn Fn() -> bool| {
            let began = clock::now();
            while !is_so() {
                assert!(clock::now().ms_since(began) < 60_000, "{what}");
                std::thread::yield_now();
            }
        };
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        writer.take(&[idle_drop(1, 1000)], &around());
        until("it is in trouble", &|| health.status().trouble.is_some());
        other.execute_batch("ROLLBACK").unwrap();
        until("it is written after all", &|| health.status().written == 1);
        assert_eq!((health.lost(Loss::Disk), health.status().trouble), (0, None));

        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        writer.take(&[idle_drop(2, 2000)], &around());
        let began = clock::now();
        drop(writer);
        writing.finish().unwrap();
        let took_ms = clock::now().ms_since(began);
        assert!(took_ms < 20_000, "{took_ms} ms: it waits for the lock, not for ever");
        assert_eq!(health.lost(Loss::Disk), 1);
    }

    #[test]
    fn a_history_that_was_deleted_or_moved_away_is_begun_anew_where_it_belongs() {
        let folder = StateFolder::new();
        let mut thread = thread(&folder);
        let file = folder.options().folder.join(super::super::FILE);
        let n_deaths = || -> u32 {
            let database = rusqlite::Connection::open(&file).unwrap();
            database.query_row("SELECT count(*) FROM deaths", [], |row| row.get(0)).unwrap()
        };
        let lines = logged(|| {
            commit_one(&mut thread, at(0));
            thread.look_for_the_file();
            assert_eq!(n_deaths(), 1, "it is there, and left alone");
            for suffix in ["", "-wal", "-shm"] {
                drop(std::fs::remove_file(format!("{}{suffix}", file.display())));
            }
            thread.look_for_the_file();
            commit_one(&mut thread, at(1));
            assert_eq!(n_deaths(), 1, "the new one");
            std::fs::rename(&file, file.with_extension("old")).unwrap();
            thread.look_for_the_file();
            commit_one(&mut thread, at(2));
            commit_one(&mut thread, at(3));
            assert_eq!(n_deaths(), 2);
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines.iter().all(|line| line["message"].as_str().unwrap().contains("moved away")));
    }

    #[test]
    fn where_nothing_fails_nothing_is_said() {
        let folder = StateFolder::new();
        let mut thread = thread(&folder);
        let lines = logged(|| {
            for second in 0..60 {
                commit_one(&mut thread, at(second));
                thread.tidy(at(second));
            }
        });
        assert!(lines.is_empty(), "{lines:?}");
    }

    #[test]
    fn a_thread_that_has_panicked_is_noticed_and_a_live_one_is_not_dead() {
        let folder = StateFolder::new();
        let (writer, writing, health, _) = HistoryWriter::start(folder.options()).unwrap();
        assert!(!writing.is_dead());
        drop(writer);
        writing.finish().unwrap();
        assert_eq!(health.status().trouble, None);
        let hushed = || std::panic::resume_unwind(Box::new("a test"));
        let writing = Writing::new(std::thread::spawn(hushed), Arc::clone(&health));
        while !writing.is_dead() {
            std::thread::yield_now();
        }
        assert!(health.status().trouble.unwrap().contains("has ended"));
        writing.finish().unwrap_err();
    }
}
