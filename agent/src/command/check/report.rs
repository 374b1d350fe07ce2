//! What was found, alike connections together, as text and as JSON.

use super::{checked_connection::CheckedConnection, sum::Sum};
use crate::{
    command::{
        socket_text::{self, Size, Style},
        table,
    },
    model::judgement::{
        check_policy::{Fault, Judgement, Policy, Subject as _, Violation},
        verdict::{Surroundings, Verdict},
    },
    view::connection::{KeepaliveSettings, PartOf, PathLimit, arrow},
};
use serde::Serialize;
use std::{
    cmp::Reverse,
    collections::BTreeMap,
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
pub(super) struct Group {
    pub(super) judgement: Judgement,
    pub(super) n_connections: u64,
    /// The first of them.
    pub(super) first: CheckedConnection,
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
            keepalive: socket_text::keepalive(&subject.connection),
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
    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// Whether there is anything to complain of. What was not seen is not fine.
    pub(super) const fn has_findings(&self) -> bool {
        self.sum.violating > 0 || self.sum.failed_calls > 0 || self.sum.may_have_missed()
    }

    /// One finding a line, and where that is too long for the terminal the reason below; then the sum.
    /// `all` also shows what is fine.
    pub(super) fn text(
        &self,
        out: &mut impl Write,
        look: ReportStyle,
        all: bool,
    ) -> io::Result<()> {
        const HEADINGS: [&str; 6] = ["FINDING", "N", "PROCESS", "PEER", "KEEPALIVE", "WHY"];
        const INDENT: &str = "    ";
        let ReportStyle { style, columns } = look;
        let told = self.told(all);
        let lines: Vec<_> = told.iter().map(ReportLine::line).collect();
        if !lines.is_empty() {
            let widths = table::widths(HEADINGS, &lines);
            let is_wide = widths.iter().map(|width| width + 2).sum::<usize>() - 2 > columns;
            // Of each line, what stands in columns, and what below.
            let split = |line: &[String; 6]| -> (Vec<String>, Option<String>) {
                match line {
                    [cells @ .., why] if is_wide => (cells.to_vec(), Some(why.clone())),
                    cells => (cells.to_vec(), None),
                }
            };
            let heading = table::aligned(&split(&HEADINGS.map(str::to_owned)).0, &widths);
            writeln!(out, "{}", style.paint(heading.trim_end(), "1"))?;
            for (one, line) in told.iter().zip(&lines) {
                let (cells, below) = split(line);
                let text = table::aligned(&cells, &widths);
                let (what, rest) = text.split_at_checked(line[0].len()).unwrap_or(("", &text));
                let colour = if one.fault.is_some() { "1;31" } else { "32" };
                writeln!(out, "{}{}", style.paint(what, colour), rest.trim_end())?;
                let room = columns.saturating_sub(INDENT.len());
                for part in below.iter().flat_map(|why| table::wrapped(why, room)) {
                    writeln!(out, "{INDENT}{part}")?;
                }
            }
            writeln!(out)?;
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
        writeln!(
            out,
            "{}{}",
            style.paint(&sum.words(), colour),
            sum.rest(self.policy.include_local)
        )
    }

    /// One object a line: each finding, then the sum; `all` also shows what is fine.
    pub(super) fn json(&self, out: &mut impl Write, all: bool) -> io::Result<()> {
        for one in self.told(all) {
            serde_json::to_writer(&mut *out, &one.object())?;
            out.write_all(b"\n")?;
        }
        serde_json::to_writer(&mut *out, &self.sum)?;
        out.write_all(b"\n")
    }

    /// Each finding once, whatever else is wrong with the connections that it is about.
    fn told(&self, all: bool) -> Vec<ReportLine<'_>> {
        let mut told: Vec<ReportLine<'_>> = Vec::new();
        let mut places = BTreeMap::new();
        for one in self.groups().flat_map(|group| group.about(all)) {
            let mut cells = one.line();
            cells[1].clear();
            let place = *places.entry((one.result, cells)).or_insert(told.len());
            match told.get_mut(place) {
                Some(alike) => alike.n_connections += one.n_connections,
                None => told.push(one),
            }
        }
        // What most connections have is what to mend first.
        told.sort_by_key(|one| {
            let weight = if one.fault.is_some() { one.n_connections } else { 0 };
            (one.fault.is_none(), Reverse(weight))
        });
        told
    }
}

impl Group {
    /// Whether they fall short.
    pub(super) const fn has_findings(&self) -> bool {
        matches!(&self.judgement, Judgement::Judged(findings) if !findings.is_empty())
    }

    /// The process, the peer and the settings.
    pub(super) fn name(&self) -> String {
        let connection = &self.first.connection;
        let arrow = arrow(connection.direction());
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
        let told = |result, reason: &str| ReportLine {
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
                    ..told("finding", &one.reason)
                };
                findings.iter().map(finding).collect()
            }
            _ if !all => Vec::new(),
            Judgement::Judged(_) => vec![told("fine", &self.reason)],
            Judgement::Local => vec![told("local", &self.reason)],
            Judgement::Allowed(reason) => {
                vec![told("allowed", reason.as_deref().unwrap_or("by the policy"))]
            }
            Judgement::Uncovered => vec![told("uncovered", "no rule covers it")],
            Judgement::OtherDirection => Vec::new(),
        }
    }
}

