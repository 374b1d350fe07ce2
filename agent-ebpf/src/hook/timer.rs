//! `tcp_keepalive_timer`: what each fire came to. Three adapters around one body: function hooks
//! where they attach, else probes, else the timer tracepoints, filtered on the callback.
//!
//! The callback runs from entry to exit on one CPU, so what happens between is told by this CPU's
//! slot; a connection that is closed there is ended by its own keepalive timer, and by nothing else.

use crate::{
    atomic::bump,
    emit::{Run, counted, counts, reserve, submit},
    read::{Cast, Raw, Read, Typed, at, global},
    report,
    sample::{Sock, fill},
    wanted::wants,
};
use aya_ebpf::{
    helpers::generated,
    macros::{btf_tracepoint, fentry, fexit, kprobe, kretprobe, map},
    maps::PerCpuArray,
    programs::{BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use core::ptr::{read_volatile, write_volatile};
use keepwatch_ebpf::{
    abi::{TCP_CLOSE, TCP_FIN_WAIT2, TCP_LISTEN, TCP_SYN_SENT},
    record::{Tag, TimerOutcome, TimerRecord},
};

/// Ticks a second: tells a retry in HZ/20 from one in HZ/2. Written by user space.
#[unsafe(no_mangle)]
static HZ: u32 = u32::MAX;

/// A socket that its owner has locked is looked at again in HZ/20.
const DEFERRED_A_SECOND: u64 = 20;

/// The address of `tcp_keepalive_timer`, read from the timer of the first socket that a walk met:
/// no symbol table is needed, whose access is restricted and whose names compilers decorate.
static mut CALLBACK: u64 = 0;

/// Notes the callback in any TCP socket's timer.
#[inline(always)]
pub(super) fn learn_callback(tcp: impl Read) {
    let callback = &raw mut CALLBACK;
    // SAFETY: our own global; every writer writes the same.
    unsafe {
        if read_volatile(callback) == 0 {
            write_volatile(callback, tcp.load(at!(keepalive_timer) + at!(timer_function)));
        }
    }
}

/// The socket whose keepalive timer runs on this CPU, as it was before.
#[repr(C)]
#[derive(Clone, Copy)]
struct RunningTimer {
    sk: u64,
    /// The socket whose change to CLOSE was reported last on this CPU.
    closed: u64,
    inflight: u32,
    elapsed_jiffies: u32,
    idle_jiffies: u32,
    owned: u32,
    probes: u8,
    /// Whether it is keepalive's business at all.
    ours: u8,
    /// It was closed meanwhile, with an error.
    died: u8,
    _pad: u8,
}

/// In place of the address of a socket that user space does not want to hear of.
const UNWANTED: u64 = 1;

#[map]
static RUNNING: PerCpuArray<RunningTimer> = PerCpuArray::with_max_entries(1, 0);

#[inline(always)]
fn running() -> Option<&'static mut RunningTimer> {
    // SAFETY: element 0 exists; the pointer is this CPU's own and programs do not migrate.
    let slot = RUNNING.get_ptr_mut(0).and_then(|slot| unsafe { slot.as_mut() });
    if slot.is_none() {
        report::no_slot(report::word("RUNNING"));
    }
    slot
}

/// Whether the change of this socket to CLOSE was reported on this CPU just now.
#[inline(always)]
pub(super) fn has_closed(sk: Typed) -> bool {
    running().is_some_and(|slot| slot.closed == sk.0 as u64)
}

/// Notes that this socket is being closed, and whether its own keepalive timer does it, and for
/// keepalive's reason: the end of an orphan in FIN_WAIT2 sets no error.
#[inline(always)]
pub(super) fn ends(sk: Typed) -> bool {
    let Some(slot) = running() else {
        return false;
    };
    slot.closed = sk.0 as u64;
    let it_is = slot.sk == sk.0 as u64 && sk.load::<u32>(at!(sk_err)) != 0;
    if it_is {
        slot.died = 1;
    }
    it_is
}

#[fentry(function = "tcp_keepalive_timer")]
fn timer_fentry(context: FEntryContext) -> i32 {
    enter(Raw(context.arg::<*const u8>(0)));
    0
}

#[fexit(function = "tcp_keepalive_timer")]
fn timer_fexit(_: FExitContext) -> i32 {
    leave(Callback::Keepalive);
    0
}

#[kprobe]
fn timer_kprobe(context: ProbeContext) -> u32 {
    if let Some(timer) = context.arg::<*const u8>(0) {
        enter(Raw(timer));
    }
    0
}

#[kretprobe]
fn timer_kretprobe(_: RetProbeContext) -> u32 {
    leave(Callback::Keepalive);
    0
}

#[btf_tracepoint(function = "timer_expire_entry")]
fn timer_expire_entry(context: BtfTracePointContext) -> i32 {
    let timer = Typed(context.arg::<*const u8>(0));
    // SAFETY: our own global.
    let callback = unsafe { read_volatile(&raw const CALLBACK) };
    // Every timer of the host comes by here: one load and one comparison.
    if callback != 0 && timer.load::<u64>(at!(timer_function)) == callback {
        enter(timer.raw());
    }
    0
}

#[btf_tracepoint(function = "timer_expire_exit")]
fn timer_expire_exit(_: BtfTracePointContext) -> i32 {
    leave(Callback::Any);
    0
}

/// The keepalive timer begins to run: notes what it will decide by.
#[inline(always)]
fn enter(timer: Raw) {
    let Some(slot) = running() else {
        return;
    };
    let sk = timer.before(at!(keepalive_timer));
    if Cast::is_possible() {
        note(slot, sk, Cast::tcp_sock(sk));
    } else {
        note(slot, sk, sk);
    }
}

#[inline(always)]
fn note(slot: &mut RunningTimer, address: Raw, sk: impl Read) {
    if slot.sk != 0 {
        report::fire_unended();
    }
    if !wants(sk, address.0) {
        slot.sk = UNWANTED;
        return;
    }
    let flags: u64 = sk.load(at!(skc_flags));
    let state = u32::from(sk.load::<u8>(at!(skc_state)));
    if report::is_on() {
        if !sk.is_tcp() {
            let (family, protocol) = (sk.load(at!(skc_family)), sk.load(at!(sk_protocol)));
            report::timer_without_socket(family, protocol, state);
        }
    }
    let keepalive = flags & (1 << at!(sock_keepopen)) != 0;
    let orphan = flags & (1 << at!(sock_dead)) != 0;
    let idle: u32 = sk.load(at!(keepalive_time));
    // SAFETY: a helper call.
    let now = unsafe { generated::bpf_jiffies64() } as u32;
    let since_data = now.wrapping_sub(sk.load(at!(icsk_ack_lrcvtime)));
    let since_ack = now.wrapping_sub(sk.load(at!(rcv_tstamp)));
    *slot = RunningTimer {
        sk: address.0 as u64,
        closed: slot.closed,
        inflight: sk.load::<u32>(at!(write_seq)).wrapping_sub(sk.load(at!(snd_una))),
        elapsed_jiffies: if since_data < since_ack { since_data } else { since_ack },
        idle_jiffies: if idle != 0 { idle } else { sk.follow(at!(skc_net)).load(at!(net_idle)) },
        owned: sk.load(at!(sk_owned)),
        probes: sk.load(at!(icsk_probes_out)),
        ours: u8::from(
            keepalive
                && !(orphan && state == TCP_FIN_WAIT2)
                && !matches!(state, TCP_CLOSE | TCP_SYN_SENT | TCP_LISTEN),
        ),
        died: 0,
        _pad: 0,
    };
}

/// Whose end a hook sees.
enum Callback {
    /// The callback is `tcp_keepalive_timer`.
    Keepalive,
    /// That of every timer.
    Any,
}

/// It has run. What it came to is decided in the order of `tcp_keepalive_timer`.
#[inline(always)]
fn leave(of: Callback) {
    let Some(slot) = running() else {
        return;
    };
    if slot.sk == 0 {
        if let Callback::Keepalive = of {
            report::fire_unbegun();
        }
        return; // another timer
    }
    let before = *slot;
    slot.sk = 0;
    if before.sk == UNWANTED {
        return;
    }
    let sk = Raw(before.sk as *const u8);
    if Cast::is_possible() {
        counted(
            #[inline(always)]
            || fired(before, Cast::tcp_sock(sk)),
        );
    } else {
        counted(
            #[inline(always)]
            || fired(before, sk),
        );
    }
}

#[inline(always)]
fn fired(before: RunningTimer, sk: impl Sock) -> Run {
    let outcome = outcome(before, sk);
    if let Some(counts) = counts()
        && let Some(fires) = counts.fires.get_mut(usize::from(outcome.wire()))
    {
        bump(fires);
    }
    if let TimerOutcome::Death = outcome {
        // Told by the change to CLOSE. The memory may be another socket's by now.
        return Run::Filtered;
    }
    let Some(mut record) = reserve::<TimerRecord>() else {
        return Run::Emitted;
    };
    let fire = record.as_mut_ptr();
    // SAFETY: the record is ours until it is submitted; `fill` writes the sample.
    unsafe {
        fill(&raw mut (*fire).sample, Tag::Fire, sk, sk);
        (*fire).outcome = outcome.wire();
        (*fire).probes_before = before.probes;
        (*fire)._pad = [0; 6];
    }
    submit(record)
}

#[inline(always)]
fn outcome(before: RunningTimer, sk: impl Read) -> TimerOutcome {
    if before.died != 0 {
        return TimerOutcome::Death;
    }
    if before.ours == 0 {
        return TimerOutcome::NotOurs;
    }
    if sk.load::<u8>(at!(icsk_probes_out)) == before.probes.wrapping_add(1) {
        return TimerOutcome::Sent;
    }
    if before.owned != 0 {
        return TimerOutcome::Deferred;
    }
    if before.inflight != 0 {
        return TimerOutcome::InFlight;
    }
    if before.elapsed_jiffies < before.idle_jiffies {
        return TimerOutcome::NotIdle;
    }
    // A probe was due and none went out; how soon the timer tries again tells why.
    // SAFETY: a helper call.
    let now = unsafe { generated::bpf_jiffies64() };
    let wait = sk.load::<u64>(at!(keepalive_timer) + at!(timer_expires)).wrapping_sub(now);
    if wait * DEFERRED_A_SECOND <= u64::from(global(&HZ)) {
        TimerOutcome::Deferred
    } else {
        TimerOutcome::Congested
    }
}
