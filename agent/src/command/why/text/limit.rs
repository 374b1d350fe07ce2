//! How long a path, or the peer, keeps a quiet connection, in words: what is set or assumed, what was learned, and what is a
//! guess.

use super::phrase::{connections, of_processes, time, up_to};
use crate::{
    command::{
        timestamp,
        why::{answer::Judged, needs::limit_of, peer_timer::closes_first},
    },
    model::{
        judgement::{
            facts::ConnectionFacts as _,
            learned::{LimitRow, PeerClosesRow},
            learned_limit::Confidence,
            limit_source::LimitSource,
            limits_met::{LimitsMet, is_measured},
        },
        observed::probe_timing::quiet_before::ProbeAfter,
        text::duration::signed_seconds,
    },
    view::{
        connection::{PathLimit, ms},
        connection_group::QuietRange,
        life::{Finding, Life},
        neighbours::LimitGuess,
    },
};

/// The limit in force: what is assumed because nobody has given one is called so, and what somebody has given is not.
fn limit_in_force(limit: &PathLimit) -> String {
    let words = limit.in_words();
    match &limit.idle_limit_from {
        LimitSource::Default => format!("assumed to be {words} (default)"),
        LimitSource::Learned => format!("{words} (learned)"),
        from if limit.path.as_deref().is_some_and(is_measured) => {
            format!("set to {words} ({from}, as it was measured)")
        }
        from => format!("set to {words} ({from})"),
    }
}

/// Of a limit that somebody set, and connections taught one too: which counts, and how they contradict each other.
fn met_in_words(limit: &PathLimit, learned: &LimitRow) -> Option<String> {
    let in_force = limit.in_force();
    if !in_force.is_set() {
        return None;
    }
    let LimitsMet { in_force_because, contradiction, .. } = LimitsMet::of(in_force, learned);
    let contradiction = contradiction.map(|it| format!("; {it}")).unwrap_or_default();
    Some(format!(". The first is in force, as {in_force_because}{contradiction}"))
}

impl Judged {
    /// The timer of the peer, if it is over before the path forgets them.
    fn closes_first(&self) -> Option<&PeerClosesRow> {
        self.peer_closes.as_ref().filter(|closes| closes_first(&self.case, closes))
    }

    /// The same where that happened again and again.
    pub(super) fn habit(&self) -> Option<&PeerClosesRow> {
        self.closes_first().filter(|closes| closes.confidence > Confidence::Guess)
    }

    /// The same where it happened once or twice: it may have been a timer.
    fn may_close(&self) -> Option<&PeerClosesRow> {
        self.closes_first().filter(|closes| closes.confidence == Confidence::Guess)
    }

    /// That the peer may close them before the path forgets them: what keepalive does not change.
    pub(super) fn may_be_closed_first(&self) -> Option<String> {
        let PeerClosesRow { after_seconds, connections, .. } = self.may_close()?;
        let times = if *connections == 1 { "1 time" } else { &format!("{connections} times") };
        Some(format!(
            "; or closed by the peer after {} without data ({times} so far): keepalive does not change that if the peer counts \
             only data",
            time(*after_seconds)
        ))
    }

    /// A probe was answered, and the next one, an interval later, was not.
    pub(super) fn is_lost_between_probes(&self) -> bool {
        let quiet = self.example.as_ref().and_then(Life::quiet_before_probe);
        quiet.is_some_and(|quiet| quiet.after == ProbeAfter::Interval)
    }

