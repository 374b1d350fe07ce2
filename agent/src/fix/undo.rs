//! Taking back what a run set, on connections that still have exactly that.

use super::{
    apply::{FixOutcome, SocketFate, borrow},
    journal::Change,
};
use crate::kernel::borrowed_socket::{OpenProcesses, Refusal, SocketOptions};

/// Gives a socket what it had before, if all that it has is what it had or what it was given.
///
/// A run that was killed in the middle has set a part: each option counts by itself.
pub(crate) fn undo(
    processes: &mut OpenProcesses,
    change: &Change,
    holders: &[(u32, u32)],
) -> SocketFate {
    let mut undone = || -> Result<SocketFate, Refusal> {
        let wanted = change.wanted().ok_or(Refusal::NoDescriptor)?;
        let socket = borrow(processes, holders, &wanted)?;
        let now = socket.options()?;
        if !is_ours(now, change) {
            return Ok((FixOutcome::ChangedSince, None));
        }
        if now != change.before {
            socket.set(now, change.before)?;
        }
        let is_done = socket.options()? == change.before;
        Ok((if is_done { FixOutcome::Undone } else { FixOutcome::ChangedSince }, None))
    };
    undone().unwrap_or_else(|why| (FixOutcome::Refused, Some(why)))
}

/// Whether every option is as it was before or as it was set.
fn is_ours(now: SocketOptions, Change { before, after, .. }: &Change) -> bool {
    let one_of = |now: u32, before: u32, after: u32| now == before || now == after;
    one_of(now.idle_seconds, before.idle_seconds, after.idle_seconds)
        && one_of(now.interval_seconds, before.interval_seconds, after.interval_seconds)
        && one_of(now.count, before.count, after.count)
        && (now.keepalive == before.keepalive || now.keepalive == after.keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fix::journal::UnsetOptions;

    #[test]
    fn half_of_a_change_is_ours_and_a_value_of_somebody_else_is_not() {
        let before =
            SocketOptions { keepalive: false, idle_seconds: 7200, interval_seconds: 75, count: 9 };
        let after =
            SocketOptions { keepalive: true, idle_seconds: 60, interval_seconds: 10, count: 3 };
        let addr = "10.0.0.5:44307".parse().unwrap();
        let change = Change {
            id: "sk:1".to_owned(),
            netns: 1,
            local: addr,
            remote: addr,
            is_mptcp: false,
            pid: 1,
            process: String::new(),
            before,
            unset: UnsetOptions::default(),
            after,
        };
        for ours in [before, after, SocketOptions { idle_seconds: 60, ..before }] {
            assert!(is_ours(ours, &change), "{ours:?}");
        }
        for other in [
            SocketOptions { idle_seconds: 61, ..after },
            SocketOptions { interval_seconds: 9, ..after },
            SocketOptions { count: 4, ..before },
        ] {
            assert!(!is_ours(other, &change), "{other:?}");
        }
    }
}
