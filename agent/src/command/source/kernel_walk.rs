//! What a command sees without an agent: one walk over every socket, by hooks or through /proc.

use super::{
    Source,
    met::{MetSockets, SharedSockets, SocketSet},
};
use crate::{
    command::Failure,
    config,
    kernel::{
        hooks::{self, Hooks, Scope, Signal},
        host, network_namespaces,
        proc_source::{NEVER_SEEN, ProcSource},
        snapshot::Snapshot,
    },
    model::{
        judgement::verdict::Surroundings,
        observed::{
            event::Event,
            kernel_owner,
            listeners::{Listeners, share},
            owner_identity::Identity,
            socket::{Owner, Socket},
        },
        table::agent_health::NotSeen,
    },
    owner::Census,
    view::filter::Filter,
};
use std::{cell::RefCell, collections::BTreeMap};
use tracing::warn;

/// What is needed to read the kernel itself.
pub(in crate::command) struct Kernel {
    by: Means,
    around: Surroundings,
    census: Census,
    /// Of the last walk.
    unseen: Option<UnseenByWalk>,
    /// It was said before: of every look it would be a flood.
    is_said: bool,
}

/// What the kernel is read by.
enum Means {
    Hooks(Box<Hooks>),
    Proc {
        sockets: ProcSource,
        /// Why there are no hooks, unless nobody wanted any.
        refused: Option<hooks::Error>,
    },
}

/// What a walk did not see.
#[derive(Clone, Copy)]
enum UnseenByWalk {
    ByProc(NotSeen),
    /// This process may not enter them, and they have sockets that the walk by descriptors has not met.
    OtherNamespaces,
}

/// In words.
const OF_OTHER_NAMESPACES: &str = "connections by MPTCP, and connections that no process has open, in other network \
                                   namespaces (needs CAP_SYS_ADMIN)";

impl Means {
    fn new(source: Source) -> Result<Self, Failure> {
        let of_proc = |refused| Ok(Self::Proc { sockets: ProcSource::open()?, refused });
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
    pub(in crate::command) fn open(
        source: Source,
        owners: &config::OwnerArgs,
        limits: &config::LimitArgs,
    ) -> Result<Self, Failure> {
        let (around, census) = (limits.surroundings(), Census::new(owners.resolver()?));
        Ok(Self { by: Means::new(source)?, around, census, unseen: None, is_said: false })
    }

    /// Whether it is read from /proc.
    pub(in crate::command) const fn is_without_hooks(&self) -> bool {
        matches!(self.by, Means::Proc { .. })
    }

    /// The source, as a person names it.
    pub(in crate::command) const fn name(&self) -> &'static str {
        if self.is_without_hooks() { "/proc" } else { "the kernel" }
    }

    /// What the last walk did not see for want of capabilities, in words.
    pub(in crate::command) fn hidden(&self) -> Option<String> {
        match self.unseen? {
            UnseenByWalk::ByProc(unseen) => unseen.hidden(),
            UnseenByWalk::OtherNamespaces => Some(OF_OTHER_NAMESPACES.to_owned()),
        }
    }

    /// What the last walk did not see, if anything, once: a sentence.
    pub(in crate::command) fn unseen(&mut self) -> Option<String> {
        if self.is_said {
            return None;
        }
        let unseen = self.unseen?;
        self.is_said = true;
        let (UnseenByWalk::ByProc(unseen), Means::Proc { refused, .. }) = (unseen, &mut self.by)
        else {
            return Some(format!("not seen are {OF_OTHER_NAMESPACES}"));
        };
        let mut words = unseen.words();
        words.insert(0, NEVER_SEEN.to_owned());
        let why = refused.take().map(|error| format!("{}; so ", crate::log::in_full(&error)));
        let why = why.unwrap_or_default();
        Some(format!("{why}read from /proc, without eBPF: not seen are {}", words.join("; ")))
    }

    /// Tells a person, once, what was not seen.
    pub(in crate::command) fn say_unseen(&mut self) {
        if let Some(unseen) = self.unseen() {
            warn!("{unseen}");
        }
    }

