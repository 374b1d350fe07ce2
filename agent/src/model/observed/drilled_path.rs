//! A path that keepwatch itself has cut for a drill: what dies of that says nothing of the path or the peer.

use super::socket::{Socket, Time};
use std::net::SocketAddr;

/// Both ends of a connection whose packets were dropped, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrilledPath {
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Our end.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// From then on packets were dropped.
    pub began: Time,
    /// Until then, at the latest.
    pub ended: Time,
}

/// A death is reported so much later at most.
const SLACK_MS: u64 = 2000;

impl DrilledPath {
    /// Whether the packets of a connection were dropped at this time.
    pub fn is_of(&self, socket: &Socket, at: Time) -> bool {
        self.netns == socket.netns
            && self.began <= at
            && at.ms_since(self.ended) <= SLACK_MS
            && self.local == socket.local.socket_addr()
            && self.remote == socket.remote.socket_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observed::socket::tests_support::socket;

    #[test]
    fn only_the_very_connection_is_meant_and_only_in_that_time() {
        let socket = socket();
        let at = |seconds: u64| Time(seconds * 1_000_000_000);
        let path = DrilledPath {
            netns: socket.netns,
            local: socket.local.socket_addr(),
            remote: socket.remote.socket_addr(),
            began: at(100),
            ended: at(160),
        };
        assert!(path.is_of(&socket, at(100)) && path.is_of(&socket, at(161)));
        assert!(!path.is_of(&socket, at(99)) && !path.is_of(&socket, at(163)));
        let other = DrilledPath { netns: path.netns + 1, ..path };
        assert!(!other.is_of(&socket, at(120)));
        let turned = DrilledPath { local: path.remote, remote: path.local, ..path };
        assert!(!turned.is_of(&socket, at(120)));
    }
}
