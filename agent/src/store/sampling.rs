//! The choice of what the history keeps: all that is out of the ordinary, and some of the rest.

use crate::model::{
    judgement::{
        death::{Cause, Death, QUIET_MS},
        verdict::Surroundings,
    },
    observed::socket::Time,
    table::happening::{Happened, Happening},
};

/// Whether a happening belongs into the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retention {
    /// It is left out.
    No,
    /// Yes, but a busy host has more of that than anybody reads: within a budget.
    Ordinary,
    /// It is written whatever else happens.
    Always,
}

/// An orderly end of a connection that lived for less says nothing about quiet times.
const SHORT_MS: u64 = 60_000;

impl Retention {
    /// Decides by the kind of event.
    pub(super) fn of(happening: &Happening, around: &Surroundings) -> Self {
        match &happening.what {
            Happened::Died(death) if is_short(death) => Self::No,
            Happened::Died(death) if death.cause.is_orderly() => Self::Ordinary,
            Happened::Died(Death { cause: Cause::ConnectFailed | Cause::LocalReset, .. }) => {
                Self::Ordinary
            }
            Happened::Died(_) => Self::Always,
            Happened::Setting(call) if call.errno != 0 => Self::Ordinary,
            Happened::VerdictChanged { .. } => Self::Ordinary,
            Happened::QuietSurvived { .. } if !around.is_local(&happening.socket) => Self::Ordinary,
            _ => Self::No,
        }
    }
}

/// Closed in order, never quiet and never old.
fn is_short(death: &Death) -> bool {
    death.cause.is_orderly()
        && death.quiet_ms < QUIET_MS
        && death.survived_ms < QUIET_MS
        && death.age_ms.is_some_and(|age| age < SHORT_MS)
}

/// A hundred a second on average, a thousand at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    left: u32,
    filled: Time,
}

impl Budget {
    const MOST: u32 = 1000;
    const A_SECOND: u64 = 100;

    /// A full budget.
    pub(super) const fn new(now: Time) -> Self {
        Self { left: Self::MOST, filled: now }
    }

    /// Whether one more is within it.
    pub(super) fn allows(&mut self, now: Time) -> bool {
        let due = now.ms_since(self.filled).saturating_mul(Self::A_SECOND) / 1000;
        if due > 0 {
            let due = u32::try_from(due).unwrap_or(Self::MOST);
            self.left = self.left.saturating_add(due).min(Self::MOST);
            self.filled = now;
        }
        let allows = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allows
    }
}
