//! `tp_btf/inet_sock_set_state`: every change of a TCP socket's state, before it is stored.
//!
//! CLOSE to SYN_SENT and CLOSE to LISTEN happen in the owner's context (`tcp_v4_connect`,
//! `inet_csk_listen_start`); later changes in whatever context the packet or timer came in.

use super::timer;
use crate::{
    atomic::bump,
    emit::{Run, counted, counts, lose, reserve, submit},
    read::{Read as _, Typed, at},
    report,
    sample::{fill, own_by_current},
    wanted::{note, wants},
};
use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use keepwatch_ebpf::{
    abi::{
        IPPROTO_TCP, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_LISTEN,
        TCP_SYN_SENT,
    },
    record::{SocketSample, Tag, flag},
};

#[btf_tracepoint(function = "inet_sock_set_state")]
fn state_change(context: BtfTracePointContext) -> i32 {
    counted(|| changed(Typed(context.arg::<*const u8>(0)), context.arg(1), context.arg(2)));
    0
}

#[inline(always)]
fn changed(sk: Typed, old_state: u32, new_state: u32) -> Run {
    // The other states follow from these or last for a round trip; the next snapshot has them.
    let in_owner = matches!(new_state, TCP_SYN_SENT | TCP_LISTEN);
    let needed = in_owner
        || matches!(new_state, TCP_ESTABLISHED | TCP_FIN_WAIT1 | TCP_CLOSE_WAIT | TCP_CLOSE);
    if !needed || sk.load::<u16>(at!(sk_protocol)) != IPPROTO_TCP {
        return Run::Filtered;
    }
    let Some(tcp) = sk.tcp_sock() else {
        report::not_tcp(report::word("state"), new_state);
        return Run::Filtered;
    };
    if new_state == TCP_SYN_SENT && !note(sk.0) {
        lose();
        return Run::Emitted;
    }
    if !wants(tcp, sk.0) {
        return Run::Filtered;
    }
    let ends = new_state == TCP_CLOSE;
    if ends
        && old_state != TCP_LISTEN
        && let Some(counts) = counts()
    {
        bump(&mut counts.ended);
    }
    let in_timer = ends && timer::ends(sk);
    let Some(mut record) = reserve::<SocketSample>() else {
        return Run::Emitted;
    };
    fill(record.as_mut_ptr(), Tag::StateChange, tcp, sk);
    // SAFETY: `fill` has written every field; the record is ours until it is submitted.
    let sample = unsafe { record.assume_init_mut() };
    sample.old_state = old_state as u8;
    sample.state = new_state as u8;
    if in_timer {
        sample.flags |= flag::IN_KEEPALIVE_TIMER;
    }
    if in_owner {
        own_by_current(sample);
        let file = tcp.follow(at!(sk_socket)).follow(at!(socket_file));
        sample.inode = file.follow(at!(file_inode)).load(at!(inode_number));
    }
    submit(record)
}
