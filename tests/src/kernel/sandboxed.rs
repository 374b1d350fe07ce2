//! A process in the sandbox of the agent that tries one thing. It runs `src/bin/sandboxed.rs`.

use super::sys;
use crate::tool;
use rustix::{io::Errno, process::Signal};
use std::{
    ffi::OsStr,
    fs, io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was let.
    Done,
    /// The kernel refused it.
    Refused(Errno),
    /// The kernel killed the process.
    Killed,
}

/// The folders of an agent.
#[derive(Debug)]
pub struct AgentFolders(tool::TemporaryFolder);

impl AgentFolders {
    /// An empty state directory, a folder for the socket, one with a config, and a root of a host.
    pub fn new() -> Self {
        let folders = Self(tool::TemporaryFolder::new());
        for name in ["state", "run", "etc", "host"] {
            fs::create_dir(folders.path(name)).expect("a folder");
        }
        fs::write(folders.path("etc/config.toml"), "interval = \"15s\"\n").expect("a config");
        folders
    }

    /// A path in them: `state/x`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.file(name)
    }

    /// Tries this in the sandbox of an agent with these folders.
    #[track_caller]
    pub fn inside<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Attempt {
        attempt("on", &self.path(""), words)
    }

    /// The same without a sandbox.
    #[track_caller]
    pub fn outside<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Attempt {
        attempt("off", &self.path(""), words)
    }
}

impl Default for AgentFolders {
    fn default() -> Self {
        Self::new()
    }
}

#[track_caller]
fn attempt<S: AsRef<OsStr>>(
    mode: &str,
    folders: &Path,
    words: impl IntoIterator<Item = S>,
) -> Attempt {
    let mut command = Command::new(tool::beside("sandboxed"));
    command.arg(mode).arg(folders).args(words).stdin(Stdio::null());
    let output = command.output().expect("start sandboxed, built beside the tests");
    if output.status.signal() == Some(Signal::SYS.as_raw()) {
        return Attempt::Killed;
    }
    let said = String::from_utf8_lossy(&output.stdout);
    match said.trim_end().split_once(' ') {
        None if said.trim_end() == "done" => Attempt::Done,
        Some(("refused", errno)) => {
            Attempt::Refused(Errno::from_raw_os_error(errno.parse().expect("an error number")))
        }
        _ => panic!("{output:?}"),
    }
}

/// Whether landlock is on in this kernel, asked without keepwatch.
pub fn has_landlock() -> bool {
    sys::landlock_version().is_some()
}

/// What a system call answers whose arguments are all 0.
pub fn call_with_nothing(number: libc::c_long) -> io::Result<()> {
    sys::call_with_nothing(number)
}
