//! The only writer of the ring buffer, and the hooks' own totals.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{PerCpuArray, RingBuf},
};
use core::arch::asm;
use keepwatch_ebpf::count::Counts;

/// Every event. User space sets the size (`--ring-bytes`); this one is only a default.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// One [`Counts`] a CPU: exact while the ring is full.
#[map]
static COUNTS: PerCpuArray<Counts> = PerCpuArray::with_max_entries(1, 0);

/// The reader is woken when this much waits; below, it comes by itself a few times a second.
const WAKE_BYTES: u64 = 64 << 10;

/// What became of one run of a hook.
pub(crate) enum Run {
    /// It concerned nothing that user space needs.
    Filtered,
    /// A record was submitted, or counted as dropped.
    Emitted,
}

/// This CPU's totals.
#[inline(always)]
pub(crate) fn counts() -> Option<&'static mut Counts> {
    // SAFETY: element 0 exists; the pointer is this CPU's own and programs do not migrate.
    COUNTS.get_ptr_mut(0).and_then(|counts| unsafe { counts.as_mut() })
}

/// Counts one more. A hook in a system call may be interrupted by one in a softirq on its CPU, so
/// reading, adding and writing must be one step.
#[inline(always)]
pub(crate) fn bump(count: &mut u64) {
    // SAFETY: adds to a valid reference, which nobody else uses meanwhile but in the same way. There is
    // no `AtomicU64::fetch_add` on this target, which cannot compare and exchange everywhere.
    unsafe {
        asm!(
            "lock *(u64 *)({count} + 0) += {one}",
            count = in(reg) core::ptr::from_mut(count),
            one = in(reg) 1_u64,
            options(nostack),
        );
    }
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

/// Submits one record, or counts it as dropped. `fill` writes every byte of it.
#[inline(always)]
pub(crate) fn submit<T: 'static>(fill: impl FnOnce(*mut T)) -> Run {
    let Some(counts) = counts() else {
        return Run::Filtered;
    };
    let Some(mut entry) = EVENTS.reserve::<T>(0) else {
        bump(&mut counts.dropped);
        return Run::Emitted;
    };
    fill(entry.as_mut_ptr());
    let flags = if EVENTS.query(BPF_RB_AVAIL_DATA.into()) >= WAKE_BYTES {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    };
    entry.submit(flags.into());
    bump(&mut counts.submitted);
    Run::Emitted
}
