//! The two forms of text that every room needs: durations as people read them, and names made harmless.

pub mod duration;
pub mod name;
