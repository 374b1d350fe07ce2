//! A slot in as few bytes as it takes: of a million sockets each byte is a megabyte.

use super::{Slot, shared_values::Stock};
use crate::model::{
    observed::{
        setting::{NetnsSettings, OwnSettings},
        socket::{Comm, Direction, DirectionFrom, Endpoint, Owner, Socket, SocketId, State, Time},
    },
    table::owner_ids::OwnerNumber,
};
use std::net::Ipv6Addr;

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

/// What many slots have in common.
#[derive(Debug, Default)]
pub(super) struct Stocks {
    names: Stock<Comm>,
    netns: Stock<NetnsSettings>,
}

/// A slot, or an empty one. What does not fit its field (a kernel refuses to set more than 32,767
/// seconds, `MAX_TCP_KEEPIDLE`) is held as the most that does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    id: SocketId,
    at: Time,
    local_addr: Ipv6Addr,
    remote_addr: Ipv6Addr,
    netns: u32,
    inode: u32,
    user_timeout_ms: u32,
    pid: u32,
    fd: u32,
    name: u32,
    ambient: u32,
    quiet_ms: u32,
    silent_ms: u32,
    timer_ms: u32,
    survived_ms: u32,
    local_port: u16,
    remote_port: u16,
    idle_seconds: u16,
    interval_seconds: u16,
    flags: u16,
    walk: u16,
    whose: OwnerNumber,
    count: u8,
    probes_unanswered: u8,
}

impl Packed {
    pub(super) const EMPTY: Self = Self {
        id: SocketId(0),
        at: Time(0),
        local_addr: Ipv6Addr::UNSPECIFIED,
        remote_addr: Ipv6Addr::UNSPECIFIED,
        netns: 0,
        inode: 0,
        user_timeout_ms: 0,
        pid: 0,
        fd: NONE,
        name: NONE,
        ambient: NONE,
        quiet_ms: 0,
        silent_ms: 0,
        timer_ms: NONE,
        survived_ms: 0,
        local_port: 0,
        remote_port: 0,
        idle_seconds: 0,
        interval_seconds: 0,
        flags: 0,
        walk: 0,
        whose: OwnerNumber::NOBODY,
        count: 0,
        probes_unanswered: 0,
    };

    /// Packs `slot` in place of `self`.
    pub(super) fn replaced(&self, slot: &Slot, stocks: &mut Stocks) -> Self {
        let Slot { socket, walk, survived_ms, whose } = *slot;
        let Socket { owner, own, .. } = socket;
        let comm = owner.map(|owner| owner.comm).unwrap_or_default();
        let flag = |is: bool, bit: u16| if is { bit } else { 0 };
        Self {
            id: socket.id,
            at: socket.at,
            local_addr: socket.local.addr,
            remote_addr: socket.remote.addr,
            netns: socket.netns,
            inode: socket.inode,
            user_timeout_ms: own.user_timeout_ms,
            pid: owner.map_or(0, |owner| owner.pid),
            fd: owner.and_then(|owner| owner.fd).unwrap_or(NONE),
            name: stocks.names.exchange(self.name, comm),
            ambient: stocks.netns.exchange(self.ambient, socket.ambient),
            quiet_ms: socket.quiet_ms,
            silent_ms: socket.silent_ms,
            timer_ms: socket.timer_ms.unwrap_or(NONE),
            survived_ms,
            local_port: socket.local.port,
            remote_port: socket.remote.port,
            idle_seconds: own.idle_seconds.try_into().unwrap_or(u16::MAX),
            interval_seconds: own.interval_seconds.try_into().unwrap_or(u16::MAX),
            flags: u16::from(socket.state.number())
                | flag(socket.keepalive, KEEPALIVE)
                | flag(socket.in_flight, IN_FLIGHT)
                | flag(socket.direction == Direction::Inbound, INBOUND)
                | flag(socket.direction_from == DirectionFrom::Inferred, INFERRED)
                | flag(owner.is_some(), OWNED)
                | flag(socket.shared, SHARED),
            walk,
            whose,
            count: own.count,
            probes_unanswered: socket.probes_unanswered,
        }
    }

    /// Gives back what it has in common with others.
    pub(super) fn emptied(&self, stocks: &mut Stocks) -> Self {
        stocks.names.give_back(self.name);
        stocks.netns.give_back(self.ambient);
        Self::EMPTY
    }

    /// The slot as it was packed, unless it is empty.
    pub(super) fn unpacked(&self, stocks: &Stocks) -> Option<Slot> {
        let state = State::from_kernel(u8::try_from(self.flags & STATE).ok()?)?;
        let is = |bit: u16| self.flags & bit != 0;
        let some = |value: u32| (value != NONE).then_some(value);
        let owner = Owner { pid: self.pid, fd: some(self.fd), comm: stocks.names.get(self.name) };
        let socket = Socket {
            id: self.id,
            at: self.at,
            local: Endpoint { addr: self.local_addr, port: self.local_port },
            remote: Endpoint { addr: self.remote_addr, port: self.remote_port },
            netns: self.netns,
            inode: self.inode,
            own: OwnSettings {
                idle_seconds: self.idle_seconds.into(),
                interval_seconds: self.interval_seconds.into(),
                user_timeout_ms: self.user_timeout_ms,
                count: self.count,
            },
            ambient: stocks.netns.get(self.ambient),
            keepalive: is(KEEPALIVE),
            state,
            in_flight: is(IN_FLIGHT),
            probes_unanswered: self.probes_unanswered,
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
            timer_ms: some(self.timer_ms),
        };
        Some(Slot { socket, walk: self.walk, survived_ms: self.survived_ms, whose: self.whose })
    }

    /// Of an occupied slot.
    pub(super) const fn id(&self) -> SocketId {
        self.id
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
        assert!(size_of::<Packed>() <= 112, "{} bytes a slot", size_of::<Packed>());
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let mut stocks = Stocks::default();
        let owner = Owner { pid: 812, fd: Some(0), comm: Comm::new(*b"a name of 16 by\xff") };
        let netns = NetnsSettings { idle_seconds: 600, interval_seconds: 1, count: 255 };
        let bare = socket();
        // All fields stand here, so that the compiler asks for a new one.
        let full = Socket {
            id: SocketId(u64::MAX),
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
            keepalive: true,
            state: State::Closing,
            in_flight: true,
            probes_unanswered: 255,
            direction: Direction::Inbound,
            direction_from: DirectionFrom::Seen,
            owner: Some(owner),
            shared: true,
            quiet_ms: 1,
            silent_ms: 2,
            timer_ms: Some(0),
        };
        let without_descriptor = Socket { owner: Some(Owner { fd: None, ..owner }), ..bare };
        let mut place = Packed::EMPTY;
        for socket in [bare, full, without_descriptor] {
            let slot = Slot { socket, walk: 7, survived_ms: 9, whose: OwnerNumber::NOBODY };
            place = place.replaced(&slot, &mut stocks);
            assert_eq!(place.unpacked(&stocks), Some(slot));
        }
        place = place.emptied(&mut stocks);
        assert_eq!(place.unpacked(&stocks), None);
        assert_eq!((stocks.names.len().0, stocks.netns.len().0), (0, 0));
    }
}
