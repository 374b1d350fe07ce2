//! What a borrowed socket says of itself, as a record like those of the hooks: from there on both sources are one code.

use super::{
    asked_socket::{self, TcpInfo},
    connection_table::TimerKind,
    descriptors::{HoldingProcess, SocketDescriptor},
    namespaces::{Listed, Namespaces},
};
use crate::{
    kernel::{borrowed_socket::MPTCP, decode::Decoder},
    model::observed::{
        setting::{OwnSettings, TCP_RTO_MAX_MS},
        socket::{Direction, Endpoint, Socket, State, Time},
    },
};
use keepwatch_ebpf::{
    abi::{AF_INET, AF_INET6},
    record::{SocketSample, Tag, flag},
};
use rustix::{
    fd::BorrowedFd,
    io::Errno,
    net::{AddressFamily, getpeername, getsockname, sockopt},
};
use std::net::{IpAddr, SocketAddr};
use zerocopy::FromZeros as _;

/// The time of samples in ticks: any will do, for only differences count.
const NOW_JIFFIES: u64 = 0x1_8000_0000;
const NOW_LOW: u32 = 0x8000_0000;

/// What is known of a socket before it is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    /// The namespaces, with the tables of what is in them.
    pub(super) namespaces: &'a Namespaces,
    /// Its own namespace.
    pub(super) netns: u32,
    /// A process that has it open.
    pub(super) holder: HoldingProcess,
    /// Its descriptor there, and its inode.
    pub(super) descriptor: SocketDescriptor,
    /// Its program uses it as MPTCP.
    pub(super) is_mptcp: bool,
    /// Others have it open, too.
    pub(super) is_shared: bool,
}

/// How its program speaks TCP: as IPPROTO_TCP, or as MPTCP. None if it does not. Of one in a table of TCP the family need
/// not be asked: each question counts a hundred thousand times.
pub(super) fn is_mptcp(socket: BorrowedFd<'_>, is_listed: bool) -> Result<Option<bool>, Errno> {
    const TCP: u32 = 6;
    // The protocols of other families have the same numbers.
    let is_ip = |domain| matches!(domain, AddressFamily::INET | AddressFamily::INET6);
    if !is_listed && !is_ip(sockopt::socket_domain(socket)?) {
        return Ok(None);
    }
    Ok(match sockopt::socket_protocol(socket)?.map(|protocol| protocol.as_raw().get()) {
        Some(TCP) => Some(false),
        Some(MPTCP) => Some(true),
        _ => None,
    })
}

/// What a socket answers.
struct Answers {
    info: TcpInfo,
    cookie: u64,
    family: u16,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    keepalive: bool,
    idle_seconds: u32,
    interval_seconds: u32,
    count: u32,
    /// MPTCP does not say.
    user_timeout_ms: u32,
    syn_retries: Option<u8>,
}

impl Answers {
    /// `listed`: its line in a table, unless it is one of MPTCP. Each question counts a hundred thousand times, so its ends
    /// are asked for only if they may be others by now.
    fn of(socket: BorrowedFd<'_>, listed: Option<&Listed>) -> Result<Self, Errno> {
        let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let info = asked_socket::tcp_info(socket)?;
        let connects = info.state == State::SynSent.number();
        let listens = info.state == State::Listen.number();
        let is_as_listed = |listed: &&Listed| {
            listed.state.number() == info.state && listed.state.is_synchronized()
        };
        let (is_ipv6, local, remote) = if let Some(listed) = listed.filter(is_as_listed) {
            let [local, remote] = [listed.local, listed.remote].map(Endpoint::socket_addr);
            (listed.is_ipv6, Some(local), Some(remote))
        } else {
            let local = getsockname(socket)?;
            // Not connected.
            let remote = (!listens).then(|| getpeername(socket).unwrap_or_default()).flatten();
            let is_ipv6 = local.address_family() != AddressFamily::INET;
            let remote = remote.and_then(|any| SocketAddr::try_from(any).ok());
            (is_ipv6, SocketAddr::try_from(local).ok(), remote)
        };
        Ok(Self {
            info,
            cookie: sockopt::socket_cookie(socket)?,
            family: if is_ipv6 { AF_INET6 } else { AF_INET },
            local,
            remote,
            keepalive: sockopt::socket_keepalive(socket)?,
            idle_seconds: seconds(sockopt::tcp_keepidle(socket)?),
            interval_seconds: seconds(sockopt::tcp_keepintvl(socket)?),
            count: sockopt::tcp_keepcnt(socket)?,
            user_timeout_ms: sockopt::tcp_user_timeout(socket).unwrap_or_default(),
            syn_retries: connects
                .then(|| asked_socket::syn_retries(socket).ok())
                .flatten()
                .and_then(|retries| u8::try_from(retries).ok()),
        })
    }
}

