//! A moment of the wall clock, as every line of JSON shows it.

use super::duration::signed_seconds;
use serde::{Deserialize, Serialize};

/// A moment, for people and for arithmetic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WallTime {
    /// The time in RFC 3339, UTC, to the microsecond.
    pub at: String,
    /// The same in seconds since 1970.
    pub unix_seconds: f64,
}

impl WallTime {
    /// The moment at this number of nanoseconds since 1970.
    pub fn of_unix_ns(unix_ns: i64) -> Self {
        let at = jiff::Timestamp::from_nanosecond(i128::from(unix_ns))
            .map(|time| format!("{time:.6}"))
            .unwrap_or_default();
        Self { at, unix_seconds: signed_seconds(unix_ns.div_euclid(1_000_000)) }
    }

    /// The moment at this number of milliseconds since 1970.
    pub fn of_unix_ms(unix_ms: i64) -> Self {
        Self::of_unix_ns(unix_ms.saturating_mul(1_000_000))
    }
}

/// Seconds since 1970 of a time in RFC 3339; none if it is no time.
pub(crate) fn unix_seconds(at: &str) -> Option<f64> {
    let at: jiff::Timestamp = at.parse().ok()?;
    Some(at.duration_since(jiff::Timestamp::UNIX_EPOCH).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_in_both_forms() {
        let moment = WallTime::of_unix_ns(1_764_067_260_123_456_789);
        assert_eq!(moment.at, "2025-11-25T10:41:00.123456Z");
        assert!((moment.unix_seconds - 1_764_067_260.123).abs() < 1e-9);
        assert_eq!(WallTime::of_unix_ms(60_500).at, "1970-01-01T00:01:00.500000Z");
        assert_eq!(unix_seconds("1970-01-01T00:01:00.500000Z"), Some(60.5));
        assert_eq!(unix_seconds("soon"), None);
    }
}
