//! The measurement that tells a path that forgets from what looks the same.

use crate::{
    advice::remedy::{Advice, Holds, Need},
    kernel::host,
    model::{judgement::limit_source::LimitSource, text::duration::tenths},
    view::{
        connection::{Connection, ms},
        connection_group::{ConnectionGroup, Peer},
        life::Life,
        neighbours::Neighbours,
    },
};

/// The command that measures the path of a case from where its connections are; none of clients.
pub(super) fn line(case: &ConnectionGroup) -> Option<String> {
    let Peer::Server(addr) = case.key.peer else { return None };
    // The same address may be another host elsewhere.
    let is_elsewhere = host::own_netns().is_some_and(|own| own != case.key.netns);
    let through =
        if is_elsewhere { format!(" --through {}", case.key.netns) } else { String::new() };
    Some(format!("keepwatch measure {addr}{through}"))
}

/// Of what hangs after a quiet time that its own probes leave, while nothing else is known of its path: the proposal is about
/// data in flight, and keepalive is the answer only if the path has forgotten it.
pub(super) fn advice(
    case: &ConnectionGroup,
    need: Option<Need>,
    neighbours: &Neighbours,
) -> Option<Advice> {
    let quiet = case.live().filter_map(quiet_that_its_probes_left).min_by(f64::total_cmp)?;
    // Others may have survived as much, or show an outage.
    let is_possible = need == Some(Need::UserTimeout) && neighbours.limit(case).is_some();
    let line = line(case).filter(|_| is_possible)?;
    let quiet = tenths(ms(quiet));
    Some(Advice {
        place: "path",
        holds: Holds::Surely,
        because: format!(
            "a peer that is gone looks like a path that forgot it: if this measures a limit below {quiet}, the first probe has to \
             come sooner than that"
        ),
        lines: vec![line],
        client: None,
        needs_previous: false,
    })
}

/// The quiet time after which one hangs, seconds, if its own probes leave it and it had not gone on after as much before. Of a
/// path of which a limit is known there is no question.
fn quiet_that_its_probes_left(life: &Life) -> Option<f64> {
    let Connection { limit, gap_seconds, longest_quiet_seconds, .. } = &life.connection;
    let is_left = |quiet: &f64| {
        *longest_quiet_seconds < 0.9 * quiet && gap_seconds.is_none_or(|gap| gap > *quiet)
    };
    let quiet = life.quiet_before_stuck_seconds().filter(is_left);
    quiet.filter(|_| limit.idle_limit_from == LimitSource::Default)
}
