//! What was found, alike connections together, as text and as JSON.

use crate::{
    command::text::{self, Style},
    model::{
        demand::{Demands, Fault, Finding, Judgement, Subject},
        row::{Probes, Row, Seconds},
        verdict::{Policy, Verdict},
    },
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::SocketAddr,
};

/// Everything that was judged.
#[derive(Debug)]
pub(super) struct Report {
    demands: Demands,
    policy: Policy,
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

/// Connections alike.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) judgement: Judgement,
    pub(super) n_connections: u64,
    /// The first of them.
    pub(super) row: Row,
    verdict: Verdict,
}

/// How many of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Sum {
    /// Always `summary`.
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
    /// Never established.
    pub(super) never_connected: u64,
    /// Settings that the kernel refused, where the policy asks.
    pub(super) failed_calls: u64,
    /// Connections of processes of which nothing is known any more.
    pub(super) unattributed: u64,
    /// Events that were lost: connections may be missing.
    pub(super) events_lost: u64,
    /// What all this was seen by.
    pub(super) source: String,
    /// How the command ended, as a shell tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command_exit_code: Option<u8>,
}

impl Report {
    pub(super) fn new(demands: Demands, policy: Policy) -> Self {
        let sum = Sum { result: "summary", ..Sum::default() };
        Self { demands, policy, groups: BTreeMap::new(), sum }
    }

    /// Judges one.
    pub(super) fn add(&mut self, subject: &Subject) {
        let Self { demands, policy, groups, sum } = self;
        let judgement = demands.judge(subject, policy);
        let is_outbound = subject.is_outbound();
        let n_findings = match &judgement {
            Judgement::Judged(findings) => {
                sum.judged += u64::from(is_outbound);
                sum.violating += u64::from(is_outbound && !findings.is_empty());
                let is_call = |finding: &&Finding| finding.fault == Fault::FailedCall;
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
        let row = Row::new(&subject.socket, &subject.owners, policy, subject.socket.at)
            .of(subject.identity.as_deref());
        let process = row.owners.first().map(|owner| owner.process.clone()).unwrap_or_default();
        let key = Key {
            is_fine: n_findings == 0,
            judgement: judgement.clone(),
            process,
            remote: row.remote,
            keepalive: text::keepalive(&row),
        };
        let verdict = if demands.include_local {
            policy.verdict_on_path(&subject.socket)
        } else {
            row.verdict
        };
        let new = || Group { judgement, n_connections: 0, row, verdict };
        groups.entry(key).or_insert_with(new).n_connections += 1;
    }

    /// What is alike, findings first.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// Whether there is anything to complain of. What was not seen is not fine.
    pub(super) fn has_findings(&self) -> bool {
        self.sum.violating > 0 || self.sum.failed_calls > 0 || self.sum.events_lost > 0
    }

    /// One finding a line, then the sum; `all` also shows what is fine.
    pub(super) fn text(&self, out: &mut impl Write, style: Style, all: bool) -> io::Result<()> {
        const HEADINGS: [&str; 6] = ["FINDING", "N", "PROCESS", "PEER", "KEEPALIVE", "WHY"];
        let mut lines: Vec<(bool, [String; 6])> = Vec::new();
        for group in self.groups() {
            let about = group.about(all);
            lines.extend(
                about.into_iter().map(|(what, why)| (group.has_findings(), group.line(&what, why))),
            );
        }
        if !lines.is_empty() {
            let mut widths = HEADINGS.map(str::len);
            for (_, line) in &lines {
                for (width, cell) in widths.iter_mut().zip(line) {
                    *width = (*width).max(cell.chars().count());
                }
            }
            let heading = aligned(&HEADINGS.map(str::to_owned), &widths);
            writeln!(out, "{}", style.paint(&heading, "1"))?;
            for (is_finding, line) in &lines {
                let text = aligned(line, &widths);
                let (what, rest) = text.split_at_checked(line[0].len()).unwrap_or(("", &text));
                let colour = if *is_finding { "1;31" } else { "32" };
                writeln!(out, "{}{rest}", style.paint(what, colour))?;
            }
            writeln!(out)?;
        }
        let colour = if self.has_findings() { "1;31" } else { "1;32" };
        let Self { sum, .. } = self;
        writeln!(
            out,
            "{}{}",
            style.paint(&sum.words(), colour),
            sum.rest(self.demands.include_local)
        )
    }

    /// One object a line: each finding, then the sum; `all` also shows what is fine.
    pub(super) fn json(&self, out: &mut impl Write, all: bool) -> io::Result<()> {
        for group in self.groups() {
            for object in group.objects(all) {
                serde_json::to_writer(&mut *out, &object)?;
                out.write_all(b"\n")?;
            }
        }
        serde_json::to_writer(&mut *out, &self.sum)?;
        out.write_all(b"\n")
    }
}

impl Group {
    /// Whether they fall short.
    pub(super) fn has_findings(&self) -> bool {
        matches!(&self.judgement, Judgement::Judged(findings) if !findings.is_empty())
    }

    /// The process and the peer.
    pub(super) fn name(&self) -> String {
        format!("{} -> {}", self.process(), self.peer())
    }

    fn process(&self) -> String {
        let name = self.row.owners.first().map_or("-", |owner| owner.process.as_str());
        let unit = self.row.unit.as_ref().filter(|_| self.row.container.is_none());
        let part_of = self.row.workload.as_ref().or(self.row.container.as_ref()).or(unit);
        part_of.map_or_else(|| name.to_owned(), |part_of| format!("{part_of} {name}"))
    }

    fn peer(&self) -> String {
        let remote = self.row.remote;
        if remote.port() == 0 { "(none)".to_owned() } else { remote.to_string() }
    }

    /// What there is to say: result and reason of each line.
    fn about(&self, all: bool) -> Vec<(&'static str, String)> {
        match &self.judgement {
            Judgement::Judged(findings) if !findings.is_empty() => {
                findings.iter().map(|one| (one.fault.as_str(), one.words())).collect()
            }
            _ if !all => Vec::new(),
            Judgement::Judged(_) => vec![("fine", self.row.reason.clone())],
            Judgement::Local => vec![("local", self.row.reason.clone())],
            Judgement::Allowed(reason) => {
                vec![("allowed", reason.clone().unwrap_or_else(|| "by the policy".to_owned()))]
            }
            Judgement::Uncovered => vec![("uncovered", "no rule is about it".to_owned())],
        }
    }

    fn line(&self, what: &str, why: String) -> [String; 6] {
        let n = self.n_connections.to_string();
        [what.to_owned(), n, self.process(), self.peer(), text::keepalive(&self.row), why]
    }

    fn objects(&self, all: bool) -> Vec<Object<'_>> {
        let object = |result, fault, rule, reason| {
            let Row { owners, remote, unit, container, namespace, workload, pod, .. } = &self.row;
            let Row { keepalive, idle, interval, count, user_timeout_ms, .. } = self.row;
            let owner = owners.first();
            Object {
                result,
                fault,
                rule,
                reason,
                connections: self.n_connections,
                process: owner.map(|owner| owner.process.as_str()),
                remote: (remote.port() != 0).then_some(*remote),
                verdict: (remote.port() != 0).then_some(self.verdict),
                keepalive,
                idle,
                interval,
                count,
                user_timeout_ms,
                detection_seconds: self.row.detection_seconds,
                idle_limit_seconds: self.row.idle_limit_seconds,
                idle_limit_from: &self.row.idle_limit_from,
                path: self.row.path.as_deref(),
                unit: unit.as_deref(),
                container: container.as_deref(),
                namespace: namespace.as_deref(),
                workload: workload.as_deref(),
                pod: pod.as_deref(),
                first: First {
                    id: &self.row.id,
                    local: self.row.local,
                    pid: owner.map(|owner| owner.pid),
                },
            }
        };
        match &self.judgement {
            Judgement::Judged(findings) if !findings.is_empty() => {
                let one = |one: &'_ Finding| {
                    object("finding", Some(one.fault), one.rule.clone(), one.reason.clone())
                };
                findings.iter().map(one).collect()
            }
            _ => {
                let about = self.about(all).into_iter();
                about.map(|(result, reason)| object(result, None, None, reason)).collect()
            }
        }
    }
}

