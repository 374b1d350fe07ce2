//! The time that a question is about: `--at`, `--since` and `--until`, and how it is written.

use super::timestamp;
use crate::{
    config::{self, TypedTime},
    kernel::clock,
    model::text::duration::duration,
};
use clap::Args;
use jiff::{Span, Timestamp, ToSpan as _, Zoned};
use std::time::Duration;

/// How far `--at` looks to both sides.
const BESIDE_MINUTES: i64 = 10;
/// How far to look back if nobody says.
const DEFAULT: Duration = Duration::from_hours(24);
/// A connection may hang for this long before the kernel ends it: until a first probe after 2 h, and the probes after it.
const MAX_HANG_HOURS: i64 = 3;

/// The time that a question is about, as it was typed.
#[derive(Args, Debug, Default)]
pub(super) struct TimeArgs {
    /// Look at the 10 minutes before and after this moment, or at this day; --since and --until move either
    /// end
    #[arg(long, value_name = "TIME", value_parser = config::moment)]
    at: Option<TypedTime>,
    /// Look at what happened after this moment [default: a day before the end]
    #[arg(long, value_name = "TIME", value_parser = config::moment)]
    since: Option<TypedTime>,
    /// Look at what happened before this moment; of a day, its end [default: now]
    #[arg(long, value_name = "TIME", value_parser = config::moment)]
    until: Option<TypedTime>,
}

impl TimeArgs {
    /// What is meant by it now.
    pub(super) fn window(&self) -> Result<TimeWindow, Error> {
        let now = timestamp::local_now(clock::unix_seconds());
        TimeWindow::of(self.at.as_ref(), self.since.as_ref(), self.until.as_ref(), &now)
    }

    /// The same, if any time was given.
    pub(super) fn given(&self) -> Result<Option<TimeWindow>, Error> {
        let is_given = self.at.is_some() || self.since.is_some() || self.until.is_some();
        is_given.then(|| self.window()).transpose()
    }
}

/// From when until when.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TimeWindow {
    since: Zoned,
    until: Zoned,
    now: Zoned,
    /// It was asked for by a length that ends now.
    length: Option<Duration>,
    /// The moment that it lies around, as it was typed.
    around: Option<String>,
}

/// Why there is no such window.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{flag} {text} is in the future: it was understood as {understood}, and it is {now}")]
    Future { flag: &'static str, text: TypedTime, understood: String, now: String },
    #[error(
        "--since is not before --until: they were understood as {since} and {until}; times without a zone are \
         in {zone}"
    )]
    Reversed { since: String, until: String, zone: String },
    #[error("{flag} {text} is out of the calendar: {cause}")]
    Calendar { flag: &'static str, text: TypedTime, cause: jiff::Error },
}

/// A moment with its flag, for errors.
type Flag<'a> = (&'static str, &'a TypedTime);

impl TimeWindow {
    /// The window that these options mean. A time of day is the last one before now; in `--since` the last
    /// one before the end of the window.
    fn of(
        at: Option<&TypedTime>,
        since: Option<&TypedTime>,
        until: Option<&TypedTime>,
        now: &Zoned,
    ) -> Result<Self, Error> {
        let (at, since, until) = (
            at.map(|moment| ("--at", moment)),
            since.map(|moment| ("--since", moment)),
            until.map(|moment| ("--until", moment)),
        );
        let (mut first, mut last) = (None, now.clone());
        if let Some(flag) = at {
            let (from, to) = around(flag, now)?;
            (first, last) = (Some(from), to);
        }
        if let Some(flag) = until {
            last = end(flag, now)?;
        }
        if let Some(flag) = since {
            first = Some(past(flag, flag.1.beginning(now, &last), now)?);
        }
        let default = || last.saturating_sub(DEFAULT);
        let first = first.unwrap_or_else(default);
        if first >= last {
            return Err(Error::Reversed {
                since: in_full(&first),
                until: in_full(&last),
                zone: zone_words(now),
            });
        }
        let length = match (at, since, until) {
            (None, None, None) => Some(DEFAULT),
            (None, Some((_, since)), None) => since.as_time_ago(),
            _ => None,
        };
        let around = at.map(|(_, moment)| moment.to_string());
        Ok(Self { since: first, until: last, now: now.clone(), length, around })
    }

    /// Unix time of its beginning.
    pub(super) fn since_seconds(&self) -> f64 {
        unix_seconds(&self.since)
    }

