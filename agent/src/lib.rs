//! keepwatch: will this connection survive being quiet, and if it died, why?
//!
//! Data goes one way: the hooks' records are decoded in [`kernel`] into events of the [`model`];
//! the [`agent`] applies them to a table; [`serve`] and the [`command`]s show what is in it.
#![deny(unsafe_code)]

pub mod advice;
pub mod agent;
pub mod command;
pub mod config;
#[cfg(test)]
mod docs;
pub mod kernel;
pub mod log;
pub mod model;
pub mod owner;
pub mod serve;
pub mod store;
