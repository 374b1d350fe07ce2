//! The only writer of the ring buffer, and the hooks' own totals.

use crate::{atomic::bump, report};
use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{PerCpuArray, RingBuf, ring_buf::RingBufEntry},
};
use core::{
    arch::asm,
    ptr::{read_volatile, write_volatile},
};
use keepwatch_ebpf::{count::HookCounts, record::SETSOCKOPT_LEN};

/// Every event. User space sets the size (`--ring-bytes`); this one is only a default.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// One [`HookCounts`] a CPU: exact while the ring is full.
#[map]
static COUNTS: PerCpuArray<HookCounts> = PerCpuArray::with_max_entries(1, 0);

/// The reader is woken once for so much; for less, it comes by itself a few times a second. Not for
/// every record while it lags: that is an interrupt each (`irq_work_queue`), when it hurts most.
const WAKE_BYTES: u32 = 64 << 10;
/// Of the ring's own (`BPF_RINGBUF_HDR_SZ`).
const HEADER_LEN: usize = 8;

/// Not 0 once a record was dropped, on any CPU: from then on ends are reported twice.
static mut HAS_LOST: u32 = 0;

/// Whether user space may have missed something.
#[inline(always)]
pub(crate) fn has_lost() -> bool {
    // SAFETY: our own global.
    unsafe { read_volatile(&raw const HAS_LOST) != 0 }
}

/// What became of one run of a hook.
pub(crate) enum Run {
    /// It concerned nothing that user space needs.
    Filtered,
    /// A record was submitted, or counted as dropped.
    Emitted,
}

/// The counts of the CPU that this hook runs on.
#[inline(always)]
pub(crate) fn counts() -> Option<&'static mut HookCounts> {
    // SAFETY: element 0 exists; the pointer is this CPU's own and programs do not migrate.
    let counts = COUNTS.get_ptr_mut(0).and_then(|counts| unsafe { counts.as_mut() });
    if counts.is_none() {
        report::no_slot(report::word("COUNTS"));
    }
    counts
}

/// Runs one hook's body and counts the run.
#[inline(always)]
pub(crate) fn counted(body: impl FnOnce() -> Run) {
    let Some(counts) = counts() else {
        return;
    };
    bump(&mut counts.seen);
    if let Run::Filtered = body() {
        bump(&mut counts.filtered);
    }
}

/// The low half of an address, as a number: the verifier lets nobody take a remainder of a pointer.
#[inline(always)]
fn low_half(address: *const u8) -> u32 {
    let half: u64;
    // SAFETY: a move between registers; it leaves zeros in the upper half.
    unsafe { asm!("w1 = w2", out("r1") half, in("r2") address, options(pure, nomem, nostack)) };
    half as u32
}

/// Room for one record, or it is counted as dropped. Whoever gets it writes every byte and submits it. No
/// closures here: what the compiler does not inline returns nothing in r0, which verifiers refuse.
#[inline(always)]
pub(crate) fn reserve<T: 'static>() -> Option<RingBufEntry<T>> {
    let entry = EVENTS.reserve::<T>(0);
    if entry.is_none() {
        lose();
    }
    entry
}

/// Counts an event that user space will not hear of, for want of room.
#[inline(always)]
pub(crate) fn lose() {
    if let Some(counts) = counts() {
        bump(&mut counts.dropped);
    }
    // SAFETY: our own global; every writer writes the same.
    unsafe { write_volatile(&raw mut HAS_LOST, 1) };
}

/// Passes a filled record to the ring buffer.
#[inline(always)]
pub(crate) fn submit<T: 'static>(mut entry: RingBufEntry<T>) -> Run {
    // The first record behind a line wakes, and maybe the second. Places in the ring are addresses:
    // asking for the position of its end is a call, a sixth of all that this costs.
    let place = low_half(entry.as_mut_ptr().cast());
    let flags = if place % WAKE_BYTES < (SETSOCKOPT_LEN + HEADER_LEN) as u32 {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    };
    entry.submit(flags.into());
    if let Some(counts) = counts() {
        bump(&mut counts.submitted);
    }
    Run::Emitted
}
