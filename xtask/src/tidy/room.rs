//! Which module of the agent may import which: its top-level modules are rooms, and data goes one way through them.

use super::import::{self, Import, Imports};
use std::path::Path;

/// The agent's sources.
const AGENT: &str = "agent/src";
/// The rooms, from where it all comes together down to what depends on nothing. A room may import from those
/// that come later, and from none of its own line.
const LEVELS: [&[&str]; 17] = [
    &["main"],
    &["fuzzed"],
    &["docs"],
    &["command"],
    &["agent"],
    &["serve"],
    &["metrics"],
    &["config", "store", "drill", "fix", "measure"],
    &["view"],
    &["owner", "advice", "log"],
    &["kernel"],
    &["model"],
    &["model::table"],
    &["model::judgement"],
    &["model::observed"],
    &["model::text"],
    &["files"],
];
/// The room that does nothing but think.
const PURE: &str = "model";
/// What it must not touch: files, clocks, processes, the network, the kernel.
const IMPURE: [&[&str]; 21] = [
    &["std", "env"],
    &["std", "fs"],
    &["std", "io"],
    &["std", "net", "TcpListener"],
    &["std", "net", "TcpStream"],
    &["std", "net", "UdpSocket"],
    &["std", "os"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["std", "time", "*"],
    &["std", "net", "*"],
    &["aya"],
    &["axum"],
    &["libc"],
    &["rusqlite"],
    &["rustix"],
    &["tokio"],
    &["tracing"],
    &["jiff", "Timestamp", "now"],
];

/// What a file imports that it may not.
pub(super) fn of_text(path: &Path, text: &str) -> Vec<String> {
    let Ok(inside) = path.strip_prefix(AGENT) else {
        return Vec::new();
    };
    if inside.extension().is_none_or(|extension| extension != "rs") {
        return Vec::new();
    }
    let module = import::module_of(inside);
    let room = room_of(inside, &module);
    let Some(imports) = Imports::of_text(text, &module) else {
        return vec![": is no Rust that can be read".into()];
    };
    if room != "lib" && level(&room).is_none() {
        return vec![format!(": `{room}` has no place in LEVELS of xtask/src/tidy/room.rs")];
    }
    let findings = imports.all.iter().filter_map(|import| {
        let finding = objection(&room, import)?;
        Some(format!(":{}: {finding}", import.line))
    });
    findings.collect()
}

fn room_of(inside: &Path, module: &[String]) -> String {
    let file = || inside.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if module.is_empty() { file() } else { room_at(module) }
}

/// The room that a path leads into: of the model its inner rooms count.
fn room_at(path: &[String]) -> String {
    match path {
        [first, second, ..] if first == PURE => format!("{first}::{second}"),
        [first, ..] => first.clone(),
        [] => String::new(),
    }
}

fn level(room: &str) -> Option<usize> {
    LEVELS.iter().position(|rooms| rooms.contains(&room))
}

fn objection(room: &str, Import { path, .. }: &Import) -> Option<String> {
    let shown = path.join("::");
    let is_pure = room.split("::").next() == Some(PURE);
    if is_pure && IMPURE.iter().any(|impure| begins_with(path, impure)) {
        return Some(format!("`{shown}` in the {PURE}, which is pure: pass it in as an argument"));
    }
    let [first, rest @ ..] = path.as_slice() else {
        return None;
    };
    let other = room_at(rest);
    if !["crate", "keepwatch"].contains(&first.as_str())
        || rest.is_empty()
        || other == room
        || room == "lib"
    {
        return None;
    }
    // `pub(in crate::model)` names the whole, and so brings nothing in.
    if is_pure && other == PURE {
        return None;
    }
    let is_below = level(&other).is_some_and(|other| level(room).is_some_and(|own| own < other));
    (!is_below).then(|| {
        format!("`{room}` imports `{shown}` against the order of rooms (xtask/src/tidy/room.rs)")
    })
}

fn begins_with(path: &[String], start: &[&str]) -> bool {
    path.len() >= start.len() && path.iter().zip(start).all(|(part, wanted)| part == wanted)
}

#[cfg(test)]
mod tests {
    use super::of_text;
    use std::path::Path;

    fn findings(path: &str, text: &str) -> Vec<String> {
        of_text(Path::new(path), text)
    }

    #[test]
    fn the_model_imports_only_itself() {
        let file = "agent/src/model/observed/row.rs";
        let fine = "use crate::model::text::name; use super::socket; use std::{net::IpAddr, time::Duration};";
        assert_eq!(findings(file, fine), [""; 0]);
        for against in [
            "use crate::kernel::clock;",
            "use super::super::kernel::clock;",
            "use super::super::*;",
            "use super::super::super::kernel::clock;",
            "use crate::model::table::Table;",
            "use super::super::judgement::verdict;",
            "fn f() { crate::serve::run() }",
            "mod tests { use crate::config::Config; }",
        ] {
            assert_eq!(findings(file, against).len(), 1, "{against}");
        }
    }

    #[test]
    fn the_model_touches_nothing() {
        for against in [
            "use std::fs;",
            "use std::{collections::BTreeMap, env::var};",
            "fn f() { std::time::Instant::now() }",
            "use std::time::{Duration, SystemTime};",
            "use std::time::*;",
            "use std::time; fn f() { time::Instant::now() }",
            "fn f() { println!(\"{:?}\", std::fs::read(\"/proc/stat\")) }",
            "use rustix::fs::stat;",
        ] {
            assert_eq!(findings("agent/src/model/observed/row.rs", against).len(), 1, "{against}");
            assert_eq!(
                findings("agent/src/kernel/a.rs", against),
                [""; 0],
                "only the model is pure"
            );
        }
    }

    #[test]
    fn rooms_import_downwards() {
        let text = "use crate::{kernel::hooks::Hooks, model::table::Table};";
        assert_eq!(findings("agent/src/agent/mod.rs", text), [""; 0]);
        assert_eq!(findings("agent/src/model/mod.rs", text).len(), 1, "the kernel is above it");
        assert_eq!(findings("agent/src/store/mod.rs", "use crate::config::Config;").len(), 1);
        assert_eq!(findings("agent/src/serve/mod.rs", "use crate::agent::watch::Watch;").len(), 1);
        let up = "use crate::{model::{observed::socket::Socket, table::Table}};";
        assert_eq!(findings("agent/src/model/judgement/verdict.rs", up).len(), 1);
        assert_eq!(findings("agent/src/kernel/mod.rs", "use crate::command::run;").len(), 1);
        assert_eq!(findings("agent/src/main.rs", "fn f() { keepwatch::command::main() }"), [""; 0]);
    }

    #[test]
    fn a_new_room_needs_its_place() {
        assert_eq!(findings("agent/src/attic/mod.rs", "").len(), 1);
        assert_eq!(findings("agent/src/command/run.rs", "use crate::attic::Box;").len(), 1);
        assert_eq!(findings("tests/src/lib.rs", "use crate::attic::Box;"), [""; 0]);
    }
}
