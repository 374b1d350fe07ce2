//! A running `keepwatch trace --json`, and what it has said.

use crate::{
    answer::{
        agent::keepwatch,
        event::{TraceLine, TracedDeath, TracedEvent},
    },
    kernel::netns::{NetworkNamespace, require_root},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    process::{Child, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

const READY_WITHIN: Duration = Duration::from_mins(1);
const ENDED_WITHIN: Duration = Duration::from_mins(1);
/// For events that are due: generous, for slow guests. Times are compared by the events' own clock.
const SHOWN_WITHIN: Duration = Duration::from_mins(1);

/// How the evidence of a death begins that no hook reported.
const UNREPORTED: &str = "the kernel did not report it";

/// What `keepwatch trace --json --source kernel` says of one network namespace, until it is dropped. Its
/// hooks pass over the rest of the host, whatever happens there. Unless events are named, all are shown.
#[derive(Debug)]
pub struct Trace {
    child: Mutex<Child>,
    said: Arc<(Mutex<TraceOutput>, Condvar)>,
}

#[derive(Debug, Default)]
struct TraceOutput {
    n_lines: usize,
    events: Vec<TracedEvent>,
    n_lost: u64,
    /// Runs of hooks that the kernel left out, on the whole host.
    n_skipped: u64,
    /// Of stdout, what is no event.
    nonsense: Option<String>,
    stderr: Vec<String>,
    ended: bool,
}

/// The mechanism that is forced on this run of the tests (`KEEPWATCH_HOOKS`), or `auto`.
pub fn mechanism() -> String {
    env::var("KEEPWATCH_HOOKS").unwrap_or_else(|_| "auto".to_owned())
}

impl Trace {
    /// Watches a new namespace. When this returns, all hooks are attached.
    #[track_caller]
    pub fn of(netns: &NetworkNamespace, args: &[&str]) -> Self {
        Self::start(&[&["--netns", &netns.inode().to_string()], args].concat())
    }

    /// SIGTERM to its process: how it ended.
    #[track_caller]
    pub fn stop(self) -> ExitStatus {
        self.terminate().expect("keepwatch trace ends after SIGTERM")
    }

    /// All events until now.
    #[track_caller]
    pub fn events(&self) -> Vec<TracedEvent> {
        let said = self.said();
        assert_eq!(said.nonsense, None, "each line is an event as agreed");
        assert_eq!(said.n_lost, 0, "nothing is lost");
        assert!(!said.ended, "keepwatch trace ended by itself: {:?}", said.stderr);
        said.events.clone()
    }

    /// Runs of hooks that the kernel left out until now, as reported.
    #[track_caller]
    pub fn skipped(&self) -> u64 {
        self.said().n_skipped
    }

    /// All events of the connections with this local address until now.
    #[track_caller]
    pub fn events_of(&self, local: SocketAddr) -> Vec<TracedEvent> {
        self.events().into_iter().filter(|event| event.local == local).collect()
    }

    /// Waits until the events until now are enough.
    #[track_caller]
    pub fn wait_for<T>(
        &self,
        what: &str,
        mut enough: impl FnMut(&[TracedEvent]) -> Option<T>,
    ) -> T {
        let began = wait::now();
        loop {
            let n_lines = self.said().n_lines;
            let events = self.events();
            if let Some(answer) = enough(&events) {
                return answer;
            }
            let Some(rest) = SHOWN_WITHIN.checked_sub(began.elapsed()) else {
                panic!("not shown within {SHOWN_WITHIN:?}: {what}\n{}", list(&events));
            };
            self.wait_for_line_after(n_lines, rest);
        }
    }

    /// Waits for the event that tells the death of the connection with this local address.
    #[track_caller]
    pub fn death_of(&self, local: SocketAddr) -> (TracedEvent, TracedDeath) {
        let deaths = self.wait_for(&format!("the death of {local}"), |events| {
            let deaths: Vec<_> = events
                .iter()
                .filter(|event| event.local == local)
                .filter_map(|event| Some((event.clone(), event.death()?.clone())))
                .collect();
            (!deaths.is_empty()).then_some(deaths)
        });
        let Ok([death]) = <[_; 1]>::try_from(deaths) else {
            panic!("one dies once\n{}", list(&self.events_of(local)));
        };
        let (_, TracedDeath { evidence, .. }) = &death;
        assert!(!evidence.starts_with(UNREPORTED), "this kernel did not run a hook: {evidence}");
        death
    }

    /// Starts `keepwatch trace` with these options, and returns when all hooks are attached.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        require_root();
        let all: &[&str] = if args.contains(&"--event") { &[] } else { &["--event", "all"] };
        let mut child = keepwatch(["trace", "--json", "--source", "kernel"])
            .args(["--hooks", &mechanism()])
            .args(args)
            .args(all)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start keepwatch");
        let said: Arc<(Mutex<TraceOutput>, Condvar)> = Arc::default();
        let stdout = child.stdout.take().expect("its stdout");
        let stderr = child.stderr.take().expect("its stderr");
        read_lines(stdout, &said, |said, line| said.take(&line));
        read_lines(stderr, &said, |said, line| said.stderr.push(line));
        let trace = Self { child: Mutex::new(child), said };
        trace.wait_until_attached();
        trace
    }

    #[track_caller]
    fn wait_until_attached(&self) {
        let line = wait::within(READY_WITHIN, || {
            if let Some(status) = locked(&self.child).try_wait().expect("wait for keepwatch") {
                panic!("keepwatch trace ended with {status}: {:?}", self.said().stderr);
            }
            self.said().stderr.iter().find(|line| is_ready(line)).cloned()
        });
        let line = line.unwrap_or_else(|| panic!("not attached: {:?}", self.said().stderr));
        // Without a mechanism for setsockopt, who set what is the only thing that a kernel does not show.
        let said = self.said();
        let mut blind = said.stderr.iter().filter(|line| line.contains("blind to"));
        assert!(blind.all(|line| line.contains("who set what")), "{:?}", said.stderr);
        drop(said);
        let forced = mechanism();
        let place = if forced == "tracepoint" { "tp_btf" } else { &forced };
        let uses = line.contains(&format!("keepalive_timer by {place}/"));
        assert!(forced == "auto" || uses, "{forced} is forced, yet: {line}");
    }

    fn said(&self) -> MutexGuard<'_, TraceOutput> {
        locked(&self.said.0)
    }

    /// Waits until it has printed more than `n_lines` lines. Asking all the time takes a slow guest's
    /// processor from what is watched.
    fn wait_for_line_after(&self, n_lines: usize, longest: Duration) {
        let said = self.said();
        let nothing_new = |said: &mut TraceOutput| said.n_lines == n_lines;
        drop(self.said.1.wait_timeout_while(said, longest, nothing_new));
    }

    /// SIGTERM: how it ended, if it did in time.
    fn terminate(&self) -> Option<ExitStatus> {
        let mut child = locked(&self.child);
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a process id");
        kill_process(pid, Signal::TERM).expect("signal our own child");
        wait::within(ENDED_WITHIN, || child.try_wait().expect("wait for keepwatch"))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if matches!(locked(&self.child).try_wait(), Ok(None)) && self.terminate().is_none() {
            let mut child = locked(&self.child);
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl TraceOutput {
    fn take(&mut self, text: &str) {
        match TraceLine::parse(text) {
            Ok(TraceLine::Event(event)) => self.events.push(*event),
            // What the kernel skipped may have been another's.
            Ok(TraceLine::Lost { events, skipped }) => {
                self.n_lost += events;
                self.n_skipped += skipped;
            }
            Ok(TraceLine::Resynchronised { .. }) => {}
            Err(error) => self.nonsense = Some(format!("{error} in {text}")),
        }
    }
}

/// Whether a line of stderr says that all hooks are attached.
pub fn is_ready(line: &str) -> bool {
    line.starts_with("keepwatch: tracing: ")
}

/// One line an event, for the message of a test that failed.
pub fn list(events: &[TracedEvent]) -> String {
    events.iter().fold(String::new(), |all, event| format!("{all}{event:?}\n"))
}

fn read_lines(
    from: impl Read + Send + 'static,
    said: &Arc<(Mutex<TraceOutput>, Condvar)>,
    take: impl Fn(&mut TraceOutput, String) + Send + 'static,
) {
    let said = Arc::clone(said);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut now = locked(&said.0);
            take(&mut now, line);
            now.n_lines += 1;
            said.1.notify_all();
        }
        let mut now = locked(&said.0);
        now.ended = true;
        now.n_lines += 1;
        said.1.notify_all();
    });
}

/// What is behind a lock is whole also after a test has failed with it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
