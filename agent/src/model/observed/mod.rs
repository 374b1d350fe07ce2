//! What the kernel said: a socket as it was at one moment, the calls that set it, the events that
//! hooks and walks make of it, and the owner. Nothing here is concluded.

pub mod drilled_path;
pub mod ending;
pub mod errno;
pub mod event;
mod half_closed;
pub mod kernel_owner;
pub mod listeners;
mod next_look;
pub mod owner_identity;
pub(crate) mod peer_closed;
pub(crate) mod probe_timing;
pub mod setsockopt;
pub mod setting;
pub mod socket;
mod socket_id;
pub mod watched;
