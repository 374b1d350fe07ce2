//! Connections of this process that come and go as fast as they can, of which some stay.

use super::socket::{self, Family, Plan};
use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Sockets that are open at any time, once it has begun.
const N_ALIVE: usize = 60;
/// Nothing but a probe a second each, answered.
const PROBING: Plan = Plan::keepalive(1, 1, 127);

/// Connections that come and go, as fast as they can.
#[derive(Debug, Default)]
pub struct ChurningConnections {
    /// Set by whoever wants it to end.
    pub stopped: AtomicBool,
    alive: Mutex<Vec<OwnedFd>>,
}

impl ChurningConnections {
    /// Makes them in the network namespace of this thread, until it is stopped.
    pub fn run(&self) {
        let listener = socket::listener(Family::V4, Family::V4.loopback(), 1, &Plan::NOTHING);
        let address = socket::local_address(&listener);
        let mut alive = VecDeque::new();
        while !self.stopped.load(Ordering::Relaxed) || alive.len() < N_ALIVE {
            alive.push_back(socket::connected(Family::V4, address, &PROBING));
            alive.push_back(socket::accepted(&listener));
            if alive.len() > N_ALIVE {
                alive.truncate(N_ALIVE - 4);
                alive.rotate_left(7);
            }
        }
        alive.push_back(listener);
        *self.alive.lock().unwrap_or_else(PoisonError::into_inner) = alive.into();
    }

    /// The sockets that were open at its end.
    pub fn alive(self) -> Vec<OwnedFd> {
        self.alive.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
