//! The thread that writes the history. The watching thread only ever puts something into a bounded queue:
//! what is over its budget, or finds no room there or on the disk, is counted, and the agent goes on.

use super::{
    Error, Health, Options, Writing,
    budget::admission::{self, Admission},
    claim,
    database::{self, Database},
    not_kept::{Loss, LossSums},
    queue::{self, Learning, Misfit, Queue, Record, Taken},
};
use crate::{
    files,
    kernel::clock,
    log::pace::{Spell, Turn},
    model::{
        judgement::{
            learned::{LearnedRow, Lesson},
            verdict::Surroundings,
            worth::Worth,
        },
        observed::socket::Time,
        table::{happening::Happening, orphan_owners::OrphanOwner},
    },
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tracing::{info, warn};

/// Time between two commits.
const COMMIT_MS: u64 = 1000;
/// Time between two looks at age and size.
const TIDY_MS: u64 = 10_000;
/// Time between two attempts to open a file that could not be opened.
const RETRY_MS: u64 = 5000;

/// The end of the queue where things are put in.
#[derive(Debug)]
pub(crate) struct HistoryWriter {
    queue: Arc<Queue>,
    health: Arc<Health>,
    admission: Admission,
}

/// What agents before this one knew.
pub(crate) struct EarlierKnowledge {
    /// What they learned.
    pub(crate) lessons: Vec<Lesson>,
    /// Whose connections were that programs had closed, and nobody had answered.
    pub(crate) orphans: Vec<OrphanOwner>,
    /// Unix time minus monotonic time, as far as the wall clock is believed: one that began in 1970 makes nothing they learned
    /// a thing of the future.
    pub(crate) unix_offset_ns: i64,
}

impl HistoryWriter {
    /// Opens the history, and starts the thread. What agents before this one learned comes with it. A
    /// history that cannot be written does not keep an agent from running: it says so, and tries again. One
    /// that another agent writes does.
    pub(crate) fn start(
        options: Options,
    ) -> Result<(Self, Writing, Arc<Health>, EarlierKnowledge), Error> {
        let health = Arc::new(Health::of(options.folder.clone()));
        let queue = Arc::<Queue>::default();
        let now = clock::now();
        let mut thread = Thread::new(options, Arc::clone(&health), Arc::clone(&queue), now);
        match thread.open() {
            Err(error @ Error::Taken { .. }) => return Err(error),
            opened => thread.note(opened),
        }
        let mut earlier = EarlierKnowledge {
            lessons: Vec::new(),
            orphans: Vec::new(),
            unix_offset_ns: clock::unix_offset_ns(),
        };
        if let Some(database) = &thread.database {
            earlier.unix_offset_ns = database.believed_offset_ns();
            let known = database.lessons().and_then(|lessons| Ok((lessons, database.orphans()?)));
            (earlier.lessons, earlier.orphans) = known.unwrap_or_else(|error| {
                warn!(cause = %error, "what was learned before is lost");
                (Vec::new(), Vec::new())
            });
        }
        let handle = std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || thread.run())
            .map_err(Error::Thread)?;
        let writer = Self { queue, health: Arc::clone(&health), admission: Admission::new(now) };
        let writing = Writing::new(handle);
        Ok((writer, writing, health, earlier))
    }

    /// Takes what belongs into the history. Never waits.
    pub(crate) fn take(&mut self, happenings: &[Happening], around: &Arc<Surroundings>) {
        let (now, offset_ns) = (clock::now(), clock::unix_offset_ns());
        let mut records: Vec<Record> = Vec::new();
        for happening in happenings {
            let Some(worth) = admission::worth(happening, around) else {
                continue;
            };
            if self.admission.allows(worth, happening, now) {
                let (around, happening) = (Arc::clone(around), happening.clone());
                records.push(Record { offset_ns, around, worth, happening });
            } else {
                let at_ns = clock::unix_ns(happening.at, offset_ns);
                self.health.lose(Loss::Budget, worth, at_ns, 1);
            }
        }
        if !records.is_empty() {
            self.queue.put(records, |refused| self.health.lose_record(queue::REFUSED, refused));
        }
    }

    /// Takes calls of connections that live, whatever else there is to write: their number is bounded. Never waits.
    pub(crate) fn take_lasting_calls(&self, calls: Vec<(Happening, Arc<Surroundings>)>) {
        let (offset_ns, worth) = (clock::unix_offset_ns(), Worth::Setting);
        let record = |(happening, around)| Record { offset_ns, around, worth, happening };
        let records = calls.into_iter().map(record).collect();
        self.queue.put(records, |refused| self.health.lose_record(queue::REFUSED, refused));
    }

    /// Events were lost before the agent got them. A death of silence may be among them.
    pub(crate) fn take_loss(&self, n: u64) {
        self.health.lose(
            Loss::Kernel,
            Worth::Silence,
            clock::unix_ns(clock::now(), clock::unix_offset_ns()),
            n,
        );
    }

    /// Takes what was learned. Never waits.
    pub(crate) fn learn(&self, lessons: Vec<Lesson>, rows: Vec<LearnedRow>) {
        self.queue.learn(Learning { lessons, rows: Some(rows) });
    }
}

