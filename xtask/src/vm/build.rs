//! The programs of the guests: static, so that they run on a bare kernel.

use super::{initramfs::Archive, programs, suite::Suite};
use crate::{
    architecture::Architecture,
    command::{self, cargo},
    tool,
};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::PathBuf;

/// The part of the guests' file system that is the same for all kernels of an architecture: suites and programs.
pub(crate) fn base(
    architecture: Architecture,
    suites: &[&Suite],
    ours: &[&str],
) -> Result<Archive> {
    let mut archive = Archive::default();
    programs::add(&mut archive, architecture)?;
    for Built { name, is_test, path } in built(architecture, suites, ours)? {
        let place = match (name.as_str(), is_test) {
            ("guest", _) => "/init".into(),
            // As cargo lays them out: tests look for programs one above.
            (name, true) => format!("/tests/deps/{name}"),
            (name, false) => format!("/tests/{name}"),
        };
        archive.copy(&place, &path)?;
    }
    Ok(archive)
}

/// A program in the JSON messages of cargo.
#[derive(Debug, PartialEq, Eq)]
struct Built {
    name: String,
    is_test: bool,
    path: PathBuf,
}

fn built(architecture: Architecture, suites: &[&Suite], ours: &[&str]) -> Result<Vec<Built>> {
    let target = architecture.target();
    let mut build = cargo(["build", "--profile", "guest", "--target", &target]);
    build.args(["-p", "keepwatch", "-p", "keepwatch-tests"]);
    for program in ours.iter().chain(&["keepwatch", "guest"]) {
        build.args(["--bin", program]);
    }
    for suite in suites {
        build.args(["--test", suite.name]);
    }
    build
        .arg("--message-format=json-render-diagnostics")
        .env(
            format!("CARGO_TARGET_{}_RUSTFLAGS", target.replace('-', "_").to_uppercase()),
            "-Ctarget-feature=+crt-static",
        )
        // It would hide ours.
        .env_remove("RUSTFLAGS");
    tool::set_compilers(&mut build, architecture)?;
    let said = command::said(&mut build, "fix what the compiler says")?;
    said.lines().filter_map(|line| executable(line).transpose()).collect()
}

/// The executable in a line of cargo's JSON, if it is of one.
fn executable(line: &str) -> Result<Option<Built>> {
    let message: Value = serde_json::from_str(line).context("cargo's JSON")?;
    let field = |pointer| message.pointer(pointer);
    let Some(path) = field("/executable").and_then(Value::as_str) else {
        return Ok(None);
    };
    let name = field("/target/name").and_then(Value::as_str).context("a target without a name")?;
    let is_test = field("/profile/test").and_then(Value::as_bool).unwrap_or(false);
    Ok(Some(Built { name: name.into(), is_test, path: path.into() }))
}

#[cfg(test)]
mod tests {
    use super::{Built, executable};

    #[test]
    fn cargo_names_what_it_built() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"life","kind":["test"]},"profile":{"test":true},"executable":"/t/life-1f"}"#;
        let life = Built { name: "life".into(), is_test: true, path: "/t/life-1f".into() };
        assert_eq!(executable(line).expect("JSON"), Some(life));
        let library = r#"{"reason":"compiler-artifact","target":{"name":"aya"},"executable":null}"#;
        assert_eq!(executable(library).expect("JSON"), None);
        assert!(executable("no JSON").is_err());
    }
}
