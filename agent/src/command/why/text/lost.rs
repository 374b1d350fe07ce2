//! The sentence on those that nobody answered any more, on those that this host gave up, and on those that were refused, reset or
//! cut off.

use super::{
    outages,
    phrase::{NOT_THROUGH, time, up_to},
};
use crate::{
    command::{
        timestamp,
        why::{answer::Judged, needs::is_ended_by_one_probe},
    },
    model::{
        judgement::{
            condition::CANNOT_SEND,
            death::{Cause, Certainty, QUIET_MS},
        },
        observed::socket::State,
        text::count::counted,
    },
    view::{
        connection::Connection,
        life::{Finding, Life},
    },
};

impl Judged {
    /// Of those that nobody answered: who noticed, or that the peer was heard all the same.
    pub(super) fn dark(&self, what: &str, was: &str) -> String {
        if let Some(unsent) = self.unsent() {
            return format!("{what} {was} given up{unsent}");
        }
        match self.heard_all_the_same() {
            Some(silent) if self.case.of(Finding::Dark).all(was_closed_here) => format!(
                "{what} {was} closed by this host although the peer was heard until {} before: what was sent {NOT_THROUGH}",
                time(silent)
            ),
            Some(silent) => format!(
                "{what} {was} ended by the kernel although the peer was heard until {} before: its program does not read enough, \
                 or what was sent does not pass",
                time(silent)
            ),
            None if self.went_dark_with_others() => format!(
                "{what} got no answer any more, {}, and {}",
                self.noticed(),
                outages::others_too(self).unwrap_or_default()
            ),
            None if self.case.of(Finding::Dark).all(is_ended_by_one_probe) => {
                format!(
                    "{what} {was} ended by a single probe that got no answer: the peer or the path went dark, or one packet was lost"
                )
            }
            None if self.others_were_answered() => format!(
                "{what} got no answer any more, {}, while others to the same peer were answered: the peer was there",
                self.noticed()
            ),
            None => format!(
                "{what} got no answer any more, {}: the peer or the path went dark",
                self.noticed()
            ),
        }
    }

    /// After how long of quiet this host closed them, if it did so with all of the worst, and the peer had spoken last.
    pub(super) fn peer_spoke_last(&self) -> Option<String> {
        let ends = self
            .case
            .of(self.finding)
            .map(|life| life.end.as_ref().filter(|end| end.peer_spoke_last));
        let ends: Vec<_> = ends.collect::<Option<_>>()?;
        let after = ends.iter().filter_map(|end| end.closed_after_seconds).reduce(f64::max)?;
        Some(format!("after {}{} of quiet", up_to(ends.len()), time(after)))
    }

    /// What became of those that this host closed `after` some quiet time.
    pub(super) fn closed_when_told_last(&self, after: &str, it: &str) -> String {
        let its = if it == "it" { "it" } else { "theirs" };
        let lost = if self.finding == Finding::Dropped {
            format!("the path had forgotten {it}")
        } else {
            "the peer or the path was gone".to_owned()
        };
        format!(
            "closed by this host {after}, and nobody answered the FIN: {lost}. The peer had spoken last: no request of {its} was \
             unanswered, unless the answer was not whole; the peer may still have {it} open"
        )
    }

    /// Of those that live, and whose data or FIN nobody answers.
    pub(super) fn stuck(&self, what: &str, n: usize) -> String {
        let (was, it, waits) =
            if n == 1 { ("was", "it", "waits") } else { ("were", "them", "wait") };
        if let Some(reason) = self.held_back() {
            let (since, gives_up) = (self.since(), self.gives_up());
            return format!("{what} cannot send what was written{since}{reason}{gives_up}");
        }
        let unanswered = self.unanswered();
        if self.case.of(self.finding).all(is_shut_down) {
            return format!(
                "{what} {was} shut down by the program, which still has {it} open, and what it had sent goes unanswered{unanswered}"
            );
        }
        format!("{what} {waits} for an answer{unanswered}")
    }

    /// Of those that the peer has no room for.
    pub(super) fn blocked(&self, what: &str, it: &str) -> String {
        let path =
            if self.case.of(Finding::Blocked).any(|life| life.connection.is_silent_past_limit()) {
                String::new()
            } else if self.case.is_unprotected() {
                format!(
                    ". Once the peer reads, the path will drop {it} after {} of quiet: {}",
                    self.limit_words(),
                    self.why_silent(it)
                )
            } else {
                ". That is no matter of keepalive or of the path".to_owned()
            };
        format!(
            "{what} cannot send{}: the peer's program does not read enough, {}{path}{}",
            self.since(),
            self.window_probes(),
            self.gives_up()
        )
    }