impl Drop for HistoryWriter {
    fn drop(&mut self) {
        self.queue.finish();
    }
}

#[derive(Debug)]
struct Thread {
    options: Options,
    health: Arc<Health>,
    queue: Arc<Queue>,
    /// On the folder, once it could be had.
    claim: Option<files::Lock>,
    database: Option<Database>,
    tried: Time,
    tidied: Time,
    /// The time in which nothing is written.
    spell: Spell,
    /// What could not be written yet.
    records: Vec<Record>,
    learning: Learning,
}

/// What became of records.
enum WriteOutcome {
    /// But for these, which do not fit.
    Yes(Vec<Misfit>),
    No,
    /// Somebody else has locked the file: they wait, as long as there is room.
    Later,
}

impl Thread {
    fn new(options: Options, health: Arc<Health>, queue: Arc<Queue>, now: Time) -> Self {
        Self {
            options,
            health,
            queue,
            claim: None,
            database: None,
            tried: now,
            tidied: now,
            spell: Spell::default(),
            records: Vec::new(),
            learning: Learning::default(),
        }
    }

    fn run(mut self) {
        loop {
            let Taken { records, learning, is_over } =
                self.queue.take(Duration::from_millis(COMMIT_MS));
            self.records.extend(records);
            self.learning.merge(learning);
            let now = clock::now();
            self.commit(now);
            if is_over {
                self.give_up();
                let ended = self.spell.finish();
                self.tell_turn(ended, "");
                return;
            }
            if now.ms_since(self.tidied) >= TIDY_MS {
                self.tidied = now;
                self.look_for_the_file();
                self.tidy(now);
            }
        }
    }

    /// Counts what could not be written as lost.
    fn give_up(&mut self) {
        let records = std::mem::take(&mut self.records);
        for record in &records {
            self.health.lose_record(Loss::Disk, record);
        }
        self.queue.done(&records);
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
        let unwritten = std::mem::take(&mut *self.health.unwritten());
        if self.records.is_empty() && self.learning.is_empty() && unwritten.is_empty() {
            return;
        }
        let outcome = self.write(&unwritten, now);
        if !matches!(outcome, WriteOutcome::Yes(_)) {
            self.health.unwritten().merge(unwritten);
        }
        match outcome {
            WriteOutcome::Yes(misfits) => {
                self.learning = Learning::default();
                let records = std::mem::take(&mut self.records);
                self.health.lose_misfits(&records, &misfits);
                let n_written = records.len() - misfits.len();
                let n = u64::try_from(n_written).unwrap_or(u64::MAX);
                self.health.n_written.fetch_add(n, Ordering::Relaxed);
                self.queue.done(&records);
            }
            WriteOutcome::No => self.give_up(),
            WriteOutcome::Later => {}
        }
    }

    fn write(&mut self, unwritten: &LossSums, now: Time) -> WriteOutcome {
        let Some(database) = &mut self.database else {
            return WriteOutcome::No;
        };
        let error = match database.write(&self.records, &self.learning, unwritten) {
            Ok(misfits) => {
                self.all_is_well(now);
                return WriteOutcome::Yes(misfits);
            }
            Err(error) => error,
        };
        if error.is_corrupt() {
            let anew = self.begin_anew(&error).then_some(self.database.as_mut()).flatten();
            let written =
                anew.and_then(|anew| anew.write(&self.records, &self.learning, unwritten).ok());
            return written.map_or(WriteOutcome::No, WriteOutcome::Yes);
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
        let tidied = database.keep_bounds(now, &self.health).and_then(|()| database.bytes());
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
        let mut thread = Thread::new(options, health, Arc::default(), at(0));
        thread.open().unwrap();
        thread
    }

    fn commit_one(thread: &mut Thread, now: Time) {
        let happening = idle_drop(1, 1000);
        let worth = Worth::Silence;
        thread.records.push(Record { offset_ns: 0, around: around(), worth, happening });
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
    fn a_thread_that_has_panicked_has_finished_and_a_live_one_has_not() {
        let folder = StateFolder::new();
        let (writer, writing, ..) = HistoryWriter::start(folder.options()).unwrap();
        assert!(!writing.is_finished());
        drop(writer);
        writing.finish().unwrap();
        let hushed = || std::panic::resume_unwind(Box::new("a test"));
        let writing = Writing::new(std::thread::spawn(hushed));
        while !writing.is_finished() {
            std::thread::yield_now();
        }
        writing.finish().unwrap_err();
    }
}
