//! What keepwatch knows, and what follows from it. Pure: no I/O, no clock, nothing from the rest of
//! the crate; its tests need no kernel.

pub mod call;
pub mod case;
pub mod catalogue;
pub mod death;
pub mod demand;
pub mod event;
pub mod filter;
pub mod history;
pub mod identity;
pub mod label;
pub mod learned;
pub mod life;
pub mod limit;
pub mod line;
pub mod moment;
pub mod name;
pub mod roll;
pub mod row;
pub mod setting;
mod slots;
pub mod snapshot;
pub mod socket;
pub mod table;
pub mod tally;
pub mod verdict;
pub mod what_if;
pub mod words;