    /// How long the path keeps a quiet connection, and how that is known.
    pub(super) fn limit(&self) -> Option<String> {
        let is_unsent = self.case.of(self.finding).all(Life::is_unsent);
        if !self.finding.is_of_silence()
            || self.finding == Finding::Opening
            || is_unsent
            || self.did_its_work()
        {
            return None;
        }
        if self.is_outage && self.finding == Finding::Dark {
            let text = "none explains it: others to the same peer that had not been quiet got no answer either";
            return Some(text.to_owned());
        }
        let connection = &self.example.as_ref()?.connection;
        if let Some(closes) =
            self.peer_closes.as_ref().filter(|it| it.confidence > Confidence::Guess)
        {
            return Some(closes.meaning.clone());
        }
        let in_force = limit_in_force(&connection.limit);
        // Evidence stands beside what is taken for the limit, and does not replace it.
        if let Some(learned) = &self.learned_limit {
            return Some(match connection.limit.idle_limit_from {
                LimitSource::Default | LimitSource::Learned
                    if learned.confidence == Confidence::Sure =>
                {
                    learned.meaning.clone()
                }
                _ => format!(
                    "{in_force}; seen: {}{}{}",
                    learned.meaning,
                    self.seen_sooner(learned.shortest_killed_seconds),
                    met_in_words(&connection.limit, learned).unwrap_or_default()
                ),
            });
        }
        if let Some(closes) = self.ended_by_timer.as_ref().filter(|_| self.n_dead > 0) {
            return Some(format!("{in_force}; seen: {}", closes.meaning));
        }
        if let Some(guess) = self.limit_guess.as_ref().filter(|_| self.n_live > 0) {
            let sooner = self.seen_sooner(guess.hangs_after);
            return Some(format!("{}{sooner}", self.guessed(guess, &in_force)));
        }
        if let Some(guess) = self.path_guess.as_ref().filter(|_| self.finding != Finding::Dropped) {
            let most = time(guess.quiet);
            return Some(format!(
                "{in_force}; a guess: at most {most}, because {}",
                guess.shown_by
            ));
        }
        let killed = self.quiet_seconds.filter(|_| self.finding == Finding::Dropped);
        Some(match killed {
            Some(QuietRange { least, .. })
                if least < f64::from(connection.limit.idle_limit_seconds) =>
            {
                format!(
                    "at most {} according to these deaths, but {in_force}: set --path",
                    time(least)
                )
            }
            _ => match self.may_close() {
                Some(closes) => format!("{in_force}; seen: {}", closes.meaning),
                None => format!("{in_force}{}", self.survived_longer()),
            },
        })
    }

    /// That one that lives went on after more quiet than what is taken for the limit.
    fn survived_longer(&self) -> String {
        /// Timers and looks are late.
        const CLEARLY: f64 = 1.1;
        let quiet = self.case.live().map(|life| life.connection.longest_quiet_seconds);
        let longest = quiet.fold(0.0, f64::max);
        if longest < CLEARLY * self.known_limit() {
            return String::new();
        }
        let (one, it) = if self.n_live == 1 { ("it", "it") } else { ("one of these", "them") };
        format!(
            "; but {one} went on after {} of quiet: the path keeps {it} for longer",
            time(longest)
        )
    }

    /// What got no answer after clearly less quiet than a time that is shown, seconds.
    fn seen_sooner(&self, shown: f64) -> String {
        /// What is rounded to the same second is no other evidence.
        const SAME_SECONDS: f64 = 1.0;
        let is_news = |quiet: f64| quiet + SAME_SECONDS < shown;
        let guess = self.path_guess.as_ref().filter(|guess| is_news(guess.quiet));
        guess.map(|guess| format!("; and {}", guess.shown_by)).unwrap_or_default()
    }

