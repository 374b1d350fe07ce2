//! Which workload made a pod: from its labels, where the runtime keeps them; else from how
//! controllers name pods. The name is that of `kubectl rollout`: Deployment, StatefulSet, DaemonSet,
//! Job, CronJob; of a pod that nobody made its own.
//!
//! `app.kubernetes.io/name` is not asked: several workloads of an application share it.

use super::cgroup::is_number;

/// What Kubernetes makes random names of (apimachinery, pkg/util/rand): no vowels, so no words.
const RANDOM: &str = "bcdfghjklmnpqrstvwxz2456789";
/// What it makes of the ten digits of a hash (rand.SafeEncodeString).
const HASH: &str = "456789bcdf";

/// The workload of a pod. `label` finds the value of one of the pod's labels; `nodes`: names that this
/// node may have, for static pods, which the kubelet calls NAME-NODE.
pub(super) fn of_pod<'a>(
    pod: &'a str,
    label: impl Fn(&[&str]) -> Option<&'a str>,
    is_static: bool,
    nodes: &[String],
) -> &'a str {
    if let Some(job) = label(&["batch.kubernetes.io/job-name", "job-name"]) {
        return of_job(job);
    }
    if label(&["statefulset.kubernetes.io/pod-name"]).is_some() {
        return of_stateful_set(pod).unwrap_or(pod);
    }
    if let Some(hash) = label(&["pod-template-hash"])
        && let Some((replicas, _)) = pod.rsplit_once('-')
        && let Some(name) = replicas.strip_suffix(hash).and_then(|name| name.strip_suffix('-'))
    {
        return name;
    }
    if is_static {
        let of_node = |node: &String| pod.strip_suffix(node.as_str())?.strip_suffix('-');
        return nodes.iter().find_map(of_node).unwrap_or(pod);
    }
    of_random(pod).or_else(|| of_stateful_set(pod)).unwrap_or(pod)
}

/// NAME-HASH-RANDOM of a Deployment, NAME-TIME-RANDOM of a CronJob, NAME-RANDOM of the others.
fn of_random(pod: &str) -> Option<&str> {
    let (owner, random) = pod.rsplit_once('-')?;
    if random.len() != 5 || !random.chars().all(|c| RANDOM.contains(c)) {
        return None;
    }
    let of_deployment = owner.rsplit_once('-').filter(|(_, hash)| {
        // A hash of 32 bits: seldom fewer than eight digits.
        (6..=10).contains(&hash.len()) && hash.chars().all(|c| HASH.contains(c))
    });
    Some(of_deployment.map_or_else(|| of_job(owner), |(name, _)| name))
}

/// A CronJob's jobs are called NAME-TIME: minutes since 1970, before Kubernetes 1.21 seconds.
fn of_job(job: &str) -> &str {
    job.rsplit_once('-')
        .filter(|(_, time)| matches!(time.len(), 8 | 10) && is_number(time))
        .map_or(job, |(name, _)| name)
}

/// NAME-ORDINAL.
fn of_stateful_set(pod: &str) -> Option<&str> {
    let (name, ordinal) = pod.rsplit_once('-')?;
    let is_ordinal = is_number(ordinal) && ordinal.len() <= 5;
    (is_ordinal && (ordinal == "0" || !ordinal.starts_with('0'))).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_name(pod: &str) -> &str {
        of_pod(pod, |_| None, false, &[])
    }

    #[test]
    fn controllers_name_pods_after_themselves() {
        let cases = [
            // Deployment: ReplicaSet's hash, then five random characters.
            ("coredns-5dd5756b68-x7k2p", "coredns"),
            ("nginx-7c5ddbdf54-2xwvz", "nginx"),
            ("my-app-v2-6b4d8f9c7-qwz5k", "my-app-v2"),
            // DaemonSet, ReplicaSet, Job: five random characters.
            ("kube-proxy-x7k2p", "kube-proxy"),
            ("migrate-db-8k4zt", "migrate-db"),
            // CronJob: minutes, or seconds, since 1970.
            ("backup-28345680-9w6xk", "backup"),
            ("backup-1610000400-9w6xk", "backup"),
            // StatefulSet: an ordinal.
            ("postgres-0", "postgres"),
            ("kafka-broker-12", "kafka-broker"),
            // Nobody's, or words that look a little like it.
            ("debug", "debug"),
            ("redis-proxy", "redis-proxy"),
            ("web-admin", "web-admin"),
            ("node-01", "node-01"),
            ("release-2024", "release"),
        ];
        for (pod, workload) in cases {
            assert_eq!(by_name(pod), workload, "{pod}");
        }
    }

    #[test]
    fn labels_of_controllers_are_better_than_names() {
        let with = |pod: &'static str, key: &'static str, value: &'static str| {
            of_pod(pod, move |keys| keys.contains(&key).then_some(value), false, &[])
        };
        // A hash too short to be recognised, a Job whose name ends like a StatefulSet's pod.
        assert_eq!(with("web-5b-x7k2p", "pod-template-hash", "5b"), "web");
        assert_eq!(with("train-3-0-x7k2p", "batch.kubernetes.io/job-name", "train-3"), "train-3");
        assert_eq!(with("b-28345680-9w6xk", "job-name", "b-28345680"), "b");
        assert_eq!(with("db-3", "statefulset.kubernetes.io/pod-name", "db-3"), "db");
        // A label that does not fit the name says nothing.
        assert_eq!(with("web-5b-x7k2p", "pod-template-hash", "77"), "web-5b");
    }

    #[test]
    fn a_static_pod_is_named_after_its_node() {
        let nodes = ["cp-1.example.org".to_owned(), "cp-1".to_owned()];
        let of = |pod| of_pod(pod, |_| None, true, &nodes);
        assert_eq!(of("kube-apiserver-cp-1"), "kube-apiserver");
        assert_eq!(of("etcd-cp-1.example.org"), "etcd");
        assert_eq!(of("etcd-other"), "etcd-other");
    }

    #[test]
    fn no_name_is_too_strange() {
        for pod in ["", "-", "--", "-0", "é-x7k2p", "x7k2p", "-x7k2p"] {
            assert!(pod.starts_with(by_name(pod)), "{pod}");
        }
    }
}
