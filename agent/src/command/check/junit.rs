//! JUnit XML: each kind of connection is a test case, as CI systems show them. Viewers take cases of one name for one, and
//! follow them from run to run by it.

use super::report::{Report, ReportLine};
use crate::model::{
    judgement::check_policy::{Fault, Judgement},
    text::sanitize::escaped,
};
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};
use std::{
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
    let cases = report.by_name();
    let n_errors =
        u8::from(report.sum.may_have_missed()) + u8::from(report.sum.nothing_has.is_some());
    let n_cases = cases.len() + usize::from(n_errors);
    let n_failures = cases.iter().filter(|(_, lines)| failures(lines).next().is_some()).count();
    let n_skipped = cases.iter().filter(|(_, lines)| lines.iter().all(is_skipped)).count();
    let n_errors = n_errors.to_string();
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
            cases.iter().try_for_each(|(name, lines)| case(xml, name, lines))?;
            if report.sum.may_have_missed() {
                error(xml, "every event was seen", &report.sum.words())?;
            }
            if report.sum.nothing_has.is_some() {
                error(xml, "the filters name something", &report.sum.words())?;
            }
            let sum = xml.create_element("system-out");
            sum.write_text_content(BytesText::new(&report.sum.words()))?;
            Ok(())
        })?;
        Ok(())
    })?;
    xml.into_inner().write_all(b"\n")
}

fn failures<'a>(lines: &'a [ReportLine<'_>]) -> impl Iterator<Item = (Fault, String)> + 'a {
    lines.iter().filter_map(|line| Some((line.fault?, escaped(line.words().as_bytes()))))
}

const fn is_skipped(line: &ReportLine<'_>) -> bool {
    !matches!(line.judgement(), Judgement::Judged(_))
}

fn case(xml: &mut Writer<impl Write>, name: &str, lines: &[ReportLine<'_>]) -> io::Result<()> {
    let case = xml
        .create_element("testcase")
        .with_attributes([("classname", "keepwatch.check"), ("name", name)]);
    case.write_inner_content(|xml| {
        // A test case may fail once.
        if let Some((first, _)) = failures(lines).next() {
            let words: Vec<String> = failures(lines).map(|(_, words)| words).collect();
            xml.create_element("failure")
                .with_attributes([("type", first.as_str()), ("message", &words.join("; "))])
                .write_text_content(BytesText::new(&words.join("\n")))?;
        } else if let Some(line) = lines.first().filter(|_| lines.iter().all(is_skipped)) {
            match line.judgement() {
                Judgement::Judged(_) => {}
                Judgement::Local => skipped(xml, "the peer is on this host")?,
                Judgement::Uncovered | Judgement::OtherDirection => {
                    skipped(xml, "no rule covers it")?;
                }
                Judgement::Allowed(reason) => {
                    let reason = reason.as_deref().unwrap_or("allowed by the policy");
                    skipped(xml, &escaped(reason.as_bytes()))?;
                }
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
fn error(xml: &mut Writer<impl Write>, name: &str, words: &str) -> io::Result<()> {
    let case = xml
        .create_element("testcase")
        .with_attributes([("classname", "keepwatch.check"), ("name", name)]);
    case.write_inner_content(|xml| {
        let error = xml.create_element("error");
        error.with_attribute(("message", words)).write_empty()?;
        Ok(())
    })?;
    Ok(())
}
