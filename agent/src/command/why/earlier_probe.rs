//! Deaths at the first probe beside connections to the same peer that probe sooner and live: the path forgot them.

use crate::{
    advice::{
        Proposal,
        remedy::{Advice, Holds},
    },
    model::{
        judgement::death::Cause,
        text::duration::{duration, tenths},
    },
    view::{connection_group::ConnectionGroup, life::Finding},
};
use std::{collections::BTreeMap, net::SocketAddr};

/// Connections whose first probe met silence while others to the same peer, which probe sooner, live on.
pub(super) struct EarlierProbe {
    /// The quiet time before the probe that met silence, seconds.
    pub(super) killed: f64,
    /// The longest between two probes of those that live.
    pub(super) survived: f64,
}

impl EarlierProbe {
    /// What follows for the first probe.
    pub(super) fn advice(&self, proposal: Proposal) -> Advice {
        let because = format!(
            "others to the same peer, which probe after {}, are answered: the path forgets quiet connections between that \
             and {}. First probe after at most {}",
            time(self.survived),
            time(self.killed),
            duration(proposal.idle)
        );
        Advice {
            place: "path",
            holds: Holds::Surely,
            because,
            lines: Vec::new(),
            client: None,
            needs_previous: false,
        }
    }
}

/// For each peer the longest idle time of a connection that lives, probes, and is answered; seconds.
pub(super) fn answered_after(cases: &[ConnectionGroup]) -> BTreeMap<SocketAddr, u32> {
    let mut longest = BTreeMap::new();
    for life in cases.iter().flat_map(ConnectionGroup::live) {
        let connection = &life.connection;
        let idle = connection.settings.idle.seconds;
        let has_probed = connection.watched_seconds > 2.0 * f64::from(idle);
        if connection.settings.keepalive && connection.probes_unanswered == 0 && has_probed {
            let most: &mut u32 = longest.entry(connection.remote).or_default();
            *most = idle.max(*most);
        }
    }
    longest
}

/// Whether all deaths of a case came at the first probe, and others to its peer were answered sooner.
pub(super) fn earlier_probe(
    case: &ConnectionGroup,
    finding: Finding,
    answered: &BTreeMap<SocketAddr, u32>,
) -> Option<EarlierProbe> {
    let life = case.example().filter(|_| matches!(finding, Finding::Dropped | Finding::Dark))?;
    let is_first_probe = case.of(finding).all(|life| {
        life.end.as_ref().is_some_and(|end| {
            let all_unanswered = end.probes_sent <= u32::from(life.connection.probes_unanswered);
            end.cause == Cause::KeepaliveTimeout && all_unanswered
        })
    });
    let idle = life.connection.settings.idle.seconds;
    let survived = *answered.get(&life.connection.remote).filter(|survived| **survived < idle)?;
    is_first_probe.then(|| EarlierProbe { killed: idle.into(), survived: survived.into() })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of at least 0")]
fn time(seconds: f64) -> String {
    tenths((seconds.max(0.0) * 1000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{
        connection_group::cases,
        life::{
            Life,
            tests_support::{GAVE_UP, app, dead, live},
        },
    };

    fn found(lives: Vec<Life>) -> Option<(f64, f64)> {
        let cases = cases(lives);
        let answered = answered_after(&cases);
        let case = cases.iter().find(|case| case.dead().next().is_some()).unwrap();
        let earlier = earlier_probe(case, case.finding(), &answered);
        earlier.map(|earlier| (earlier.survived, earlier.killed))
    }

    fn probing(id: u64, idle: u32, watched_seconds: f64) -> Life {
        let mut life = live(&app(id, Some(idle), 0));
        life.connection.watched_seconds = watched_seconds;
        life
    }

    #[test]
    fn a_probe_that_met_silence_beside_sooner_ones_that_were_answered_came_too_late() {
        let died = || dead(&app(1, Some(60), 90_000), GAVE_UP);
        assert_eq!(
            found(vec![died(), probing(2, 30, 600.0), probing(3, 15, 600.0)]),
            Some((30.0, 60.0))
        );
        // Nobody else lives; the others probe as late; nobody has seen them probe yet.
        assert_eq!(found(vec![died()]), None);
        assert_eq!(found(vec![died(), probing(2, 60, 600.0)]), None);
        assert_eq!(found(vec![died(), probing(2, 30, 5.0)]), None);
        // They get no answer either: the peer is silent.
        let mut unanswered = probing(2, 30, 600.0);
        unanswered.connection.probes_unanswered = 1;
        assert_eq!(found(vec![died(), unanswered]), None);
        // It was answered before.
        let mut answered_before = died();
        answered_before.end.as_mut().unwrap().probes_sent = 7;
        assert_eq!(found(vec![answered_before, probing(2, 30, 600.0)]), None);
    }
}
