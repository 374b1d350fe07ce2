//! What a case needs: which kind of advice, and values that agree with all that is known.

use super::neighbours::Neighbours;
use crate::{
    advice::{
        Constraints, Proposal,
        remedy::{Advice, Holds, Need},
    },
    model::{
        judgement::{
            death::Cause, learned::LimitRow, learned_limit::Confidence, limit_source::LimitSource,
        },
        text::duration::duration,
    },
    view::{
        connection::{Connection, ms},
        connection_group::ConnectionGroup,
        life::{Finding, Life},
    },
};

/// What a proposal must agree with.
pub(super) fn constraints(
    case: &ConnectionGroup,
    learned: Option<&LimitRow>,
    neighbours: &Neighbours,
) -> Constraints {
    let limit = case.lives.iter().map(|life| limit_of(life, learned)).min();
    // Whoever had it: all connections to a server get one proposal. What hangs now after a quiet time may be forgotten, too.
    let of_server = neighbours.killed(case);
    let stuck = case.live().filter_map(Life::quiet_before_stuck_seconds);
    let learned_killed = learned.map(|learned| learned.shortest_killed_seconds);
    let killed = stuck.chain(of_server).chain(learned_killed).min_by(f64::total_cmp);
    Constraints {
        limit: limit.unwrap_or(350),
        survived: learned.and_then(|learned| learned.longest_survived_seconds),
        killed,
        now: now(case).filter(|_| case.key.own.keepalive),
    }
}

/// The limit in force on the path of one connection; of one that died before a limit was sure, the one that is now.
pub(super) fn limit_of(life: &Life, learned: Option<&LimitRow>) -> u32 {
    let applied = &life.connection.limit;
    let sure = learned.filter(|it| it.confidence == Confidence::Sure);
    match (&applied.idle_limit_from, sure) {
        (LimitSource::Default | LimitSource::Learned, Some(sure)) => sure.idle_limit_seconds,
        _ => applied.idle_limit_seconds,
    }
}

/// What the kernel uses for these connections.
pub(super) fn now(case: &ConnectionGroup) -> Option<Proposal> {
    let settings = &case.example()?.connection.settings;
    Some(Proposal {
        idle: settings.idle.seconds,
        interval: settings.interval.seconds,
        count: settings.count.probes,
    })
}

/// What advice is wanted, if any.
pub(super) fn need(case: &ConnectionGroup, finding: Finding) -> Option<Need> {
    let is_late = case.is_unprotected();
    let is_proxy =
        case.lives.iter().any(|life| life.connection.limit.idle_limit_from.counts_bytes());
    match finding {
        // What is set is right, or something keeps it busy.
        _ if case.key.is_busy || reopen(case).is_some() => None,
        Finding::Dark if is_noticed_by_user_timeout(case) => {
            let is_hasty = case.of(finding).any(is_ended_by_one_probe);
            is_hasty.then_some(Need::LongerUserTimeout)
        }
        _ if is_proxy && finding.is_of_silence() => Some(Need::PingThroughProxy),
        Finding::ClosedAlthoughProbed => Some(Need::PingThePeer),
        Finding::Dark if !is_late => {
            let died_of = |cause| {
                case.lives
                    .iter()
                    .filter(move |life| life.end.as_ref().is_some_and(|end| end.cause == cause))
            };
            if died_of(Cause::UserTimeout).any(is_ended_by_one_probe) {
                Some(Need::LongerUserTimeout)
            } else {
                died_of(Cause::RetransmitTimeout).next().map(|_| Need::UserTimeout)
            }
        }
        // Keepalive waits while data is in flight: what hangs is noticed by a user timeout. What did not begin to hang after
        // a quiet time is no matter of keepalive.
        Finding::Stuck | Finding::GivenUp if !is_late || !hangs_after_quiet(case) => {
            Some(Need::UserTimeout)
        }
        Finding::PeerSilent if !is_late => None,
        Finding::Stuck
        | Finding::GivenUp
        | Finding::PeerSilent
        | Finding::Overdue
        | Finding::Dropped
        | Finding::Unprotected
        | Finding::Dark => Some(Need::Keepalive),
        // Where nothing could be sent, no setting helps.
        Finding::Blocked
        | Finding::ProbeUnanswered
        | Finding::Opening
        | Finding::Unaccepted
        | Finding::PeerClosed
        | Finding::Failed
        | Finding::Unseen
        | Finding::Fine => None,
    }
}

/// What is set is early enough, and only the timer that runs is not.
pub(super) fn reopen(case: &ConnectionGroup) -> Option<Advice> {
    let Connection { settings, limit, next_probe_seconds, .. } =
        case.example().filter(|_| case.key.is_late_by_timer).map(|life| &life.connection)?;
    // The kernel's timer fires up to an eighth late.
    let gap = 1.125 * f64::from(settings.idle.seconds.max(settings.interval.seconds));
    if gap >= f64::from(limit.idle_kept_seconds) || limit.idle_limit_from.counts_bytes() {
        return None;
    }
    let fires = next_probe_seconds.map(|rest| format!(", in {}", duration(ms(rest) / 1000)));
    let because = format!(
        "re-open these connections (restart the pool or the program): new ones follow what is set at once, these only when \
         the timer fires{}",
        fires.unwrap_or_default()
    );
    Some(Advice {
        place: "connection",
        holds: Holds::Surely,
        because,
        lines: Vec::new(),
        client: None,
        needs_previous: false,
    })
}

fn hangs_after_quiet(case: &ConnectionGroup) -> bool {
    case.live().any(|life| life.quiet_before_stuck_seconds().is_some())
}

/// All of them are gone, and the user timeout noticed it: keepalive would have changed nothing.
pub(super) fn is_noticed_by_user_timeout(case: &ConnectionGroup) -> bool {
    let is_it = |life: &Life| life.end.as_ref().is_some_and(|end| end.cause == Cause::UserTimeout);
    case.live().next().is_none() && case.of(Finding::Dark).all(is_it)
}

/// Its user timeout is over before a second probe is sent.
fn is_ended_by_one_probe(life: &Life) -> bool {
    let settings = &life.connection.settings;
    let second_probe = u64::from(settings.idle.seconds) + u64::from(settings.interval.seconds);
    let user_timeout = u64::from(settings.user_timeout_ms);
    settings.keepalive && user_timeout > 0 && user_timeout <= second_probe * 1000
}
