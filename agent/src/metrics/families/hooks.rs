//! Hooks: which of them carry their signals.

use crate::{
    kernel::hooks::{HookPlace, Signal},
    metrics::{
        family::MetricFamily,
        label::{MetricLabel, closed},
        sample_writer::MetricKind,
    },
};

const SIGNAL: MetricLabel = MetricLabel {
    name: "signal",
    meaning: "what a hook reports: every socket that a process has open (`snapshot`), connections \
              that open, close or change (`state_change`), sockets that end (`destroy`), each run \
              of a keepalive timer (`keepalive_timer`), calls of setsockopt (`setsockopt`), files that a \
              process has loaded (`process_files`)",
    values: closed!(Signal::ALL, it => it.as_str()),
};

const MECHANISM: MetricLabel = MetricLabel {
    name: "mechanism",
    meaning: "how the hook is attached to the kernel",
    values: closed!(HookPlace::OF_ALL_ARCHITECTURES, place => place.name),
};

pub(super) const FAMILIES: &[MetricFamily] = &[MetricFamily {
    name: "keepwatch_hook_attached",
    kind: MetricKind::Gauge,
    help: "Whether the hook that carries a signal has been attached since the agent's start: 1 yes, \
           0 no.",
    question: "What does this agent not see? (`keepwatch doctor` says why, and the way out.)",
    labels: &[SIGNAL, MECHANISM],
    max_rows: Some(Signal::ALL.len()),
    fill: |scrape, rows| {
        let mut hooks = scrape.totals.health.hooks.iter();
        hooks.try_for_each(|&(signal, mechanism, attached)| {
            rows.row(&[signal, mechanism], u64::from(attached))
        })
    },
}];
