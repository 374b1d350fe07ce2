//! The names of the kubelet's log files, which say whose a container is whatever its runtime:
//! `/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log`, `/var/log/pods/NAMESPACE_POD_UID/CONTAINER/`
//! (pkg/kubelet/kuberuntime/legacy.go and helpers.go). No name in Kubernetes has a `_`.

use super::cgroup::{ID_DIGITS, is_hex};
use crate::files::Root;
use std::collections::HashMap;

/// A node has at most a few hundred pods; of each container some generations stay.
const MAX_ENTRIES: usize = 20_000;

/// Where they are.
pub(super) const FOLDERS: [&str; 2] = ["var/log/containers", "var/log/pods"];

/// The names that Kubernetes gave a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: Option<String>,
}

/// The folders' names, listed once for many questions.
#[derive(Debug)]
pub(super) struct Logs {
    containers: HashMap<String, Named>,
    pods: HashMap<String, Named>,
}

impl Logs {
    pub(super) fn list(root: &Root) -> Self {
        let [containers, pods] = FOLDERS.map(|folder| root.names(folder, MAX_ENTRIES));
        Self {
            containers: containers.iter().filter_map(|name| of_container(name)).collect(),
            pods: pods
                .iter()
                .filter_map(|name| {
                    let (uid, mut named) = of_pod(name)?;
                    let folders = root.names(&format!("var/log/pods/{name}"), 2);
                    if let [only] = folders.as_slice() {
                        named.container = Some(only.clone());
                    }
                    Some((uid, named))
                })
                .collect(),
        }
    }

    /// By the container's id, else by the pod's uid; then the container has a name if it is the only
    /// one of the pod.
    pub(super) fn of(&self, id: Option<&str>, pod_uid: Option<&str>) -> Option<&Named> {
        id.and_then(|id| self.containers.get(id))
            .or_else(|| pod_uid.and_then(|uid| self.pods.get(uid)))
    }
}

fn of_container(file: &str) -> Option<(String, Named)> {
    let (names, id) = file.strip_suffix(".log")?.rsplit_once('-')?;
    let [pod, namespace, container] = three(names)?;
    let named = Named {
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        container: Some(container.to_owned()),
    };
    is_hex(id, ID_DIGITS).then(|| (id.to_owned(), named))
}

fn of_pod(folder: &str) -> Option<(String, Named)> {
    let [namespace, pod, uid] = three(folder)?;
    let named = Named { namespace: namespace.to_owned(), pod: pod.to_owned(), container: None };
    Some((uid.to_owned(), named))
}

fn three(names: &str) -> Option<[&str; 3]> {
    let mut parts = names.split('_').filter(|part| !part.is_empty());
    let found = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(namespace: &str, pod: &str, container: Option<&str>) -> Named {
        let own = str::to_owned;
        Named { namespace: own(namespace), pod: own(pod), container: container.map(own) }
    }

    #[test]
    fn file_names_tell_namespace_pod_and_container() {
        let id = "ab".repeat(32);
        let file = format!("kube-proxy-x7k2p_kube-system_kube-proxy-{id}.log");
        let expected = named("kube-system", "kube-proxy-x7k2p", Some("kube-proxy"));
        assert_eq!(of_container(&file), Some((id, expected)));
        let folder = "default_web-7c5ddbdf54-x7k2p_3d274242-8ee0-11e9-a8a6-1e68d864ef1a";
        let uid = "3d274242-8ee0-11e9-a8a6-1e68d864ef1a".to_owned();
        assert_eq!(of_pod(folder), Some((uid, named("default", "web-7c5ddbdf54-x7k2p", None))));
    }

    #[test]
    fn other_names_tell_nothing() {
        for file in ["", "a_b_c.log", "a_b_c-12.log", "_b_c-12.log", "a-b.log", "-.log"] {
            assert_eq!(of_container(file), None, "{file}");
        }
        for folder in ["", "a_b", "a_b_", "a_b_c_d", "lost+found"] {
            assert_eq!(of_pod(folder), None, "{folder}");
        }
    }
}
