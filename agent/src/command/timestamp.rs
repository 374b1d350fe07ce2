//! Times of records, which are RFC 3339, as people read them.

pub(super) use crate::model::text::wall_time::unix_seconds;
use jiff::{Timestamp, Zoned, tz::TimeZone};

/// The local time in a form of strftime; as it is, if it is no time.
pub(super) fn local(at: &str, form: &str) -> String {
    at.parse::<Timestamp>().map_or_else(
        |_| at.to_owned(),
        |at| at.to_zoned(TimeZone::system()).strftime(form).to_string(),
    )
}

/// The local time, with the day if that was half a day before `now` or more: Unix time.
pub(super) fn short(at: &str, now: f64) -> String {
    let is_of_today = unix_seconds(at).is_some_and(|at| now - at < 12.0 * 3600.0);
    local(at, if is_of_today { "%H:%M:%S" } else { "%b %-d %H:%M:%S" })
}

/// The same of a Unix time.
pub(super) fn short_of_unix(at: f64, now: f64) -> String {
    short(&of_unix(at).to_string(), now)
}

/// This moment of the wall clock, in the zone of this host: TZ, else /etc/localtime, else UTC.
pub(super) fn local_now(unix_seconds: f64) -> Zoned {
    of_unix(unix_seconds).to_zoned(TimeZone::system())
}

/// Seconds since 1970 as a time.
pub(super) fn of_unix(unix_seconds: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
    let micros = (unix_seconds * 1e6) as i64;
    Timestamp::from_microsecond(micros).unwrap_or_default()
}

/// A zone as people name it, with its distance from UTC at a moment: `UTC`, `Europe/Berlin (UTC+1)`.
pub(super) fn zone_words(zone: &TimeZone, at: Timestamp) -> String {
    let seconds = zone.to_offset(at).seconds();
    let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
    let sign = if seconds < 0 { '-' } else { '+' };
    let offset = match (hours, minutes) {
        (0, 0) => "UTC".to_owned(),
        (hours, 0) => format!("UTC{sign}{hours}"),
        (hours, minutes) => format!("UTC{sign}{hours}:{minutes:02}"),
    };
    match zone.iana_name() {
        Some(name) if !matches!(name, "UTC" | "Etc/UTC" | "Etc/Unknown") => {
            format!("{name} ({offset})")
        }
        _ => offset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_and_anything_else_left_as_it_is() {
        assert_eq!(local("soon", "%Y"), "soon");
        assert_eq!(local("2026-07-01T12:00:00Z", "%Y-%m"), "2026-07");
    }

    #[test]
    fn a_zone_is_said_with_its_distance() {
        let said = |zone: TimeZone| zone_words(&zone, Timestamp::UNIX_EPOCH);
        assert_eq!(said(TimeZone::UTC), "UTC");
        assert_eq!(said(TimeZone::unknown()), "UTC");
        for (zone, words) in [("CET-1", "UTC+1"), ("EST5", "UTC-5"), ("X-5:30", "UTC+5:30")] {
            let zone = if zone == "X-5:30" { "<X530>-5:30" } else { zone };
            assert_eq!(said(TimeZone::posix(zone).unwrap()), words);
        }
    }
}
