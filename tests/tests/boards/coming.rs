//! What is used already and has not arrived. The lists must shrink to nothing: a test fails as soon as
//! something in them has arrived.

/// A label value that no agent exports: metric, label, value.
pub(crate) const VALUE: (&str, &str, &str) =
    ("keepwatch_path_idle_limit_seconds", "source", "learned");

/// Whether a selector asks for that value.
pub(crate) fn asks_for(metric: &str, label: &str, value: &str) -> bool {
    VALUE == (metric, label, value)
}

/// Commands of the runbook that keepwatch does not have.
pub(crate) const COMMANDS: [&str; 2] = ["why", "check"];
