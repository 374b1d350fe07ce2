//! Calls of setsockopt, and options that change without one.

use super::{
    errno::errno_name,
    setting::OwnValues,
    socket::{Owner, Socket, State},
};
use crate::model::text::closed_set::closed_set;
use serde::{Deserialize, Serialize};

closed_set! {
    /// The options that decide about keepalive.
    #[expect(missing_docs, reason = "named as in socket(7) and tcp(7)")]
    pub enum SockOpt {
        Keepalive = "SO_KEEPALIVE",
        Idle = "TCP_KEEPIDLE",
        Interval = "TCP_KEEPINTVL",
        Count = "TCP_KEEPCNT",
        UserTimeout = "TCP_USER_TIMEOUT",
    }
}

impl SockOpt {
    /// The options that are set: keepalive, if it is on, and each value that is not left to the namespace.
    pub fn set_in(own: &OwnValues) -> Vec<Self> {
        let OwnValues { keepalive, idle, interval, count, user_timeout_ms } = *own;
        let all = [
            (Self::Keepalive, keepalive),
            (Self::Idle, idle > 0),
            (Self::Interval, interval > 0),
            (Self::Count, count > 0),
            (Self::UserTimeout, user_timeout_ms > 0),
        ];
        all.into_iter().filter_map(|(option, is_set)| is_set.then_some(option)).collect()
    }

    /// The option with these numbers (include/uapi/asm-generic/socket.h, include/uapi/linux/tcp.h).
    pub const fn from_kernel(level: u32, option: u32) -> Option<Self> {
        match (level, option) {
            (1, 9) => Some(Self::Keepalive),
            (6, 4) => Some(Self::Idle),
            (6, 5) => Some(Self::Interval),
            (6, 6) => Some(Self::Count),
            (6, 18) => Some(Self::UserTimeout),
            _ => None,
        }
    }

    /// The socket's own value; 0 is unset or off.
    pub const fn of(self, socket: &Socket) -> u32 {
        match self {
            Self::Keepalive => socket.keepalive as u32,
            Self::Idle => socket.own.idle_seconds,
            Self::Interval => socket.own.interval_seconds,
            Self::Count => socket.own.count as u32,
            Self::UserTimeout => socket.own.user_timeout_ms,
        }
    }

    /// What its values are counted in.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Keepalive => "",
            Self::Idle | Self::Interval => " s",
            Self::Count => " probes",
            Self::UserTimeout => " ms",
        }
    }
}

/// A setsockopt call on a TCP socket, as the hook saw it return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The option that it set, or tried to set.
    pub option: SockOpt,
    /// What the kernel took of it, or refused; none if that could not be read.
    pub value: Option<i32>,
    /// The error number; 0 is success.
    pub errno: u16,
    /// The calling process, if it is known.
    pub by: Option<Owner>,
    /// When in the life of the socket.
    pub when: When,
}

impl Call {
    /// `ok`, or the error's name.
    pub fn result(self) -> String {
        if self.errno == 0 { "ok".to_owned() } else { errno_name(self.errno) }
    }
}

/// When in the life of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Before it was connected.
    BeforeConnect,
    /// While it is a connection.
    AfterConnect,
    /// On a listening socket: what it accepts inherits the value.
    Listener,
}

impl When {
    /// By the state of the socket.
    pub const fn of(state: State) -> Self {
        match state {
            State::Close => Self::BeforeConnect,
            State::Listen => Self::Listener,
            _ => Self::AfterConnect,
        }
    }
}
