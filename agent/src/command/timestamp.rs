//! Times of records, which are RFC 3339, as people read them.

use jiff::{Timestamp, tz::TimeZone};

/// The local time in a form of strftime; as it is, if it is no time.
pub(super) fn local(at: &str, form: &str) -> String {
    at.parse::<Timestamp>().map_or_else(
        |_| at.to_owned(),
        |at| at.to_zoned(TimeZone::system()).strftime(form).to_string(),
    )
}

/// Seconds since 1970.
pub(super) fn unix_seconds(at: &str) -> Option<f64> {
    at.parse::<Timestamp>().ok().map(|at| at.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_and_anything_else_left_as_it_is() {
        assert_eq!(unix_seconds("1970-01-01T00:01:00.500000Z"), Some(60.5));
        assert_eq!((unix_seconds("soon"), local("soon", "%Y").as_str()), (None, "soon"));
        assert_eq!(local("2026-07-01T12:00:00Z", "%Y-%m"), "2026-07");
    }
}
