//! Conclusions from two samples of one socket: probes that were answered, quiet times that were
//! survived, settings that changed. And the processes that set them, from calls.

mod suspects;

use super::{
    Table,
    happening::{Happened, Happening},
    storage::Slot,
};
use crate::model::{
    judgement::death::QUIET_MS,
    observed::{
        ending::Ending,
        setsockopt::{Call, SockOpt},
        socket::{Socket, SocketId, State, Time},
    },
};
use std::collections::{HashMap, VecDeque};
pub(super) use suspects::{SETTLES_MS, Suspects};

/// Unconnected sockets whose calls are remembered.
const MAX_PENDING: usize = 4096;

/// Calls on sockets that have no id yet: they get one when they connect or listen. Until then the
/// inode number stands for the socket.
#[derive(Debug, Default)]
pub(super) struct Pending {
    by_inode: HashMap<u32, Vec<Happening>>,
    order: VecDeque<u32>,
}

impl Pending {
    fn note(&mut self, happening: Happening) {
        const MAX_CALLS: usize = 16;
        let inode = happening.socket.inode;
        if !self.by_inode.contains_key(&inode) {
            if self.by_inode.len() >= MAX_PENDING
                && let Some(oldest) = self.order.pop_front()
            {
                self.by_inode.remove(&oldest);
            }
            self.order.push_back(inode);
        }
        let calls = self.by_inode.entry(inode).or_default();
        if calls.len() < MAX_CALLS {
            calls.push(happening);
        }
    }

    /// The calls on this socket before it had an id.
    pub(super) fn take(&mut self, socket: &Socket) -> Vec<Happening> {
        let Some(calls) = self.by_inode.remove(&socket.inode) else {
            return Vec::new();
        };
        self.order.retain(|&inode| inode != socket.inode);
        let Socket { id, local, remote, direction, direction_from, .. } = *socket;
        let now_known = |call: Happening| {
            let socket = Socket { id, local, remote, direction, direction_from, ..call.socket };
            Happening { socket, ..call }
        };
        calls.into_iter().map(now_known).collect()
    }
}

/// For how long data of a connection had gone unanswered by this look, at most, if it was answered since the one before.
fn was_unanswered_ms(before: &Socket, socket: &Socket) -> Option<u32> {
    /// A few repetitions are everyday life.
    const SOME_TIME_MS: u32 = 5000;
    let is_open = before.in_flight && before.state != State::SynSent;
    let unanswered_ms = before.retransmitting_ms.filter(|&ms| is_open && ms >= SOME_TIME_MS)?;
    let is_answered = socket.retransmits < before.retransmits && socket.state != State::Close;
    let passed_ms = u32::try_from(socket.at.ms_since(before.at)).unwrap_or(u32::MAX);
    is_answered.then(|| unanswered_ms.saturating_add(passed_ms))
}

/// Joins an end with what only the look before it can tell: since when the peer had closed the connection, and whether this
/// host could not send what went unanswered.
pub(super) fn join_with_last_look(
    socket: &mut Socket,
    ending: Ending,
    before: Option<Slot>,
) -> Ending {
    let Some(Slot { socket: before, .. }) = before else {
        return ending;
    };
    socket.peer_closed = before.closed_by_peer_at(socket.at);
    // What came since shows that it left this host.
    let held_back_ms =
        before.held_back_ms_at(socket.at).filter(|&ms| socket.silent_ms >= ms && ending.errno != 0);
    Ending { held_back_ms, ..ending }
}

