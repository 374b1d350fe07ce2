//! Counting in one step, which nothing that runs on the same CPU can interrupt.

use core::arch::asm;

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
