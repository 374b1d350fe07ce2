//! A TCP socket as it was at one moment.

pub use super::socket_id::{SocketAddress, SocketId};
use super::{
    errno::errno_name,
    peer_closed::PeerClosed,
    setting::{NetnsSettings, OwnSettings},
    watched::Watched,
};
use crate::model::text::{closed_set::closed_set, sanitize};
use std::{fmt, net::Ipv6Addr, net::SocketAddr};

/// Nanoseconds of `CLOCK_MONOTONIC`: the one time line of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// Milliseconds from `earlier` to this time; 0 if it is not earlier.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }

    /// The time `ms` before.
    #[must_use]
    pub const fn ms_before(self, ms: u32) -> Self {
        Self(self.0.saturating_sub(ms as u64 * 1_000_000))
    }

    /// The time `ms` after.
    #[must_use]
    pub const fn ms_after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// Seconds of `CLOCK_MONOTONIC`.
    pub const fn seconds(self) -> f64 {
        std::time::Duration::from_nanos(self.0).as_secs_f64()
    }
}

closed_set! {
    /// What made a socket, and so which calls can have changed its settings.
    #[derive(Default)]
    pub enum SocketKind {
        /// A program, by socket(2) or by accepting a connection.
        #[default]
        Program = "program",
        /// MPTCP, for a part of a program's connection: the program sets options on the whole.
        Mptcp = "mptcp",
        /// The kernel, for a service of its own, as NFS: no program can set an option on it.
        Kernel = "kernel",
    }
}

closed_set! {
    /// TCP states, in the order of the kernel's numbers (`include/net/tcp_states.h`).
    #[expect(missing_docs, reason = "RFC 9293 names them")]
    pub enum State {
        Established = "established",
        SynSent = "syn_sent",
        SynRecv = "syn_recv",
        FinWait1 = "fin_wait1",
        FinWait2 = "fin_wait2",
        TimeWait = "time_wait",
        Close = "close",
        CloseWait = "close_wait",
        LastAck = "last_ack",
        Listen = "listen",
        Closing = "closing",
    }
}

impl State {
    /// The kernel's number of it.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The state with the kernel's number.
    pub fn from_kernel(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Whether both ends have agreed to it, and neither is done with it.
    pub const fn is_synchronized(self) -> bool {
        matches!(self, Self::Established | Self::CloseWait | Self::FinWait1 | Self::FinWait2)
    }

    /// Whether this host closes it by this change: its FIN is the next thing that it sends.
    pub const fn is_closed_from(self, old: Self) -> bool {
        matches!(
            (old, self),
            (Self::Established, Self::FinWait1) | (Self::CloseWait, Self::LastAck)
        )
    }

    /// Whether the peer's FIN came before ours was sent.
    pub const fn is_closed_by_peer(self) -> bool {
        matches!(self, Self::CloseWait | Self::LastAck)
    }

    /// Whether one of the ends has closed it, so that the kernel will end it without the program.
    pub const fn is_closing(self) -> bool {
        matches!(
            self,
            Self::FinWait1 | Self::FinWait2 | Self::TimeWait | Self::LastAck | Self::Closing
        )
    }
}

closed_set! {
    /// Who sent the SYN.
    pub enum Direction {
        /// This host sent the SYN.
        Outbound = "outbound",
        /// The peer sent the SYN.
        Inbound = "inbound",
    }
}

impl Direction {
    /// The arrow between our end and the peer.
    pub const fn arrow(self) -> &'static str {
        match self {
            Self::Outbound => "->",
            Self::Inbound => "<-",
        }
    }
}

closed_set! {
    /// How the direction is known.
    pub enum DirectionFrom {
        /// The agent saw the connection open.
        Seen = "seen",
        /// It is older than the agent: a socket that came out of a listener keeps the listener's
        /// backlog (`sk_max_ack_backlog` in `sk_clone`), one that connected has none.
        Inferred = "inferred",
    }
}

