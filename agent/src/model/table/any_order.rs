//! Whatever order observations come in, ids and times that are used again included: the table stays within its bounds, its sums are those
//! of its rows, each death is counted once, and a whole walk makes it right again.

use super::*;
use crate::model::{
    judgement::idle_limit::{IdleLimit, Limits},
    observed::{
        ending::Discovery,
        setsockopt::{Call, SockOpt, When},
        socket::{Comm, Endpoint, SocketKind, Time, tests_support::socket},
    },
};
use proptest::{collection::vec, prelude::*, sample::select};

const MOST: usize = 12;
/// More than may be in the table, and few enough to come again.
const IDS: u64 = 20;
/// Later than every step.
const AFTERWARDS: Time = Time(1 << 50);

/// One thing that an agent's watching thread does to its table.
#[derive(Clone, Debug)]
enum TableStep {
    Apply(Box<Event>),
    BeginWalk { after_loss: bool },
    EndWalk,
    Settle(Time),
    Take,
}

fn time() -> impl Strategy<Value = Time> {
    // A few hours, and now and then anything.
    prop_oneof![
        9 => (0..10_000_u64).prop_map(|seconds| Time(seconds * 1_000_000_000)),
        1 => (0..AFTERWARDS.0).prop_map(Time),
    ]
}

fn owner() -> impl Strategy<Value = Option<Owner>> {
    let owner = (1..6_u32, proptest::option::of(3..6_u32)).prop_map(|(pid, fd)| Owner {
        pid,
        fd,
        comm: Comm::default(),
    });
    proptest::option::of(owner)
}

fn any_socket() -> impl Strategy<Value = Socket> {
    let whose = (1..=IDS, 0..3_u32, 0..4_u16, owner(), select(SocketKind::ALL.as_slice()));
    let how =
        (select(State::ALL.as_slice()), select(Direction::ALL.as_slice()), any::<[bool; 6]>());
    let what = (time(), any::<[u32; 3]>(), any::<[u8; 3]>(), any::<[Option<u32>; 2]>());
    (whose, how, what).prop_map(|(whose, how, what)| {
        let (id, netns, port, owner, kind) = whose;
        let (state, direction, [keepalive, in_flight, shared, unaccepted, orphan, full]) = how;
        let (at, [quiet_ms, silent_ms, segs], [retransmits, probes, queued], [spoke, timer]) = what;
        let fixture = socket();
        Socket {
            id: SocketId(id),
            at,
            netns,
            owner,
            kind,
            state,
            direction,
            keepalive,
            in_flight,
            shared,
            is_unaccepted: unaccepted,
            is_orphan: orphan,
            window_closed: full,
            quiet_ms,
            silent_ms,
            segs_in: segs,
            segs_out: segs.wrapping_add(1),
            retransmits,
            probes_unanswered: probes,
            n_queued: queued,
            spoke_last_ms: spoke,
            timer_ms: timer,
            remote: Endpoint { port: 2717 + port, ..fixture.remote },
            ..fixture
        }
    })
}

fn event() -> impl Strategy<Value = Event> {
    let states = || select(State::ALL.as_slice());
    let ending = (any::<(u16, u8, bool)>(), proptest::option::of(any::<u32>())).prop_map(
        |((errno, retransmits, in_keepalive_timer), sent_ms)| Ending {
            found: Discovery::Reported,
            errno: errno % 130,
            retransmits,
            in_keepalive_timer,
            sent_ms,
            ..Ending::default()
        },
    );
    let call = (select(SockOpt::ALL.as_slice()), proptest::option::of(any::<i32>()), owner());
    let call = call.prop_map(|(option, value, by)| Call {
        option,
        value,
        errno: 0,
        by,
        when: When::AfterConnect,
    });
    prop_oneof![
        any_socket().prop_map(Event::Seen),
        any_socket().prop_map(Event::Found),
        (1..=IDS, time()).prop_map(|(id, at)| Event::Gone { id: SocketId(id), at }),
        (any_socket(), states(), ending).prop_map(|(socket, old, ending)| Event::StateChange {
            socket,
            old,
            ending
        }),
        any_socket().prop_map(Event::Destroyed),
        (any_socket(), select(Fire::ALL.as_slice()), any::<u8>()).prop_map(
            |(socket, outcome, probes_before)| Event::Fired { socket, outcome, probes_before }
        ),
        (any_socket(), call).prop_map(|(socket, call)| Event::Called { socket, call }),
    ]
}

