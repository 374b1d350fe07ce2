//! `tp_btf/tcp_destroy_sock`: a socket's end, of one that was never connected, or whose change to
//! CLOSE was lost.

use super::timer;
use crate::{
    emit::{Run, counted, has_lost, reserve, submit},
    read::{Read as _, Typed, at},
    report,
    sample::fill,
    wanted::{forget, wants},
};
use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use keepwatch_ebpf::record::{SocketSample, Tag};

#[btf_tracepoint(function = "tcp_destroy_sock")]
fn destroy(context: BtfTracePointContext) -> i32 {
    counted(|| destroyed(Typed(context.arg::<*const u8>(0))));
    0
}

#[inline(always)]
fn destroyed(sk: Typed) -> Run {
    let run = ended(sk);
    forget(sk.0);
    run
}

#[inline(always)]
fn ended(sk: Typed) -> Run {
    // Without a cookie no hook has seen it, and no user space can know it.
    if at!(has_cookies) == 1 && sk.load::<u64>(at!(skc_cookie)) == 0 {
        return Run::Filtered;
    }
    // A connected socket reports CLOSE first, usually just before this (`inet_csk_destroy_sock` warns of any
    // other state). Repeat it only if that record was lost, or if the kernel did not run that hook.
    if timer::has_closed(sk) && !has_lost() {
        return Run::Filtered;
    }
    let Some(tcp) = sk.tcp_sock() else {
        report::not_tcp(report::word("destroy"), sk.load::<u8>(at!(skc_state)).into());
        return Run::Filtered;
    };
    if !wants(tcp, sk.0) {
        return Run::Filtered;
    }
    let Some(mut sample) = reserve::<SocketSample>() else {
        return Run::Emitted;
    };
    fill(sample.as_mut_ptr(), Tag::Destroy, tcp, sk);
    submit(sample)
}
