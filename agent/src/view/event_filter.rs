//! Which moments somebody wants to see: the filters of `trace` and of `/v1/events`.

use super::{event_row::EventRow, filter::Filter, value_enum::EventChoice};
use crate::model::{
    judgement::{death::Cause, verdict::Surroundings},
    observed::{
        event::Fire,
        owner_identity::Identity,
        setsockopt::When,
        socket::{Owner, Socket},
    },
    table::happening::{EventName, Happened, Happening},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Every given condition must hold; within one condition, any of its values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(default)]
pub(crate) struct EventFilter {
    /// Only these events [default: what was set or changed, probes unanswered in a row, verdicts that changed, losses]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub event: Vec<EventChoice>,
    /// Only ends of these causes, losses or not
    #[arg(long, value_enum, value_delimiter = ',')]
    pub cause: Vec<Cause>,
    /// Print past events of these connections first (needs an agent)
    #[arg(long)]
    pub past: bool,
    /// Print past events of these connections and end (needs an agent)
    #[arg(long, conflicts_with = "past")]
    pub past_only: bool,
    /// Of past events those that happened at this Unix time or later, seconds.
    #[arg(skip)]
    pub since: Option<f64>,
    /// Of past events those that happened before this Unix time, seconds.
    #[arg(skip)]
    pub until: Option<f64>,
    /// Of connections that died at most this number of each worth, the latest.
    #[arg(skip)]
    pub dead: Option<usize>,
    /// Only events of these connections.
    #[command(flatten)]
    pub filter: Filter,
}

/// Probes unanswered in a row from which a probe is shown without being asked for: one may be lost, or still be on
/// its way.
const PROBES_TO_NOTICE: u8 = 2;

impl EventFilter {
    /// Wants past events from `since` on, until a time that is over, or until now and what comes then. Unix seconds.
    pub(crate) const fn look_back(&mut self, since: f64, until: Option<f64>) {
        (self.since, self.until) = (Some(since), until);
        if !self.past && !self.past_only {
            self.past_only = until.is_some();
            self.past = until.is_none();
        }
    }

    /// Whether a past event of this Unix time is wanted. Events are shown to the microsecond.
    pub(crate) fn is_within(&self, unix_ns: i64) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
        let micros = |seconds: f64| (seconds * 1e6).round() as i64;
        let at = unix_ns.div_euclid(1000);
        self.since.is_none_or(|since| at >= micros(since))
            && self.until.is_none_or(|until| at < micros(until))
    }

    /// Whether `happening` is wanted. Unlike `sockets`, any state will do unless one is asked for: the
    /// calls before a connection belong to it, and so does its end.
    pub(crate) fn admits(&self, happening: &Happening, around: &Surroundings) -> bool {
        self.admits_what(happening) && self.admits_connection(happening, around)
    }

    /// Whether the end of a connection is wanted, out of a history.
    pub(crate) fn admits_end(&self, end: &EventRow) -> bool {
        let is_named = |choice: &EventChoice| match choice {
            EventChoice::All => true,
            EventChoice::One(name) => *name == end.event,
        };
        let is_of_cause = end.details.cause.is_some_and(|cause| self.cause.contains(&cause));
        let is_wanted = match (self.cause.is_empty(), self.event.is_empty()) {
            (true, true) => end.event == EventName::Died,
            (true, false) => self.event.iter().any(is_named),
            (false, true) => is_of_cause,
            (false, false) => is_of_cause && self.event.iter().any(is_named),
        };
        is_wanted
            && unix_ns(end).is_some_and(|unix_ns| self.is_within(unix_ns))
            && self.filter.admits_shown(&end.connection, &end.owners)
    }

    fn admits_what(&self, happening: &Happening) -> bool {
        let what = &happening.what;
        if !self.cause.is_empty() {
            let is_one = |death: &Cause| self.cause.contains(death);
            let Happened::Died(death) = what else { return false };
            return is_one(&death.cause) && (self.event.is_empty() || self.names(what));
        }
        if self.event.is_empty() { is_notable(happening) } else { self.names(what) }
    }

    fn names(&self, what: &Happened) -> bool {
        self.event.iter().any(|choice| match choice {
            EventChoice::All => what.is_news(),
            EventChoice::One(name) => *name == what.name(),
        })
    }

    fn admits_whose(&self, owner: Option<&Owner>, identity: Option<&Identity>) -> bool {
        self.filter.admits_owner(owner) && self.filter.admits_identity(identity)
    }

    fn admits_connection(&self, happening: &Happening, around: &Surroundings) -> bool {
        let Happening { at, socket, what, identity, holder, .. } = happening;
        let quiet_ms = match what {
            Happened::Died(death) => death.quiet_ms.into(),
            Happened::QuietSurvived { quiet_ms } => (*quiet_ms).into(),
            _ => socket.quiet_at_ms(*at),
        };
        // What has just ended had a condition until then.
        let judged = match what {
            Happened::Died(death) if !self.filter.condition.is_empty() => {
                &Socket { state: death.old, ..*socket }
            }
            _ => socket,
        };
        // An agent reports what changes by its own limits.
        let is_change = !matches!(what, Happened::VerdictChanged { to, .. }
            if self.filter.measured_by.is_some() && *to != around.verdict(socket));
        is_change
            && self.filter.admits_in_any_state(judged, around, quiet_ms)
            && (self.admits_whose(socket.owner.as_ref(), identity.as_deref())
                || holder.as_ref().is_some_and(|holder| {
                    self.admits_whose(Some(&holder.owner), holder.identity.as_deref())
                }))
    }
}

