//! A slot in as few bytes as it takes: of a million sockets each byte is a megabyte.

use super::{Slot, shared_values::Stock};
use crate::model::{
    observed::{
        peer_closed::PeerClosed,
        setting::{NetnsSettings, OwnSettings},
        socket::{
            Comm, Direction, DirectionFrom, Endpoint, Owner, Socket, SocketAddress, SocketId,
            SocketKind, State, Time,
        },
        watched::Watched,
    },
    table::owner_ids::OwnerNumber,
};
use std::{collections::HashMap, net::Ipv6Addr};

/// Stands for none, of descriptors and times.
const NONE: u32 = u32::MAX;
/// The state is in the lowest bits of the flags; 0 is an empty slot.
const STATE: u16 = 0xf;
const KEEPALIVE: u16 = 1 << 4;
const IN_FLIGHT: u16 = 1 << 5;
const INBOUND: u16 = 1 << 6;
const INFERRED: u16 = 1 << 7;
const OWNED: u16 = 1 << 8;
const SHARED: u16 = 1 << 9;
const ORPHAN: u16 = 1 << 10;
const UNACCEPTED: u16 = 1 << 11;
const MPTCP: u16 = 1 << 12;
const KERNEL: u16 = 1 << 13;
const WINDOW_CLOSED: u16 = 1 << 14;
/// Beside the number of probes of the peer, of which only the first few matter.
const COULD_NOT_SEND: u8 = 1 << 7;
/// Something is repeated: then it is not said who spoke last, and the other way round.
const REPEATING: u16 = 1 << 15;

/// What many slots have in common.
#[derive(Debug, Default)]
pub(super) struct Stocks {
    names: Stock<Comm>,
    addrs: Stock<LocalAddr>,
    own: Stock<Own>,
    netns: Stock<Netns>,
    /// Of the few that the peer has closed: the time of that, by id.
    closed: HashMap<SocketId, (Time, bool)>,
}

impl Stocks {
    fn set_peer_closed(&mut self, socket: &Socket) {
        match socket.peer_closed {
            Some(PeerClosed { ms, is_seen }) => {
                self.closed.insert(socket.id, (socket.at.ms_before(ms), is_seen));
            }
            None => self.forget_peer_closed(socket.id),
        }
    }

    fn forget_peer_closed(&mut self, id: SocketId) {
        if !self.closed.is_empty() {
            self.closed.remove(&id);
        }
    }

    fn peer_closed(&self, id: SocketId, at: Time) -> Option<PeerClosed> {
        let &(since, is_seen) = self.closed.get(&id)?;
        let ms = u32::try_from(at.ms_since(since)).unwrap_or(u32::MAX);
        Some(PeerClosed { ms, is_seen })
    }
}

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LocalAddr(Ipv6Addr);

impl Default for LocalAddr {
    fn default() -> Self {
        Self(Ipv6Addr::UNSPECIFIED)
    }
}

/// What a socket has of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Own {
    settings: OwnSettings,
    rto_max_ms: u32,
    syn_retries: u8,
}

/// A network namespace with its sysctls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Netns {
    number: u32,
    settings: NetnsSettings,
}

/// A slot, or an empty one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    id: SocketId,
    address: SocketAddress,
    at: Time,
    remote_addr: Ipv6Addr,
    /// Numbers of what it has in common with others.
    local_addr: u32,
    netns: u32,
    own: u32,
    name: u32,
    inode: u32,
    pid: u32,
    fd: u32,
    quiet_ms: u32,
    silent_ms: u32,
    received_ms: u32,
    /// The time since the first repetition, or since the last data of this host.
    repeating_or_spoke_ms: u32,
    timer_ms: u32,
    segs_in: u32,
    segs_out: u32,
    watched_ms: u32,
    longest_quiet_ms: u32,
    local_port: u16,
    remote_port: u16,
    flags: u16,
    walk: u16,
    whose: OwnerNumber,
    round_trip_ms: u16,
    probes_unanswered: u8,
    retransmits: u8,
    /// The number of probes of the peer, and in the highest bit whether this host could not send.
    peer_probes: u8,
    /// Of a listener the length of its queue, else in one of how many queues it waits.
    n_queued_or_listeners: u8,
}