impl Finding {
    /// The reason, and the rule that asks.
    pub(super) fn words(&self) -> String {
        match &self.rule {
            Some(rule) => format!("{} (rule {rule})", self.reason),
            None => self.reason.clone(),
        }
    }
}

/// Connections alike in JSON, with one finding.
#[derive(Serialize)]
struct Object<'a> {
    result: &'static str,
    fault: Option<Fault>,
    rule: Option<String>,
    reason: String,
    connections: u64,
    process: Option<&'a str>,
    remote: Option<SocketAddr>,
    verdict: Option<Verdict>,
    keepalive: bool,
    idle: Seconds,
    interval: Seconds,
    count: Probes,
    user_timeout_ms: u32,
    detection_seconds: Option<u64>,
    idle_limit_seconds: u32,
    idle_limit_from: &'a str,
    path: Option<&'a str>,
    unit: Option<&'a str>,
    container: Option<&'a str>,
    namespace: Option<&'a str>,
    workload: Option<&'a str>,
    pod: Option<&'a str>,
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
    /// The last line.
    pub(super) fn words(&self) -> String {
        let Self { judged, violating, failed_calls, events_lost, .. } = self;
        let mut words = match (violating, judged) {
            (0, 0) if self.local + self.allowed + self.uncovered > 0 => {
                "no outbound connection to judge".to_owned()
            }
            (0, 0) => "no outbound connection was made".to_owned(),
            (0, 1) => "the one outbound connection obeys the policy".to_owned(),
            (0, n) => format!("all {n} outbound connections obey the policy"),
            (1, 1) => "the one outbound connection violates the policy".to_owned(),
            (1, n) => format!("1 of {n} outbound connections violates the policy"),
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
                "to this host was not judged (see --include-local)",
                "to this host were not judged (see --include-local)",
            );
        }
        note(self.allowed, "is allowed", "are allowed");
        note(self.uncovered, "is under no rule", "are under no rule");
        note(self.never_connected, "never connected", "never connected");
        note(
            self.unattributed,
            "was opened by a process that was gone before it was known whose it was",
            "were opened by processes that were gone before it was known whose they were",
        );
        format!("{words} ({})", self.source)
    }
}

fn aligned(cells: &[String; 6], widths: &[usize; 6]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', width - cell.chars().count().min(*width) + 2));
    }
    text.truncate(text.trim_end().len());
    text
}
