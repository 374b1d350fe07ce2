//! What probes of a closed window show, in words: whether the peer's host answers, and whether the path may have forgotten the
//! connection between two of them.

use super::{Connection, time};
use crate::model::{
    judgement::verdict::Verdict,
    observed::probe_timing::window_probes::answers_window_probes,
    text::duration::{duration, ms},
};

impl Connection {
    /// Of one whose window the peer has closed: whether the peer's host answers, and whether the path may have forgotten the
    /// connection meanwhile, in words. It carries no more than probes of the window, however early keepalive is due.
    pub(crate) fn window_probes_in_words(&self) -> String {
        let silent = self.silent_seconds - self.looked_at_seconds_ago;
        if self.is_silent_past_limit() {
            return format!(
                "its host was heard {} ago, longer than the path keeps a connection ({}): it may have forgotten this one meanwhile, \
                 as probes of the window come further and further apart, up to 2 min",
                time(silent),
                duration(u64::from(self.limit.idle_limit_seconds))
            );
        }
        if self.answers_window_probes() {
            return "its host answers".to_owned();
        }
        format!(
            "its host was heard {} ago, and has not answered a probe of the window since: one may be lost",
            time(silent)
        )
    }

    /// Whether the path is taken to forget what was silent for as long as this one.
    pub(crate) fn is_silent_past_limit(&self) -> bool {
        let limit = f64::from(self.limit.idle_limit_seconds);
        self.verdict.is_some_and(|verdict| verdict != Verdict::Local)
            && self.silent_seconds - self.looked_at_seconds_ago >= limit
    }

    /// Whether the peer answered the last probe of its window.
    fn answers_window_probes(&self) -> bool {
        let since = self.condition_seconds.unwrap_or_default();
        answers_window_probes(ms(since), ms(self.silent_seconds), ms(self.looked_at_seconds_ago))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observed::socket::Socket,
        view::{
            condition_text::condition_in_words,
            life::tests_support::{app, live},
        },
    };

    fn said(socket: &Socket) -> Option<String> {
        condition_in_words(&live(socket).connection)
    }

    #[test]
    fn a_host_answers_probes_of_its_window_only_as_long_as_it_was_heard_within_the_wait_for_the_last()
     {
        // Its window is closed for 150 s: after 104 s came the last probe, and the next is due after 208 s.
        let blocked = |silent_ms| Socket {
            in_flight: true,
            window_closed: true,
            retransmitting_ms: Some(150_000),
            silent_ms,
            ..app(1, None, silent_ms)
        };
        let answered = said(&blocked(46_000)).unwrap();
        assert!(answered.ends_with("its window is closed, its host answers"), "{answered}");
        // It was heard at the probe before, after 52 s, and not since.
        let unanswered = said(&blocked(98_000)).unwrap();
        assert!(
            unanswered.contains("was heard 1 min 38 s ago, and has not answered"),
            "{unanswered}"
        );
        assert!(!unanswered.contains("its host answers"), "{unanswered}");
        // An answer may have come since the last look.
        let mut unseen = blocked(98_000);
        unseen.watched.age_ms = 60_000;
        assert!(said(&unseen).unwrap().contains("its host answers"));
        // The path keeps a connection for 45 s: probes that come further apart, answered or not, do not keep it.
        let mut connection = live(&blocked(98_000)).connection;
        connection.limit.idle_limit_seconds = 45;
        let past = condition_in_words(&connection).unwrap();
        assert!(
            past.contains("longer than the path keeps a connection (45 s): it may have"),
            "{past}"
        );
        connection.verdict = Some(Verdict::Local);
        assert!(!condition_in_words(&connection).unwrap().contains("the path"));
    }
}
