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

/// What was sent and not acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unacked {
    /// Nothing.
    #[default]
    Nothing,
    /// Our FIN alone.
    Fin,
    /// Data.
    Data,
}

/// What a peer ever said to data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// It sent data of its own, or nothing was sent to it.
    #[default]
    Data,
    /// It acknowledged data, and sent none.
    Acknowledged,
    /// Nothing.
    Nothing,
}

/// What was written and not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unsent {
    /// Nothing.
    #[default]
    Nothing,
    /// Data: it waits for what is in flight, or this host could not send it.
    Waits,
    /// Data for which the peer's window had no room, while nothing was in flight.
    WindowClosed,
}

/// What a hook reported of a change to CLOSE, beyond the socket itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// Whether a hook reported it at all; if not, nothing below is known.
    pub found: Discovery,
    /// Of one that no hook reported: milliseconds since it was seen last.
    pub unseen_ms: u32,
    /// Of data that this host could not send at first: milliseconds since it tried to. The look before the end shows that.
    pub held_back_ms: Option<u32>,
    /// `sk_err`; 0 means no error.
    pub errno: u16,
    /// Retransmissions of what is not acknowledged.
    pub retransmits: u8,
    /// Milliseconds since the first of them; where nothing is in flight, since the first try to send what waits.
    pub retransmitting_ms: Option<u32>,
    /// Milliseconds since data was sent last.
    pub sent_ms: Option<u32>,
    /// The smoothed round trip time, microseconds, if one was measured.
    pub round_trip_us: Option<u32>,
    /// Milliseconds since data was received last: probes and their answers carry none.
    pub received_data_ms: Option<u32>,
    /// What the peer ever said to data.
    pub reply: Reply,
    /// What of ours was not acknowledged fills a segment.
    pub segment_unacked: bool,
    /// What of ours was not acknowledged.
    pub unacked: Unacked,
    /// What was written and not sent.
    pub unsent: Unsent,
    /// It happened inside the socket's own keepalive timer.
    pub in_keepalive_timer: bool,
    /// Nobody had accepted it.
    pub unaccepted: bool,
}

impl Ending {
    /// Whether data was in flight, and not only our FIN.
    pub const fn has_unacked_data(&self) -> bool {
        matches!(self.unacked, Unacked::Data)
    }

    /// Whether something written was not sent.
    pub const fn has_unsent(&self) -> bool {
        !matches!(self.unsent, Unsent::Nothing)
    }

    /// Milliseconds since the last data, either way: a program's idle timer knows nothing of probes.
    pub fn without_data_ms(&self) -> Option<u32> {
        self.sent_ms.into_iter().chain(self.received_data_ms).min()
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::{Discovery, Ending, Reply, Unacked, Unsent};
    use crate::model::observed::errno::ECONNRESET;

    /// Data met a reset, at once.
    pub(crate) const RESET: Ending = Ending {
        found: Discovery::Reported,
        unseen_ms: 0,
        held_back_ms: None,
        errno: ECONNRESET,
        retransmits: 0,
        retransmitting_ms: None,
        sent_ms: Some(0),
        round_trip_us: Some(300),
        received_data_ms: None,
        unacked: Unacked::Data,
        unsent: Unsent::Nothing,
        in_keepalive_timer: false,
        reply: Reply::Data,
        segment_unacked: false,
        unaccepted: false,
    };
}
