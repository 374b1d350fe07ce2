//! The meaning of single fields of a sample.

use crate::model::observed::{
    ending::{Reply, Unacked},
    event::Fire,
    kernel_owner::kernel_owner,
    socket::{Comm, Endpoint, Owner},
};
use keepwatch_ebpf::{
    abi::AF_INET6,
    record::{SocketSample, Tag, TimerOutcome, flag},
};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Milliseconds since the first of the repetitions that go on. `retrans_stamp` counts milliseconds of CLOCK_MONOTONIC in
/// 32 bits (`tcp_time_stamp_ms` in include/net/tcp.h).
pub(super) fn retransmitting_ms(sample: &SocketSample) -> Option<u32> {
    let now_ms = (sample.at_ns / 1_000_000) & u64::from(u32::MAX);
    let now_ms = u32::try_from(now_ms).unwrap_or_default();
    (sample.retransmitted_ms != 0 && sample.retransmits != 0)
        .then(|| now_ms.wrapping_sub(sample.retransmitted_ms))
}

/// Whether the last repetition or probe did not leave this host. Of what the kernel failed to repeat nothing is on its way
/// (`tcp_retransmit_skb` in net/ipv4/tcp_output.c); who found no route has none (`__sk_dst_check`).
pub(super) const fn could_not_send(sample: &SocketSample) -> bool {
    if sample.unacked_bytes > 0 {
        sample.retransmits > 0 && sample.flags & flag::NONE_REPEATED != 0
    } else {
        sample.probes_out > 0 && sample.flags & flag::NO_ROUTE != 0
    }
}

/// The smoothed round trip time in whole milliseconds: at least 1, if one was measured.
pub(super) fn round_trip_ms(sample: &SocketSample) -> u16 {
    u16::try_from(sample.srtt_eighth_us.div_ceil(8 * 1000)).unwrap_or(u16::MAX)
}

/// Whether data that was sent then is the last of both ends. Within one tick nobody can tell, unless none ever came.
pub(super) fn is_last_word(sample: &SocketSample, sent_ms: u32, received_ms: Option<u32>) -> bool {
    reply(sample) != Reply::Data || received_ms.is_none_or(|received_ms| sent_ms < received_ms)
}

/// What a fire of the keepalive timer came to.
pub(super) const fn fire_of(outcome: TimerOutcome) -> Fire {
    match outcome {
        TimerOutcome::Sent => Fire::Sent,
        TimerOutcome::Deferred => Fire::Deferred,
        TimerOutcome::InFlight => Fire::DataInFlight,
        TimerOutcome::NotIdle => Fire::NotIdle,
        TimerOutcome::NotOurs => Fire::NotOurs,
        TimerOutcome::Congested => Fire::Congested,
        TimerOutcome::Death => Fire::Death,
    }
}

/// Repetitions of what is not acknowledged, a tail loss probe included. Beside later ones that counts no more (`tcp_enter_loss` in
/// net/ipv4/tcp_input.c).
pub(super) fn repetitions(sample: &SocketSample) -> u8 {
    match sample.retransmits {
        0 => u8::from(sample.flags & flag::TAIL_REPEATED != 0),
        counted => counted,
    }
}

/// What the peer ever said to data.
pub(super) const fn reply(sample: &SocketSample) -> Reply {
    match sample.flags & (flag::NEVER_ANSWERED | flag::NEVER_ACKNOWLEDGED) {
        flag::NEVER_ANSWERED => Reply::Acknowledged,
        bits if bits & flag::NEVER_ANSWERED != 0 => Reply::Nothing,
        _ => Reply::Data,
    }
}

/// What is not acknowledged, in a state: our FIN may be in FIN_WAIT1, LAST_ACK and CLOSING. It takes one number, and is no data.
pub(super) const fn unacked(sample: &SocketSample, state: u8) -> Unacked {
    match (sample.unacked_bytes, state) {
        (0, _) => Unacked::Nothing,
        (1, 4 | 9 | 11) => Unacked::Fin,
        _ => Unacked::Data,
    }
}

pub(super) fn endpoint(family: u8, addr: [u8; 16], port_be: u16) -> Endpoint {
    let [a, b, c, d, ..] = addr;
    let addr = if u16::from(family) == AF_INET6 {
        Ipv6Addr::from(addr)
    } else {
        Ipv4Addr::new(a, b, c, d).to_ipv6_mapped()
    };
    Endpoint { addr, port: u16::from_be(port_be) }
}

/// The peer. The kernel clears the port of a socket that is not connected any more, not the address.
pub(super) fn peer(family: u8, addr: [u8; 16], port_be: u16) -> Endpoint {
    endpoint(family, if port_be == 0 { [0; 16] } else { addr }, port_be)
}

/// Whose it is, as far as the record says.
pub(super) fn owner(
    sample: &SocketSample,
    tag: Tag,
    local: Endpoint,
    remote: Endpoint,
) -> Option<Owner> {
    let has = |bit| sample.flags & bit != 0;
    match tag {
        Tag::Snapshot | Tag::Call => {
            Some(Owner { pid: sample.pid, fd: Some(sample.fd), comm: Comm::new(sample.comm) })
        }
        _ if has(flag::KERNEL) => Some(kernel_owner(local, remote)),
        _ if has(flag::OWNER_KNOWN) => {
            Some(Owner { pid: sample.pid, fd: None, comm: Comm::new(sample.comm) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros as _;

    #[test]
    fn what_could_not_be_repeated_or_probed_is_told_from_what_nobody_answers() {
        let repeated = |flags| {
            let mut sample = SocketSample::new_zeroed();
            (sample.unacked_bytes, sample.retransmits, sample.flags) = (7, 3, flags);
            could_not_send(&sample)
        };
        // Without a route of its own only a probe is known not to have left.
        assert!(repeated(flag::NONE_REPEATED) && !repeated(flag::NO_ROUTE) && !repeated(0));
        let probed = |probes_out, flags| {
            let mut sample = SocketSample::new_zeroed();
            (sample.probes_out, sample.flags) = (probes_out, flags);
            could_not_send(&sample)
        };
        assert!(probed(1, flag::NO_ROUTE) && !probed(1, flag::NONE_REPEATED));
        assert!(!probed(0, flag::NO_ROUTE), "nothing was tried");
    }

    #[test]
    fn which_end_spoke_last_is_known_but_within_a_tick() {
        let mut sample = SocketSample::new_zeroed();
        assert!(is_last_word(&sample, 500, Some(1000)) && is_last_word(&sample, 500, None));
        assert!(!is_last_word(&sample, 1000, Some(500)), "the answer came last");
        assert!(!is_last_word(&sample, 500, Some(500)), "nobody can tell");
        // The handshake was of that tick, and no answer ever came.
        sample.flags = flag::NEVER_ANSWERED;
        assert!(is_last_word(&sample, 500, Some(500)));
    }
}
