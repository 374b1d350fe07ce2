//! The facts about a connection that a verdict is made of. A sample of its socket gives them, and so does the row that
//! was made of one: nothing has to be turned back into a socket to be judged.

use crate::model::observed::socket::{Direction, Endpoint, Socket};

/// A connection as far as verdicts look at it.
pub trait ConnectionFacts {
    /// Our end.
    fn local(&self) -> Endpoint;
    /// The peer.
    fn remote(&self) -> Endpoint;
    /// Who sent the SYN.
    fn direction(&self) -> Direction;
    /// Inode number of its network namespace.
    fn netns(&self) -> u32;
    /// Silence before the first probe, seconds. None while keepalive is off.
    fn probe_after_seconds(&self) -> Option<u32>;
    /// Silence until the kernel gives up, seconds. None while keepalive is off.
    fn detected_after_seconds(&self) -> Option<u64>;

    /// Whether both ends have one address, or the peer's is a loopback address.
    fn is_loopback(&self) -> bool {
        let remote = self.remote().addr;
        remote.to_canonical().is_loopback() || remote == self.local().addr
    }
}

impl ConnectionFacts for Socket {
    fn local(&self) -> Endpoint {
        self.local
    }

    fn remote(&self) -> Endpoint {
        self.remote
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    fn netns(&self) -> u32 {
        self.netns
    }

    fn probe_after_seconds(&self) -> Option<u32> {
        self.keepalive.then(|| self.idle().value)
    }

    fn detected_after_seconds(&self) -> Option<u64> {
        self.detection_seconds()
    }
}
