//! The processes of one walk, each looked up once.

use super::Resolver;
use crate::model::observed::{
    owner_identity::{Identity, KnownProcess, OwnerCandidate, foremost},
    socket::Owner,
};
use std::{collections::HashMap, sync::Arc};

/// More processes than that are not remembered at a time: the default of `kernel.pid_max`.
const MAX_PROCESSES: usize = 32 << 10;

/// What is known of processes, for as long as a walk lasts.
#[derive(Debug)]
pub(crate) struct Census {
    resolver: Resolver,
    known: HashMap<u32, Option<KnownProcess>>,
}

impl Census {
    /// A census without processes.
    pub(crate) fn new(resolver: Resolver) -> Self {
        Self { resolver, known: HashMap::new() }
    }

    /// Another walk begins: processes may have moved, ended, or be others with the same id.
    pub(crate) fn begin(&mut self) {
        self.known.clear();
        self.resolver.pause();
    }

    /// Puts the owner that counts first, and tells what it is part of.
    pub(crate) fn sort(&mut self, owners: &mut [Owner]) -> Option<Arc<Identity>> {
        for owner in &*owners {
            self.meet(owner.pid);
        }
        if owners.len() > 1 {
            let candidates = owners.iter().map(|&owner| self.candidate(owner));
            let first = foremost(candidates);
            owners.sort_unstable_by_key(|owner| (Some(*owner) != first, *owner));
        }
        let known = self.known.get(&owners.first()?.pid)?.as_ref()?;
        Some(Arc::clone(&known.identity))
    }

    fn meet(&mut self, pid: u32) {
        if !self.known.contains_key(&pid) {
            if self.known.len() >= MAX_PROCESSES {
                self.known.clear();
            }
            self.known.insert(pid, self.resolver.look_up(pid, None));
        }
    }

    fn candidate(&self, owner: Owner) -> OwnerCandidate<'_> {
        OwnerCandidate::new(owner, self.known.get(&owner.pid).and_then(Option::as_ref))
    }
}
