//! The answer in one sentence: how many connections, whose they were, what happened to them and why.

use super::phrase::{connections, time, up_to};
use crate::{
    command::why::answer::Judged,
    model::{judgement::death::Cause, observed::socket::Direction, text::duration::duration},
    view::{
        connection_group::Peer,
        life::{Finding, Life},
    },
};

impl Judged {
    /// One sentence: how many connections, whose they were, what happened to them and why.
    pub(super) fn sentence(&self) -> String {
        let n = self.case.of(self.finding).count();
        let what = connections(n);
        let whose = self.whose();
        let peer = self.peer_phrase();
        let (was, it) = if n == 1 { ("was", "it") } else { ("were", "them") };
        match self.finding {
            Finding::Dropped => {
                format!("{what}{whose} {peer} died of silence: {}", self.why_silent(it))
            }
            Finding::Dark => {
                let noticed = self
                    .case
                    .of(Finding::Dark)
                    .map(Life::noticed_after_seconds)
                    .fold(0.0, f64::max);
                format!(
                    "{what}{whose} {peer} got no answer any more, noticed after {}: the peer or \
                     the path went dark",
                    time(noticed)
                )
            }
            Finding::Stuck => format!(
                "{what}{whose} {peer} {} for an answer{}{}",
                if n == 1 { "waits" } else { "wait" },
                self.since(),
                self.gives_up()
            ),
            Finding::PeerSilent => {
                let probes =
                    self.case.of(Finding::PeerSilent).map(|life| life.connection.probes_unanswered);
                format!(
                    "{what}{whose} {peer} {} sent {}{} probes that nobody answered{}{}",
                    if n == 1 { "has" } else { "have" },
                    up_to(n),
                    probes.max().unwrap_or_default(),
                    self.since(),
                    self.gives_up()
                )
            }
            Finding::Overdue => format!(
                "{what}{whose} {peer} {} quiet for longer than {}, so probably dropped: {}",
                if n == 1 { "is" } else { "are" },
                self.limit_words(),
                self.why_silent(it)
            ),
            Finding::Unprotected if self.direction == Direction::Inbound => format!(
                "{what}{whose} {peer} may be dead without being noticed, and will be dropped once quiet for {}: {}",
                self.limit_words(),
                self.why_silent(it)
            ),
            Finding::Unprotected => format!(
                "{what}{whose} {peer} will be dropped once quiet for {}: {}",
                self.limit_words(),
                self.why_silent(it)
            ),
            Finding::Blocked => format!(
                "{what}{whose} {peer} cannot send{}: the peer's program does not read, its host answers. That is no matter \
                 of keepalive or of the path{}",
                self.since(),
                self.gives_up()
            ),
            Finding::Unaccepted => format!(
                "{what}{whose} {peer} {} in the accept queue: the program does not take {it}",
                if n == 1 { "waits" } else { "wait" },
            ),
            Finding::PeerClosed => format!(
                "the peer has closed {what}{whose} {peer}, and the program has not{}: it does not read, or it leaks {it}",
                self.since(),
            ),
            Finding::ClosedAlthoughProbed => format!(
                "{what}{whose} {peer} {was} closed by the peer while probes were answered: an idle \
                 timeout of a proxy or server, which TCP keepalive does not reach"
            ),
            Finding::Failed => self.failed(&what, &whose, &peer),
            Finding::Unseen => format!("{what}{whose} {peer} ended, and nobody saw how"),
            Finding::Fine => String::new(),
        }
    }

    /// For how long the worst condition has lasted.
    fn since(&self) -> String {
        let times = self.case.of(self.finding).filter_map(|life| life.connection.condition_seconds);
        let (n, longest) = times.fold((0, 0.0), |(n, most), time| (n + 1, f64::max(time, most)));
        format!(", for {}{}", up_to(n), time(longest))
    }

    /// When the kernel ends the first of them.
    fn gives_up(&self) -> String {
        let times = self.case.of(self.finding).filter_map(|life| life.connection.gives_up_seconds);
        let first = times.min_by(f64::total_cmp);
        first
            .map(|rest| format!("; the kernel gives up in about {}", time(rest)))
            .unwrap_or_default()
    }

    pub(super) fn failed(&self, what: &str, whose: &str, peer: &str) -> String {
        let example = self.example.as_ref().and_then(|life| life.end.as_ref());
        let errno = example.and_then(|end| end.errno.clone());
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
            (Some(Cause::Unreachable), errno) => format!(
                "{} cannot be reached: {what}{whose} ended with {}",
                self.peer(),
                errno.unwrap_or("an error")
            ),
            _ => format!("{} reset {what}{whose}", self.peer()),
        }
    }

    /// Why silence is deadly for these.
    pub(super) fn why_silent(&self, it: &str) -> String {
        if self.counts_bytes() {
            return "keepalive cannot protect here: a proxy counts bytes only".to_owned();
        }
        let keepalive = self.case.key.own.keepalive;
        let refused = self.calls.iter().find(|call| call.result != "ok");
        let idle =
            self.example.as_ref().map(|life| u64::from(life.connection.settings.idle.seconds));
        let idle = idle.map(duration).unwrap_or_default();
        match (keepalive, refused, self.nobody_ever_set) {
            (false, Some(call), _) => format!(
                "keepalive is off, and {} was refused with {}",
                call.option.as_str(),
                call.result
            ),
            (false, None, Some(true)) => {
                format!("keepalive is off, and nobody ever set it on {it}")
            }
            (false, None, _) => "keepalive is off".to_owned(),
            (true, Some(call), _) if self.is_late() => format!(
                "keepalive is on, but {} was refused with {}, so the first probe comes after {idle}",
                call.option.as_str(),
                call.result
            ),
            (true, ..) if self.is_late() => {
                format!("keepalive is on, but the first probe comes only after {idle}")
            }
            (true, ..) => format!(
                "the path or the peer forgot {it} before the first probe, which comes after {idle}"
            ),
        }
    }

    pub(super) fn whose(&self) -> String {
        self.process.as_ref().map(|name| format!(" of {name}")).unwrap_or_default()
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
