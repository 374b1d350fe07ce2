//! Whether the host of a peer was heard while connections to it hang. Then the host is not gone: a port of it is, the way to that,
//! or what a device between knew.

use super::{
    Neighbours,
    witness::{PeerWitness, Silence},
};
use crate::{
    model::{judgement::death::MIDDLEBOX_MS, text::duration::seconds},
    view::{connection_group::ConnectionGroup, life::Finding},
};

/// How a host was heard since the first of what hangs was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HostHeard {
    /// By nobody.
    #[default]
    Nobody,
    /// By somebody, who may have come later.
    Since,
    /// By one that was there before, from the beginning on.
    Meanwhile,
}

impl Neighbours {
    /// The outage that others to the same host are in, if connections of a case were not heard since either, or went dark with
    /// them. Beside a probe that is not answered yet any silence of others counts.
    pub(crate) fn outage_beside(&self, case: &ConnectionGroup) -> Option<Silence> {
        case.live().chain(case.of(Finding::Dark)).next()?;
        let is_waiting = case.finding() == Finding::ProbablyLost;
        let (at, host) = (self.at(case), self.at_host(case));
        // A host that others hear is there.
        let is_heard = |since| host.is_some_and(|host| host.is_heard_since(since));
        let silences = [at, host].into_iter().flatten().filter_map(|at| at.silence);
        let mut of_host = silences.filter(|silence| !is_heard(silence.since));
        of_host.find(|silence| silence.is_outage || is_waiting)
    }

    /// How others, to whichever port, heard the host of those of a case that hang.
    pub(crate) fn host_heard(&self, case: &ConnectionGroup) -> HostHeard {
        let hang = case.of(case.finding()).filter(|life| life.end.is_none());
        let since = hang.filter_map(|life| Some(PeerWitness::of(life, self.now).unanswered?.since));
        let (Some(since), Some(host)) = (since.min_by(f64::total_cmp), self.at_host(case)) else {
            return HostHeard::Nobody;
        };
        // Within this time a path forgets nothing, and an outage is not over yet.
        let until = self.now.min(since + seconds(MIDDLEBOX_MS));
        let was_there = |it: &&PeerWitness| it.opened.is_none_or(|opened| opened <= since);
        if host.witnesses.iter().filter(was_there).any(|it| it.was_heard_between(since, until)) {
            HostHeard::Meanwhile
        } else if host.is_heard_since(since) {
            HostHeard::Since
        } else {
            HostHeard::Nobody
        }
    }
}
