//! What was set, on disk before it is set: `fix.jsonl` in the state folder, one JSON object a line.
//!
//! A line that is cut off belongs to something that was not done: lines are synced first.

use crate::{
    files::{self, SyncedLines},
    kernel::{
        borrowed_socket::{SocketOptions, WantedSocket},
        host,
    },
    model::observed::socket::SocketId,
};
use rustix::fs::Mode;
use serde::{Deserialize, Serialize, Serializer};
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub(super) const NAME: &str = "fix.jsonl";
/// Of a larger one a part makes room when a command begins, and of a watch also meanwhile. What a command sets at once is never
/// cut, and may make it larger.
const MOST_BYTES: usize = 64 << 20;
/// A journal that holds this is not read beside the one who writes it: some million changes.
pub(super) const MOST_READ: usize = 8 * MOST_BYTES;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Its folder or file was not opened.
    #[error("open the journal {NAME} in {}: {cause}; nothing was changed", folder.display())]
    Open {
        /// The state folder.
        folder: PathBuf,
        /// The reason.
        cause: files::Error,
    },
    /// It was not written.
    #[error("{attempt} the journal {NAME} in {}", folder.display())]
    File {
        /// What was tried.
        attempt: &'static str,
        /// The state folder.
        folder: PathBuf,
        /// The reason.
        #[source]
        cause: files::Error,
    },
}

/// A network namespace with the addresses of both ends.
pub(crate) type SocketPlace = (u32, SocketAddr, SocketAddr);

/// Which options a socket did not have itself: they followed its network namespace. No program can give that back, as a value
/// of 0 is refused (`do_tcp_setsockopt` in net/ipv4/tcp.c).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnsetOptions {
    /// TCP_KEEPIDLE.
    pub(crate) idle: bool,
    /// TCP_KEEPINTVL.
    pub(crate) interval: bool,
    /// TCP_KEEPCNT.
    pub(crate) count: bool,
}

/// One socket, and what it has before and after.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Change {
    /// Its id, which no other socket has until the next boot.
    pub(crate) id: String,
    /// Inode number of its network namespace.
    pub(crate) netns: u32,
    /// Our end.
    pub(crate) local: SocketAddr,
    /// The peer.
    pub(crate) remote: SocketAddr,
    /// Whether its program has an MPTCP socket.
    pub(crate) is_mptcp: bool,
    /// The process through whose descriptor it was reached.
    pub(crate) pid: u32,
    /// Its name.
    pub(crate) process: String,
    /// The options that it had.
    pub(crate) before: SocketOptions,
    /// Those of them that were not its own.
    #[serde(default)]
    pub(crate) unset: UnsetOptions,
    /// The options that it gets.
    pub(crate) after: SocketOptions,
}

impl Change {
    /// Where it is: the same in a later run, which an id is not before Linux 5.12.
    pub(crate) const fn place(&self) -> SocketPlace {
        (self.netns, self.local, self.remote)
    }

    /// The socket that is meant, if the id is one.
    pub(crate) fn wanted(&self) -> Option<WantedSocket> {
        let id: SocketId = self.id.parse().ok()?;
        let Self { local, remote, is_mptcp, .. } = *self;
        Some(WantedSocket { id, local, remote, is_mptcp })
    }
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum JournalLine {
    /// A command began.
    Run { run: u32, at: String, boot: String },
    /// A socket is about to be set.
    Sets {
        run: u32,
        #[serde(flatten)]
        change: Change,
    },
    /// What was set was taken back, or is gone, or is not ours any more.
    Settled {
        run: u32,
        id: String,
        /// The values of before were written again.
        #[serde(default)]
        is_as_before: bool,
    },
}

/// A line as it is written, field by field: what serde flattens it looks up by name, and thousands of lines stand between a plan and
/// what it sets.
#[derive(Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
enum WrittenLine<'a> {
    Run {
        run: u32,
        at: &'a str,
        boot: &'a str,
    },
    Sets {
        run: u32,
        id: &'a str,
        netns: u32,
        local: SocketAddr,
        remote: SocketAddr,
        is_mptcp: bool,
        pid: u32,
        process: &'a str,
        before: SocketOptions,
        unset: UnsetOptions,
        after: SocketOptions,
    },
    Settled {
        run: u32,
        id: &'a str,
        is_as_before: bool,
    },
}

