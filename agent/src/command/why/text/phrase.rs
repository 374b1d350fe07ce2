//! Parts of sentences, and lines of words.

use crate::{
    command::why::answer::Judged,
    model::{
        judgement::death::{Cause, Certainty},
        text::{count::counted, duration::tenths},
    },
    view::{
        connection::{RowOwner, ms},
        connection_group::QuietRange,
        life::Life,
    },
};
use std::collections::BTreeSet;

/// Of data that is not acknowledged although the peer is heard.
pub(super) const NOT_THROUGH: &str =
    "does not get through: one direction or large packets are lost, or its accept queue is full";

/// How sure a cause is, and what looks alike.
pub(super) fn sure(case: &Judged, cause: Cause, certainty: Certainty) -> String {
    let it = if case.n_dead == 1 { "it" } else { "them" };
    match (cause, certainty) {
        (Cause::IdleDrop, _) => {
            let quiet =
                case.case.quiet_seconds_of_dead().map_or_else(String::new, |QuietRange { least, most }| {
                    if time(least) == time(most) {
                        format!(" (quiet for {})", time(least))
                    } else {
                        format!(" (quiet for {} to {})", time(least), time(most))
                    }
                });
            let n_dead = case.case.of(case.case.finding_of_dead()).count();
            let is_ruled_out = case.case.is_outage_ruled_out();
            let repeated = match (is_ruled_out, n_dead, case.case.n_occasions()) {
                _ if case.ended_by_timer.is_some() => {
                    "a peer that had closed by itself, and whose FIN was lost, looks the same".to_owned()
                }
                (true, ..) => {
                    "others to the same peer were answered meanwhile: hardly an outage of the peer, unless several servers share its \
                     address"
                        .to_owned()
                }
                (false, 0 | 1, _) => "a peer that vanished meanwhile looks the same".to_owned(),
                (false, n, 1) => {
                    format!("{n} deaths, 1 occasion: an outage of the peer would explain it too")
                }
                (false, n, occasions) => {
                    format!("{n} deaths on {occasions} occasions: a middlebox is likely")
                }
            };
            format!("inferred: the first data after silence{quiet}; {repeated}")
        }
        (_, Certainty::Inferred) => "inferred".to_owned(),
        _ if case.case.of(case.case.finding_of_dead()).all(Life::is_unsent) => {
            "the kernel reported it; that this host could not send is what it showed before".to_owned()
        }
        _ if case.is_outage => {
            format!(
                "the kernel reported it; others to the same peer fell silent with {it}: the peer or the path was gone, which no \
                 idle limit explains"
            )
        }
        (Cause::KeepaliveReset | Cause::KeepaliveTimeout, _)
            if case.case.dead().any(|life| {
                life.end.as_ref().is_some_and(|end| end.forgotten && end.others_answered.is_some())
            }) =>
        {
            format!(
                "the kernel reported it; others to the same peer were answered meanwhile: the path forgot {it}, the peer lives"
            )
        }
        (Cause::KeepaliveTimeout | Cause::UserTimeout | Cause::RetransmitTimeout, _)
            if case.others_were_answered() =>
        {
            "the kernel reported it; others to the same peer were answered meanwhile: the peer was there".to_owned()
        }
        (Cause::KeepaliveReset, _) => {
            "the kernel reported it; a restarted peer and a path that forgot look the same"
                .to_owned()
        }
        (Cause::KeepaliveTimeout, _) => {
            "the kernel reported it; a dead peer and a path that forgot in silence look the same"
                .to_owned()
        }
        _ => "the kernel reported it".to_owned(),
    }
}

pub(super) const fn cause_in_words(cause: Cause) -> &'static str {
    match cause {
        Cause::KeepaliveTimeout => "whose probes went unanswered",
        Cause::KeepaliveReset => "whose probe was answered by a reset",
        Cause::IdleDrop => "dropped while quiet",
        Cause::UserTimeout => "by user timeout",
        Cause::RetransmitTimeout => "whose data was never acknowledged",
        Cause::Abandoned => "given up by this host, unanswered",
        Cause::PeerReset => "reset by the peer",
        Cause::Unreachable => "unreachable",
        Cause::ConnectFailed => "could not connect",
        Cause::PeerClosed => "closed by the peer",
        Cause::LocalClosed => "closed by this host",
        Cause::LocalReset => "closed by this host without a FIN",
        Cause::Unknown => "unseen",
    }
}

pub(super) fn process(owner: &RowOwner) -> String {
    format!("{}[{}]", owner.process, owner.pid)
}

/// Whose something is: ` of java`, or of how many, if there are several. By name and id.
pub(super) fn of_processes(processes: &BTreeSet<(String, u32)>) -> String {
    const MOST_NAMES: usize = 3;
    let names: BTreeSet<&str> = processes.iter().map(|(name, _)| name.as_str()).collect();
    let several = if processes.len() > names.len() {
        format!(" ({} processes)", processes.len())
    } else {
        String::new()
    };
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => String::new(),
        [name] => format!(" of {name}{several}"),
        names if names.len() > MOST_NAMES => format!(" of {} programs{several}", names.len()),
        [first @ .., last] => format!(" of {} and {last}{several}", first.join(", ")),
    }
}

pub(super) fn connections(n: usize) -> String {
    counted(n, "connection")
}

pub(super) const fn up_to(n: usize) -> &'static str {
    if n == 1 { "" } else { "up to " }
}

pub(super) fn time(seconds: f64) -> String {
    tenths(ms(seconds))
}

#[cfg(test)]
mod tests {
    use super::of_processes;

    #[test]
    fn processes_are_counted_and_one_name_stands_for_one_process_only() {
        let said = |all: &[(&str, u32)]| {
            of_processes(&all.iter().map(|&(name, pid)| (name.to_owned(), pid)).collect())
        };
        assert_eq!(said(&[]), "");
        assert_eq!(said(&[("java", 7), ("java", 7)]), " of java");
        assert_eq!(said(&[("java", 7), ("gw", 8)]), " of gw and java");
        assert_eq!(said(&[("java", 7), ("java", 8)]), " of java (2 processes)");
        assert_eq!(said(&[("java", 7), ("java", 9), ("gw", 8)]), " of gw and java (3 processes)");
        let many: Vec<_> = [("a", 1), ("b", 2), ("c", 3), ("d", 4)].into();
        assert_eq!(said(&many[..3]), " of a, b and c");
        assert_eq!(said(&many), " of 4 programs");
    }
}
