//! Everything that talks to the kernel: its layout, the hooks, the two streams that come out of
//! them, and the decoding of bytes into events. Nothing else imports aya or the wire format.

pub(crate) mod borrowed_socket;
pub(crate) mod btf;
pub mod clock;
pub(crate) mod decode;
pub mod field_offsets;
pub(crate) mod heap_trim;
pub mod hooks;
pub mod host;
pub(crate) mod map_iterator;
pub(crate) mod network_namespaces;
pub(crate) mod proc_source;
pub(crate) mod ring;
mod sample_facts;
pub mod sandbox;
pub(crate) mod snapshot;
pub(crate) mod snapshot_canary;
