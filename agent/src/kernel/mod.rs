//! Everything that talks to the kernel: its layout, the hooks, the two streams that come out of
//! them, and the decoding of bytes into events. Nothing else imports aya or the wire format.

pub mod btf;
pub mod canary_socket;
pub mod clock;
pub mod decode;
pub mod heap_trim;
pub mod hooks;
pub mod host;
pub mod layout;
pub mod ring;
pub mod snapshot;