impl Serialize for JournalLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let line = match self {
            Self::Run { run, at, boot } => WrittenLine::Run { run: *run, at, boot },
            Self::Sets { run, change } => {
                let Change { id, process, .. } = change;
                let Change { netns, local, remote, is_mptcp, pid, before, unset, after, .. } =
                    *change;
                let run = *run;
                WrittenLine::Sets {
                    run,
                    id,
                    netns,
                    local,
                    remote,
                    is_mptcp,
                    pid,
                    process,
                    before,
                    unset,
                    after,
                }
            }
            Self::Settled { run, id, is_as_before } => {
                WrittenLine::Settled { run: *run, id, is_as_before: *is_as_before }
            }
        };
        line.serialize(serializer)
    }
}

/// A socket of a run that needs no undoing any more.
#[derive(Clone, Debug)]
pub(crate) struct SettledSocket {
    /// Its id.
    pub(crate) id: String,
    /// Whether it was given the values of before again.
    pub(crate) is_as_before: bool,
}

/// The journal, open for one command: no other may fix at the same time.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    on_disk: SyncedLines,
    lines: Vec<JournalLine>,
    run: u32,
    has_begun: bool,
}

impl Journal {
    /// Opens it, and makes it if there is none.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let (on_disk, lines) = SyncedLines::open(folder, NAME, Mode::from_raw_mode(0o600))
            .map_err(|cause| Error::Open { folder: folder.to_owned(), cause })?;
        let last = lines.iter().map(JournalLine::run).max().unwrap_or(0);
        Ok(Self { folder: folder.to_owned(), on_disk, lines, run: last + 1, has_begun: false })
    }

    /// The number of this run.
    pub(crate) const fn run(&self) -> u32 {
        self.run
    }

    /// Writes down what is about to be set, and waits until it is on disk.
    pub(crate) fn intend(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        at: &str,
    ) -> Result<(), Error> {
        let run = self.run;
        if !self.has_begun {
            self.shorten_if_large(Some(run - 1))?;
        }
        let begin = || JournalLine::Run { run, at: at.to_owned(), boot: host::boot_id() };
        let begin = (!self.has_begun).then(begin);
        let sets = changes.into_iter().map(|change| JournalLine::Sets { run, change });
        let lines: Vec<JournalLine> = begin.into_iter().chain(sets).collect();
        self.append(lines)?;
        self.has_begun = true;
        Ok(())
    }

    /// Writes down what needs no undoing any more.
    pub(crate) fn settle(&mut self, run: u32, sockets: Vec<SettledSocket>) -> Result<(), Error> {
        let line =
            |SettledSocket { id, is_as_before }| JournalLine::Settled { run, id, is_as_before };
        self.append(sockets.into_iter().map(line).collect())
    }

    /// The last run of which something is left to be undone.
    pub(crate) fn last_run(&self) -> Option<u32> {
        let mut runs: Vec<u32> = self.lines.iter().map(JournalLine::run).collect();
        runs.dedup();
        runs.into_iter().rev().find(|run| !self.left(*run).is_empty())
    }

    /// Whether there was such a run.
    pub(crate) fn knows(&self, run: u32) -> bool {
        self.lines.iter().any(|line| line.run() == run)
    }

    /// What a run set since this boot and nobody took back.
    pub(crate) fn left(&self, run: u32) -> Vec<&Change> {
        let boot_id = host::boot_id();
        let is_of_boot = |line: &JournalLine| matches!(line, JournalLine::Run { run: of, boot, .. } if *of == run && *boot == boot_id);
        if !self.lines.iter().any(is_of_boot) {
            return Vec::new();
        }
        let settled: HashSet<&str> = self
            .lines
            .iter()
            .filter_map(|line| match line {
                JournalLine::Settled { run: of, id, .. } if *of == run => Some(id.as_str()),
                _ => None,
            })
            .collect();
        let sets = self.lines.iter().filter_map(|line| match line {
            JournalLine::Sets { run: of, change } if *of == run => Some(change),
            _ => None,
        });
        sets.filter(|change| !settled.contains(change.id.as_str())).collect()
    }

    /// Makes room for a watch, which goes on and on: then its own oldest changes go, too. Their connections have mostly ended.
    pub(crate) fn make_room(&mut self) -> Result<(), Error> {
        self.shorten_if_large(None)
    }

    fn append(&mut self, lines: Vec<JournalLine>) -> Result<(), Error> {
        let written = self.on_disk.add(&lines);
        written.map_err(|cause| self.failed("write", cause))?;
        self.lines.extend(lines);
        Ok(())
    }

    /// `whole`: a run of which everything stays that can be undone.
    fn shorten_if_large(&mut self, whole: Option<u32>) -> Result<(), Error> {
        if self.on_disk.n_bytes() <= MOST_BYTES {
            return Ok(());
        }
        let shorter = shortened(&self.lines, &host::boot_id(), whole);
        let replaced = self.on_disk.replace(&shorter);
        replaced.map_err(|cause| self.failed("shorten", cause))?;
        self.lines = shorter;
        Ok(())
    }

    fn failed(&self, attempt: &'static str, cause: files::Error) -> Error {
        Error::File { attempt, folder: self.folder.clone(), cause }
    }
}