/// Samples a socket at `at`.
pub(super) fn sample(
    socket: BorrowedFd<'_>,
    decoder: Decoder,
    around: &Around<'_>,
    at: Time,
) -> Result<Option<Socket>, Errno> {
    let listed = around.namespaces.listed(around.descriptor.inode).filter(|_| !around.is_mptcp);
    let answers = Answers::of(socket, listed)?;
    let rto_max_ms = asked_socket::rto_max_ms(socket).unwrap_or(TCP_RTO_MAX_MS);
    let record = record(&answers, decoder, around, at, rto_max_ms);
    let Ok(mut sampled) = decoder.socket(&record, Tag::Snapshot) else {
        return Ok(None);
    };
    // What equals the namespace's value is taken to be it: nothing tells them apart.
    let ambient = around.namespaces.settings(around.netns).keepalive;
    let own = |value: u32, of_netns: u32| {
        if ambient.is_known && value == of_netns { 0 } else { value }
    };
    sampled.own = OwnSettings {
        idle_seconds: own(answers.idle_seconds, ambient.idle_seconds),
        interval_seconds: own(answers.interval_seconds, ambient.interval_seconds),
        count: u8::try_from(own(answers.count, ambient.count.into())).unwrap_or(u8::MAX),
        user_timeout_ms: answers.user_timeout_ms,
    };
    sampled.ambient = ambient;
    sampled.rto_max_ms = rto_max_ms;
    sampled.quiet_at_most = may_have_been_probed(&answers.info);
    Ok(Some(sampled))
}

fn record(
    answers: &Answers,
    decoder: Decoder,
    around: &Around<'_>,
    at: Time,
    rto_max_ms: u32,
) -> SocketSample {
    let Around { namespaces, netns, holder, descriptor, .. } = *around;
    let info = &answers.info;
    let state = State::from_kernel(info.state).unwrap_or(State::Close);
    let stamp = |age_ms: u32| match state {
        // Not set yet, or of a connection before.
        State::SynSent | State::SynRecv | State::Listen | State::Close => 0,
        _ => NOW_LOW.wrapping_sub(decoder.ticks(age_ms)),
    };
    let mut record = SocketSample::new_zeroed();
    record.tag = Tag::Snapshot.wire();
    record.cookie = answers.cookie;
    record.now_jiffies = NOW_JIFFIES;
    record.at_ns = at.0;
    record.family = u8::try_from(answers.family).unwrap_or_default();
    (record.local_addr, record.local_port_be) = wire(answers.local, answers.family);
    let connecting_to = || namespaces.connecting_to(descriptor.inode).map(Endpoint::socket_addr);
    let remote = answers.remote.or_else(connecting_to);
    (record.remote_addr, record.remote_port_be) = wire(remote, answers.family);
    record.state = info.state;
    record.netns = netns;
    // The rest of the settings is what decoding would lose in ticks.
    record.own_interval_jiffies = decoder.ticks(answers.interval_seconds.saturating_mul(1000));
    record.netns_syn_retries = namespaces.settings(netns).syn_retries;
    record.own_syn_retries = answers.syn_retries.unwrap_or_default();
    record.probes_out = info.probes;
    record.retransmits = info.retransmits;
    record.acked_jiffies = stamp(info.last_ack_recv_ms);
    record.received_jiffies = stamp(info.last_data_recv_ms);
    record.sent_jiffies = stamp(info.last_data_sent_ms);
    record.segs_in = info.segs_in;
    record.segs_out = info.segs_out;
    record.srtt_eighth_us = info.rtt_us.saturating_mul(8);
    record.inode = descriptor.inode;
    record.pid = holder.pid;
    record.fd = descriptor.fd;
    record.comm = holder.comm.bytes();
    record.flags = flags(answers, around, state);
    let timer = namespaces.listed(descriptor.inode).and_then(|listed| listed.timer);
    let left_ms = timer.and_then(|timer| Some((timer.kind, timer.left_ms(at)?)));
    if let Some((TimerKind::Keepalive, left_ms)) = left_ms {
        record.flags |= flag::TIMER_PENDING;
        record.timer_expires_jiffies = NOW_JIFFIES + u64::from(decoder.ticks(left_ms));
    }
    if state == State::Listen {
        record.tried_jiffies = info.unacked;
        return record;
    }
    record.unacked_bytes = unacked_bytes(info, state);
    record.unsent_bytes = info.notsent_bytes;
    if let Some(ms) = repeating_ms(info, left_ms, rto_max_ms) {
        let first_ms = (at.0 / 1_000_000).saturating_sub(ms) & u64::from(u32::MAX);
        record.retransmitted_ms = u32::try_from(first_ms).unwrap_or_default().max(1);
    }
    if let Some(ms) = window_probing_ms(info, left_ms, rto_max_ms) {
        record.tried_jiffies = stamp(u32::try_from(ms).unwrap_or(u32::MAX));
    }
    record
}