    /// Unix time of its end; none if that is now.
    pub(super) fn until_seconds(&self) -> Option<f64> {
        self.is_past().then(|| unix_seconds(&self.until))
    }

    /// Unix time by which the ends of connections that hung in it have come.
    pub(super) fn last_end_seconds(&self) -> Option<f64> {
        self.is_past().then(|| unix_seconds(&self.until.saturating_add(MAX_HANG_HOURS.hours())))
    }

    /// Whether it ended before now: what lives now is no answer to it.
    pub(super) fn is_past(&self) -> bool {
        self.until < self.now
    }

    /// Whether something that went on from one time to another touches it.
    pub(super) fn overlaps(&self, from: Option<&str>, to: &str) -> bool {
        let time = |text: &str| text.parse::<Timestamp>().ok();
        let Some(to) = time(to) else { return false };
        let from = from.and_then(time).unwrap_or(to);
        // What is later than now was written down by a clock that was ahead.
        let is_before_end = !self.is_past() || from.min(to) <= self.until.timestamp();
        to >= self.since.timestamp() && is_before_end
    }

    /// `in the last 24 h`, `between 10:31 and 10:51`: what completes "died ...".
    pub(super) fn words(&self) -> String {
        if let Some(length) = self.length {
            return format!("in the last {}", length_words(length));
        }
        let from = self.short(&self.since, &self.now);
        if !self.is_past() {
            return format!("since {from}");
        }
        format!("between {from} and {}", self.short(&self.until, &self.since))
    }

    /// A time, with the date if it is not of today.
    pub(super) fn time(&self, unix_seconds: f64) -> String {
        let zone = self.now.time_zone().clone();
        let time = timestamp::of_unix(unix_seconds).to_zoned(zone);
        self.short(&time, &self.now)
    }

    /// The zone that its times are in.
    pub(super) fn zone(&self) -> String {
        zone_words(&self.until)
    }

    /// What the answer says of its times. `what`: what happened in it.
    pub(super) fn note(&self, what: &str) -> String {
        let zone = self.zone();
        match &self.around {
            Some(moment) => format!(
                "{moment} and {BESIDE_MINUTES} min to both sides, {}; times in {zone}",
                self.words()
            ),
            None => format!("{what} {}; times in {zone}", self.words()),
        }
    }

    /// A time without the date if that is the one of `beside` or of today.
    fn short(&self, time: &Zoned, beside: &Zoned) -> String {
        let clock = if time.second() == 0 { "%H:%M" } else { "%H:%M:%S" };
        let is_clear = time.date() == beside.date();
        let form = match (is_clear, time.year() == self.now.year()) {
            (true, _) => clock.to_owned(),
            (false, true) => format!("%b %-d {clock}"),
            (false, false) => format!("%Y-%m-%d {clock}"),
        };
        time.strftime(&form).to_string()
    }
}

fn past(
    (flag, text): Flag<'_>,
    understood: Result<Zoned, jiff::Error>,
    now: &Zoned,
) -> Result<Zoned, Error> {
    let moment = understood.map_err(|cause| Error::Calendar { flag, text: text.clone(), cause })?;
    if moment <= *now {
        return Ok(moment);
    }
    Err(Error::Future { flag, text: text.clone(), understood: in_full(&moment), now: in_full(now) })
}

/// The end of a day that is not over is now.
fn end(flag: Flag<'_>, now: &Zoned) -> Result<Zoned, Error> {
    let (_, moment) = flag;
    if moment.is_day() {
        past(flag, moment.beginning(now, now), now)?;
        let end = moment.end(now);
        return past(flag, end.map(|end| end.min(now.clone())), now);
    }
    past(flag, moment.end(now), now)
}

fn around(flag: Flag<'_>, now: &Zoned) -> Result<(Zoned, Zoned), Error> {
    let moment = past(flag, flag.1.beginning(now, now), now)?;
    if flag.1.is_day() {
        return Ok((moment, end(flag, now)?));
    }
    let beside: Span = BESIDE_MINUTES.minutes();
    Ok((moment.saturating_sub(beside), moment.saturating_add(beside).min(now.clone())))
}

fn in_full(moment: &Zoned) -> String {
    format!("{} ({})", moment.strftime("%Y-%m-%d %H:%M:%S"), zone_words(moment))
}

/// The name of a zone and its distance from UTC.
fn zone_words(moment: &Zoned) -> String {
    timestamp::zone_words(moment.time_zone(), moment.timestamp())
}

