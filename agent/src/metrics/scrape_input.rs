//! What a scrape reads: the sums that were published last, and the agent's own figures.

use super::agent_process::AgentProcess;
use crate::{
    config::Reloads,
    model::{judgement::idle_limit::PathNumber, table::sums::Totals},
    store,
};
use std::sync::Arc;

/// The source of every number in a scrape.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) totals: Arc<Totals>,
    pub(super) process: AgentProcess,
    pub(super) history: store::HistoryStatus,
    pub(super) reloads: Reloads,
}

impl Scrape {
    /// The name of a path: a value of the label `path`.
    pub(super) fn path(&self, number: PathNumber) -> &str {
        self.totals.around.as_ref().map_or("", |around| around.limits.name(number))
    }
}
