//! The plan of a drill and what came of it: as a table for eyes, or as JSON.

use super::{DrillPlan, watch::DrillWatch};
use crate::{
    command::{
        socket_text::{Style, settings},
        table::write_table,
    },
    drill::{
        choice::LeftOut,
        noticing::{DrillOutcome, EndedBy, Noticing},
        promise::{Promise, PromiseBy},
    },
    model::{
        judgement::death::Cause,
        text::{
            count::counted,
            duration::{duration, seconds, tenths},
        },
    },
    view::{
        connection::{PartOf, ms},
        row::Row,
    },
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::SocketAddr,
};

/// One connection of a plan or a drill.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DrillRow {
    /// The socket cookie, as `ss -e` writes it.
    id: String,
    /// Inode number of its network namespace.
    netns: u32,
    /// Address and port of our end.
    local: SocketAddr,
    /// Address and port of the peer.
    remote: SocketAddr,
    /// The process that has it open; null if none has.
    pid: Option<u32>,
    /// Its name.
    process: Option<String>,
    /// `planned`, `left_out`, `noticed`, `noticed_late`, `still_connected` or `not_due`.
    outcome: DrillOutcome,
    /// Why it was left out: `local`, `not_established`, `own_session`, `ssh` or `not_counted`; null otherwise.
    reason: Option<LeftOut>,
    /// By what its program was to learn it: `keepalive`, `data_in_flight` or `never`; null of what is left out.
    promised_by: Option<PromiseBy>,
    /// The time within which it was promised, from the cut on; null if it never is.
    promised_seconds: Option<u64>,
    /// The time within which a program that writes meanwhile learns it, from its writing on.
    promised_seconds_of_data: Option<u64>,
    /// The time after the cut at which data was first seen to wait; null if none was.
    data_after_seconds: Option<f64>,
    /// The time after the cut at which it was not established any more; null if it still is.
    noticed_after_seconds: Option<f64>,
    /// Who ended it: `kernel` or `program`; null if that is not known.
    ended_by: Option<EndedBy>,
    /// The cause of its death, from the agent; null without one.
    cause: Option<Cause>,
    /// The error that the program gets, from the agent; null without one.
    errno: Option<String>,
    #[serde(flatten)]
    part_of: PartOf,
    /// Its settings, as a table shows them.
    #[serde(skip)]
    keepalive: String,
}

/// Everything that a drill has to say.
#[derive(Debug)]
pub(super) struct DrillReport {
    json: bool,
    style: Style,
    rows: Vec<DrillRow>,
    left: BTreeMap<LeftOut, usize>,
    /// For how long the paths were cut; nothing of a plan.
    lasted_ms: Option<u64>,
}

impl DrillRow {
    fn new(row: &Row, outcome: DrillOutcome) -> Self {
        let connection = &row.connection;
        let owner = row.owners.first();
        Self {
            id: row.id().to_owned(),
            netns: connection.netns,
            local: connection.local,
            remote: connection.remote,
            pid: owner.map(|owner| owner.pid),
            process: owner.map(|owner| owner.process.clone()),
            outcome,
            reason: None,
            promised_by: None,
            promised_seconds: None,
            promised_seconds_of_data: None,
            data_after_seconds: None,
            noticed_after_seconds: None,
            ended_by: None,
            cause: None,
            errno: None,
            part_of: connection.part_of.clone(),
            keepalive: settings(&connection.settings),
        }
    }

    fn promised(self, promise: Promise) -> Self {
        Self {
            promised_by: Some(promise.by),
            promised_seconds: promise.seconds,
            promised_seconds_of_data: Some(promise.seconds_of_data),
            ..self
        }
    }

    fn seen(self, noticing: &Noticing) -> Self {
        let end = noticing.end.as_ref();
        Self {
            data_after_seconds: noticing.data_after_ms.map(seconds),
            noticed_after_seconds: end.map(|end| seconds(end.after_ms)),
            ended_by: end.and_then(|end| end.by),
            cause: end.and_then(|end| end.cause),
            errno: end.and_then(|end| end.errno.clone()),
            ..self.promised(noticing.promise())
        }
    }

    fn cells(&self) -> [String; 5] {
        let owner = match (&self.process, self.pid) {
            (Some(process), Some(pid)) => format!("{process}[{pid}]"),
            _ => "-".to_owned(),
        };
        let promise = match (self.promised_by, self.promised_seconds) {
            (Some(PromiseBy::Keepalive), Some(time)) => format!("{} by keepalive", duration(time)),
            (Some(_), Some(time)) => format!("{} by data in flight", duration(time)),
            _ => format!(
                "never; {} after it writes",
                duration(self.promised_seconds_of_data.unwrap_or_default())
            ),
        };
        [owner, self.remote.to_string(), self.keepalive.clone(), promise, self.result()]
    }

