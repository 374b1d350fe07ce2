//! Runs one test binary: reads along, and knows for sure how it ended.

use crate::{command, test::libtest::TestOutput};
use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};
use std::{
    io::{BufRead as _, BufReader, Read},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

/// A binary that prints nothing for longer hangs. The slowest test takes a minute and a half, beside others.
pub(crate) const SILENT_FOR: Duration = Duration::from_mins(6);
/// Once a binary has ended, and what it started has been killed, its output ends at once.
const DRAINED_WITHIN: Duration = Duration::from_secs(5);

/// How a binary ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) said: TestOutput,
    /// Why this is no whole run, if it is not.
    pub(crate) broken: Option<String>,
}

/// Runs tests and passes each line on to `show`. They have a process group of their own, and
/// it is empty when this returns.
pub(crate) fn run(
    command: &mut Command,
    silent_for: Duration,
    mut show: impl FnMut(&str) -> Result<()>,
) -> Result<Ran> {
    let name = command::line(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("`{name}` does not start"))?;
    let output = child.stdout.take().context("the output was asked for")?;
    let group = ProcessGroup::of(&child);
    let lines = lines_of(output);
    let mut said = TestOutput::default();
    let mut take = |line: &str| {
        said.read(line);
        show(line)
    };
    let (status, hung) = follow(&mut child, &lines, silent_for, &group, &mut take)?;
    let broken = if hung {
        Some(format!("it hung: it printed nothing for {} s, and was killed", silent_for.as_secs()))
    } else {
        end(&said, status)
    };
    Ok(Ran { said, broken })
}

/// Reads to the end. The binary's end counts, not that of its output: a program that it left behind may hold
/// the output open.
fn follow(
    child: &mut Child,
    lines: &Receiver<Vec<u8>>,
    silent_for: Duration,
    group: &ProcessGroup,
    take: &mut impl FnMut(&str) -> Result<()>,
) -> Result<(ExitStatus, bool)> {
    const GLANCE: Duration = Duration::from_millis(200);
    let (mut silent, mut hung) = (Duration::ZERO, false);
    let status = loop {
        match lines.recv_timeout(GLANCE) {
            Ok(line) => {
                silent = Duration::ZERO;
                take(&String::from_utf8_lossy(&line))?;
            }
            Err(RecvTimeoutError::Timeout) => silent += GLANCE,
            Err(RecvTimeoutError::Disconnected) => break child.wait(),
        }
        if let Some(status) = child.try_wait().transpose() {
            break status;
        }
        if silent >= silent_for && !hung {
            hung = true;
            group.kill();
        }
    }
    .context("wait for a test binary")?;
    group.kill();
    while let Ok(line) = lines.recv_timeout(DRAINED_WITHIN) {
        take(&String::from_utf8_lossy(&line))?;
    }
    Ok((status, hung))
}

impl Ran {
    /// No test ran, as it should be for what was asked.
    pub(super) fn is_empty(&self) -> bool {
        self.broken.is_none() && self.said.tests.is_empty()
    }
}

/// Why this is no whole run, if it is not.
fn end(said: &TestOutput, status: ExitStatus) -> Option<String> {
    if status.signal().is_some() {
        return Some(format!("it was killed by {status}, after {} tests", said.tests.len()));
    }
    said.broken(status.code())
}

fn lines_of(output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    lines
}

/// The process group of the binary that runs, so that an interrupt ends it too.
static RUNNING: Mutex<Option<u32>> = Mutex::new(None);

/// A binary and what it started.
struct ProcessGroup(u32);

impl ProcessGroup {
    fn of(child: &Child) -> Self {
        if let Ok(mut running) = RUNNING.lock() {
            *running = Some(child.id());
        }
        Self(child.id())
    }

    /// Kills what is left of it. Mostly that is nothing, so what `kill` says is not shown.
    fn kill(&self) {
        kill_group(self.0);
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
        if let Ok(mut running) = RUNNING.lock() {
            running.take_if(|group| *group == self.0);
        }
    }
}

/// An interrupt from the terminal does not reach the binaries, which have groups of their own: from now on it
/// ends the one that runs, then us.
pub(super) fn end_when_interrupted() -> Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("wait for signals")?;
    thread::spawn(move || {
        for signal in &mut signals {
            if let Some(group) = RUNNING.lock().ok().and_then(|running| *running) {
                kill_group(group);
            }
            drop(emulate_default_handler(signal));
        }
    });
    Ok(())
}

fn kill_group(group: u32) {
    let mut kill = command::as_root("kill".as_ref());
    kill.args(["-KILL", "--", &format!("-{group}")]);
    drop(kill.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status());
}
