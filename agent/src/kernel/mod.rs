//! Everything that talks to the kernel: its layout, the hooks, the two streams that come out of
//! them, and the decoding of bytes into events. Nothing else imports aya or the wire format.

pub(crate) mod btf;
pub(crate) mod canary_socket;
pub mod clock;
pub(crate) mod decode;
pub(crate) mod heap_trim;
pub mod hooks;
pub mod host;
pub mod layout;
pub(crate) mod ring;
pub(crate) mod snapshot;
