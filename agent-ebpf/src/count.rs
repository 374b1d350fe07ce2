//! What the hooks count about themselves and about the kernel, exactly, whether or not the ring
//! buffer has room.

use crate::record::TimerOutcome;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Totals of one CPU since the hooks were loaded.
///
/// Conservation holds on each CPU: `seen = submitted + dropped + filtered`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct HookCounts {
    /// Times an event hook met something that may concern a TCP connection.
    pub seen: u64,
    /// Records handed to the ring buffer.
    pub submitted: u64,
    /// Records lost because the ring buffer was full.
    pub dropped: u64,
    /// Runs that concerned no TCP connection, or a transition that nobody needs.
    pub filtered: u64,
    /// Fires of keepalive timers, by [`TimerOutcome`].
    pub fires: [u64; TimerOutcome::ALL.len()],
    /// Connections that ended: every change of a connection to CLOSE.
    pub ended: u64,
    /// Descriptors of MPTCP connections that walks met.
    pub mptcp: u64,
}

/// Bytes of one [`HookCounts`].
pub const COUNTS_LEN: usize = size_of::<HookCounts>();

impl HookCounts {
    /// Adds the counts of another CPU.
    pub fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.submitted += other.submitted;
        self.dropped += other.dropped;
        self.filtered += other.filtered;
        for (total, one) in self.fires.iter_mut().zip(other.fires) {
            *total += one;
        }
        self.ended += other.ended;
        self.mptcp += other.mptcp;
    }
}