impl Packed {
    pub(super) const EMPTY: Self = Self {
        id: SocketId(0),
        address: SocketAddress(0),
        at: Time(0),
        remote_addr: Ipv6Addr::UNSPECIFIED,
        local_addr: NONE,
        netns: NONE,
        own: NONE,
        name: NONE,
        inode: 0,
        pid: 0,
        fd: NONE,
        quiet_ms: 0,
        silent_ms: 0,
        received_ms: 0,
        repeating_or_spoke_ms: NONE,
        timer_ms: NONE,
        segs_in: 0,
        segs_out: 0,
        watched_ms: 0,
        longest_quiet_ms: 0,
        local_port: 0,
        remote_port: 0,
        flags: 0,
        walk: 0,
        whose: OwnerNumber::NOBODY,
        round_trip_ms: 0,
        probes_unanswered: 0,
        retransmits: 0,
        peer_probes: 0,
        n_queued_or_listeners: 0,
    };

    /// Packs `slot` in place of `self`.
    pub(super) fn replaced(&self, slot: &Slot, stocks: &mut Stocks) -> Self {
        let Slot { socket, walk, whose } = *slot;
        let Socket { owner, watched, .. } = socket;
        let comm = owner.map(|owner| owner.comm).unwrap_or_default();
        let netns = Netns { number: socket.netns, settings: socket.ambient };
        let Socket { rto_max_ms, syn_retries, .. } = socket;
        let own = Own { settings: socket.own, rto_max_ms, syn_retries };
        let repeating_ms = socket.retransmitting_ms;
        stocks.set_peer_closed(&socket);
        let flag = |is: bool, bit: u16| if is { bit } else { 0 };
        Self {
            id: socket.id,
            address: socket.address,
            at: socket.at,
            remote_addr: socket.remote.addr,
            local_addr: stocks.addrs.exchange(self.local_addr, LocalAddr(socket.local.addr)),
            netns: stocks.netns.exchange(self.netns, netns),
            own: stocks.own.exchange(self.own, own),
            name: stocks.names.exchange(self.name, comm),
            inode: socket.inode,
            pid: owner.map_or(0, |owner| owner.pid),
            fd: owner.and_then(|owner| owner.fd).unwrap_or(NONE),
            quiet_ms: socket.quiet_ms,
            silent_ms: socket.silent_ms,
            received_ms: socket.received_ms,
            repeating_or_spoke_ms: repeating_ms.or(socket.spoke_last_ms).unwrap_or(NONE),
            timer_ms: socket.timer_ms.unwrap_or(NONE),
            segs_in: socket.segs_in,
            segs_out: socket.segs_out,
            watched_ms: watched.ms,
            longest_quiet_ms: watched.longest_quiet_ms,
            local_port: socket.local.port,
            remote_port: socket.remote.port,
            flags: u16::from(socket.state.number())
                | flag(socket.keepalive, KEEPALIVE)
                | flag(socket.in_flight, IN_FLIGHT)
                | flag(socket.direction == Direction::Inbound, INBOUND)
                | flag(socket.direction_from == DirectionFrom::Inferred, INFERRED)
                | flag(owner.is_some(), OWNED)
                | flag(socket.shared, SHARED)
                | flag(socket.window_closed, WINDOW_CLOSED)
                | flag(repeating_ms.is_some(), REPEATING)
                | flag(socket.is_orphan, ORPHAN)
                | flag(socket.is_unaccepted, UNACCEPTED)
                | flag(socket.kind == SocketKind::Mptcp, MPTCP)
                | flag(socket.kind == SocketKind::Kernel, KERNEL),
            walk,
            whose,
            round_trip_ms: socket.round_trip_ms,
            probes_unanswered: socket.probes_unanswered,
            retransmits: socket.retransmits,
            peer_probes: watched.peer_probes.min(!COULD_NOT_SEND)
                | if socket.could_not_send { COULD_NOT_SEND } else { 0 },
            n_queued_or_listeners: match socket.state {
                State::Listen => socket.n_queued,
                _ => socket.n_listeners,
            },
        }
    }

