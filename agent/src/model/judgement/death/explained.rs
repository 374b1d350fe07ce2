//! What explains a death after a quiet time as well as a path that forgets: the peer had closed it, and its FIN was lost on a path
//! that was cut for a while; or the peer or its path was gone meanwhile.

use super::{Cause, Death, Quiet};
use crate::model::{
    observed::{ending::Unacked, socket::Socket},
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
}

impl Death {
    /// How long it had been without data before it died: a program's idle timer counts that.
    pub fn without_data_ms(&self) -> u32 {
        match self.ending.unacked {
            Unacked::Data => self.quiet_ms,
            _ => self.ending.without_data_ms().unwrap_or(0).max(self.quiet_ms),
        }
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
        }
    }
}
