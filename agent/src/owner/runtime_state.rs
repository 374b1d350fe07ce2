//! What container runtimes keep on disk of each container: its name, and the pod that it is of.
//!
//! | runtime | file | read there |
//! |---|---|---|
//! | containerd | `io.containerd.runtime.v2.task/NAMESPACE/ID/config.json` | annotations `io.kubernetes.cri.*`, `nerdctl/name` |
//! | CRI-O | `overlay-containers/ID/userdata/config.json` | annotations `io.kubernetes.*`, `io.kubernetes.cri-o.*` |
//! | Podman | `overlay-containers/containers.json` | names |
//! | Docker | `containers/ID/config.v2.json` | name; labels of kubelet, Compose, Swarm, ECS, Nomad |
//!
//! containerd and CRI-O write the container's OCI config; none keeps the pod's labels with the
//! container. CRI-O and cri-dockerd keep them with the pod's sandbox, which is a container too.

use super::cgroup::{ID_DIGITS, is_hex};
use crate::{files::Root, model::observed::owner_identity::Runtime};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// The config of a container with hundreds of mounts is some 100 KB.
const CONFIG_BYTES: usize = 1 << 20;
/// Podman's list has about 1 KB a container.
const LIST_BYTES: usize = 4 << 20;

/// Of containerd itself, and of those that bring it along.
pub(super) const CONTAINERD: [&str; 4] = [
    "run/containerd",
    "run/k3s/containerd",
    "run/k0s/containerd",
    "var/snap/microk8s/common/run/containerd",
];
/// Of CRI-O, and the second of Podman, too.
pub(super) const STORAGE: [&str; 2] = ["run/containers/storage", "var/lib/containers/storage"];
/// Of Docker.
pub(super) const DOCKER: [&str; 2] =
    ["var/lib/docker/containers", "var/snap/docker/common/var-lib-docker/containers"];

/// What is known of a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ContainerState {
    pub(super) runtime: Option<Runtime>,
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) pod: Option<String>,
    /// Of the container, then of its pod.
    pub(super) labels: ContainerLabels,
}

/// Labels and annotations of a container, as they stand there.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct ContainerLabels(HashMap<String, Value>);

impl ContainerLabels {
    /// The first of these that is there, as a text that is not empty.
    pub(super) fn first(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().filter_map(|key| self.0.get(*key)?.as_str()).find(|value| !value.is_empty())
    }

    fn own(&self, keys: &[&str]) -> Option<String> {
        self.first(keys).map(str::to_owned)
    }

    /// Those of `other` that are not there yet.
    fn extend(&mut self, other: Self) {
        for (key, value) in other.0 {
            self.0.entry(key).or_insert(value);
        }
    }
}

/// Looks where the runtime keeps its state; where the path does not tell which it is, everywhere.
pub(super) fn of(root: &Root, id: &str, runtime: Option<Runtime>) -> Option<ContainerState> {
    if !is_hex(id, ID_DIGITS) {
        return None;
    }
    match runtime {
        Some(Runtime::Containerd) => containerd(root, id),
        Some(Runtime::CriO) => crio(root, id),
        Some(Runtime::Docker) => docker(root, id),
        Some(Runtime::Podman) => podman(root, id),
        None => containerd(root, id).or_else(|| crio(root, id)).or_else(|| docker(root, id)),
        Some(_) => None,
    }
}

/// An OCI config (opencontainers/runtime-spec, config.md).
#[derive(Deserialize)]
struct OciConfig {
    #[serde(default)]
    annotations: ContainerLabels,
}

fn oci_annotations(root: &Root, path: &str) -> Option<ContainerLabels> {
    let config: OciConfig = serde_json::from_slice(&root.read(path, CONFIG_BYTES)?).ok()?;
    Some(config.annotations)
}

