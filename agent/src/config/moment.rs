//! Moments of the past on the command line: `10:41`, `yesterday`, `2026-11-24T22:00`, or a time ago
//! like `24h`. Without a zone they are of the zone of this host.

use jiff::{
    Span, Timestamp, ToSpan as _, Zoned,
    civil::{Date, DateTime, Time},
};
use std::{fmt, time::Duration};

const EXPECTED: &str = "expected a time ago like 90m, 24h or 7d, a time of day like 10:41, a day like \
                        yesterday or 2026-11-24, or both like 2026-11-24T22:00";

/// A moment, or a day, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TypedTime {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Ago(Duration),
    /// The last such time of day.
    Clock(Time),
    /// A day before today's.
    DaysAgo(i8, Option<Time>),
    Date(Date),
    Local(DateTime),
    Instant(Timestamp),
}

/// A moment of the past, in one of the forms that people type.
pub(crate) fn moment(text: &str) -> Result<TypedTime, String> {
    let kind = kind(text.trim()).ok_or_else(|| EXPECTED.to_owned())?;
    Ok(TypedTime { text: text.trim().to_owned(), kind })
}

fn kind(text: &str) -> Option<Kind> {
    let only = |allowed: &str| text.chars().all(|c| c.is_ascii_digit() || allowed.contains(c));
    // Before durations, which have such a form, too.
    if text.contains(':') && only(":.") {
        return text.parse().ok().map(Kind::Clock);
    }
    if let Ok(ago) = super::duration(text) {
        return Some(Kind::Ago(ago));
    }
    let (day, time) = text.split_once(' ').unwrap_or((text, ""));
    let days_ago = match day {
        "today" => Some(0),
        "yesterday" => Some(1),
        _ => None,
    };
    match (days_ago, time) {
        (Some(days), "") => return Some(Kind::DaysAgo(days, None)),
        (Some(days), time) => return Some(Kind::DaysAgo(days, Some(time_of_day(time)?))),
        _ => {}
    }
    if only("-") {
        return text.parse().ok().map(Kind::Date);
    }
    let instant = text.parse().ok().map(Kind::Instant);
    instant.or_else(|| text.parse().ok().map(Kind::Local))
}

fn time_of_day(text: &str) -> Option<Time> {
    // A bare number is no time of day.
    text.contains(':').then(|| text.parse().ok()).flatten()
}

impl TypedTime {
    /// The time before now that it says, if it says it so.
    pub(crate) const fn as_time_ago(&self) -> Option<Duration> {
        match self.kind {
            Kind::Ago(time) => Some(time),
            _ => None,
        }
    }

    /// Whether it is a whole day.
    pub(crate) const fn is_day(&self) -> bool {
        matches!(self.kind, Kind::Date(_) | Kind::DaysAgo(_, None))
    }

    /// The moment; of a day its beginning. A time of day is the last one up to `latest`.
    pub(crate) fn beginning(&self, now: &Zoned, latest: &Zoned) -> Result<Zoned, jiff::Error> {
        let zone = now.time_zone();
        let on_day = |days: i64, time: Time| -> Result<Zoned, jiff::Error> {
            latest.date().checked_sub(days.days())?.to_datetime(time).to_zoned(zone.clone())
        };
        match self.kind {
            Kind::Ago(time) => now.checked_sub(Span::try_from(time)?),
            Kind::Clock(time) => {
                let on_its_day = on_day(0, time)?;
                if on_its_day <= *latest { Ok(on_its_day) } else { on_day(1, time) }
            }
            Kind::DaysAgo(days, time) => {
                let date = now.date().checked_sub(i64::from(days).days())?;
                date.to_datetime(time.unwrap_or_default()).to_zoned(zone.clone())
            }
            Kind::Date(date) => date.to_zoned(zone.clone()),
            Kind::Local(moment) => moment.to_zoned(zone.clone()),
            Kind::Instant(moment) => Ok(moment.to_zoned(zone.clone())),
        }
    }

    /// The moment; of a day its end.
    pub(crate) fn end(&self, now: &Zoned) -> Result<Zoned, jiff::Error> {
        let beginning = self.beginning(now, now)?;
        if self.is_day() { beginning.tomorrow()?.start_of_day() } else { Ok(beginning) }
    }
}

impl fmt::Display for TypedTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    /// Of Berlin, with no need of a file that knows it.
    fn at(text: &str) -> Zoned {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        text.parse::<DateTime>().unwrap().to_zoned(berlin).unwrap()
    }

    /// What is understood in Berlin at 10:40 on November 25.
    fn in_berlin(text: &str) -> String {
        let now = at("2026-11-25T10:40:00");
        moment(text).unwrap().beginning(&now, &now).unwrap().timestamp().to_string()
    }

    #[test]
    fn moments_are_understood_as_people_mean_them() {
        for (text, understood) in [
            ("24h", "2026-11-24T09:40:00Z"),
            ("90", "2026-11-25T09:38:30Z"),
            ("10:39", "2026-11-25T09:39:00Z"),
            ("10:40", "2026-11-25T09:40:00Z"),
            ("10:41", "2026-11-24T09:41:00Z"),
            ("10:39:30", "2026-11-25T09:39:30Z"),
            ("today", "2026-11-24T23:00:00Z"),
            ("yesterday", "2026-11-23T23:00:00Z"),
            ("yesterday 22:00", "2026-11-24T21:00:00Z"),
            ("today 09:00", "2026-11-25T08:00:00Z"),
            ("2026-11-24", "2026-11-23T23:00:00Z"),
            ("2026-11-24T22:00", "2026-11-24T21:00:00Z"),
            ("2026-11-24 22:00:05", "2026-11-24T21:00:05Z"),
            ("2026-11-24T22:00Z", "2026-11-24T22:00:00Z"),
            ("2026-11-24T22:00:00-05:00", "2026-11-25T03:00:00Z"),
        ] {
            assert_eq!(in_berlin(text), understood, "{text}");
        }
        let wrong = [
            "",
            "soon",
            "25:00",
            "10:61",
            "2026-13-01",
            "2026-11-24T",
            "10:41 x",
            "0h",
            "-1h",
            "tomorrow",
            "yesterday noon",
            "10.41",
            "2026-11",
        ];
        for wrong in wrong {
            assert_eq!(moment(wrong), Err(EXPECTED.to_owned()), "{wrong}");
        }
    }

    #[test]
    fn a_day_ends_at_midnight_also_when_the_clocks_change() {
        let end = |now: &str, text: &str| {
            let now = at(now);
            let moment = moment(text).unwrap();
            assert!(moment.is_day());
            moment.end(&now).unwrap().timestamp().to_string()
        };
        assert_eq!(end("2026-11-25T10:40:00", "yesterday"), "2026-11-24T23:00:00Z");
        assert_eq!(end("2026-10-26T10:40:00", "yesterday"), "2026-10-25T23:00:00Z");
        assert_eq!(end("2026-10-26T10:40:00", "2026-10-24"), "2026-10-24T22:00:00Z");
        let now = at("2026-11-25T10:40:00");
        assert_eq!(moment("10:30").unwrap().end(&now).unwrap(), at("2026-11-25T10:30"));
    }

    #[test]
    fn a_time_that_the_clock_leaves_out_is_one_that_it_shows() {
        let now = at("2026-03-29T12:00:00");
        let moment = moment("02:30").unwrap();
        assert_eq!(moment.beginning(&now, &now).unwrap().time().to_string(), "03:30:00");
    }
}
