//! Notes of drills in the state folder: whose packets were dropped, and when. The agent learns nothing from deaths in that time, and
//! `why` says what they died of.

use super::rules::CutEnds;
use crate::{
    files::{self, SyncedLines},
    kernel::{clock, host},
    model::observed::{drilled_path::DrilledPath, socket::Time},
    view::life::Life,
};
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

const NAME: &str = "drills.jsonl";
/// What is longer begins anew: some thousand drills.
const MOST_BYTES: usize = 1 << 20;
/// Another drill writes for less.
const PATIENCE_MS: u64 = 2000;
const MOMENT: Duration = Duration::from_millis(10);
/// The agent, which reads them, is another user.
const MODE: Mode = Mode::from_raw_mode(0o644);
/// The kernel reports what happened at the end of a drill so much later.
const SLACK_SECONDS: f64 = 2.0;

/// The paths of one drill in one network namespace. The line of its end repeats that of its beginning, with the true end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DrillNote {
    /// The boot that the monotonic times are of.
    boot: String,
    /// The process that drills.
    pid: u32,
    /// Inode number of the network namespace.
    netns: u32,
    /// Both ends of each connection, ours first.
    ends: Vec<CutEnds>,
    /// When the paths were cut: Unix time.
    began: f64,
    /// When packets passed again, or are to pass again at the latest: Unix time.
    ended: f64,
    /// The same two, milliseconds of `CLOCK_MONOTONIC`.
    began_ms: u64,
    ended_ms: u64,
}

impl DrillNote {
    /// A drill that begins now, and lasts for this time at most.
    fn new(netns: u32, ends: Vec<CutEnds>, lasts: Duration) -> Self {
        let (now, began_ms) = (clock::unix_seconds(), clock::now().0 / 1_000_000);
        let lasts_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        Self {
            boot: host::boot_id(),
            pid: std::process::id(),
            netns,
            ends,
            began: now,
            ended: now + lasts.as_secs_f64(),
            began_ms,
            ended_ms: began_ms.saturating_add(lasts_ms),
        }
    }

    fn is_same_drill(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.pid, it.netns, it.began_ms);
        key(self) == key(other) && self.boot == other.boot
    }
}

/// A drill that goes on, and is noted down.
#[derive(Debug)]
pub(crate) struct NotedDrill {
    folder: PathBuf,
    /// None when their end is noted down.
    notes: Vec<DrillNote>,
}

impl NotedDrill {
    /// Notes down what is about to be cut, by network namespace, and waits until that is on disk.
    pub(crate) fn begin<'a>(
        folder: &Path,
        all: impl IntoIterator<Item = (u32, &'a [CutEnds])>,
        lasts: Duration,
    ) -> Result<Self, files::Error> {
        let note = |(netns, ends): (u32, &[CutEnds])| DrillNote::new(netns, ends.to_vec(), lasts);
        let notes: Vec<DrillNote> = all.into_iter().map(note).collect();
        append(folder, &notes)?;
        Ok(Self { folder: folder.to_owned(), notes })
    }

    /// Notes down that packets pass again.
    pub(crate) fn end(mut self) -> Result<(), files::Error> {
        self.note_end()
    }

    fn note_end(&mut self) -> Result<(), files::Error> {
        let mut notes = std::mem::take(&mut self.notes);
        for note in &mut notes {
            note.ended = clock::unix_seconds();
            note.ended_ms = clock::now().0 / 1_000_000;
        }
        if notes.is_empty() { Ok(()) } else { append(&self.folder, &notes) }
    }
}

impl Drop for NotedDrill {
    fn drop(&mut self) {
        // Where an error is on its way already.
        self.note_end().ok();
    }
}

fn append(folder: &Path, notes: &[DrillNote]) -> Result<(), files::Error> {
    let began = clock::now();
    let mut lines = loop {
        match SyncedLines::open::<DrillNote>(folder, NAME, MODE) {
            Err(files::Error::Held(_)) if clock::now().ms_since(began) < PATIENCE_MS => {
                clock::wait(MOMENT);
            }
            opened => break opened?.0,
        }
    };
    if lines.n_bytes() > MOST_BYTES { lines.replace(notes) } else { lines.add(notes) }
}

/// The drills that were noted down in a state folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NotedDrills(Vec<DrillNote>);

