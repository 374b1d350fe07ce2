//! Identities of processes: looked up, remembered, and bounded.

use super::{
    cgroup::{CgroupPlace, Container, is_hex},
    cgroup_ids::Tree,
    k8s_workload,
    kubelet_logs::Logs,
    process::{ProcessSample, Processes},
    runtime_state::{self, ContainerState},
};
use crate::{
    files::Root,
    model::{
        observed::owner_identity::{Identity, KnownProcess, Runtime},
        text::sanitize::bounded,
    },
};
use std::{borrow::Cow, collections::HashMap, io, path::Path, sync::Arc};

/// An identity, and how often to look again for what was missing.
#[derive(Debug)]
struct ResolvedProcess {
    identity: Arc<Identity>,
    looks_left: u8,
}

impl Default for ResolvedProcess {
    fn default() -> Self {
        Self { identity: Arc::default(), looks_left: LOOKS }
    }
}

/// The path of a cgroup, and the user whose processes are meant.
type CgroupUser = (Box<[u8]>, Option<u32>);

/// In place of the start of a process that cannot be asked any more: whoever lives comes first.
const ENDED: u64 = u64::MAX;

/// How often a container without a name is looked up: its files may come after its first process,
/// and a pod's log after that.
const LOOKS: u8 = 8;

/// Finds what processes are part of, and remembers what it read of containers.
#[derive(Debug)]
pub struct Resolver {
    processes: Processes,
    host: Root,
    /// Names that this node may have.
    nodes: Vec<String>,
    /// By the path of the cgroup and the user. Two generations: when the young one is full, the old one goes.
    young: HashMap<CgroupUser, ResolvedProcess>,
    old: HashMap<CgroupUser, ResolvedProcess>,
    n_young: usize,
    logs: Option<Logs>,
    tree: Tree,
}

impl Resolver {
    /// Reads processes in `proc`, and the host's files below `host`: `/` for an agent on the host, else
    /// where the host is mounted. Remembers at least the `n_cgroups` last used, at most twice as many.
    pub fn new(proc: &Path, host: &Path, n_cgroups: usize) -> io::Result<Self> {
        let host = Root::open(host)?;
        Ok(Self {
            processes: Processes::open(proc)?,
            nodes: node_names(&host),
            host,
            young: HashMap::new(),
            old: HashMap::new(),
            n_young: n_cgroups.max(1),
            logs: None,
            tree: Tree::default(),
        })
    }

    /// What a process is part of now: reads two small files, and what its runtime keeps of a container
    /// that is met for the first time. Of one that has ended, what its cgroup tells, if the hooks saw its
    /// number and the cgroup is still there. Else none.
    pub fn look_up(&mut self, pid: u32, cgroup: Option<u64>) -> Option<KnownProcess> {
        let process = self.processes.read(pid).or_else(|| {
            let cgroup = self.tree.path(&self.host, cgroup?)?;
            Some(ProcessSample { started: ENDED, cgroup, uid: None })
        })?;
        let ProcessSample { started, cgroup, uid } = process;
        let place = (cgroup, uid);
        let found = self.young.remove(&place).or_else(|| self.old.remove(&place));
        let mut found = found.unwrap_or_default();
        if found.looks_left > 0 {
            let (identity, is_complete) = self.find(&CgroupPlace::of(&place.0));
            let identity = Identity { uid, ..identity };
            found.looks_left = if is_complete { 0 } else { found.looks_left - 1 };
            if identity != *found.identity {
                found.identity = Arc::new(identity);
            }
        }
        let identity = Arc::clone(&found.identity);
        if self.young.len() >= self.n_young {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(place, found);
        Some(KnownProcess { started, identity })
    }

    /// Many look-ups are done: what was listed for all of them may have changed at the next.
    pub fn pause(&mut self) {
        self.logs = None;
        self.tree.pause();
    }

    #[cfg(test)]
    pub(super) fn n_remembered(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// The identity, and whether nothing is missing that may still come.
    fn find(&mut self, place: &CgroupPlace) -> (Identity, bool) {
        let CgroupPlace { unit, container, pod_uid } = place;
        let state =
            container.as_ref().and_then(|it| runtime_state::of(&self.host, &it.id, it.runtime));
        let mut state = state.unwrap_or_default();
        if pod_uid.is_some() && (state.pod.is_none() || state.name.is_none()) {
            let id = container.as_ref().map(|it| it.id.as_str());
            let logs = self.logs.get_or_insert_with(|| Logs::list(&self.host));
            if let Some(named) = logs.of(id, pod_uid.as_deref()).cloned() {
                state.namespace.get_or_insert(named.namespace);
                state.pod.get_or_insert(named.pod);
                state.name = state.name.or(named.container);
            }
        }
        let is_complete = match (container, pod_uid) {
            (_, Some(_)) => state.pod.is_some(),
            (Some(container), None) => container.name.is_some() || state.name.is_some(),
            (None, None) => true,
        };
        let name = |name: Option<&str>| name.and_then(bounded);
        let identity = Identity {
            unit: name(unit.as_deref()),
            container: container.as_ref().and_then(|it| bounded(shown_name(it, &state))),
            container_id: name(container.as_ref().map(|it| it.id.as_str())),
            runtime: runtime(container.as_ref(), &state),
            namespace: name(state.namespace.as_deref()),
            workload: name(self.workload(&state, pod_uid.as_deref()).as_deref()),
            pod: name(state.pod.as_deref().or(pod_uid.as_deref())),
            uid: None,
        };
        (identity, is_complete)
    }

    fn workload<'a>(
        &self,
        state: &'a ContainerState,
        pod_uid: Option<&str>,
    ) -> Option<Cow<'a, str>> {
        let label = |keys: &[&str]| state.labels.first(keys);
        if let Some(pod) = &state.pod {
            // Other pods have random uids; those from files the hash of the file.
            let is_static = pod_uid.is_some_and(|uid| is_hex(uid, 32))
                || label(&["kubernetes.io/config.source"]) == Some("file");
            return Some(k8s_workload::of_pod(pod, label, is_static, &self.nodes).into());
        }
        let project = label(&["com.docker.compose.project"]);
        match (project, label(&["com.docker.compose.service"])) {
            (Some(project), Some(service)) => Some(format!("{project}-{service}").into()),
            _ => label(&[
                "com.docker.swarm.service.name",
                "com.amazonaws.ecs.task-definition-family",
                "com.hashicorp.nomad.job_name",
            ])
            .map(Cow::Borrowed),
        }
    }
}

fn runtime(container: Option<&Container>, state: &ContainerState) -> Option<Runtime> {
    container.and_then(|container| container.runtime).or(state.runtime)
}

/// The name, else as much of the id as people use.
fn shown_name<'a>(container: &'a Container, state: &'a ContainerState) -> &'a str {
    let Container { id, name, .. } = container;
    let known = name.as_deref().or(state.name.as_deref());
    known.unwrap_or_else(|| if is_hex(id, 64) { id.get(..12).unwrap_or(id) } else { id })
}

/// What this node may be called: its host name, and the first part of it.
fn node_names(host: &Root) -> Vec<String> {
    let file = host.read("etc/hostname", 4096).unwrap_or_default();
    let file = String::from_utf8_lossy(&file).trim().to_owned();
    let now = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let full = [file, now].into_iter().filter(|name| !name.is_empty());
    let mut names: Vec<String> = full
        .flat_map(|name| {
            let first = name.split('.').next().unwrap_or_default().to_owned();
            [name, first]
        })
        .collect();
    names.dedup();
    names
}
