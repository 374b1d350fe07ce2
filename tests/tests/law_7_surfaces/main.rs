//! Law 7 (docs/ARCHITECTURE.md#laws): all surfaces say the same of a connection at one moment.
//!
//! Connections in random number, order and settings are brought into every state that judgements know. Then `sockets`, the
//! API, `top`'s page, `why`, `check` and /metrics are asked, and each answer is compared with that of `sockets`: verdict,
//! condition, limit and quiet time. After that they end, each in its way, and `trace`, `/v1/events`, `/v1/deaths`, `why` and
//! /metrics must name one cause for each.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod agreement;
mod ends;
mod population;
mod surfaces;
