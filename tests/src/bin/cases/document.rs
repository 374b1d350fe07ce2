//! The table of cases: as it is printed, and as docs/CASES.md.

use crate::{case::TriedCase, needed::Needed, report::CaseReport};
use keepwatch_tests::tool::tried_on;
use std::collections::BTreeMap;

/// Versions of the software that is here.
pub(crate) type Versions = BTreeMap<Needed, Option<String>>;
/// A case with what it found.
pub(crate) type Played = (&'static TriedCase, CaseReport);

/// The headings of docs/CONCLUSIONS.md, and the names below each.
const HEADINGS: [(&str, &[&str]); 2] = [
    ("promises", &["protected", "kept", "late", "off", "local"]),
    (
        "conditions",
        &["stuck", "peer_silent", "overdue", "blocked", "unaccepted", "peer_closed", "fine"],
    ),
];
const HEAD: &str = "# Cases: real software on paths that forget\n\
\n\
Written by `cargo xtask cases --bless`: real software runs in network namespaces, on paths that really forget a quiet\n\
connection (Linux's own connection tracking, with an idle limit of 8 s) or that keep it. What is true is asked of `ss`\n\
and of the software itself; what keepwatch must say follows from that by [CONCLUSIONS.md](CONCLUSIONS.md). *said* is\n\
what it said. *Advice*: the first line that `keepwatch why` proposes for the software is applied as it stands, and the\n\
connection must live on the path that killed it before.\n\
\n\
So that a case takes seconds, `tcp_retries2` and `tcp_orphan_retries` are 4 in both hosts: the kernel gives up\n\
after some 6 s of repeating.\n";
const OTHER_HEADING: &str = "causes-of-death";

/// One line for a case that has been played.
pub(crate) fn line(case: &TriedCase, report: &CaseReport) -> String {
    let mut lines = vec![format!("{}: {}", word(report), case.name)];
    lines.extend(report.wrong.iter().map(|wrong| format!("    {wrong}")));
    if !report.is_right() {
        lines.extend(report.truths.iter().map(|truth| format!("    true: {truth}")));
        lines.extend(report.said.iter().map(|said| format!("    said: {said}")));
    }
    lines.join("\n")
}

/// The table as it is printed: case, said, right.
pub(crate) fn summary(played: &[Played]) -> String {
    let mut text = String::new();
    for (case, report) in played {
        text += &format!("\n{} | {} | {}\n", case.name, case.kind, word(report));
        for said in &report.said {
            text += &format!("    {said}\n");
        }
        if let Some(advice) = &report.advice {
            text += &format!("    advice: {}\n", advice.outcome);
        }
    }
    let count = |is: fn(&CaseReport) -> bool| played.iter().filter(|(_, it)| is(it)).count();
    text += &format!(
        "\n{} right, {} wrong, {} not tried\n",
        count(CaseReport::is_right),
        count(|it| !it.is_right() && it.missing.is_empty()),
        count(|it| !it.missing.is_empty())
    );
    text
}

fn word(report: &CaseReport) -> String {
    if !report.missing.is_empty() {
        return format!("not tried, there is no {}", report.missing.join(", no "));
    }
    if report.is_right() { "right".to_owned() } else { "WRONG".to_owned() }
}

/// docs/CASES.md.
pub(crate) fn text(played: &[Played], versions: &Versions) -> String {
    let mut text = HEAD.to_owned();
    text += &format!("\n{}\n\n", tried_on());
    text += &format!("Software: {}.\n\n## Cases\n\n", software(versions));
    text += "| case | path | true | must say | said | right |\n|---|---|---|---|---|---|\n";
    for (case, report) in played {
        text += &row(case, report);
    }
    text += "\n## Advice that was tried\n\n";
    text += "| runtime | line that `why` proposed | applied | outcome | works |\n|---|---|---|---|---|\n";
    for (case, report) in played {
        text += &advice_row(case, report);
    }
    text
}

fn row(case: &TriedCase, report: &CaseReport) -> String {
    let complaints: Vec<String> = case.complaints.iter().map(|it| complaint(it)).collect();
    let mut name = format!("{} ({})", case.name, kind(case.kind));
    if !complaints.is_empty() {
        name += &format!("<br>{}", complaints.join(", "));
    }
    let right = if report.wrong.is_empty() {
        word(report)
    } else {
        format!("**WRONG**: {}", cells(&report.wrong))
    };
    format!(
        "| {name} | {} | {} | {} | {} | {right} |\n",
        case.path.in_words(),
        cells(&report.truths),
        cells(&report.wanted),
        cells(&report.said)
    )
}

fn advice_row(case: &TriedCase, report: &CaseReport) -> String {
    let Some(advice) = &report.advice else {
        return String::new();
    };
    let lines: Vec<String> =
        advice.lines.iter().map(|line| format!("`{}`", line.trim().replace('|', "\\|"))).collect();
    let works = if advice.survived { "yes" } else { "**NO**" };
    format!(
        "| {}: {} | {} | {} | {} | {works} |\n",
        case.name,
        advice.client,
        lines.join("<br>"),
        advice.applied,
        cell(&advice.outcome)
    )
}

/// A link to where the rule is.
fn kind(name: &str) -> String {
    let heading = HEADINGS.iter().find(|(_, names)| names.contains(&name));
    let heading = heading.map_or(OTHER_HEADING, |(heading, _)| heading);
    format!("[{name}](CONCLUSIONS.md#{heading})")
}

fn complaint(name: &str) -> String {
    let address = name.replace('#', "/issues/");
    format!("[{name}](https://github.com/{address})")
}

fn software(versions: &Versions) -> String {
    let known = versions.iter().map(|(needed, version)| {
        let from = match needed {
            Needed::Program(_) => "",
            Needed::Python(_) => " (PyPI)",
            Needed::Node(_) => " (npm)",
        };
        format!("{} {}{from}", needed.name(), version.as_deref().unwrap_or("not here"))
    });
    known.collect::<Vec<_>>().join(", ")
}

fn cells(texts: &[String]) -> String {
    texts.iter().map(|text| cell(text)).collect::<Vec<_>>().join("<br>")
}

/// What a cell of Markdown can hold.
fn cell(text: &str) -> String {
    let text = text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ");
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{cell, complaint, kind};

    #[test]
    fn a_cell_stays_one_cell() {
        assert_eq!(cell("a|b <x>\nc "), "a\\|b &lt;x> c");
    }

    #[test]
    fn rules_and_complaints_are_linked() {
        assert_eq!(kind("kept"), "[kept](CONCLUSIONS.md#promises)");
        assert_eq!(kind("idle_drop"), "[idle_drop](CONCLUSIONS.md#causes-of-death)");
        assert_eq!(complaint("a/b#1"), "[a/b#1](https://github.com/a/b/issues/1)");
    }
}
