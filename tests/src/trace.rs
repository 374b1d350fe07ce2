//! A running `keepwatch trace --json`, and what it has said.

use crate::{
    agent::keepwatch,
    event::{Death, Event, Line},
    netns::{Netns, require_root},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    process::{Child, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

const READY_WITHIN: Duration = Duration::from_mins(1);
const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// For events that are due: generous, for slow guests. Times are compared by the events' own clock.
const SHOWN_WITHIN: Duration = Duration::from_mins(1);

/// `keepwatch trace --json --source kernel` on one network namespace, until it is dropped.
#[derive(Debug)]
pub struct Trace {
    child: Child,
    said: Arc<Mutex<Said>>,
}

#[derive(Debug, Default)]
struct Said {
    events: Vec<Event>,
    n_lost: u64,
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
    /// Watches a namespace. When this returns, all hooks are attached.
    #[track_caller]
    pub fn of(netns: &Netns, args: &[&str]) -> Self {
        require_root();
        let mut child = keepwatch(["trace", "--json", "--source", "kernel"])
            .args(["--hooks", &mechanism(), "--netns", &netns.inode().to_string()])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start keepwatch");
        let said = Arc::default();
        let stdout = child.stdout.take().expect("its stdout");
        let stderr = child.stderr.take().expect("its stderr");
        read_lines(stdout, &said, |said, line| said.take(&line));
        read_lines(stderr, &said, |said, line| said.stderr.push(line));
        let mut trace = Self { child, said };
        trace.wait_until_attached();
        trace
    }

    #[track_caller]
    fn wait_until_attached(&mut self) {
        let line = wait::within(READY_WITHIN, || {
            if let Some(status) = self.child.try_wait().expect("wait for keepwatch") {
                panic!("keepwatch trace ended with {status}: {:?}", self.said().stderr);
            }
            self.said().stderr.iter().find(|line| is_ready(line)).cloned()
        });
        let line = line.unwrap_or_else(|| panic!("not attached: {:?}", self.said().stderr));
        let forced = mechanism();
        let uses = line.contains(&format!("keepalive_timer by {forced}"));
        assert!(forced == "auto" || uses, "{forced} is forced, yet: {line}");
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All events until now.
    #[track_caller]
    pub fn events(&self) -> Vec<Event> {
        let said = self.said();
        assert_eq!(said.nonsense, None, "each line is an event as agreed");
        assert_eq!(said.n_lost, 0, "nothing is lost");
        assert!(!said.ended, "keepwatch trace ended by itself: {:?}", said.stderr);
        said.events.clone()
    }

    /// All events of the connections with this local address until now.
    #[track_caller]
    pub fn events_of(&self, local: SocketAddr) -> Vec<Event> {
        self.events().into_iter().filter(|event| event.local == local).collect()
    }

    /// Waits until the events until now are enough.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, mut enough: impl FnMut(&[Event]) -> Option<T>) -> T {
        wait::within(SHOWN_WITHIN, || enough(&self.events())).unwrap_or_else(|| {
            let (events, stderr) = (list(&self.events()), self.said().stderr.join("\n"));
            panic!("not shown within {SHOWN_WITHIN:?}: {what}\n{events}{stderr}")
        })
    }

    /// Waits for the event that tells the death of the connection with this local address.
    #[track_caller]
    pub fn death_of(&self, local: SocketAddr) -> (Event, Death) {
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
        death
    }

    /// SIGTERM: how it ended.
    #[track_caller]
    pub fn stop(mut self) -> ExitStatus {
        self.terminate();
        wait::until("keepwatch trace ends after SIGTERM", ENDED_WITHIN, || {
            self.child.try_wait().expect("wait for keepwatch")
        })
    }

    fn terminate(&self) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, Signal::TERM).expect("signal our own child");
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
            if wait::within(ENDED_WITHIN, || self.child.try_wait().ok().flatten()).is_none() {
                drop(self.child.kill());
                drop(self.child.wait());
            }
        }
    }
}

impl Said {
    fn take(&mut self, text: &str) {
        match Line::parse(text) {
            Ok(Line::Event(event)) => self.events.push(*event),
            Ok(Line::Lost { events }) => self.n_lost += events,
            Ok(Line::Resynchronised { .. }) => {}
            Err(error) => self.nonsense = Some(format!("{error} in {text}")),
        }
    }
}

/// Whether a line of stderr says that all hooks are attached.
pub fn is_ready(line: &str) -> bool {
    line.starts_with("keepwatch: tracing: ")
}

/// One line an event, for the message of a test that failed.
pub fn list(events: &[Event]) -> String {
    events.iter().fold(String::new(), |all, event| format!("{all}{event:?}\n"))
}

fn read_lines(
    from: impl Read + Send + 'static,
    said: &Arc<Mutex<Said>>,
    take: impl Fn(&mut Said, String) + Send + 'static,
) {
    let said = Arc::clone(said);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            take(&mut said.lock().unwrap_or_else(PoisonError::into_inner), line);
        }
        said.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
    });
}
