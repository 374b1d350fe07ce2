//! How a verb ends: what is printed about an error, and which exit code it gets.

use anyhow::Result;
use std::{error, fmt, process::ExitCode};

/// Something was found: a failed test, a broken law, a command that failed.
pub(crate) const FINDING: u8 = 1;
const CANNOT_RUN_HERE: u8 = 3;

/// This machine lacks what only its administrator can give. The text names the commands.
#[derive(Debug, PartialEq)]
pub(crate) struct CannotRunHere(pub(crate) String);

impl fmt::Display for CannotRunHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for CannotRunHere {}

/// Says an error, once, with its causes.
pub(crate) fn exit_code(result: Result<ExitCode>) -> ExitCode {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    talk(format_args!("error: {error:#}"));
    if error.is::<CannotRunHere>() {
        return ExitCode::from(CANNOT_RUN_HERE);
    }
    ExitCode::from(FINDING)
}

/// One line for the reader: what happens, and why. Data goes to stdout, this does not.
#[expect(clippy::print_stderr, reason = "telling is what a developer's tool does")]
pub(crate) fn talk(line: fmt::Arguments<'_>) {
    eprintln!("{line}");
}