/// Whether somebody on call wants to see it unasked: a loss, a change, or a peer that does not answer. Of a busy host
/// connections that open and close, and probes that are answered, would hide these.
const fn is_notable(happening: &Happening) -> bool {
    match &happening.what {
        Happened::Setting(_)
        | Happened::Changed { .. }
        | Happened::VerdictChanged { .. }
        | Happened::DataAnswered { .. }
        | Happened::GivenUp => true,
        Happened::Died(_) => matches!(happening.what.name(), EventName::Died),
        Happened::ProbeSent => happening.socket.probes_unanswered >= PROBES_TO_NOTICE,
        Happened::ProbeAnswered { unanswered } => *unanswered >= PROBES_TO_NOTICE,
        Happened::TimerFired(outcome) => matches!(outcome, Fire::Congested),
        Happened::Opened | Happened::QuietSurvived { .. } => false,
    }
}

/// Sockets whose calls wait for a peer. Those that never connect make room, the oldest first.
const MAX_SOCKETS: usize = 4096;
/// Calls of one socket that wait.
const MAX_CALLS: usize = 16;

/// Picks out of a stream what a filter admits. A setting made before the connection has a peer is not known to be
/// wanted if the filter names peers or ports: it waits until the socket connects, and is then passed on in front of
/// what is wanted of that connection, with its time of then.
#[derive(Debug)]
pub(crate) struct EventPicker {
    wanted: EventFilter,
    /// By inode number: there is no id yet.
    waiting: HashMap<u32, Vec<Happening>>,
    order: VecDeque<u32>,
}

impl EventPicker {
    /// One that has seen nothing.
    pub(crate) fn new(wanted: EventFilter) -> Self {
        Self { wanted, waiting: HashMap::new(), order: VecDeque::new() }
    }

    /// What verdicts are measured against, where these are the surroundings otherwise.
    pub(crate) fn surroundings(&self, otherwise: Arc<Surroundings>) -> Arc<Surroundings> {
        self.wanted.filter.surroundings(otherwise)
    }

