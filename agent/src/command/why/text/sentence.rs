//! The answer in one sentence: how many connections, whose they were, what happened to them and why.

use super::{
    outages,
    phrase::{connections, of_processes, process, time, up_to},
};
use crate::{
    command::{
        timestamp,
        why::{
            answer::{CallCount, Judged},
            needs::closed_all_at_once,
        },
    },
    model::{
        judgement::{facts::ConnectionFacts as _, gap::GapFrom},
        observed::{setsockopt::SockOpt, socket::Direction},
        text::{count::counted, duration::duration},
    },
    view::{
        condition_text::{held_back_in_words, network_error_in_words, one_of_listeners, soon},
        connection::Connection,
        connection_group::Peer,
        life::{Finding, Life},
        neighbours::{LimitGuess, host_heard::HostHeard},
    },
};
use std::collections::BTreeSet;

/// A connection in a pool is looked at when it is used next: until then nobody can have noticed that the peer closed it.
const POOL_PAUSE_SECONDS: f64 = 300.0;

/// A program may work for this time on an answer before it begins to send it.
const SLOW_ANSWER_SECONDS: f64 = 60.0;

impl Judged {
    /// The finding in words, without what the peer's own timer has to do with it.
    pub(super) fn finding_in_words(&self) -> String {
        let n = self.case.of(self.finding).count();
        let what = connections(n);
        let whose = self.whose();
        let peer = self.peer_phrase();
        let (was, it) = if n == 1 { ("was", "it") } else { ("were", "them") };
        match self.finding {
            Finding::Dropped | Finding::Dark if let Some(after) = self.peer_spoke_last() => {
                format!("{what}{whose} {peer} {was} {}", self.closed_when_told_last(&after, it))
            }
            Finding::Dropped => {
                format!("{what}{whose} {peer} died of silence: {}", self.why_silent(it))
            }
            Finding::Dark if let Some(because) = &self.probed_too_late => format!(
                "{what}{whose} {peer} got no answer to the first probe, and {because} {it} before"
            ),
            Finding::Dark => self.dark(&format!("{what}{whose} {peer}"), was),
            Finding::Stuck => self.stuck(&format!("{what}{whose} {peer}"), n),
            Finding::PeerSilent => {
                let probes =
                    self.case.of(Finding::PeerSilent).map(|life| life.connection.probes_unanswered);
                format!(
                    "{what}{whose} {peer} {} sent {}{} that nobody answered{}",
                    if n == 1 { "has" } else { "have" },
                    up_to(n),
                    counted(probes.max().unwrap_or_default(), "probe"),
                    self.unanswered()
                )
            }
            Finding::GivenUp => self.given_up(&format!("{what}{whose} {peer} {was}"), n),
            Finding::ProbablyForgotten => self.probably_forgotten(&format!("{what}{whose} {peer}")),
            Finding::ProbablyLost => self.probably_lost(&format!("{what}{whose} {peer}")),
            Finding::ProbablyLate => format!(
                "{what}{whose} {peer} {} protected by the limit of {}, but {} probes leave up to {} of quiet, and {}. A guess: \
                 the path forgets {it} before",
                if n == 1 { "is" } else { "are" },
                self.limit_words(),
                if n == 1 { "its" } else { "their" },
                time(self.gap_seconds.unwrap_or_default()),
                self.shown_by()
            ),
            Finding::ProbeUnanswered => {
                let waiting = self.case.of(self.finding);
                let since = waiting.filter_map(|life| life.connection.probe_unanswered_seconds());
                format!(
                    "{what}{whose} {peer} {} a probe {}{} ago that is not answered yet{}; {}",
                    if n == 1 { "sent" } else { "each sent" },
                    up_to(n),
                    time(since.fold(0.0, f64::max)),
                    self.next_probe(),
                    "a single one may be lost"
                )
            }
            Finding::Overdue => format!(
                "{what}{whose} {peer} {} quiet for longer than {}, so probably dropped: {}",
                if n == 1 { "is" } else { "are" },
                self.limit_words(),
                self.why_silent(it)
            ),
            Finding::AnsweredAgain => self.answered_again(&format!("{what}{whose} {peer}"), n),
            Finding::Unprotected => self.unprotected(&format!("{what}{whose} {peer}"), it),
            Finding::Opening => {
                format!("{what}{whose} {peer} cannot be opened so far: {}", self.unanswered_syns())
            }
            Finding::Blocked => self.blocked(&format!("{what}{whose} {peer}"), it),
            Finding::Unaccepted => format!(
                "{what}{whose} {peer} {} in the accept queue{}: the program does not take {it}",
                if n == 1 { "waits" } else { "wait" },
                self.one_of_listeners().unwrap_or_default()
            ),
            Finding::PeerClosed => self.peer_closed(&format!("{what}{whose} {peer}"), it),
            Finding::ClosedAlthoughProbed if closed_all_at_once(&self.case) => format!(
                "{what}{whose} {peer} {was} closed by the peer all at once, after different times without data: it was \
                 restarted, or closes all of them"
            ),
            Finding::ClosedAlthoughProbed => format!(
                "{what}{whose} {peer} {was} closed by the peer after {}{} without data{}",
                up_to(n),
                time(self.without_data()),
                self.why_closed(),
            ),
            Finding::Failed => self.failed(&what, &whose, &peer),
            Finding::Drilled => format!(
                "{what}{whose} {peer} {was} cut off by a drill of keepwatch (`keepwatch drill`), which dropped {} packets. What \
                 came of that says nothing of the peer or of the path",
                if n == 1 { "its" } else { "their" }
            ),
            Finding::Unseen => format!("{what}{whose} {peer} ended, and nobody saw how"),
            Finding::Fine => String::new(),
        }
    }

