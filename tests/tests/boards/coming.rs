//! What is used already and has not arrived. The lists must shrink to nothing: a test fails as soon as
//! something in them has arrived.

/// Commands of the runbook that keepwatch does not have.
pub(crate) const COMMANDS: [&str; 1] = ["top"];
