//! What a case found: what is true, what keepwatch had to say, what it said.

use crate::said::text_at;
use serde_json::Value;
use std::fmt::Display;

/// The findings of one case.
#[derive(Clone, Debug, Default)]
pub(crate) struct CaseReport {
    /// What was seen without keepwatch.
    pub(crate) truths: Vec<String>,
    /// What keepwatch must say.
    pub(crate) wanted: Vec<String>,
    /// Its words.
    pub(crate) said: Vec<String>,
    /// What it said and should not have, or did not say.
    pub(crate) wrong: Vec<String>,
    /// The line that was tried.
    pub(crate) advice: Option<TriedAdvice>,
    /// Software that is missing: nothing was tried.
    pub(crate) missing: Vec<&'static str>,
}

/// A line of `why`, applied.
#[derive(Clone, Debug)]
pub(crate) struct TriedAdvice {
    /// As `why` names the software.
    pub(crate) client: String,
    pub(crate) lines: Vec<String>,
    pub(crate) applied: String,
    pub(crate) outcome: String,
    pub(crate) survived: bool,
}

impl CaseReport {
    pub(crate) fn truth(&mut self, what: impl Display) {
        self.truths.push(what.to_string());
    }

    pub(crate) fn said(&mut self, what: impl Display) {
        self.said.push(what.to_string());
    }

    /// Fields that keepwatch's JSON must have; a value may name several, with `|` between them.
    pub(crate) fn fields(&mut self, when: &str, found: &Value, wanted: &[(&str, &str)]) {
        let words: Vec<String> = wanted.iter().map(|(field, value)| wish(field, value)).collect();
        self.wanted.push(format!("{when}: {}", words.join(", ")));
        for (field, value) in wanted {
            let there = found.pointer(&format!("/{}", field.replace('.', "/")));
            let there = in_words(there.unwrap_or(&Value::Null));
            if !value.split('|').any(|one| one == there) {
                self.wrong.push(format!("{when}: {field} is {there}, not {value}"));
            }
        }
    }

    /// A row of a live connection, with what must be said of it.
    pub(crate) fn live(&mut self, when: &str, row: &Value, wanted: &[(&str, &str)]) {
        self.fields(when, row, wanted);
        let (verdict, condition) = (text_at(row, "/verdict"), text_at(row, "/condition"));
        self.said(format!("{when}: {verdict}, {condition}: {}", text_at(row, "/meaning")));
    }

    /// How the connection of a case of `why` died, with what must be said of that.
    pub(crate) fn death(&mut self, case: &Value, wanted: &[(&str, &str)]) {
        let end = case.pointer("/example").cloned().unwrap_or_default();
        self.fields("dead", &end, wanted);
        self.said(format!("dead: {}: {}", text_at(&end, "/cause"), text_at(&end, "/evidence")));
    }

    /// A sentence that must be true of what keepwatch said.
    pub(crate) fn must(&mut self, what: &str, holds: bool, found: impl Display) {
        self.wanted.push(what.to_owned());
        if !holds {
            self.wrong.push(format!("not so: {what}: {found}"));
        }
    }

    /// A condition of the case itself: without it nothing can be concluded.
    pub(crate) fn given(&mut self, what: &str, holds: bool, found: impl Display) {
        if !holds {
            self.wrong.push(format!("the case did not come about: {what}: {found}"));
        }
    }

    pub(crate) const fn is_right(&self) -> bool {
        self.missing.is_empty() && self.wrong.is_empty()
    }
}

fn wish(field: &str, value: &str) -> String {
    let value = value.replace('|', " or ");
    match field.rsplit('.').next().unwrap_or(field) {
        "verdict" | "condition" | "cause" | "finding" => value,
        name => format!("{name} {value}"),
    }
}

/// Without the quotes of JSON.
fn in_words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
