//! Settings as programs change them: calls of setsockopt, and changes without one.

use crate::{
    metrics::{
        family::MetricFamily,
        label::{CONTAINER, LabelValues, MetricLabel, NAMESPACE, OPTION, PROCESS, WORKLOAD},
        sample_writer::MetricKind,
    },
    model::{
        observed::{errno::errno_name, setsockopt::SockOpt},
        table::counters::MAX_CALLS,
    },
};
use std::borrow::Cow;

const RESULT: MetricLabel = MetricLabel {
    name: "result",
    meaning: "`ok`, or the name of the error",
    values: LabelValues::AtMost { n: 30, rest: "errors without a name here are `errno N`" },
};

pub(super) const FAMILIES: &[MetricFamily] = &[
    MetricFamily {
        name: "keepwatch_setsockopt",
        kind: MetricKind::Counter,
        help: "Calls since the agent's start that set an option which decides about keepalive on a TCP \
               socket.",
        question: "Which program sets keepalive, and whose attempts fail unseen?",
        labels: &[OPTION, RESULT, NAMESPACE, WORKLOAD, CONTAINER, PROCESS],
        max_rows: Some(MAX_CALLS + 150),
        fill: |scrape, rows| {
            for ((option, errno), owner, n, _) in scrape.totals.tally.calls.iter() {
                let result = match errno {
                    0 => Cow::Borrowed("ok"),
                    errno => Cow::Owned(errno_name(errno)),
                };
                let [namespace, workload, container, process] = owner.values();
                let labels = [option.as_str(), &result, namespace, workload, container, process];
                rows.row(&labels, n)?;
            }
            Ok(())
        },
    },
    MetricFamily {
        name: "keepwatch_settings_changed_unseen",
        kind: MetricKind::Counter,
        help: "Settings of live sockets that changed since the agent's start without a setsockopt call: \
               by io_uring, a 32-bit program, BPF or the kernel itself.",
        question: "Does something set keepalive that strace would not show?",
        labels: &[OPTION],
        max_rows: None,
        fill: |scrape, rows| {
            SockOpt::ALL.iter().try_for_each(|option| {
                let n = scrape.totals.tally.changed.get(option).copied().unwrap_or(0);
                rows.row(&[option.as_str()], n)
            })
        },
    },
];