    /// Of those whose probe is unanswered, where others show that the path forgets sooner.
    fn probably_forgotten(&self, what: &str) -> String {
        let n = self.case.of(self.finding).count();
        format!(
            "{what} {} probably forgotten by the path: {}; and {}. A guess: a single probe may be lost",
            if n == 1 { "was" } else { "were" },
            self.waiting_probe(n),
            self.shown_by()
        )
    }

    /// The same where others to the host get no answer either, and nobody was heard since.
    fn probably_lost(&self, what: &str) -> String {
        let n = self.case.of(self.finding).count();
        format!(
            "{what} {} probably lost: {}; and {}. A guess: it may be this probe alone",
            if n == 1 { "is" } else { "are" },
            self.waiting_probe(n),
            outages::others_too(self).unwrap_or_default()
        )
    }

    /// What was sent when, and is not answered.
    fn waiting_probe(&self, n: usize) -> String {
        let waiting = || self.case.of(self.finding).map(|life| &life.connection);
        let longest = |times: &mut dyn Iterator<Item = f64>| times.fold(0.0, f64::max);
        let since = longest(&mut waiting().filter_map(Connection::probe_unanswered_seconds));
        let before = longest(
            &mut waiting()
                .filter_map(|it| Some(it.silent_seconds - it.probe_unanswered_seconds()?)),
        );
        format!(
            "a probe that was sent {}{} ago, after {} of quiet, is not answered{}",
            up_to(n),
            time(since),
            time(before),
            self.next_probe()
        )
    }

    /// What shows that the path forgets sooner than the limit in force says.
    fn shown_by(&self) -> &str {
        self.killed_sooner.as_ref().map_or("", |killed| &killed.shown_by)
    }

    /// Of those whose data went unanswered for some time.
    fn answered_again(&self, what: &str, n: usize) -> String {
        let window = self.asked.window.unwrap_or((self.asked.since, self.asked.now));
        let all = || {
            let of_it = self.case.of(self.finding);
            of_it.flat_map(|life| life.unanswered_times_of(window))
        };
        let clock = |at: f64| timestamp::short_of_unix(at, self.asked.now);
        let from = all().map(|(from, _)| from).fold(f64::INFINITY, f64::min);
        let to = all().map(|(_, to)| to).fold(0.0, f64::max);
        let times = all().count();
        if times > n {
            return format!(
                "{what} got no answer {times} times between {} and {}, each time for 5 s or longer, and went on",
                clock(from),
                clock(to)
            );
        }
        format!(
            "{what} got no answer from {} on, and went on: answered by {}",
            clock(from),
            clock(to)
        )
    }

