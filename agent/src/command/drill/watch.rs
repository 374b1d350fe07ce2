//! Looking at the connections of a drill: once a second, and listening to the agent if there is one, which knows when and why
//! each ended.

use super::Error;
use crate::{
    command::{Failure, source::ConnectionReader},
    drill::{
        noticing::{EndedBy, Noticing, SeenEnd},
        path_cut::PathCut,
        promise::Promise,
    },
    kernel::clock,
    model::{
        judgement::death::Cause,
        observed::socket::{SocketId, State, Time},
        table::happening::EventName,
        text::duration::tenths,
    },
    serve::client,
    view::{
        connection::ms,
        event_filter::EventFilter,
        event_row::{EventRow, StreamLine},
        filter::Filter,
        row::Row,
        value_enum::EventChoice,
    },
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};
use tracing::{info, warn};

/// The time between two looks.
const PAUSE_MS: u64 = 1000;
/// Signals are looked for by this often.
const TICK: Duration = Duration::from_millis(50);
/// An agent's last word on an end is waited for, this long: it asks others first.
const LAST_WORD_MS: u64 = 5000;

/// The connections of a drill, as they are seen.
pub(super) struct DrillWatch {
    reader: ConnectionReader,
    filter: Filter,
    /// What an agent reports, if there is one.
    reports: Option<Receiver<Box<EventRow>>>,
    cut_at: Time,
    by_id: BTreeMap<String, (Noticing, String)>,
    /// For how long the paths were cut.
    pub(super) lasted_ms: u64,
}

impl DrillWatch {
    /// Begins to listen.
    pub(super) fn begin(
        chosen: &[(Row, Promise)],
        reader: ConnectionReader,
    ) -> Result<Self, Failure> {
        let ids: Vec<SocketId> =
            chosen.iter().filter_map(|(row, _)| row.id().parse().ok()).collect();
        let filter = Filter { id: ids, ..Filter::default() };
        let reports = if let ConnectionReader::Agent { path, .. } = &reader {
            Some(listen(path.clone(), filter.clone())?)
        } else {
            None
        };
        let name = |row: &Row| {
            let owner = row.owners.first();
            let owner = owner.map_or("-".to_owned(), |it| format!("{}[{}]", it.process, it.pid));
            format!("{owner} -> {}", row.connection.remote)
        };
        let by_id = chosen
            .iter()
            .map(|(row, promise)| (row.id().to_owned(), (Noticing::new(*promise), name(row))));
        let by_id = by_id.collect();
        Ok(Self { reader, filter, reports, cut_at: clock::now(), by_id, lasted_ms: 0 })
    }

    /// From now on packets are dropped.
    pub(super) fn cut_now(&mut self) {
        self.cut_at = clock::now();
    }

    /// What is known of one of them.
    pub(super) fn of(&self, id: &str) -> Option<&Noticing> {
        self.by_id.get(id).map(|(noticing, _)| noticing)
    }

    /// Looks until all have noticed, the time is over or a signal comes.
    pub(super) fn look_until(
        &mut self,
        lasts: Duration,
        is_ended: &AtomicBool,
        cuts: &mut [PathCut],
    ) -> Result<(), Failure> {
        let mut looked = clock::now();
        loop {
            let now = clock::now();
            self.lasted_ms = now.ms_since(self.cut_at);
            self.listen_on();
            if is_ended.load(Ordering::Relaxed) {
                info!("ended by a signal after {}", tenths(self.lasted_ms));
                return Ok(());
            }
            let is_over = u128::from(self.lasted_ms) >= lasts.as_millis();
            if is_over || now.ms_since(looked) >= PAUSE_MS {
                for cut in &mut *cuts {
                    cut.must_hold().map_err(Error::from)?;
                }
                self.look()?;
                looked = clock::now();
                let is_all = self.by_id.values().all(|(noticing, _)| noticing.end.is_some());
                if is_over || is_all {
                    return Ok(());
                }
            }
            clock::wait(TICK);
        }
    }

