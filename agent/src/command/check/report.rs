//! What was found, alike connections together, as text and as JSON.

use super::checked_connection::CheckedConnection;
use crate::{
    command::{
        socket_text::{self, Size, Style},
        table,
    },
    model::judgement::{
        check_policy::{Fault, Judgement, Policy, Subject as _, Violation},
        verdict::{Surroundings, Verdict},
    },
    view::connection::{KeepaliveSettings, PartOf, PathLimit},
};
use serde::Serialize;
use std::{
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

/// How many of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Sum {
    /// Always `summary`: tells this line from findings.
    result: &'static str,
    /// Outbound connections that were judged.
    pub(super) judged: u64,
    /// Those of them that violate the policy.
    pub(super) violating: u64,
    /// Peers on this host, not judged.
    pub(super) local: u64,
    /// Allowed by the policy.
    pub(super) allowed: u64,
    /// No rule is about them.
    pub(super) uncovered: u64,
    /// Attempts that ended before a connection was established.
    pub(super) never_connected: u64,
    /// KeepaliveSettings that the kernel refused, where the policy asks.
    pub(super) failed_calls: u64,
    /// Events that were lost: connections may be missing.
    pub(super) events_lost: u64,
    /// Runs of the hook that the kernel skipped, on the whole host: connections may be missing.
    pub(super) hooks_skipped: u64,
    /// What all this was seen by.
    pub(super) source: String,
    /// How the command ended, as a shell tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command_exit_code: Option<u8>,
}

impl Report {
    pub(super) fn new(policy: Policy, around: Surroundings) -> Self {
        let sum = Sum { result: "summary", ..Sum::default() };
        Self { policy, around, groups: BTreeMap::new(), sum }
    }

    /// Judges a connection and adds it to its group.
    pub(super) fn add(&mut self, subject: CheckedConnection) {
        let Self { policy, around, groups, sum } = self;
        let judgement = policy.judge(&subject, around);
        let is_outbound = subject.is_outbound();
        let n_findings = match &judgement {
            Judgement::Judged(findings) => {
                sum.judged += u64::from(is_outbound);
                sum.violating += u64::from(is_outbound && !findings.is_empty());
                let is_call = |finding: &&Violation| finding.fault == Fault::FailedCall;
                let n_calls = findings.iter().filter(is_call).count();
                sum.failed_calls += u64::try_from(n_calls).unwrap_or_default();
                findings.len()
            }
            Judgement::Local => {
                sum.local += 1;
                0
            }
            Judgement::Allowed(_) | Judgement::Uncovered if !is_outbound => 0,
            Judgement::Allowed(_) => {
                sum.allowed += 1;
                0
            }
            Judgement::Uncovered => {
                sum.uncovered += 1;
                0
            }
        };
        if !is_outbound && n_findings == 0 {
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
        let (verdict, reason) = if policy.include_local {
            (
                around.verdict_on_path(&subject.connection),
                around.reason_on_path(&subject.connection),
            )
        } else {
            (around.verdict(&subject.connection), around.reason(&subject.connection))
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
        told
    }
}

impl Group {
    /// Whether they fall short.
    pub(super) const fn has_findings(&self) -> bool {
        matches!(&self.judgement, Judgement::Judged(findings) if !findings.is_empty())
    }

    /// The process and the peer.
    pub(super) fn name(&self) -> String {
        format!("{} -> {}", self.process(), self.peer())
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
            fault: self.fault,
            rule: self.rule.as_deref(),
            reason: &self.reason,
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
    fault: Option<Fault>,
    rule: Option<&'a str>,
    reason: &'a str,
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

impl Sum {
    /// Whether a connection may have gone unseen.
    pub(super) const fn may_have_missed(&self) -> bool {
        self.events_lost > 0 || self.hooks_skipped > 0
    }

    /// The last line of the report.
    pub(super) fn words(&self) -> String {
        let Self { judged, violating, failed_calls, events_lost, hooks_skipped, .. } = self;
        // A setting may be refused on a listener, or on a connection that is gone: on none of these.
        let the_policy = if *failed_calls > 0 { "the rest of the policy" } else { "the policy" };
        let mut words = match (violating, judged) {
            (0, 0) if self.may_have_missed() => "no outbound connection was seen".to_owned(),
            (0, 0) if self.local + self.allowed + self.uncovered > 0 => {
                "no outbound connection to judge".to_owned()
            }
            (0, 0) => "no outbound connection was made".to_owned(),
            (0, 1) => format!("the one outbound connection obeys {the_policy}"),
            (0, n) => format!("all {n} outbound connections obey {the_policy}"),
            (1, 1) => "the one outbound connection violates the policy".to_owned(),
            (1, n) => format!("1 of {n} outbound connections violates the policy"),
            (n_bad, n) if n_bad == n => format!("all {n} outbound connections violate the policy"),
            (n_bad, n) => format!("{n_bad} of {n} outbound connections violate the policy"),
        };
        match failed_calls {
            0 => {}
            1 => words.push_str(", 1 setting was refused"),
            n => words.push_str(&format!(", {n} settings were refused")),
        }
        if *events_lost > 0 {
            words.push_str(&format!(
                ", {events_lost} events were lost: connections may be missing (raise --ring-bytes)"
            ));
        }
        if *hooks_skipped > 0 {
            words.push_str(&format!(
                ", the kernel skipped {hooks_skipped} runs of hooks on this host: connections may be \
                 missing (try again when the host is less busy)"
            ));
        }
        words
    }

    /// What was not judged, and what it was seen by.
    fn rest(&self, include_local: bool) -> String {
        let mut words = String::new();
        let mut note = |n: u64, one: &str, many: &str| match n {
            0 => {}
            1 => words.push_str(&format!("; 1 {one}")),
            n => words.push_str(&format!("; {n} {many}")),
        };
        if !include_local {
            note(
                self.local,
                "to this host not judged, see --include-local",
                "to this host not judged, see --include-local",
            );
        }
        note(self.allowed, "is allowed", "are allowed");
        note(self.uncovered, "is covered by no rule", "are covered by no rule");
        note(self.never_connected, "never connected", "never connected");
        format!("{words} [{}]", self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::socket_text::Style,
        model::{
            judgement::idle_limit::{IdleLimit, Limits},
            observed::socket::tests_support::socket,
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

    #[test]
    fn the_sum_claims_no_more_than_was_seen_and_no_more_than_its_exit_code() {
        let words = |events_lost| Sum { events_lost, ..Sum::default() }.words();
        assert_eq!(words(0), "no outbound connection was made");
        let refused = Sum { judged: 2, failed_calls: 1, ..Sum::default() }.words();
        let expected =
            "all 2 outbound connections obey the rest of the policy, 1 setting was refused";
        assert_eq!(refused, expected);
        assert!(words(7).starts_with("no outbound connection was seen, 7 events were lost"));
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