fn flags(answers: &Answers, around: &Around<'_>, state: State) -> u32 {
    let info = &answers.info;
    let port = answers.local.map_or(0, |local| local.port());
    let is_inbound = match state {
        State::Listen => info.sacked > 0,
        State::SynSent | State::Close => false,
        _ => match direction(info, state) {
            Some(direction) => direction == Direction::Inbound,
            None => around.namespaces.listens(around.netns, port),
        },
    };
    let next_bytes = info.notsent_bytes.min(info.snd_mss);
    let is_window_closed = state != State::Listen && info.unacked == 0 && info.snd_wnd < next_bytes;
    [
        (answers.keepalive, flag::KEEPALIVE),
        (around.is_shared, flag::SHARED),
        (is_inbound, flag::BACKLOG),
        (around.is_mptcp, flag::MPTCP),
        (is_window_closed, flag::WINDOW_CLOSED),
        (info.retrans == 0, flag::NONE_REPEATED),
        (info.bytes_sent > 0 && info.bytes_received == 0, flag::NEVER_ANSWERED),
    ]
    .into_iter()
    .filter_map(|(is_so, bit)| is_so.then_some(bit))
    .fold(0, |all, bit| all | bit)
}

/// An address as records have it, of an IPv4 or IPv6 socket.
fn wire(addr: Option<SocketAddr>, family: u16) -> ([u8; 16], u16) {
    let mut bytes = [0; 16];
    let port = addr.map_or(0, |addr| addr.port().to_be());
    match addr.map(|addr| addr.ip()) {
        Some(IpAddr::V6(v6)) if family == AF_INET6 => bytes = v6.octets(),
        Some(IpAddr::V4(v4)) if family == AF_INET6 => bytes = v4.to_ipv6_mapped().octets(),
        Some(addr) => {
            if let IpAddr::V4(v4) = addr.to_canonical() {
                bytes.iter_mut().zip(v4.octets()).for_each(|(to, from)| *to = from);
            }
        }
        None => {}
    }
    (bytes, port)
}

/// Who sent the SYN, by its place in the count of bytes: the SYN of this end was acknowledged like a byte
/// (`tcp_rcv_synsent_state_process` in net/ipv4/tcp_input.c), that of an accepted socket never was
/// (`tcp_create_openreq_child` in net/ipv4/tcp_minisocks.c). None while something is in flight.
fn direction(info: &TcpInfo, state: State) -> Option<Direction> {
    if info.unacked > 0 {
        return None;
    }
    let n_fins = u64::from(state == State::FinWait2);
    let acked = info.bytes_acked.checked_sub(n_fins)?;
    match acked.checked_sub(info.bytes_sent.checked_sub(info.bytes_retrans)?)? {
        0 => Some(Direction::Inbound),
        1 => Some(Direction::Outbound),
        _ => None,
    }
}

