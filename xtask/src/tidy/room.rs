//! Which module of the agent may import which: its top-level modules are rooms, and data goes one way through them.

use super::import::{self, Import, Imports};
use std::path::Path;

/// The agent's sources.
const AGENT: &str = "agent/src";
/// The rooms, from where it all comes together down to what depends on nothing. A room may import from those
/// that come later, and from none of its own line.
const LEVELS: [&[&str]; 10] = [
    &["main"],
    &["docs"],
    &["command"],
    &["agent"],
    &["serve"],
    &["config", "store"],
    &["owner", "advice", "log"],
    &["kernel"],
    &["model"],
    &["files"],
];
/// Arrows that run back up, each with its reason.
const BACK: [(&str, &[&str], &str); 1] = [(
    "serve",
    &["crate", "agent", "watch", "News"],
    "what the watcher passes on; it moves beside `Moment` when the model is cut into rooms",
)];
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
    module.first().cloned().unwrap_or_else(file)
}

fn level(room: &str) -> Option<usize> {
    LEVELS.iter().position(|rooms| rooms.contains(&room))
}

fn objection(room: &str, Import { path, .. }: &Import) -> Option<String> {
    let shown = path.join("::");
    if room == PURE && IMPURE.iter().any(|impure| begins_with(path, impure)) {
        return Some(format!("`{shown}` in the {PURE}, which is pure: pass it in as an argument"));
    }
    let [first, other, ..] = path.as_slice() else {
        return None;
    };
    if !["crate", "keepwatch"].contains(&first.as_str()) || other == room || room == "lib" {
        return None;
    }
    let is_below = level(other).is_some_and(|other| level(room).is_some_and(|own| own < other));
    let is_back = BACK.iter().any(|(from, what, _)| *from == room && begins_with(path, what));
    (!is_below && !is_back).then(|| {
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
        let file = "agent/src/model/row.rs";
        let fine =
            "use crate::model::setting; use super::limit; use std::{net::IpAddr, time::Duration};";
        assert_eq!(findings(file, fine), [""; 0]);
        for against in [
            "use crate::kernel::clock;",
            "use super::super::kernel::clock;",
            "use super::super::*;",
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
            assert_eq!(findings("agent/src/model/row.rs", against).len(), 1, "{against}");
            assert_eq!(
                findings("agent/src/kernel/a.rs", against),
                [""; 0],
                "only the model is pure"
            );
        }
    }

    #[test]
    fn rooms_import_downwards() {
        let text = "use crate::{kernel::hooks::Hooks, model::row::Row};";
        assert_eq!(findings("agent/src/agent/mod.rs", text), [""; 0]);
        assert_eq!(findings("agent/src/model/mod.rs", text).len(), 1, "the kernel is above it");
        assert_eq!(findings("agent/src/store/mod.rs", "use crate::config::Config;").len(), 1);
        assert_eq!(findings("agent/src/kernel/mod.rs", "use crate::command::run;").len(), 1);
        assert_eq!(findings("agent/src/main.rs", "fn f() { keepwatch::command::main() }"), [""; 0]);
    }

    #[test]
    fn the_one_arrow_back_is_that_one() {
        assert_eq!(findings("agent/src/serve/mod.rs", "use crate::agent::watch::News;"), [""; 0]);
        for against in ["use crate::agent::watch::Watch;", "use crate::agent::watch::*;"] {
            assert_eq!(findings("agent/src/serve/mod.rs", against).len(), 1, "{against}");
        }
        assert_eq!(findings("agent/src/store/mod.rs", "use crate::agent::watch::News;").len(), 1);
    }

    #[test]
    fn a_new_room_needs_its_place() {
        assert_eq!(findings("agent/src/attic/mod.rs", "").len(), 1);
        assert_eq!(findings("agent/src/command/run.rs", "use crate::attic::Box;").len(), 1);
        assert_eq!(findings("tests/src/lib.rs", "use crate::attic::Box;"), [""; 0]);
    }
}