    /// What is wanted of these, which come in the order of time.
    pub(crate) fn pick(
        &mut self,
        happenings: &[Happening],
        around: &Surroundings,
    ) -> Vec<Happening> {
        let mut picked = Vec::new();
        for happening in happenings {
            let is_admitted = self.wanted.admits_connection(happening, around);
            if is_before_connect(happening) && !is_admitted {
                self.hold(happening);
                continue;
            }
            let Socket { inode, remote, .. } = happening.socket;
            let is_over = matches!(happening.what, Happened::Died(_));
            if remote.port != 0 && (is_admitted || is_over) {
                let calls = self.release(inode);
                if is_admitted {
                    picked.extend(calls.into_iter().map(|call| now_known(call, happening)));
                }
            }
            if is_admitted && self.wanted.admits_what(happening) {
                picked.push(happening.clone());
            }
        }
        picked
    }

    fn hold(&mut self, call: &Happening) {
        let Socket { inode, .. } = call.socket;
        if inode == 0
            || !self.wanted.admits_what(call)
            || !self.wanted.filter.admits_netns(&call.socket)
        {
            return;
        }
        if !self.waiting.contains_key(&inode) {
            if self.waiting.len() >= MAX_SOCKETS
                && let Some(oldest) = self.order.pop_front()
            {
                self.waiting.remove(&oldest);
            }
            self.order.push_back(inode);
        }
        let calls = self.waiting.entry(inode).or_default();
        if calls.len() < MAX_CALLS {
            calls.push(call.clone());
        }
    }

    fn release(&mut self, inode: u32) -> Vec<Happening> {
        let Some(calls) = self.waiting.remove(&inode) else {
            return Vec::new();
        };
        self.order.retain(|&other| other != inode);
        calls
    }
}

fn unix_ns(row: &EventRow) -> Option<i64> {
    row.time.at.parse::<Timestamp>().ok()?.as_nanosecond().try_into().ok()
}

fn is_before_connect(happening: &Happening) -> bool {
    matches!(&happening.what, Happened::Setting(call) if call.when == When::BeforeConnect)
}

