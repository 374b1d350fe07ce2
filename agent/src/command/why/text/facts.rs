//! The text beside each label of a case.

use super::phrase::{connections, of_processes, time, up_to};
use crate::{
    command::{
        timestamp,
        why::{
            answer::Judged,
            needs::{is_noticed_by_user_timeout, limit_of},
            neighbours::{LimitGuess, witness::PeerWitness},
        },
    },
    model::{
        judgement::{
            condition::Condition,
            death::Cause,
            learned::LimitRow,
            learned_limit::Confidence,
            limit_source::LimitSource,
            verdict::{N_LIMITS_WATCHED, Verdict},
        },
        observed::{
            setting::SettingOrigin,
            socket::{Direction, State},
        },
        text::duration::{duration, tenths},
    },
    view::{
        connection::Connection,
        connection_group::{Peer, QuietRange},
        life::{Finding, Life},
    },
};

impl Judged {
    /// `python3[812] web.service -> 10.0.0.9:5432  7 dead, 3 live`
    pub(super) fn heading(&self) -> String {
        let name = self.process.as_deref().unwrap_or("?");
        let pids = match self.pids.as_slice() {
            [] => String::new(),
            [pid] => format!("[{pid}]"),
            [one, other] => format!("[{one}, {other}]"),
            pids => format!("[{} processes]", pids.len()),
        };
        let part_of =
            self.case.key.part_of.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let arrow = match self.case.key.peer {
            Peer::Server(addr) => format!("-> {addr}"),
            Peer::ClientsOf(port) => match (self.case.peers().len(), self.case.peers().first()) {
                (1, Some(peer)) => format!("port {port} <- {peer}"),
                (n, _) => format!("port {port} <- {n} clients"),
            },
        };
        let counts: Vec<String> = [(self.n_dead, "dead"), (self.n_live, "live")]
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, word)| format!("{n} {word}"))
            .collect();
        format!("{name}{pids}{part_of} {arrow}  {}", counts.join(", "))
    }

    pub(super) fn live_in_words(&self) -> String {
        let live: Vec<&Life> = self.case.live().collect();
        if self.finding == Finding::Opening {
            return format!("{} so far: nothing has come from the peer", connections(live.len()));
        }
        let mut words = Vec::new();
        let longest =
            |of: &dyn Fn(&Life) -> f64| live.iter().map(|life| of(life)).fold(0.0, f64::max);
        let count = |is: &dyn Fn(&Life) -> bool| live.iter().filter(|life| is(life)).count();
        let quietest = longest(&|life| life.connection.quiet_seconds);
        words.push(format!("quiet for {}{}", up_to(live.len()), time(quietest)));
        let of = |condition| count(&|life: &Life| life.connection.condition() == condition);
        let n_held_back = count(&|life: &Life| {
            life.connection.condition() == Condition::Stuck && life.connection.is_held_back()
        });
        if n_held_back > 0 {
            words.push(format!("{n_held_back} with data that could not be sent"));
        }
        let n_stuck = of(Condition::Stuck).saturating_sub(n_held_back);
        if n_stuck > 0 {
            let repeated = live.iter().map(|life| life.connection.retransmits).max();
            let before = longest(&|life| match life.connection.condition_seconds {
                Some(since) if life.connection.condition() == Condition::Stuck => {
                    life.connection.silent_seconds - since
                }
                _ => 0.0,
            });
            let sent = if before >= 1.0 {
                format!(", sent after {}{} of silence", up_to(n_stuck), time(before))
            } else {
                String::new()
            };
            words.push(format!(
                "{n_stuck} with data unanswered{sent}, {}{} retransmissions",
                up_to(n_stuck),
                repeated.unwrap_or_default(),
            ));
            if before > self.known_limit() {
                words.push("as where a path has forgotten them".to_owned());
            }
        }
        let n_silent = of(Condition::PeerSilent);
        if n_silent > 0 {
            words.push(format!("{n_silent} with unanswered probes"));
        }
        let n_orphans = count(&|life| life.connection.orphan);
        if n_orphans > 0 {
            words.push(format!("{n_orphans} closed by this host: nobody waits any more"));
        }
        let n_probing = count(&|life| life.finding() == Finding::ProbeUnanswered);
        if n_probing > 0 {
            words.push(format!("{n_probing} with a probe that is not answered yet"));
        }
        let n_in_flight = count(&|life| life.connection.in_flight).saturating_sub(n_stuck);
        let n_in_flight = n_in_flight.saturating_sub(of(Condition::Blocked) + n_held_back);
        if n_in_flight > 0 {
            words.push(format!("{n_in_flight} with data in flight"));
        }
        for (condition, what) in [
            (Condition::Blocked, "with a closed window of the peer"),
            (Condition::PeerClosed, "closed by the peer"),
            (Condition::Unaccepted, "in the accept queue"),
        ] {
            let n = of(condition);
            if n > 0 {
                words.push(format!("{n} {what}"));
            }
        }
        if !self.stopped.is_empty() {
            words.push("of a process that is stopped".to_owned());
        }
        words.extend(self.last_words());
        let n_over = of(Condition::Overdue);
        if n_over > 0 {
            let those = if live.len() == 1 { String::new() } else { format!("{n_over} ") };
            words.push(format!("{those}longer than the limit: probably dropped already"));
        } else if let Some(busy) = self.busy_so_far() {
            let enough = time(f64::from(N_LIMITS_WATCHED) * self.known_limit());
            words.push(format!("{busy} (`kept` once that is {enough})"));
        } else if self.finding == Finding::Unprotected
            && quietest > 0.0
            && self.closes_first().is_none()
        {
            words.push(self.dropped_in(quietest));
        }
        if self.is_peer_silent {
            words.push(
                "others to the same peer get no answer: these do not notice it by themselves"
                    .to_owned(),
            );
        }
        words.extend(self.gone_for_all());
        words.join(", ")
    }

    /// That no idle limit explains what hangs, and what shows it.
    fn gone_for_all(&self) -> Option<String> {
        if !self.is_outage || self.finding == Finding::Dark {
            return None;
        }
        let shows = |life: &Life| {
            let unanswered = PeerWitness::of(life, self.asked.now).unanswered;
            unanswered.is_some_and(|it| it.is_outage)
        };
        Some(if self.case.live().any(shows) {
            "went on after as long a quiet time before: the peer or the path is gone".to_owned()
        } else {
            "others to the same peer hang after quiet times that they survived before: the peer or the path is gone for \
             all of them"
                .to_owned()
        })
    }

    /// When the path forgets the one that is quiet for the longest time, by what is taken for its limit, and by a guess.
    fn dropped_in(&self, quietest: f64) -> String {
        let rest = time(self.known_limit() - quietest);
        match self.guess_beside() {
            None => format!("dropped in {rest} if it stays quiet"),
            Some(guess) if guess <= quietest => format!(
                "dropped already if the path forgets after ~{} (guess), else in {rest} if it stays quiet",
                time(guess)
            ),
            Some(guess) => format!(
                "dropped in {} if it stays quiet and the path forgets after ~{} (guess), else in {rest}",
                time(guess - quietest),
                time(guess)
            ),
        }
    }

    /// The shortest limit that evidence lets guess, if it is shorter than the one that is reckoned with: seconds.
    pub(super) fn guess_beside(&self) -> Option<f64> {
        let learned = self.learned_limit.as_ref().filter(|it| it.confidence < Confidence::Sure);
        let hanging = self.limit_guess.as_ref().map(|guess| guess.hangs_after);
        let guess = learned.map(|it| it.shortest_killed_seconds).into_iter().chain(hanging);
        guess.min_by(f64::total_cmp).filter(|guess| *guess < self.known_limit())
    }

    /// The keepalive settings of the example, in words.
    pub(super) fn set(&self) -> String {
        let Some(life) = &self.example else {
            return String::new();
        };
        let connection = &life.connection;
        let mut text = if connection.settings.keepalive {
            let from = [
                ("idle", connection.settings.idle.from),
                ("interval", connection.settings.interval.from),
                ("count", connection.settings.count.from),
            ];
            let of_system: Vec<_> = from
                .into_iter()
                .filter_map(|(name, from)| (from == SettingOrigin::Netns).then_some(name))
                .collect();
            let of_system = match of_system.len() {
                0 => String::new(),
                3 => " (the system's values)".to_owned(),
                _ => format!(" ({}: the system's)", of_system.join(", ")),
            };
            format!(
                "keepalive on: first probe after {}, then {} x {}{of_system}",
                duration(connection.settings.idle.seconds),
                connection.settings.count.probes,
                duration(connection.settings.interval.seconds),
            )
        } else {
            "keepalive off".to_owned()
        };
        if connection.settings.user_timeout_ms > 0 {
            text += &format!(", user timeout {}", tenths(connection.settings.user_timeout_ms));
        }
        text += &self.timer_that_runs().unwrap_or_default();
        if !self.changed.is_empty() {
            let options: Vec<_> = self.changed.iter().map(|option| option.as_str()).collect();
            text += &format!(
                "; {} changed without a setsockopt call (io_uring, BPF, a 32-bit program)",
                options.join(", ")
            );
        }
        text
    }

    /// What keeps connections that their own probes do not protect.
    pub(super) fn kept(&self) -> String {
        let kept: Vec<_> = self
            .case
            .live()
            .map(|life| &life.connection)
            .filter(|connection| connection.verdict == Some(Verdict::Kept))
            .collect();
        let most = |of: fn(&Connection) -> f64| kept.iter().map(|it| of(it)).reduce(f64::max);
        let longest = most(|it| it.longest_quiet_seconds.max(it.quiet_seconds));
        let watched = kept.iter().map(|it| it.watched_seconds).reduce(f64::min);
        let by =
            if kept.iter().any(|it| it.peer_probes) { "probes of the peer" } else { "traffic" };
        longest.zip(watched).map_or_else(String::new, |(longest, watched)| {
            format!(
                "; kept so far by {by}: never seen quiet for more than {} in the {} that it was watched",
                time(longest),
                time(watched)
            )
        })
    }

    /// By whom, as far as that was seen.
    pub(super) const fn set_by(&self) -> &'static str {
        match (self.nobody_ever_set, self.calls.is_empty()) {
            (Some(true), _) => "; nobody ever called setsockopt for it, seen from the beginning",
            (_, false) => "; the calls that were seen:",
            (_, true) if self.case.has_own_values() => self.set_by_nobody_seen(),
            (_, true) => "; it was not seen whether a program tried to set it",
        }
    }

    /// Of what is set, and no call of it was seen.
    pub(super) const fn set_by_nobody_seen(&self) -> &'static str {
        match self.direction {
            Direction::Inbound => {
                "; no call was seen for it: it inherits from its listening socket, or was set in a way that is not \
                 seen (io_uring, the kernel, MPTCP)"
            }
            Direction::Outbound => {
                "; no call was seen for it: it was set before the agent started, or in a way that is not seen \
                 (io_uring, the kernel, MPTCP)"
            }
        }
    }

    /// The path forgets what carries no bytes: probes do not count there.
    pub(super) fn counts_bytes(&self) -> bool {
        self.case.lives.iter().any(|life| life.connection.limit.idle_limit_from.counts_bytes())
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
        if let Some(closes) = &self.peer_closes {
            return Some(closes.meaning.clone());
        }
        let configured =
            format!("{} ({})", connection.limit.in_words(), connection.limit.idle_limit_from);
        // Evidence stands beside what is taken for the limit, and does not replace it.
        if let Some(learned) = &self.learned_limit {
            return Some(match connection.limit.idle_limit_from {
                LimitSource::Default | LimitSource::Learned
                    if learned.confidence == Confidence::Sure =>
                {
                    learned.meaning.clone()
                }
                _ => format!("assumed to be {configured}; seen: {}", learned.meaning),
            });
        }
        if let Some(guess) = self.limit_guess.as_ref().filter(|_| self.n_live > 0) {
            return Some(self.guessed(guess, &configured));
        }
        let killed = self.quiet_seconds.filter(|_| self.finding == Finding::Dropped);
        Some(match killed {
            Some(QuietRange { least, .. })
                if least < f64::from(connection.limit.idle_limit_seconds) =>
            {
                format!(
                    "at most {} according to these deaths, but assumed to be {configured}: set --path",
                    time(least)
                )
            }
            _ => format!("assumed to be {configured}"),
        })
    }

    /// What those that hang let guess, beside what is taken for the limit.
    fn guessed(&self, guess: &LimitGuess, configured: &str) -> String {
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
        let gone = "and a peer that is gone would not answer them";
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
                "assumed to be {configured}; a guess: {range}, because {}{of} to the same {} {} no answer, for {}{}",
                connections(n),
                if guess.is_of_host { "host" } else { "peer" },
                if n == 1 { "gets" } else { "get" },
                up_to(n),
                time(guess.hanging_seconds)
            );
        }
        let alike = if others.is_empty() { ", as a peer that is gone looks, too" } else { &others };
        let them = if self.n_live == 1 { "it" } else { "them" };
        format!("{range} if the path has forgotten {them}{alike}; assumed to be {configured}")
    }

    /// Keepalive was early enough, and noticed what it could not prevent; or what was sent did not leave this host.
    pub(super) fn did_its_work(&self) -> bool {
        self.finding == Finding::Dark
            && (self.case.of(self.finding).all(Life::is_unsent)
                || !self.case.is_unprotected()
                || is_noticed_by_user_timeout(&self.case))
    }

    /// What noticed that nobody answers.
    pub(super) fn noticed_by(&self) -> &'static str {
        let is = |cause| self.causes.iter().any(|count| count.cause == cause);
        match (is(Cause::KeepaliveTimeout) || is(Cause::KeepaliveReset), is(Cause::UserTimeout)) {
            (true, false) => "keepalive noticed it",
            (false, true) => "the user timeout noticed it",
            (true, true) => "keepalive and the user timeout noticed it",
            (false, false) if is(Cause::Abandoned) => "this host gave up by itself",
            (false, false) => "the kernel gave up after its retransmissions",
        }
    }

    /// Where to look, if nothing is to be set.
    pub(super) fn look_at(&self) -> &'static str {
        if self.case.of(self.finding).all(Life::is_unsent) {
            "Look at the routes, the interfaces and the firewall of this host"
        } else {
            "Look at the peer and the path"
        }
    }

    /// None of them came to be: nothing that was set mattered.
    pub(super) fn never_opened(&self) -> bool {
        self.case.live().all(|life| life.connection.state == State::SynSent)
            && self.causes.iter().all(|count| count.cause == Cause::ConnectFailed)
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
