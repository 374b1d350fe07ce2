//! Whose connection it is: from a process id to systemd unit, container, Kubernetes namespace,
//! workload and pod, on the node alone, without asking an API server.
//!
//! 1. [`process`]: `/proc/PID/cgroup` says where a process is, `/proc/PID/stat` when it started.
//!    Of a process that has ended already, the hooks' number of its cgroup does ([`tree`]).
//! 2. [`cgroup`]: the path of its cgroup names the unit, the container's id and the pod's uid.
//! 3. [`state`]: what the container's runtime keeps on disk names container, pod and namespace.
//! 4. [`logs`]: where the runtime's state says nothing, the names of the kubelet's log files do.
//! 5. [`workload`]: the pod's name and labels tell which workload made it.
//!
//! [`Resolver`] does all that and remembers it by cgroup. Nothing here trusts what it
//! reads: files are read to a limit, below one root, and names are escaped and cut. The maker of
//! a container or cgroup chooses its name: names are shown, nothing is decided by them.

mod cgroup;
mod cgroup_ids;
#[cfg(test)]
mod cgroup_tests;
mod host_folders;
mod k8s_workload;
mod kubelet_logs;
mod process;
mod resolver;
#[cfg(test)]
mod resolver_tests;
mod runtime_state;
mod snapshot_cache;

pub(crate) use host_folders::reach;
pub use resolver::Resolver;
pub(crate) use snapshot_cache::Census;

/// What the lines of `/proc/PID/cgroup` say.
#[cfg(any(fuzzing, test))]
pub(crate) fn parsed_cgroup(file: &[u8]) {
    drop(cgroup::path_of(file).map(cgroup::CgroupPlace::of));
}
