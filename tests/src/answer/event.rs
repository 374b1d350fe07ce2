//! A line of `keepwatch trace --json`, as a user's program reads it: by name, with what it needs.
//! A field that is missing or of another type fails the test.

use crate::answer::row::{EffectiveProbes, EffectiveSeconds};
use serde::{Deserialize, de::Error as _};
use serde_json::Value;
use std::net::SocketAddr;

/// A line of `trace --json`.
#[derive(Clone, Debug, PartialEq)]
pub enum TraceLine {
    /// It happened to a socket.
    Event(Box<TracedEvent>),
    /// The ring was full, or the reader lagged.
    Lost {
        /// How many events are not shown.
        events: u64,
        /// Runs of hooks that the kernel skipped, on the whole host.
        skipped: u64,
    },
    /// A walk after a loss.
    Resynchronised {
        /// Sockets that it met.
        sockets: u64,
        /// Sockets that were gone.
        pruned: u64,
    },
}

/// What happened to a socket.
#[expect(missing_docs, reason = "`keepwatch::view::event_row` describes each")]
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TracedEvent {
    pub at: String,
    pub monotonic_seconds: f64,
    #[serde(deserialize_with = "present")]
    pub id: Option<String>,
    pub netns: u32,
    pub family: String,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub state: String,
    #[serde(deserialize_with = "present")]
    pub direction: Option<String>,
    pub unix_seconds: f64,
    pub owners: Vec<TracedProcess>,
    #[serde(deserialize_with = "present")]
    pub verdict: Option<String>,
    pub meaning: String,
    #[serde(flatten)]
    pub what: TracedKind,
}

/// A process that holds or called.
#[expect(missing_docs, reason = "as the type says")]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TracedProcess {
    pub pid: u32,
    pub process: String,
}

/// Each kind of event with its own fields.
#[expect(missing_docs, reason = "`keepwatch::view::event_row` describes each")]
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TracedKind {
    Opened(Settings),
    Setting { option: String, value: Option<i64>, result: String, when: String },
    Changed { option: String, from: u32, to: u32 },
    ProbeSent { probe: u32, count: EffectiveProbes, next_probe_seconds: f64 },
    ProbeAnswered { unanswered_before: u32 },
    TimerFired { outcome: String },
    QuietSurvived { quiet_seconds: f64 },
    DataAnswered { data_unanswered_seconds: f64 },
    VerdictChanged { verdict_before: String },
    GivenUp { retransmits: u32, probes_unanswered: u32 },
    Died(TracedDeath),
    Ended(TracedDeath),
}

/// Effective settings, as in [`SocketLine`](crate::answer::row::SocketLine).
#[expect(missing_docs, reason = "as there")]
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Settings {
    pub keepalive: bool,
    pub idle: EffectiveSeconds,
    pub interval: EffectiveSeconds,
    pub count: EffectiveProbes,
    pub user_timeout_ms: u32,
    #[serde(deserialize_with = "present")]
    pub detection_seconds: Option<u64>,
}

/// The end of a connection.
#[expect(missing_docs, reason = "`keepwatch::view::event_row` describes each")]
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TracedDeath {
    pub cause: String,
    pub errno: Option<String>,
    pub certainty: String,
    pub evidence: String,
    pub age_seconds: Option<f64>,
    pub quiet_seconds: Option<f64>,
    pub silent_seconds: Option<f64>,
    pub probes_sent: u32,
    pub probes_unanswered: u32,
    pub in_flight: bool,
    pub forgotten: Option<bool>,
    #[serde(flatten)]
    pub settings: Settings,
}

/// A value or null, and not a field that is missing.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

impl TraceLine {
    /// Reads one line of JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let value: Value = serde_json::from_str(text)?;
        let number = |name: &str| {
            let number = value.get(name).and_then(Value::as_u64);
            number.ok_or_else(|| serde_json::Error::custom(format!("no number `{name}`")))
        };
        match value.get("event").and_then(Value::as_str) {
            Some("lost") => {
                Ok(Self::Lost { events: number("events")?, skipped: number("skipped")? })
            }
            Some("resynchronised") => {
                Ok(Self::Resynchronised { sockets: number("sockets")?, pruned: number("pruned")? })
            }
            _ => serde_json::from_value(value).map(|event| Self::Event(Box::new(event))),
        }
    }
}

impl TracedEvent {
    /// The end, if it is one, loss or not.
    pub const fn death(&self) -> Option<&TracedDeath> {
        match &self.what {
            TracedKind::Died(death) | TracedKind::Ended(death) => Some(death),
            _ => None,
        }
    }

    /// The name as `--event` takes it.
    pub const fn name(&self) -> &'static str {
        match self.what {
            TracedKind::Opened(_) => "opened",
            TracedKind::Setting { .. } => "setting",
            TracedKind::Changed { .. } => "changed",
            TracedKind::ProbeSent { .. } => "probe_sent",
            TracedKind::ProbeAnswered { .. } => "probe_answered",
            TracedKind::TimerFired { .. } => "timer_fired",
            TracedKind::QuietSurvived { .. } => "quiet_survived",
            TracedKind::DataAnswered { .. } => "data_answered",
            TracedKind::VerdictChanged { .. } => "verdict_changed",
            TracedKind::GivenUp { .. } => "given_up",
            TracedKind::Died(_) => "died",
            TracedKind::Ended(_) => "ended",
        }
    }
}
