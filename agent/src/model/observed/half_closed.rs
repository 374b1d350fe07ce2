//! A connection of which the peer has closed its half: its FIN came, and the program has not closed ours. That is a legal
//! use if the program still sends, as to an HTTP/1.0 client, `nc -N`, rsync or over ssh; else it does not read, or it leaks
//! the connection.

use super::{
    peer_closed::PeerClosed,
    socket::{Socket, State, Time},
};

/// Stamps are in ticks of up to 10 ms.
const TICK_MS: u32 = 10;

impl Socket {
    /// Keeps the time of the FIN that an earlier look knew, `passed_ms` ago.
    pub(super) const fn keep_peer_closed(&mut self, before: &Self, passed_ms: u32) {
        if let (Some(now), Some(known)) = (&mut self.peer_closed, before.peer_closed)
            && !now.is_seen
        {
            *now = known.older(passed_ms);
        }
    }

    /// When the peer closed its half, as known at `now`. None if it has not, or if data that was sent since was acknowledged:
    /// then it had closed no more than its half.
    pub fn closed_by_peer_at(&self, now: Time) -> Option<PeerClosed> {
        let passed_ms = u32::try_from(now.ms_since(self.at)).unwrap_or(u32::MAX);
        let closed = self.peer_closed?;
        let is_after = |ms: u32| ms.saturating_add(TICK_MS) < closed.ms;
        let is_used = !self.in_flight && self.spoke_last_ms.is_some_and(is_after);
        (!is_used).then(|| closed.older(passed_ms))
    }

    /// Of one that ends: whether the peer had closed it, as far as anybody can know, when the data was sent that was never
    /// acknowledged. What came since its FIN may be an answer to a probe, for as long as the peer's kernel waits for our FIN.
    pub fn was_closed_by_peer(&self) -> bool {
        self.peer_closed.is_some_and(|closed| {
            self.keepalive || self.silent_ms.saturating_add(TICK_MS) >= closed.ms
        })
    }

    /// Whether the program goes on sending to a peer that has closed its half, and is acknowledged: after a pause as long as
    /// what it has sent for since the FIN, it is no more at work.
    pub fn is_half_used(&self) -> bool {
        const LEAST_PAUSE_MS: u32 = 10_000;
        const LONGEST_PAUSE_MS: u32 = 60_000;
        let closed = self.peer_closed.filter(|_| self.state == State::CloseWait);
        let (Some(closed), Some(sent_ms)) = (closed, self.spoke_last_ms) else {
            return false;
        };
        let is_after = |ms: u32| ms.saturating_add(TICK_MS) < closed.ms;
        is_after(sent_ms)
            && (!self.in_flight || is_after(self.received_ms))
            && sent_ms <= (closed.ms / 2).clamp(LEAST_PAUSE_MS, LONGEST_PAUSE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::{peer_closed::PeerClosed, socket::tests_support::socket};

    fn closed(ms: u32, spoke_last_ms: Option<u32>) -> Socket {
        let peer_closed = Some(PeerClosed { ms, is_seen: true });
        Socket { state: State::CloseWait, peer_closed, spoke_last_ms, ..socket() }
    }

    #[test]
    fn a_program_that_sends_after_the_fin_and_is_acknowledged_uses_its_half() {
        assert!(closed(30_000, Some(500)).is_half_used());
        assert!(closed(3_600_000, Some(59_000)).is_half_used());
        let streaming = Socket { in_flight: true, received_ms: 40, ..closed(30_000, Some(0)) };
        assert!(streaming.is_half_used());
        assert!(!Socket { received_ms: 30_000, ..streaming }.is_half_used(), "nobody answers");
    }

    #[test]
    fn what_the_peer_had_closed_is_told_from_a_half_of_which_data_was_acknowledged_since() {
        let ends = |before: &Socket, seconds: u64, silent_ms: u32| {
            let at = before.at.ms_after(seconds * 1000);
            let peer_closed = before.closed_by_peer_at(at);
            Socket { at, state: State::Close, silent_ms, peer_closed, ..*before }
        };
        let left = closed(20_000, None);
        let dies = ends(&left, 21, 41_000);
        assert_eq!(dies.peer_closed.map(|closed| closed.ms), Some(41_000));
        assert!(dies.was_closed_by_peer());
        // Something came since: an acknowledgement, as nothing else can have.
        assert!(!ends(&left, 21, 15_000).was_closed_by_peer());
        let probed = Socket { keepalive: true, ..left };
        assert!(ends(&probed, 21, 15_000).was_closed_by_peer(), "the answer to a probe");
        let used = Socket { keepalive: true, ..closed(20_000, Some(4_000)) };
        assert!(!ends(&used, 21, 25_000).was_closed_by_peer());
        assert!(!ends(&Socket { peer_closed: None, ..left }, 21, 41_000).was_closed_by_peer());
    }

    #[test]
    fn a_program_that_has_sent_nothing_since_the_fin_or_not_for_long_does_not() {
        assert!(!closed(30_000, None).is_half_used());
        // The answer went out, and then the peer closed.
        assert!(!closed(30_000, Some(30_004)).is_half_used());
        // It answered after the FIN, and then it leaked the connection.
        assert!(!closed(12_000, Some(11_900)).is_half_used());
        assert!(!closed(3_600_000, Some(61_000)).is_half_used());
    }
}
