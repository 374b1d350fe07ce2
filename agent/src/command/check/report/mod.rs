//! What was found, alike connections together, as text and as JSON.

use super::{checked_connection::CheckedConnection, sum::Sum};
use crate::{
    command::{
        socket_text::{self, Size, Style},
        table,
    },
    config,
    model::{
        judgement::{
            check_policy::{Fault, Judgement, Policy, Subject as _, Violation},
            gap::GapFrom,
            verdict::{Surroundings, Verdict},
        },
        observed::socket::Owner,
    },
    view::connection::{Connection, KeepaliveSettings, PartOf, PathLimit},
};
use serde::Serialize;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{self, Write},
    net::SocketAddr,
};

/// How text may look where it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReportStyle {
    pub(super) style: Style,
    /// Columns of the terminal. In a file lines are as long as they are.
    pub(super) columns: usize,
}

impl ReportStyle {
    pub(super) fn new(colour: bool, terminal: Option<Size>) -> Self {
        let columns = terminal.map_or(usize::MAX, |size| size.columns);
        Self { style: Style { colour }, columns }
    }
}

/// Everything that was judged.
#[derive(Debug)]
pub(super) struct Report {
    policy: Policy,
    pub(super) around: Surroundings,
    groups: BTreeMap<Key, Group>,
    /// Settings that were refused where no rule asks, and how often: worth a word.
    notes: BTreeMap<String, u64>,
    pub(super) sum: Sum,
}

/// What is alike: findings first, those of most weight before others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    is_fine: bool,
    judgement: Judgement,
    process: String,
    remote: SocketAddr,
    keepalive: String,
}

/// Connections with one judgement: reported in one finding.
#[derive(Debug)]
struct Group {
    judgement: Judgement,
    n_connections: u64,
    /// The first of them.
    first: CheckedConnection,
    verdict: Verdict,
    /// The verdict in words, with the numbers behind it.
    reason: String,
}

impl Report {
    pub(super) fn new(policy: Policy, around: Surroundings) -> Self {
        let sum = Sum::new(policy.judges_inbound(), policy.is_partial());
        Self { policy, around, groups: BTreeMap::new(), notes: BTreeMap::new(), sum }
    }

    /// Judges a connection and adds it to its group.
    pub(super) fn add(&mut self, subject: CheckedConnection) {
        let Self { policy, around, groups, notes, sum } = self;
        let judgement = policy.judge(&subject, around);
        let is_connection = subject.is_connection();
        let n_findings = match &judgement {
            Judgement::Judged(findings) => {
                sum.judged += u64::from(is_connection);
                sum.violating += u64::from(is_connection && !findings.is_empty());
                let is_call = |finding: &&Violation| finding.fault == Fault::FailedCall;
                let n_calls = findings.iter().filter(is_call).count();
                sum.failed_calls += u64::try_from(n_calls).unwrap_or_default();
                findings.len()
            }
            Judgement::Local => {
                sum.local += 1;
                0
            }
            Judgement::Allowed(_) | Judgement::Uncovered if !is_connection => 0,
            Judgement::OtherDirection => 0,
            Judgement::Allowed(_) => {
                sum.allowed += 1;
                0
            }
            Judgement::Uncovered => {
                sum.uncovered += 1;
                0
            }
        };
        let asked = matches!(&judgement, Judgement::Judged(findings)
            if findings.iter().any(|finding| finding.fault == Fault::FailedCall));
        if !asked && !matches!(judgement, Judgement::Allowed(_)) {
            let name = subject.owners.first().map_or("-", |owner| owner.process.as_str());
            for setting in &subject.refused {
                sum.refused_settings += 1;
                *notes.entry(format!("{name}: {}", setting.words())).or_default() += 1;
            }
        }
        if n_findings == 0 && (!is_connection || judgement == Judgement::OtherDirection) {
            return;
        }
        let process = subject.owners.first().map(|owner| owner.process.clone());
        let key = Key {
            is_fine: n_findings == 0,
            judgement: judgement.clone(),
            process: process.unwrap_or_default(),
            remote: subject.connection.remote,
            keepalive: socket_text::settings(&subject.connection.settings),
        };
        let (verdict, reason) = if !policy.include_local && around.is_local(&subject.connection) {
            (Verdict::Local, around.reason(&subject.connection))
        } else {
            subject.verdict_on_path(around)
        };
        let new = || Group { judgement, n_connections: 0, first: subject, verdict, reason };
        groups.entry(key).or_insert_with(new).n_connections += 1;
    }

