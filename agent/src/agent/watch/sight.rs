//! What the watching thread looks with. It knows nothing else of where events and snapshots come from.

use super::Error;
use crate::{
    kernel::decode,
    model::{
        observed::{event::Event, socket::Time},
        table::{Heard, Table, agent_health::AgentHealth},
    },
};
use rustix::fd::BorrowedFd;
use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Takes an event, or what could not be decoded, with the number of its owner's cgroup.
pub(super) type TakeEvent<'a> = dyn FnMut(Result<Event, decode::Error>, Option<u64>) + 'a;

/// A source of events and snapshots.
pub trait Sight: Send {
    /// Which changes it reports by itself.
    fn heard(&self) -> Heard;

    /// What it says of itself at the start.
    fn health(&self) -> AgentHealth;

    /// Until there is much to take, somebody asks by this descriptor, or `timeout` is over.
    fn wait(&self, asked_by: Option<BorrowedFd<'_>>, timeout: Duration) -> io::Result<()>;

    /// Passes on the events since the last call. How many records that were.
    fn drain(&mut self, each: &mut TakeEvent<'_>) -> u64;

    /// Brings its own figures up to date.
    fn count(&mut self, health: &mut AgentHealth) -> Result<(), Error>;

    /// Logs what went wrong inside it, if somebody wants to know.
    fn log_troubles(&mut self, now: Time) -> Result<(), Error>;

    /// Begins a walk over every socket. `after_loss`: events were lost since the one before.
    fn begin_walk(&mut self, after_loss: bool) -> Result<(), Error>;

    /// The next part of the walk, as events. False at its end. What came before is in the table by then: of sockets that
    /// it has and the walk has not met, each is looked for before it is believed to be gone.
    fn read(&mut self, table: &Mutex<Table>, batch: &mut Vec<Event>) -> Result<bool, Error>;
}

/// The table is whole between two calls, even if a reader has panicked.
pub(super) fn locked(shared: &Mutex<Table>) -> MutexGuard<'_, Table> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