fn containerd(root: &Root, id: &str) -> Option<ContainerState> {
    let labels = CONTAINERD.iter().find_map(|run| {
        ["k8s.io", "default"].iter().find_map(|namespace| {
            let task = "io.containerd.runtime.v2.task";
            oci_annotations(root, &format!("{run}/{task}/{namespace}/{id}/config.json"))
        })
    })?;
    Some(ContainerState {
        runtime: Some(Runtime::Containerd),
        name: labels.own(&["io.kubernetes.cri.container-name", "nerdctl/name"]),
        namespace: labels.own(&["io.kubernetes.cri.sandbox-namespace"]),
        pod: labels.own(&["io.kubernetes.cri.sandbox-name"]),
        labels,
    })
}

fn crio(root: &Root, id: &str) -> Option<ContainerState> {
    let annotations = |id: &str| {
        STORAGE.iter().find_map(|storage| {
            let path = format!("{storage}/overlay-containers/{id}/userdata/config.json");
            let mut labels = oci_annotations(root, &path)?;
            let inner = labels.first(&["io.kubernetes.cri-o.Labels"]);
            if let Some(inner) = inner.and_then(|text| serde_json::from_str(text).ok()) {
                labels.extend(inner);
            }
            Some(labels)
        })
    };
    let mut labels = annotations(id)?;
    if let Some(sandbox) = sandbox_of(&labels, id, "io.kubernetes.cri-o.SandboxID") {
        labels.extend(annotations(&sandbox).unwrap_or_default());
    }
    Some(ContainerState {
        runtime: Some(Runtime::CriO),
        name: labels.own(&["io.kubernetes.container.name", "io.kubernetes.cri-o.ContainerName"]),
        namespace: labels.own(&["io.kubernetes.pod.namespace", "io.kubernetes.cri-o.Namespace"]),
        pod: labels.own(&["io.kubernetes.pod.name", "io.kubernetes.cri-o.KubeName"]),
        labels,
    })
}

/// The id of the sandbox of a container; none for a sandbox itself.
fn sandbox_of(labels: &ContainerLabels, id: &str, key: &str) -> Option<String> {
    labels.own(&[key]).filter(|sandbox| sandbox != id && is_hex(sandbox, ID_DIGITS))
}

/// `config.v2.json`, of what is in it the little that is needed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerConfig {
    #[serde(default)]
    name: String,
    #[serde(default)]
    config: DockerOptions,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerOptions {
    #[serde(default)]
    labels: Option<ContainerLabels>,
}

fn docker(root: &Root, id: &str) -> Option<ContainerState> {
    let config = |id: &str| {
        DOCKER.iter().find_map(|containers| {
            let path = format!("{containers}/{id}/config.v2.json");
            let config = root.read(&path, CONFIG_BYTES)?;
            serde_json::from_slice::<DockerConfig>(&config).ok()
        })
    };
    let DockerConfig { name, config: options } = config(id)?;
    let mut labels = options.labels.unwrap_or_default();
    if let Some(sandbox) = sandbox_of(&labels, id, "io.kubernetes.sandbox.id") {
        labels.extend(config(&sandbox).and_then(|it| it.config.labels).unwrap_or_default());
    }
    let name_of_task =
        ["io.kubernetes.container.name", "com.amazonaws.ecs.container-name", NOMAD_TASK];
    let name = name.strip_prefix('/').unwrap_or(&name).to_owned();
    Some(ContainerState {
        runtime: Some(Runtime::Docker),
        name: labels.own(&name_of_task).or_else(|| (!name.is_empty()).then_some(name)),
        namespace: labels.own(&["io.kubernetes.pod.namespace"]),
        pod: labels.own(&["io.kubernetes.pod.name"]),
        labels,
    })
}

const NOMAD_TASK: &str = "com.hashicorp.nomad.task_name";

#[derive(Deserialize)]
struct PodmanContainer {
    #[serde(default)]
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

fn podman(root: &Root, id: &str) -> Option<ContainerState> {
    let path = "var/lib/containers/storage/overlay-containers/containers.json";
    let containers: Vec<PodmanContainer> =
        serde_json::from_slice(&root.read(path, LIST_BYTES)?).ok()?;
    let found = containers.into_iter().find(|container| container.id == id)?;
    Some(ContainerState {
        runtime: Some(Runtime::Podman),
        name: found.names.into_iter().next(),
        ..ContainerState::default()
    })
}
