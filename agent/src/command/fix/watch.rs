//! `keepwatch fix --apply --watch`: the same again and again. A connection is left to its program for a while first, and
//! is touched once: what its program sets afterwards stays.

use super::{FixArgs, FixReport, counts::Counts, planned_rows, say, set};
use crate::{
    command::{Failure, Outcome, socket_text::Style, source::ConnectionReader, textfile},
    fix::{
        apply::Candidate,
        journal::Journal,
        plan::{LeftAlone, options},
        taken_back::TakenBack,
    },
    kernel::{borrowed_socket::SocketOptions, clock},
    model::observed::socket::Time,
};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

/// A connection as it was met.
struct Met {
    since: Time,
    options: SocketOptions,
}

/// What is known of connections from one look to the next: only of those that live.
#[derive(Default)]
struct Memory {
    taken_back: TakenBack,
    met: HashMap<String, Met>,
    touched: HashSet<String>,
}

impl Memory {
    /// Whether its program has left it as it is for this time.
    fn is_left_alone(
        &mut self,
        id: &str,
        options: SocketOptions,
        grace: Duration,
        now: Time,
    ) -> bool {
        let met = self.met.entry(id.to_owned()).or_insert(Met { since: now, options });
        if met.options != options {
            *met = Met { since: now, options };
        }
        u128::from(now.ms_since(met.since)) >= grace.as_millis()
    }

    fn keep(&mut self, living: &HashSet<String>) {
        self.met.retain(|id, _| living.contains(id));
        self.touched.retain(|id| living.contains(id));
    }
}

pub(super) fn watch(
    args: &FixArgs,
    reader: &mut ConnectionReader,
    pause: Duration,
    style: Style,
) -> Result<Outcome, Failure> {
    let mut journal = Journal::open(&args.state.state_dir)?;
    // Nobody can undo anything meanwhile: the journal is ours.
    let mut memory = Memory { taken_back: args.taken_back(), ..Memory::default() };
    let mut counts = Counts::default();
    loop {
        let mut report = FixReport::new(args, style);
        let candidates = look(args, reader, &mut memory, &mut report)?;
        if !candidates.is_empty() {
            set(&candidates, &mut journal, &mut report)?;
            journal.make_room()?;
            counts.add(&report);
            report.run = Some(journal.run());
            say(&report)?;
        }
        counts.set_left(&report);
        if let Some(file) = &args.textfile {
            textfile::write(file, &counts.metrics())?;
        }
        clock::wait(pause);
    }
}

fn look(
    args: &FixArgs,
    reader: &mut ConnectionReader,
    memory: &mut Memory,
    report: &mut FixReport,
) -> Result<Vec<Candidate>, Failure> {
    let now = clock::now();
    let mut living = HashSet::new();
    let rows = planned_rows(args, reader, report, |row| {
        living.insert(row.id().to_owned());
        (!memory.touched.contains(row.id())).then(|| memory.taken_back.of_its_program(row))
    })?;
    reader.say_unseen();
    let mut candidates = Vec::new();
    for (row, planned) in rows {
        if memory.is_left_alone(row.id(), options(&row.connection), args.grace, now) {
            memory.touched.insert(row.id().to_owned());
            candidates.push(Candidate::new(&row, planned));
        } else {
            report.leave(&row, LeftAlone::InGrace);
        }
    }
    memory.keep(&living);
    Ok(candidates)
}
