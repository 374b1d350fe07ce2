//! Connections in known states, for tests.

use super::*;
use crate::model::{
    judgement::{
        death::Death,
        idle_limit::{IdleLimit, Limits},
        verdict::Surroundings,
    },
    observed::{
        ending::{self, Ending, Unacked, Unsent},
        setting::OwnSettings,
        socket::{Comm, Owner, Socket, State, tests_support::socket},
    },
    table::happening::{Happened, Happening},
};

pub(crate) fn around() -> Surroundings {
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    Surroundings::new(limits, 250)
}

/// A connection of `app`, quiet for `quiet_ms`; keepalive on if `idle_seconds` is some.
pub(crate) fn app(id: u64, idle_seconds: Option<u32>, quiet_ms: u32) -> Socket {
    let mut name = [0; 16];
    name[..3].copy_from_slice(b"app");
    let own =
        OwnSettings { idle_seconds: idle_seconds.unwrap_or_default(), ..OwnSettings::default() };
    Socket {
        id: crate::model::observed::socket::SocketId(id),
        keepalive: idle_seconds.is_some(),
        own,
        quiet_ms,
        silent_ms: quiet_ms,
        owner: Some(Owner { pid: 812, fd: Some(5), comm: Comm::new(name) }),
        ..socket()
    }
}

pub(crate) fn live(socket: &Socket) -> Life {
    Life::live(Row::new(socket, socket.owner.iter(), None, &around(), socket.at))
}

/// It, dead of this.
pub(crate) fn dead(socket: &Socket, ending: Ending) -> Life {
    Life::dead(died(socket, ending)).unwrap()
}

/// The event of that.
pub(crate) fn died(socket: &Socket, ending: Ending) -> EventRow {
    died_from(socket, State::Established, ending)
}

/// The same, from this state.
pub(crate) fn died_from(socket: &Socket, old: State, ending: Ending) -> EventRow {
    let mut death = Death::of(socket, old, ending, None).unwrap();
    death.age_ms = Some(u64::from(socket.silent_ms) + 1000);
    let happening = Happening::new(socket.at, *socket, Happened::Died(death));
    let time = WallTime { at: "2026-01-02T03:04:05Z".to_owned(), ..WallTime::default() };
    EventRow::new(&happening, time, &around())
}

/// What a program closed, whose FIN nobody answered for 100 s.
pub(crate) const CLOSED_UNANSWERED: Ending = Ending {
    unacked: Unacked::Fin,
    retransmits: 8,
    retransmitting_ms: Some(100_000),
    in_keepalive_timer: false,
    ..GAVE_UP
};

/// What a program closed while the peer's window was closed, and the kernel dropped at a probe of the window.
pub(crate) const NEVER_TAKEN: Ending = Ending {
    errno: 110,
    unacked: Unacked::Nothing,
    unsent: Unsent::WindowClosed,
    retransmitting_ms: Some(330_000),
    ..RESET
};

/// The ending that a middlebox leaves which answers the first data after a quiet time by a reset.
pub(crate) const RESET: Ending =
    Ending { sent_ms: Some(10), round_trip_us: None, ..ending::tests_support::RESET };

/// The ending that a keepalive timer leaves when it gave up.
pub(crate) const GAVE_UP: Ending = Ending {
    errno: 110,
    sent_ms: None,
    unacked: Unacked::Nothing,
    in_keepalive_timer: true,
    unaccepted: false,
    ..RESET
};
