//! The wire format between the two halves of keepwatch.
//!
//! The kernel half ([the hooks](../keepwatch_hooks/index.html)) writes [`record`]s into a BPF
//! iterator's sequence file and into one ring buffer; the user half writes one [`layout::Layout`]
//! into the hooks' read-only data before they load, and reads [`count::HookCounts`]. Everything is
//! integers with explicit padding, so a value is its bytes: `zerocopy` refuses anything else at
//! compile time, and no half needs `unsafe` to decode what the other wrote.
//!
//! A record begins with its [`record::Tag`]; a reader that meets an unknown tag counts it and goes
//! on.
#![no_std]
#![forbid(unsafe_code)]

pub mod abi;
pub mod count;
pub mod interest;
pub mod layout;
pub mod name;
pub mod record;
pub mod trouble;
