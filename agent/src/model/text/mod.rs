//! The two forms of text that every room needs: durations as people read them, and names made harmless.

pub(crate) mod duration;
pub(crate) mod name;