impl Table {
    /// Tells what happened between two samples, and goes on with what was watched. `called`: the option of the call that
    /// the second one was taken at; `probes`: unanswered ones before it.
    pub(super) fn compare(
        &mut self,
        before: Option<Slot>,
        socket: &mut Socket,
        called: Option<SockOpt>,
        probes: u8,
    ) {
        let Some(Slot { socket: before, .. }) = before else {
            return;
        };
        if before.remote != socket.remote {
            return;
        }
        if socket.at <= before.at {
            socket.watched = before.watched;
            return;
        }
        let has_received = socket.follow(&before);
        if self.hears_calls()
            && !self.is_blind
            && !self.walk.as_ref().is_some_and(|walk| walk.after_loss)
        {
            self.suspect(&before, socket, called);
        }
        if let Some(unanswered_ms) = was_unanswered_ms(&before, socket).filter(|_| has_received) {
            let what = Happened::DataAnswered { unanswered_ms };
            self.happened(Happening::new(socket.at, *socket, what));
        }
        let at = socket.at.ms_before(socket.silent_ms);
        let answered = before.probes_unanswered > 0
            && before.keepalive
            && !before.in_flight
            && probes == 0
            && socket.state != State::Close;
        if answered {
            let what = Happened::ProbeAnswered { unanswered: before.probes_unanswered };
            self.happened(Happening::new(at, *socket, what));
        }
        // The answer may come in the tick in which the probe was seen to go out: its stamp looks older then.
        // Where the peer's probes are not seen, a quiet time is not known to have been one.
        let is_known = before.state == State::Established && !before.quiet_at_most;
        if !(is_known && (answered || has_received)) {
            return;
        }
        let quiet_ms = if answered {
            // The first probe went out after at least that much silence, and came through.
            before.answered_after_ms()
        } else if before.retransmits > 0 || before.probes_unanswered > 0 {
            return; // the path carried what was repeated
        } else {
            before.quiet_to_survive_ms()
        };
        if !self.around.is_local(socket) {
            self.learned.survived(socket, at, quiet_ms);
        }
        let limit_ms = self.around.limits.of(socket).seconds.saturating_mul(1000);
        if quiet_ms >= QUIET_MS.max(limit_ms / 4) {
            self.happened(Happening::new(at, *socket, Happened::QuietSurvived { quiet_ms }));
        }
        let watched = &mut socket.watched;
        watched.longest_quiet_ms = watched.longest_quiet_ms.max(quiet_ms);
    }

    fn suspect(&mut self, before: &Socket, socket: &Socket, called: Option<SockOpt>) {
        if before.own == socket.own && before.keepalive == socket.keepalive {
            return;
        }
        for option in SockOpt::ALL {
            let (from, to) = (option.of(before), option.of(socket));
            if from != to && called != Some(option) {
                let what = Happened::Changed { option, from, to };
                self.suspects.change(Happening::new(socket.at, *socket, what));
            }
        }
    }

    /// A setsockopt call has returned.
    pub(super) fn called(&mut self, socket: Socket, call: Call) {
        let happening = Happening::new(socket.at, socket, Happened::Setting(call));
        if socket.id == SocketId::default() {
            // What the caller is part of is known now: when the socket gets its id, the process may be gone.
            let identity = self.whose(&socket).identity;
            self.pending.note(Happening { identity, ..happening.clone() });
        }
        self.suspects.clear_of(socket.id, call.option);
        let before = self.before(socket.id);
        let mut completed = Self::completed(socket, before);
        self.doubt(before, &completed, completed.state, completed.probes_unanswered);
        self.compare(before, &mut completed, Some(call.option), socket.probes_unanswered);
        // The caller, not who the connection is otherwise known to belong to.
        let whose = self.whose(&completed).identity;
        let socket = Socket { owner: socket.owner, ..completed };
        let happening = Happening { socket, ..happening };
        self.happened(happening.held_by(completed.owner, whose.as_ref()));
        let changed = self.judged_anew(before, &completed);
        if let Some(no_room) = changed.and_then(|changed| self.suspects.verdict(changed)) {
            self.happened(no_room);
        }
        if before.is_some() {
            self.put(completed, before);
        }
    }

    /// A verdict that a setting has changed, of the socket or of its namespace.
    fn judged_anew(&self, before: Option<Slot>, socket: &Socket) -> Option<Happening> {
        let Slot { socket: before, .. } = before?;
        let settings = |it: &Socket| (it.keepalive, it.own, it.ambient);
        if settings(&before) == settings(socket)
            || before.state != State::Established
            || socket.state != State::Established
            || socket.at <= before.at
        {
            return None;
        }
        let (from, to) = (self.around.verdict(&before), self.around.verdict(socket));
        let what = Happened::VerdictChanged { from, to };
        (from != to).then(|| Happening::new(socket.at, *socket, what))
    }

