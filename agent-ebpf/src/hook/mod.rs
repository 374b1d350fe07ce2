//! One file a signal: its entries, and what it adds to the sample.

mod destroy;
mod setsockopt;
mod snapshot;
mod state_change;
mod timer;
