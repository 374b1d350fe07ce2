//! What is found about one connection, the worst first.

use serde::Serialize;

/// What others let fear for a connection that lives and is protected by the limit in force: a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// The path has forgotten it: its probe is unanswered, after a quiet time that killed others while the peer answered.
    Forgotten,
    /// It is lost: its probe is unanswered, and so is what others to its host have sent; nobody was heard since.
    Lost,
    /// The path will forget it: its probes come later than what killed others.
    ProbesTooLate,
}

/// The finding about one connection: first what hangs now, then what died of silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finding {
    /// Live: data or the FIN goes unanswered.
    Stuck,
    /// Live: probes go unanswered.
    PeerSilent,
    /// Live: nothing protects it, and it was quiet for longer than its path keeps it.
    Overdue,
    /// Live, and a probe is unanswered after a quiet time that killed others to the peer, while the peer answers: the path has
    /// probably forgotten it.
    ProbablyForgotten,
    /// Live, and a probe is unanswered, others to the host get no answer either, and nobody was heard since: the path or the peer
    /// is probably gone for it.
    ProbablyLost,
    /// Live: it is being opened, and nobody answers its SYN.
    Opening,
    /// Live: the peer's program does not read enough.
    Blocked,
    /// Live: this host has closed it, and its last data or its FIN goes unanswered; nobody waits for it any more.
    GivenUp,
    /// The path, or the peer, forgot it while it was quiet.
    Dropped,
    /// The peer, or the path to it, did not answer any more.
    Dark,
    /// Its data went unanswered for some time of those that were asked for, and then it went on.
    AnsweredAgain,
    /// Live, and keepalive does not protect it.
    Unprotected,
    /// Live, and protected by the limit in force, but its probes come later than what killed others to the peer.
    ProbablyLate,
    /// Live, and a probe is unanswered for clearly longer than a round trip: a single one may be lost.
    ProbeUnanswered,
    /// Live: it waits in an accept queue.
    Unaccepted,
    /// Live: the peer has closed it, and the program has not.
    PeerClosed,
    /// Probes were answered, and then the peer closed it.
    ClosedAlthoughProbed,
    /// It could not be opened, was reset, or the network refused; or what was written was never taken; or it was aborted from outside.
    Failed,
    /// A drill of keepwatch dropped its packets: what came of that says nothing of the peer or the path.
    Drilled,
    /// Nobody saw it end.
    Unseen,
    /// There is nothing to report.
    Fine,
}

impl Finding {
    /// Whether packets that are dropped look like that.
    pub(super) const fn may_be_of_a_drill(self) -> bool {
        matches!(
            self,
            Self::Stuck
                | Self::PeerSilent
                | Self::ProbablyForgotten
                | Self::ProbeUnanswered
                | Self::GivenUp
                | Self::Dropped
                | Self::Dark
                | Self::Failed
                | Self::Unseen
        )
    }

    /// Whether it died of silence, or may.
    pub(crate) const fn is_of_silence(self) -> bool {
        matches!(
            self,
            Self::Stuck
                | Self::PeerSilent
                | Self::Overdue
                | Self::ProbablyForgotten
                | Self::ProbablyLost
                | Self::Opening
                | Self::GivenUp
                | Self::Dropped
                | Self::Dark
                | Self::AnsweredAgain
                | Self::Unprotected
                | Self::ProbablyLate
        )
    }
}
