//! The time at which the peer closed its half of a connection.

/// When the peer closed its half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerClosed {
    /// Since its FIN came, milliseconds; at least that, if nobody saw it come.
    pub ms: u32,
    /// A hook saw it come.
    pub is_seen: bool,
}

impl PeerClosed {
    /// Of a socket from which something came last `silent_ms` ago: the FIN at the latest.
    pub const fn of(silent_ms: u32, is_seen: bool) -> Self {
        Self { ms: if is_seen { 0 } else { silent_ms }, is_seen }
    }

    /// The same, this much later.
    #[must_use]
    pub const fn older(self, ms: u32) -> Self {
        Self { ms: self.ms.saturating_add(ms), ..self }
    }
}
