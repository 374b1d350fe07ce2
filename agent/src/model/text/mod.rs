//! The forms of text that every room needs: the names of closed sets, numbers with their noun, durations as people read
//! and type them, and names made harmless.

pub(crate) mod closed_set;
pub(crate) mod count;
pub(crate) mod duration;
pub(crate) mod sanitize;
pub(crate) mod typed_duration;
pub(crate) mod wall_time;
