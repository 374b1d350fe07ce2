//! docs/JSON.md: the fields of every line of JSON, read off the structures that are written as JSON, with their doc comments.

use std::fmt::Write as _;

const CONNECTION: &str = include_str!("../view/connection.rs");
const ROW: &str = include_str!("../view/row.rs");
const EVENT: &str = include_str!("../view/event_row.rs");
const LIFE: &str = include_str!("../view/life/mod.rs");
const GROUP: &str = include_str!("../view/connection_group.rs");
const WHAT_IF: &str = include_str!("../view/what_if.rs");
const ANSWER: &str = include_str!("../command/why/answer.rs");
const REMEDY: &str = include_str!("../advice/remedy/mod.rs");
const ADVICE: &str = include_str!("../advice/mod.rs");
const REPORT: &str = include_str!("../command/check/report/mod.rs");
const MEASURE: &str = include_str!("../command/measure.rs");
const DRILL: &str = include_str!("../command/drill/report.rs");
const FIX: &str = include_str!("../command/fix/report.rs");
const BORROWED: &str = include_str!("../kernel/borrowed_socket.rs");
const TIME: &str = include_str!("../model/text/wall_time.rs");

/// Structures with the source that defines each.
type Structures = &'static [(&'static str, &'static str)];

const SECTIONS: &[(&str, &str, Structures)] = &[
    (
        "A connection",
        "In every line of `sockets --json`, `trace --json`, `/v1/sockets`, `/v1/events` and `/v1/deaths`, and in `example` of \
         `why --json`.",
        &[
            ("Connection", CONNECTION),
            ("KeepaliveSettings", CONNECTION),
            ("PathLimit", CONNECTION),
            ("PartOf", CONNECTION),
        ],
    ),
    ("`sockets --json` and `/v1/sockets`", "The connection, and:", &[("Row", ROW)]),
    (
        "`trace --json`, `/v1/events` and `/v1/deaths`",
        "The connection as it was then, and:",
        &[("WallTime", TIME), ("EventRow", EVENT), ("EventDetails", EVENT)],
    ),
    (
        "`why --json`",
        "One line for each case: connections that are alike.",
        &[("Judged", ANSWER), ("PartOf", CONNECTION), ("QuietRange", GROUP)],
    ),
    ("In `causes`", "", &[("CauseCount", ANSWER)]),
    ("In `times`", "", &[("ConnectionTimes", GROUP)]),
    ("In `calls` of a case", "", &[("CallCount", ANSWER)]),
    ("In `proposal`", "", &[("Proposal", ADVICE)]),
    ("In `what_if`", "", &[("WhatIf", WHAT_IF)]),
    ("In `advice`", "", &[("Advice", REMEDY)]),
    ("In `client` of an advice", "", &[("AdvisedClient", REMEDY)]),
    ("In `example`", "The connection, and:", &[("Life", LIFE), ("LifeEnd", LIFE)]),
    ("In `calls` of an example", "", &[("CallSeen", LIFE)]),
    (
        "`check --json`",
        "One line for each group of connections that are alike; the last line is the sum.",
        &[
            ("Object", REPORT),
            ("KeepaliveSettings", CONNECTION),
            ("PathLimit", CONNECTION),
            ("PartOf", CONNECTION),
        ],
    ),
    ("In `first`", "", &[("First", REPORT)]),
    (
        "`fix --json`",
        "One line for each connection; [FIX.md](FIX.md) lists outcomes and reasons.",
        &[("FixRow", FIX)],
    ),
    (
        "`drill --json`",
        "One line for each connection; [DRILL.md](DRILL.md) says what is promised.",
        &[("DrillRow", DRILL), ("PartOf", CONNECTION)],
    ),
    ("`measure --json`", "One line.", &[("Measured", MEASURE)]),
    ("In `before` and `after`", "", &[("SocketOptions", BORROWED)]),
    ("In `idle` and `interval`", "", &[("Seconds", CONNECTION)]),
    ("In `count`", "", &[("Probes", CONNECTION)]),
    ("In `owners`, and in `by` of a call", "", &[("RowOwner", CONNECTION)]),
];

/// The document.
pub(super) fn document() -> String {
    let mut text = "# Fields of JSON

<!-- Generated from the structures in agent/src by `cargo xtask codegen`: edit their comments. -->

A time that ends in `_seconds` is a number of seconds, with a fraction; `at` is RFC 3339 in UTC. What is not known is null.
Fields are only ever added. [API.md](API.md) describes requests and the other answers.
"
    .to_owned();
    for (title, about, structures) in SECTIONS {
        _ = write!(text, "\n## {title}\n\n");
        if !about.is_empty() {
            _ = write!(text, "{about}\n\n");
        }
        text += "| field | |\n|---|---|\n";
        for (name, source) in *structures {
            for Field { name, meaning } in fields(name, source) {
                _ = writeln!(text, "| `{name}` | {meaning} |");
            }
        }
    }
    text
}

struct Field {
    name: String,
    meaning: String,
}

/// The fields of a structure, as they are called in JSON.
fn fields(structure: &str, source: &str) -> Vec<Field> {
    let begins = [format!("struct {structure} {{"), format!("struct {structure}<'a> {{")];
    let lines = source.lines().skip_while(|line| !begins.iter().any(|it| line.ends_with(it)));
    let (mut fields, mut meaning, mut renamed, mut is_left_out) =
        (Vec::new(), String::new(), None, false);
    for line in lines.skip(1).take_while(|line| *line != "}").map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            meaning += words;
        } else if line.starts_with("#[serde(") {
            is_left_out |= line == "#[serde(skip)]" || line == "#[serde(flatten)]";
            renamed = line.split_once("rename = \"").and_then(|(_, rest)| rest.split('"').next());
        } else if let Some((name, _)) = line.split_once(": ").filter(|_| !line.starts_with('#')) {
            let name = name.rsplit(' ').next().unwrap();
            let meaning = std::mem::take(&mut meaning).trim().replace('|', "\\|");
            let name = renamed.take().unwrap_or(name).to_owned();
            if !std::mem::take(&mut is_left_out) {
                assert!(!meaning.is_empty(), "{structure}.{name}: say what it means");
                fields.push(Field { name, meaning });
            }
        }
    }
    assert!(!fields.is_empty(), "{structure} has moved");
    fields
}