#[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit a double exactly")]
fn unix_seconds(moment: &Zoned) -> f64 {
    moment.timestamp().as_microsecond() as f64 / 1e6
}

/// Hours up to two days.
fn length_words(length: Duration) -> String {
    match length.as_secs() {
        seconds if seconds % 3600 == 0 && seconds <= 48 * 3600 => format!("{} h", seconds / 3600),
        seconds => duration(seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::moment;
    use jiff::{civil::DateTime, tz::TimeZone};

    fn window(at: &str, since: &str, until: &str) -> Result<TimeWindow, Error> {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let now = "2026-11-25T10:40:00".parse::<DateTime>().unwrap().to_zoned(berlin).unwrap();
        let of = |text: &str| (!text.is_empty()).then(|| moment(text).unwrap());
        TimeWindow::of(of(at).as_ref(), of(since).as_ref(), of(until).as_ref(), &now)
    }

    #[test]
    fn a_window_is_said_in_words() {
        for (at, since, until, words) in [
            ("", "", "", "in the last 24 h"),
            ("", "7d", "", "in the last 7 d"),
            ("", "10:30", "", "since 10:30"),
            ("", "yesterday", "", "since Nov 24 00:00"),
            ("", "10:00", "10:30", "between 10:00 and 10:30"),
            // 10:50 is yet to come today.
            ("", "10:30", "10:50", "between Nov 24 10:30 and 10:50"),
            ("", "23:50", "00:10", "between Nov 24 23:50 and Nov 25 00:10"),
            ("", "yesterday", "yesterday", "between Nov 24 00:00 and Nov 25 00:00"),
            ("", "", "10:30", "between Nov 24 10:30 and Nov 25 10:30"),
            ("10:20", "", "", "between 10:10 and 10:30"),
            ("10:35", "", "", "since 10:25"),
            ("10:41", "", "", "between Nov 24 10:31 and 10:51"),
            ("10:20", "10:00", "", "between 10:00 and 10:30"),
            ("10:20:30", "", "10:21", "between 10:10:30 and 10:21"),
            ("2h", "", "", "between 08:30 and 08:50"),
            ("yesterday", "", "", "between Nov 24 00:00 and Nov 25 00:00"),
            ("2025-12-31T23:59", "", "", "between 2025-12-31 23:49 and Jan 1 00:09"),
        ] {
            let window = window(at, since, until).unwrap();
            assert_eq!(window.words(), words, "{at} {since} {until}");
            assert_eq!(window.is_past(), words.starts_with("between"), "{words}");
        }
        let note = window("10:41", "", "").unwrap().note("what ended");
        assert_eq!(
            note,
            "10:41 and 10 min to both sides, between Nov 24 10:31 and 10:51; times in UTC+1"
        );
    }

    #[test]
    fn what_cannot_be_says_what_was_understood() {
        let said = |at, since, until| window(at, since, until).unwrap_err().to_string();
        let future = said("", "2026-11-26", "");
        assert!(future.starts_with("--since 2026-11-26 is in the future"), "{future}");
        assert!(future.contains("understood as 2026-11-26 00:00:00 (UTC+1)"), "{future}");
        assert!(future.contains("it is 2026-11-25 10:40:00 (UTC+1)"), "{future}");
        assert!(said("2026-11-25T10:40:01", "", "").contains("--at"));
        assert!(said("", "", "2026-11-26").contains("--until"));
        let reversed = said("", "2026-11-25T10:30", "2026-11-25T10:20");
        assert!(reversed.contains("2026-11-25 10:30:00"), "{reversed}");
        assert!(said("", "1h", "2h").contains("not before"));
        assert!(said("", "7000000d", "").contains("--since 7000000d"));
    }

    #[test]
    fn what_hung_in_a_window_belongs_to_it_although_it_ended_later() {
        let window = window("09:50", "", "").unwrap();
        assert!(window.overlaps(Some("2026-11-25T08:45:33Z"), "2026-11-25T09:01:12Z"));
        assert!(window.overlaps(None, "2026-11-25T08:59:00.5Z"));
        assert!(!window.overlaps(None, "2026-11-25T09:01:12Z"), "it ended later, and hung not");
        assert!(!window.overlaps(Some("2026-11-25T09:00:01Z"), "2026-11-25T09:01:12Z"));
        assert!(!window.overlaps(Some("2026-11-25T08:30:00Z"), "2026-11-25T08:39:59Z"), "before");
    }
}
