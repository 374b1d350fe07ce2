//! What the hooks count about themselves, exactly, whether or not the ring buffer has room.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Totals of one CPU since the hooks were loaded.
///
/// Conservation holds on each CPU: `seen = submitted + dropped + filtered`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Counts {
    /// Times an event hook ran.
    pub seen: u64,
    /// Records handed to the ring buffer.
    pub submitted: u64,
    /// Records lost because the ring buffer was full.
    pub dropped: u64,
    /// Runs that concerned no TCP connection, or a transition that nobody needs.
    pub filtered: u64,
}

/// Bytes of one [`Counts`].
pub const COUNTS_LEN: usize = 32;
const _: () = assert!(size_of::<Counts>() == COUNTS_LEN);