/// An address and a port. IPv4 is held as IPv4-mapped IPv6: so a v4-mapped socket is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The IPv6 or IPv4-mapped address.
    pub addr: Ipv6Addr,
    /// The port; 0 if there is none.
    pub port: u16,
}

impl Endpoint {
    /// The address and port in their own family.
    pub const fn socket_addr(self) -> SocketAddr {
        SocketAddr::new(self.addr.to_canonical(), self.port)
    }

    /// Whether the address is an IPv4 one.
    pub const fn is_ipv4(self) -> bool {
        self.addr.to_ipv4_mapped().is_some()
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        let addr = match address {
            SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped(),
            SocketAddr::V6(v6) => *v6.ip(),
        };
        Self { addr, port: address.port() }
    }
}

/// The name of a process: the kernel's 16 bytes, cut anywhere, made of any byte.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Comm([u8; 16]);

impl Comm {
    /// What the kernel keeps of a name: 15 bytes, even if they end within a character.
    pub fn kept(name: &str) -> &[u8] {
        let name = name.as_bytes();
        name.get(..15).unwrap_or(name)
    }

    /// The name in these bytes: what stands before the first NUL.
    pub fn new(mut bytes: [u8; 16]) -> Self {
        let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        bytes.iter_mut().skip(len).for_each(|byte| *byte = 0);
        Self(bytes)
    }

    /// The kernel's 16 bytes.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The bytes before the first NUL.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// The name as text in which nothing can break a terminal, a log or a label. Each name has another text.
    pub fn escaped(&self) -> String {
        sanitize::distinct(self.as_bytes())
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.escaped())
    }
}

/// A process that has a descriptor of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Descriptor; unknown when only the call to `connect` was seen.
    pub fd: Option<u32>,
    /// The name of the process, up to 15 bytes.
    pub comm: Comm,
}

impl Owner {
    /// Stands for the kernel: no process has this id.
    pub const KERNEL: u32 = 0;

    /// Whether the process has this name. The kernel cuts names to 15 bytes; the whole name matches the cut one.
    pub fn is_named(&self, name: &str) -> bool {
        self.comm.as_bytes() == Comm::kept(name) || self.comm.escaped() == name
    }
}

