//! What the peer's own idle timer means for a case: the program has to close sooner; and of what hangs or died after a longer time
//! without data nobody can tell whether the path forgot it, or the peer had closed it and its FIN was lost.

use super::measurement;
use crate::{
    advice::remedy::{Advice, Holds},
    model::{
        judgement::{learned::PeerClosesRow, learned_limit::Confidence},
        text::duration::tenths,
    },
    view::{
        connection::ms,
        connection_group::ConnectionGroup,
        life::Finding,
        neighbours::{Neighbours, peer_timer::PeerTimer},
    },
};

/// What the timer of the peer means for a case.
#[derive(Debug, Default)]
pub(super) struct TimerAdvice {
    /// The timer, if it may have ended those of the worst finding.
    pub(super) ended: Option<PeerClosesRow>,
    /// What to set in the pool.
    pub(super) pool: Option<Advice>,
    /// What tells a lost FIN from a path that forgets.
    pub(super) apart: Option<Advice>,
}

impl TimerAdvice {
    pub(super) fn of(
        case: &ConnectionGroup,
        finding: Finding,
        neighbours: &Neighbours,
        closes: Option<&PeerClosesRow>,
    ) -> Self {
        let Some(closes) = closes else { return Self::default() };
        let ended = that_ended(case, finding, neighbours, closes);
        Self {
            pool: pool_below(
                case,
                finding,
                closes,
                ended.is_some() || was_used_after(case, finding),
            ),
            apart: ended.and_then(|closes| tell_apart(case, closes)),
            ended: ended.cloned(),
        }
    }

    /// Whether the pool alone is the answer, and not only a guess.
    pub(super) fn is_the_answer(&self) -> bool {
        self.pool.as_ref().is_some_and(|pool| pool.holds == Holds::Surely)
    }
}

/// The timer of the peer, if all of the worst finding hang or died after a longer time without data, and no outage is seen.
fn that_ended<'c>(
    case: &ConnectionGroup,
    finding: Finding,
    neighbours: &Neighbours,
    closes: &'c PeerClosesRow,
) -> Option<&'c PeerClosesRow> {
    let timer = PeerTimer::of(closes);
    let is_of_all = case.of(finding).all(|life| timer.may_have_ended(life));
    (is_of_all && !neighbours.is_outage(case)).then_some(closes)
}

/// The peer closes them before the path forgets them, or may: the program has to close them sooner. `is_ended`: it may have
/// ended them so.
fn pool_below(
    case: &ConnectionGroup,
    finding: Finding,
    closes: &PeerClosesRow,
    is_ended: bool,
) -> Option<Advice> {
    let after = tenths(ms(closes.after_seconds));
    let is_to_come = finding == Finding::Unprotected && closes_first(case, closes);
    let (holds, because) = match closes.confidence {
        _ if !is_to_come && !is_ended => return None,
        Confidence::Guess => (
            Holds::IfItIs,
            format!(
                "if that is an idle timeout of the peer: set the idle time of the pool below {after}. Keepalive does not \
                 change it if the peer counts only data"
            ),
        ),
        _ => (
            Holds::Surely,
            format!(
                "set the idle time of the pool below {after}, and the longest life of its connections, too, if the peer counts from \
                 their opening: then the program closes first, and no request meets a closed connection"
            ),
        ),
    };
    let (lines, client) = (Vec::new(), None);
    Some(Advice { place: "pool", holds, because, lines, client, needs_previous: false })
}

/// Whether the programs wrote into what the peer had closed.
fn was_used_after(case: &ConnectionGroup, finding: Finding) -> bool {
    let is_lost = matches!(finding, Finding::GivenUp | Finding::Failed);
    is_lost && case.was_closed_by_peer(finding)
}

/// What tells a path that forgets from a peer that had closed.
fn tell_apart(case: &ConnectionGroup, closes: &PeerClosesRow) -> Option<Advice> {
    let after = tenths(ms(closes.after_seconds));
    Some(Advice {
        place: "path",
        holds: Holds::Surely,
        because: format!(
            "to tell a FIN that was lost from a path that forgets: the log of the peer says whether it closed them, and this \
             measures whether the path forgets sooner than {after}"
        ),
        lines: vec![measurement::line(case)?],
        client: None,
        needs_previous: false,
    })
}

/// Whether the timer of the peer is over before the path forgets them. A guess does not count where one has been quiet for longer.
pub(super) fn closes_first(case: &ConnectionGroup, closes: &PeerClosesRow) -> bool {
    /// Timers are late.
    const CLEARLY: f64 = 1.2;
    let limit = case.example().map_or(0, |life| life.connection.limit.idle_limit_seconds);
    let quiet = case.live().map(|life| life.connection.longest_seen_quiet_seconds());
    let is_outlived = quiet.fold(0.0, f64::max) > CLEARLY * closes.after_seconds;
    closes.after_seconds < f64::from(limit)
        && (closes.confidence > Confidence::Guess || !is_outlived)
}