    fn result(&self) -> String {
        let Some(after) = self.noticed_after_seconds else {
            return match self.outcome {
                DrillOutcome::Planned => "",
                DrillOutcome::NotDue => "not due yet: the drill was shorter",
                _ => "still believes to be connected",
            }
            .to_owned();
        };
        let late = if self.outcome == DrillOutcome::NoticedLate { "LATE, " } else { "" };
        let by = match (self.cause, &self.errno, self.ended_by) {
            (Some(cause), Some(errno), _) => format!(": {}, {errno}", cause.as_str()),
            (Some(cause), None, _) => format!(": {}", cause.as_str()),
            (None, _, Some(EndedBy::Program)) => ": closed by its program".to_owned(),
            _ => String::new(),
        };
        format!("{late}noticed after {}{by}", tenths(ms(after)))
    }
}

impl DrillReport {
    pub(super) const fn new(json: bool, style: Style) -> Self {
        Self { json, style, rows: Vec::new(), left: BTreeMap::new(), lasted_ms: None }
    }

    /// What would be cut, and what is left out.
    pub(super) fn add_plan(&mut self, plan: &DrillPlan) {
        for (row, promise) in &plan.chosen {
            self.rows.push(DrillRow::new(row, DrillOutcome::Planned).promised(*promise));
        }
        self.add_left(plan);
    }

    /// What came of a drill.
    pub(super) fn add_drill(&mut self, plan: &DrillPlan, watch: &DrillWatch) {
        for (row, _) in &plan.chosen {
            if let Some(noticing) = watch.of(row.id()) {
                self.rows
                    .push(DrillRow::new(row, noticing.outcome(watch.lasted_ms)).seen(noticing));
            }
        }
        self.add_left(plan);
        self.lasted_ms = Some(watch.lasted_ms);
    }

    /// What is left out: text only counts them.
    fn add_left(&mut self, plan: &DrillPlan) {
        for (row, why) in &plan.left {
            *self.left.entry(*why).or_default() += 1;
            if self.json {
                let left = DrillRow::new(row, DrillOutcome::LeftOut);
                self.rows.push(DrillRow { reason: Some(*why), ..left });
            }
        }
    }

    /// Whether every program noticed in time.
    pub(super) fn is_as_hoped(&self) -> bool {
        let is_bad = |row: &DrillRow| {
            matches!(row.outcome, DrillOutcome::NoticedLate | DrillOutcome::StillConnected)
        };
        !self.rows.iter().any(is_bad)
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
        for line in self.summary() {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    fn table(&self, out: &mut impl Write) -> io::Result<()> {
        const HEADINGS: [&str; 5] = ["PROCESS", "PEER", "KEEPALIVE", "NOTICES WITHIN", ""];
        let lines: Vec<[String; 5]> = self.rows.iter().map(DrillRow::cells).collect();
        write_table(out, self.style, HEADINGS, &lines)
    }

    fn summary(&self) -> Vec<String> {
        let n = |outcome| self.rows.iter().filter(|row| row.outcome == outcome).count();
        let mut lines = Vec::new();
        match self.lasted_ms {
            None if self.rows.is_empty() => lines.push("no connection to cut".to_owned()),
            None => lines.push(format!(
                "the paths of {} would be cut. Nothing was changed: --yes does it.",
                counted(self.rows.len(), "connection")
            )),
            Some(lasted_ms) => {
                lines.push(format!(
                    "after {}: {} noticed in time, {} too late, {} not at all; packets pass again",
                    tenths(lasted_ms),
                    n(DrillOutcome::Noticed),
                    n(DrillOutcome::NoticedLate),
                    n(DrillOutcome::StillConnected)
                ));
                if n(DrillOutcome::NotDue) > 0 {
                    lines.push(format!(
                        "of {} nothing is shown: the drill ended before what was promised was due",
                        counted(n(DrillOutcome::NotDue), "connection")
                    ));
                }
            }
        }
        lines.extend(self.left.iter().map(|(why, n)| format!("left out: {n} {}", why.in_words())));
        lines
    }
}

/// How many of what is named has no part in a drill, and why, as the end of a sentence.
pub(super) fn left_in_words(left: &[(Row, LeftOut)]) -> String {
    let mut counts: BTreeMap<LeftOut, usize> = BTreeMap::new();
    for (_, why) in left {
        *counts.entry(*why).or_default() += 1;
    }
    let words: Vec<String> =
        counts.iter().map(|(why, n)| format!("{n} {}", why.in_words())).collect();
    if words.is_empty() {
        ": the filters match no connection".to_owned()
    } else {
        format!(": left out {}", words.join(", "))
    }
}
