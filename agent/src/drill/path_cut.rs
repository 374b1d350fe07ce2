//! The table of a drill in force, and its end: taken away by us, by the kernel as soon as we are gone, or without effect after its
//! time, whichever comes first.
//!
//! An `nft -i` waits at a pipe that only this process can write to. Linux gives it the table (`flags owner`, 5.12) and removes it
//! when that program ends, which it does at the end of the pipe: `kill -9` of keepwatch is enough. Before 5.12 the sets empty
//! themselves, and the next drill, or `--undo`, removes what is left.

use super::rules::{CutEnds, maker, table, table_name};
use crate::kernel::{clock, host, network_namespaces};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Output, Stdio},
    time::Duration,
};

/// Namespaces that `--undo` looks into.
const MOST_NAMESPACES: usize = 10_000;
/// A program that takes longer for a table hangs.
const PATIENCE_MS: u64 = 10_000;
const MOMENT: Duration = Duration::from_millis(10);

/// Why no path was cut, or why one may still be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The rules of packets may not be changed.
    #[error("drop packets: needs CAP_NET_ADMIN: run it as root; nothing was changed")]
    NoCapability,
    /// There is no nft(8).
    #[error("run nft: {0}; nothing was changed. A drill needs the package nftables")]
    NoNft(io::Error),
    /// Nothing leads to the namespace.
    #[error(
        "find network namespace {0}: no process that this one sees is in it, or has it open, and it has no name in /run/netns; nothing was changed"
    )]
    Lost(u32),
    /// It cannot be entered.
    #[error(
        "enter network namespace {netns}: {cause}; nothing was changed. It needs CAP_SYS_ADMIN: run it as root"
    )]
    Enter {
        /// Its inode number.
        netns: u32,
        /// The reason.
        cause: io::Error,
    },
    /// The kernel or nft does not take the table.
    #[error("drop packets by nftables in network namespace {netns}: {said}; nothing was changed")]
    Refused {
        /// The inode number of the namespace.
        netns: u32,
        /// The words of nft.
        said: String,
    },
    /// It ended on its own.
    #[error(
        "keep packets away: the table {0} is gone, as somebody ended the nft that owned it; the drill shows nothing"
    )]
    Broken(String),
    /// It is still there.
    #[error(
        "take away the table {table} in network namespace {netns}: {said}; it is without effect soon, and \
         `keepwatch drill --undo` removes it"
    )]
    NotUndone {
        /// The table.
        table: String,
        /// The inode number of the namespace.
        netns: u32,
        /// The words of nft.
        said: String,
    },
}

impl Error {
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Broken(_) | Self::NotUndone { .. } => 4,
            _ => 3,
        }
    }
}

/// A network namespace that nft is run in.
#[derive(Debug)]
pub(crate) struct CutNamespace {
    netns: u32,
    /// Where it is; nothing for that of this process.
    file: Option<File>,
}

impl CutNamespace {
    /// That of a connection, of which these are the processes.
    pub(crate) fn of(netns: u32, holders: &[u32]) -> Result<Self, Error> {
        if host::own_netns() == Some(netns) {
            return Ok(Self { netns, file: None });
        }
        let file = network_namespaces::with_inode(netns, holders).ok_or(Error::Lost(netns))?;
        Ok(Self { netns, file: Some(file) })
    }

    /// Its inode number.
    pub(crate) const fn netns(&self) -> u32 {
        self.netns
    }

    /// Every one that a process is in.
    fn all() -> Vec<Self> {
        let others = network_namespaces::others().take(MOST_NAMESPACES);
        let others = others.map(|there| Self { netns: there.inode, file: Some(there.file) });
        let own = Self { netns: host::own_netns().unwrap_or_default(), file: None };
        [own].into_iter().chain(others).collect()
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        match &self.file {
            None => Ok(work()),
            Some(file) => network_namespaces::inside(file, work)
                .map_err(|cause| Error::Enter { netns: self.netns, cause }),
        }
    }

    fn start(&self, words: &[&str]) -> Result<Child, Error> {
        let mut nft = Command::new("nft");
        // The keys of a terminal are ours alone. Without a home it keeps no history of what it was told.
        nft.args(words)
            .env("HOME", "/dev/null")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.inside(|| nft.spawn())?.map_err(Error::NoNft)
    }

    /// Runs nft to its end.
    fn nft(&self, words: &[&str], input: &str) -> Result<Output, Error> {
        let mut child = self.start(words)?;
        if let Some(mut stdin) = child.stdin.take() {
            // If it does not read, its exit status says why.
            stdin.write_all(input.as_bytes()).ok();
        }
        child.wait_with_output().map_err(Error::NoNft)
    }

    fn has(&self, table: &str) -> Result<bool, Error> {
        Ok(self.nft(&["list", "table", "inet", table], "")?.status.success())
    }

