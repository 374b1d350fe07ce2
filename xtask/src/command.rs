//! Running other programs: every failure names the command line and what to do about it.

use crate::{outcome::talk, place};
use anyhow::{Context as _, Result, bail};
use std::{
    ffi::OsStr,
    fs,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

/// A command that runs in the workspace's folder.
pub(crate) fn new(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(place::root());
    command
}

/// `cargo ARGS`.
pub(crate) fn cargo<const N: usize>(args: [&str; N]) -> Command {
    let mut command = new("cargo");
    command.args(args);
    command
}

/// Whether this process may do what only root may.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Whether a command can be run by [`as_root`].
pub(crate) fn can_be_root() -> bool {
    is_root() || place::has_program("sudo")
}

/// `program` as root: itself, or through sudo, which keeps the environment.
pub(crate) fn as_root(program: &Path) -> Command {
    if is_root() {
        return new(program);
    }
    let mut command = new("sudo");
    command.arg("-E").arg(program);
    command
}

/// Runs it, its output straight to the reader.
pub(crate) fn checked(command: &mut Command, help: &str) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("`{}` does not start; help: {help}", line(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}; help: {help}", line(command));
    }
    Ok(())
}

/// As [`checked`], and says first what runs.
pub(crate) fn announced(command: &mut Command, help: &str) -> Result<()> {
    talk(format_args!("$ {}", line(command)));
    checked(command, help)
}

/// What it printed, if it ran and succeeded. Says nothing.
pub(crate) fn stdout(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// As [`announced`], and returns what it printed.
pub(crate) fn said(command: &mut Command, help: &str) -> Result<String> {
    talk(format_args!("$ {}", line(command)));
    let output = command.stderr(Stdio::inherit()).output();
    let output =
        output.with_context(|| format!("`{}` does not start; help: {help}", line(command)))?;
    if !output.status.success() {
        bail!("`{}` ended with {}; help: {help}", line(command), output.status);
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{}` prints what is no text", line(command)))
}

/// Becomes the command: its signals, its terminal, its exit code.
pub(crate) fn become_it(command: &mut Command, help: &str) -> Result<std::process::ExitCode> {
    talk(format_args!("$ {}", line(command)));
    let error = command.exec();
    Err(error).with_context(|| format!("`{}` does not start; help: {help}", line(command)))
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let set = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), word(value?))));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(word);
    set.chain(words).collect::<Vec<_>>().join(" ")
}

fn word(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    if text.is_empty()
        || text.contains(|letter: char| letter.is_whitespace() || "'\"$*&;|<>()".contains(letter))
    {
        return format!("'{}'", text.replace('\'', r"'\''"));
    }
    text.into_owned()
}

#[cfg(test)]
mod tests {
    use super::{line, new};

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = new("cargo");
        command.env("RUNNER", "sudo -E").args(["test", "it's"]);
        assert_eq!(line(&command), r"RUNNER='sudo -E' cargo test 'it'\''s'");
    }
}