/// A number of bytes in flight that is right as far as it counts: none, one (a FIN alone), or more.
const fn unacked_bytes(info: &TcpInfo, state: State) -> u32 {
    let has_sent_fin = matches!(state, State::FinWait1 | State::LastAck | State::Closing);
    let sent = info.bytes_sent.saturating_sub(info.bytes_retrans);
    match info.unacked {
        0 => 0,
        1 if has_sent_fin && sent <= info.bytes_acked => 1,
        n => n.saturating_add(1),
    }
}

/// Whether the peer may have probed it: probes of the peer leave no stamp that TCP_INFO shows. Not if nothing came without
/// data but what opens a connection.
const fn may_have_been_probed(info: &TcpInfo) -> bool {
    info.segs_in.wrapping_sub(info.data_segs_in) > 1
}

/// The wait before the repetition with this number, of a first wait.
fn wait_ms(first_ms: u64, number: u32, rto_max_ms: u32) -> u64 {
    (first_ms << number.min(24)).min(u64::from(rto_max_ms).max(first_ms))
}

/// Milliseconds since the first of the repetitions that go on; of a SYN, since it was sent first, as the kernel counts
/// (`tcp_connect` in net/ipv4/tcp_output.c).
fn repeating_ms(info: &TcpInfo, left_ms: Option<(TimerKind, u32)>, rto_max_ms: u32) -> Option<u64> {
    if info.retransmits == 0 {
        return None;
    }
    let rto_ms = u64::from(info.rto_us) / 1000;
    let first_ms = rto_ms >> info.backoff.min(24);
    let before_ms = if info.state == State::SynSent.number() { first_ms } else { 0 };
    // The clock of the first time that it happened: that is this one.
    if info.total_rto_recoveries == 1 {
        return Some(before_ms + u64::from(info.total_rto_time_ms));
    }
    let last_ms = match left_ms {
        Some((TimerKind::Retransmit, left_ms)) => rto_ms.saturating_sub(left_ms.into()),
        _ => info.last_data_sent_ms.into(),
    };
    // Some waits do not double: those of the first SYNs (`tcp_syn_linear_timeouts`).
    let n_alike = u32::from(info.retransmits.saturating_sub(info.backoff));
    let between = 1..u32::from(info.retransmits);
    let waits = between.map(|number| wait_ms(first_ms, number.saturating_sub(n_alike), rto_max_ms));
    Some(before_ms + waits.sum::<u64>() + last_ms)
}