    /// Gives back what it has in common with others.
    pub(super) fn emptied(&self, stocks: &mut Stocks) -> Self {
        stocks.addrs.give_back(self.local_addr);
        stocks.netns.give_back(self.netns);
        stocks.own.give_back(self.own);
        stocks.names.give_back(self.name);
        stocks.forget_peer_closed(self.id);
        Self::EMPTY
    }

    /// The slot as it was packed, unless it is empty.
    pub(super) fn unpacked(&self, stocks: &Stocks) -> Option<Slot> {
        let state = State::from_kernel(u8::try_from(self.flags & STATE).ok()?)?;
        let is = |bit: u16| self.flags & bit != 0;
        let some = |value: u32| (value != NONE).then_some(value);
        let owner = Owner { pid: self.pid, fd: some(self.fd), comm: stocks.names.get(self.name) };
        let LocalAddr(local_addr) = stocks.addrs.get(self.local_addr);
        let Netns { number: netns, settings: ambient } = stocks.netns.get(self.netns);
        let Own { settings: own, rto_max_ms, syn_retries } = stocks.own.get(self.own);
        let socket = Socket {
            id: self.id,
            address: self.address,
            at: self.at,
            local: Endpoint { addr: local_addr, port: self.local_port },
            remote: Endpoint { addr: self.remote_addr, port: self.remote_port },
            netns,
            inode: self.inode,
            own,
            ambient,
            rto_max_ms,
            syn_retries,
            keepalive: is(KEEPALIVE),
            state,
            in_flight: is(IN_FLIGHT),
            retransmits: self.retransmits,
            retransmitting_ms: some(self.repeating_or_spoke_ms).filter(|_| is(REPEATING)),
            could_not_send: self.peer_probes & COULD_NOT_SEND != 0,
            window_closed: is(WINDOW_CLOSED),
            is_orphan: is(ORPHAN),
            is_unaccepted: is(UNACCEPTED),
            n_queued: if state == State::Listen { self.n_queued_or_listeners } else { 0 },
            n_listeners: if state == State::Listen { 0 } else { self.n_queued_or_listeners },
            kind: match () {
                () if is(MPTCP) => SocketKind::Mptcp,
                () if is(KERNEL) => SocketKind::Kernel,
                () => SocketKind::Program,
            },
            probes_unanswered: self.probes_unanswered,
            round_trip_ms: self.round_trip_ms,
            direction: if is(INBOUND) { Direction::Inbound } else { Direction::Outbound },
            direction_from: if is(INFERRED) {
                DirectionFrom::Inferred
            } else {
                DirectionFrom::Seen
            },
            owner: is(OWNED).then_some(owner),
            shared: is(SHARED),
            quiet_ms: self.quiet_ms,
            silent_ms: self.silent_ms,
            spoke_last_ms: some(self.repeating_or_spoke_ms).filter(|_| !is(REPEATING)),
            peer_closed: (state == State::CloseWait)
                .then(|| stocks.peer_closed(self.id, self.at))
                .flatten(),
            received_ms: self.received_ms,
            segs_in: self.segs_in,
            segs_out: self.segs_out,
            watched: Watched {
                ms: self.watched_ms,
                age_ms: 0,
                longest_quiet_ms: self.longest_quiet_ms,
                peer_probes: self.peer_probes & !COULD_NOT_SEND,
            },
            timer_ms: some(self.timer_ms),
        };
        Some(Slot { socket, walk: self.walk, whose: self.whose })
    }

