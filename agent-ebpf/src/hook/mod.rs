//! One file a hook: its entry, and what it adds to the sample.

mod destroy;
mod snapshot;
mod state_change;
