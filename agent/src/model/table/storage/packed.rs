//! A slot in as few bytes as it takes: of a million sockets each byte is a megabyte.

use super::{
    Slot,
    rare_values::{Rare, RareValues},
    shared_values::Stock,
};
use crate::model::{
    observed::{
        setting::{NetnsSettings, OwnSettings},
        socket::{
            Comm, Direction, DirectionFrom, Endpoint, Owner, Socket, SocketAddress, SocketId,
            SocketKind, State, Time,
        },
        watched::Watched,
    },
    table::owner_ids::OwnerNumber,
};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Stands for none, of descriptors and times.
const NONE: u32 = u32::MAX;
/// The state is in the lowest bits of the flags; 0 is an empty slot.
const STATE: u16 = 0xf;
const KEEPALIVE: u16 = 1 << 4;
const IN_FLIGHT: u16 = 1 << 5;
const INBOUND: u16 = 1 << 6;
const INFERRED: u16 = 1 << 7;
const SHARED: u16 = 1 << 8;
const ORPHAN: u16 = 1 << 9;
const UNACCEPTED: u16 = 1 << 10;
const WINDOW_CLOSED: u16 = 1 << 11;
/// [`Packed::peer`] is the number of rare values, not an IPv4 address.
const RARE: u16 = 1 << 12;
/// Looks that showed a probe of the peer, up to three, in the two bits from here on.
const PEER_PROBES: u32 = 13;
const QUIET_AT_MOST: u16 = 1 << 15;

/// Nanoseconds: in this unit 56 bits last for nine years, and no two samples of a socket are as close.
const AT_UNIT: u64 = 4;

/// What slots have beside themselves.
#[derive(Debug, Default)]
pub(super) struct Stocks {
    common: Stock<Common>,
    rare: RareValues,
}

/// What most sockets of one process have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Common {
    process: Option<(u32, Comm)>,
    whose: OwnerNumber,
    kind: SocketKind,
    netns: u32,
    ambient: NetnsSettings,
    own: OwnSettings,
    rto_max_ms: u32,
    syn_retries: u8,
    local_addr: Ipv6Addr,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            process: None,
            whose: OwnerNumber::NOBODY,
            kind: SocketKind::default(),
            netns: 0,
            ambient: NetnsSettings::default(),
            own: OwnSettings::default(),
            rto_max_ms: 0,
            syn_retries: 0,
            local_addr: Ipv6Addr::UNSPECIFIED,
        }
    }
}

/// A slot, or an empty one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    id: SocketId,
    address: SocketAddress,
    /// Number of what it has in common with others.
    common: u32,
    /// The peer's IPv4 address; with [`RARE`] a number.
    peer: u32,
    inode: u32,
    fd: u32,
    quiet_ms: u32,
    silent_ms: u32,
    received_ms: u32,
    spoke_last_ms: u32,
    timer_ms: u32,
    segs_in: u32,
    segs_out: u32,
    watched_ms: u32,
    longest_quiet_ms: u32,
    longest_silence_seconds: u16,
    local_port: u16,
    remote_port: u16,
    flags: u16,
    round_trip_ms: u16,
    probes_unanswered: u8,
    retransmits: u8,
    /// When it was sampled, in [`AT_UNIT`], and in the lowest byte the walk that met it last.
    at_and_walk: u64,
}

impl Packed {
    pub(super) const EMPTY: Self = Self {
        id: SocketId(0),
        address: SocketAddress(0),
        common: NONE,
        peer: 0,
        inode: 0,
        fd: NONE,
        quiet_ms: 0,
        silent_ms: 0,
        received_ms: 0,
        spoke_last_ms: NONE,
        timer_ms: NONE,
        segs_in: 0,
        segs_out: 0,
        watched_ms: 0,
        longest_quiet_ms: 0,
        longest_silence_seconds: 0,
        local_port: 0,
        remote_port: 0,
        flags: 0,
        round_trip_ms: 0,
        probes_unanswered: 0,
        retransmits: 0,
        at_and_walk: 0,
    };

