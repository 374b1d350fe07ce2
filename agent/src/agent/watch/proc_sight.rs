//! Looking without eBPF: walks over the descriptors of /proc, and nothing in between. A connection that one walk meets and a
//! later one does not is looked for in the table of its namespace before it is told gone.

use super::{
    Error,
    sight::{Sight, TakeEvent, locked},
};
use crate::{
    kernel::{
        clock,
        proc_source::{ProcSource, ProcWalk, UnmetSocket, Whereabouts, as_listed},
    },
    model::{
        observed::{event::Event, socket::Time},
        table::{
            Heard, Table,
            agent_health::{AgentHealth, WithoutEbpf},
        },
    },
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::BorrowedFd,
    io::Errno,
};
use std::{io, sync::Mutex, time::Duration};

/// /proc, and the walk in progress.
pub(crate) struct ProcSight {
    source: ProcSource,
    walk: Option<ProcWalk>,
    health: WithoutEbpf,
}

impl ProcSight {
    /// `refused`: why there are no hooks, unless nobody wants any.
    pub(crate) fn new(source: ProcSource, refused: Option<String>) -> Self {
        let health = WithoutEbpf { refused, ..WithoutEbpf::default() };
        Self { source, walk: None, health }
    }
}

impl Sight for ProcSight {
    fn heard(&self) -> Heard {
        Heard { states: false, timers: false, calls: false }
    }

    fn health(&self) -> AgentHealth {
        AgentHealth { without_ebpf: Some(self.health.clone()), ..AgentHealth::default() }
    }

    fn wait(&self, asked_by: Option<BorrowedFd<'_>>, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let asks = asked_by.map(|asked_by| PollFd::from_borrowed_fd(asked_by, PollFlags::IN));
        match poll(Option::as_mut_slice(&mut { asks }), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn drain(&mut self, _: &mut TakeEvent<'_>) -> u64 {
        0
    }

    fn count(&mut self, health: &mut AgentHealth) -> Result<(), Error> {
        if let Some(shown) = &mut health.without_ebpf {
            let WithoutEbpf { not_seen, n_processes, .. } = self.health;
            (shown.not_seen, shown.n_processes) = (not_seen, n_processes);
        }
        Ok(())
    }

    fn log_troubles(&mut self, _: Time) -> Result<(), Error> {
        Ok(())
    }

    fn begin_walk(&mut self, _: bool) -> Result<(), Error> {
        self.walk = Some(self.source.begin()?);
        Ok(())
    }

    fn read(&mut self, table: &Mutex<Table>, batch: &mut Vec<Event>) -> Result<bool, Error> {
        let Some(walk) = &mut self.walk else {
            return Ok(false);
        };
        if walk.read(|event| batch.push(event)) {
            return Ok(true);
        }
        let unmet = locked(table).unmet(UnmetSocket::of);
        walk.look_for(&unmet, |id, found| {
            let now = clock::now();
            batch.extend(match found {
                Whereabouts::Gone => Some(Event::Gone { id, at: now }),
                Whereabouts::Listed(line) => locked(table)
                    .last_seen(id)
                    .map(|before| Event::Found(as_listed(&before, &line, now))),
                Whereabouts::Unknown => None,
            });
        });
        self.health.not_seen = walk.not_seen();
        self.health.n_processes = walk.n_processes();
        self.walk = None;
        Ok(false)
    }
}
