//! The end of a socket as the kernel reported it, or as a walk found it.

/// How an end came to be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discovery {
    /// A hook reported the change to CLOSE.
    #[default]
    Reported,
    /// Only that the socket was freed.
    Freed,
    /// A walk found it closed.
    Closed,
    /// A walk did not find it any more.
    Gone,
}

/// What a hook reported of a change to CLOSE, beyond the socket itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// Whether a hook reported it at all; if not, nothing below is known.
    pub found: Discovery,
    /// `sk_err`; 0 means no error.
    pub errno: u16,
    /// `sk_err_soft`: what ICMP said.
    pub soft_errno: u16,
    /// Retransmissions of what is not acknowledged.
    pub retransmits: u8,
    /// Milliseconds since the first of them.
    pub retransmitting_ms: Option<u32>,
    /// Milliseconds since data was sent last.
    pub sent_ms: Option<u32>,
    /// The smoothed round trip time, microseconds, if one was measured.
    pub round_trip_us: Option<u32>,
    /// Data that was sent was not acknowledged: more than our FIN.
    pub unacked: bool,
    /// Something written was not sent.
    pub unsent: bool,
    /// It happened inside the socket's own keepalive timer.
    pub in_keepalive_timer: bool,
}
