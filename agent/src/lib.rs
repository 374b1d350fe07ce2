//! keepwatch: will this connection survive being quiet, and if it died, why?
//!
//! Data goes one way: the hooks' records are decoded in [`kernel`] into events of the [`model`]; the [`agent`] applies
//! them to a table; [`view`] and [`metrics`] put its content into form; [`serve`] and the [`command`]s show it.
#![deny(unsafe_code)]

mod advice;
mod agent;
pub mod command;
mod config;
#[cfg(test)]
mod docs;
mod drill;
mod files;
mod fix;
#[cfg(any(fuzzing, test))]
pub mod fuzzed;
mod kernel;
mod log;
mod measure;
mod metrics;
mod model;
mod owner;
mod serve;
mod store;
mod view;

/// Parts that the kernel tests drive in a process of their own. Nobody else may rely on them.
#[doc(hidden)]
pub mod tested {
    pub use crate::{
        agent::{reach, watch},
        command::misspelt_variables,
        kernel::{clock, field_offsets, hooks, host, sandbox},
        metrics::{LabelValues, MetricFamily, MetricKind, families, families_of_files},
        model::{judgement, observed, table},
        owner::Resolver,
        store::{DeathRow, HistoryReader, Loss, NotKept, Query},
        view::row,
    };
}
