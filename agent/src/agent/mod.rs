//! The agent: the one place that knows every part. Everything that needs a privilege or can be
//! refused happens first, in the main thread; then capabilities are given up; then it watches and
//! serves.

mod health_log;
mod listen;
pub mod reach;
mod supervise;
pub mod watch;

use crate::{
    advice::kept_clues::ClueReader,
    config,
    kernel::{
        clock, heap_trim,
        hooks::{self, Hooks, Interest, LogLevel, Mechanism, Scope, Signal},
        host,
        sandbox::{Reach, Sandbox, SandboxMode},
    },
    model::{
        judgement::{
            learned::{Home, LearnedRow, Lesson},
            verdict::Surroundings,
        },
        observed::socket::{SocketAddress, SocketId},
        table::{Bounds, Table, agent_health::HostView, happening::News, sums::Totals},
    },
    owner::Resolver,
    serve::{self, Shared},
    store,
};
use rustix::thread::CapabilitySet;
use std::{
    error, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicBool, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{broadcast, watch as channel};
use tracing::info;
use watch::{Audience, Watch};

/// What the options mean on this host.
#[derive(Debug)]
pub(crate) struct Config {
    /// The config file that was read, if one was.
    pub file: Option<PathBuf>,
    /// Address of the metrics endpoint.
    pub listen: SocketAddr,
    /// Path of the API socket.
    pub socket: PathBuf,
    /// Group that may use it.
    pub socket_group: Option<String>,
    /// What verdicts depend on.
    pub around: Surroundings,
    /// Time between two snapshots; stretched if snapshots are expensive.
    pub interval: Duration,
    /// Size of the ring buffer.
    pub ring_bytes: u32,
    /// How hooks are attached.
    pub mechanism: Mechanism,
    /// What of the hooks' own troubles is logged.
    pub log_hooks: LogLevel,
    /// Bounds of the table.
    pub bounds: Bounds,
    /// Finds the unit, container and pod of a process.
    pub resolver: Resolver,
    /// Where the host's root is.
    pub host_root: PathBuf,
    /// Whether the sandbox is wanted.
    pub sandbox: SandboxMode,
    /// The history on disk.
    pub history: store::Options,
}

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An address or a path is not to be had.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// The history is another agent's.
    #[error(transparent)]
    HistoryAccess(#[from] store::Error),
    /// The hooks do not load.
    #[error(transparent)]
    Hooks(#[from] hooks::Error),
    /// The first snapshot failed.
    #[error(transparent)]
    Watch(#[from] watch::Error),
    /// Nothing says whose a connection is.
    #[error(
        "cannot run without /proc, which says whose connections are: mount it (mount -t proc proc /proc; in a container, \
         leave it the one that it has)"
    )]
    NoProc,
    /// The system refused something ordinary.
    #[error("cannot {attempt}")]
    System {
        /// The step that failed, as a verb and its object.
        attempt: &'static str,
        #[source]
        /// The error of the system call.
        cause: io::Error,
    },
    /// A part that the agent consists of did not live as long as the agent.
    #[error(
        "the {part} has ended by itself, please report it with the lines of the log before this one"
    )]
    Ended {
        /// The name of the part, as in the log.
        part: &'static str,
        #[source]
        /// The error or panic that ended it.
        cause: Box<dyn error::Error + Send + Sync>,
    },
}

impl Error {
    fn ended(part: &'static str, cause: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self::Ended { part, cause: cause.into() }
    }
}

