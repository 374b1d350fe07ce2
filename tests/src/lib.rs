//! What the tests are made of: real sockets, network namespaces and the real `keepwatch` binary.
//!
//! They need root and leave nothing behind: namespaces, processes and files end with the value that
//! stands for them. Traffic stays on loopback and in namespaces that a test made.
#![deny(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::print_stderr,
    reason = "part of the tests: what fails here fails the test that asked for it"
)]

pub mod agent;
pub mod cgroup;
pub mod crowd;
pub mod ending;
pub mod event;
pub mod fleet;
pub mod flood;
pub mod http;
pub mod kernel_ids;
pub mod measure;
pub mod metrics;
pub mod middlebox;
pub mod mixin;
pub mod netns;
pub mod path;
pub mod population;
pub mod probe_counter;
pub mod prometheus;
pub mod promql;
pub mod rounds;
pub mod row;
pub mod skip;
pub mod socket;
mod sys;
pub mod terminal;
pub mod tool;
pub mod trace;
pub mod truth;
pub mod wait;
