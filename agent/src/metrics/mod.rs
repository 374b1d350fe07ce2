//! The metrics: their definitions, and a scrape.

pub mod catalogue;
mod format;
mod process;
mod scrape;

pub use format::Format;
pub use process::Process;
pub use scrape::encode;
