//! Keepalive settings: own, from the network namespace, and effective.
//!
//! The kernel uses `tp->keepalive_* ?: net->ipv4.sysctl_tcp_keepalive_*` at every fire of the timer
//! (`include/net/tcp.h`, `keepalive_time_when` and its siblings), so an unset value follows the
//! namespace live.

use serde::{Deserialize, Serialize};

/// What was set on a socket; 0 is unset, and cannot be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OwnSettings {
    /// TCP_KEEPIDLE, seconds.
    pub idle_seconds: u32,
    /// TCP_KEEPINTVL, seconds.
    pub interval_seconds: u32,
    /// TCP_USER_TIMEOUT, milliseconds.
    pub user_timeout_ms: u32,
    /// TCP_KEEPCNT, probes.
    pub count: u8,
}

/// Own values of a socket: what makes two settings the same; 0 is left to the namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Hash)]
pub struct OwnValues {
    /// Whether SO_KEEPALIVE is on.
    pub keepalive: bool,
    /// TCP_KEEPIDLE in seconds.
    pub idle: u32,
    /// TCP_KEEPINTVL in seconds.
    pub interval: u32,
    /// TCP_KEEPCNT in probes.
    pub count: u32,
    /// TCP_USER_TIMEOUT in milliseconds.
    pub user_timeout_ms: u32,
}

/// The sysctls of one network namespace that decide when a connection is probed and given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetnsSettings {
    /// `tcp_keepalive_time`, seconds.
    pub idle_seconds: u32,
    /// `tcp_keepalive_intvl`, seconds.
    pub interval_seconds: u32,
    /// `tcp_keepalive_probes`, probes.
    pub count: u8,
    /// `tcp_retries2`, repetitions of data.
    pub retries2: u8,
    /// `tcp_orphan_retries`, repetitions of what a program left behind; 0 stands for 8.
    pub orphan_retries: u8,
    /// `tcp_syn_linear_timeouts`: repetitions of a SYN a second apart, before those that double; 0 before 6.5.
    pub syn_linear_timeouts: u8,
    /// Whether they were read. Where they could not be, nobody can tell a socket's own values from them.
    pub is_known: bool,
}

/// `TCP_RTO_MAX` (include/net/tcp.h): what it is where nothing sets it, and before 6.15.
pub const TCP_RTO_MAX_MS: u32 = 120_000;

impl NetnsSettings {
    /// What a new namespace begins with (`tcp_sk_init` in net/ipv4/tcp_ipv4.c).
    pub(crate) const OF_A_NEW_NAMESPACE: Self = Self {
        idle_seconds: 7200,
        interval_seconds: 75,
        count: 9,
        retries2: 15,
        orphan_retries: 0,
        syn_linear_timeouts: 4,
        is_known: true,
    };
}

impl Default for NetnsSettings {
    fn default() -> Self {
        Self::OF_A_NEW_NAMESPACE
    }
}

/// Where an effective value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingOrigin {
    /// It was set on the socket, or inherited from its listener.
    Socket,
    /// It is the namespace's sysctl.
    Netns,
    /// One of the two: the namespace's sysctls cannot be read.
    Unknown,
}

/// The value that the kernel uses, and whether the socket or its namespace gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The value in seconds, or in probes.
    pub value: u32,
    /// Where it comes from.
    pub from: SettingOrigin,
}

/// The own value where there is one, else the namespace's.
pub(super) const fn effective(own: u32, ambient: u32, is_known: bool) -> Effective {
    match (own, is_known) {
        (0, _) => Effective { value: ambient, from: SettingOrigin::Netns },
        (_, true) => Effective { value: own, from: SettingOrigin::Socket },
        (_, false) => Effective { value: own, from: SettingOrigin::Unknown },
    }
}