    /// Of an occupied slot.
    pub(super) const fn id(&self) -> SocketId {
        self.id
    }

    /// The address of its peer, unless it is empty.
    pub(super) const fn peer(&self) -> Option<&Ipv6Addr> {
        if self.flags & STATE == 0 { None } else { Some(&self.remote_addr) }
    }

    /// Whether it is occupied, and the walk that met it last another one.
    pub(super) const fn is_unmet(&self, walk: u16) -> bool {
        self.flags & STATE != 0 && self.walk != walk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::socket::tests_support::socket;

    #[test]
    fn a_million_slots_fit_the_memory_budget() {
        assert!(size_of::<Packed>() <= 120, "{} bytes a slot", size_of::<Packed>());
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let mut stocks = Stocks::default();
        let owner = Owner { pid: 812, fd: Some(0), comm: Comm::new(*b"a name of 16 by\xff") };
        let netns = NetnsSettings {
            idle_seconds: 600,
            interval_seconds: 1,
            count: 255,
            retries2: 5,
            orphan_retries: 255,
            syn_linear_timeouts: 1,
        };
        let bare = socket();
        // All fields stand here, so that the compiler asks for a new one.
        let full = Socket {
            id: SocketId(u64::MAX),
            address: SocketAddress(u64::MAX),
            at: Time(u64::MAX),
            local: Endpoint { addr: "fe80::1".parse().unwrap(), port: 65_535 },
            remote: Endpoint { addr: "2001:db8::1".parse().unwrap(), port: 1 },
            netns: 3,
            inode: 4,
            own: OwnSettings {
                idle_seconds: 32_767,
                interval_seconds: 32_767,
                user_timeout_ms: u32::MAX,
                count: 127,
            },
            ambient: netns,
            rto_max_ms: 1000,
            syn_retries: 255,
            keepalive: true,
            state: State::Closing,
            in_flight: true,
            retransmits: 255,
            retransmitting_ms: Some(0),
            could_not_send: true,
            window_closed: true,
            is_orphan: true,
            is_unaccepted: true,
            n_queued: 0,
            n_listeners: 255,
            kind: SocketKind::Kernel,
            probes_unanswered: 255,
            round_trip_ms: u16::MAX,
            direction: Direction::Inbound,
            direction_from: DirectionFrom::Seen,
            owner: Some(owner),
            shared: true,
            quiet_ms: 1,
            silent_ms: 2,
            spoke_last_ms: None,
            peer_closed: None,
            received_ms: 3,
            segs_in: u32::MAX,
            segs_out: 4,
            watched: Watched { ms: 5, age_ms: 0, longest_quiet_ms: 6, peer_probes: 127 },
            timer_ms: Some(0),
        };
        let without_descriptor = Socket { owner: Some(Owner { fd: None, ..owner }), ..bare };
        let mut place = Packed::EMPTY;
        let mptcp = Socket { kind: SocketKind::Mptcp, ..bare };
        let closed = Socket {
            state: State::CloseWait,
            peer_closed: Some(PeerClosed { ms: 61_000, is_seen: true }),
            spoke_last_ms: Some(0),
            ..bare
        };
        let listener = Socket { state: State::Listen, n_queued: 7, ..bare };
        for socket in [bare, full, without_descriptor, mptcp, closed, listener] {
            let slot = Slot { socket, walk: 7, whose: OwnerNumber::NOBODY };
            place = place.replaced(&slot, &mut stocks);
            assert_eq!(place.unpacked(&stocks), Some(slot));
        }
        place = place.emptied(&mut stocks);
        assert_eq!(place.unpacked(&stocks), None);
        assert_eq!((stocks.names.len().0, stocks.netns.len().0), (0, 0));
        assert_eq!((stocks.addrs.len().0, stocks.own.len().0), (0, 0));
        assert!(stocks.closed.is_empty());
    }
}