    /// What probes of the window of those show that are blocked: of the one that was silent longest.
    fn window_probes(&self) -> String {
        let blocked = self.case.of(self.finding).map(|life| &life.connection);
        let longest = blocked.max_by(|a, b| a.silent_seconds.total_cmp(&b.silent_seconds));
        longest.map(Connection::window_probes_in_words).unwrap_or_default()
    }

    /// Whether the outage that others to the host are in began with the silence of these.
    fn went_dark_with_others(&self) -> bool {
        const TOGETHER_SECONDS: f64 = 60.0;
        let began = |life: &Life| timestamp::unix_seconds(life.trouble_began()?);
        self.outage_beside.filter(|_| self.n_hanging_beside > 0).is_some_and(|silence| {
            let is_with = |began: f64| (began - silence.since).abs() <= TOGETHER_SECONDS;
            self.case.of(Finding::Dark).all(|life| began(life).is_some_and(is_with))
        })
    }

    /// After how long of silence somebody noticed: the kernel, or the program that closed it.
    fn noticed(&self) -> String {
        let dark = || self.case.of(Finding::Dark);
        let n = dark().count();
        let longest = time(dark().map(Life::noticed_after_seconds).fold(0.0, f64::max));
        if dark().all(was_closed_here) {
            // The kernel repeats the FIN for long after that.
            let were = if n == 1 { "was" } else { "were" };
            format!("and {were} closed by this host after {}{longest} of silence", up_to(n))
        } else {
            format!("noticed after {}{longest}", up_to(n))
        }
    }

    /// How long before its end, or its close, the peer of each was heard all the same: the longest. None if one was not heard.
    fn heard_all_the_same(&self) -> Option<f64> {
        let ends = self.case.of(Finding::Dark);
        let heard: Option<Vec<f64>> = ends.map(|life| life.end.as_ref()?.heard_seconds).collect();
        heard?.into_iter().reduce(f64::max)
    }

    /// That this host could not send to any of them, for how long, and why; none if one was sent to.
    fn unsent(&self) -> Option<String> {
        let worst = self.case.of(self.finding);
        let times: Option<Vec<f64>> = worst.map(|life| life.end.as_ref()?.unsent_seconds).collect();
        let times = times?;
        let longest = times.iter().copied().reduce(f64::max)?;
        Some(format!(
            " after this host could not send for {}{}: {CANNOT_SEND}",
            up_to(times.len()),
            time(longest)
        ))
    }

    /// Of those that this host has closed without an answer.
    pub(super) fn given_up(&self, what: &str, n: usize) -> String {
        let closings = self.case.of(self.finding).filter_map(|life| life.given_up_at.as_ref());
        let closed_at = closings.max().map(|at| {
            let last = if n == 1 { "" } else { ", the last" };
            format!("{last} at {}", timestamp::local(at, "%H:%M:%S"))
        });
        if self.case.of(self.finding).all(Life::is_blocked) {
            return format!(
                "{what} closed by this host{} before the peer had taken what was written: its program does not read enough, {}. \
                 Only the kernel still probes its window{}{}",
                closed_at.unwrap_or_default(),
                self.window_probes(),
                self.since(),
                self.gives_up()
            );
        }
        if self.case.was_closed_by_peer(self.finding) {
            let them = if n == 1 { "it" } else { "them" };
            return format!(
                "{what} closed by this host{} after the peer had closed {them}: what was written in between is not answered, \
                 and only the kernel still repeats it{}",
                closed_at.unwrap_or_default(),
                self.unanswered()
            );
        }
        format!(
            "{what} closed by this host without an answer{}: only the kernel still repeats what was sent{}",
            closed_at.unwrap_or_default(),
            self.unanswered()
        )
    }

