//! What drives the kernel: sockets, namespaces and cgroups of every kind, and what it says of them itself.

pub mod cgroup;
pub mod churn;
pub mod container;
pub mod crowd;
pub mod flood;
pub mod halted_program;
pub mod kernel_ids;
pub mod memory;
pub mod netns;
pub mod population;
pub mod probe_counter;
pub mod sandboxed;
pub mod socket;
pub(crate) mod sys;
