//! The errors of config files and policies. Each names the file, and where in it.

use crate::files;
use std::{io, path::PathBuf};

/// A config file or a policy that is no good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It cannot be read.
    #[error("cannot read the config {}: {cause}; name another with --config", file.display())]
    Read {
        /// Path of the config file.
        file: PathBuf,
        /// The error of the file layer.
        cause: files::Error,
    },
    /// The policy cannot be read.
    #[error(
        "cannot read the policy {}{}: {cause}; name another with --policy",
        file.display(),
        user.as_ref().map(|user| format!(" as {user}, who typed sudo")).unwrap_or_default()
    )]
    Policy {
        /// Path of the policy file.
        file: PathBuf,
        /// With whose rights, if not our own.
        user: Option<String>,
        /// The error of the file layer.
        cause: files::Error,
    },
    /// The host's root is not there.
    #[error("cannot open the host's root {}: {cause}; name another with --host-root", folder.display())]
    HostRoot {
        /// Path where the host's root should be mounted.
        folder: PathBuf,
        /// The error of the system call.
        cause: io::Error,
    },
    /// It is not TOML.
    #[error("{}:{line}: not TOML: {message}", file.display())]
    Syntax {
        /// Path of the file with the error.
        file: PathBuf,
        /// Line of the error, from 1.
        line: usize,
        /// What the parser expected.
        message: String,
    },
    /// A key that no option has.
    #[error("{}:{line}: unknown key `{key}`; {hint}expected one of: {known}", file.display())]
    Key {
        /// Path of the file with the key.
        file: PathBuf,
        /// Line of the key, from 1.
        line: usize,
        /// The unknown key.
        key: String,
        /// The known key that is like it, as a question; empty if none is.
        hint: String,
        /// All that there are.
        known: String,
    },
    /// A value that its option does not take.
    #[error(
        "{}:{line}: `{key}`{}: {expected}",
        file.display(),
        value.as_ref().map(|value| format!(" = {value}")).unwrap_or_default()
    )]
    Value {
        /// Path of the file with the value.
        file: PathBuf,
        /// Line of the value, from 1.
        line: usize,
        /// The key of the value.
        key: String,
        /// The value as it is written there; none of a table or a list.
        value: Option<String>,
        /// The type or words that the key takes.
        expected: String,
    },
}
