//! The metrics: what is exported, what it means, and how a scrape is written.
//!
//! `families` has a file for each group of metrics: name, help, question, labels, and beside them the function that
//! fills the rows. Encoding, docs/METRICS.md and the tests of dashboards, rules and alerts all read that list.

mod agent_process;
mod encode;
mod families;
mod family;
mod label;
mod rows;
mod scrape;
mod scrape_format;

pub use agent_process::AgentProcess;
pub use encode::encode;
pub use families::families;
pub use family::{MAX_SERIES, MetricFamily};
pub use label::{LabelValues, MetricLabel};
pub use rows::MetricKind;
pub use scrape_format::ScrapeFormat;

#[cfg(test)]
mod tests;
