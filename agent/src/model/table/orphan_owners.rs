//! Whose the connections were that programs closed before an answer came, as agents before this one saw it: the kernel repeats what was
//! sent for a quarter of an hour, and no process has them any more.

use super::{Table, owner_ids::OwnerNumber};
use crate::model::observed::{
    owner_identity::{Identity, NamedOwner},
    socket::{Endpoint, Owner, Socket},
};
use std::{collections::HashMap, sync::Arc};

/// A connection that its program has closed, and whose it was. Its addresses name it: ids are not the kernel's everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanOwner {
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Our end.
    pub local: Endpoint,
    /// The peer.
    pub remote: Endpoint,
    /// The process.
    pub owner: Owner,
    /// What that was part of.
    pub identity: Option<Identity>,
}

/// A network namespace, our end and the peer.
type Addresses = (u32, Endpoint, Endpoint);

/// What agents before this one saw of orphans.
#[derive(Debug, Default)]
pub(super) struct OrphanOwners {
    by_addresses: HashMap<Addresses, (Owner, Option<Arc<Identity>>)>,
}

impl Table {
    /// Whose connections were that an agent before this one saw closed by their programs.
    pub fn remember_orphans(&mut self, orphans: Vec<OrphanOwner>) {
        self.orphan_owners.by_addresses = orphans
            .into_iter()
            .map(|OrphanOwner { netns, local, remote, owner, identity }| {
                ((netns, local, remote), (owner, identity.map(Arc::new)))
            })
            .collect();
    }

    /// Names the owner of an orphan that is met for the first time, if an agent before this one knew it. Its number, to be given back:
    /// the process may be gone, and its id another's.
    pub(super) fn owner_of_orphan(&mut self, socket: &mut Socket) -> Option<OwnerNumber> {
        if !socket.is_orphan || socket.owner.is_some() {
            return None;
        }
        let addresses = (socket.netns, socket.local, socket.remote);
        let (owner, identity) = self.orphan_owners.by_addresses.remove(&addresses)?;
        socket.owner = Some(owner);
        Some(self.owners.roll.take(NamedOwner { process: owner.comm, identity }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        observed::{
            event::Event,
            socket::{Comm, SocketId, State, tests_support::socket},
        },
        table::tests::table,
    };

    fn orphan(id: u64) -> Socket {
        let state = State::FinWait1;
        Socket { id: SocketId(id), owner: None, is_orphan: true, state, ..socket() }
    }

    fn known() -> OrphanOwner {
        let Socket { netns, local, remote, .. } = socket();
        let owner = Owner { pid: 812, fd: None, comm: Comm::new(*b"checkout\0\0\0\0\0\0\0\0") };
        let unit = Some("checkout.service".into());
        let identity = Some(Identity { unit, ..Identity::default() });
        OrphanOwner { netns, local, remote, owner, identity }
    }

    /// The process, and the unit, that the table names for a socket which it finds.
    fn named(found: Socket) -> (Option<String>, Option<String>) {
        let mut table = table();
        table.remember_orphans(vec![known()]);
        table.apply(Event::Found(found));
        // Also at a later look.
        table.apply(Event::Found(found));
        let slot = table.before(found.id).unwrap();
        let whose = table.owners.roll.get(slot.whose);
        let unit =
            whose.and_then(|whose| whose.identity.as_ref()?.unit.as_deref().map(str::to_owned));
        (slot.socket.owner.map(|owner| owner.comm.escaped()), unit)
    }

    #[test]
    fn an_orphan_has_the_owner_that_an_agent_before_this_one_saw() {
        let checkout = (Some("checkout".to_owned()), Some("checkout.service".to_owned()));
        assert_eq!(named(orphan(1)), checkout);
        let mut other_port = orphan(1);
        other_port.local.port += 1;
        let open = Socket { is_orphan: false, state: State::Established, ..orphan(1) };
        for other in [other_port, Socket { netns: 7, ..orphan(1) }, open] {
            assert_eq!(named(other), (None, None), "{other:?}");
        }
    }
}