    /// Packs `slot` in place of `self`.
    pub(super) fn replaced(&self, slot: &Slot, stocks: &mut Stocks) -> Self {
        let Slot { socket, walk, whose } = *slot;
        let Socket { owner, watched, .. } = socket;
        let common = Common {
            process: owner.map(|owner| (owner.pid, owner.comm)),
            whose,
            kind: socket.kind,
            netns: socket.netns,
            ambient: socket.ambient,
            own: socket.own,
            rto_max_ms: socket.rto_max_ms,
            syn_retries: socket.syn_retries,
            local_addr: socket.local.addr,
        };
        let (peer, is_rare) = self.peer_of(&socket, &mut stocks.rare);
        let flag = |is: bool, bit: u16| if is { bit } else { 0 };
        Self {
            id: socket.id,
            address: socket.address,
            common: stocks.common.exchange(self.common, common),
            peer,
            inode: socket.inode,
            fd: owner.and_then(|owner| owner.fd).unwrap_or(NONE),
            quiet_ms: socket.quiet_ms,
            silent_ms: socket.silent_ms,
            received_ms: socket.received_ms,
            spoke_last_ms: socket.spoke_last_ms.unwrap_or(NONE),
            timer_ms: socket.timer_ms.unwrap_or(NONE),
            segs_in: socket.segs_in,
            segs_out: socket.segs_out,
            watched_ms: watched.ms,
            longest_quiet_ms: watched.longest_quiet_ms,
            longest_silence_seconds: u16::try_from(watched.longest_silence_ms.div_ceil(1000))
                .unwrap_or(u16::MAX),
            local_port: socket.local.port,
            remote_port: socket.remote.port,
            flags: u16::from(socket.state.number())
                | flag(socket.keepalive, KEEPALIVE)
                | flag(socket.in_flight, IN_FLIGHT)
                | flag(socket.direction == Direction::Inbound, INBOUND)
                | flag(socket.direction_from == DirectionFrom::Inferred, INFERRED)
                | flag(socket.shared, SHARED)
                | flag(socket.window_closed, WINDOW_CLOSED)
                | flag(socket.is_orphan, ORPHAN)
                | flag(socket.is_unaccepted, UNACCEPTED)
                | flag(is_rare, RARE)
                | flag(socket.quiet_at_most, QUIET_AT_MOST)
                | u16::from(watched.peer_probes.min(3)) << PEER_PROBES,
            round_trip_ms: socket.round_trip_ms,
            probes_unanswered: socket.probes_unanswered,
            retransmits: socket.retransmits,
            // Up: a sample is never newer than it was when it was packed.
            at_and_walk: socket.at.0.div_ceil(AT_UNIT) << 8 | u64::from(walk),
        }
    }

    /// The peer's address, or the number of the values that are rare, and which of the two.
    fn peer_of(&self, socket: &Socket, stock: &mut RareValues) -> (u32, bool) {
        let before = (self.flags & RARE != 0).then_some(self.peer);
        let rare = Rare::of(socket);
        match rare.remote.to_ipv4_mapped() {
            Some(v4) if rare == Rare::of_peer(rare.remote) => {
                if let Some(number) = before {
                    stock.give_back(number);
                }
                (v4.to_bits(), false)
            }
            _ => (stock.put(before, rare), true),
        }
    }

    /// Gives back what it has beside itself.
    pub(super) fn emptied(&self, stocks: &mut Stocks) -> Self {
        stocks.common.give_back(self.common);
        if self.flags & RARE != 0 {
            stocks.rare.give_back(self.peer);
        }
        Self::EMPTY
    }

