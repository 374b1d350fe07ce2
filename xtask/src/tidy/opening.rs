//! Law 9 (docs/ARCHITECTURE.md#laws): the agent opens no path but by `agent/src/files`, which knows what may have been planted there.

use std::path::Path;

/// What makes, opens, changes or removes something by a path.
const CALLS: [&str; 24] = [
    "File::open(",
    "File::create(",
    "File::create_new(",
    "OpenOptions",
    "DirBuilder",
    "fs::read(",
    "fs::read_to_string(",
    "fs::read_dir(",
    "fs::write(",
    "fs::copy(",
    "fs::rename(",
    "fs::hard_link(",
    "fs::create_dir",
    "fs::remove_",
    "fs::set_permissions(",
    "open(",
    "openat(",
    "openat2(",
    "chmod(",
    "chown(",
    "chownat(",
    "mkdirat(",
    "unlinkat(",
    "UnixListener::bind(",
];
/// The kernel's own, and lists that only root writes: nobody plants anything there.
const FIXED: [&str; 5] = ["/proc/", "/sys/", "/dev/tty", "/etc/passwd", "/etc/group"];
/// Files that do it all the same, each with its reason.
const EXCUSED: [(&str, &str); 6] = [
    ("agent/src/advice/process_clues.rs", "reads below /proc/PID, to a limit"),
    (
        "agent/src/kernel/proc_source/connection_table.rs",
        "reads /proc/PID/net, which only the kernel writes",
    ),
    ("agent/src/command/doctor/mod.rs", "reads the kernel's BTF below /sys"),
    ("agent/src/docs/mod.rs", "is a test, and writes the generated documents"),
    ("agent/src/kernel/field_offsets.rs", "reads the kernel's BTF below /sys"),
    ("agent/src/store/database.rs", "renames its own broken file, and a link is not followed then"),
];

/// What a line of the agent opens by itself.
pub(super) fn of_text(path: &Path, text: &str) -> Vec<String> {
    let is_excused = EXCUSED.iter().any(|(file, _)| path == Path::new(file));
    if !path.starts_with("agent/src") || path.starts_with("agent/src/files") || is_excused {
        return Vec::new();
    }
    // Tests come last in a file, or have one of their own.
    let is_test = path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("tests"));
    let product = if is_test { "" } else { text.split("mod tests {").next().unwrap_or(text) };
    let lines = product.lines().enumerate();
    let found = lines.filter_map(|(number, line)| Some((number, opens(line)?)));
    let told = |(number, call): (usize, &str)| {
        format!(
            ":{}: `{call}` opens a path: let `files` do it (law 9 in docs/ARCHITECTURE.md)",
            number + 1
        )
    };
    found.map(told).collect()
}

/// The call by which a line opens a path that is not fixed.
fn opens(line: &str) -> Option<&'static str> {
    let code = line.split("//").next().unwrap_or(line);
    let is_called = |call: &&&str| {
        let mut places = code.match_indices(**call);
        places.any(|(at, _)| {
            let before = code.get(..at).unwrap_or("");
            // A method, or a longer name, is another function.
            !before.ends_with(|letter: char| letter.is_alphanumeric() || "_.".contains(letter))
                && (!before.ends_with("::")
                    || ["fs::", "std::"].iter().any(|of| before.ends_with(of)))
                && !before.ends_with("fn ")
        })
    };
    let call = CALLS.iter().find(is_called)?;
    let is_fixed = FIXED.iter().any(|fixed| line.contains(&format!("\"{fixed}")));
    (!is_fixed).then_some(call)
}

#[cfg(test)]
mod tests {
    use super::{EXCUSED, of_text};
    use crate::place;
    use std::path::Path;

    fn findings(file: &str, text: &str) -> usize {
        of_text(Path::new(file), text).len()
    }

    #[test]
    fn only_one_module_opens_what_may_be_planted() {
        let file = "agent/src/config/file.rs";
        for line in [
            "let text = fs::read_to_string(path)?;",
            "let file = std::fs::File::create(path)?;",
            "fs::remove_file(path)?;",
            "let lock = open(path, flags, mode)?;",
            "rustix::fs::chmod(path, mode)?;",
            "let listener = UnixListener::bind(path)?;",
        ] {
            assert_eq!(findings(file, line), 1, "{line}");
            assert_eq!(findings("agent/src/files/read.rs", line), 0, "{line}");
            assert_eq!(findings("xtask/src/dist.rs", line), 0, "{line}");
            let test = format!("#[cfg(test)]\nmod tests {{\n    {line}\n}}\n");
            assert_eq!(findings(file, &test), 0, "{line}");
        }
    }

    #[test]
    fn what_nobody_can_plant_and_what_only_looks_alike_is_fine() {
        for line in [
            "let stat = fs::read_to_string(\"/proc/self/statm\");",
            "let stat = fs::read_to_string(format!(\"/proc/{pid}/stat\"));",
            "let store = Reader::open(&folder)?;",
            "self.open();",
            "fn open(folder: &Path) -> Self {",
            "// fs::write( as it was",
            "let reopen = reopen(path);",
        ] {
            assert_eq!(findings("agent/src/a.rs", line), 0, "{line}");
        }
    }

    #[test]
    fn every_excuse_is_of_a_file_that_is_there_and_needs_it() {
        for (file, reason) in EXCUSED {
            let path = place::root().join(file);
            // One that is gone needs none: delete the row.
            let text = std::fs::read_to_string(&path)
                .unwrap_or_else(|_| panic!("no {file}: delete its row"));
            assert!(!reason.is_empty() && findings("agent/src/x.rs", &text) > 0, "{file}");
        }
    }
}
