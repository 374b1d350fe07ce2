//! How much of what the history takes: at a time, and on disk. What is worth most has room, whoever floods the rest.

pub(super) mod admission;
pub(super) mod bounds;
