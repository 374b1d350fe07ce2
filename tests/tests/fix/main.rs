//! `keepwatch fix`: keepalive that is turned on from outside, on live sockets of other programs: of this test, and of cat(1).
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

mod asked;
mod journal;
mod observers;
mod owners;
mod races;
mod stage;
mod undo;
mod values;
mod watch;
