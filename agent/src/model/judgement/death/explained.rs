//! What explains a death after a quiet time as well as a path that forgets: the peer had closed it, and its FIN was lost on a path
//! that was cut for a while; or the peer or its path was gone meanwhile.

use super::{Cause, Death, Quiet};
use crate::model::{
    observed::{
        ending::{Reply, Unacked},
        errno::ETIMEDOUT,
        socket::{Direction, Socket},
    },
    text::duration::tenths,
};

/// Another reason for a death than a path that forgot the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherReason {
    /// The peer closes by itself after this time without data, milliseconds, and more had passed.
    PeerCloses {
        /// That time.
        after_ms: u32,
    },
    /// Others to the peer got no answer any more, milliseconds before the end, while this one was quiet.
    WentDark {
        /// That time.
        ms: u32,
    },
    /// Its server never took it: the last packet of the handshake did not count, as with a full accept queue.
    NeverTaken,
}

impl Death {
    /// How long it had been without data before it died: a program's idle timer counts that.
    pub fn without_data_ms(&self) -> u32 {
        match self.ending.unacked {
            Unacked::Data => self.quiet_ms,
            _ => self.ending.without_data_ms().unwrap_or(0).max(self.quiet_ms),
        }
    }

    /// Whether its server never took it, most probably: nothing that this host sent was ever acknowledged, no data ever came, and
    /// the peer had sent more than its SYN-ACK, which it repeats while it lacks the answer (`reqsk_timer_handler` in
    /// net/ipv4/inet_connection_sock.c; with a full accept queue `tcp_check_req` in net/ipv4/tcp_minisocks.c drops that). A reset is
    /// a segment, too.
    pub fn is_never_taken(&self, socket: &Socket) -> bool {
        /// With those that are repeated (`net.ipv4.tcp_synack_retries`).
        const MOST_SYN_ACKS: u32 = 6;
        let ending = &self.ending;
        socket.direction == Direction::Outbound
            && ending.errno == ETIMEDOUT
            && ending.reply == Reply::Nothing
            && (2..=MOST_SYN_ACKS).contains(&socket.segs_in)
            && self.probes_sent == 0
    }

    /// Whether what was not answered is of full size: a path that loses large packets, and reports none, looks the same.
    pub fn may_be_too_large(&self) -> bool {
        self.cause == Cause::IdleDrop
            && self.ending.errno == ETIMEDOUT
            && self.ending.unacked == Unacked::Data
            && self.ending.segment_unacked
    }

    /// The same, with another reason that explains it as well: then the cause is what ended the connection.
    #[must_use]
    pub fn explained_by(mut self, socket: &Socket, reason: OtherReason) -> Self {
        self.other_reason = Some(reason);
        if self.cause == Cause::IdleDrop {
            (self.cause, self.certainty) = self.ending.cause(socket, self.old, Quiet::Short);
        }
        self
    }

    /// The other reason, in words; empty if there is none.
    pub(super) fn other_reason_in_words(&self) -> String {
        match self.other_reason {
            None => String::new(),
            Some(OtherReason::PeerCloses { after_ms }) => format!(
                "; the peer closes by itself {} after the last data, and more had passed: most probably it had closed this one, \
                 and its FIN was lost; a path that forgets sooner than that looks the same",
                tenths(after_ms)
            ),
            Some(OtherReason::WentDark { ms }) => format!(
                "; others to the same peer got no answer any more {} before, while this one was quiet: an outage of the peer or \
                 its path explains it as well as an idle limit",
                tenths(ms)
            ),
            Some(OtherReason::NeverTaken) => "; the peer had repeated its SYN-ACK and never acknowledged data: its server never \
                 took the connection, most probably, as with a full accept queue; no path needs to have forgotten it"
                .to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        judgement::death::Certainty,
        observed::{
            ending::{Ending, tests_support::RESET},
            errno::ECONNRESET,
            socket::{State, tests_support::socket},
        },
    };

    /// Quiet for 38 s, then repeated for 100 s.
    fn dropped(of_ending: Ending) -> (Socket, Death) {
        let socket = Socket { silent_ms: 138_000, segs_in: 4, ..socket() };
        let ending = Ending {
            errno: ETIMEDOUT,
            retransmits: 9,
            retransmitting_ms: Some(100_000),
            ..of_ending
        };
        let death = Death::of(&socket, State::Established, ending, None).unwrap();
        assert_eq!((death.cause, death.certainty), (Cause::IdleDrop, Certainty::Inferred));
        (socket, death)
    }

    #[test]
    fn what_its_server_never_took_repeats_its_syn_ack_and_what_was_ever_answered_or_probed_was_taken()
     {
        let untouched = Ending { reply: Reply::Nothing, ..RESET };
        let (socket, death) = dropped(untouched);
        assert!(death.is_never_taken(&socket));
        let explained = death.explained_by(&socket, OtherReason::NeverTaken);
        assert_eq!(explained.cause, Cause::RetransmitTimeout);
        let said = explained.evidence(&socket);
        assert!(said.contains("its server never took the connection, most probably"), "{said}");
        // Nothing but the SYN-ACK came: what was never used is forgotten like any other.
        assert!(!death.is_never_taken(&Socket { segs_in: 1, ..socket }));
        // The second was the reset of a device that had forgotten it.
        let reset = Death { ending: Ending { errno: ECONNRESET, ..death.ending }, ..death };
        assert!(!reset.is_never_taken(&Socket { segs_in: 2, ..socket }));
        assert!(!death.is_never_taken(&Socket { segs_in: 7, ..socket }), "the peer probes it");
        assert!(!Death { probes_sent: 1, ..death }.is_never_taken(&socket));
        for reply in [Reply::Data, Reply::Acknowledged] {
            assert!(!dropped(Ending { reply, ..untouched }).1.is_never_taken(&socket));
        }
    }

    #[test]
    fn what_fills_a_packet_may_be_lost_for_its_size_and_what_meets_a_reset_was_not() {
        let (socket, large) = dropped(Ending { segment_unacked: true, ..RESET });
        assert!(large.may_be_too_large());
        let said = large.evidence(&socket);
        assert!(
            said.ends_with("a path that loses large packets, and does not say so, looks the same")
        );
        let (_, small) = dropped(RESET);
        assert!(!small.may_be_too_large() && !small.evidence(&socket).contains("large"));
        let ending = Ending { segment_unacked: true, ..RESET };
        let reset = Death::of(&socket, State::Established, ending, None).unwrap();
        assert_eq!((reset.cause, reset.may_be_too_large()), (Cause::IdleDrop, false));
    }
}
