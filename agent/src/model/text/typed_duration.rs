//! Times on the command line, in the config file and in a policy.

use jiff::{Span, SpanRelativeTo};
use std::time::Duration;

const EXPECTED: &str = "expected a time like 500ms, 90s, 5m30s, 1h or 2d";
const EXPECTED_WHOLE: &str = "expected a time in whole seconds, like 90s, 5m30s, 1h or 2d";

/// A time above 0. A plain number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    positive(text).ok_or_else(|| EXPECTED.to_owned())
}

/// The same for what the kernel and idle limits count in whole seconds.
pub(crate) fn whole_seconds(text: &str) -> Result<u32, String> {
    let time = positive(text).filter(|time| time.subsec_nanos() == 0);
    time.and_then(|time| u32::try_from(time.as_secs()).ok())
        .ok_or_else(|| EXPECTED_WHOLE.to_owned())
}

fn positive(text: &str) -> Option<Duration> {
    let with_unit = || {
        let span: Span = text.parse().ok()?;
        span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?.try_into().ok()
    };
    let plain = text.parse().ok().map(|seconds: u32| Duration::from_secs(seconds.into()));
    plain.or_else(with_unit).filter(|time: &Duration| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_a_plain_number_is_seconds() {
        for (text, expected_ms) in [
            ("500ms", 500),
            ("15", 15_000),
            ("1.5s", 1500),
            ("90s", 90_000),
            ("5m30s", 330_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(expected_ms)), "{text}");
        }
        for wrong in ["", "0s", "0", "s", "-1s", "1s ago", "1mo", "15 s x", "soon", "99999999999d"]
        {
            assert_eq!(duration(wrong), Err(EXPECTED.to_owned()), "{wrong}");
        }
    }

    #[test]
    fn settings_of_the_kernel_are_whole_seconds() {
        assert_eq!(whole_seconds("5m30s"), Ok(330));
        assert_eq!(whole_seconds("2000ms"), Ok(2));
        for wrong in ["500ms", "1.5s", "0s", "50000d"] {
            assert!(whole_seconds(wrong).unwrap_err().contains("whole seconds"), "{wrong}");
        }
    }

    #[test]
    fn the_examples_of_an_error_are_taken() {
        fn examples(expected: &str) -> Vec<&str> {
            let examples = expected.split_once(" like ").unwrap().1.split([',', ' ']);
            examples.filter(|word| !["", "or"].contains(word)).collect()
        }
        assert_eq!(examples(EXPECTED).len(), 5);
        assert!(examples(EXPECTED).into_iter().all(|one| duration(one).is_ok()));
        assert_eq!(examples(EXPECTED_WHOLE).len(), 4);
        assert!(examples(EXPECTED_WHOLE).into_iter().all(|one| whole_seconds(one).is_ok()));
    }
}
