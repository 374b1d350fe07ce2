//! Where connections come from: the agent if one runs, else the kernel itself, by hooks or through /proc.

mod kernel_walk;
pub(super) mod living;
mod met;
pub(super) mod peer_lives;

pub(super) use kernel_walk::Kernel;

use super::{Failure, output};
use crate::{
    config,
    fix::{apply::place, journal::SocketPlace, known::LearnedPaths},
    kernel::host,
    serve::{AgentStatus, client},
    store::{self, HistoryReader},
    view::{
        filter::Filter,
        page::{Page, PageBuilder, PageRequest},
        row::Row,
    },
};
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use tracing::{info, warn};

/// The side that answers about connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Source {
    /// The agent if one answers, else the kernel, else /proc
    Auto,
    /// Only a running agent: any user whom its socket admits may
    Agent,
    /// Only the kernel, by eBPF: needs root
    Kernel,
    /// Only /proc, without eBPF: what processes have open; needs CAP_SYS_PTRACE
    Proc,
}

impl Source {
    /// The agent, if it is the one to answer; else the kernel is.
    pub(super) fn agent(self, path: &Path) -> Result<Option<AgentStatus>, Failure> {
        match self {
            Self::Kernel | Self::Proc => Ok(None),
            Self::Agent => Ok(Some(client::status(path)?)),
            Self::Auto => match client::status(path) {
                Err(client::Error::NoAgent { .. }) => Ok(None),
                // A user without the right to read the kernel either gets the error that says how to reach the agent.
                Err(client::Error::Denied { .. })
                    if host::missing_capabilities().is_empty()
                        || host::missing_for_descriptors().is_empty() =>
                {
                    Ok(None)
                }
                answer => Ok(Some(answer?)),
            },
        }
    }
}

/// The source of answers: an agent or the kernel.
pub(super) enum ConnectionReader {
    /// The agent behind this socket.
    Agent {
        path: PathBuf,
        /// The agent's process id, if it is known.
        pid: Option<u32>,
        /// What it does not see for want of rights.
        hidden: Option<String>,
    },
    Kernel(Box<Kernel>),
}

impl ConnectionReader {
    /// Chooses the agent or the kernel.
    pub(super) fn new(
        source: Source,
        path: &Path,
        limits: &config::LimitArgs,
        owners: &config::OwnerArgs,
    ) -> Result<Self, Failure> {
        Ok(match source.agent(path)? {
            Some(AgentStatus { pid, hidden, .. }) => {
                Self::Agent { path: path.to_owned(), pid: Some(pid), hidden }
            }
            None => Self::Kernel(Box::new(Kernel::open(source, owners, limits)?)),
        })
    }

    /// Tells a person who answers.
    pub(super) fn say_which(&self) {
        if let Self::Agent { pid: Some(pid), .. } = self
            && output::is_terminal()
        {
            info!("as the agent sees it (process {pid})");
        }
    }

    /// Whether connections are read from /proc.
    pub(super) const fn is_proc(&self) -> bool {
        matches!(self, Self::Kernel(kernel) if kernel.is_without_hooks())
    }

    /// What the last walk did not see for want of capabilities, in words.
    pub(super) fn hidden(&self) -> Option<String> {
        match self {
            Self::Agent { hidden, .. } => hidden.clone(),
            Self::Kernel(kernel) => kernel.hidden(),
        }
    }

    /// Tells a person, once, what was not seen.
    pub(super) fn say_unseen(&mut self) {
        if let Self::Kernel(kernel) = self {
            kernel.say_unseen();
        }
    }

    /// Passes on every connection that the filter admits, in no order.
    pub(super) fn each_row(
        &mut self,
        filter: &Filter,
        each: impl FnMut(Row),
    ) -> Result<(), Failure> {
        self.each_row_at(filter, |_| true, each)
    }

    /// The same of connections at some places: of no other is a row made, where the kernel is walked.
    pub(super) fn each_row_at(
        &mut self,
        filter: &Filter,
        is_wanted: impl Fn(SocketPlace) -> bool,
        mut each: impl FnMut(Row),
    ) -> Result<(), Failure> {
        match self {
            Self::Agent { path, .. } => Ok(client::fresh_sockets(path, filter, |row| {
                if is_wanted(place(&row.connection)) {
                    each(row);
                }
                true
            })?),
            Self::Kernel(kernel) => kernel.walk(filter, |socket, owners, identity, around| {
                let ends = (socket.local.socket_addr(), socket.remote.socket_addr());
                if is_wanted((socket.netns, ends.0, ends.1)) {
                    each(Row::new(socket, owners, identity, around, socket.at));
                }
                Ok(())
            }),
        }
    }

    /// Idle limits that were learned: by the agent, else what an earlier one has left in its history.
    pub(super) fn learned_paths(&self, state_dir: &Path) -> Result<LearnedPaths, Failure> {
        let rows = match self {
            Self::Agent { path, .. } => client::learned(path)?,
            Self::Kernel(_) => {
                let learned = HistoryReader::open(state_dir).and_then(|reader| reader.learned());
                learned.unwrap_or_else(|error| {
                    if !matches!(error, store::Error::None { .. }) {
                        warn!(%error, "what was learned of paths is not known");
                    }
                    Vec::new()
                })
            }
        };
        Ok(LearnedPaths::new(rows, host::own_netns()))
    }

    /// One page of the connections.
    pub(super) fn page(&mut self, pick: &PageRequest) -> Result<Page, Failure> {
        match self {
            Self::Agent { path, .. } => Ok(client::page(path, pick)?),
            Self::Kernel(kernel) => {
                let mut picker = PageBuilder::new(pick);
                kernel.walk(&pick.filter, |socket, owners, identity, around| {
                    picker.offer(socket, owners, identity, around, socket.at);
                    Ok(())
                })?;
                Ok(picker.page())
            }
        }
    }
}
