//! The laws for one file. Each finding says what is wrong and what to do, after the file's path.

use std::path::Path;

const MAIN_LINES: usize = 40;
const FILE_LINES: usize = 500;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] =
    ["common", "helper", "helpers", "manager", "misc", "shared", "util", "utils"];
/// Words for what is left to do.
const REMINDERS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
/// Hosts of registries and mirrors: every machine has its own, so none is written down.
const HOSTS: [&str; 14] = [
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("static.", "rust-lang.org"),
    concat!("sh.", "rustup.rs"),
    concat!("deb.", "debian.org"),
    concat!("ftp.", "debian.org"),
    concat!("security.", "debian.org"),
    concat!("snapshot.", "debian.org"),
    concat!("archive.", "ubuntu.com"),
    concat!("apt.", "llvm.org"),
    concat!("pypi", ".org"),
    concat!("files.", "pythonhosted.org"),
    concat!("registry.", "npmjs.org"),
    concat!("proxy.", "golang.org"),
];

/// What the path alone gives away.
pub(super) fn of_path(path: &Path) -> Vec<String> {
    let in_rust = is_rust(path);
    let named = |name: &str| {
        in_rust && path.with_extension("").components().any(|part| part.as_os_str() == name)
    };
    let empty = EMPTY_NAMES.iter().filter(|name| named(name));
    empty.map(|name| format!(": `{name}` says nothing: name it after what it does")).collect()
}

/// What is wrong with a file's text.
pub(super) fn of_text(path: &Path, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if is_rust(path) {
        findings.extend(documented(text));
        findings.extend(short(path, text.lines().count()));
    }
    for (number, line) in text.lines().enumerate() {
        let broken = [of_hosts(line), of_spaces(line), of_reminders(path, line)];
        let here = broken.into_iter().flatten();
        findings.extend(here.map(|finding| format!(":{}: {finding}", number + 1)));
    }
    findings
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn documented(text: &str) -> Option<String> {
    let undocumented = !text.starts_with("//!");
    undocumented
        .then(|| ":1: begin with `//!` and the one reason for which this file changes".into())
}

fn short(path: &Path, lines: usize) -> Option<String> {
    let is_main = path.file_name().is_some_and(|name| name == "main.rs");
    let most = if is_main { MAIN_LINES } else { FILE_LINES };
    (lines > most).then(|| format!(": {lines} lines, {most} are allowed: split it"))
}

fn of_hosts(line: &str) -> Option<String> {
    let host = HOSTS.iter().find(|host| line.contains(**host))?;
    Some(format!("`{host}` is a registry or mirror: every machine has its own, write none down"))
}

fn of_spaces(line: &str) -> Option<String> {
    line.ends_with([' ', '\t']).then(|| "space at the end of the line".into())
}

/// In code; prose may speak of reminders.
fn of_reminders(path: &Path, line: &str) -> Option<String> {
    if path.extension().is_some_and(|extension| extension == "md") {
        return None;
    }
    let word = REMINDERS.iter().find(|word| bare(line, word))?;
    Some(format!("{word} without an issue: write `{word}(#12)`, or do it"))
}

/// The word stands there, on its own, and no number follows.
fn bare(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let (before, after) =
            (line.get(..at).unwrap_or(""), line.get(at + word.len()..).unwrap_or(""));
        let part_of_a_name = |letter: char| letter.is_alphanumeric() || letter == '_';
        let number = after.trim_start_matches(['(', ' ']).strip_prefix('#').unwrap_or("");
        !before.ends_with(part_of_a_name)
            && !after.starts_with(part_of_a_name)
            && !number.starts_with(|digit: char| digit.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::{FILE_LINES, MAIN_LINES, REMINDERS, of_path, of_text};
    use std::path::Path;

    fn findings(path: &str, text: &str) -> usize {
        of_path(Path::new(path)).len() + of_text(Path::new(path), text).len()
    }

    #[test]
    fn a_module_begins_with_its_reason() {
        assert_eq!(findings("agent/src/a.rs", "//! Why.\n"), 0);
        assert_eq!(findings("agent/src/a.rs", "use std::fs;\n"), 1);
        assert_eq!(findings("agent/a.toml", "a = 1\n"), 0);
    }

    #[test]
    fn files_are_short_and_mains_shorter() {
        let lines = |n: usize| "//! Why.\n".repeat(n);
        assert_eq!(findings("src/a.rs", &lines(FILE_LINES)), 0);
        assert_eq!(findings("src/a.rs", &lines(FILE_LINES + 1)), 1);
        assert_eq!(findings("src/main.rs", &lines(MAIN_LINES)), 0);
        assert_eq!(findings("src/main.rs", &lines(MAIN_LINES + 1)), 1);
        assert_eq!(findings("docs/a.md", &"word\n".repeat(FILE_LINES + 1)), 0);
    }

    #[test]
    fn reminders_name_an_issue() {
        for word in REMINDERS {
            assert_eq!(findings("a.sh", &format!("# {word}: later")), 1);
            assert_eq!(findings("a.sh", &format!("# {word}(#12): later")), 0);
            assert_eq!(findings("a.sh", &format!("# {word} #12")), 0);
            assert_eq!(findings("a.sh", &format!("MY_{word}S=1")), 0);
            assert_eq!(findings("a.md", &format!("no {word} here")), 0);
        }
    }

    #[test]
    fn names_say_something() {
        assert_eq!(findings("tests/tests/common/mod.rs", "//! Why.\n"), 1);
        assert_eq!(findings("agent/src/utils.rs", "//! Why.\n"), 1);
        assert_eq!(findings("agent/src/utility_bill.rs", "//! Why.\n"), 0);
    }

    #[test]
    fn no_line_ends_in_space_or_names_a_mirror() {
        assert_eq!(findings("a.yml", "a: 1 \n"), 1);
        assert_eq!(findings("a.yml", concat!("a: deb.", "debian.org\n")), 1);
        assert_eq!(findings("a.yml", "a: example.org\n"), 0);
    }
}