    /// What is alike, findings first.
    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// What there is to say of connections with one name, whatever differs between them: findings first. The name says
    /// nothing that is another at the next look.
    pub(super) fn by_name(&self) -> Vec<(String, Vec<ReportLine<'_>>)> {
        let mut all: Vec<(String, Vec<ReportLine<'_>>)> = Vec::new();
        let mut places = HashMap::new();
        for one in self.reported(true) {
            let name = one.group.name();
            let place = *places.entry(name.clone()).or_insert(all.len());
            match all.get_mut(place) {
                Some((_, lines)) => lines.push(one),
                None => all.push((name, vec![one])),
            }
        }
        all
    }

    /// Whether there is anything to complain of. What was not seen is not fine.
    pub(super) const fn has_findings(&self) -> bool {
        self.sum.violating > 0
            || self.sum.failed_calls > 0
            || self.sum.may_have_missed()
            || self.sum.nothing_has.is_some()
    }

    /// One finding a line, and where that is too long for the terminal the reason below; then
    /// the limits, once, and the sum. `all` also shows what is fine.
    pub(super) fn text(
        &self,
        out: &mut impl Write,
        look: ReportStyle,
        all: bool,
    ) -> io::Result<()> {
        const HEADINGS: [&str; 6] = ["FINDING", "N", "PROCESS", "PEER", "KEEPALIVE", "WHY"];
        const INDENT: &str = "    ";
        let ReportStyle { style, columns } = look;
        let reported = self.reported(all);
        let lines: Vec<_> = reported.iter().map(ReportLine::line).collect();
        if !lines.is_empty() {
            let mut widths = table::widths(HEADINGS, &lines);
            let is_wide = table_width(&widths) > columns;
            if is_wide {
                make_room(&mut widths, columns);
            }
            let n_columns = if is_wide { HEADINGS.len() - 1 } else { HEADINGS.len() };
            let row = |cells: &[String; 6]| {
                let cells: Vec<String> = cells
                    .iter()
                    .zip(widths)
                    .take(n_columns)
                    .map(|(cell, width)| table::cut(cell, width))
                    .collect();
                table::aligned(&cells, &widths)
            };
            let heading = row(&HEADINGS.map(str::to_owned));
            writeln!(out, "{}", style.paint(heading.trim_end(), "1"))?;
            for (one, line) in reported.iter().zip(&lines) {
                let text = row(line);
                let (what, rest) = text.split_at_checked(line[0].len()).unwrap_or(("", &text));
                let colour = if one.fault.is_some() { "1;31" } else { "32" };
                writeln!(out, "{}{}", style.paint(what, colour), rest.trim_end())?;
                let room = columns.saturating_sub(INDENT.len());
                let below = Some(&line[5]).filter(|_| is_wide);
                for part in below.into_iter().flat_map(|why| table::wrapped(why, room)) {
                    writeln!(out, "{INDENT}{part}")?;
                }
            }
            writeln!(out)?;
        }
        for limit in limits(&reported) {
            for part in table::wrapped(&limit, columns) {
                writeln!(out, "{part}")?;
            }
        }
        for (note, n) in &self.notes {
            let times = if *n == 1 { String::new() } else { format!(", {n} times") };
            let note = format!("note: {note}{times} (--no-failed-calls makes it a finding)");
            for part in table::wrapped(&note, columns) {
                writeln!(out, "{part}")?;
            }
        }
        let colour = if self.has_findings() { "1;31" } else { "1;32" };
        let Self { sum, .. } = self;
        let words = sum.words() + &sum.rest(self.policy.include_local);
        for part in table::wrapped(&words, columns) {
            writeln!(out, "{}", style.paint(&part, colour))?;
        }
        Ok(())
    }

    /// The process with the most findings, as a word for `keepwatch why` that is safe to paste into a shell. A process
    /// names itself: what a shell could take for more than a word, or `why` for a number or an option, is said by its id.
    pub(super) fn worst_process(&self) -> Option<String> {
        let reported = self.reported(false);
        let owner = reported.first()?.group.first.owners.first()?;
        let word = config::owner_word(&owner.process, owner.pid);
        Some(word).filter(|word| owner.pid != Owner::KERNEL || *word == owner.process)
    }

    /// One object a line: each finding, then the sum; `all` also shows what is fine.
    pub(super) fn json(&self, out: &mut impl Write, all: bool) -> io::Result<()> {
        for one in self.reported(all) {
            serde_json::to_writer(&mut *out, &one.object())?;
            out.write_all(b"\n")?;
        }
        serde_json::to_writer(&mut *out, &self.sum)?;
        out.write_all(b"\n")
    }

    /// Each finding once, whatever else is wrong with the connections that it is about.
    fn reported(&self, all: bool) -> Vec<ReportLine<'_>> {
        let mut reported: Vec<ReportLine<'_>> = Vec::new();
        let mut places = HashMap::new();
        for one in self.groups().flat_map(|group| group.about(all)) {
            let place = *places.entry(one.likeness()).or_insert(reported.len());
            match reported.get_mut(place) {
                Some(alike) => alike.n_connections += one.n_connections,
                None => reported.push(one),
            }
        }
        // What most connections have is what to mend first.
        reported.sort_by_key(|one| {
            let weight = if one.fault.is_some() { one.n_connections } else { 0 };
            (one.fault.is_none(), Reverse(weight))
        });
        reported
    }
}