/// A call on a socket that is a connection by now.
fn now_known(call: Happening, connection: &Happening) -> Happening {
    let Socket { id, local, remote, direction, direction_from, .. } = connection.socket;
    let socket = Socket { id, local, remote, direction, direction_from, ..call.socket };
    let identity = call.identity.or_else(|| connection.identity.clone());
    Happening { socket, identity, ..call }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::table::happening::ConnectionHolder;
    use crate::model::{
        judgement::{
            death::{Certainty, Death, Others},
            idle_limit::{IdleLimit, Limits},
        },
        observed::{
            ending::Ending,
            setsockopt::{Call, SockOpt},
            socket::{Comm, Endpoint, SocketId, State, tests_support::socket},
        },
    };

    fn around() -> Surroundings {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        Surroundings::new(limits, 250)
    }

    fn wanted(json: serde_json::Value) -> EventFilter {
        serde_json::from_value(json).unwrap()
    }

    fn happened(what: Happened) -> Happening {
        Happening::new(socket().at, socket(), what)
    }

    fn died(cause: Cause) -> Happening {
        happened(Happened::Died(Death {
            cause,
            certainty: Certainty::Exact,
            old: State::Established,
            ending: Ending::default(),
            quiet_ms: 30_000,
            silent_ms: 30_000,
            age_ms: Some(31_000),
            given_up: None,
            probes_sent: 0,
            probes_unanswered: 0,
            survived_ms: 0,
            could_be_forgotten: false,
            others: Others::Unknown,
            other_reason: None,
        }))
    }

    /// A call on the socket with this inode number, before it connects.
    fn call(inode: u32) -> Happening {
        let (option, value, by) = (SockOpt::Keepalive, Some(1), None);
        let call = Call { option, value, errno: 0, by, when: When::BeforeConnect };
        let remote = Endpoint { port: 0, ..socket().remote };
        let (id, state) = (SocketId::default(), State::Close);
        let socket = Socket { id, remote, inode, state, ..socket() };
        Happening::new(socket.at, socket, Happened::Setting(call))
    }

    fn opened(inode: u32, port: u16) -> Happening {
        let remote = Endpoint { port, ..socket().remote };
        let socket = Socket { inode, remote, id: SocketId(inode.into()), ..socket() };
        Happening::new(socket.at, socket, Happened::Opened)
    }

    #[test]
    fn by_default_losses_and_changes_are_shown_and_everyday_life_is_not() {
        let probe = |unanswered| {
            let socket = Socket { probes_unanswered: unanswered, ..socket() };
            Happening::new(socket.at, socket, Happened::ProbeSent)
        };
        let shown = [
            call(1),
            died(Cause::IdleDrop),
            probe(2),
            happened(Happened::ProbeAnswered { unanswered: 2 }),
        ];
        let hidden = [
            happened(Happened::Opened),
            died(Cause::PeerClosed),
            probe(1),
            happened(Happened::ProbeAnswered { unanswered: 1 }),
            happened(Happened::TimerFired(Fire::NotIdle)),
        ];
        let default = EventFilter::default();
        assert!(shown.iter().all(|one| default.admits(one, &around())));
        assert!(!hidden.iter().any(|one| default.admits(one, &around())));
        let all = wanted(serde_json::json!({ "event": ["all"] }));
        let (idle, rest) = hidden.split_last().unwrap();
        assert!(shown.iter().chain(rest).all(|one| all.admits(one, &around())));
        assert!(!all.admits(idle, &around()), "a timer that found nothing to do");
    }

    #[test]
    fn a_cause_means_ends_of_that_cause_whether_they_are_losses_or_not() {
        let of_causes = wanted(serde_json::json!({ "cause": ["peer_closed", "idle_drop"] }));
        assert!(of_causes.admits(&died(Cause::PeerClosed), &around()));
        assert!(of_causes.admits(&died(Cause::IdleDrop), &around()));
        assert!(!of_causes.admits(&died(Cause::UserTimeout), &around()));
        assert!(!of_causes.admits(&call(1), &around()));
        let losses = EventFilter { event: vec![EventChoice::One(EventName::Died)], ..of_causes };
        assert!(!losses.admits(&died(Cause::PeerClosed), &around()));
    }

    #[test]
    fn a_look_back_is_over_with_its_end_and_goes_on_if_that_is_now() {
        let looks = |until, past, past_only| {
            let mut wanted = EventFilter { past, past_only, ..EventFilter::default() };
            wanted.look_back(1_764_128_050.5, until);
            (wanted.past, wanted.past_only)
        };
        assert_eq!(looks(Some(1_764_128_060.0), false, false), (false, true));
        assert_eq!(looks(None, false, false), (true, false));
        assert_eq!(looks(Some(1_764_128_060.0), true, false), (true, false), "as was asked");
        assert_eq!(looks(None, false, true), (false, true), "as was asked");
    }

    #[test]
    fn a_past_event_is_within_its_own_time_to_the_microsecond() {
        let (since, until) = (Some(1_764_128_050.788_129), Some(1_764_128_050.788_131));
        let wanted = EventFilter { since, until, ..EventFilter::default() };
        let at = |micros: i64| 1_764_128_050_000_000_000 + micros * 1000 + 999;
        assert!(!wanted.is_within(at(788_128)));
        assert!(wanted.is_within(at(788_129)) && wanted.is_within(at(788_130)));
        assert!(!wanted.is_within(at(788_131)));
        assert!(EventFilter::default().is_within(0), "without times any will do");
    }

    #[test]
    fn the_quiet_time_of_an_end_is_that_before_it() {
        let quiet =
            |seconds| wanted(serde_json::json!({ "filter": { "quiet_for_seconds": seconds } }));
        assert!(quiet(30).admits(&died(Cause::IdleDrop), &around()));
        assert!(!quiet(31).admits(&died(Cause::IdleDrop), &around()));
    }

    #[test]
    fn a_setting_made_before_connecting_comes_with_the_connection_that_it_was_for() {
        for filter in [
            serde_json::json!({ "remote_port": [5432] }),
            serde_json::json!({ "port": [5432] }),
            serde_json::json!({ "peer": ["172.16.0.15:5432"] }),
        ] {
            let mut picker = EventPicker::new(wanted(serde_json::json!({ "filter": filter })));
            assert_eq!(picker.pick(&[call(1), call(2), call(1)], &around()), []);
            assert_eq!(picker.pick(&[opened(2, 80)], &around()), [], "of another connection");
            let picked = picker.pick(&[opened(1, 5432)], &around());
            assert_eq!(picked.len(), 2, "`opened` itself is not asked for");
            for one in picked {
                assert!(is_before_connect(&one));
                assert_eq!((one.socket.id, one.socket.remote.port), (SocketId(1), 5432));
            }
            assert_eq!(picker.pick(&[opened(1, 5432)], &around()), [], "once");
        }
    }

    #[test]
    fn a_setting_of_a_process_whose_unit_is_looked_up_later_is_not_lost() {
        let mut picker =
            EventPicker::new(wanted(serde_json::json!({ "filter": { "unit": ["web"] } })));
        assert_eq!(picker.pick(&[call(1)], &around()), []);
        let unit = Identity { unit: Some("web.service".into()), ..Identity::default() };
        let opened = Happening { identity: Some(Arc::new(unit)), ..opened(1, 80) };
        let picked = picker.pick(&[opened], &around());
        assert_eq!(picked.len(), 1);
        assert_eq!(picked[0].identity.as_ref().unwrap().unit.as_deref(), Some("web.service"));
    }

    #[test]
    fn a_call_on_a_connection_of_another_is_found_by_either_and_by_no_mixture_of_them() {
        let process = |pid, name: &[u8; 3]| {
            let mut comm = [0; 16];
            comm[..3].copy_from_slice(name);
            Owner { pid, fd: None, comm: Comm::new(comm) }
        };
        let unit = |name: &str| {
            Some(Arc::new(Identity { unit: Some(name.into()), ..Identity::default() }))
        };
        let mut called = call(7);
        called.socket.owner = Some(process(9, b"fix"));
        called.identity = unit("fix.service");
        let owner = process(3, b"web");
        called.holder =
            Some(ConnectionHolder { owner, identity: unit("web.service"), is_foreign: true });
        let is_found = |filter: serde_json::Value| {
            wanted(serde_json::json!({ "filter": filter })).admits(&called, &around())
        };
        assert!(is_found(serde_json::json!({ "process": ["fix"] })));
        assert!(is_found(serde_json::json!({ "process": ["web"], "unit": ["web.service"] })));
        assert!(!is_found(serde_json::json!({ "process": ["web"], "unit": ["fix.service"] })));
        assert!(!is_found(serde_json::json!({ "pid": [8] })));
    }

    #[test]
    fn without_a_filter_a_setting_is_shown_at_once_and_not_again() {
        let mut picker = EventPicker::new(EventFilter::default());
        assert_eq!(picker.pick(&[call(1)], &around()).len(), 1);
        assert_eq!(picker.pick(&[opened(1, 5432)], &around()), []);
    }

    #[test]
    fn sockets_that_never_connect_make_room() {
        let mut picker = EventPicker::new(wanted(serde_json::json!({ "filter": { "port": [1] } })));
        let n = u32::try_from(MAX_SOCKETS).unwrap();
        for inode in 1..=n + 1 {
            picker.pick(&vec![call(inode); MAX_CALLS + 1], &around());
        }
        assert_eq!(picker.pick(&[opened(1, 1)], &around()), [], "the oldest is gone");
        assert_eq!(picker.pick(&[opened(n + 1, 1)], &around()).len(), MAX_CALLS);
        let ended = Happening { socket: opened(2, 80).socket, ..died(Cause::PeerClosed) };
        assert_eq!(picker.pick(&[ended], &around()), []);
        assert_eq!((picker.waiting.len(), picker.order.len()), (MAX_SOCKETS - 2, MAX_SOCKETS - 2));
    }
}