fn system(attempt: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |cause| Error::System { attempt, cause }
}

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(config: Config) -> Result<(), Error> {
    let Config {
        file,
        listen,
        socket,
        socket_group,
        around,
        interval,
        ring_bytes,
        mechanism,
        log_hooks,
        bounds,
        resolver,
        host_root,
        sandbox,
        history,
    } = config;
    heap_trim::keep_little();
    Hooks::check()?;
    if host::view() == HostView::NoProc {
        return Err(Error::NoProc);
    }
    let api = listen::Api::bind(&socket, socket_group.as_deref())?;
    let metrics = listen::metrics(listen)?;
    store::make_folder(&history.folder);
    let interest = Interest::default();
    let scope = Scope::Events { ring_bytes, mechanism, interest, log: log_hooks };
    let mut hooks = Hooks::load(scope)?.require(Signal::Snapshot)?;
    hooks.status().iter().for_each(health_log::hook);
    heap_trim::give_back();
    let lists = hooks.lists();
    let kept = give_up_capabilities(&mut hooks).map_err(system("give up capabilities"))?;
    let read = file.as_deref().unwrap_or_else(|| Path::new(config::DEFAULT_FILE));
    let reach = reach::of_agent(&[read], &socket, &history.folder, &host_root);
    let sandbox = bounded(sandbox, &reach);
    let mut table = Table::new(around, bounds);
    let folder = history.folder.clone();
    let clues = Arc::clone(&history.clues);
    let files = hooks.process_files();
    let (clue_reader, reading) =
        Arc::clone(&clues).start(files).map_err(system("start a thread"))?;
    let (writer, writing, health, lessons) = store::HistoryWriter::start(history)?;
    let home = Home {
        unix_offset_ms: clock::unix_offset_ns() / 1_000_000,
        netns: host::own_netns(),
        zone_ms: clock::zone_ms(),
    };
    table.remember(lessons, home, clock::now());
    let table = Arc::new(Mutex::new(table));
    let (publish, snapshot) = channel::channel(Arc::new(Totals::default()));
    let news = broadcast::Sender::new(NEWS_KEPT);
    let servers = Servers { publish, news: news.clone(), writer, clues: clue_reader };
    let mut watch =
        Watch::new(hooks, Arc::clone(&table), servers, resolver, interval)?.reading_first(lists);
    watch.walk()?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %file.as_deref().unwrap_or_else(|| Path::new("none")).display(),
        sockets = snapshot.borrow().n_tracked,
        interval_seconds = interval.as_secs_f64(),
        // Not the one that was asked for: port 0 is any.
        metrics = %format_args!("http://{}/metrics", metrics.local_addr().unwrap_or(listen)),
        api = %socket.display(),
        history = %folder.display(),
        capabilities = if kept.is_empty() { "none" } else { "CAP_BPF,CAP_PERFMON" },
        sandbox = sandbox.in_force(),
        "watching"
    );
    let stop = Arc::new(AtomicBool::new(false));
    let watching = begin(watch, Arc::clone(&stop)).map_err(system("start a thread"))?;
    let started_at_seconds = clock::unix_seconds();
    let history = serve::HistoryAccess { folder, health: Arc::clone(&health) };
    let sums = snapshot.clone();
    let log_hooks = log_hooks.as_str();
    let shared = Arc::new(Shared {
        snapshot,
        table,
        news,
        history,
        clues,
        started_at_seconds,
        log_hooks,
        sandbox,
    });
    let mut account = health_log::Account::new(interval);
    let served = supervise::serve(metrics, &api, &shared, || {
        account.look(&sums.borrow().health, &health, clock::now());
        watching.is_finished() || reading.is_finished() || writing.is_finished()
    });
    stop.store(true, Ordering::Relaxed);
    let watched = watching.join();
    // The watching thread has let go of the queue: what is in it is written.
    let written = writing.finish();
    account.finish(&sums.borrow().health, &health, clock::now());
    served?;
    match watched {
        Ok(watched) => watched.map_err(|cause| Error::ended("watching thread", cause))?,
        Err(_) => return Err(Error::ended("watching thread", PANICKED)),
    }
    written.map_err(|_| Error::ended("history thread", PANICKED))?;
    reading.join().map_err(|_| Error::ended("thread that reads processes", PANICKED))
}

/// Gives up what is beyond reach. Threads that are there already would keep it.
fn bounded(mode: SandboxMode, reach: &Reach) -> Sandbox {
    let sandbox = match mode {
        SandboxMode::Off => Sandbox::off(),
        SandboxMode::On => Sandbox::enter(reach),
    };
    health_log::sandbox(&sandbox);
    sandbox
}

/// Starts the watching thread.
fn begin(
    watch: Watch<Servers>,
    stop: Arc<AtomicBool>,
) -> io::Result<JoinHandle<Result<(), watch::Error>>> {
    std::thread::Builder::new().name("watch".to_owned()).spawn(move || watch.run(&stop))
}

/// What is known of a thread that panicked; the log has the rest.
const PANICKED: &str = "it panicked";

/// Rounds of news that a slow reader of the stream may be behind: some seconds.
const NEWS_KEPT: usize = 64;

/// The servers, as the watching thread sees them.
struct Servers {
    publish: channel::Sender<Arc<Totals>>,
    news: broadcast::Sender<Arc<News>>,
    writer: store::HistoryWriter,
    clues: ClueReader,
}

impl Audience for Servers {
    fn news(&mut self, news: News) {
        self.writer.take(&news.happenings, &news.around);
        if self.news.receiver_count() > 0 {
            self.news.send(Arc::new(news)).ok();
        }
    }

    fn met(&mut self, processes: &[(u32, u64)]) {
        self.clues.meet(processes, clock::now());
    }

    fn totals(&mut self, totals: Totals) {
        self.publish.send_replace(Arc::new(totals));
    }

    fn learned(&mut self, lessons: Vec<Lesson>, rows: Vec<LearnedRow>) {
        self.writer.learn(lessons, rows);
    }
}

/// Gives up every capability that the kernel does not want to see again. Since 5.17 or so none is
/// needed to begin a snapshot with hooks that are loaded; before, `bpf(2)` as a whole may be closed
/// (`kernel.unprivileged_bpf_disabled`). Whichever: a thread without any tries it.
fn give_up_capabilities(hooks: &mut Hooks) -> io::Result<CapabilitySet> {
    let none = CapabilitySet::empty();
    let works = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                host::keep_only(none).is_ok()
                    && hooks.snapshot().is_ok()
                    && hooks.counts().is_ok()
                    && hooks.look_again(&[(SocketId::default(), SocketAddress::default())]).is_ok()
            })
            .join()
            .unwrap_or(false)
    });
    let kept = if works { none } else { CapabilitySet::BPF | CapabilitySet::PERFMON };
    host::keep_only(kept)?;
    Ok(kept)
}
