//! Reloads: whether the configuration on disk is the one that holds.

use crate::{
    config::ReloadOutcome,
    metrics::{
        family::MetricFamily,
        label::{LabelValues, MetricLabel},
        sample_writer::MetricKind,
        scrape_input::Scrape,
    },
};

const FILES: [&str; 2] = ["config", "web_config"];

const FILE: MetricLabel = MetricLabel {
    name: "file",
    meaning: "`config` is the file of `--config`, read again at SIGHUP; `web_config` that of `--web-config-file` with the \
              certificates that it names, read again at SIGHUP and when one of them changes",
    values: LabelValues::Closed(&FILES),
};

pub(super) const FAMILIES: &[MetricFamily] = &[
    MetricFamily {
        name: "keepwatch_config_last_reload_successful",
        kind: MetricKind::Gauge,
        help: "Whether the configuration that was read last holds now (1), or was refused and an older one holds (0).",
        question: "Does the agent run with the configuration that is on disk?",
        labels: &[FILE],
        max_rows: None,
        fill: |scrape, rows| {
            of_files(scrape)
                .try_for_each(|(file, outcome)| rows.row(&[file], u64::from(outcome.is_good)))
        },
    },
    MetricFamily {
        name: "keepwatch_config_last_reload_success_timestamp_seconds",
        kind: MetricKind::Gauge,
        help: "Unix time at which the configuration that holds now was read.",
        question: "Since when does this configuration hold?",
        labels: &[FILE],
        max_rows: None,
        fill: |scrape, rows| {
            of_files(scrape)
                .try_for_each(|(file, outcome)| rows.row(&[file], outcome.good_at_seconds))
        },
    },
];

fn of_files(scrape: &Scrape) -> impl Iterator<Item = (&'static str, ReloadOutcome)> {
    FILES.into_iter().zip([scrape.reloads.config, scrape.reloads.web_config])
}