/// A TCP socket, sampled. Times that the kernel keeps in ticks are ages at [`Socket::at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Socket {
    /// The socket cookie: unique while the kernel runs.
    pub id: SocketId,
    /// Where the kernel keeps it.
    pub address: SocketAddress,
    /// When it was sampled.
    pub at: Time,
    /// Address and port of our end.
    pub local: Endpoint,
    /// Address and port of the peer; the port is 0 without one.
    pub remote: Endpoint,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Inode number of its file, where it was at hand; else 0. `ss -e` shows it as `ino:`.
    pub inode: u32,
    /// What was set on the socket itself.
    pub own: OwnSettings,
    /// What its network namespace says.
    pub ambient: NetnsSettings,
    /// The longest time between two repetitions, milliseconds: TCP_RTO_MAX_MS of the socket, else `tcp_rto_max_ms`
    /// as it was when the socket was made (`tcp_init_sock` in net/ipv4/tcp.c).
    pub rto_max_ms: u32,
    /// Repetitions of a SYN, each after twice the time of the one before: TCP_SYNCNT, else `tcp_syn_retries`.
    pub syn_retries: u8,
    /// Whether SO_KEEPALIVE is on.
    pub keepalive: bool,
    /// The TCP state when it was sampled.
    pub state: State,
    /// Whether sent data is not acknowledged, or written data not sent: keepalive waits meanwhile.
    pub in_flight: bool,
    /// What is not acknowledged is this host's FIN alone: the peer has all that was written.
    pub fin_only: bool,
    /// Repetitions of what is not acknowledged, in a row.
    pub retransmits: u8,
    /// Time since the first of them; where nothing is in flight, since the first try to send what waits.
    pub retransmitting_ms: Option<u32>,
    /// What was repeated or probed with last did not leave this host: no route, an interface that is down, or its firewall.
    pub could_not_send: bool,
    /// `sk_err_soft`: what ICMP, or this host's routing, said to what was sent since the peer acknowledged data last; 0: nothing.
    pub soft_errno: u16,
    /// Nothing is in flight, and the peer has no room for what waits: its program does not read enough.
    pub window_closed: bool,
    /// Since data of the peer came last, if its program has not read all of it.
    pub unread_ms: Option<u32>,
    /// No process has it open any more: the kernel closes it.
    pub is_orphan: bool,
    /// It waits in an accept queue: no process has it yet.
    pub is_unaccepted: bool,
    /// Of a listener: connections in its accept queue.
    pub n_queued: u8,
    /// In the accept queue of one of this number of listening sockets; 0 if it waits in none, or no listener is known.
    pub n_listeners: u8,
    /// What made it.
    pub kind: SocketKind,
    /// Probes sent since the last answer, as the kernel counts them: the last one may be on its way. See
    /// [`Socket::probes_missed`].
    pub probes_unanswered: u8,
    /// The smoothed round trip time, milliseconds; 0 if none was measured.
    pub round_trip_ms: u16,
    /// Who sent the SYN, as far as the sample itself can tell.
    pub direction: Direction,
    /// How that is known.
    pub direction_from: DirectionFrom,
    /// A process that has a descriptor of it; none for one seen in a packet's context.
    pub owner: Option<Owner>,
    /// There may be further owners.
    pub shared: bool,
    /// Age of the last packet on the path, either way, that did not just repeat our data or our probe: a middlebox's clock.
    pub quiet_ms: u32,
    /// Age of the last packet from the peer, its probes included.
    pub silent_ms: u32,
    /// Age of the last data that this host sent, if the peer has sent none since. None while something is repeated, and where
    /// the kernel's ticks do not tell which came last.
    pub spoke_last_ms: Option<u32>,
    /// The peer has closed its half, and the program has not closed ours.
    pub peer_closed: Option<PeerClosed>,
    /// Age of the last data or ACK received: the keepalive timer's clock, which probes of the peer do not touch.
    pub received_ms: u32,
    /// It may have been quiet and silent for less: probes of the peer leave no trace in what was read.
    pub quiet_at_most: bool,
    /// Segments received over its life, modulo 2^32: every packet of the peer counts, also one that leaves no stamp.
    pub segs_in: u32,
    /// Segments sent over its life, modulo 2^32.
    pub segs_out: u32,
    /// What looks at it before this one have shown.
    pub watched: Watched,
    /// How long until the keepalive timer fires, if it is armed.
    pub timer_ms: Option<u32>,
}

impl Socket {
    /// Whether the peer has had no room for what was written for some time: a program that reads slowly closes its window
    /// for moments.
    pub fn has_closed_window(&self) -> bool {
        const SOME_TIME_MS: u32 = 5000;
        self.window_closed && self.retransmitting_ms.is_some_and(|ms| ms >= SOME_TIME_MS)
    }

    /// What the network said to what is not acknowledged, if anything.
    pub fn network_error(&self) -> Option<String> {
        (self.soft_errno != 0).then(|| errno_name(self.soft_errno))
    }

    /// How long the path has been quiet at `now`, milliseconds, if nothing happened since the sample.
    pub fn quiet_at_ms(&self, now: Time) -> u64 {
        u64::from(self.quiet_ms) + now.ms_since(self.at)
    }

