//! What is used already and has not arrived. Each list must shrink to nothing: a test fails as soon as
//! something in it has arrived.

/// Labels of every metric that has an owner.
pub(crate) const OWNER: [&str; 3] = ["namespace", "workload", "container"];

/// Metrics that the catalogue does not have, and labels that it does not give them.
pub(crate) const METRICS: [(&str, &[&str]); 11] = [
    ("keepwatch_sockets", &["path", "namespace", "workload", "container"]),
    ("keepwatch_sockets_quiet_past_limit", &["path", "namespace", "workload", "container"]),
    ("keepwatch_sockets_probing", &OWNER),
    ("keepwatch_probes_sent_total", &[]),
    ("keepwatch_probes_answered_total", &[]),
    ("keepwatch_timer_fires_total", &["outcome"]),
    (
        "keepwatch_deaths_total",
        &["direction", "cause", "verdict", "path", "namespace", "workload", "container", "process"],
    ),
    ("keepwatch_quiet_before_death_seconds", &["cause"]),
    (
        "keepwatch_setsockopt_total",
        &["option", "result", "namespace", "workload", "container", "process"],
    ),
    ("keepwatch_settings_changed_unseen_total", &["option"]),
    ("keepwatch_path_idle_limit_seconds", &["path", "source"]),
];

/// Commands of the runbook that keepwatch does not have.
pub(crate) const COMMANDS: [&str; 4] = ["why", "top", "trace", "check"];