fn step() -> impl Strategy<Value = TableStep> {
    prop_oneof![
        20 => event().prop_map(|event| TableStep::Apply(Box::new(event))),
        1 => any::<bool>().prop_map(|after_loss| TableStep::BeginWalk { after_loss }),
        1 => Just(TableStep::EndWalk),
        1 => time().prop_map(TableStep::Settle),
        1 => Just(TableStep::Take),
    ]
}

fn small() -> Table {
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    let around = Surroundings::new(limits, 250);
    Table::new(around, Bounds::new(MOST, MOST))
}

fn take(table: &mut Table) -> u64 {
    let is_death = |it: &Happening| matches!(it.what, Happened::Died(_));
    table.take_happenings().iter().filter(|it| is_death(it)).map(|_| 1).sum()
}

fn known(table: &Table) -> Vec<Socket> {
    let mut rows = Vec::new();
    table.scan(0, u32::MAX, |_| true, |socket, _, _| rows.push(*socket));
    rows
}

/// The table keeps its bounds, and its sums are those of its rows.
fn holds(table: &Table) {
    let (rows, totals) = (known(table), table.totals());
    assert!(rows.len() <= MOST, "{} rows", rows.len());
    assert_eq!(totals.n_tracked, u64::try_from(rows.len()).unwrap());
    let ids: BTreeSet<SocketId> = rows.iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), rows.len(), "an id twice");
    let n = |wanted: &dyn Fn(&Socket) -> bool| {
        u64::try_from(rows.iter().filter(|row| row.is_connection() && wanted(row)).count()).unwrap()
    };
    let established = n(&|row| row.state == State::Established);
    assert_eq!(totals.sockets.values().sum::<u64>(), established, "established");
    let timed = n(&|row| row.state == State::Established && row.detection_seconds().is_some());
    for sums in [&totals.idle, &totals.detection] {
        assert_eq!(sums.values().flat_map(|sum| &sum.counts).sum::<u64>(), timed, "with keepalive");
    }
    assert!(
        totals.troubles.values().sum::<u64>() <= n(&|_| true),
        "more in trouble than there are"
    );
    assert!(table.histories().count() <= MOST, "histories");
}

/// A walk that meets exactly these.
fn walk(table: &mut Table, met: &[Socket]) {
    table.begin_walk(true);
    for socket in met {
        table.apply(Event::Seen(*socket));
    }
    for id in table.unmet(|socket| socket.id) {
        table.apply(Event::Gone { id, at: AFTERWARDS });
    }
    table.end_walk();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_any_order_of_events_the_bounds_hold_the_sums_are_right_and_each_death_counts_once(
        steps in vec(step(), 0..100),
    ) {
        let mut table = small();
        let mut n_deaths = 0;
        for step in steps {
            match step {
                TableStep::Apply(event) => table.apply(*event),
                TableStep::BeginWalk { after_loss } => table.begin_walk(after_loss),
                TableStep::EndWalk => drop(table.end_walk()),
                TableStep::Settle(at) => table.settle(at),
                TableStep::Take => n_deaths += take(&mut table),
            }
            holds(&table);
        }
        n_deaths += take(&mut table);
        let tally = table.totals().tally;
        let by_quiet: u64 = tally.quiet_before_death.values().flat_map(|quiet| &quiet.counts).sum();
        let by_owner: u64 = tally.deaths.iter().map(|(_, _, n, _)| n).sum();
        prop_assert_eq!((by_quiet, by_owner), (n_deaths, n_deaths));
    }

    #[test]
    fn whatever_came_before_two_whole_walks_leave_exactly_what_they_met(
        steps in vec(event(), 0..80),
        met in vec(any_socket(), 0..MOST),
    ) {
        let mut table = small();
        for event in steps {
            table.apply(event);
        }
        let met: BTreeMap<SocketId, Socket> = met
            .into_iter()
            .filter(|socket| socket.state != State::Close)
            .map(|socket| (socket.id, Socket { at: AFTERWARDS, ..socket }))
            .collect();
        let all: Vec<Socket> = met.values().copied().collect();
        // The first makes room for what the second then takes in.
        walk(&mut table, &all);
        holds(&table);
        walk(&mut table, &all);
        holds(&table);
        let rows = known(&table);
        let shown: BTreeSet<SocketId> = rows.iter().map(|row| row.id).collect();
        prop_assert_eq!(shown, met.keys().copied().collect::<BTreeSet<_>>());
        for row in rows {
            let is = &met[&row.id];
            prop_assert_eq!(
                (row.state, row.keepalive, row.netns, row.remote),
                (is.state, is.keepalive, is.netns, is.remote)
            );
        }
    }
}
