//! Whether the configuration that is on disk is the one that holds.

use std::sync::{Mutex, PoisonError};

/// How the last attempt to read a file ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ReloadOutcome {
    /// It was good, and holds.
    pub is_good: bool,
    /// Unix time of the last one that was good; the agent's start, if nothing was reloaded since.
    pub good_at_seconds: f64,
}

impl ReloadOutcome {
    const fn note(&mut self, is_good: bool, now_seconds: f64) {
        self.is_good = is_good;
        if is_good {
            self.good_at_seconds = now_seconds;
        }
    }
}

/// The same of each file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reloads {
    /// The config, at SIGHUP.
    pub config: ReloadOutcome,
    /// The web config with its certificates: at SIGHUP, and when a file has changed.
    pub web_config: ReloadOutcome,
}

/// What reloads came to, for metrics.
#[derive(Debug)]
pub(crate) struct ReloadHealth(Mutex<Reloads>);

impl ReloadHealth {
    /// An agent starts with what is on disk.
    pub(crate) const fn new(started_at_seconds: f64) -> Self {
        let start = ReloadOutcome { is_good: true, good_at_seconds: started_at_seconds };
        Self(Mutex::new(Reloads { config: start, web_config: start }))
    }

    /// The outcomes now.
    pub(crate) fn now(&self) -> Reloads {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how a reload of the config ended.
    pub(crate) fn note_config(&self, is_good: bool, now_seconds: f64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).config.note(is_good, now_seconds);
    }

    /// Notes how a reload of the web config ended.
    pub(crate) fn note_web_config(&self, is_good: bool, now_seconds: f64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).web_config.note(is_good, now_seconds);
    }
}
