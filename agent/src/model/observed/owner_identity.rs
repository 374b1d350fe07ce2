//! The identity of a process: its unit, container, pod. And which of several owners a connection is
//! counted for.

use super::socket::{Comm, Owner};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The program that made a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are names of products")]
pub enum Runtime {
    Containerd,
    CriO,
    Docker,
    Ecs,
    Garden,
    Libvirt,
    Lxc,
    Nomad,
    Nspawn,
    Podman,
}

/// What a process is part of. Every name is harmless to print, and short.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// systemd unit, the innermost; of a login session its user's slice. None in a pod.
    pub unit: Option<Box<str>>,
    /// The container's name; the first 12 digits of its id while the name is not known.
    pub container: Option<Box<str>>,
    /// The container's whole id, or what serves as one.
    pub container_id: Option<Box<str>>,
    /// The program that made the container, if a cgroup or file shows it.
    pub runtime: Option<Runtime>,
    /// The Kubernetes namespace of the pod.
    pub namespace: Option<Box<str>>,
    /// Kubernetes workload; of other containers the service that they are replicas of.
    pub workload: Option<Box<str>>,
    /// Kubernetes pod; its uid while the name is not known.
    pub pod: Option<Box<str>>,
    /// The user that it runs as: its effective user id, as the host counts it.
    pub uid: Option<u32>,
}

/// A part of an identity that a rule or a filter can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdentityPart {
    /// The systemd unit.
    Unit,
    /// The container: its name, or 12 digits or more of its id, as tools print them.
    Container,
    /// The Kubernetes namespace.
    Namespace,
    /// The workload.
    Workload,
    /// The Kubernetes pod.
    Pod,
}

impl IdentityPart {
    /// Whether `word` means this part, which is `of`. A container's id means it too: 12 digits or more, as tools print
    /// them. A unit without a suffix is a service, as systemctl takes it.
    pub fn is_meant(self, word: &str, of: Option<&str>, container_id: Option<&str>) -> bool {
        let is_id = |id: &str| self == Self::Container && word.len() >= 12 && id.starts_with(word);
        let is_service =
            |unit: &str| self == Self::Unit && unit.strip_suffix(".service") == Some(word);
        of.is_some_and(|of| of == word || is_service(of)) || container_id.is_some_and(is_id)
    }
}

impl Identity {
    /// Whether this part of it has this name.
    pub fn is(&self, part: IdentityPart, name: &str) -> bool {
        let of = match part {
            IdentityPart::Unit => &self.unit,
            IdentityPart::Container => &self.container,
            IdentityPart::Namespace => &self.namespace,
            IdentityPart::Workload => &self.workload,
            IdentityPart::Pod => &self.pod,
        };
        part.is_meant(name, of.as_deref(), self.container_id.as_deref())
    }

    /// Whether it is an init or a service manager: such a process holds sockets for others.
    fn is_init(&self) -> bool {
        self.unit.as_deref().is_some_and(|unit| unit == "init.scope" || unit.starts_with("user@"))
    }
}

/// What was looked up of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownProcess {
    /// When it started, in ticks since boot: with its id what is not reused.
    pub started: u64,
    /// What it is part of.
    pub identity: Arc<Identity>,
}

/// A process that has a socket open, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct OwnerCandidate<'a> {
    /// The process id, the descriptor and the name.
    pub owner: Owner,
    /// When it started, in ticks since boot.
    pub started: Option<u64>,
    /// What it is part of.
    pub identity: Option<&'a Identity>,
}

impl<'a> OwnerCandidate<'a> {
    /// An owner with this start and identity.
    pub fn new(owner: Owner, known: Option<&'a KnownProcess>) -> Self {
        Self {
            owner,
            started: known.map(|known| known.started),
            identity: known.map(|known| &*known.identity),
        }
    }
}

