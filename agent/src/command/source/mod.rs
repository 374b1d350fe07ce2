//! Where connections come from: the agent if one runs, else the kernel itself, by hooks or through /proc.

pub(super) mod living;
pub(super) mod peer_lives;

use super::{Failure, output};
use crate::{
    config,
    fix::known::LearnedPaths,
    kernel::{
        hooks::{self, Hooks, Scope, Signal},
        host,
        proc_source::{NEVER_SEEN, ProcSource},
    },
    model::{
        judgement::verdict::Surroundings,
        observed::{
            event::Event,
            kernel_owner,
            listeners::{Listeners, share},
            owner_identity::Identity,
            socket::{Owner, Socket, SocketId, State},
        },
        table::agent_health::NotSeen,
    },
    owner::Census,
    serve::{AgentStatus, client},
    store::{self, HistoryReader},
    view::{
        filter::Filter,
        page::{Page, PageBuilder, PageRequest},
        row::Row,
    },
};
use clap::ValueEnum;
use std::{
    cell::Cell,
    collections::BTreeMap,
    path::{Path, PathBuf},
};
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
        mut each: impl FnMut(Row),
    ) -> Result<(), Failure> {
        match self {
            Self::Agent { path, .. } => Ok(client::fresh_sockets(path, filter, |row| {
                each(row);
                true
            })?),
            Self::Kernel(kernel) => kernel.walk(filter, |socket, owners, identity, around| {
                each(Row::new(socket, owners, identity, around, socket.at));
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

/// What is needed to read the kernel itself.
pub(super) struct Kernel {
    by: Means,
    around: Surroundings,
    census: Census,
}

/// What the kernel is read by.
enum Means {
    Hooks(Box<Hooks>),
    Proc {
        sockets: ProcSource,
        /// Why there are no hooks, unless nobody wanted any.
        refused: Option<hooks::Error>,
        /// Of the last walk.
        unseen: Option<NotSeen>,
        /// It was said before: of every look it would be a flood.
        is_said: bool,
    },
}

impl Means {
    fn new(source: Source) -> Result<Self, Failure> {
        let of_proc = |refused| {
            Ok(Self::Proc { sockets: ProcSource::open()?, refused, unseen: None, is_said: false })
        };
        if source == Source::Proc {
            return of_proc(None);
        }
        let hooks = Hooks::load(Scope::Snapshot).and_then(|hooks| hooks.require(Signal::Snapshot));
        match hooks {
            Ok(hooks) => Ok(Self::Hooks(Box::new(hooks))),
            // Without these capabilities a part would be taken for all.
            Err(refused)
                if source == Source::Auto && host::missing_for_descriptors().is_empty() =>
            {
                of_proc(Some(refused))
            }
            Err(refused) => Err(refused.into()),
        }
    }
}

impl Kernel {
    /// Loads the hook that walks over all sockets, or opens /proc where that is refused.
    pub(super) fn open(
        source: Source,
        owners: &config::OwnerArgs,
        limits: &config::LimitArgs,
    ) -> Result<Self, Failure> {
        let by = Means::new(source)?;
        Ok(Self { by, around: limits.surroundings(), census: Census::new(owners.resolver()?) })
    }

    /// Whether it is read from /proc.
    pub(super) const fn is_without_hooks(&self) -> bool {
        matches!(self.by, Means::Proc { .. })
    }

    /// The source, as a person names it.
    pub(super) const fn name(&self) -> &'static str {
        if self.is_without_hooks() { "/proc" } else { "the kernel" }
    }

    /// What the last walk did not see for want of capabilities, in words.
    pub(super) fn hidden(&self) -> Option<String> {
        let Means::Proc { unseen: Some(unseen), .. } = &self.by else {
            return None;
        };
        unseen.hidden()
    }

    /// What the last walk did not see, if anything, once: a sentence.
    pub(super) fn unseen(&mut self) -> Option<String> {
        let Means::Proc { refused, unseen, is_said: is_said @ false, .. } = &mut self.by else {
            return None;
        };
        let mut words = (*unseen)?.words();
        *is_said = true;
        words.insert(0, NEVER_SEEN.to_owned());
        let why = refused.take().map(|error| format!("{}; so ", crate::log::in_full(&error)));
        let why = why.unwrap_or_default();
        Some(format!("{why}read from /proc, without eBPF: not seen are {}", words.join("; ")))
    }

    /// Tells a person, once, what was not seen.
    pub(super) fn say_unseen(&mut self) {
        if let Some(unseen) = self.unseen() {
            warn!("{unseen}");
        }
    }

    /// Passes on each socket with its owners, as the kernel shows it. Only one with further
    /// references to its file waits until the end, when all its owners are known.
    pub(super) fn walk(
        &mut self,
        filter: &Filter,
        mut each: impl FnMut(&Socket, &[Owner], Option<&Identity>, &Surroundings) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Self { by, around, census } = self;
        census.begin();
        let mut each = |socket: &Socket, owners: &mut [Owner]| {
            if !filter.admits_owner(&*owners) {
                return Ok(());
            }
            // In the queue of one of several.
            let is_unclear = socket.is_unaccepted && socket.owner.is_none();
            let identity = census.sort(owners).filter(|_| !is_unclear);
            match identity.as_deref() {
                identity if filter.admits_identity(identity) => {
                    each(socket, owners, identity, around)
                }
                _ => Ok(()),
            }
        };
        let mut shared = SharedSockets::default();
        let mut ended = Ok(());
        let own_netns = host::own_netns();
        let n_met = Cell::new(0_u64);
        let mut met = SocketSet::default();
        // A listener was opened before what it accepted, and the walk goes by process and descriptor.
        let mut listeners = Listeners::default();
        let mut take = |event: Event| {
            let mut socket = match event {
                Event::Seen(socket) => socket,
                Event::Found(socket) if !met.contains(socket.id) => socket,
                _ => return,
            };
            let is_first = met.insert(socket.id);
            let counts =
                is_first && socket.state != State::Close && own_netns == Some(socket.netns);
            n_met.set(n_met.get() + u64::from(counts));
            listeners.add(&socket);
            listeners.infer_direction(&mut socket);
            let mut others = Vec::new();
            if socket.is_unaccepted {
                let there = listeners.of(&socket);
                let owners = there.iter().filter_map(|listener| listener.owner);
                others = share(&mut socket, &there, owners, |a, b| a.comm == b.comm);
                socket.is_unaccepted = socket.is_left_unaccepted();
            } else if socket.owner.is_none() {
                socket.owner = kernel_owner::taker(&socket);
            }
            if ended.is_err() || !filter.admits(&socket, around, socket.quiet_ms.into()) {
                return;
            }
            if !shared.keeps(&socket) {
                others.splice(..0, socket.owner);
                ended = each(&socket, &mut others);
            }
        };
        match by {
            Means::Hooks(hooks) => walk_by_hooks(hooks, || n_met.get(), &mut take)?,
            Means::Proc { sockets, unseen, .. } => *unseen = Some(sockets.walk(&mut take)?),
        }
        ended?;
        for (socket, mut owners) in shared.waiting.into_values() {
            each(&socket, &mut owners)?;
        }
        Ok(())
    }
}

fn walk_by_hooks(
    hooks: &mut Hooks,
    n_met: impl Fn() -> u64,
    mut take: impl FnMut(Event),
) -> Result<(), Failure> {
    let mut snapshot = hooks.snapshot()?;
    while snapshot.read(&mut take)? {}
    if let Some(mut subflows) = hooks.subflows()? {
        // That gives each of them a cookie.
        let mut list = hooks.listed()?;
        while list.read(drop)? {}
        while subflows.read(&mut take)? {}
    }
    // Not if all were met: the list costs as much as the rest.
    if host::n_tcp_sockets().is_none_or(|n_all| n_all > n_met()) {
        let mut list = hooks.listed()?;
        while list.read(&mut take)? {}
    }
    Ok(())
}

/// Sockets that several processes have, until all of these are known.
#[derive(Debug, Default)]
struct SharedSockets {
    waiting: BTreeMap<SocketId, (Socket, Vec<Owner>)>,
    /// Those that wait, and those that were passed on.
    taken: SocketSet,
}

impl SharedSockets {
    /// Takes what was met with one of its owners. False if it is to be passed on now: nobody else has it.
    /// A process may fork during the walk, and its child may execute another program: then a socket that was passed on is met again, or
    /// one that waits is nobody else's any more. Either way it is one socket.
    fn keeps(&mut self, socket: &Socket) -> bool {
        let is_first = self.taken.insert(socket.id);
        if socket.shared && is_first {
            self.waiting.insert(socket.id, (*socket, Vec::new()));
        }
        match self.waiting.get_mut(&socket.id) {
            Some((_, owners)) => owners.extend(socket.owner),
            None => return !is_first,
        }
        true
    }
}

/// Sockets that were met. Ids of sockets that were made one after the other lie side by side: a bit each.
#[derive(Debug, Default)]
struct SocketSet {
    words: BTreeMap<u64, u64>,
}

impl SocketSet {
    const fn place(SocketId(id): SocketId) -> (u64, u64) {
        (id / 64, 1 << (id % 64))
    }

    /// Adds a socket. Whether it is new.
    fn insert(&mut self, id: SocketId) -> bool {
        let (word, bit) = Self::place(id);
        let word = self.words.entry(word).or_default();
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    fn contains(&self, id: SocketId) -> bool {
        let (word, bit) = Self::place(id);
        self.words.get(&word).is_some_and(|word| word & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::socket::{Comm, tests_support::socket};

    #[test]
    fn a_socket_whose_process_forks_or_executes_during_the_walk_is_passed_on_once() {
        let owner = |pid| Some(Owner { pid, fd: None, comm: Comm::new([0; 16]) });
        let seen = |pid, shared| Socket { id: SocketId(1), owner: owner(pid), shared, ..socket() };
        let mut walk = SharedSockets::default();
        assert!(!walk.keeps(&seen(1, false)), "nobody else has it");
        assert!(walk.keeps(&seen(2, true)), "a child was forked since");
        assert!(walk.waiting.is_empty());

        let mut walk = SharedSockets::default();
        assert!(walk.keeps(&seen(1, true)));
        assert!(walk.keeps(&seen(2, false)), "its child has executed a program since");
        assert_eq!(walk.waiting[&SocketId(1)].1, [1, 2].map(|pid| owner(pid).expect("one")));
    }

    #[test]
    fn a_set_knows_what_it_was_given() {
        let mut set = SocketSet::default();
        let ids = [0, 1, 63, 64, u64::MAX].map(SocketId);
        assert!(ids.iter().all(|id| set.insert(*id)));
        assert!(!ids.iter().any(|id| set.insert(*id)));
        assert!(ids.iter().all(|id| set.contains(*id)));
        assert!(![2, 65, u64::MAX - 1].map(SocketId).iter().any(|id| set.contains(*id)));
    }
}