impl Group {
    /// The process, the peer and the settings.
    fn name(&self) -> String {
        let connection = &self.first.connection;
        let arrow = connection.direction().arrow();
        let settings = socket_text::settings(&connection.settings);
        format!("{} {arrow} {}, keepalive {settings}", self.process(), self.peer())
    }

    fn process(&self) -> String {
        let name = self.first.owners.first().map_or("-", |owner| owner.process.as_str());
        let PartOf { unit, container, workload, .. } = &self.first.connection.part_of;
        let unit = unit.as_ref().filter(|_| container.is_none());
        let part_of = workload.as_ref().or(container.as_ref()).or(unit);
        part_of.map_or_else(|| name.to_owned(), |part_of| format!("{part_of} {name}"))
    }

    fn peer(&self) -> String {
        let remote = self.first.connection.remote;
        if remote.port() == 0 { "(none)".to_owned() } else { remote.to_string() }
    }

    /// What there is to say.
    fn about(&self, all: bool) -> Vec<ReportLine<'_>> {
        let reported = |result, reason: &str| ReportLine {
            result,
            fault: None,
            rule: None,
            reason: reason.to_owned(),
            n_connections: self.n_connections,
            group: self,
        };
        match &self.judgement {
            Judgement::Judged(findings) if !findings.is_empty() => {
                let finding = |one: &Violation| ReportLine {
                    fault: Some(one.fault),
                    rule: one.rule.clone(),
                    ..reported("finding", &one.reason)
                };
                findings.iter().map(finding).collect()
            }
            _ if !all => Vec::new(),
            Judgement::Judged(_) => vec![reported("fine", &self.reason)],
            Judgement::Local => vec![reported("local", &self.reason)],
            Judgement::Allowed(reason) => {
                vec![reported("allowed", reason.as_deref().unwrap_or("by the policy"))]
            }
            Judgement::Uncovered => vec![reported("uncovered", "no rule covers it")],
            Judgement::OtherDirection => Vec::new(),
        }
    }
}

/// Something to say of connections alike.
pub(super) struct ReportLine<'a> {
    result: &'static str,
    pub(super) fault: Option<Fault>,
    rule: Option<String>,
    reason: String,
    n_connections: u64,
    group: &'a Group,
}