    /// The same, found by a walk: reported when the call had its time to come first.
    pub(super) fn judge_anew(&mut self, before: Option<Slot>, socket: &Socket) {
        if let Some(changed) = self.judged_anew(before, socket) {
            self.suspects.change(changed);
        }
    }

    /// What calls have made of the verdict of a connection that ends now.
    pub(super) fn settle_verdict(&mut self, id: SocketId) {
        if let Some(changed) = self.suspects.verdict_of(id) {
            self.happened(changed);
        }
    }

    /// Believes changes that no call, and no hook, has explained in time. An end comes last.
    pub fn settle(&mut self, now: Time) {
        for happening in self.suspects.settled(now) {
            self.happened(happening);
        }
        self.settle_doubts(now);
    }

    /// Events were lost: until a walk has been finished, a change may have been reported by one of them.
    pub fn events_lost(&mut self) {
        self.is_blind = true;
        self.suspects.forget_changes();
        self.unseen.excuse_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::verdict::Verdict,
        observed::{
            event::{Event, Fire},
            setsockopt::When,
            socket::tests_support::socket,
        },
        table::{Heard, happening::EventName, tests::table},
    };

    fn at(seconds: u64, socket: Socket) -> Socket {
        Socket { at: Time(1_000_000_000_000 + seconds * 1_000_000_000), ..socket }
    }

    fn names(table: &mut Table) -> Vec<EventName> {
        table.take_happenings().iter().map(|happening| happening.what.name()).collect()
    }

    fn call(option: SockOpt, value: i32) -> Call {
        Call { option, value: Some(value), errno: 0, by: None, when: When::AfterConnect }
    }

    #[test]
    fn data_that_is_answered_after_some_time_is_reported_and_after_a_moment_not() {
        let answered = |unanswered_ms: u32, after: fn(Socket) -> Socket| {
            let mut table = table();
            table.apply(Event::Seen(socket()));
            let waits = Socket {
                in_flight: true,
                retransmits: 3,
                retransmitting_ms: Some(unanswered_ms),
                silent_ms: unanswered_ms + 2_000,
                ..socket()
            };
            table.apply(Event::Seen(at(60, waits)));
            table.apply(Event::Seen(after(at(75, waits))));
            let happenings = table.take_happenings();
            happenings.into_iter().find_map(|it| match it.what {
                Happened::DataAnswered { unanswered_ms } => Some(unanswered_ms),
                _ => None,
            })
        };
        let goes_on = |it: Socket| {
            let (in_flight, retransmits, retransmitting_ms) = (false, 0, None);
            Socket { in_flight, retransmits, retransmitting_ms, silent_ms: 1_000, segs_in: 9, ..it }
        };
        assert_eq!(answered(40_000, goes_on), Some(55_000));
        assert_eq!(answered(4_000, goes_on), None, "a moment");
        let waits_on = |it: Socket| Socket {
            retransmits: 4,
            retransmitting_ms: Some(55_000),
            silent_ms: 57_000,
            ..it
        };
        assert_eq!(answered(40_000, waits_on), None, "it still waits");
        let died = |it: Socket| Socket { state: State::Close, retransmits: 0, ..it };
        assert_eq!(answered(40_000, died), None, "it died");
    }

    #[test]
    fn a_change_is_told_by_its_call_whichever_is_seen_first() {
        let mut table = table();
        table.apply(Event::Seen(socket()));
        let on = Socket { keepalive: true, ..socket() };
        // The walk met the socket after the call, and its record comes later.
        table.apply(Event::Seen(at(2, on)));
        table.apply(Event::Called { socket: at(1, on), call: call(SockOpt::Keepalive, 1) });
        table.settle(at(9, on).at);
        assert_eq!(names(&mut table), [EventName::Setting, EventName::VerdictChanged]);
        let off = socket();
        table.apply(Event::Called { socket: at(10, off), call: call(SockOpt::Keepalive, 0) });
        table.apply(Event::Seen(at(11, off)));
        table.settle(at(19, off).at);
        assert_eq!(names(&mut table), [EventName::Setting, EventName::VerdictChanged]);
    }