/// Something to say of connections alike.
struct ReportLine<'a> {
    result: &'static str,
    fault: Option<Fault>,
    rule: Option<String>,
    reason: String,
    n_connections: u64,
    group: &'a Group,
}

impl ReportLine<'_> {
    fn line(&self) -> [String; 6] {
        let what = self.fault.map_or(self.result, Fault::as_str).to_owned();
        let n = self.n_connections.to_string();
        let why = with_rule(&self.reason, self.rule.as_deref());
        [
            what,
            n,
            self.group.process(),
            self.group.peer(),
            socket_text::keepalive(&self.group.first.connection),
            why,
        ]
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

fn with_rule(reason: &str, rule: Option<&str>) -> String {
    rule.map_or_else(|| reason.to_owned(), |rule| format!("{reason} (rule {rule})"))
}

impl Violation {
    /// The reason, and the rule that asks.
    pub(super) fn words(&self) -> String {
        with_rule(&self.reason, self.rule.as_deref())
    }
}

/// Connections alike in JSON, with one finding.
#[derive(Serialize)]
struct Object<'a> {
    result: &'static str,
    finding: Option<Fault>,
    rule: Option<&'a str>,
    meaning: &'a str,
    connections: u64,
    process: Option<&'a str>,
    remote: Option<SocketAddr>,
    verdict: Option<Verdict>,
    #[serde(flatten)]
    settings: KeepaliveSettings,
    #[serde(flatten)]
    limit: &'a PathLimit,
    #[serde(flatten)]
    part_of: &'a PartOf,
    first: First<'a>,
}

/// One of them, to find it elsewhere.
#[derive(Serialize)]
struct First<'a> {
    id: &'a str,
    local: SocketAddr,
    pid: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::socket_text::Style,
        model::{
            judgement::{
                check_policy::RefusedSetting,
                idle_limit::{IdleLimit, Limits},
            },
            observed::socket::{Socket, tests_support::socket},
        },
    };

    fn shown(columns: usize) -> Vec<String> {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings { limits, host: std::collections::BTreeSet::new(), hz: 250 };
        let mut report = Report::new(Policy::default(), around.clone());
        report.add(CheckedConnection::of_socket(&socket(), &[], None, &around));
        let look = ReportStyle { style: Style { colour: false }, columns };
        let mut out = Vec::new();
        report.text(&mut out, look, false).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    fn report(sockets: &[Socket], refused: &[RefusedSetting]) -> Report {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let around = Surroundings { limits, host: std::collections::BTreeSet::new(), hz: 250 };
        let mut report = Report::new(Policy::default(), around.clone());
        for socket in sockets {
            let judged = CheckedConnection::of_socket(socket, &[], None, &around);
            report.add(CheckedConnection { refused: refused.to_vec(), ..judged });
        }
        report
    }

    fn text(report: &Report) -> Vec<String> {
        let look = ReportStyle { style: Style { colour: false }, columns: usize::MAX };
        let mut out = Vec::new();
        report.text(&mut out, look, false).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_most_connections_have_comes_first() {
        let to =
            |addr: &str| Socket { remote: addr.parse::<SocketAddr>().unwrap().into(), ..socket() };
        let [one, other] = [to("192.0.2.1:1"), to("192.0.2.2:2")];
        let lines = text(&report(&[one, other, other], &[]));
        assert!(lines[1].contains("192.0.2.2:2") && lines[2].contains("192.0.2.1:1"), "{lines:#?}");
    }

    #[test]
    fn a_setting_that_was_refused_is_a_note_where_no_rule_asks() {
        let refused = RefusedSetting {
            option: crate::model::observed::setsockopt::SockOpt::Idle,
            value: Some(60_000),
            error: "EINVAL".to_owned(),
        };
        let report = report(&[socket(), socket()], &[refused]);
        assert_eq!((report.sum.refused_settings, report.sum.failed_calls), (2, 0));
        let lines = text(&report);
        let note = "note: -: TCP_KEEPIDLE = 60000 s was refused with EINVAL, 2 times";
        assert!(lines.iter().any(|line| line.starts_with(note)), "{lines:#?}");
        assert!(!text(&self::report(&[socket()], &[])).iter().any(|line| line.starts_with("note")));
    }

    #[test]
    fn connections_of_the_other_direction_are_neither_judged_nor_counted() {
        let inbound =
            Socket { direction: crate::model::observed::socket::Direction::Inbound, ..socket() };
        let report = report(&[inbound], &[]);
        assert_eq!((report.sum.judged, report.sum.uncovered, report.has_findings()), (0, 0, false));
        assert_eq!(report.groups().count(), 0);
    }

    #[test]
    fn a_reason_stands_beside_its_finding_or_on_a_narrow_terminal_below() {
        let wide = shown(usize::MAX);
        assert!(wide[0].ends_with("WHY") && wide[1].contains("no probe"), "{wide:?}");
        assert_eq!(wide[2], "");
        let narrow = shown(80);
        assert!(narrow[0].ends_with("KEEPALIVE"), "{narrow:?}");
        assert!(narrow[2].starts_with("    keepalive is off"), "{narrow:?}");
        let found = &narrow[..narrow.len() - 1];
        assert!(found.iter().all(|line| table::width(line) <= 80), "{narrow:?}");
    }
}
