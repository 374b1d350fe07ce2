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
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub(super) const NAME: &str = "fix.jsonl";
/// As large as it may become: what is older than the last half makes room.
pub(super) const MOST_BYTES: usize = 64 << 20;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    fn append(&mut self, lines: Vec<JournalLine>) -> Result<(), Error> {
        let written = self.on_disk.add(&lines);
        written.map_err(|cause| self.failed("write", cause))?;
        self.lines.extend(lines);
        if self.on_disk.n_bytes() > MOST_BYTES { self.shorten() } else { Ok(()) }
    }

    /// Writes the later half anew, with the beginning of each run that is in it.
    fn shorten(&mut self) -> Result<(), Error> {
        let half = self.lines.len() / 2;
        let later: HashSet<u32> = self.lines.iter().skip(half).map(JournalLine::run).collect();
        let mut number = 0;
        self.lines.retain(|line| {
            number += 1;
            number > half || matches!(line, JournalLine::Run { run, .. } if later.contains(run))
        });
        let replaced = self.on_disk.replace(&self.lines);
        replaced.map_err(|cause| self.failed("shorten", cause))
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
}