    /// What those that hang let guess, beside what is taken for the limit.
    fn guessed(&self, guess: &LimitGuess, in_force: &str) -> String {
        let hangs_after = time(guess.hangs_after);
        let until = guess.heard_until.map(|at| {
            let at = timestamp::of_unix(at).to_string();
            timestamp::short(&at, self.asked.now)
        });
        let (are, since) = match until {
            Some(at) => {
                (format!("were answered until {at}"), format!("were answered since, until {at}"))
            }
            None => ("are answered".to_owned(), "were answered since".to_owned()),
        };
        let gone = "and a peer that is gone, alone behind its address, would not answer them";
        let (range, others) = match (guess.answered_after.map(time), guess.heard_after.map(time)) {
            (Some(answered), _) => (
                format!("between {answered} and {hangs_after}"),
                format!(": others to the same peer, which probe every {answered}, {are}, {gone}"),
            ),
            (None, Some(heard)) => (
                format!("between {heard} and {hangs_after}"),
                format!(
                    ": others to the same peer, quiet for up to {heard} at a time, {since}, {gone}"
                ),
            ),
            (None, None) if guess.is_heard => (
                format!("at most {hangs_after}"),
                format!(": others to the same peer {since}, {gone}"),
            ),
            (None, None) => (format!("at most {hangs_after}"), String::new()),
        };
        if !matches!(self.finding, Finding::Stuck | Finding::GivenUp | Finding::PeerSilent) {
            let n = guess.n_hanging;
            let of = of_processes(&guess.processes);
            return format!(
                "{in_force}; a guess: {range}, because {}{of} to the same {} {} no answer, for {}{}",
                connections(n),
                if guess.is_of_host { "host" } else { "peer" },
                if n == 1 { "gets" } else { "get" },
                up_to(n),
                time(guess.hanging_seconds)
            );
        }
        let them = if self.n_live == 1 { "it" } else { "them" };
        let alike = match others {
            others if !others.is_empty() => others,
            _ if self.is_forgotten => format!(
                ": the peer's host answers others since, and nothing that is repeated on {}",
                if self.n_live == 1 { "this one" } else { "these" }
            ),
            _ => ", as a peer that is gone looks, too".to_owned(),
        };
        format!("{range} if the path has forgotten {them}{alike}; {in_force}")
    }

    /// Until a path with this limit forgets the first of those that live, seconds, if all stay quiet.
    fn forgotten_in(&self, limit: f64) -> f64 {
        let limit_ms = i64::try_from(ms(limit)).unwrap_or(i64::MAX);
        let open = self.case.live().map(|life| &life.connection).filter(|it| it.is_open());
        let rest_ms = open.map(|it| it.forgotten_in_ms(limit_ms)).min();
        rest_ms.map_or(limit, signed_seconds)
    }

    /// When the path forgets the first of them, by what is taken for its limit, and by a guess. `quietest`: the longest quiet time
    /// of one of them, seconds.
    pub(super) fn dropped_in(&self, quietest: f64) -> String {
        let rest = time(self.forgotten_in(self.known_limit()));
        if let Some(closes) = self.may_close() {
            return match closes.after_seconds - quietest {
                before if before > 0.0 => format!(
                    "closed by the peer in {} if it does that again, else dropped in {rest} if it stays quiet",
                    time(before)
                ),
                _ => format!(
                    "closed by the peer any moment now if it does that again, else dropped in {rest} if it stays quiet"
                ),
            };
        }
        match self.guess_beside() {
            None => format!("dropped in {rest} if it stays quiet"),
            Some(guess) if guess <= quietest => format!(
                "dropped already if the path forgets after ~{} (guess), else in {rest} if it stays quiet",
                time(guess)
            ),
            Some(guess) => format!(
                "dropped in {} if it stays quiet and the path forgets after ~{} (guess), else in {rest}",
                time(self.forgotten_in(guess)),
                time(guess)
            ),
        }
    }

    /// When the path forgets the one that is quiet for the longest time, where only a guess says that it does.
    pub(super) fn dropped_by_guess(&self, quietest: f64) -> Option<String> {
        let is_it = self.finding == Finding::ProbablyLate;
        let killed = self.killed_sooner.as_ref().filter(|_| is_it)?;
        let when = match killed.quiet - quietest {
            rest if rest > 0.0 => format!("in {} if it stays quiet and", time(rest)),
            _ => "already if".to_owned(),
        };
        Some(format!("dropped {when} the path forgets after ~{} (guess)", time(killed.quiet)))
    }

    /// The shortest limit that evidence lets guess, if it is shorter than the one that is reckoned with: seconds.
    pub(super) fn guess_beside(&self) -> Option<f64> {
        let learned = self.learned_limit.as_ref().filter(|it| it.confidence < Confidence::Sure);
        let hanging = self.limit_guess.as_ref().map(|guess| guess.hangs_after);
        let of_path = self.path_guess.as_ref().map(|guess| guess.quiet);
        let guess = learned.map(|it| it.shortest_killed_seconds).into_iter();
        let guess = guess.chain(hanging).chain(of_path);
        guess.min_by(f64::total_cmp).filter(|guess| *guess < self.known_limit())
    }

