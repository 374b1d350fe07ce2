//! Times as people read them.

/// Seconds as at most two units: `45 s`, `5 min 50 s`, `2 h`, `3 d 4 h`.
pub(crate) fn duration(seconds: impl Into<u64>) -> String {
    let seconds = seconds.into();
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let first = UNITS.iter().position(|(size, _)| seconds >= *size).unwrap_or(UNITS.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, unit) in UNITS.iter().skip(first).take(2) {
        if rest >= *size || parts.is_empty() {
            parts.push(format!("{} {unit}", rest / size));
        }
        rest %= size;
    }
    parts.join(" ")
}

/// Milliseconds as seconds to a tenth while that matters: `3.1 s`, `45 s`, `5 min 50 s`.
pub(crate) fn tenths(ms: impl Into<u64>) -> String {
    let ms = ms.into();
    if ms < 10_000 { format!("{}.{} s", ms / 1000, ms % 1000 / 100) } else { duration(ms / 1000) }
}

/// Milliseconds that a float of seconds holds exactly, and prints without an exponent.
pub(crate) fn ms_to_show(ms: u64) -> u64 {
    ms.min(1 << 50)
}

/// Milliseconds as seconds for JSON: a decimal of three digits stays one.
#[expect(clippy::cast_precision_loss, reason = "milliseconds below 2^52")]
pub(crate) fn seconds(ms: impl Into<u64>) -> f64 {
    ms_to_show(ms.into()) as f64 / 1000.0
}

/// Milliseconds of what is shown in seconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time of at least 0, which is shown to the millisecond; a cast of a float saturates"
)]
pub(crate) fn ms(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1000.0).round() as u64
}

/// The same before or after a moment.
pub(crate) fn signed_seconds(ms: i64) -> f64 {
    let magnitude = seconds(ms.unsigned_abs());
    if ms < 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::{duration, tenths};

    #[test]
    fn tenths_are_told_of_short_times_only() {
        assert_eq!(tenths(5088_u32), "5.0 s");
        assert_eq!(tenths(45_900_u32), "45 s");
    }

    #[test]
    fn a_time_has_at_most_two_units() {
        let cases: [(u32, &str); 8] = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (350, "5 min 50 s"),
            (7200, "2 h"),
            (7875, "2 h 11 min"),
            (86_399, "23 h 59 min"),
            (273_600, "3 d 4 h"),
        ];
        for (seconds, words) in cases {
            assert_eq!(duration(seconds), words);
        }
    }
}
