//! What lives now, asked of a time that is over: only what was so then belongs into the answer.

use crate::{
    command::timestamp::unix_seconds,
    model::{judgement::condition::Condition, text::count::counted},
    view::life::{Finding, Life},
};

/// Connections that live and are not shown, because the answer is about a time that is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NotOfThen {
    /// They lived then, and what is wrong with them began later.
    n_in_trouble_later: usize,
    /// Nobody saw whether they lived then.
    n_unknown: usize,
}

/// Whether a connection that lives belongs to a time that ended at `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SinceThen {
    WasSo,
    TroubleCameLater,
    OpenedLater,
    Unknown,
}

impl NotOfThen {
    /// Takes out of `lives` those that live and were not so before a window ended: Unix times.
    pub(super) fn take_out(&mut self, lives: &mut Vec<Life>, window: (f64, f64), now: f64) {
        let (_, until) = window;
        let mut found = Self::default();
        lives.retain(|life| {
            if life.end.is_some() || life.unanswered_times_of(window).next().is_some() {
                return true;
            }
            match then(life, until, now) {
                SinceThen::WasSo => return true,
                SinceThen::TroubleCameLater => found.n_in_trouble_later += 1,
                SinceThen::Unknown => found.n_unknown += 1,
                SinceThen::OpenedLater => {}
            }
            false
        });
        // The same connections may be met by several names.
        self.n_in_trouble_later = self.n_in_trouble_later.max(found.n_in_trouble_later);
        self.n_unknown = self.n_unknown.max(found.n_unknown);
    }

    /// What is left out, a note each.
    pub(super) fn notes(self) -> impl Iterator<Item = String> {
        let those = |n: usize| counted(n, "connection");
        let later = (self.n_in_trouble_later > 0).then(|| {
            format!(
                "{} of that time {} and {} in trouble since a later time, which is left out here: ask without a time",
                those(self.n_in_trouble_later),
                if self.n_in_trouble_later == 1 { "lives" } else { "live" },
                if self.n_in_trouble_later == 1 { "is" } else { "are" }
            )
        });
        let unknown = (self.n_unknown > 0).then(|| {
            format!(
                "{} that {} now may have been there then, and {} left out: nobody saw whether, because it was first looked \
                 at later",
                those(self.n_unknown),
                if self.n_unknown == 1 { "lives" } else { "live" },
                if self.n_unknown == 1 { "is" } else { "are" }
            )
        });
        later.into_iter().chain(unknown)
    }
}

/// Whether a neighbour may show something of a time that ended at `until`: its own trouble, and its opening, are not later.
pub(super) fn may_show_then(life: &Life, until: f64, now: f64) -> bool {
    life.end.is_some() || matches!(then(life, until, now), SinceThen::WasSo | SinceThen::Unknown)
}

fn then(life: &Life, until: f64, now: f64) -> SinceThen {
    let connection = &life.connection;
    let now = life.read_at.unwrap_or(now);
    let opened = life.opened_at.as_deref().and_then(unix_seconds);
    if opened.is_some_and(|opened| opened > until) {
        return SinceThen::OpenedLater;
    }
    let began = match connection.condition() {
        Condition::Fine if life.finding() == Finding::ProbeUnanswered => {
            connection.probe_unanswered_seconds()
        }
        Condition::Fine => None,
        _ => Some(connection.condition_seconds.unwrap_or_default()),
    };
    let began = began.map(|since| now - since);
    if began.is_some_and(|began| began <= until) {
        return SinceThen::WasSo;
    }
    // It may have begun before anybody looked.
    if began.is_some() && connection.condition_at_least {
        return SinceThen::Unknown;
    }
    let was_watched = now - connection.watched_seconds <= until;
    match (opened.is_some() || was_watched, began) {
        (false, _) => SinceThen::Unknown,
        (true, Some(_)) => SinceThen::TroubleCameLater,
        (true, None) => SinceThen::WasSo,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observed::socket::Socket,
        view::life::tests_support::{app, live},
    };

    /// Seconds; the window is over for 100 s.
    const NOW: f64 = 10_000.0;
    const UNTIL: f64 = NOW - 100.0;

    fn hangs(since_ms: u32) -> Life {
        live(&Socket {
            in_flight: true,
            retransmits: 7,
            retransmitting_ms: Some(since_ms),
            silent_ms: since_ms + 60_000,
            ..app(1, None, since_ms)
        })
    }

    #[test]
    fn what_hangs_now_belongs_to_a_past_time_only_if_it_hung_then() {
        assert_eq!(then(&hangs(120_000), UNTIL, NOW), SinceThen::WasSo);
        let mut later = hangs(39_000);
        assert_eq!(then(&later, UNTIL, NOW), SinceThen::Unknown);
        later.connection.watched_seconds = 500.0;
        assert_eq!(then(&later, UNTIL, NOW), SinceThen::TroubleCameLater);
        later.connection.watched_seconds = 0.0;
        let at = |seconds: f64| crate::command::timestamp::of_unix(seconds).to_string();
        later.opened_at = Some(at(UNTIL - 1.0));
        assert_eq!(then(&later, UNTIL, NOW), SinceThen::TroubleCameLater);
        later.opened_at = Some(at(UNTIL + 1.0));
        assert_eq!(then(&later, UNTIL, NOW), SinceThen::OpenedLater);
        later.opened_at = None;
        later.connection.watched_seconds = 500.0;
        later.connection.condition_at_least = true;
        assert_eq!(then(&later, UNTIL, NOW), SinceThen::Unknown, "it may have begun before");
    }

    #[test]
    fn what_is_quiet_now_belongs_to_a_time_in_which_it_was_seen() {
        let mut quiet = live(&app(1, None, 5_000));
        assert_eq!(then(&quiet, UNTIL, NOW), SinceThen::Unknown, "after a restart of the agent");
        quiet.connection.watched_seconds = 101.0;
        assert_eq!(then(&quiet, UNTIL, NOW), SinceThen::WasSo);
    }

    #[test]
    fn what_is_left_out_is_counted_once() {
        let mut lives = vec![hangs(39_000), hangs(120_000), live(&app(2, None, 0))];
        lives[0].connection.watched_seconds = 500.0;
        let mut left_out = NotOfThen::default();
        let mut again = lives.clone();
        left_out.take_out(&mut lives, (UNTIL - 60.0, UNTIL), NOW);
        left_out.take_out(&mut again, (UNTIL - 60.0, UNTIL), NOW);
        assert_eq!(lives.len(), 1);
        let notes: Vec<String> = left_out.notes().collect();
        assert!(
            notes[0].starts_with("1 connection of that time lives and is in trouble"),
            "{notes:?}"
        );
        assert!(notes[1].starts_with("1 connection that lives now may have been"), "{notes:?}");
    }
}