    /// The socket as it is at `now`, if nothing happened to it since the sample.
    #[must_use]
    pub fn aged(&self, now: Time) -> Self {
        let passed_ms = u32::try_from(now.ms_since(self.at)).unwrap_or(u32::MAX);
        let older = |ms: u32| ms.saturating_add(passed_ms);
        Self {
            at: self.at.max(now),
            quiet_ms: older(self.quiet_ms),
            silent_ms: older(self.silent_ms),
            spoke_last_ms: self.spoke_last_ms.map(older),
            peer_closed: self.peer_closed.map(|closed| closed.older(passed_ms)),
            received_ms: older(self.received_ms),
            unread_ms: self.unread_ms.map(older),
            retransmitting_ms: self.retransmitting_ms.map(older),
            timer_ms: self.timer_ms.map(|ms| ms.saturating_sub(passed_ms)),
            watched: Watched { age_ms: older(self.watched.age_ms), ..self.watched },
            ..*self
        }
    }

    /// Whether the peer has not answered data or a probe, and not just because it is on its way or was lost once.
    pub fn owes_an_answer(&self) -> bool {
        const CLEARLY_MS: u64 = 3000;
        let probes_wait = || self.keepalive && self.probing_ms().is_some_and(|ms| ms >= CLEARLY_MS);
        self.retransmits > 1 || self.probes_missed() > 1 || probes_wait()
    }

    /// For how long a connection has waited to be accepted, at least: for as long as it is known, or the peer is silent.
    pub fn unaccepted_ms(&self) -> u32 {
        self.watched.ms.max(self.silent_ms)
    }

    /// Whether it has waited for a second: then the program does not accept it. For less, it is on its way to one that does.
    pub fn is_left_unaccepted(&self) -> bool {
        const WAITS_MS: u32 = 1000;
        self.unaccepted_ms() >= WAITS_MS
    }

    /// Whether it is a connection, live or half closed: not a listener, not an unconnected socket.
    pub const fn is_connection(&self) -> bool {
        self.remote.port != 0 && !matches!(self.state, State::Listen | State::Close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_ss_writes_it() {
        assert_eq!(SocketId(31).to_string(), "sk:1f");
        assert_eq!("sk:1f".parse(), Ok(SocketId(31)));
        assert!("1f".parse::<SocketId>().is_err());
    }

    #[test]
    fn a_v4_mapped_endpoint_is_ipv4() {
        let endpoint = Endpoint { addr: "::ffff:10.0.0.5".parse().unwrap(), port: 80 };
        assert_eq!(endpoint.socket_addr().to_string(), "10.0.0.5:80");
        assert!(endpoint.is_ipv4());
    }
}

/// A socket for tests to change.
#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;
    use crate::model::observed::setting::TCP_RTO_MAX_MS;

    /// An outbound connection with nothing set, quiet for no time.
    pub(crate) fn socket() -> Socket {
        Socket {
            id: SocketId(1),
            address: SocketAddress(7),
            at: Time(1_000_000_000_000),
            local: Endpoint { addr: "::ffff:10.0.0.5".parse().unwrap(), port: 44307 },
            remote: Endpoint { addr: "::ffff:172.16.0.15".parse().unwrap(), port: 2717 },
            netns: 4_026_531_840,
            inode: 0,
            own: OwnSettings::default(),
            ambient: NetnsSettings::default(),
            rto_max_ms: TCP_RTO_MAX_MS,
            syn_retries: 6,
            keepalive: false,
            state: State::Established,
            in_flight: false,
            retransmits: 0,
            retransmitting_ms: None,
            could_not_send: false,
            fin_only: false,
            soft_errno: 0,
            window_closed: false,
            unread_ms: None,
            is_orphan: false,
            is_unaccepted: false,
            n_queued: 0,
            n_listeners: 0,
            kind: SocketKind::Program,
            probes_unanswered: 0,
            round_trip_ms: 0,
            direction: Direction::Outbound,
            direction_from: DirectionFrom::Inferred,
            owner: None,
            shared: false,
            quiet_ms: 0,
            silent_ms: 0,
            spoke_last_ms: None,
            peer_closed: None,
            received_ms: 0,
            quiet_at_most: false,
            segs_in: 0,
            segs_out: 0,
            watched: Watched::default(),
            timer_ms: None,
        }
    }
}