    pub(super) fn failed(&self, what: &str, whose: &str, peer: &str) -> String {
        let example = self.example.as_ref().and_then(|life| life.end.as_ref());
        let errno = example.and_then(|end| end.errno.clone());
        let was = if self.case.of(self.finding).count() == 1 { "was" } else { "were" };
        match (example.map(|end| end.cause), errno.as_deref()) {
            (Some(Cause::ConnectFailed), Some("ECONNREFUSED")) => {
                format!("{} refuses: {what}{whose} could not be opened (ECONNREFUSED)", self.peer())
            }
            (Some(Cause::ConnectFailed), Some("ETIMEDOUT")) => {
                format!(
                    "{} does not answer: {what}{whose} could not be opened (ETIMEDOUT)",
                    self.peer()
                )
            }
            (Some(Cause::ConnectFailed), errno) => format!(
                "{what}{whose} {peer} could not be opened ({})",
                errno.unwrap_or("given up")
            ),
            (Some(Cause::PeerClosed), errno) => format!(
                "{} had closed {what}{whose} when the program wrote again, and {}{}",
                self.peer(),
                if errno == Some("ETIMEDOUT") { "nobody answered" } else { "a reset answered" },
                self.refused_new_ones().unwrap_or_default()
            ),
            (Some(Cause::LocalClosed), _) => format!(
                "{what}{whose} {peer} {was} closed by this host before the peer had taken what was written: its program did not \
                 read enough, its host answered. That is no matter of keepalive or of the path"
            ),
            (Some(Cause::LocalReset), _) => format!(
                "{what}{whose} {peer} {was} aborted on this host from outside the program, as `ss -K` does (ECONNABORTED)"
            ),
            (Some(Cause::Unreachable), errno) => format!(
                "{} cannot be reached: {what}{whose} ended with {}{}",
                self.peer(),
                errno.unwrap_or("an error"),
                self.unsent().unwrap_or_default()
            ),
            _ => {
                let why = self.unsent().or_else(|| self.refused_new_ones());
                let why = why.unwrap_or_else(|| self.unread_after_quiet());
                format!("{} reset {what}{whose}{why}", self.peer())
            }
        }
    }

    /// Why a peer closed those whose probes it answered.
    pub(super) fn why_closed(&self) -> String {
        if let Some(refused) = self.refused_new_ones() {
            return refused;
        }
        let alone = if self.case.of(self.finding).count() > 1 {
            ""
        } else {
            "; one alone may be a restart of it as well"
        };
        format!(
            ", while probes were answered: an idle timeout of a proxy or server, which TCP keepalive does not reach{alone}"
        )
    }

    /// That the peer refused new connections soon after it ended these: no timer of it did.
    fn refused_new_ones(&self) -> Option<String> {
        let at = timestamp::short_of_unix(self.refused_soon_after?, self.asked.now);
        Some(format!(", and refused new ones from {at} on: its program had ended"))
    }

    /// What a reset by the peer's program looks like that met a request after a quiet time.
    fn unread_after_quiet(&self) -> String {
        let resets = || self.case.of(self.finding).map(|life| &life.connection);
        let shortest = resets().map(|it| it.quiet_seconds).fold(f64::INFINITY, f64::min);
        let was_in_use = shortest < f64::from(QUIET_MS) / 1000.0;
        if was_in_use || !resets().all(|it| it.in_flight) {
            return String::new();
        }
        let (request, at_least, most, it) = if resets().count() == 1 {
            ("a request", "", "", "it")
        } else {
            ("requests", "at least ", "up to ", "them")
        };
        if let Some(n @ 1..) = resets().map(|it| it.retransmits).max() {
            let n = counted(n, "repetition");
            return format!(
                " with {request} unanswered, after {most}{n}: the peer, or what stands in between, did not know {it} any more"
            );
        }
        let probes_sent =
            self.case.of(self.finding).filter_map(|life| Some(life.end.as_ref()?.probes_sent));
        // No timer of a program sees these.
        let after = if probes_sent.max() > Some(0) {
            "after a time in which only probes went".to_owned()
        } else {
            format!("after {at_least}{} of quiet", time(shortest))
        };
        let is_unclear =
            |life: &Life| life.end.as_ref().is_some_and(|end| end.certainty == Certainty::Inferred);
        let or_device = if self.case.of(self.finding).any(is_unclear) {
            format!("; a device that had forgotten {it}, and is slow to say so, looks the same")
        } else {
            String::new()
        };
        format!(" with {request} unread, {after}: its own idle timeout is likely{or_device}")
    }
}

/// Whether its program gave it up.
fn was_closed_here(life: &Life) -> bool {
    life.end.as_ref().is_some_and(|end| end.cause == Cause::Abandoned)
}

/// Whether its program has ended what it sends, and has not closed it.
const fn is_shut_down(life: &Life) -> bool {
    matches!(life.connection.state, State::FinWait1 | State::Closing) && !life.connection.orphan
}
