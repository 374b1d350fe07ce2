//! `keepwatch drill`: paths of live connections that are cut on purpose, in namespaces of the test. The programs are cat(1):
//! one reads from its connection, one writes to it what the test says.
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

mod endings;
mod notes;
mod notices;
mod refusals;
mod stage;
