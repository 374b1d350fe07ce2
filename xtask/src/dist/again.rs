//! Whether the same commit makes the same files wherever it is built.

use super::{Architecture, Revision, SUMS};
use crate::{
    command::{self, announced},
    outcome::talk,
    place,
};
use anyhow::{Context as _, Result, bail};
use std::{fs, os::unix::fs::symlink, path::Path};

/// Builds a clone in a folder of another name and depth, and compares the checksums.
pub(super) fn verify(
    dist: &Path,
    asked: &[Architecture],
    profile: &str,
    revision: &Revision,
) -> Result<()> {
    if !revision.is_clean() {
        bail!(
            "a second build is of the last commit, and files were changed since; help: commit them"
        );
    }
    let clone = place::root().join("target/dist-again/in/another/place");
    let above = place::root().join("target/dist-again");
    if above.exists() {
        fs::remove_dir_all(&above).with_context(|| format!("clear {}", above.display()))?;
    }
    let mut git = command::new("git");
    git.args(["-c", "safe.directory=*", "clone", "--quiet", "--no-hardlinks"]);
    announced(git.arg(place::root()).arg(&clone), "git must be able to read this clone")?;
    let target = clone.join("target");
    fs::create_dir(&target).with_context(|| format!("make {}", target.display()))?;
    symlink(place::tools(), target.join("tools")).context("link target/tools")?;
    let mut again = command::new("cargo");
    again.current_dir(&clone).env_remove("CARGO_TARGET_DIR");
    again.args(["xtask", "dist", "--profile", profile]);
    for architecture in asked {
        again.args(["--arch", architecture.name()]);
    }
    announced(&mut again, "read what it says above")?;
    let read = |folder: &Path| {
        let file = folder.join(SUMS);
        fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
    };
    let (first, second) = (read(dist)?, read(&target.join("dist"))?);
    let differences = differences(&first, &second);
    if !differences.is_empty() {
        bail!(
            "two builds of one commit differ in {}; help: compare them by diffoscope; the second is in {}",
            differences.join(", "),
            target.join("dist").display()
        );
    }
    talk(format_args!("the same files, bit by bit, in {}", clone.display()));
    fs::remove_dir_all(&above).with_context(|| format!("remove {}", above.display()))
}

/// The lines of each that the other does not have.
pub(super) fn differences<'a>(one: &'a str, other: &'a str) -> Vec<&'a str> {
    let lacks = |text: &str, line: &str| !text.lines().any(|one| one == line);
    let first = one.lines().filter(|line| lacks(other, line));
    first.chain(other.lines().filter(|line| lacks(one, line))).collect()
}

#[cfg(test)]
mod tests {
    use super::differences;

    #[test]
    fn a_file_that_is_missing_or_of_another_hash_is_a_difference() {
        assert!(differences("1  a\n2  b\n", "2  b\n1  a\n").is_empty());
        assert_eq!(differences("1  a\n2  b\n", "1  a\n3  b\n"), ["2  b", "3  b"]);
        assert_eq!(differences("1  a\n", "1  a\n2  b\n"), ["2  b"]);
        assert_eq!(differences("1  a\n", ""), ["1  a"]);
    }
}
