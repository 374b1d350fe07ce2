//! What to change so that a connection survives being quiet: which client or server a process is
//! most likely, and the line that sets keepalive there.
//!
//! [`clients`] is the data, with versions and sources; [`traces`] reads what a process shows of itself;
//! [`recognise`](mod@recognise) weighs that, and never asserts: what it says is typical of a client, not proof of it.
//! [`remedy`](mod@remedy) puts the line together, or falls back on the pod, the unit and the sysctl.

pub(crate) mod clients;
pub(crate) mod kept_clues;
pub(crate) mod process_clues;
pub(crate) mod recognise;
pub(crate) mod remedy;

/// The values to set: what a line is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Proposal {
    /// Silence before the first probe, seconds.
    pub idle: u32,
    /// Silence between two probes, seconds.
    pub interval: u32,
    /// Unanswered probes that end the connection.
    pub count: u32,
}

impl Proposal {
    /// Below every limit that is known of the large clouds, and a dead peer is noticed in 90 s.
    pub(crate) const USUAL: Self = Self { idle: 60, interval: 10, count: 3 };

    /// Values for a path that forgets after `limit_seconds`.
    pub(crate) fn below(limit_seconds: u32) -> Self {
        if limit_seconds >= 2 * Self::USUAL.idle {
            return Self::USUAL;
        }
        Self::with_idle((limit_seconds / 2).max(1))
    }

    /// Values with this idle time.
    pub(crate) fn with_idle(idle: u32) -> Self {
        Self { idle, interval: Self::USUAL.interval.min(idle), count: Self::USUAL.count }
    }

    /// Silence until a dead peer is noticed, seconds.
    pub(crate) const fn detection_seconds(self) -> u32 {
        self.idle.saturating_add(self.interval.saturating_mul(self.count))
    }

    /// A line of the data with these values in its places.
    pub(crate) fn fill(self, line: &str) -> String {
        line.replace("{idle}", &self.idle.to_string())
            .replace("{interval}", &self.interval.to_string())
            .replace("{count}", &self.count.to_string())
            .replace("{idle_ms}", &format!("{}000", self.idle))
            .replace("{tenths}", &format!("{}0", self.idle))
            .replace("{timeout_ms}", &format!("{}000", self.detection_seconds()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proposed_lies_below_the_limit() {
        assert_eq!(Proposal::below(350), Proposal::USUAL);
        assert_eq!(Proposal::below(240), Proposal::USUAL);
        for limit in 2..400 {
            assert!(Proposal::below(limit).idle * 2 <= limit, "{limit}");
        }
        assert_eq!(Proposal::below(5), Proposal { idle: 2, interval: 2, count: 3 });
    }

    #[test]
    fn a_line_is_filled_with_the_values() {
        let line =
            Proposal::USUAL.fill("idle={idle} ms={idle_ms} {interval}x{count} t={timeout_ms}");
        assert_eq!(line, "idle=60 ms=60000 10x3 t=90000");
    }
}