    fn look(&mut self) -> Result<(), Failure> {
        let after_ms = clock::now().ms_since(self.cut_at);
        let mut seen: BTreeMap<String, (State, bool)> = BTreeMap::new();
        self.reader.each_row(&self.filter, |row| {
            seen.insert(row.id().to_owned(), (row.connection.state, row.connection.in_flight));
        })?;
        for (id, (noticing, name)) in &mut self.by_id {
            let was_there = noticing.end.is_none();
            match seen.get(id) {
                Some((State::Established, in_flight)) => {
                    noticing.is_established(after_ms, *in_flight);
                }
                // Nothing of the peer comes in: these are states of a program that has closed it.
                Some(_) => noticing.has_left(after_ms, Some(EndedBy::Program)),
                None => noticing.has_left(after_ms, None),
            }
            if was_there && noticing.end.is_some() {
                info!("{name} noticed after about {}", tenths(after_ms));
            }
        }
        Ok(())
    }

    /// Takes what the agent has reported.
    fn listen_on(&mut self) {
        let Some(reports) = &self.reports else {
            return;
        };
        while let Ok(event) = reports.try_recv() {
            let cut_at_ms = self.cut_at.0 / 1_000_000;
            let id = event.connection.id.clone().unwrap_or_default();
            if let Some((noticing, _)) = self.by_id.get_mut(&id) {
                let after_ms = ms(event.monotonic_seconds).saturating_sub(cut_at_ms);
                if let Some(waited_ms) = data_waited_ms(&event) {
                    noticing.is_established(after_ms.saturating_sub(waited_ms), true);
                }
                noticing.is_reported(end_of(&event, after_ms));
            }
        }
    }

    /// Waits a little for causes that an agent has not reported yet.
    pub(super) fn hear_the_rest(&mut self) {
        let began = clock::now();
        let is_unexplained = |(it, _): &(Noticing, String)| {
            it.end.as_ref().is_some_and(|end| {
                !it.is_explained || end.cause.is_none() && end.by != Some(EndedBy::Program)
            })
        };
        while self.reports.is_some()
            && self.by_id.values().any(is_unexplained)
            && clock::now().ms_since(began) < LAST_WORD_MS
        {
            clock::wait(TICK);
            self.listen_on();
        }
    }
}

/// Listens to an agent on a thread that ends with this process, from the moment on at which nothing is missed any more.
fn listen(path: PathBuf, filter: Filter) -> Result<Receiver<Box<EventRow>>, Failure> {
    let (sender, receiver) = mpsc::channel();
    let (ready, is_ready) = mpsc::channel();
    let event = [EventName::GivenUp, EventName::Died, EventName::Ended].map(EventChoice::One);
    let wanted = EventFilter { event: event.to_vec(), filter, ..EventFilter::default() };
    let listening = move || {
        let result = client::events(&path, &wanted, |line| match line {
            None => {
                // Later ones are signs of life, for which nobody waits.
                ready.send(()).ok();
                true
            }
            Some(StreamLine::Event(event)) => sender.send(event).is_ok(),
            Some(StreamLine::Notice(_)) => true,
        });
        if let Err(error) = result {
            warn!(%error, "causes are not known: the agent does not report events");
        }
    };
    thread::Builder::new().name("events".to_owned()).spawn(listening)?;
    // If it fails, that thread says so, and looks are enough.
    is_ready.recv().ok();
    Ok(receiver)
}

fn end_of(event: &EventRow, after_ms: u64) -> SeenEnd {
    let cause = event.details.cause;
    let by_program = event.event == EventName::GivenUp
        || matches!(cause, Some(Cause::Abandoned | Cause::LocalClosed | Cause::LocalReset));
    let by = match cause {
        _ if by_program => Some(EndedBy::Program),
        Some(Cause::Unknown) | None => None,
        Some(_) => Some(EndedBy::Kernel),
    };
    SeenEnd { after_ms, by, cause, errno: event.details.errno.clone() }
}

/// For how long data had waited for an answer when a connection died of that. Looks may have missed it: on a busy host an agent's
/// rows are seconds old.
fn data_waited_ms(event: &EventRow) -> Option<u64> {
    let details = &event.details;
    let is_of_data = matches!(
        details.cause,
        Some(Cause::UserTimeout | Cause::RetransmitTimeout | Cause::IdleDrop)
    );
    let waited = details.unsent_seconds.or(details.without_data_seconds);
    waited.filter(|_| is_of_data).map(ms)
}
