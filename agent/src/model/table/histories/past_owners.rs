//! Whose a connection was at each moment: a descriptor may be passed on, a process renamed, its id used again.

use super::super::happening::{Happened, Happening};
use crate::model::observed::{owner_identity::Identity, socket::Owner};
use std::sync::Arc;

/// Of further owners nothing is kept: a connection that is passed on more often is a job queue's.
const MAX_OWNERS: usize = 16;

/// An owner, with what was known of it.
#[derive(Clone, Debug)]
struct PastOwner {
    owner: Option<Owner>,
    identity: Option<Arc<Identity>>,
    /// Known by its calls alone: others than the owner set options, too.
    is_caller: bool,
}

/// The owners of one connection, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct PastOwners(Vec<PastOwner>);

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PastOwnerNumber(u8);

impl PastOwners {
    /// The number of the owner in a happening.
    pub(super) fn number(&mut self, happening: &Happening) -> PastOwnerNumber {
        let Happening { socket, identity, what, .. } = happening;
        let is_call = matches!(what, Happened::Setting(_));
        let process = |owner: Option<Owner>| owner.map(|owner| (owner.pid, owner.comm));
        let is_it = |past: &PastOwner| {
            process(past.owner) == process(socket.owner)
                && (past.identity.is_none() || identity.is_none() || past.identity == *identity)
        };
        // The last one with this id: an earlier one may have been another process.
        let found = self.0.iter().rposition(is_it);
        let number = found.unwrap_or(self.0.len());
        if let Some(past) = self.0.get_mut(number) {
            // What was found out meanwhile.
            past.owner = socket.owner.or(past.owner);
            past.is_caller &= is_call;
            if identity.is_some() {
                past.identity.clone_from(identity);
            }
        } else if number < MAX_OWNERS {
            self.0.reserve_exact(1);
            let (owner, identity) = (socket.owner, identity.clone());
            self.0.push(PastOwner { owner, identity, is_caller: is_call });
        }
        PastOwnerNumber(u8::try_from(number).unwrap_or(u8::MAX))
    }

    /// The owner with this number. Before anybody was known to have it, as while a connection waits to be accepted, the first
    /// who was.
    pub(super) fn get(&self, number: PastOwnerNumber) -> (Option<Owner>, Option<Arc<Identity>>) {
        let is_known = |past: &&PastOwner| past.owner.is_some() && !past.is_caller;
        let past = self.0.get(usize::from(number.0)).map(|past| match past.owner {
            Some(_) => past,
            None => self.0.iter().find(is_known).unwrap_or(past),
        });
        past.map(|past| (past.owner, past.identity.clone())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::socket::{Comm, Socket, tests_support::socket};

    fn by(pid: u32, unit: Option<&str>) -> Happening {
        let owner =
            Some(Owner { pid, fd: None, comm: Comm::new(*b"app\0\0\0\0\0\0\0\0\0\0\0\0\0") });
        let socket = Socket { owner, ..socket() };
        let identity =
            unit.map(|unit| Arc::new(Identity { unit: Some(unit.into()), ..Identity::default() }));
        Happening { identity, ..Happening::new(socket.at, socket, Happened::ProbeSent) }
    }

    fn unit(owners: &PastOwners, number: PastOwnerNumber) -> Option<String> {
        owners.get(number).1.and_then(|it| it.unit.as_deref().map(str::to_owned))
    }

    #[test]
    fn each_owner_stays_what_it_was_and_what_is_found_out_later_is_added() {
        let mut owners = PastOwners::default();
        let numbers = [
            by(7, None),
            by(7, Some("a.service")),
            by(8, Some("b.service")),
            by(7, Some("a.service")),
        ]
        .map(|happening| owners.number(&happening));
        let units = numbers.map(|number| unit(&owners, number).unwrap_or_default());
        assert_eq!(units, ["a.service", "a.service", "b.service", "a.service"]);
        assert_eq!(owners.0.len(), 2);
    }

    #[test]
    fn a_process_id_that_is_used_again_is_another_owner() {
        let mut owners = PastOwners::default();
        let first = owners.number(&by(7, Some("a.service")));
        let second = owners.number(&by(7, Some("c.service")));
        assert_eq!(unit(&owners, first).as_deref(), Some("a.service"));
        assert_eq!(unit(&owners, second).as_deref(), Some("c.service"));
    }

    #[test]
    fn no_more_owners_are_kept_than_there_is_room_for_and_none_is_made_up() {
        let mut owners = PastOwners::default();
        let numbers: Vec<_> = (1..100).map(|pid| owners.number(&by(pid, None))).collect();
        assert_eq!(owners.0.len(), MAX_OWNERS);
        assert_eq!(owners.get(numbers[0]).0.map(|owner| owner.pid), Some(1));
        assert_eq!(owners.get(numbers[90]).0, None);
    }
}