    /// Passes on each socket with its owners, as the kernel shows it. Only one with further
    /// references to its file waits until the end, when all its owners are known.
    pub(in crate::command) fn walk(
        &mut self,
        filter: &Filter,
        mut each: impl FnMut(&Socket, &[Owner], Option<&Identity>, &Surroundings) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Self { by, around, census, unseen, .. } = self;
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
        let met = RefCell::new(MetSockets::default());
        // A listener was opened before what it accepted, and the walk goes by process and descriptor.
        let mut listeners = Listeners::default();
        let mut take = |event: Event| {
            let mut socket = match event {
                Event::Seen(socket) => socket,
                Event::Found(socket) if !met.borrow().contains(socket.id) => socket,
                _ => return,
            };
            met.borrow_mut().add(&socket);
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
        *unseen = match by {
            Means::Hooks(hooks) => walk_by_hooks(hooks, &met, &mut take)?,
            Means::Proc { sockets, .. } => Some(UnseenByWalk::ByProc(sockets.walk(&mut take)?)),
        };
        ended?;
        for (socket, mut owners) in shared.waiting() {
            each(&socket, &mut owners)?;
        }
        Ok(())
    }
}

/// By descriptors, then by lists: what a list alone meets is what nobody has open. Parts of MPTCP connections that nothing has
/// seen before get their ids by being listed, once for their life.
fn walk_by_hooks(
    hooks: &mut Hooks,
    met: &RefCell<MetSockets>,
    mut take: impl FnMut(Event),
) -> Result<Option<UnseenByWalk>, Failure> {
    let mut snapshot = hooks.snapshot()?;
    while snapshot.read(&mut take)? {}
    let mut unseen = None;
    if let Some(mut subflows) = hooks.subflows()? {
        let mut met_before = SocketSet::default();
        while subflows.read(|event| {
            if let Event::Seen(socket) = &event {
                met_before.insert(socket.id);
            }
            take(event);
        })? {}
        if !subflows.without_id().is_empty() {
            unseen = list_those(hooks, subflows.without_id())?;
            let mut subflows = hooks.subflows_again()?;
            while subflows.read(|event| match &event {
                Event::Seen(socket) if met_before.contains(socket.id) => {}
                _ => take(event),
            })? {}
        }
    }
    // Not if all were met: the list costs as much as the rest.
    Ok(list_unmet(hooks, met, take)?.or(unseen))
}

/// Gives ids to what these network namespaces have, by their inode number and a process that has a socket there: it need not be in it.
fn list_those(
    hooks: &mut Hooks,
    wanted: &BTreeMap<u32, u32>,
) -> Result<Option<UnseenByWalk>, Failure> {
    let mut wanted = wanted.clone();
    if host::own_netns().is_some_and(|own| wanted.remove(&own).is_some()) {
        read_list(hooks.listed()?, drop)?;
    }
    for (netns, holder) in wanted {
        let Some(file) = network_namespaces::with_inode(netns, &[holder]) else {
            return Ok(Some(UnseenByWalk::OtherNamespaces));
        };
        match network_namespaces::inside(&file, || hooks.listed()) {
            Ok(list) => read_list(list?, drop)?,
            // Nor may it enter the next.
            Err(_) => return Ok(Some(UnseenByWalk::OtherNamespaces)),
        }
    }
    Ok(None)
}

/// The lists of those network namespaces of which not all sockets were met.
fn list_unmet(
    hooks: &mut Hooks,
    met: &RefCell<MetSockets>,
    mut take: impl FnMut(Event),
) -> Result<Option<UnseenByWalk>, Failure> {
    let lacks_some = |netns, n_all| met.borrow().lacks_some(netns, n_all);
    if lacks_some(host::own_netns(), host::n_tcp_sockets("thread-self")) {
        read_list(hooks.listed()?, &mut take)?;
    }
    for there in network_namespaces::others() {
        if !lacks_some(Some(there.inode), there.n_tcp_sockets()) {
            continue;
        }
        // Nor may it enter the next.
        let Ok(list) = network_namespaces::inside(&there.file, || hooks.listed()) else {
            return Ok(Some(UnseenByWalk::OtherNamespaces));
        };
        read_list(list?, &mut take)?;
    }
    Ok(None)
}

fn read_list(mut list: Snapshot, mut take: impl FnMut(Event)) -> Result<(), Failure> {
    while list.read(&mut take)? {}
    Ok(())
}
