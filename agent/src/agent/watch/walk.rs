//! The walks of the watching thread: when one is due, and what it takes in.

use super::{Audience, Error, PUBLISH_MS, Watch, table};
use crate::{
    kernel::{clock, heap_trim, host, proc_source, snapshot},
    log::in_full,
    model::{
        observed::socket::Time,
        table::{
            agent_health::{AgentHealth, HostView},
            happening::Notice,
        },
    },
};
use std::time::Duration;
use tracing::{debug, warn};

/// The death of a connection that lives for this time is written down, and its calls with it: so they may be before.
const LASTING_MS: u64 = 60_000;
/// Happenings that wait for the end of a walk, some 2 MB.
const HAPPENINGS_KEPT: usize = 4096;
/// Sockets, or events since the last walk, after which a walk gives freed memory back.
const MANY: u64 = 50_000;
/// Walks take at most one in this many parts of a CPU.
pub(in crate::agent) const WALK_SHARE: u64 = 20;

impl<A: Audience> Watch<A> {
    /// After the interval; sooner when somebody asks, when connections came whose owner only a walk can tell, when events
    /// were lost, or when hooks were not run: where one was not, others may not have been.
    pub(super) fn walk_is_due(&self, now: Time) -> bool {
        let since_ms = now.ms_since(self.walked);
        let interval_ms = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX);
        let soon_ms = PUBLISH_MS.min(interval_ms);
        let is_after_loss = self.lost() > self.n_lost;
        let is_wanted = is_after_loss || {
            let table = table(&self.table);
            table.n_due() > 0 || table.n_unseen() > self.n_unseen
        };
        let due_ms = match self.is_walk_asked {
            // Somebody waits; the share below is bound enough.
            true => 0,
            false if is_wanted => soon_ms,
            false => interval_ms,
        };
        // While a flood goes on, the walks after the first keep to their share: each would find events lost again.
        let is_first = is_after_loss && !self.was_after_loss;
        let pause_ms = pause_ms(self.health.walk_cpu_ms, interval_ms, is_first);
        since_ms >= due_ms.max(pause_ms)
    }

    /// A walk that fails once is counted and logged; a lasting failure ends the agent.
    pub(super) fn walk_or_say(&mut self) -> Result<(), Error> {
        match self.walk() {
            Err(
                error @ (Error::Totals(snapshot::Error::Read(_))
                | Error::Proc(proc_source::Error::Processes(_))),
            ) => {
                self.health.n_failed_walks += 1;
                self.health.n_failed_in_a_row += 1;
                self.walked = clock::now();
                if let Some(failed) = self.failures.count(self.walked) {
                    let (total, cause) = (self.failures.total(), in_full(&error));
                    warn!(failed, total, cause, "a snapshot failed, the next may not");
                }
                Ok(())
            }
            ended => ended,
        }
    }

    /// Walks over every socket, and takes events meanwhile.
    pub fn walk(&mut self) -> Result<(), Error> {
        self.drain();
        let (began, began_cpu, drained) = (clock::now(), clock::thread_cpu(), self.drain_cpu);
        self.count()?;
        let n_lost = self.lost();
        self.n_unseen = self.health.flow.unseen;
        let after_loss = n_lost > self.n_lost;
        self.is_walk_asked = false;
        self.sight.begin_walk(after_loss)?;
        table(&self.table).begin_walk(after_loss);
        self.read()?;
        let ended = clock::now();
        let n_gone = table(&self.table).end_walk();
        self.health.host_view = host::view();
        if let Some(own) = host::addresses_again() {
            let sees_all = self.health.host_view == HostView::Whole;
            table(&self.table).set_addresses(own, sees_all);
        }
        self.look_up();
        // What is published together is of one moment: no more received than was submitted.
        self.drain();
        self.count()?;
        self.n_lost = n_lost;
        self.was_after_loss = after_loss;
        self.walked = ended;
        // Events that came meanwhile cost the same without a walk.
        let drained = self.drain_cpu.saturating_sub(drained);
        let took_cpu = clock::thread_cpu().saturating_sub(began_cpu + drained);
        self.health.walk_cpu_ms = u64::try_from(took_cpu.as_millis()).unwrap_or(u64::MAX);
        self.health.n_walks += 1;
        self.health.n_failed_in_a_row = 0;
        self.health.walk_seconds = Duration::from_millis(ended.ms_since(began)).as_secs_f64();
        self.health.walked_at_seconds = clock::unix_seconds();
        self.publish(ended);
        let resynchronised = after_loss.then(|| Notice::Resynchronised {
            sockets: table(&self.table).n_sockets(),
            pruned: n_gone,
        });
        self.tell(resynchronised.into_iter().collect());
        self.keep_calls(ended, LASTING_MS);
        // glibc keeps what a burst, or a walk over many, took for a moment.
        let n_received = self.health.flow.received;
        let n_sockets = table(&self.table).n_sockets();
        let AgentHealth { walk_seconds, walk_cpu_ms, .. } = self.health;
        debug!(sockets = n_sockets, seconds = walk_seconds, cpu_ms = walk_cpu_ms, "snapshot taken");
        if (n_received - std::mem::replace(&mut self.n_received, n_received)).max(n_sockets) > MANY
        {
            heap_trim::give_back();
        }
        Ok(())
    }

    /// Takes in what a walk shows.
    fn read(&mut self) -> Result<(), Error> {
        loop {
            let goes_on = self.sight.read(&self.table, &mut self.batch)?;
            // What led to these samples is in the ring by now: calls before what they changed.
            self.drain();
            self.answer();
            let mut locked = table(&self.table);
            self.batch.drain(..).for_each(|event| locked.apply(event));
            let is_much_told = locked.n_happenings() >= HAPPENINGS_KEPT;
            drop(locked);
            // A walk takes seconds on a host with many sockets, and events go on meanwhile.
            if is_much_told {
                self.tell(Vec::new());
            }
            if !goes_on {
                return Ok(());
            }
        }
    }
}

/// Milliseconds between two walks so that they keep to their share of a CPU. The first after a loss comes sooner: until
/// then the table is wrong.
fn pause_ms(walk_cpu_ms: u64, interval_ms: u64, is_first_after_loss: bool) -> u64 {
    let pause_ms = walk_cpu_ms.saturating_mul(WALK_SHARE);
    if is_first_after_loss { pause_ms.min(interval_ms) } else { pause_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_walk_after_a_loss_comes_before_the_share_allows_it() {
        assert_eq!(pause_ms(1000, 1000, true), 1000);
        assert_eq!(pause_ms(1000, 1000, false), 20_000);
        assert_eq!(pause_ms(10, 1000, true), 200, "a cheap one need not wait for the interval");
    }
}
