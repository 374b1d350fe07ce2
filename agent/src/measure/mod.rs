//! The idle limit of a path, found before anything dies of it: one connection after the other is left quiet for longer and longer,
//! and then probed by the kernel. Not a byte of data is sent.
//!
//! [`search`] decides what to try next, [`trial`] is the connection.

pub(crate) mod search;
pub(crate) mod trial;
