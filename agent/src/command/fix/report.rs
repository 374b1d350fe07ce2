//! What was planned, set, left alone and refused: as a table for eyes, or as JSON.

use super::{Error, FixArgs};
use crate::{
    command::{
        socket_text::{Style, as_typed},
        table::write_table,
    },
    config::CarriedOptions,
    fix::{
        apply::{Candidate, FixOutcome, SocketFate},
        journal::Change,
        plan::{LeftAlone, options},
    },
    kernel::{
        borrowed_socket::{Refusal, SocketOptions},
        host,
    },
    model::text::count::counted,
    view::row::Row,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::SocketAddr,
};

/// One connection of a plan or a run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FixRow {
    /// The socket cookie, as `ss -e` writes it.
    id: String,
    /// Address and port of our end.
    local: SocketAddr,
    /// Address and port of the peer.
    remote: SocketAddr,
    /// The process that has it open; null if none has.
    pid: Option<u32>,
    /// Its name.
    process: Option<String>,
    /// `would_fix`, `fixed`, `undone`, `changed_since`, `left_alone` or `refused`.
    outcome: &'static str,
    /// Why it was left alone or refused; null otherwise.
    reason: Option<&'static str>,
    /// What it had.
    before: SocketOptions,
    /// What it gets; null of what is left alone.
    after: Option<SocketOptions>,
    /// Where the values that it gets come from; null of what is left alone or undone.
    values_from: Option<String>,
}

/// Everything that a run has to say.
#[derive(Debug)]
pub(super) struct FixReport {
    json: bool,
    style: Style,
    /// What the command needs that takes a run back.
    carried: CarriedOptions,
    /// The run in the journal, if something may have been set.
    pub(super) run: Option<u32>,
    rows: Vec<FixRow>,
    pub(super) left: BTreeMap<LeftAlone, u64>,
    pub(super) done: BTreeMap<FixOutcome, u64>,
    pub(super) refused: BTreeMap<Refusal, u64>,
    n_planned: u64,
}

impl FixReport {
    pub(super) fn new(args: &FixArgs, style: Style) -> Self {
        Self {
            json: args.json,
            style,
            carried: args.carried.clone(),
            run: None,
            rows: Vec::new(),
            left: BTreeMap::new(),
            done: BTreeMap::new(),
            refused: BTreeMap::new(),
            n_planned: 0,
        }
    }

    /// Makes room for this number of connections: a list that grows is moved.
    pub(super) fn expect(&mut self, n_connections: usize) {
        self.rows.reserve(n_connections);
    }

    /// A connection that is left as it is. Text only counts them.
    pub(super) fn leave(&mut self, row: &Row, why: LeftAlone) {
        *self.left.entry(why).or_default() += 1;
        if self.json {
            let connection = &row.connection;
            let owner = row.owners.first();
            self.rows.push(FixRow {
                id: row.id().to_owned(),
                local: connection.local,
                remote: connection.remote,
                pid: owner.map(|owner| owner.pid),
                process: owner.map(|owner| owner.process.clone()),
                outcome: "left_alone",
                reason: Some(why.as_str()),
                before: options(connection),
                after: None,
                values_from: None,
            });
        }
    }

    /// What would be set. A socket that nobody has open cannot be.
    pub(super) fn add_plan(&mut self, candidates: &[Candidate]) {
        self.expect(candidates.len());
        for candidate in candidates {
            if candidate.holders.is_empty() {
                self.add_set(candidate, (FixOutcome::Refused, Some(Refusal::NoDescriptor)));
            } else {
                self.n_planned += 1;
                self.push(&candidate.change, "would_fix", None, Some(&candidate.origin));
            }
        }
    }

    /// What became of a connection that was to be set.
    pub(super) fn add_set(&mut self, candidate: &Candidate, fate: SocketFate) {
        self.add(&candidate.change, fate, Some(&candidate.origin));
    }

    /// What became of a connection that was to be as before.
    pub(super) fn add_undo(&mut self, change: &Change, fate: SocketFate) {
        let Change { before, after, .. } = *change;
        self.add(&Change { before: after, after: before, ..change.clone() }, fate, None);
    }

    fn add(&mut self, change: &Change, (outcome, why): SocketFate, origin: Option<&str>) {
        *self.done.entry(outcome).or_default() += 1;
        if let Some(why) = why {
            *self.refused.entry(why).or_default() += 1;
        }
        self.push(change, outcome.as_str(), why.map(Refusal::as_str), origin);
    }

    fn push(
        &mut self,
        change: &Change,
        outcome: &'static str,
        reason: Option<&'static str>,
        origin: Option<&str>,
    ) {
        let Change { id, local, remote, pid, process, before, after, .. } = change;
        self.rows.push(FixRow {
            id: id.clone(),
            local: *local,
            remote: *remote,
            pid: (*pid != 0).then_some(*pid),
            process: (!process.is_empty()).then(|| process.clone()),
            outcome,
            reason,
            before: *before,
            after: Some(*after),
            values_from: origin.map(str::to_owned),
        });
    }

    /// Whether something is left for a person to do.
    pub(super) fn needs_attention(&self) -> bool {
        self.n_planned > 0 || self.has_refusals()
    }