impl JournalLine {
    const fn run(&self) -> u32 {
        match self {
            Self::Run { run, .. } | Self::Sets { run, .. } | Self::Settled { run, .. } => *run,
        }
    }
}

/// At most half of the lines, as far as that can be had without a run that stays whole: first goes what nobody asks for any more,
/// then the oldest. The beginning of the last run stays, as numbers are not used again.
fn shortened(lines: &[JournalLine], boot_id: &str, whole: Option<u32>) -> Vec<JournalLine> {
    let needed = needed(lines, boot_id);
    let n_needed = needed.iter().filter(|is_needed| **is_needed).count();
    let mut n_too_many = n_needed.saturating_sub(lines.len() / 2);
    let mut kept: Vec<&JournalLine> = Vec::new();
    for (line, is_needed) in lines.iter().zip(needed) {
        let is_run = matches!(line, JournalLine::Run { .. });
        if is_needed && !is_run && n_too_many > 0 && Some(line.run()) != whole {
            n_too_many -= 1;
        } else if is_needed || is_run {
            kept.push(line);
        }
    }
    let is_begin = |line: &JournalLine| matches!(line, JournalLine::Run { .. });
    let with_rest: HashSet<u32> =
        kept.iter().filter(|line| !is_begin(line)).map(|line| line.run()).collect();
    let last = lines.iter().map(JournalLine::run).max();
    let stays = |line: &&JournalLine| {
        !is_begin(line) || with_rest.contains(&line.run()) || Some(line.run()) == last
    };
    kept.into_iter().filter(stays).cloned().collect()
}

