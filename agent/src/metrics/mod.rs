//! The metrics: what is exported, what it means, and how a scrape is written.
//!
//! `families` has a file for each group of metrics: name, help, question, labels, and beside them the function that
//! fills the rows. Encoding, docs/METRICS.md and the tests of dashboards, rules and alerts all read that list.

mod agent_process;
mod encode;
mod families;
mod family;
mod label;
mod sample_writer;
mod scrape_format;
mod scrape_input;
mod textfile;

pub(crate) use agent_process::AgentProcess;
pub(crate) use encode::encode;
pub use families::families;
#[cfg(test)]
pub(crate) use family::MAX_SERIES;
pub use family::MetricFamily;
pub use label::LabelValues;
#[cfg(test)]
pub(crate) use label::MetricLabel;
pub use sample_writer::MetricKind;
pub(crate) use scrape_format::{ScrapeFormat, takes_gzip};
pub use textfile::families_of_files;
pub(crate) use textfile::{
    FIX, FIX_LEFT_ALONE, Textfile, VERIFIED_SOCKETS, VERIFIED_TIMESTAMP, VerifyResult,
};

#[cfg(test)]
mod tests;
