//! What is said of a first probe that came too late, beside others that were answered.

use crate::{
    advice::{
        Proposal,
        remedy::{Advice, Holds},
    },
    model::text::duration::{duration, tenths},
    view::{
        connection::ms,
        neighbours::{EarlierProbe, path_evidence::KilledAfter},
    },
};

/// Why the first probe came too late, in words: beside others that probe sooner, else beside what got no answer after less
/// quiet.
pub(super) fn too_late(
    earlier: Option<&EarlierProbe>,
    sooner: Option<&KilledAfter>,
) -> Option<String> {
    match (earlier, sooner) {
        (Some(EarlierProbe { is_of_host: false, .. }), _) => Some(
            "others to the same peer that probe sooner were answered: the path forgot".to_owned(),
        ),
        (Some(_), _) => Some(
            "others to other ports of the same host that probe sooner were answered: the path probably forgot"
                .to_owned(),
        ),
        (None, Some(killed)) => Some(format!("{}: the path probably forgot", killed.shown_by)),
        (None, None) => None,
    }
}

/// What follows for the first probe.
pub(super) fn advice(
    earlier: Option<&EarlierProbe>,
    sooner: Option<&KilledAfter>,
    proposal: Proposal,
) -> Vec<Advice> {
    let beside = earlier.map(|earlier| beside_earlier(earlier, proposal));
    beside.into_iter().chain(sooner.map(|killed| by_guess(killed, proposal))).collect()
}

fn beside_earlier(earlier: &EarlierProbe, proposal: Proposal) -> Advice {
    let EarlierProbe { killed, answered, survived, is_of_host } = *earlier;
    let (others, forgets) = if is_of_host {
        ("others to other ports of the same host", "the path probably forgets")
    } else {
        ("others to the same peer", "the path forgets")
    };
    of_path(format!(
        "{others}, which probe after {}, were answered meanwhile: {forgets} quiet connections between {} and {}. First probe \
         after at most {}",
        tenths(ms(answered)),
        if survived > answered { tenths(ms(survived)) } else { "that".to_owned() },
        tenths(ms(killed)),
        duration(proposal.idle)
    ))
}

/// The same where only what got no answer after less quiet shows it.
fn by_guess(killed: &KilledAfter, proposal: Proposal) -> Advice {
    of_path(format!(
        "a guess: the path forgets quiet connections after {} or less, because {}. First probe after at most {}",
        tenths(ms(killed.quiet)),
        killed.shown_by,
        duration(proposal.idle)
    ))
}

const fn of_path(because: String) -> Advice {
    Advice {
        place: "path",
        holds: Holds::Surely,
        because,
        lines: Vec::new(),
        client: None,
        needs_previous: false,
    }
}
