//! The text beside each label of a case.

use super::phrase::{NOT_THROUGH, connections, time, up_to};
use crate::{
    command::{
        timestamp,
        why::{answer::Judged, needs::is_noticed_by_user_timeout},
    },
    model::{
        judgement::{
            condition::Condition,
            death::Cause,
            verdict::{N_LIMITS_WATCHED, Verdict},
        },
        observed::{
            setsockopt::SockOpt,
            setting::SettingOrigin,
            socket::{Direction, State},
        },
        text::{
            count::counted,
            duration::{duration, tenths},
        },
    },
    view::{
        connection::Connection,
        connection_group::Peer,
        life::{CallSeen, Finding, Life},
        neighbours::{
            host_heard::HostHeard,
            witness::{PeerWitness, hangs_after_a_moment},
        },
    },
};

/// Whether it hangs after a quiet time in which its values would have let it probe, and it did not: the timer that ran was older.
fn is_older_than_values(life: &Life) -> bool {
    /// A timer is late by an eighth of a long time (`timer_list` wheels, kernel/time/timer.c), and ours by a tick.
    const LATEST: f64 = 1.125;
    let Connection { settings, probes_unanswered, .. } = &life.connection;
    let due = f64::from(settings.idle.seconds) * LATEST + 2.0;
    let quiet = life.quiet_before_stuck_seconds().filter(|_| settings.keepalive);
    *probes_unanswered == 0 && quiet.is_some_and(|quiet| quiet > due)
}

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
        let before = if self.hung_before { "  (began before that time)" } else { "" };
        format!("{name}{pids}{part_of} {arrow}  {}{before}", counts.join(", "))
    }

    pub(super) fn live_in_words(&self) -> String {
        let live: Vec<&Life> = self.case.live().collect();
        if self.finding == Finding::Opening {
            let n = connections(live.len());
            return format!(
                "{n} so far: nothing has come from the peer, {}",
                self.unanswered_syns()
            );
        }
        let mut words = Vec::new();
        let longest =
            |of: &dyn Fn(&Life) -> f64| live.iter().map(|life| of(life)).fold(0.0, f64::max);
        let count = |is: &dyn Fn(&Life) -> bool| live.iter().filter(|life| is(life)).count();
        let quietest = longest(&|life| life.connection.quiet_seconds);
        let as_of = self.seen_long_ago();
        words.push(format!("quiet for {}{}{as_of}", up_to(live.len()), time(quietest)));
        let of = |condition| count(&|life: &Life| life.connection.condition() == condition);
        let n_held_back = count(&|life: &Life| {
            life.connection.condition() == Condition::Stuck && life.connection.is_held_back()
        });
        if n_held_back > 0 {
            words.push(format!("{n_held_back} with data that could not be sent"));
        }
        let n_stuck = of(Condition::Stuck).saturating_sub(n_held_back);
        if n_stuck > 0 {
            words.extend(self.stuck_in_words(n_stuck));
        }
        let n_silent = of(Condition::PeerSilent);
        if n_silent > 0 {
            words.push(format!("{n_silent} with unanswered probes"));
        }
        let n_orphans = count(&|life| life.connection.orphan);
        if n_orphans > 0 {
            words.push(format!("{n_orphans} closed by this host: nobody waits any more"));
        }
        let n_probing = count(&|life| {
            matches!(
                life.finding(),
                Finding::ProbeUnanswered | Finding::ProbablyForgotten | Finding::ProbablyLost
            )
        });
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
        } else if self.finding == Finding::Unprotected && quietest > 0.0 && self.habit().is_none() {
            words.push(self.dropped_in(quietest));
        }
        words.extend(self.dropped_by_guess(quietest));
        words.extend(self.others_silent());
        words.extend(self.gone_for_all());
        words.extend(self.hung_lately());
        words.join(", ")
    }

    /// Whether one hears the peer, which does not get what it sends.
    pub(super) fn hears_peer(&self, life: &Life) -> bool {
        PeerWitness::of(life, self.asked.now).is_heard_although_unanswered()
    }

    /// Of those that live, the ones whose data nobody answers.
    fn stuck_in_words(&self, n_stuck: usize) -> Vec<String> {
        let live: Vec<&Life> = self.case.live().collect();
        let longest =
            |of: &dyn Fn(&Life) -> f64| live.iter().map(|life| of(life)).fold(0.0, f64::max);
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
        let mut words = vec![format!(
            "{n_stuck} with data unanswered{sent}, {}{}",
            up_to(n_stuck),
            counted(repeated.unwrap_or_default(), "retransmission"),
        )];
        let n_heard = live.iter().filter(|life| self.hears_peer(life)).count();
        if n_heard > 0 {
            let whose = if n_heard == live.len() { "the" } else { "for some the" };
            words.push(format!(
                "{whose} peer is heard all the same: what this host sends {NOT_THROUGH}"
            ));
        }
        if before > self.known_limit() {
            let them = if n_stuck == 1 { "it" } else { "them" };
            words.push(format!("as where a path has forgotten {them}"));
        }
        words
    }

    /// That others to the same peer get no answer, and whether these will notice it.
    fn others_silent(&self) -> Option<String> {
        // What was sent again and again, as pings are, will be.
        let is_rhythm = |life: &Life| {
            let longest = life.connection.longest_seen_quiet_seconds();
            longest < 60.0 && life.connection.watched_seconds >= 3.0 * longest.max(1.0)
        };
        let these = match (self.case.live().all(is_rhythm), self.n_live) {
            (true, 1) => "what this one sends next will show whether it does",
            (true, _) => "what these send next will show whether they do",
            (false, 1) => "this one does not notice it by itself",
            (false, _) => "these do not notice it by themselves",
        };
        let said = || format!("others to the same peer get no answer: {these}");
        self.is_peer_silent.then(said)
    }

    /// That one of those that live got no answer for some time, lately, and went on.
    fn hung_lately(&self) -> Option<String> {
        const LATELY_SECONDS: f64 = 900.0;
        let now = self.asked.now;
        let live = self.case.live().filter(|_| self.finding != Finding::AnsweredAgain);
        let times = live.flat_map(|life| life.unanswered_times_of((now - LATELY_SECONDS, now)));
        let (since, until) = times.max_by(|a, b| a.1.total_cmp(&b.1))?;
        let clock = |at: f64| timestamp::short_of_unix(at, now);
        let one = if self.n_live == 1 { "" } else { "one of them " };
        Some(format!(
            "{one}got no answer from {} on, and went on: answered by {}",
            clock(since),
            clock(until)
        ))
    }

    /// How old the look is that this was seen at, if that is old.
    fn seen_long_ago(&self) -> String {
        const LONG_SECONDS: f64 = 15.0;
        let looked = self.case.live().map(|life| life.connection.looked_at_seconds_ago);
        match looked.fold(0.0, f64::max) {
            oldest if oldest < LONG_SECONDS => String::new(),
            oldest => format!(" (as of {}{} ago)", up_to(self.n_live), time(oldest)),
        }
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
        let is_gone = match self.host_heard {
            HostHeard::Meanwhile => {
                "this port of the peer is gone, or the way to it: others to its host are answered all the while"
            }
            HostHeard::Nobody if self.outage_beside.is_some() => "the peer or the path is gone",
            _ if self.is_forgotten => {
                "the peer or the path was gone, or a device between has lost its state: what is repeated now meets nobody"
            }
            _ => {
                "others are answered now: the peer or the path was gone before, or a device between has lost its state; if its next \
                 repetition is not answered, it has"
            }
        };
        Some(if self.case.live().any(hangs_after_a_moment) {
            format!("no path forgets after so little quiet: {is_gone}")
        } else if self.case.live().any(shows) {
            format!("went on after as long a quiet time before: {is_gone}")
        } else {
            format!(
                "others to the same peer fell silent then after quiet times that no limit explains: {is_gone}"
            )
        })
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
            // Those of the time before it hung may have been others.
            let is_older = is_older_than_values(life);
            let now = match connection.condition() {
                Condition::Stuck if is_older => " now; its timer was set before that",
                Condition::Stuck => " now",
                _ => "",
            };
            let of_system = match of_system.len() {
                0 => String::new(),
                3 => format!(" (the system's values{now})"),
                _ => format!(" ({}: the system's{now})", of_system.join(", ")),
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
    pub(super) fn set_by(&self) -> String {
        let said = match (self.nobody_ever_set, self.calls.is_empty()) {
            (Some(true), _) => "; nobody ever called setsockopt for it, seen from the beginning",
            (_, false) => "; the calls that were seen:",
            (_, true) if self.case.has_own_values() => return self.set_by_nobody_seen(),
            (_, true) if self.case.calls_unseen() => "",
            (_, true) if self.case.events_lost() => {
                "; it is not known whether a program tried to set it: events were lost while it lived"
            }
            (_, true) => "; it was not seen whether a program tried to set it",
        };
        said.to_owned()
    }

    /// Of what is set, and no call of it was seen; nothing where it was seen to change without a call, as that says it.
    pub(super) fn set_by_nobody_seen(&self) -> String {
        let own = SockOpt::set_in(&self.case.key.own);
        let is_explained = |life: &Life, option: &SockOpt| {
            let is_call = |call: &CallSeen| call.option == *option && call.result == "ok";
            life.changed.contains(option) || life.calls.iter().any(is_call)
        };
        let is_unseen = |life: &Life| own.iter().any(|option| !is_explained(life, option));
        if self.case.calls_unseen() || !self.case.lives.iter().any(is_unseen) {
            return String::new();
        }
        let it = if self.changed.is_empty() { "it" } else { "the rest" };
        let because = match self.direction {
            _ if self.case.events_lost() => {
                "events were lost while it lived, and the call may have been one of them"
            }
            Direction::Inbound => {
                "it inherits from its listening socket, or was set in a way that is not seen (io_uring, the kernel, MPTCP)"
            }
            Direction::Outbound => {
                "it was set before the agent started, or in a way that is not seen (io_uring, the kernel, MPTCP)"
            }
        };
        format!("; no call was seen for {it}: {because}")
    }

    /// The path forgets what carries no bytes: probes do not count there.
    pub(super) fn counts_bytes(&self) -> bool {
        self.case.lives.iter().any(|life| life.connection.limit.idle_limit_from.counts_bytes())
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
}
