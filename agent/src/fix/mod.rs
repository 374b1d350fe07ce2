//! Turning keepalive on for live connections of other programs: no restart, no library, no change to what they run.
//!
//! [`plan`] decides from a row alone what would be set, or why the connection is left alone; [`apply`] writes down what it
//! is about to do, borrows the very socket and sets it; [`journal`] is that record on disk; [`undo`] takes back what still
//! is exactly as it was set, and [`taken_back`] knows what undoing had to write. The agent has no part in it: it can change nothing, and sees these calls like all others.

pub(crate) mod apply;
pub(crate) mod journal;
pub(crate) mod known;
pub(crate) mod plan;
pub(crate) mod taken_back;
pub(crate) mod undo;