    pub(super) fn known_limit(&self) -> f64 {
        let learned = self.learned_limit.as_ref();
        self.example.as_ref().map_or(f64::INFINITY, |life| f64::from(limit_of(life, learned)))
    }

    /// The limit, and that it is only assumed.
    pub(super) fn limit_words(&self) -> String {
        let is_sure = |it: &LimitRow| it.confidence == Confidence::Sure;
        let from = self.example.as_ref().map(|life| &life.connection.limit.idle_limit_from);
        if let Some(limit) = self.example.as_ref().map(|life| &life.connection.limit)
            && limit.idle_kept_seconds < limit.idle_limit_seconds
        {
            return limit.in_words();
        }
        let is_assumed = from == Some(&LimitSource::Default)
            && !self.learned_limit.as_ref().is_some_and(is_sure);
        format!("{}{}", time(self.known_limit()), if is_assumed { " (assumed)" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::why::{
            answer::judge, in_window::AskedWhen, lessons::tests_support::learned_limit,
        },
        kernel::host,
        model::judgement::{
            learned::LearnedRow, limit_source::GivenBy, limits_met::measured_path_name,
        },
        view::life::tests_support::{RESET, app, dead},
    };

    /// What is said of a limit that connections taught (30 s to 1 min 10 s) beside one that is set.
    fn said(seconds: u32, path: Option<&str>, by: Option<GivenBy>) -> String {
        let one = app(1, None, 400_000);
        let netns = host::own_netns().filter(|own| *own != one.netns).map(|_| one.netns);
        let learned = LimitRow { netns, ..learned_limit(Some(30.0)) };
        let mut life = dead(&one, RESET);
        life.connection.limit = PathLimit {
            idle_limit_seconds: seconds,
            idle_kept_seconds: seconds,
            idle_limit_from: by.map_or(LimitSource::Default, |by| LimitSource::Given {
                preset: None,
                by: Some(by),
            }),
            path: path.map(str::to_owned),
        };
        let learned = [LearnedRow::PathLimit(learned)];
        let cases = judge(vec![life], &[], &learned, None, AskedWhen::default());
        let [case] = &cases[..] else { panic!("one case") };
        let said = case.limit().unwrap();
        assert_eq!(case.limit_contradiction.is_some(), said.contains("contradicts"), "{said}");
        said
    }

    #[test]
    fn a_limit_that_was_set_and_one_that_was_learned_are_said_with_their_sources_and_contradict() {
        let by_file = Some(GivenBy::ConfigFile);
        let person = said(350, Some("db"), by_file);
        assert!(person.starts_with("set to 5 min 50 s (configured by config file); seen: "));
        for part in [
            "between 30 s and 1 min 10 s. The first is in force, as what is set comes before what was learned;",
            "the limit that is set (5 min 50 s) contradicts what was learned: connections died after 1 min 10 s of quiet;",
        ] {
            assert!(person.contains(part), "{person}");
        }
        let measured = measured_path_name("172.16.0.15:2717".parse().unwrap());
        let measured = said(350, Some(&measured), by_file);
        assert!(
            measured
                .starts_with("set to 5 min 50 s (configured by config file, as it was measured)")
        );
        assert!(measured.ends_with("measure it again"), "{measured}");
        assert!(said(350, None, Some(GivenBy::Flag)).contains("configured by flag); seen: "));
    }

    #[test]
    fn where_both_agree_or_nothing_was_set_no_contradiction_is_said() {
        let agrees = said(60, Some("db"), Some(GivenBy::ConfigFile));
        assert!(agrees.ends_with("as what is set comes before what was learned"), "{agrees}");
        let assumed = said(350, None, None);
        assert!(assumed.ends_with("between 30 s and 1 min 10 s"), "{assumed}");
    }
}
