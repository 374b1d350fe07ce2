//! What keepwatch says: rows of `sockets`, answers of `why`.

use keepwatch_tests::answer::agent::{Agent, keepwatch};
use serde_json::Value;
use std::process::Output;

/// An answer of `keepwatch why`.
#[derive(Clone, Debug)]
pub(crate) struct WhySaid {
    pub(crate) exit: Option<i32>,
    /// One for each kind of connection, the worst first.
    pub(crate) cases: Vec<Value>,
    /// The answer for people.
    pub(crate) text: String,
}

impl WhySaid {
    /// Its first paragraph.
    pub(crate) fn headline(&self) -> String {
        let lines = self.text.lines().map(str::trim).skip_while(|line| line.is_empty());
        let lines: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
        format!("why: {}", lines.join(" "))
    }
}

/// `keepwatch why TARGET`, twice: as JSON and as text.
#[track_caller]
pub(crate) fn why(agent: &Agent, target: &str) -> WhySaid {
    let json = ask(agent, "why", &[target, "--json"]);
    let text = ask(agent, "why", &[target, "--no-color"]);
    WhySaid {
        exit: text.status.code(),
        cases: values(&json),
        text: String::from_utf8_lossy(&text.stdout).into_owned(),
    }
}

/// `keepwatch sockets --json --netns N`.
#[track_caller]
pub(crate) fn rows(agent: &Agent, netns: u32) -> Vec<Value> {
    values(&ask(agent, "sockets", &["--source", "agent", "--json", "--netns", &netns.to_string()]))
}

#[track_caller]
fn ask(agent: &Agent, verb: &str, words: &[&str]) -> Output {
    let mut command = keepwatch([verb]);
    command.args(words).arg("--socket").arg(agent.socket());
    if verb == "why" {
        command.arg("--state-dir").arg(agent.state());
    }
    let output = command.output().expect("start keepwatch");
    let said = String::from_utf8_lossy(&output.stderr);
    // 1 is a finding.
    assert!(matches!(output.status.code(), Some(0 | 1)), "keepwatch {verb} {words:?}: {said}");
    output
}

#[track_caller]
fn values(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    let parse =
        |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    text.lines().filter(|line| !line.is_empty()).map(parse).collect()
}

/// A text at a path of JSON, like `/end/cause`; empty if there is none.
pub(crate) fn text_at<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}
