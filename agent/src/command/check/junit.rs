//! JUnit XML: each kind of connection is a test case, as CI systems show them.

use super::report::{Group, Report};
use crate::model::{judgement::check_policy::Judgement, text::sanitize::escaped};
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

/// Writes the report as one suite with this name.
pub(super) fn write(
    out: &mut impl Write,
    report: &Report,
    name: &str,
    took: Duration,
) -> io::Result<()> {
    let n_cases = report.groups().count() + usize::from(report.sum.may_have_missed());
    let n_failures = report.groups().filter(|group| group.has_findings()).count();
    let n_skipped =
        report.groups().filter(|group| !matches!(group.judgement, Judgement::Judged(_))).count();
    let n_errors = u8::from(report.sum.may_have_missed()).to_string();
    let (n_cases, n_failures) = (n_cases.to_string(), n_failures.to_string());
    let (n_skipped, seconds) = (n_skipped.to_string(), format!("{:.3}", took.as_secs_f64()));
    let mut xml = Writer::new_with_indent(out, b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    xml.create_element("testsuites").write_inner_content(|xml| {
        let suite = xml.create_element("testsuite").with_attributes([
            ("name", name),
            ("tests", &n_cases),
            ("failures", &n_failures),
            ("errors", &n_errors),
            ("skipped", &n_skipped),
            ("time", &seconds),
        ]);
        suite.write_inner_content(|xml| {
            let mut names = BTreeMap::new();
            report.groups().try_for_each(|group| case(xml, group, &unique(&mut names, group)))?;
            if report.sum.may_have_missed() {
                lost(xml, &report.sum.words())?;
            }
            let sum = xml.create_element("system-out");
            sum.write_text_content(BytesText::new(&report.sum.words()))?;
            Ok(())
        })?;
        Ok(())
    })?;
    xml.into_inner().write_all(b"\n")
}

/// A name that no other case of the suite has: viewers take cases of one name for one. The number of connections is not
/// in it, so that a case keeps its name from run to run.
fn unique(names: &mut BTreeMap<String, u32>, group: &Group) -> String {
    let name = group.name();
    let n = names.entry(name.clone()).or_default();
    *n += 1;
    if *n == 1 { name } else { format!("{name} #{n}") }
}

fn case(xml: &mut Writer<impl Write>, group: &Group, name: &str) -> io::Result<()> {
    let case = xml
        .create_element("testcase")
        .with_attributes([("classname", "keepwatch.check"), ("name", name)]);
    case.write_inner_content(|xml| {
        match &group.judgement {
            Judgement::Judged(findings) => {
                // A test case may fail once.
                if let Some(first) = findings.first() {
                    let words: Vec<String> =
                        findings.iter().map(|one| escaped(one.words().as_bytes())).collect();
                    let alike = match group.n_connections {
                        1 => String::new(),
                        n => format!(" ({n} connections)"),
                    };
                    let message = format!("{}{alike}", words.join("; "));
                    xml.create_element("failure")
                        .with_attributes([
                            ("type", first.fault.as_str()),
                            ("message", message.as_str()),
                        ])
                        .write_text_content(BytesText::new(&words.join("\n")))?;
                }
            }
            Judgement::Local => skipped(xml, "the peer is on this host")?,
            Judgement::Uncovered | Judgement::OtherDirection => skipped(xml, "no rule covers it")?,
            Judgement::Allowed(reason) => {
                let reason = reason.as_deref().unwrap_or("allowed by the policy");
                skipped(xml, &escaped(reason.as_bytes()))?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

fn skipped(xml: &mut Writer<impl Write>, why: &str) -> io::Result<()> {
    xml.create_element("skipped").with_attribute(("message", why)).write_empty()?;
    Ok(())
}

/// What was not seen is not fine.
fn lost(xml: &mut Writer<impl Write>, words: &str) -> io::Result<()> {
    let case = xml
        .create_element("testcase")
        .with_attributes([("classname", "keepwatch.check"), ("name", "every event was seen")]);
    case.write_inner_content(|xml| {
        let error = xml.create_element("error");
        error.with_attribute(("message", words)).write_empty()?;
        Ok(())
    })?;
    Ok(())
}
