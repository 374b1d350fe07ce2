//! One file a signal: its entries, and what it adds to the sample.

mod destroy;
mod iterator;
mod listed;
mod look_again;
mod process_files;
mod setsockopt;
mod snapshot;
mod state_change;
mod subflows;
mod timer;