    /// Of those that live, and that nothing protects.
    fn unprotected(&self, what: &str, it: &str) -> String {
        if let Some(closes) = self.habit() {
            return self.closed_by_habit(what, it, closes);
        }
        let unnoticed = match self.direction {
            Direction::Inbound => " may be dead without being noticed, and",
            Direction::Outbound => "",
        };
        let busy = self.busy_so_far().map(|busy| format!(", {busy}")).unwrap_or_default();
        let guess = self.guess_beside().map(|guess| format!(", ~{} (guess)", time(guess)));
        format!(
            "{what}{unnoticed} will be dropped once quiet for {}{}{busy}: {}{}",
            self.limit_words(),
            guess.unwrap_or_default(),
            self.why_silent(it),
            self.may_be_closed_first().unwrap_or_default()
        )
    }

    /// That nobody can tell whose queue it is, and who it may be.
    fn one_of_listeners(&self) -> Option<String> {
        let life = self.case.of(self.finding).find(|life| life.connection.listeners > Some(1))?;
        let owners: Vec<String> = life.owners.iter().map(process).collect();
        Some(format!("{}, of {}", one_of_listeners(&life.connection)?, owners.join(" or ")))
    }

    /// Of those that cannot be opened: how many SYNs of each went unanswered, for how long, and when the kernel gives up.
    pub(super) fn unanswered_syns(&self) -> String {
        let opening = || self.case.of(Finding::Opening).map(|life| life.connection.retransmits);
        format!(
            "{}{} got no answer{}",
            up_to(opening().count()),
            counted(u32::from(opening().max().unwrap_or_default()) + 1, "SYN"),
            self.unanswered()
        )
    }

    /// Of those that the peer has closed.
    fn peer_closed(&self, what: &str, it: &str) -> String {
        let habit = self.habit().filter(|_| self.lasts_for() < POOL_PAUSE_SECONDS);
        let because = habit.map_or_else(
            || {
                let may_work = if self.lasts_for() < SLOW_ANSWER_SECONDS {
                    ", or it still works on an answer: a peer that has closed only its own half waits for that"
                } else {
                    ""
                };
                format!("it does not read, or it leaks {it}{may_work}")
            },
            |closes| {
                let after = time(closes.after_seconds);
                format!(
                    "the peer closes what has had no data for {after}, and a pool notices at its next use"
                )
            },
        );
        format!("the peer has closed {what}, and the program has not{}: {because}", self.since())
    }

    /// For how long nobody has answered, what ICMP says if it says the same of each, and when the kernel gives up.
    pub(super) fn unanswered(&self) -> String {
        let worst = self.case.of(self.finding).map(|life| &life.connection);
        let said: Option<BTreeSet<String>> = worst.map(network_error_in_words).collect();
        let network = match said.map(|said| said.into_iter().collect::<Vec<_>>()).as_deref() {
            Some([said]) => format!("; {said}"),
            _ => String::new(),
        };
        format!("{}{network}{}{}", self.since(), self.while_others(), self.gives_up())
    }

