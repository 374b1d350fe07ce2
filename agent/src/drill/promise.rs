//! What the kernel promises of a connection whose path forgets it: by when it tells the program.

use crate::{model::judgement::facts::ConnectionFacts as _, view::connection::Connection};
use serde::Serialize;

/// By what a program learns that its peer is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Default)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PromiseBy {
    /// Probes go unanswered.
    Keepalive,
    /// Data goes unacknowledged.
    DataInFlight,
    /// Nothing is sent: it does not learn it.
    #[default]
    Never,
}

/// A promise: by what, and within which time from the cut on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promise {
    /// By what.
    pub(crate) by: PromiseBy,
    /// Within this time; nothing of [`PromiseBy::Never`].
    pub(crate) seconds: Option<u64>,
    /// Within this time of its writing, if it writes meanwhile: then data is in flight, and keepalive waits.
    pub(crate) seconds_of_data: u64,
}

impl Promise {
    /// That of a connection as it is now.
    pub(crate) fn of(connection: &Connection) -> Self {
        let settings = &connection.settings;
        let seconds_of_data = settings.in_flight_detection_seconds;
        let (by, seconds) = if connection.in_flight {
            (PromiseBy::DataInFlight, Some(seconds_of_data))
        } else if let Some(detection) = connection.detected_after_seconds() {
            // A timer that was armed before the settings changed runs on by the old ones.
            let armed = connection.next_probe_seconds.map_or(0, whole_seconds);
            let later = armed.saturating_sub(settings.idle.seconds.into());
            (PromiseBy::Keepalive, Some(detection + later))
        } else {
            (PromiseBy::Never, None)
        };
        Self { by, seconds, seconds_of_data }
    }

    /// The promise of a program that has written since the cut, this long after it.
    pub(crate) const fn with_data_after(self, seconds: u64) -> Self {
        Self {
            by: PromiseBy::DataInFlight,
            seconds: Some(seconds + self.seconds_of_data),
            seconds_of_data: self.seconds_of_data,
        }
    }

    /// After this time it is broken: the kernel's timers run up to an eighth late (kernel/time/timer.c), and we look once
    /// a second.
    pub(crate) fn broken_after_seconds(self) -> Option<u64> {
        self.seconds.map(|seconds| seconds + seconds.div_ceil(8) + 2)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time; a cast of a float saturates"
)]
const fn whole_seconds(seconds: f64) -> u64 {
    seconds.max(0.0).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        drill::choice::tests_support::row,
        model::observed::{
            setting::OwnSettings,
            socket::{Socket, tests_support::socket},
        },
    };

    fn promise(socket: &Socket) -> Promise {
        Promise::of(&row(socket).connection)
    }

    fn probed() -> Socket {
        let own = OwnSettings {
            idle_seconds: 60,
            interval_seconds: 10,
            count: 3,
            ..OwnSettings::default()
        };
        Socket { keepalive: true, own, in_flight: false, ..socket() }
    }

    #[test]
    fn probes_promise_the_detection_time_and_without_them_nothing_is_promised() {
        let Promise { by, seconds, .. } = promise(&probed());
        assert_eq!((by, seconds), (PromiseBy::Keepalive, Some(90)));
        let off = promise(&Socket { keepalive: false, ..probed() });
        assert_eq!(
            (off.by, off.seconds, off.broken_after_seconds()),
            (PromiseBy::Never, None, None)
        );
    }

    #[test]
    fn data_in_flight_makes_keepalive_wait() {
        let waits = promise(&Socket { in_flight: true, ..probed() });
        assert_eq!(
            (waits.by, waits.seconds),
            (PromiseBy::DataInFlight, Some(waits.seconds_of_data))
        );
        let writes_later = promise(&probed()).with_data_after(20);
        assert_eq!(writes_later.seconds, Some(20 + waits.seconds_of_data));
        let own = OwnSettings { user_timeout_ms: 30_000, ..probed().own };
        let bounded = promise(&Socket { in_flight: true, own, ..probed() });
        assert_eq!(bounded.seconds, Some(30));
    }

    #[test]
    fn a_timer_that_was_armed_before_a_change_delays_the_promise() {
        let mut connection = row(&probed()).connection;
        connection.next_probe_seconds = Some(59.2);
        assert_eq!(Promise::of(&connection).seconds, Some(90));
        connection.next_probe_seconds = Some(7000.0);
        assert_eq!(Promise::of(&connection).seconds, Some(90 + 6940));
    }

    #[test]
    fn a_promise_is_not_broken_by_what_timers_and_looks_take() {
        assert_eq!(promise(&probed()).broken_after_seconds(), Some(90 + 12 + 2));
    }
}
