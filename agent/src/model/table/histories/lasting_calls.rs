//! The calls of connections that live: a later agent did not see them, and only what is written down tells it who set what.

use super::Histories;
use crate::model::{
    judgement::verdict::Surroundings,
    observed::socket::Time,
    table::happening::{Happened, Happening},
};
use std::sync::Arc;

impl Histories {
    /// The calls that their own programs made with success on connections that live and are known for this time or longer, of each
    /// connection once more only if there are new ones: at most about `most`. Calls of others, and refused ones, are news at once.
    pub fn take_lasting_calls(
        &mut self,
        now: Time,
        least_ms: u64,
        most: usize,
    ) -> Vec<(Happening, Arc<Surroundings>)> {
        let mut taken = Vec::new();
        for history in self.by_id.values_mut() {
            let began = history.opened.or_else(|| history.moments.first().map(|moment| moment.at));
            let is_old = began.is_some_and(|began| now.ms_since(began) >= least_ms);
            let last = history.calls().map(|(at, _)| at).max();
            if !is_old || last <= history.calls_taken_until || history.worth().is_some() {
                continue;
            }
            if taken.len() >= most {
                break;
            }
            let is_new = |it: &Happening| Some(it.at) > history.calls_taken_until;
            let calls = history.replay().filter(|(it, _)| is_own_call(it) && is_new(it));
            taken.extend(calls);
            history.calls_taken_until = last;
        }
        taken
    }
}

fn is_own_call(happening: &Happening) -> bool {
    matches!(happening.what, Happened::Setting(call) if call.errno == 0)
        && !happening.is_by_stranger()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::{
            death::Death,
            idle_limit::{IdleLimit, Limits},
        },
        observed::{
            ending::Ending,
            setsockopt::{Call, SockOpt, When},
            socket::{Comm, Owner, Socket, SocketId, State, tests_support::socket},
        },
    };

    const MINUTE_MS: u64 = 60_000;

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000_000)
    }

    fn record(histories: &mut Histories, id: u64, seconds: u64, what: Happened) {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let socket = Socket { id: SocketId(id), at: at(seconds), ..socket() };
        let happening = Happening::new(at(seconds), socket, what);
        histories.record(&happening, &Surroundings::new(limits, 250));
    }

    fn call(option: SockOpt, errno: u16) -> Happened {
        let by = Some(Owner { pid: 7, fd: Some(3), comm: Comm::default() });
        Happened::Setting(Call { option, value: Some(1), errno, by, when: When::AfterConnect })
    }

    fn taken(histories: &mut Histories, now_seconds: u64) -> Vec<(u64, SockOpt)> {
        let taken = histories.take_lasting_calls(at(now_seconds), MINUTE_MS, 100);
        let calls = taken.into_iter().filter_map(|(it, _)| match it.what {
            Happened::Setting(call) => Some((it.socket.id.0, call.option)),
            _ => None,
        });
        calls.collect()
    }

    #[test]
    fn the_calls_of_what_lives_for_a_minute_are_taken_once_and_new_ones_again() {
        let mut histories = Histories::new(10);
        record(&mut histories, 1, 0, Happened::Opened);
        record(&mut histories, 1, 1, call(SockOpt::Keepalive, 0));
        // Refused: that is written down at once.
        record(&mut histories, 1, 2, call(SockOpt::Count, 22));
        assert_eq!(taken(&mut histories, 59), []);
        assert_eq!(taken(&mut histories, 60), [(1, SockOpt::Keepalive)]);
        assert_eq!(taken(&mut histories, 61), []);
        record(&mut histories, 1, 70, call(SockOpt::Idle, 0));
        assert_eq!(taken(&mut histories, 71), [(1, SockOpt::Idle)]);
        // At the end of the agent also those that are younger.
        record(&mut histories, 2, 72, call(SockOpt::Keepalive, 0));
        assert_eq!(histories.take_lasting_calls(at(73), 0, 100).len(), 1);
    }

    #[test]
    fn the_calls_of_what_has_died_go_with_its_death() {
        let mut histories = Histories::new(10);
        record(&mut histories, 1, 1, call(SockOpt::Keepalive, 0));
        let died = Death::of(&socket(), State::LastAck, Ending::default(), None).unwrap();
        record(&mut histories, 1, 80, Happened::Died(died));
        assert_eq!(taken(&mut histories, 90), []);
    }

    #[test]
    fn no_more_are_taken_at_once_than_were_asked_for_and_the_others_the_next_time() {
        let mut histories = Histories::new(10);
        (1..=5).for_each(|id| record(&mut histories, id, 1, call(SockOpt::Keepalive, 0)));
        let mut n = || histories.take_lasting_calls(at(90), MINUTE_MS, 3).len();
        assert_eq!([n(), n(), n()], [3, 2, 0]);
    }
}
