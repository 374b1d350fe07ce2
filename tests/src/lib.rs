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

pub mod answer;
pub mod dashboards;
pub mod guest;
pub mod kernel;
pub mod measure;
pub mod network;
pub mod rounds;
pub mod skip;
pub mod tool;
pub mod wait;
