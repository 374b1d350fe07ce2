//! Numbers that the kernel shares with its users, named as in its headers: no version of it changes one.
#![expect(missing_docs, reason = "named as in the headers")]

/// States of a TCP socket (include/net/tcp_states.h).
pub const TCP_ESTABLISHED: u32 = 1;
pub const TCP_SYN_SENT: u32 = 2;
pub const TCP_FIN_WAIT1: u32 = 4;
pub const TCP_FIN_WAIT2: u32 = 5;
pub const TCP_CLOSE: u32 = 7;
pub const TCP_CLOSE_WAIT: u32 = 8;
pub const TCP_LISTEN: u32 = 10;
/// One more than the last.
pub const TCP_MAX_STATES: u32 = 14;

/// Of `task_struct.flags` (include/linux/sched.h): a thread of the kernel's own.
pub const PF_KTHREAD: u32 = 0x0020_0000;

/// Families of addresses (include/linux/socket.h).
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;

/// Protocols (include/uapi/linux/in.h).
pub const IPPROTO_TCP: u16 = 6;
pub const IPPROTO_MPTCP: u16 = 262;

/// Levels and options of setsockopt(2) (include/uapi/asm-generic/socket.h, include/uapi/linux/tcp.h).
pub const SOL_SOCKET: u32 = 1;
pub const SO_KEEPALIVE: u32 = 9;
pub const SOL_TCP: u32 = 6;
pub const TCP_KEEPIDLE: u32 = 4;
pub const TCP_KEEPINTVL: u32 = 5;
pub const TCP_KEEPCNT: u32 = 6;
pub const TCP_USER_TIMEOUT: u32 = 18;
