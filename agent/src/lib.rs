//! keepwatch: will this connection survive being quiet, and if it died, why?
//!
//! Data goes one way: the hooks' records are decoded in [`kernel`] into events of the [`model`]; the [`agent`] applies
//! them to a table; [`view`] and [`metrics`] put its content into form; [`serve`] and the [`command`]s show it.
#![deny(unsafe_code)]

pub mod advice;
pub mod agent;
pub mod command;
pub mod config;
#[cfg(test)]
mod docs;
pub mod files;
pub mod kernel;
pub mod log;
pub mod metrics;
pub mod model;
pub mod owner;
pub mod serve;
pub mod store;
pub mod view;
