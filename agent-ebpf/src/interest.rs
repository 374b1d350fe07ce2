//! Which sockets user space wants to hear of: decided in the kernel, so that the others cost a
//! comparison and no room in the ring buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Network namespaces that can be asked for at once.
pub const N_NETNS: usize = 4;
/// Ports that can be asked for at once.
pub const N_PORTS: usize = 8;

/// Every condition must hold; within one, any of its values. All zeros: every socket of the host.
///
/// User space writes it before the hooks load, as read-only data, so the verifier knows each value and
/// removes the comparisons with a 0.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Interest {
    /// Not 0: only connections that descendants of the process that walks opened, and setsockopt calls
    /// that those made.
    pub descendants: u32,
    /// Inode numbers of network namespaces (`net->ns.inum`); 0 is unused.
    pub netns: [u32; N_NETNS],
    /// Ports of either end, in network order; 0 is unused. A socket without a peer passes: it may yet
    /// connect to one of them.
    pub ports_be: [u16; N_PORTS],
}
