//! What keepwatch answers, run and read as a user or a user's program does it, and whether it is true.

pub mod agent;
pub mod event;
pub mod history;
pub mod http;
pub mod metrics;
pub mod row;
pub mod terminal;
pub mod tls;
pub mod trace;
pub mod truth;
