//! What is used already and has not arrived. Each list must shrink to nothing: a test fails as soon as
//! something in it has arrived.

/// Labels of every metric that has an owner.
pub(crate) const OWNER: [&str; 3] = ["namespace", "workload", "container"];

/// What the path of a connection and its owner add.
const PATH_AND_OWNER: [&str; 4] = ["path", "namespace", "workload", "container"];

/// Metrics that the catalogue does not have, and labels that it does not give them.
pub(crate) const METRICS: [(&str, &[&str]); 6] = [
    ("keepwatch_sockets", &PATH_AND_OWNER),
    ("keepwatch_sockets_quiet_past_limit", &PATH_AND_OWNER),
    ("keepwatch_sockets_probing", &OWNER),
    ("keepwatch_deaths_total", &PATH_AND_OWNER),
    ("keepwatch_setsockopt_total", &OWNER),
    ("keepwatch_path_idle_limit_seconds", &["path", "source"]),
];

/// Commands of the runbook that keepwatch does not have.
pub(crate) const COMMANDS: [&str; 3] = ["why", "top", "check"];