    /// Removes our tables whose maker is gone. Their number.
    fn clear(&self) -> Result<usize, Error> {
        let output = self.nft(&["list", "tables", "inet"], "")?;
        if !output.status.success() {
            return Err(self.refused(&output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_left = |table: &&str| maker(table).is_some_and(|pid| !lives(pid));
        let tables = text.lines().filter_map(|line| line.split_whitespace().nth(2));
        let mut n_removed = 0;
        for table in tables.filter(is_left) {
            self.delete(table)?;
            n_removed += 1;
        }
        Ok(n_removed)
    }

    fn delete(&self, table: &str) -> Result<(), Error> {
        let output = self.nft(&["delete", "table", "inet", table], "")?;
        if output.status.success() || !self.has(table)? {
            return Ok(());
        }
        Err(Error::NotUndone {
            table: table.to_owned(),
            netns: self.netns,
            said: first_line(&output.stderr),
        })
    }

    fn refused(&self, stderr: &[u8]) -> Error {
        Error::Refused { netns: self.netns, said: first_line(stderr) }
    }
}

/// Whether a process with this id is a keepwatch: a program of another name has taken the id over.
fn lives(pid: u32) -> bool {
    let name = |of: &str| fs::read_to_string(format!("/proc/{of}/comm"));
    match (name(&pid.to_string()), name("self")) {
        (Ok(its), Ok(own)) => its == own,
        _ => false,
    }
}

/// What nft says first; then it repeats what it was given.
fn first_line(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("nft gives no reason");
    line.rsplit("Error: ").next().unwrap_or(line).trim().to_owned()
}

/// Removes what earlier drills have left behind, in every network namespace that a process is in. The number of tables.
pub(crate) fn undo() -> Result<usize, Error> {
    if !host::changes_packet_rules() {
        return Err(Error::NoCapability);
    }
    CutNamespace::all().iter().map(CutNamespace::clear).sum()
}

/// A path that is cut as long as the value lives.
#[derive(Debug)]
pub(crate) struct PathCut {
    namespace: CutNamespace,
    table: String,
    /// The program that owns the table, and the pipe whose end ends it; nothing before Linux 5.12.
    owner: Option<(Child, ChildStdin)>,
    is_over: bool,
}

impl PathCut {
    /// Drops all packets of these connections, for this time at most. First it is tried without effect.
    pub(crate) fn new(
        namespace: CutNamespace,
        all: &[CutEnds],
        seconds: u64,
    ) -> Result<Self, Error> {
        if !host::changes_packet_rules() {
            return Err(Error::NoCapability);
        }
        namespace.clear()?;
        let name = table_name(std::process::id(), host::random());
        let is_owned = Self::is_taken(&namespace, &table(&name, all, seconds, true))?;
        let mut cut = Self { namespace, table: name, owner: None, is_over: false };
        if is_owned && cut.install_owned(&table(&cut.table, all, seconds, true))? {
            return Ok(cut);
        }
        let output = cut.namespace.nft(&["-f", "-"], &table(&cut.table, all, seconds, false))?;
        if !output.status.success() {
            return Err(cut.namespace.refused(&output.stderr));
        }
        Ok(cut)
    }

    /// Whether a table with an owner is taken; an error if none is.
    fn is_taken(namespace: &CutNamespace, owned: &str) -> Result<bool, Error> {
        let check = |rules: &str| namespace.nft(&["--check", "-f", "-"], rules);
        if check(owned)?.status.success() {
            return Ok(true);
        }
        let output = check(&owned.replacen("flags owner; ", "", 1))?;
        if output.status.success() { Ok(false) } else { Err(namespace.refused(&output.stderr)) }
    }

    /// Makes the table with an owner. False if this nft takes no commands one by one, as it can be built.
    fn install_owned(&mut self, rules: &str) -> Result<bool, Error> {
        let mut child = self.namespace.start(&["-i"])?;
        let Some(mut stdin) = child.stdin.take() else {
            return Ok(false);
        };
        // If it does not read, no table comes.
        stdin.write_all(rules.as_bytes()).ok();
        self.owner = Some((child, stdin));
        let began = clock::now();
        while self.holds() && clock::now().ms_since(began) < PATIENCE_MS {
            if self.namespace.has(&self.table)? {
                return Ok(true);
            }
            clock::wait(MOMENT);
        }
        self.end_owner();
        Ok(false)
    }

    /// Whether the table is still there, as far as its owner decides that.
    pub(crate) fn holds(&mut self) -> bool {
        self.owner.as_mut().is_none_or(|(child, _)| matches!(child.try_wait(), Ok(None)))
    }

    /// Fails if somebody has taken the table away.
    pub(crate) fn must_hold(&mut self) -> Result<(), Error> {
        if self.holds() { Ok(()) } else { Err(Error::Broken(self.table.clone())) }
    }

    /// Lets packets pass again.
    pub(crate) fn end(mut self) -> Result<(), Error> {
        self.take_away()
    }

    fn end_owner(&mut self) {
        let Some((mut child, stdin)) = self.owner.take() else {
            return;
        };
        drop(stdin);
        let began = clock::now();
        while matches!(child.try_wait(), Ok(None)) {
            if clock::now().ms_since(began) >= PATIENCE_MS {
                child.kill().ok();
                child.wait().ok();
                return;
            }
            clock::wait(MOMENT);
        }
    }

    fn take_away(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.is_over, true) {
            return Ok(());
        }
        self.end_owner();
        if self.namespace.has(&self.table)? { self.namespace.delete(&self.table) } else { Ok(()) }
    }
}

impl Drop for PathCut {
    fn drop(&mut self) {
        // Where an error is on its way already.
        self.take_away().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_nft_says_the_reason_is_repeated_and_not_the_rules() {
        let said = b"/dev/stdin:1:1-5: Error: Could not process rule: Operation not permitted\ntable inet x {\n^^^\n";
        assert_eq!(first_line(said), "Could not process rule: Operation not permitted");
        assert_eq!(first_line(b""), "nft gives no reason");
    }
}
