//! What the looks at a connection have shown so far.

/// What the looks at a connection have shown, up to the last of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// For how long it was looked at, up to the last look; 0 at the first.
    pub ms: u32,
    /// Time since the last look: what came meanwhile is not known.
    pub age_ms: u32,
    /// The longest quiet time after which it was seen to go on.
    pub longest_quiet_ms: u32,
    /// The longest time without a packet of the peer before one came, however much was repeated meanwhile; kept in whole seconds.
    pub longest_silence_ms: u32,
    /// Looks at which the last packet was a keepalive probe of the peer, up to the number that is enough.
    pub peer_probes: u8,
}

/// A single packet that looks like a probe may be something else.
const N_PEER_PROBES: u8 = 2;

impl Watched {
    pub(super) fn count_peer_probe(&mut self) {
        self.peer_probes = self.peer_probes.saturating_add(1).min(N_PEER_PROBES);
    }

    /// Whether the peer was silent for clearly longer than the path was ever quiet: this end had to repeat, and nobody knows when. Such
    /// a connection does not show that the peer was there all the time.
    pub const fn has_repeated(self) -> bool {
        /// Looks and timers are coarse.
        const CLEARLY_MS: u32 = 2000;
        self.longest_silence_ms > self.longest_quiet_ms.saturating_add(CLEARLY_MS)
    }

    /// Whether keepalive probes of the peer come in.
    pub const fn is_probed_by_peer(self) -> bool {
        self.peer_probes >= N_PEER_PROBES
    }
}
