//! Names of programs, maps and globals in the hooks' object file: the only place they are spelled.

/// `iter/task_file`: one walk over every open file of every process.
pub const SNAPSHOT: &str = "snapshot";
/// `tp_btf/inet_sock_set_state`: a socket changed its state.
pub const STATE_CHANGE: &str = "state_change";
/// `tp_btf/tcp_destroy_sock`: a socket's end.
pub const DESTROY: &str = "destroy";

/// The ring buffer that carries every event.
pub const EVENTS: &str = "EVENTS";
/// The per-CPU array that holds one [`Counts`](crate::count::Counts).
pub const COUNTS: &str = "COUNTS";
/// The read-only global that holds the [`Layout`](crate::layout::Layout).
pub const LAYOUT: &str = "LAYOUT";
