//! The command: started as its user, given the signals that were meant for it, waited for.

use super::user::User;
use rustix::{
    fs::{Mode, OFlags, open},
    process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, wait},
    termios::tcgetpgrp,
};
use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    process::{Command, ExitStatus},
    sync::Arc,
    thread,
};
use tokio::signal::unix::{SignalKind, signal};

/// A command that runs.
#[derive(Debug)]
pub(super) struct Running {
    pid: Pid,
    /// Readable when it has ended.
    pub(super) pidfd: Arc<OwnedFd>,
}

impl Running {
    /// Starts it. The terminal, stdin, stdout and stderr are ours.
    pub(super) fn start(words: &[OsString], user: Option<&User>) -> io::Result<Self> {
        let Some((program, args)) = words.split_first() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut command = Command::new(program);
        command.args(args);
        if let Some(user) = user {
            command.envs(user.environment());
        }
        let signals = Signals::catch()?;
        let child = match user {
            Some(user) => user.act(|| command.spawn()),
            None => command.spawn(),
        }?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::NotFound)?;
        let pidfd = Arc::new(pidfd_open(pid, PidfdFlags::empty())?);
        signals.pass_on(Arc::clone(&pidfd))?;
        Ok(Self { pid, pidfd })
    }

    /// How it has ended, if it has. Adopted processes that have ended are waited for on the way: nobody
    /// else does.
    pub(super) fn ended(&self) -> io::Result<Option<ExitStatus>> {
        while let Some((pid, status)) = wait(WaitOptions::NOHANG)? {
            if pid == self.pid {
                return Ok(Some(ExitStatus::from_raw(status.as_raw())));
            }
        }
        Ok(None)
    }
}

/// The exit code as a shell tells it: of a signal, 128 and its number.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let of_signal = || status.signal().map(|number| number.saturating_add(128));
    let code = status.code().or_else(of_signal).unwrap_or(255);
    u8::try_from(code).unwrap_or(255)
}

/// Signals that end or steer programs. While the command runs they are for it.
const PASSED_ON: [Signal; 6] =
    [Signal::INT, Signal::QUIT, Signal::HUP, Signal::TERM, Signal::USR1, Signal::USR2];

/// From now on no signal ends us before the findings are printed. Handlers, unlike ignoring, are not
/// inherited by the command.
struct Signals {
    runtime: tokio::runtime::Runtime,
    streams: Vec<(Signal, tokio::signal::unix::Signal)>,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let streams = PASSED_ON
            .into_iter()
            .map(|number| Ok((number, signal(SignalKind::from_raw(number.as_raw()))?)))
            .collect::<io::Result<_>>()?;
        drop(guard);
        Ok(Self { runtime, streams })
    }

    /// Passes them on. What is typed at a terminal goes to every process of the foreground: the
    /// command has it already.
    fn pass_on(self, pidfd: Arc<OwnedFd>) -> io::Result<()> {
        let Self { runtime, streams } = self;
        let name = "signals".to_owned();
        thread::Builder::new().name(name).spawn(move || {
            runtime.block_on(async {
                let each = streams.into_iter().map(|(number, mut stream)| {
                    let pidfd = Arc::clone(&pidfd);
                    tokio::spawn(async move {
                        let is_typed = matches!(number, Signal::INT | Signal::QUIT);
                        while stream.recv().await.is_some() {
                            if !(is_typed && in_foreground()) {
                                pidfd_send_signal(&*pidfd, number).ok();
                            }
                        }
                    })
                });
                for task in each.collect::<Vec<_>>() {
                    task.await.ok();
                }
            });
        })?;
        Ok(())
    }
}

/// Whether a terminal's keys reach us.
fn in_foreground() -> bool {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = open("/dev/tty", flags, Mode::empty());
    let group = terminal.and_then(tcgetpgrp);
    group.is_ok_and(|group| group == rustix::process::getpgrp())
}
