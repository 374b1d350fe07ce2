//! Looking with hooks: events from their ring, and walks by their iterators.

use super::{
    Error,
    sight::{Sight, TakeEvent, locked},
};
use crate::{
    kernel::{
        hooks::{self, HookLog, Hooks, Signal},
        ring::Ring,
        snapshot::Snapshot,
    },
    model::{
        observed::{
            event::Event,
            socket::{SocketAddress, SocketId, Time},
        },
        table::{Heard, Table, agent_health::AgentHealth},
    },
};
use rustix::fd::BorrowedFd;
use std::{collections::VecDeque, io, sync::Mutex, time::Duration};

/// What a walk reads, in this order.
#[derive(Clone, Copy)]
enum WalkPart {
    /// Every socket that a process has open.
    Descriptors,
    /// What is older than the hooks, or was in an event that was lost, and has no descriptor: it stands in the list of its
    /// network namespace, which is asked for once, for it costs as much as all the rest of a walk.
    Lists,
    /// What MPTCP connections are made of: behind the lists, which give cookies to what is older than the hooks.
    Subflows,
    /// Sockets that no part before has met: known from events, and looked at by their addresses.
    Unmet,
}

/// Hooks, their ring, and the walk in progress.
pub struct HookSight {
    hooks: Hooks,
    ring: Ring,
    /// What the hooks say of themselves, if somebody wants to know.
    log: Option<HookLog>,
    /// Sockets of each network namespace, for the first walk.
    lists: Vec<Snapshot>,
    after_loss: bool,
    part: WalkPart,
    /// What is begun of that part.
    begun: VecDeque<Snapshot>,
    unmet: Vec<(SocketId, SocketAddress)>,
}

impl HookSight {
    /// The first walk also reads these lists of network namespaces.
    pub fn new(mut hooks: Hooks, lists: Vec<Snapshot>) -> Result<Self, hooks::Error> {
        Ok(Self {
            ring: hooks.ring()?,
            log: hooks.log()?,
            hooks,
            lists,
            after_loss: false,
            part: WalkPart::Descriptors,
            begun: VecDeque::new(),
            unmet: Vec::new(),
        })
    }
}

impl Sight for HookSight {
    fn heard(&self) -> Heard {
        let is_heard = |signal| {
            let mut all = self.hooks.status().iter();
            all.any(|status| status.signal == signal && status.failure.is_none())
        };
        Heard {
            states: is_heard(Signal::StateChange),
            timers: is_heard(Signal::KeepaliveTimer),
            calls: is_heard(Signal::Setsockopt),
        }
    }

    fn health(&self) -> AgentHealth {
        let hook = |status: &hooks::SignalStatus| {
            (status.signal.as_str(), status.mechanism, status.failure.is_none())
        };
        let hooks = self.hooks.status().iter().map(hook).collect();
        AgentHealth { hooks, ..AgentHealth::default() }
    }

    fn wait(&self, asked_by: Option<BorrowedFd<'_>>, timeout: Duration) -> io::Result<()> {
        match asked_by {
            None => self.ring.wait(timeout),
            Some(asked_by) => self.ring.wait_or(asked_by, timeout),
        }
    }

    fn drain(&mut self, each: &mut TakeEvent<'_>) -> u64 {
        self.ring.drain(each)
    }

    fn count(&mut self, health: &mut AgentHealth) -> Result<(), Error> {
        let counts = self.hooks.counts()?;
        let AgentHealth { flow, fires, n_ended, .. } = health;
        flow.seen = counts.seen;
        flow.submitted = counts.submitted;
        flow.dropped = counts.dropped;
        flow.filtered = counts.filtered;
        flow.skipped = self.hooks.n_skipped();
        *fires = counts.fires;
        *n_ended = counts.ended;
        Ok(())
    }

    fn log_troubles(&mut self, now: Time) -> Result<(), Error> {
        Ok(self.log.as_mut().map_or(Ok(()), |log| log.flush(now))?)
    }

    fn begin_walk(&mut self, after_loss: bool) -> Result<(), Error> {
        self.after_loss = after_loss;
        self.part = WalkPart::Descriptors;
        self.begun = [self.hooks.snapshot()?].into();
        Ok(())
    }

    fn read(&mut self, table: &Mutex<Table>, batch: &mut Vec<Event>) -> Result<bool, Error> {
        let Self { hooks, lists, after_loss, part, begun, unmet, .. } = self;
        loop {
            if let Some(snapshot) = begun.front_mut() {
                if !snapshot.read(|event| batch.push(event))? {
                    begun.pop_front();
                }
                return Ok(true);
            }
            match part {
                WalkPart::Descriptors => {
                    *part = WalkPart::Lists;
                    begun.extend(std::mem::take(lists));
                    if *after_loss {
                        begun.extend(hooks.listed().ok());
                    }
                }
                WalkPart::Lists => {
                    *part = WalkPart::Subflows;
                    begun.extend(hooks.subflows()?);
                }
                WalkPart::Subflows => {
                    *part = WalkPart::Unmet;
                    *unmet = locked(table).unmet(|socket| (socket.id, socket.address));
                }
                WalkPart::Unmet if unmet.is_empty() => return Ok(false),
                WalkPart::Unmet => {
                    let n_at_once = usize::try_from(hooks::MAX_SOUGHT).unwrap_or(usize::MAX);
                    let next: Vec<_> = unmet.drain(..n_at_once.min(unmet.len())).collect();
                    begun.extend(hooks.look_again(&next)?);
                }
            }
        }
    }
}
