//! What keepwatch says of itself: its man pages, and what it was built from.

pub(super) mod man;
pub(super) mod version;