/// The owner that a connection is counted for, of several that have it open:
///
/// 1. One in a container before one outside: conmon or a shim that inherited the descriptor of what
///    it watches, a proxy that passed it in.
/// 2. One in a systemd service before one that is in none; those before init and service managers,
///    which hold sockets for the services that they start (socket activation).
/// 3. The one that started first: the process that opened the connection is older than the one that
///    inherited it, be it the worker of a server that forks, or a command that a leaked descriptor went to.
/// 4. The lowest process id, then descriptor: so that the answer is always the same.
pub fn foremost<'a>(candidates: impl IntoIterator<Item = OwnerCandidate<'a>>) -> Option<Owner> {
    let key = |candidate: &OwnerCandidate<'_>| {
        let OwnerCandidate { owner, started, identity } = candidate;
        let is_init = owner.pid == 1 || identity.is_some_and(Identity::is_init);
        let in_service = identity
            .and_then(|identity| identity.unit.as_deref())
            .is_some_and(|unit| unit.ends_with(".service"));
        (
            identity.is_none_or(|identity| identity.container.is_none()),
            if is_init { 2 } else { u8::from(!in_service) },
            started.unwrap_or(u64::MAX),
            *owner,
        )
    };
    candidates.into_iter().min_by_key(key).map(|candidate| candidate.owner)
}

/// What several processes may have in common: a name, and what they are part of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedOwner {
    /// The process's name; empty where no owner is known.
    pub process: Comm,
    /// What it is part of, once that is known.
    pub identity: Option<Arc<Identity>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::socket::Comm;

    fn unit(name: &str) -> Identity {
        Identity { unit: Some(name.into()), ..Identity::default() }
    }

    fn container(name: &str) -> Identity {
        Identity { container: Some(name.into()), ..Identity::default() }
    }

    /// The id of the foremost of processes given by id, start and identity, whatever their order.
    fn pid_of(processes: &[(u32, u64, Option<Identity>)]) -> u32 {
        let owner = |pid| Owner { pid, fd: Some(3), comm: Comm::default() };
        let candidate = |(pid, started, identity): &'_ (u32, u64, Option<Identity>)| {
            (owner(*pid), *started, identity.clone())
        };
        let found: Vec<_> = processes.iter().map(candidate).collect();
        let foremost = |order: Vec<&(Owner, u64, Option<Identity>)>| {
            let candidates = order.into_iter().map(|(owner, started, identity)| OwnerCandidate {
                owner: *owner,
                started: Some(*started),
                identity: identity.as_ref(),
            });
            foremost(candidates).unwrap().pid
        };
        let pid = foremost(found.iter().collect());
        assert_eq!(foremost(found.iter().rev().collect()), pid, "the order does not matter");
        pid
    }

    #[test]
    fn an_activated_service_before_the_init_that_holds_its_socket() {
        let init = || (1, 0, Some(unit("init.scope")));
        assert_eq!(pid_of(&[init(), (812, 50, Some(unit("ssh.service")))]), 812);
        assert_eq!(pid_of(&[init(), (812, 50, None)]), 812, "even if nothing is known of it");
        let manager = (700, 40, Some(unit("user@1000.service")));
        assert_eq!(pid_of(&[manager, (900, 90, Some(unit("podman.service")))]), 900);
        // Under an init that is no systemd, in a container of its own or without cgroups.
        assert_eq!(pid_of(&[(1, 0, None), (9, 9, None)]), 9);
    }

    #[test]
    fn what_is_in_a_container_before_what_watches_over_it() {
        let conmon = (500, 10, Some(unit("redis.service")));
        assert_eq!(pid_of(&[conmon, (510, 11, Some(container("redis")))]), 510);
        let shim = (600, 20, Some(unit("containerd.service")));
        assert_eq!(pid_of(&[shim, (610, 21, Some(container("web")))]), 610);
        let inside = Identity { unit: Some("init.scope".into()), ..container("guest") };
        assert_eq!(pid_of(&[(1, 0, Some(unit("init.scope"))), (70, 9, Some(inside))]), 70);
    }

    #[test]
    fn the_master_before_workers_that_inherited_even_after_process_ids_wrapped() {
        let nginx = || Some(unit("nginx.service"));
        assert_eq!(
            pid_of(&[(32_000, 10, nginx()), (300, 90, nginx()), (301, 91, nginx())]),
            32_000
        );
        assert_eq!(pid_of(&[(7, 5, None), (6, 5, None)]), 6, "started in the same tick");
    }

    #[test]
    fn a_service_before_a_command_in_a_session_that_got_its_descriptor() {
        let shell = (400, 1, Some(unit("user-0.slice")));
        assert_eq!(pid_of(&[shell, (500, 2, Some(unit("db.service")))]), 500);
    }

    #[test]
    fn of_no_owner_none_is_foremost() {
        assert_eq!(foremost([]), None);
    }
}