    #[test]
    fn what_several_calls_make_of_the_verdict_is_told_once() {
        let mut table = table();
        table.apply(Event::Seen(socket()));
        let on = Socket { keepalive: true, ..socket() };
        let mut soon = on;
        soon.own.idle_seconds = 60;
        let ms = |ms: u64, socket: Socket| Socket {
            at: Time(at(1, socket).at.0 + ms * 1_000_000),
            ..socket
        };
        table.apply(Event::Called { socket: ms(0, on), call: call(SockOpt::Keepalive, 1) });
        table.apply(Event::Called { socket: ms(1, soon), call: call(SockOpt::Idle, 60) });
        table.settle(ms(200, soon).at);
        assert_eq!(names(&mut table), [EventName::Setting, EventName::Setting]);
        table.settle(ms(301, soon).at);
        let told = table.take_happenings();
        let verdicts: Vec<_> = told.iter().map(|it| &it.what).collect();
        assert!(
            matches!(
                verdicts[..],
                [Happened::VerdictChanged { from: Verdict::Off, to: Verdict::Protected }]
            ),
            "{verdicts:?}"
        );
        // On and off again is no change.
        table.apply(Event::Called { socket: ms(5_000, on), call: call(SockOpt::Idle, 0) });
        table.apply(Event::Called { socket: ms(5_001, soon), call: call(SockOpt::Idle, 60) });
        table.settle(ms(9_000, soon).at);
        assert_eq!(names(&mut table), [EventName::Setting, EventName::Setting]);
        // Of what ends meanwhile it is told before the end.
        table.apply(Event::Called { socket: ms(9_100, on), call: call(SockOpt::Idle, 0) });
        let closed = Socket { state: State::Close, ..ms(9_101, on) };
        let (old, ending) = (State::Established, Ending::default());
        table.apply(Event::StateChange { socket: closed, old, ending });
        let names = names(&mut table);
        assert_eq!(names[..2], [EventName::Setting, EventName::VerdictChanged], "{names:?}");
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn what_calls_make_of_the_verdict_is_told_before_any_end() {
        type EndOf = fn(Socket) -> Event;
        let ends: [EndOf; 2] =
            [Event::Destroyed, |socket| Event::Gone { id: socket.id, at: socket.at }];
        for end in ends {
            let mut table = table();
            table.apply(Event::Seen(socket()));
            let on = Socket { keepalive: true, ..at(1, socket()) };
            table.apply(Event::Called { socket: on, call: call(SockOpt::Keepalive, 1) });
            let mut ended = at(1, on);
            ended.at.0 += 1_000_000;
            table.begin_walk(true);
            table.apply(end(ended));
            table.settle(at(9, on).at);
            let names = names(&mut table);
            let first = [EventName::Setting, EventName::VerdictChanged];
            assert!(names.len() == 3 && names[..2] == first, "{names:?}");
        }
    }

    #[test]
    fn a_change_without_a_call_is_told_unless_events_were_lost() {
        let mut table = table();
        table.apply(Event::Seen(socket()));
        let mut changed = Socket { keepalive: true, ..socket() };
        changed.own.count = 5;
        table.apply(Event::Seen(at(1, changed)));
        table.settle(at(1, changed).at);
        assert_eq!(names(&mut table), []);
        table.settle(at(3, changed).at);
        let all = [EventName::Changed, EventName::Changed, EventName::VerdictChanged];
        assert_eq!(names(&mut table), all);
        table.events_lost();
        table.apply(Event::Seen(at(4, socket())));
        table.settle(at(9, socket()).at);
        // The call may have been lost; the verdict is another one all the same.
        assert_eq!(names(&mut table), [EventName::VerdictChanged]);
    }

    #[test]
    fn where_calls_are_not_heard_a_change_is_not_said_to_have_had_none() {
        let mut table = table();
        table.set_heard(Heard { states: false, timers: false, calls: false });
        table.apply(Event::Seen(socket()));
        let mut changed = Socket { keepalive: true, ..socket() };
        changed.own.idle_seconds = 60;
        table.apply(Event::Seen(at(1, changed)));
        table.settle(at(9, changed).at);
        assert_eq!(names(&mut table), [EventName::VerdictChanged]);
    }

    #[test]
    fn what_may_have_been_no_quiet_time_was_not_survived() {
        let survived = |quiet_at_most| {
            let mut table = table();
            let quiet = Socket { silent_ms: 400_000, quiet_ms: 400_000, ..socket() };
            table.apply(Event::Seen(Socket { quiet_at_most, ..quiet }));
            table.apply(Event::Seen(Socket {
                silent_ms: 100,
                quiet_ms: 100,
                segs_in: 1,
                ..at(2, socket())
            }));
            names(&mut table).len()
        };
        assert_eq!((survived(false), survived(true)), (1, 0));
    }

    #[test]
    fn calls_before_connecting_join_the_history_of_the_connection() {
        let mut table = table();
        let unconnected = Socket { id: SocketId(0), inode: 77, state: State::Close, ..socket() };
        table.apply(Event::Called { socket: unconnected, call: call(SockOpt::Idle, 60) });
        let connecting = Socket { inode: 77, state: State::SynSent, ..at(1, socket()) };
        let ending = Ending::default();
        table.apply(Event::StateChange { socket: connecting, old: State::Close, ending });
        let history: Vec<_> = table.histories().collect();
        assert_eq!(history.len(), 1);
        assert_eq!(history[0].moments[0].what(), Happened::Setting(call(SockOpt::Idle, 60)));
    }

    #[test]
    fn probes_are_answered_and_the_idle_time_is_survived() {
        let mut table = table();
        let on = Socket { keepalive: true, ..socket() };
        table.apply(Event::Seen(Socket { silent_ms: 7_199_000, quiet_ms: 7_199_000, ..on }));
        let probing = Socket { probes_unanswered: 1, silent_ms: 7_200_000, ..at(1, on) };
        table.apply(Event::Fired { socket: probing, outcome: Fire::Sent, probes_before: 0 });
        table.apply(Event::Seen(Socket { silent_ms: 900, segs_in: 1, ..at(2, on) }));
        let told = [EventName::ProbeSent, EventName::ProbeAnswered, EventName::QuietSurvived];
        assert_eq!(names(&mut table), told);
        // By its stamp, in ticks, the next answer is as old as the probe's own sample.
        let probing = Socket { segs_in: 1, ..probing };
        table.apply(Event::Fired {
            socket: at(7202, probing),
            outcome: Fire::Sent,
            probes_before: 0,
        });
        table.apply(Event::Seen(Socket { silent_ms: 2000, segs_in: 2, ..at(7204, on) }));
        assert_eq!(names(&mut table), told);
        // Without an answer nothing was survived.
        let probing = Socket { segs_in: 2, ..probing };
        table.apply(Event::Fired {
            socket: at(14_404, probing),
            outcome: Fire::Sent,
            probes_before: 0,
        });
        table.apply(Event::Seen(Socket { silent_ms: 7_202_000, ..at(14_406, probing) }));
        assert_eq!(names(&mut table), [EventName::ProbeSent]);
    }

    #[test]
    fn bounds_are_kept() {
        let mut pending = Pending::default();
        for inode in 1..=10_000 {
            let socket = Socket { inode, ..socket() };
            let what = Happened::Setting(call(SockOpt::Keepalive, 1));
            pending.note(Happening::new(socket.at, socket, what));
        }
        assert_eq!((pending.by_inode.len(), pending.order.len()), (MAX_PENDING, MAX_PENDING));
    }
}
