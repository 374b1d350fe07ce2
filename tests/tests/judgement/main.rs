//! What may be concluded, by real packets: each rule with the case, and with what looks like it and is not.
#![expect(clippy::expect_used, reason = "a test")]

mod cause;
mod condition;
mod half_closed;
mod promise;
mod unsent;
mod watched_path;
mod whose;