impl ReportLine<'_> {
    /// How they were judged.
    pub(super) const fn judgement(&self) -> &Judgement {
        &self.group.judgement
    }

    /// The reason, the rule that asks, and for how many connections if there are several.
    pub(super) fn words(&self) -> String {
        let words = with_rule(&self.reason, self.rule.as_deref());
        match self.n_connections {
            1 => words,
            n => format!("{words} ({n} connections)"),
        }
    }

    fn line(&self) -> [String; 6] {
        let what = self.fault.map_or(self.result, Fault::as_str).to_owned();
        let n = self.n_connections.to_string();
        let connection = &self.group.first.connection;
        let keepalive = socket_text::settings(&connection.settings);
        // The limit is said once, below.
        let why = if self.is_of_path() {
            with_rule(&connection.probes_in_words("it"), self.rule.as_deref())
        } else {
            with_rule(&self.reason, self.rule.as_deref())
        };
        [what, n, self.group.process(), self.group.peer(), keepalive, why]
    }

    /// Whether the limit of the path decided.
    fn is_of_path(&self) -> bool {
        self.fault == Some(Fault::Unprotected)
    }

    /// What it has in common with others that are the same finding: how much is left of a timer is no difference.
    fn likeness(&self) -> (&'static str, [String; 6], Option<GapFrom>, String) {
        let Connection { gap_from, limit, .. } = &self.group.first.connection;
        let mut cells = self.line();
        cells[1].clear();
        if self.is_of_path() {
            cells[5] = self.rule.clone().unwrap_or_default();
        }
        (self.result, cells, *gap_from, limit_sentence(limit))
    }

    fn object(&self) -> Object<'_> {
        let Group { first: CheckedConnection { connection, owners, .. }, verdict, .. } = self.group;
        let owner = owners.first();
        let remote = Some(connection.remote).filter(|remote| remote.port() != 0);
        Object {
            result: self.result,
            finding: self.fault,
            rule: self.rule.as_deref(),
            meaning: &self.reason,
            connections: self.n_connections,
            process: owner.map(|owner| owner.process.as_str()),
            remote,
            verdict: remote.map(|_| *verdict),
            settings: connection.settings,
            limit: &connection.limit,
            part_of: &connection.part_of,
            first: First {
                id: connection.id.as_deref().unwrap_or_default(),
                local: connection.local,
                pid: owner.map(|owner| owner.pid),
            },
        }
    }
}

/// The limits that decided, each once.
fn limits(reported: &[ReportLine<'_>]) -> Vec<String> {
    let of = |one: &ReportLine<'_>| limit_sentence(&one.group.first.connection.limit);
    let all: BTreeSet<String> = reported.iter().filter(|one| one.is_of_path()).map(of).collect();
    all.into_iter().collect()
}

fn limit_sentence(limit: &PathLimit) -> String {
    limit.sentence("a quiet connection")
}

fn table_width(widths: &[usize]) -> usize {
    widths.iter().map(|width| width + 2).sum::<usize>().saturating_sub(2)
}

/// Makes the names of processes shorter, if the columns before the last do not fit otherwise.
fn make_room(widths: &mut [usize; 6], columns: usize) {
    const LEAST: usize = 12;
    let [before @ .., _] = &*widths;
    let too_much = table_width(before).saturating_sub(columns);
    widths[2] = widths[2].saturating_sub(too_much).max(widths[2].min(LEAST));
}

fn with_rule(reason: &str, rule: Option<&str>) -> String {
    rule.map_or_else(|| reason.to_owned(), |rule| format!("{reason} (rule {rule})"))
}

/// Connections alike in JSON, with one finding.
#[derive(Serialize)]
struct Object<'a> {
    /// What follows for the exit code.
    result: &'static str,
    /// The rule of the policy that is broken, if one is.
    finding: Option<Fault>,
    /// The name that the policy gives to that rule.
    rule: Option<&'a str>,
    /// The finding in words, with its numbers.
    meaning: &'a str,
    /// How many connections there are of this kind.
    connections: u64,
    /// The process that has them open.
    process: Option<&'a str>,
    /// The peer; null of a call that failed before there was one.
    remote: Option<SocketAddr>,
    /// What is promised of them.
    verdict: Option<Verdict>,
    #[serde(flatten)]
    settings: KeepaliveSettings,
    #[serde(flatten)]
    limit: &'a PathLimit,
    #[serde(flatten)]
    part_of: &'a PartOf,
    /// One of them, to find it elsewhere.
    first: First<'a>,
}

/// One of them, to find it elsewhere.
#[derive(Serialize)]
struct First<'a> {
    /// The socket cookie, as `ss -e` writes it.
    id: &'a str,
    /// Address and port of our end.
    local: SocketAddr,
    /// The process that has it open.
    pid: Option<u32>,
}

#[cfg(test)]
mod tests;
