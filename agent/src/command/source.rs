//! Where connections come from: the agent if one runs, else the kernel itself.

use super::{Failure, output};
use crate::{
    config,
    kernel::{
        hooks::{Hooks, Scope, Signal},
        host,
    },
    model::{
        judgement::verdict::Surroundings,
        observed::{
            event::Event,
            owner_identity::Identity,
            socket::{Direction, Owner, Socket, SocketId, State},
        },
    },
    owner::Census,
    serve::{AgentStatus, client},
    view::{
        filter::Filter,
        page::{Page, PageBuilder, PageRequest},
    },
};
use clap::ValueEnum;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use tracing::info;

/// The side that answers about connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Source {
    /// The agent if one answers, else the kernel
    Auto,
    /// Only a running agent: any user whom its socket admits may
    Agent,
    /// Only the kernel: needs root
    Kernel,
}

impl Source {
    /// The agent, if it is the one to answer; else the kernel is.
    pub(super) fn agent(self, path: &Path) -> Result<Option<AgentStatus>, Failure> {
        match self {
            Self::Kernel => Ok(None),
            Self::Agent => Ok(Some(client::status(path)?)),
            Self::Auto => match client::status(path) {
                Err(client::Error::NoAgent { .. }) => Ok(None),
                // A user without the right to read the kernel either gets the error that says how to reach the agent.
                Err(client::Error::Denied { .. }) if host::missing_capabilities().is_empty() => {
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
            Some(status) => Self::Agent { path: path.to_owned(), pid: Some(status.pid) },
            None => Self::Kernel(Box::new(Kernel::open(owners, limits)?)),
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

/// What is needed to read the kernel itself.
pub(super) struct Kernel {
    hooks: Hooks,
    around: Surroundings,
    census: Census,
}

impl Kernel {
    /// Loads the hook that walks over all sockets.
    pub(super) fn open(
        owners: &config::OwnerArgs,
        limits: &config::LimitArgs,
    ) -> Result<Self, Failure> {
        let hooks = Hooks::load(Scope::Snapshot)?.require(Signal::Snapshot)?;
        Ok(Self { hooks, around: limits.surroundings(), census: Census::new(owners.resolver()?) })
    }

    /// Passes on each socket with its owners, as the kernel shows it. Only one with further
    /// references to its file waits until the end, when all its owners are known.
    pub(super) fn walk(
        &mut self,
        filter: &Filter,
        mut each: impl FnMut(&Socket, &[Owner], Option<&Identity>, &Surroundings) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Self { hooks, around, census } = self;
        census.begin();
        let mut each = |socket: &Socket, owners: &mut [Owner]| {
            if !filter.admits_owner(&*owners) {
                return Ok(());
            }
            let identity = census.sort(owners);
            match identity.as_deref() {
                identity if filter.admits_identity(identity) => {
                    each(socket, owners, identity, around)
                }
                _ => Ok(()),
            }
        };
        let mut shared: BTreeMap<SocketId, (Socket, Vec<Owner>)> = BTreeMap::new();
        let mut ended = Ok(());
        let mut snapshot = hooks.snapshot()?;
        // `listen(fd, 0)` leaves no backlog to infer from. But the walk goes by process and
        // descriptor, and a listener was opened before what it accepted.
        let mut listeners: BTreeSet<(u32, u16)> = BTreeSet::new();
        let mut take = |event: Event| {
            let Event::Seen(mut socket) = event else {
                return;
            };
            let port = (socket.netns, socket.local.port);
            if socket.state == State::Listen {
                listeners.insert(port);
            } else if socket.is_connection() && listeners.contains(&port) {
                socket.direction = Direction::Inbound;
            }
            if ended.is_err() || !filter.admits(&socket, around, socket.quiet_ms.into()) {
                return;
            }
            if socket.shared {
                let (_, owners) = shared.entry(socket.id).or_insert_with(|| (socket, Vec::new()));
                owners.extend(socket.owner);
            } else {
                ended = each(&socket, socket.owner.clone().as_mut_slice());
            }
        };
        while snapshot.read(&mut take)? {}
        ended?;
        for (socket, mut owners) in shared.into_values() {
            each(&socket, &mut owners)?;
        }
        Ok(())
    }
}
