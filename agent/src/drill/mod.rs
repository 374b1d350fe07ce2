//! A path that forgets live connections on purpose: what a middlebox would do to them, done by an nftables table of our own
//! in their network namespace.
//!
//! [`choice`] decides which connections are left out, [`promise`] by when the kernel tells their programs, and [`noticing`]
//! compares that with what was seen; [`rules`] is the table as text, [`path_cut`] puts it in force and takes it away, and [`notes`] says to others what
//! was cut. Nothing is sent, and no socket is touched.

pub(crate) mod choice;
pub(crate) mod notes;
pub(crate) mod noticing;
pub(crate) mod own_session;
pub(crate) mod path_cut;
pub(crate) mod promise;
pub(crate) mod rules;