/// Of each line whether somebody may ask for it: an undo for what is not settled, a later plan for what was taken back, of each
/// place the last. Beginnings are not counted.
fn needed(lines: &[JournalLine], boot_id: &str) -> Vec<bool> {
    let is_of_boot =
        |line: &JournalLine| matches!(line, JournalLine::Run { boot, .. } if boot == boot_id);
    let of_boot: HashSet<u32> =
        lines.iter().filter(|line| is_of_boot(line)).map(JournalLine::run).collect();
    // Of what was taken back: by its run and id, the place; by the place, the last run and id.
    let mut settled: HashMap<(u32, &str), bool> = HashMap::new();
    for line in lines {
        if let JournalLine::Settled { run, id, is_as_before } = line {
            *settled.entry((*run, id)).or_default() |= is_as_before;
        }
    }
    let mut last_at: HashMap<SocketPlace, (u32, &str)> = HashMap::new();
    for line in lines {
        if let JournalLine::Sets { run, change } = line
            && settled.get(&(*run, change.id.as_str())) == Some(&true)
        {
            last_at.insert(change.place(), (*run, &change.id));
        }
    }
    let last_taken_back: HashSet<(u32, &str)> = last_at.into_values().collect();
    let is_needed = |line: &JournalLine| {
        let of = match line {
            JournalLine::Run { .. } => return false,
            JournalLine::Sets { run, change } => (*run, change.id.as_str()),
            JournalLine::Settled { run, id, .. } => (*run, id.as_str()),
        };
        of_boot.contains(&of.0) && (!settled.contains_key(&of) || last_taken_back.contains(&of))
    };
    lines.iter().map(is_needed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn change(id: u64) -> Change {
        let before =
            SocketOptions { keepalive: false, idle_seconds: 7200, interval_seconds: 75, count: 9 };
        Change {
            id: SocketId(id).to_string(),
            netns: 4_026_531_840,
            local: "10.0.0.5:44307".parse().unwrap(),
            remote: "172.16.0.15:2717".parse().unwrap(),
            is_mptcp: false,
            pid: 812,
            process: "checkout".to_owned(),
            before,
            unset: UnsetOptions::default(),
            after: SocketOptions { keepalive: true, idle_seconds: 60, ..before },
        }
    }

    fn settled(ids: impl IntoIterator<Item = u64>) -> Vec<SettledSocket> {
        let one = |id| SettledSocket { id: SocketId(id).to_string(), is_as_before: true };
        ids.into_iter().map(one).collect()
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("keepwatch-{}-{name}", std::process::id()));
        fs::remove_dir_all(&folder).ok();
        folder
    }

    #[test]
    fn what_a_run_set_is_there_until_it_is_settled() {
        let folder = folder("settled");
        let mut journal = Journal::open(&folder).unwrap();
        assert_eq!((journal.run(), journal.last_run()), (1, None));
        journal.intend([change(1), change(2)], "then").unwrap();
        journal.intend([change(3)], "then").unwrap();
        let second = Journal::open(&folder);
        assert!(matches!(second, Err(Error::Open { cause: files::Error::Held(_), .. })));
        drop(journal);
        let mut journal = Journal::open(&folder).unwrap();
        assert_eq!((journal.run(), journal.last_run()), (2, Some(1)));
        journal.settle(1, settled([2])).unwrap();
        assert_eq!(journal.left(1), [&change(1), &change(3)]);
        journal.settle(1, settled([1, 3])).unwrap();
        assert_eq!((journal.last_run(), journal.knows(1), journal.knows(2)), (None, true, false));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn runs_of_an_earlier_boot_are_left_alone() {
        let folder = folder("boot");
        let mut journal = Journal::open(&folder).unwrap();
        journal.intend([change(1)], "then").unwrap();
        drop(journal);
        let file = folder.join(NAME);
        let text = fs::read_to_string(&file).unwrap().replace(&host::boot_id(), "another");
        fs::write(&file, text).unwrap();
        let journal = Journal::open(&folder).unwrap();
        assert_eq!((journal.last_run(), journal.knows(1)), (None, true));
        fs::remove_dir_all(&folder).unwrap();
    }

    const BOOT: &str = "this";

    fn begun(run: u32, boot: &str) -> JournalLine {
        JournalLine::Run { run, at: String::new(), boot: boot.to_owned() }
    }

    fn sets(run: u32, id: u64) -> JournalLine {
        let mut change = change(id);
        change.local.set_port(u16::try_from(id).unwrap());
        JournalLine::Sets { run, change }
    }

    fn is_settled(run: u32, id: u64, is_as_before: bool) -> JournalLine {
        JournalLine::Settled { run, id: SocketId(id).to_string(), is_as_before }
    }

    #[test]
    fn what_nobody_asks_for_any_more_makes_room_first() {
        let lines = [
            begun(1, "earlier"),
            sets(1, 1),
            begun(2, BOOT),
            sets(2, 2),
            is_settled(2, 2, false),
            sets(2, 3),
            is_settled(2, 3, true),
            begun(3, BOOT),
            sets(3, 3),
            is_settled(3, 3, true),
            sets(3, 4),
            begun(4, BOOT),
            sets(4, 5),
            is_settled(4, 5, false),
        ];
        // What was taken back twice is known by the second time.
        let kept = [&lines[7..11], &lines[11..12]].concat();
        assert_eq!(shortened(&lines, BOOT, Some(4)), kept);
    }

    #[test]
    fn of_what_can_be_undone_the_oldest_goes_and_a_run_that_stays_whole_does_not() {
        let lines: Vec<JournalLine> = std::iter::once(begun(1, BOOT))
            .chain((1..=3).map(|id| sets(1, id)))
            .chain([begun(2, BOOT)])
            .chain((4..=9).map(|id| sets(2, id)))
            .collect();
        assert_eq!(shortened(&lines, BOOT, Some(2)), lines[4..], "more than half, but whole");
        let kept = [&lines[4..5], &lines[6..]].concat();
        assert_eq!(shortened(&lines, BOOT, None), kept);
        let whole = [&lines[..5], &lines[9..]].concat();
        assert_eq!(shortened(&lines, BOOT, Some(1)), whole);
    }
}
