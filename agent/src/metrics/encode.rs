//! Writes a scrape: every family, in the wanted format.

use super::{
    agent_process::AgentProcess,
    families::{BY_HOOKS, families},
    family::MetricFamily,
    scrape_format::{ScrapeFormat, text_of},
    scrape_input::Scrape,
};
use crate::{config::Reloads, kernel::sandbox::Sandbox, model::table::sums::Totals, store};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::Registry,
};
use std::{fmt, sync::Arc};

/// Room for the scrape of a host with a few owners: larger ones grow.
const USUAL_BYTES: usize = 16 << 10;

/// The scrape in the wanted format.
pub(crate) fn encode(
    totals: Arc<Totals>,
    process: AgentProcess,
    history: store::HistoryStatus,
    reloads: Reloads,
    sandbox: Sandbox,
    format: ScrapeFormat,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { totals, process, history, reloads, sandbox }));
    let mut openmetrics = String::with_capacity(USUAL_BYTES);
    text::encode(&mut openmetrics, &registry)?;
    Ok(match format {
        ScrapeFormat::OpenMetrics => openmetrics,
        ScrapeFormat::Text => text_of(&openmetrics),
    })
}

impl Collector for Scrape {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let has_hooks = self.totals.health.without_ebpf.is_none();
        let is_known = |family: &&MetricFamily| has_hooks || !BY_HOOKS.contains(&family.name);
        families().filter(is_known).try_for_each(|family| family.encode(self, &mut out))
    }
}