    /// The slot as it was packed, unless it is empty.
    pub(super) fn unpacked(&self, stocks: &Stocks) -> Option<Slot> {
        let state = State::from_kernel(u8::try_from(self.flags & STATE).ok()?)?;
        let is = |bit: u16| self.flags & bit != 0;
        let some = |value: u32| (value != NONE).then_some(value);
        let Common {
            process,
            whose,
            kind,
            netns,
            ambient,
            own,
            rto_max_ms,
            syn_retries,
            local_addr,
        } = stocks.common.get(self.common);
        let rare = self.rare(stocks);
        let [walk, ..] = self.at_and_walk.to_le_bytes();
        let socket = Socket {
            id: self.id,
            address: self.address,
            at: Time((self.at_and_walk >> 8) * AT_UNIT),
            local: Endpoint { addr: local_addr, port: self.local_port },
            remote: Endpoint { addr: rare.remote, port: self.remote_port },
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
            retransmitting_ms: rare.retransmitting_ms,
            could_not_send: rare.could_not_send,
            fin_only: rare.fin_only,
            unread_ms: rare.unread_ms,
            soft_errno: rare.soft_errno,
            window_closed: is(WINDOW_CLOSED),
            is_orphan: is(ORPHAN),
            is_unaccepted: is(UNACCEPTED),
            n_queued: rare.n_queued,
            n_listeners: rare.n_listeners,
            kind,
            probes_unanswered: self.probes_unanswered,
            round_trip_ms: self.round_trip_ms,
            direction: if is(INBOUND) { Direction::Inbound } else { Direction::Outbound },
            direction_from: if is(INFERRED) {
                DirectionFrom::Inferred
            } else {
                DirectionFrom::Seen
            },
            owner: process.map(|(pid, comm)| Owner { pid, fd: some(self.fd), comm }),
            shared: is(SHARED),
            quiet_ms: self.quiet_ms,
            silent_ms: self.silent_ms,
            spoke_last_ms: some(self.spoke_last_ms),
            peer_closed: rare.peer_closed,
            received_ms: self.received_ms,
            quiet_at_most: is(QUIET_AT_MOST),
            segs_in: self.segs_in,
            segs_out: self.segs_out,
            watched: Watched {
                ms: self.watched_ms,
                age_ms: 0,
                longest_quiet_ms: self.longest_quiet_ms,
                longest_silence_ms: u32::from(self.longest_silence_seconds) * 1000,
                peer_probes: u8::try_from(self.flags >> PEER_PROBES & 3).unwrap_or_default(),
            },
            timer_ms: some(self.timer_ms),
        };
        Some(Slot { socket, walk, whose })
    }

    fn rare(&self, stocks: &Stocks) -> Rare {
        if self.flags & RARE == 0 {
            let remote = Ipv4Addr::from_bits(self.peer).to_ipv6_mapped();
            return Rare::of_peer(remote);
        }
        stocks.rare.get(self.peer)
    }

    /// Of an occupied slot.
    pub(super) const fn id(&self) -> SocketId {
        self.id
    }

    /// The address of its peer, unless it is empty.
    pub(super) fn peer(&self, stocks: &Stocks) -> Option<Ipv6Addr> {
        (self.flags & STATE != 0).then(|| self.rare(stocks).remote)
    }

    /// Whether it is occupied, and the walk that met it last another one.
    pub(super) const fn is_unmet(&self, walk: u8) -> bool {
        self.flags & STATE != 0 && self.at_and_walk.to_le_bytes()[0] != walk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::{peer_closed::PeerClosed, socket::tests_support::socket};

    #[test]
    fn a_million_slots_fit_the_memory_budget() {
        assert!(size_of::<Packed>() <= 88, "{} bytes a slot", size_of::<Packed>());
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
            is_known: true,
        };
        let bare = socket();
        // All fields stand here, so that the compiler asks for a new one.
        let full = Socket {
            id: SocketId(u64::MAX),
            address: SocketAddress(u64::MAX),
            at: Time((u64::MAX >> 8) * AT_UNIT),
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
            unread_ms: Some(57_000),
            could_not_send: true,
            fin_only: true,
            soft_errno: 113,
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
            spoke_last_ms: Some(0),
            peer_closed: None,
            received_ms: 3,
            quiet_at_most: true,
            segs_in: u32::MAX,
            segs_out: 4,
            watched: Watched {
                ms: 5,
                age_ms: 0,
                longest_quiet_ms: 6,
                longest_silence_ms: 7_000,
                peer_probes: 3,
            },
            timer_ms: Some(0),
        };
        let without_descriptor = Socket { owner: Some(Owner { fd: None, ..owner }), ..bare };
        let mut place = Packed::EMPTY;
        let mptcp = Socket { kind: SocketKind::Mptcp, ..bare };
        let closed = Socket {
            state: State::CloseWait,
            peer_closed: Some(PeerClosed { ms: 61_000, is_seen: true }),
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
        assert_eq!((stocks.common.len().0, stocks.rare.len().0), (0, 0));
    }
}
