//! What keepwatch knows, and what follows from it. Pure: no I/O, no clock, no command line, nothing from the rest
//! of the crate; its tests need no kernel.
//!
//! [`observed`] is what the kernel said, [`judgement`] is what follows from it, [`table`] is what is
//! remembered. Each room imports only those before it.

pub mod judgement;
pub mod observed;
pub mod table;
pub(crate) mod text;
