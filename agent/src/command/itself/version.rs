//! `keepwatch --version`: the sources and the hooks that this binary is made of.

use crate::kernel::hooks;
use clap::Command;
use ring::digest::{SHA256, digest};
use std::{ffi::OsString, fmt::Write as _};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that `cargo xtask dist` builds. No other build names one: it would be built again after every commit.
const COMMIT: Option<&str> = option_env!("KEEPWATCH_COMMIT");

/// Adds what `--version` says beyond `-V`, if that is asked: to hash the hooks takes a millisecond.
pub(crate) fn told_in_full(command: Command, words: &[OsString]) -> Command {
    if words.iter().any(|word| word == "--version") {
        return command.long_version(in_full(COMMIT, hooks::object()));
    }
    command
}

/// One fact a line.
fn in_full(commit: Option<&str>, hooks: &[u8]) -> String {
    let commit = commit.unwrap_or("not known: not built by `cargo xtask dist`");
    let hash = digest(&SHA256, hooks);
    let mut text = format!("{VERSION}\ncommit: {commit}\nhooks:  sha256 ");
    for byte in hash.as_ref() {
        write!(text, "{byte:02x}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::in_full;

    #[test]
    fn a_version_names_its_commit_and_the_hash_of_its_hooks() {
        let said = in_full(Some("1aff56c"), b"abc");
        assert!(said.contains("\ncommit: 1aff56c\n"), "{said}");
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(said.ends_with(hash), "{said}");
        assert_ne!(in_full(None, b"abd"), in_full(None, b"abc"));
    }
}
