//! What processes showed of themselves while they lived, for questions that come after their end. Read on a thread of its
//! own, once when a process is met and once more when it has loaded what it needs.

use super::process_clues::Traces;
use crate::{
    kernel::{clock, hooks::ProcessFiles},
    model::observed::socket::Time,
};
use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Processes that are remembered; those that were met first are forgotten first.
const MAX_PROCESSES: usize = 4096;
/// Processes that wait to be looked at: more are met again by the next snapshot.
const MAX_WAITING: usize = 1024;
/// The second look comes after this time: interpreters load libraries as they go.
const SECOND_LOOK_MS: u64 = 60_000;
/// Between two looks, so that a host with many processes costs no more at a time.
const PAUSE: Duration = Duration::from_millis(5);

/// What is known of one process, from one moment on: its id may be used again.
#[derive(Debug)]
struct KeptProcess {
    /// When it started, in ticks since boot.
    started: u64,
    /// When it was met.
    met: Time,
    clues: Option<Arc<Traces>>,
}

#[derive(Debug, Default)]
struct MetProcesses {
    /// Of one id the last is the latest.
    by_pid: HashMap<u32, Vec<KeptProcess>>,
    /// In the order in which they were met.
    order: VecDeque<(u32, u64)>,
}

/// The clues of processes, live and dead.
#[derive(Debug, Default)]
pub(crate) struct KeptClues(Mutex<MetProcesses>);

/// Where processes are reported that own connections.
#[derive(Debug)]
pub(crate) struct ClueReader {
    kept: Arc<KeptClues>,
    waiting: SyncSender<(u32, u64)>,
}

impl KeptClues {
    fn locked(&self) -> MutexGuard<'_, MetProcesses> {
        // It is whole between two calls, even if a reader has panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the process with this id showed that lived at a moment.
    pub(crate) fn of(&self, pid: u32, at: Time) -> Option<Arc<Traces>> {
        let processes = self.locked();
        let all = processes.by_pid.get(&pid)?;
        let then = all.iter().rev().find(|process| process.met <= at).or_else(|| all.first())?;
        then.clues.clone()
    }

    /// A process that has shown this.
    #[cfg(test)]
    pub(crate) fn show(&self, pid: u32, clues: Traces) {
        self.locked().enter(pid, 1, Time(0));
        self.keep(pid, 1, clues);
    }

    /// Starts the thread that reads, by `files` what /proc refuses; it ends when the reader is dropped.
    pub(crate) fn start(
        self: Arc<Self>,
        files: Option<ProcessFiles>,
    ) -> io::Result<(ClueReader, JoinHandle<()>)> {
        let (waiting, met) = mpsc::sync_channel(MAX_WAITING);
        let reader = ClueReader { kept: Arc::clone(&self), waiting };
        let thread =
            std::thread::Builder::new().name("clues".to_owned()).spawn(move || match files {
                Some(files) => self.read_all(&met, |pid| Traces::of_any_process(pid, &files)),
                None => self.read_all(&met, Traces::of_process),
            })?;
        Ok((reader, thread))
    }

