//! `tp_btf/inet_sock_set_state`: every change of a TCP socket's state, before it is stored.
//!
//! CLOSE to SYN_SENT and CLOSE to LISTEN happen in the owner's context (`tcp_v4_connect`,
//! `inet_csk_listen_start`); later changes in whatever context the packet or timer came in.

use crate::{
    emit::{Outcome, counted, submit},
    sample::{Typed, at, fill},
};
use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel, generated},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use keepwatch_ebpf::record::{Tag, flag};

const IPPROTO_TCP: u16 = 6;
const TCP_ESTABLISHED: u32 = 1;
const TCP_SYN_SENT: u32 = 2;
const TCP_FIN_WAIT1: u32 = 4;
const TCP_CLOSE: u32 = 7;
const TCP_CLOSE_WAIT: u32 = 8;
const TCP_LISTEN: u32 = 10;

#[btf_tracepoint(function = "inet_sock_set_state")]
fn state_change(context: BtfTracePointContext) -> i32 {
    counted(|| changed(&context));
    0
}

#[inline(always)]
fn changed(context: &BtfTracePointContext) -> Outcome {
    let sk = Typed(context.arg::<*const u8>(0));
    let old_state: u32 = context.arg(1);
    let new_state: u32 = context.arg(2);
    // The other states follow from these or last for a round trip; the next snapshot has them.
    let in_owner = matches!(new_state, TCP_SYN_SENT | TCP_LISTEN);
    let needed = in_owner
        || matches!(new_state, TCP_ESTABLISHED | TCP_FIN_WAIT1 | TCP_CLOSE_WAIT | TCP_CLOSE);
    if !needed || sk.load::<u16>(at!(sk_protocol)) != IPPROTO_TCP {
        return Outcome::Filtered;
    }
    let Some(tcp) = sk.tcp_sock() else {
        return Outcome::Filtered;
    };
    submit(|sample| {
        fill(sample, tcp, sk);
        // SAFETY: `fill` has written every field; the record is ours until it is submitted.
        let sample = unsafe { &mut *sample };
        sample.tag = Tag::StateChange.wire();
        // SAFETY: a helper call.
        sample.at_ns = unsafe { generated::bpf_ktime_get_ns() };
        sample.old_state = old_state as u8;
        sample.state = new_state as u8;
        if in_owner {
            sample.flags |= flag::OWNER_KNOWN;
            sample.pid = (bpf_get_current_pid_tgid() >> 32) as u32;
            sample.comm = process_name();
        }
    });
    Outcome::Emitted
}

/// The name of the current process: of its main thread, not of the pool thread that connects.
#[inline(always)]
fn process_name() -> [u8; 16] {
    // SAFETY: checked reads of kernel memory.
    unsafe {
        let task = generated::bpf_get_current_task() as *const u8;
        let leader = task.add(at!(task_group_leader) as usize).cast::<*const u8>();
        let leader = bpf_probe_read_kernel(leader).unwrap_or(task);
        bpf_probe_read_kernel(leader.add(at!(task_comm) as usize).cast()).unwrap_or_default()
    }
}