impl NotedDrills {
    /// Reads them; there may be none.
    pub(crate) fn read(folder: &Path) -> Result<Self, files::Error> {
        match files::text(&folder.join(NAME), MOST_BYTES * 2) {
            Ok(text) => Ok(Self::of_text(&text)),
            Err(error) if error.is_not_found() => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    fn of_text(text: &str) -> Self {
        let mut all: Vec<DrillNote> = Vec::new();
        for note in files::json_lines::<DrillNote>(text.as_bytes()) {
            match all.iter_mut().find(|known| known.is_same_drill(&note)) {
                Some(known) => *known = note,
                None => all.push(note),
            }
        }
        Self(all)
    }

    /// The paths that drills have cut since this boot.
    pub(crate) fn paths(&self) -> Vec<DrilledPath> {
        let boot = host::boot_id();
        let of_note = |note: &DrillNote| {
            let (netns, began, ended) =
                (note.netns, Time(note.began_ms * 1_000_000), Time(note.ended_ms * 1_000_000));
            let path = move |(local, remote)| DrilledPath { netns, local, remote, began, ended };
            note.ends.clone().into_iter().map(path)
        };
        self.0.iter().filter(|note| note.boot == boot).flat_map(of_note).collect()
    }

    /// Says of connections that a drill had cut their path when they died, or has now. `now`: Unix time.
    pub(crate) fn mark(&self, lives: &mut [Life], now: f64) {
        for life in lives.iter_mut().filter(|_| !self.0.is_empty()) {
            let at = match &life.end {
                Some(end) => unix_seconds(&end.at),
                None => Some(life.read_at.unwrap_or(now)),
            };
            life.cut_by_drill = at.is_some_and(|at| self.had_cut(life, at));
        }
    }

    fn had_cut(&self, life: &Life, at: f64) -> bool {
        let connection = &life.connection;
        let ends = (connection.local, connection.remote);
        self.0.iter().any(|note| {
            note.netns == connection.netns
                && (note.began..=note.ended + SLACK_SECONDS).contains(&at)
                && note.ends.contains(&ends)
        })
    }
}

fn unix_seconds(at: &str) -> Option<f64> {
    Some(at.parse::<jiff::Timestamp>().ok()?.as_duration().as_secs_f64())
}

/// The drills of a state folder, read again when they are others.
#[derive(Debug)]
pub(crate) struct DrillsWatched {
    folder: PathBuf,
    seen: Option<(SystemTime, u64)>,
}

impl DrillsWatched {
    pub(crate) const fn new(folder: PathBuf) -> Self {
        Self { folder, seen: None }
    }

    /// What they have cut, if that has changed.
    pub(crate) fn news(&mut self) -> Option<Result<Vec<DrilledPath>, files::Error>> {
        let stat = fs::metadata(self.folder.join(NAME)).ok();
        let now = stat.and_then(|stat| Some((stat.modified().ok()?, stat.len())));
        if now == self.seen {
            return None;
        }
        self.seen = now;
        Some(NotedDrills::read(&self.folder).map(|drills| drills.paths()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        drill::choice::tests_support::row, model::observed::socket::tests_support::socket,
    };

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("keepwatch-{}-{name}", std::process::id()));
        fs::remove_dir_all(&folder).ok();
        folder
    }

    fn ends() -> CutEnds {
        let connection = row(&socket()).connection;
        (connection.local, connection.remote)
    }

    #[test]
    fn what_is_noted_is_read_again_with_its_true_end() {
        let folder = folder("drills");
        assert_eq!(NotedDrills::read(&folder).unwrap(), NotedDrills::default());
        let mut watched = DrillsWatched::new(folder.clone());
        assert!(watched.news().is_none());
        let ends = [ends()];
        let drill = NotedDrill::begin(&folder, [(7, &ends[..])], Duration::from_mins(5)).unwrap();
        let paths = watched.news().unwrap().unwrap();
        let [path] = &paths[..] else { panic!("{paths:?}") };
        assert_eq!((path.netns, (path.local, path.remote)), (7, ends[0]));
        assert_eq!(path.ended.ms_since(path.began), 300_000);
        assert!(watched.news().is_none(), "nothing is new");
        drill.end().unwrap();
        let paths = watched.news().unwrap().unwrap();
        assert!(paths.len() == 1 && paths[0].ended.ms_since(path.began) < 300_000, "{paths:?}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_connection_of_the_drill_is_marked_and_another_or_a_later_one_is_not() {
        let life = || Life::live(row(&socket()));
        let note = DrillNote {
            boot: "any".to_owned(),
            pid: 1,
            netns: life().connection.netns,
            ends: vec![ends()],
            began: 100.0,
            ended: 160.0,
            began_ms: 0,
            ended_ms: 60_000,
        };
        let is_marked = |note: &DrillNote, now| {
            let mut lives = [life()];
            NotedDrills(vec![note.clone()]).mark(&mut lives, now);
            lives[0].cut_by_drill
        };
        assert!(is_marked(&note, 100.0) && is_marked(&note, 161.0));
        assert!(!is_marked(&note, 99.0) && !is_marked(&note, 163.0));
        let elsewhere = DrillNote { netns: note.netns + 1, ..note.clone() };
        let (local, remote) = ends();
        let other = DrillNote { ends: vec![(remote, local)], ..note };
        assert!(!is_marked(&elsewhere, 120.0) && !is_marked(&other, 120.0));
    }
}