    fn read_all(&self, met: &Receiver<(u32, u64)>, look: impl Fn(u32) -> Traces) {
        let mut second: VecDeque<(Time, u32, u64)> = VecDeque::new();
        loop {
            match met.recv_timeout(Duration::from_secs(1)) {
                Ok((pid, started)) => {
                    self.keep(pid, started, look(pid));
                    if second.len() < MAX_PROCESSES {
                        second.push_back((clock::now(), pid, started));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let is_due = |&(at, ..): &(Time, u32, u64)| clock::now().ms_since(at) >= SECOND_LOOK_MS;
            if let Some((_, pid, started)) = second.pop_front_if(|next| is_due(next)) {
                self.keep(pid, started, look(pid));
            }
            clock::wait(PAUSE);
        }
    }

    fn keep(&self, pid: u32, started: u64, clues: Traces) {
        let clues = Arc::new(clues.of_known_clients());
        let mut processes = self.locked();
        let all = processes.by_pid.get_mut(&pid).into_iter().flatten();
        let Some(process) = all.last().filter(|process| process.started == started) else {
            return;
        };
        // What it showed before stays, if it is gone, ends just now, or its id is another's by now.
        let is_better = |before: &Arc<Traces>| {
            before.comm == clues.comm && before.are_files_read <= clues.are_files_read
        };
        if clues.comm.is_some() && process.clues.as_ref().is_none_or(is_better) {
            process.clues = Some(clues);
        }
    }
}

impl ClueReader {
    /// Takes processes, each with its start in ticks since boot. Never waits.
    pub(crate) fn meet(&self, found: &[(u32, u64)], now: Time) {
        let mut processes = self.kept.locked();
        for &(pid, started) in found {
            if processes.knows(pid, started) {
                continue;
            }
            if self.waiting.try_send((pid, started)).is_err() {
                return;
            }
            processes.enter(pid, started, now);
        }
    }
}

impl MetProcesses {
    fn knows(&self, pid: u32, started: u64) -> bool {
        self.by_pid.get(&pid).is_some_and(|all| all.iter().any(|it| it.started == started))
    }

    fn enter(&mut self, pid: u32, started: u64, met: Time) {
        if self.order.len() >= MAX_PROCESSES
            && let Some((old_pid, old_start)) = self.order.pop_front()
            && let Some(all) = self.by_pid.get_mut(&old_pid)
        {
            all.retain(|process| process.started != old_start);
            if all.is_empty() {
                self.by_pid.remove(&old_pid);
            }
        }
        self.order.push_back((pid, started));
        let process = KeptProcess { started, met, clues: None };
        self.by_pid.entry(pid).or_default().push(process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(comm: &str) -> Traces {
        Traces { mapped: ["/libpq.so.5".to_owned()].into(), ..Traces::of_name(comm) }
    }

    fn comm_of(kept: &KeptClues, pid: u32, at: u64) -> Option<String> {
        kept.of(pid, Time(at)).and_then(|clues| clues.comm.clone())
    }

    /// A reader whose thread is the test itself.
    fn reader() -> (Arc<KeptClues>, ClueReader, Receiver<(u32, u64)>) {
        let kept = Arc::new(KeptClues::default());
        let (waiting, met) = mpsc::sync_channel(MAX_WAITING);
        (Arc::clone(&kept), ClueReader { kept, waiting }, met)
    }

    #[test]
    fn what_a_process_showed_is_known_after_its_end_and_not_of_another_with_its_id() {
        let (kept, reader, met) = reader();
        reader.meet(&[(7, 100)], Time(10));
        reader.meet(&[(7, 100)], Time(20));
        assert_eq!(met.try_iter().collect::<Vec<_>>(), [(7, 100)], "once");
        assert_eq!(comm_of(&kept, 7, 30), None, "nobody has looked");
        kept.keep(7, 100, named("psql"));
        assert_eq!(comm_of(&kept, 7, 30).as_deref(), Some("psql"));
        let libraries = kept.of(7, Time(30)).unwrap().mapped.clone();
        assert_eq!(libraries, ["/libpq.so.5".to_owned()].into());
        // It ends, and its id is used again.
        kept.keep(7, 100, Traces::default());
        reader.meet(&[(7, 900)], Time(50));
        kept.keep(7, 900, named("node"));
        kept.keep(7, 100, named("node"));
        assert_eq!(comm_of(&kept, 7, 40).as_deref(), Some("psql"));
        assert_eq!(comm_of(&kept, 7, 60).as_deref(), Some("node"));
        assert_eq!(comm_of(&kept, 8, 60), None);
    }

    #[test]
    fn an_id_that_is_another_name_by_now_teaches_nothing() {
        let (kept, reader, _met) = reader();
        reader.meet(&[(7, 100)], Time(10));
        kept.keep(7, 100, named("psql"));
        kept.keep(7, 100, named("cron"));
        assert_eq!(comm_of(&kept, 7, 30).as_deref(), Some("psql"));
    }

    #[test]
    fn a_process_that_ends_while_it_is_looked_at_keeps_what_it_showed_before() {
        let (kept, reader, _met) = reader();
        reader.meet(&[(7, 100)], Time(10));
        let is_known = || kept.of(7, Time(30)).is_some_and(|clues| !clues.mapped.is_empty());
        kept.keep(7, 100, Traces::of_name("ruby"));
        assert!(!is_known());
        kept.keep(7, 100, Traces { are_files_read: true, ..named("ruby") });
        assert!(is_known(), "the second look saw more");
        // A process that has ended keeps its name until its parent has read its status.
        kept.keep(7, 100, Traces::of_name("ruby"));
        assert!(is_known());
    }

    #[test]
    fn processes_are_bounded_and_those_that_find_no_room_are_met_again() {
        let (kept, reader, met) = reader();
        let many: Vec<(u32, u64)> = (0..5000).map(|pid| (pid, 1)).collect();
        reader.meet(&many, Time(1));
        assert_eq!(met.try_iter().count(), MAX_WAITING);
        for _ in 0..5 {
            reader.meet(&many, Time(2));
            met.try_iter().for_each(drop);
        }
        let processes = kept.locked();
        assert_eq!((processes.order.len(), processes.by_pid.len()), (MAX_PROCESSES, MAX_PROCESSES));
    }

    #[test]
    fn processes_that_name_all_they_can_as_long_as_they_can_take_little() {
        let hostile = Traces::hostile();
        let (kept, reader, met) = reader();
        for pid in 0..u32::try_from(MAX_PROCESSES).unwrap() {
            reader.meet(&[(pid, 1)], Time(1));
            met.try_iter().for_each(drop);
            kept.keep(pid, 1, hostile.clone());
        }
        let of_one = |pid| serde_json::to_vec(&*kept.of(pid, Time(2)).unwrap()).unwrap().len();
        let n_bytes: usize = (0..u32::try_from(MAX_PROCESSES).unwrap()).map(of_one).sum();
        assert!(n_bytes > MAX_PROCESSES * 1000, "it shows all that is kept: {n_bytes}");
        assert!(n_bytes < 12 << 20, "{n_bytes}");
    }

    #[test]
    fn the_thread_reads_and_ends_with_its_reader() {
        let kept = Arc::new(KeptClues::default());
        let (reader, thread) = Arc::clone(&kept).start(None).unwrap();
        let own = std::process::id();
        reader.meet(&[(own, 1)], Time(1));
        let began = clock::now();
        while kept.of(own, Time(2)).is_none() {
            assert!(clock::now().ms_since(began) < 30_000, "nobody looked");
            clock::wait(PAUSE);
        }
        drop(reader);
        thread.join().unwrap();
    }
}