    /// How others to the same peer fare while these hang, if that tells a path that forgot from one that is gone.
    fn while_others(&self) -> &'static str {
        if !matches!(self.finding, Finding::Stuck | Finding::PeerSilent | Finding::GivenUp) {
            return "";
        }
        let is_heard = |guess: &LimitGuess| guess.is_heard && guess.heard_until.is_none();
        match (self.is_outage, self.outage_beside) {
            (true, Some(_)) if self.n_hanging_beside > self.case.of(self.finding).count() => {
                ", nor do others to the same host get one"
            }
            _ if self.case.of(self.finding).all(|life| self.hears_peer(life)) => {
                ", while the peer is heard all the same"
            }
            (true, _) if self.host_heard == HostHeard::Meanwhile => {
                ", while others to other ports of the host are answered"
            }
            (false, _) if self.limit_guess.as_ref().is_some_and(is_heard) => {
                ", while others to the same peer are answered"
            }
            (false, _) if self.is_forgotten => ", while others to the same host were answered",
            _ => "",
        }
    }

    /// Whether others to the same peer were answered while each of the worst died.
    pub(super) fn others_were_answered(&self) -> bool {
        let worst = self.case.of(self.case.finding_of_dead());
        let mut answered =
            worst.filter_map(|life| life.end.as_ref()).map(|end| end.others_answered.is_some());
        // None if all live.
        answered.next().is_some_and(|first| first && answered.all(|it| it))
    }

    /// What keeps all of these from sending, the reason if it is one; none if something was sent.
    pub(super) fn held_back(&self) -> Option<String> {
        let stuck = self.case.of(Finding::Stuck);
        let reasons: Option<BTreeSet<&str>> =
            stuck.map(|life| held_back_in_words(&life.connection)).collect();
        let mut reasons = reasons?.into_iter();
        match (reasons.next(), reasons.next()) {
            (Some(reason), None) => Some(format!(": {reason}")),
            _ => Some(String::new()),
        }
    }

    /// For how long the worst condition has lasted.
    pub(super) fn since(&self) -> String {
        let n = self.case.of(self.finding).count();
        if self.asked.is_of_past {
            let began = self.asked.now - self.lasts_for();
            let or_before = if self.is_least() { " or before" } else { "" };
            return format!(
                ", since {}{or_before}, still now",
                timestamp::short_of_unix(began, self.asked.now)
            );
        }
        let at_least = if self.is_least() { "at least " } else { "" };
        format!(", for {at_least}{}{}{}", up_to(n), time(self.lasts_for()), self.as_of())
    }

    /// How old what is known of them is: an answer may have come meanwhile.
    fn as_of(&self) -> String {
        let looked = self.case.of(self.finding).map(|life| life.connection.looked_at_seconds_ago);
        let n = self.case.of(self.finding).count();
        match looked.fold(0.0, f64::max) {
            oldest if oldest < 1.0 => String::new(),
            oldest => format!(" (as of {}{} ago)", up_to(n), time(oldest)),
        }
    }

    /// Whether it may have lasted longer: it began before anybody looked.
    fn is_least(&self) -> bool {
        self.case.of(self.finding).any(|life| life.connection.condition_at_least)
    }

    fn lasts_for(&self) -> f64 {
        let times = self.case.of(self.finding).filter_map(|life| life.connection.condition_seconds);
        times.fold(0.0, f64::max)
    }

    /// The longest time without data before those of the worst finding ended.
    fn without_data(&self) -> f64 {
        let ends = self.case.of(self.finding).filter_map(|life| life.end.as_ref());
        ends.filter_map(|end| end.without_data_seconds).fold(0.0, f64::max)
    }

    /// When the kernel ends the first of them.
    pub(super) fn gives_up(&self) -> String {
        let times = self.case.of(self.finding).filter_map(|life| life.connection.gives_up_seconds);
        let first = times.min_by(f64::total_cmp);
        first.map(|rest| format!("; the kernel gives up {}", soon(rest))).unwrap_or_default()
    }

    /// When the next probe of those of the worst finding goes out.
    fn next_probe(&self) -> String {
        let next = self.case.of(self.finding).filter_map(|life| life.connection.next_probe_seconds);
        let next = next.min_by(f64::total_cmp);
        next.map(|next| format!(", the next goes out {}", soon(next))).unwrap_or_default()
    }

    /// Of what something keeps busy, but was not watched for long enough to be called `kept`.
    pub(super) fn busy_so_far(&self) -> Option<String> {
        if !self.case.key.is_busy {
            return None;
        }
        let live = || self.case.live().map(|life| &life.connection);
        let longest = live().map(Connection::longest_seen_quiet_seconds).fold(0.0, f64::max);
        let watched = live().map(|it| it.watched_seconds).fold(f64::INFINITY, f64::min);
        Some(format!(
            "but was never seen quiet for more than {} in the {} that it was watched",
            time(longest),
            time(watched)
        ))
    }

    /// Why silence is deadly for these.
    pub(super) fn why_silent(&self, it: &str) -> String {
        if self.counts_bytes() {
            return "keepalive cannot protect here: a proxy counts bytes only".to_owned();
        }
        let Some(example) = self.example.as_ref().map(|life| &life.connection) else {
            return String::new();
        };
        let refused = self.calls.iter().find(|call| call.result != "ok");
        let idle = duration(example.settings.idle.seconds);
        match (self.case.key.own.keepalive, refused, self.nobody_ever_set) {
            (false, Some(call), _) => format!(
                "keepalive is off, and {} was refused with {}",
                call.option.as_str(),
                call.result
            ),
            (false, None, Some(true)) => {
                format!("keepalive is off, and nobody ever set it on {it}")
            }
            (false, None, _) => "keepalive is off".to_owned(),
            (true, Some(call), _) if self.is_late() && is_what_was_refused(call, example) => {
                format!(
                    "keepalive is on, but {} was refused with {}, so the first probe comes after {idle}",
                    call.option.as_str(),
                    call.result
                )
            }
            (true, ..) if self.is_late() => match self.latest_probe() {
                Some(latest) => latest.probes_in_words(it),
                None if example.gap_from == Some(GapFrom::ArmedTimer) => format!(
                    "the first probe goes out after {idle} of silence by the settings, but the timer that ran was set \
                     before that: nothing was due for {}",
                    time(example.gap_seconds.unwrap_or_default())
                ),
                None => example.probes_in_words(it),
            },
            (true, ..) if self.is_lost_between_probes() => format!(
                "the path forgot {it} between two probes, which come {} apart while the peer stays quiet",
                duration(example.settings.interval.seconds)
            ),
            (true, ..) => format!(
                "the path or the peer forgot {it} before the first probe, which comes after {idle}"
            ),
        }
    }

    /// The connection that lives and whose timer fires last.
    fn latest_probe(&self) -> Option<&Connection> {
        let next = |it: &&Connection| it.next_probe_seconds.unwrap_or_default();
        let live = self.case.live().map(|life| &life.connection);
        live.max_by(|a, b| next(a).total_cmp(&next(b)))
    }

    /// What the timer that runs does, where only that is late.
    pub(super) fn timer_that_runs(&self) -> Option<String> {
        let latest = self.latest_probe().filter(|_| self.case.key.is_late_by_timer)?;
        let fires = time(latest.next_probe_seconds?);
        let up_to = up_to(self.n_live);
        // What is armed for longer is older than what is set.
        let older = if latest.is_timer_of_now() { "" } else { "was set before that, and " };
        Some(format!("; the timer that runs {older}fires in {up_to}{fires}"))
    }

    pub(super) fn whose(&self) -> String {
        let owners = self.case.of(self.finding).filter_map(Life::owner);
        of_processes(&owners.map(|owner| (owner.process.clone(), owner.pid)).collect())
    }

    pub(super) fn peer_phrase(&self) -> String {
        match self.case.key.peer {
            Peer::Server(addr) => format!("to {addr}"),
            Peer::ClientsOf(port) => {
                let peers = self.case.peers();
                match (peers.len(), peers.first()) {
                    (1, Some(peer)) => format!("from {peer} to port {port}"),
                    (n, _) => format!("from {n} clients of port {port}"),
                }
            }
        }
    }
}

/// Whether what was refused is what makes the first probe late: the idle time, and no timer that was armed before or the
/// interval.
fn is_what_was_refused(call: &CallCount, example: &Connection) -> bool {
    call.option == SockOpt::Idle && example.gap_from == Some(GapFrom::Idle)
}
