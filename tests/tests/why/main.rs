//! `keepwatch why`, the morning after: real clients, a real middlebox that forgets, an agent that was
//! restarted in between, and what is said of it all.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

mod client;
mod living;
mod outage;
mod peer_timer;
mod questions;
mod slow_probes;
mod told;
