//! `tp_btf/tcp_destroy_sock`: a socket's end, also of one that never reached CLOSE by itself.

use crate::{
    emit::{Outcome, counted, submit},
    sample::{Typed, at, fill},
};
use aya_ebpf::{helpers::generated, macros::btf_tracepoint, programs::BtfTracePointContext};
use keepwatch_ebpf::record::Tag;

#[btf_tracepoint(function = "tcp_destroy_sock")]
fn destroy(context: BtfTracePointContext) -> i32 {
    counted(|| destroyed(&context));
    0
}

#[inline(always)]
fn destroyed(context: &BtfTracePointContext) -> Outcome {
    let sk = Typed(context.arg::<*const u8>(0));
    // Without a cookie no hook has seen it, and no user space can know it.
    if sk.load::<u64>(at!(skc_cookie)) == 0 {
        return Outcome::Filtered;
    }
    let Some(tcp) = sk.tcp_sock() else {
        return Outcome::Filtered;
    };
    submit(|sample| {
        fill(sample, tcp, sk);
        // SAFETY: `fill` has written every field; the record is ours until it is submitted.
        let sample = unsafe { &mut *sample };
        sample.tag = Tag::Destroy.wire();
        // SAFETY: a helper call.
        sample.at_ns = unsafe { generated::bpf_ktime_get_ns() };
    });
    Outcome::Emitted
}
