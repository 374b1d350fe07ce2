//! What decoding makes of the kernel's records: the only input of the table.

use super::socket::{Socket, State};

/// One observation of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The snapshot met the socket, with one of its owners.
    Seen(Socket),
    /// The socket's state changes from `old` to `socket.state`.
    StateChange {
        /// The socket at that moment.
        socket: Socket,
        /// The state before.
        old: State,
    },
    /// The socket is destroyed.
    Destroyed(Socket),
}