/// Milliseconds since the first probe of a closed window, if its timer is known.
fn window_probing_ms(
    info: &TcpInfo,
    left_ms: Option<(TimerKind, u32)>,
    rto_max_ms: u32,
) -> Option<u64> {
    /// `TCP_RTO_MIN` (include/net/tcp.h): `tcp_probe0_base` is never less.
    const LEAST_MS: u64 = 200;
    let Some((TimerKind::Window, left_ms)) = left_ms else {
        return None;
    };
    let n_fired = u32::from(info.backoff);
    if info.unacked > 0 || info.notsent_bytes == 0 || n_fired == 0 {
        return None;
    }
    let first_ms = (u64::from(info.rto_us) / 1000).max(LEAST_MS);
    let last_ms = wait_ms(first_ms, n_fired, rto_max_ms).saturating_sub(left_ms.into());
    Some((1..n_fired).map(|number| wait_ms(first_ms, number, rto_max_ms)).sum::<u64>() + last_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> TcpInfo {
        TcpInfo { state: 1, ..TcpInfo::new_zeroed() }
    }

    #[test]
    fn who_sent_the_syn_is_in_the_count_of_bytes() {
        let sent = TcpInfo { bytes_sent: 1200, bytes_retrans: 200, ..info() };
        let of = |bytes_acked, unacked, state| {
            direction(&TcpInfo { unacked, bytes_acked, ..sent }, state)
        };
        assert_eq!(of(1001, 0, State::Established), Some(Direction::Outbound));
        assert_eq!(of(1000, 0, State::Established), Some(Direction::Inbound));
        assert_eq!(of(1001, 0, State::FinWait2), Some(Direction::Inbound), "its FIN");
        assert_eq!(of(901, 1, State::Established), None, "in flight");
        assert_eq!(of(700, 0, State::Established), None, "no count that can be");
    }

    #[test]
    fn a_fin_alone_is_told_from_data_in_flight() {
        let closing = |bytes_acked, unacked| {
            let info = TcpInfo { bytes_sent: 10, bytes_acked, unacked, ..info() };
            unacked_bytes(&info, State::FinWait1)
        };
        assert_eq!((closing(11, 1), closing(10, 1)), (1, 1));
        assert!(closing(4, 1) > 1 && closing(4, 2) > 1);
        assert_eq!(closing(11, 0), 0);
    }

    #[test]
    fn only_what_opened_it_is_known_to_be_no_probe() {
        let came = |segs_in, data_segs_in| {
            may_have_been_probed(&TcpInfo { segs_in, data_segs_in, ..info() })
        };
        assert!(!came(1, 0) && !came(8, 7));
        assert!(came(2, 0) && came(9, 7));
    }

    #[test]
    fn the_time_of_repetitions_is_the_kernels_own_or_the_sum_of_waits() {
        let repeats = TcpInfo {
            retransmits: 4,
            backoff: 4,
            rto_us: 3_200_000,
            last_data_sent_ms: 500,
            ..info()
        };
        // 400 + 800 + 1600 ms lie between the first and the last of four.
        assert_eq!(repeating_ms(&repeats, None, TCP_RTO_MAX_MS), Some(3_300));
        let timer = Some((TimerKind::Retransmit, 3_000));
        assert_eq!(repeating_ms(&repeats, timer, TCP_RTO_MAX_MS), Some(3_000));
        let first = TcpInfo { total_rto_recoveries: 1, total_rto_time_ms: 2_900, ..repeats };
        assert_eq!(repeating_ms(&first, timer, TCP_RTO_MAX_MS), Some(2_900));
        assert_eq!(repeating_ms(&info(), timer, TCP_RTO_MAX_MS), None);
        // A SYN: four waits of a second before one of two, and half a second since.
        let syn = TcpInfo { state: 2, retransmits: 5, backoff: 1, rto_us: 2_000_000, ..info() };
        let timer = Some((TimerKind::Retransmit, 1_500));
        assert_eq!(repeating_ms(&syn, timer, TCP_RTO_MAX_MS), Some(5_500));
    }

    #[test]
    fn a_window_that_is_probed_has_been_closed_since_the_first_probe() {
        let probed = TcpInfo { backoff: 3, rto_us: 200_000, notsent_bytes: 9, ..info() };
        let since =
            |kind, left_ms| window_probing_ms(&probed, Some((kind, left_ms)), TCP_RTO_MAX_MS);
        // 400 and 800 ms to the third, and a quarter of the next wait.
        assert_eq!(since(TimerKind::Window, 1_200), Some(1_600));
        assert_eq!(since(TimerKind::Keepalive, 1_200), None);
        let sends = TcpInfo { unacked: 1, ..probed };
        assert_eq!(
            window_probing_ms(&sends, Some((TimerKind::Window, 1_200)), TCP_RTO_MAX_MS),
            None
        );
    }

    #[test]
    fn an_address_is_that_of_its_family() {
        let addr = Some("10.0.0.5:80".parse().unwrap());
        let (v4, port) = wire(addr, AF_INET);
        assert_eq!((&v4[..4], u16::from_be(port)), (&[10, 0, 0, 5][..], 80));
        let (mapped, _) = wire(addr, AF_INET6);
        assert_eq!(mapped[10..], [0xff, 0xff, 10, 0, 0, 5]);
        assert_eq!(wire(None, AF_INET6), ([0; 16], 0));
    }
}
