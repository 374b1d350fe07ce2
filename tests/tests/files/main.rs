//! Law 9 (docs/ARCHITECTURE.md#laws): whatever stands at a path that keepwatch is given, no file but its own is made, changed or
//! removed, nothing waits, and nothing is read without an end. Each refusal beside the look-alike that works.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

mod history;
mod planted;
mod read;
mod socket;
mod written;