    /// Whether a socket could not be reached or set.
    pub(super) fn has_refusals(&self) -> bool {
        !self.refused.is_empty()
    }

    /// An error if the kernel let this process have none of them.
    pub(super) fn is_permitted(&self) -> Result<(), Error> {
        let n_reached: u64 =
            self.done.iter().filter(|(it, _)| **it != FixOutcome::Refused).map(|(_, n)| n).sum();
        let has = |why| self.refused.contains_key(&why);
        if n_reached == 0 && has(Refusal::NotSupported) {
            return Err(Error::NotSupported);
        }
        if n_reached == 0 && has(Refusal::NotPermitted) {
            return Err(Error::NotPermitted(why_not_permitted()));
        }
        Ok(())
    }

    /// Writes it all.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if self.json {
            for row in &self.rows {
                serde_json::to_writer(&mut *out, row)?;
                out.write_all(b"\n")?;
            }
            return Ok(());
        }
        self.table(out)?;
        for line in self.origins() {
            writeln!(out, "{line}")?;
        }
        for line in self.summary() {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    fn table(&self, out: &mut impl Write) -> io::Result<()> {
        const HEADINGS: [&str; 5] = ["PROCESS", "PEER", "HAS", "GETS", ""];
        let lines: Vec<[String; 5]> = self.rows.iter().map(FixRow::cells).collect();
        write_table(out, self.style, HEADINGS, &lines)
    }

    /// Where the values come from, each once, and of how many connections.
    fn origins(&self) -> Vec<String> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for origin in self.rows.iter().filter_map(|row| row.values_from.as_deref()) {
            *counts.entry(origin).or_default() += 1;
        }
        let line =
            |(origin, n)| format!("the values of {} follow {origin}", counted(n, "connection"));
        counts.into_iter().map(line).collect()
    }

    fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let n = |outcome| self.done.get(&outcome).copied().unwrap_or(0);
        if self.n_planned > 0 {
            lines.push(format!(
                "{} would be fixed. Nothing was changed: --apply does it.",
                counted(self.n_planned, "connection")
            ));
            lines.push(
                "An idle time cannot be unset: --undo gives back numbers. A program whose peer is gone gets ETIMEDOUT \
                 where it waits for ever now."
                    .to_owned(),
            );
        }
        if n(FixOutcome::Fixed) > 0 {
            let run = self.run.map_or(String::new(), |run| {
                let undo = self.carried.after(&format!("fix --undo {run}"));
                format!("; `{undo}` takes it back")
            });
            lines.push(format!("{} fixed{run}", counted(n(FixOutcome::Fixed), "connection")));
        }
        if n(FixOutcome::Undone) > 0 {
            lines.push(format!("{} as before", counted(n(FixOutcome::Undone), "connection")));
        }
        if n(FixOutcome::ChangedSince) > 0 {
            lines.push(format!(
                "{} left alone: set anew by the program in the meantime",
                counted(n(FixOutcome::ChangedSince), "connection")
            ));
        }
        for (why, n) in &self.refused {
            lines.push(format!("{} not reached: {}", counted(*n, "connection"), in_words(*why)));
        }
        for (why, n) in &self.left {
            lines.push(format!("left alone: {n} {}", why.in_words()));
        }
        if lines.is_empty() {
            lines.push("no connection to fix".to_owned());
        }
        lines
    }
}

impl FixRow {
    fn cells(&self) -> [String; 5] {
        let owner = match (&self.process, self.pid) {
            (Some(process), Some(pid)) => format!("{process}[{pid}]"),
            _ => "-".to_owned(),
        };
        let outcome = self.reason.unwrap_or(self.outcome).replace('_', " ");
        [
            owner,
            self.remote.to_string(),
            shown(self.before),
            self.after.map_or("-".to_owned(), shown),
            outcome,
        ]
    }
}

/// `60s +3x10s`, as `keepwatch sockets` shows it.
fn shown(options: SocketOptions) -> String {
    let SocketOptions { keepalive, idle_seconds, interval_seconds, count } = options;
    if keepalive {
        format!("{} +{count}x{}", as_typed(idle_seconds), as_typed(interval_seconds))
    } else {
        "off".to_owned()
    }
}

const fn in_words(why: Refusal) -> &'static str {
    match why {
        Refusal::Gone => "gone",
        Refusal::OtherSocket => "its descriptor is another socket by now",
        Refusal::NoDescriptor => {
            "no program has a descriptor of it (the kernel's own, io_uring, or not accepted yet)"
        }
        Refusal::NotPermitted => "the kernel does not permit it",
        Refusal::NotSupported => "this kernel has no pidfd_getfd (Linux 5.6)",
        Refusal::Failed => "the kernel refused the option",
    }
}

/// What stands in the way of `pidfd_getfd`, and the way out.
fn why_not_permitted() -> String {
    if !host::may_trace() {
        return "needs CAP_SYS_PTRACE: run it as root, or give it that capability".to_owned();
    }
    if host::yama_forbids_tracing() {
        return "kernel.yama.ptrace_scope is 3, which forbids it to everybody until the next boot"
            .to_owned();
    }
    "a security module (SELinux deny_ptrace, an AppArmor profile) or a user namespace forbids it"
        .to_owned()
}
