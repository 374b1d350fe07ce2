//! What is built: a commit and its time, which every file of the result bears.

use crate::command;
use anyhow::{Context as _, Result};
use std::process::Command;

/// The state of the workspace.
#[derive(Clone, Debug)]
pub(super) struct Revision {
    /// The commit's hash; `-dirty` at its end if something was changed since.
    pub(super) commit: String,
    /// Seconds since 1970: when it was committed.
    pub(super) epoch: u64,
}

impl Revision {
    pub(super) fn of_workspace() -> Result<Self> {
        let commit = asked(&["rev-parse", "HEAD"])?;
        let epoch = asked(&["log", "-1", "--format=%ct"])?;
        let epoch = epoch.parse().context("git names no time of the last commit")?;
        let is_clean = asked(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        Ok(Self { commit: if is_clean { commit } else { commit + "-dirty" }, epoch })
    }

    pub(super) fn is_clean(&self) -> bool {
        !self.commit.ends_with("-dirty")
    }

    /// A command whose result is the same whenever it runs.
    pub(super) fn dated<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("SOURCE_DATE_EPOCH", self.epoch.to_string()).env("LC_ALL", "C").env("TZ", "UTC")
    }
}

fn asked(question: &[&str]) -> Result<String> {
    // Root may build what belongs to somebody else.
    let mut git = command::new("git");
    let answer = command::stdout(git.args(["-c", "safe.directory=*"]).args(question));
    let answer = answer.with_context(|| {
        format!(
            "`git {}` does not answer; help: packages are built in a clone of the repository, for they name its commit",
            question.join(" ")
        )
    })?;
    Ok(answer.trim().to_owned())
}
