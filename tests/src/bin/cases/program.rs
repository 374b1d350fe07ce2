//! Programs that run, what they print, and how they end.

use keepwatch_tests::{kernel::netns::NetworkNamespace, wait};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

const ENDED_WITHIN: Duration = Duration::from_secs(4);
/// Longer than any program here needs for a step.
const PATIENCE: Duration = Duration::from_secs(90);

/// A program that runs until it is dropped, in a process group of its own.
#[derive(Debug)]
pub(crate) struct RunningProgram {
    child: Child,
    shown: String,
    printed: Arc<Mutex<Vec<String>>>,
    ends_by: Signal,
    /// What it needs.
    beside: Option<Box<Self>>,
}

impl RunningProgram {
    #[track_caller]
    pub(crate) fn start(netns: &NetworkNamespace, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        let shown = command.get_program().display().to_string();
        let mut child =
            netns.run(|| command.spawn()).unwrap_or_else(|error| panic!("start {shown}: {error}"));
        let printed = Arc::default();
        collect(child.stdout.take().expect("its stdout"), &printed);
        collect(child.stderr.take().expect("its stderr"), &printed);
        Self { child, shown, printed, ends_by: Signal::TERM, beside: None }
    }

    /// The signal that ends it at once, if that is not SIGTERM.
    pub(crate) const fn ends_by(mut self, signal: Signal) -> Self {
        self.ends_by = signal;
        self
    }

    /// Another program that runs as long as it does.
    pub(crate) fn with(mut self, other: Self) -> Self {
        self.beside = Some(Box::new(other));
        self
    }

    /// All lines until now.
    pub(crate) fn printed(&self) -> Vec<String> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a line with this in it.
    #[track_caller]
    pub(crate) fn until(&self, text: &str) -> String {
        let find = || self.printed().into_iter().find(|line| line.contains(text));
        wait::within(PATIENCE, find).unwrap_or_else(|| {
            panic!("{} never printed {text:?}, but {:?}", self.shown, self.printed())
        })
    }

    /// A line for its stdin.
    #[track_caller]
    pub(crate) fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("its stdin");
        let told = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
        told.unwrap_or_else(|error| panic!("{}: {error}: {:?}", self.shown, self.printed()));
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let ended = wait::within(PATIENCE, || child.try_wait().expect("wait for our own child"));
        ended.unwrap_or_else(|| panic!("{} does not end: {:?}", self.shown, self.printed()))
    }

    /// Signals the program alone.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ended = kill_process(self.process(), signal);
    }

    /// Signals it and all that it started.
    pub(crate) fn signal_group(&self, signal: Signal) {
        // What has ended needs none.
        let _ended = kill_process_group(self.process(), signal);
    }

    fn process(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).expect("a process id")
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(self.ends_by);
            self.signal_group(Signal::CONT);
            wait::within(ENDED_WITHIN, || self.child.try_wait().ok().flatten());
        }
        // What it started and left behind.
        self.signal_group(Signal::KILL);
        drop(self.child.wait());
    }
}

fn collect(from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<String>>>) {
    let into = Arc::clone(into);
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            into.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
}
