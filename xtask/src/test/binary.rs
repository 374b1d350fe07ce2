//! Which binaries hold the tests: asked of cargo, which builds them.

use crate::command::{self, cargo, said};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The folder of the crate whose tests drive a real kernel.
const KERNEL_TESTS: &str = "tests";
/// Tests that run at the same time in a binary that drives a real kernel: they wait for its timers most of the time, so that
/// two processors are a quarter busy with one test for each.
const N_AT_ONCE: &str = "4";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Binary {
    kind: BinaryKind,
    /// The folder of its crate: tests find files from here, as when cargo runs them.
    folder: PathBuf,
    /// `deaths`, or `keepwatch` for the unit tests of that crate.
    pub(super) name: String,
    executable: PathBuf,
    /// Made for tests alone, so it must have some: programs and libraries may have none.
    pub(super) is_suite: bool,
}

/// Which tests run first: those that need no kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum BinaryKind {
    Plain,
    /// Tests of the crate that drives a real kernel: they need root.
    Kernel,
}

/// Builds every program and test of the workspace and names the binaries of tests, in the order in which they run. At once: what tests
/// alone depend on changes features of what the agent depends on, so that an agent that is built before them is built twice.
pub(super) fn build() -> Result<Vec<Binary>> {
    let mut build = cargo(["build", "--workspace", "--all-targets"]);
    build.arg("--message-format=json-render-diagnostics");
    let help = "fix what the compiler says: no test runs before all are built; without the hooks' compiler, `cargo xtask setup`";
    let said = said(&mut build, help)?;
    let binaries: Result<Vec<_>> =
        said.lines().filter_map(|line| of_message(line).transpose()).collect();
    let mut binaries = binaries?;
    binaries.sort();
    Ok(binaries)
}

/// The test binary in a line of cargo's JSON, if it is of one.
fn of_message(line: &str) -> Result<Option<Binary>> {
    let message: Value = serde_json::from_str(line).context("cargo's JSON")?;
    let field = |pointer| message.pointer(pointer);
    let text = |pointer| field(pointer).and_then(Value::as_str);
    let is_test = field("/profile/test").and_then(Value::as_bool) == Some(true);
    let Some(executable) = text("/executable").filter(|_| is_test) else {
        return Ok(None);
    };
    let manifest = text("/manifest_path").context("cargo names a test without its manifest")?;
    let folder = Path::new(manifest).parent().context("a manifest in no folder")?.to_path_buf();
    let name = text("/target/name").context("cargo names a test without its target")?;
    let target = text("/target/kind/0");
    Ok(Some(Binary {
        kind: if folder.ends_with(KERNEL_TESTS) { BinaryKind::Kernel } else { BinaryKind::Plain },
        folder,
        // A crate's library and its program may have one name.
        name: if target == Some("bin") { format!("{name}-bin") } else { name.into() },
        executable: executable.into(),
        is_suite: target == Some("test"),
    }))
}

impl Binary {
    /// The command that runs it; the kernel's tests as root.
    pub(super) fn command(&self) -> Command {
        let mut command = match self.kind {
            BinaryKind::Kernel => command::as_root(&self.executable),
            BinaryKind::Plain => command::new(&self.executable),
        };
        if self.kind == BinaryKind::Kernel {
            command.env("RUST_TEST_THREADS", N_AT_ONCE);
        }
        // Of what cargo sets, this is what is needed when a test runs and not when it is built.
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }

    /// A binary of plain tests that no crate has.
    #[cfg(test)]
    pub(super) fn of_fixture(folder: &Path, name: &str, executable: PathBuf) -> Self {
        let (folder, name) = (folder.to_path_buf(), name.to_owned());
        Self { kind: BinaryKind::Plain, folder, name, executable, is_suite: true }
    }
}

#[cfg(test)]
mod tests {
    use super::{Binary, BinaryKind, of_message};

    fn message(target: &str, test: bool, folder: &str) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","manifest_path":"{folder}/Cargo.toml","target":{target},
                "profile":{{"test":{test}}},"executable":"/t/x-1f"}}"#
        )
    }

    #[test]
    fn cargo_names_the_binaries_and_where_they_run() {
        let life = message(r#"{"name":"life","kind":["test"]}"#, true, "/w/tests");
        let expected = Binary {
            kind: BinaryKind::Kernel,
            folder: "/w/tests".into(),
            name: "life".into(),
            executable: "/t/x-1f".into(),
            is_suite: true,
        };
        assert_eq!(of_message(&life).expect("JSON"), Some(expected));
        let of = |kind| {
            let target = format!(r#"{{"name":"keepwatch","kind":["{kind}"]}}"#);
            let binary = of_message(&message(&target, true, "/w/agent")).expect("JSON");
            binary.expect("a test binary")
        };
        let (library, program) = (of("lib"), of("bin"));
        assert!(library.kind == BinaryKind::Plain && !library.is_suite && !program.is_suite);
        assert_ne!(library.name, program.name);
    }

    #[test]
    fn programs_and_libraries_are_no_tests() {
        let program = message(r#"{"name":"crowd","kind":["bin"]}"#, false, "/w/tests");
        assert_eq!(of_message(&program).expect("JSON"), None);
        let library = r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":null}"#;
        assert_eq!(of_message(library).expect("JSON"), None);
        assert!(of_message("no JSON").is_err());
    }

    #[test]
    fn unit_tests_run_first_and_in_their_crates_folder() {
        let binary = |kind, name: &str| Binary {
            kind,
            folder: "/w/x".into(),
            name: name.into(),
            executable: "/t/x".into(),
            is_suite: false,
        };
        let mut binaries = [
            binary(BinaryKind::Kernel, "a"),
            binary(BinaryKind::Plain, "z"),
            binary(BinaryKind::Kernel, "b"),
        ];
        binaries.sort();
        assert_eq!(binaries.map(|binary| binary.name), ["z", "a", "b"]);
        let command = binary(BinaryKind::Plain, "z").command();
        assert_eq!(command.get_current_dir(), Some("/w/x".as_ref()));
    }
}
