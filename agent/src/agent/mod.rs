//! The agent: the one place that knows every part. Everything that needs a privilege or can be
//! refused happens first, in the main thread; then capabilities are given up; then it watches and
//! serves.

mod choose_sight;
mod endpoints;
mod given_sockets;
mod health_log;
mod listen;
pub mod reach;
mod reload;
mod service_manager;
mod supervise;
pub mod watch;

use crate::{
    advice::kept_clues::ClueReader,
    config::{self, ReloadHealth, web::WebConfigError},
    drill::notes::DrillsWatched,
    kernel::{
        clock, heap_trim, hooks, host, proc_source,
        sandbox::{Sandbox, SandboxMode},
    },
    model::{
        judgement::{
            learned::{Home, LearnedRow, Lesson},
            verdict::Surroundings,
        },
        table::{
            Bounds, Table,
            agent_health::HostView,
            happening::{Happening, News},
            sums::Totals,
        },
    },
    owner::Resolver,
    serve::{self, FreshLook, Shared},
    store,
};
use choose_sight::ChosenSight;
pub(crate) use choose_sight::{HookOptions, WatchedBy};
pub(crate) use endpoints::EndpointConfig;
use endpoints::Endpoints;
use reload::Reloader;
pub(crate) use reload::{FixedValues, ReadConfig, Reloaded};
use rustix::thread::CapabilitySet;
use service_manager::ServiceManager;
use std::{
    error, fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicBool, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};
use supervise::ServerRuntime;
use tokio::sync::{Semaphore, broadcast, watch as channel};
use tracing::info;
use watch::{Audience, Watch};

/// What the options mean on this host.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where these come from, and how they are read again.
    pub source: ConfigSource,
    /// By what it is reached.
    pub endpoints: EndpointConfig,
    /// What verdicts depend on.
    pub around: Surroundings,
    /// Time between two snapshots; stretched if snapshots are expensive.
    pub interval: Duration,
    /// What connections are read by.
    pub watched_by: WatchedBy,
    /// How hooks are loaded.
    pub hooks: HookOptions,
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

/// Where a configuration comes from.
pub(crate) struct ConfigSource {
    /// The config file that was read, if one was.
    pub file: Option<PathBuf>,
    /// The values of keys that hold until the agent ends.
    pub fixed: FixedValues,
    /// Reads it again.
    pub read: ReadConfig,
}

impl fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigSource").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The web config is no good.
    #[error(transparent)]
    Web(#[from] WebConfigError),
    /// An address or a path is not to be had.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// A socket that systemd passed is of no use.
    #[error(transparent)]
    GivenSockets(#[from] given_sockets::Error),
    /// The history is another agent's.
    #[error(transparent)]
    HistoryAccess(#[from] store::Error),
    /// The hooks do not load.
    #[error(transparent)]
    Hooks(#[from] hooks::Error),
    /// Descriptors in /proc cannot be borrowed.
    #[error(transparent)]
    Proc(#[from] proc_source::Error),
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
        source: ConfigSource { file, fixed, read },
        endpoints,
        around,
        interval,
        watched_by,
        hooks,
        bounds,
        resolver,
        host_root,
        sandbox,
        history,
    } = config;
    heap_trim::keep_little();
    let runtime = ServerRuntime::new()?;
    let manager = ServiceManager::from_env();
    let fresh_look = Arc::new(FreshLook::new().map_err(system("make an eventfd"))?);
    watched_by.check(hooks)?;
    if host::view() == HostView::NoProc {
        return Err(Error::NoProc);
    }
    let endpoints = Endpoints::open(endpoints)?;
    store::make_folder(&history.folder);
    let ChosenSight { sight, files, kept, is_proc } = watched_by.open(hooks)?;
    endpoints.read_again()?;
    let sandbox = match sandbox {
        SandboxMode::Off => Sandbox::off(),
        SandboxMode::On if is_proc => Sandbox::enter_beside_proc(),
        SandboxMode::On => bounded(&endpoints, file.as_deref(), &history.folder, &host_root),
    };
    health_log::sandbox(&sandbox);
    let mut table = Table::new(around, bounds);
    let folder = history.folder.clone();
    let clues = Arc::clone(&history.clues);
    let (clue_reader, reading) =
        Arc::clone(&clues).start(files).map_err(system("start a thread"))?;
    let (writer, writing, health, earlier) = store::HistoryWriter::start(history)?;
    let home = Home {
        unix_offset_ms: earlier.unix_offset_ns / 1_000_000,
        netns: host::own_netns(),
        zone_ms: clock::zone_ms(),
    };
    table.remember(earlier.lessons, home, clock::now());
    table.remember_orphans(earlier.orphans);
    let table = Arc::new(Mutex::new(table));
    let (publish, snapshot) = channel::channel(Arc::new(Totals::default()));
    let news = broadcast::Sender::new(NEWS_KEPT);
    let servers = Servers { publish, news: news.clone(), writer, clues: clue_reader };
    let mut watch = Watch::new(sight, Arc::clone(&table), servers, resolver, interval)
        .told_of(DrillsWatched::new(folder.clone()))
        .asked_by(Arc::clone(&fresh_look));
    watch.walk()?;
    announce(&endpoints, file.as_deref(), &snapshot.borrow(), interval, &folder, kept, &sandbox);
    let stop = Arc::new(AtomicBool::new(false));
    let watching = begin(watch, Arc::clone(&stop)).map_err(system("start a thread"))?;
    let started_at_seconds = clock::unix_seconds();
    let history = serve::HistoryAccess { folder, health: Arc::clone(&health) };
    let sums = snapshot.clone();
    let log_hooks = hooks.log.as_str();
    let shared = Arc::new(Shared {
        snapshot,
        table,
        fresh_look,
        news,
        history,
        clues,
        reloads: Arc::new(ReloadHealth::new(started_at_seconds)),
        streams: Arc::new(Semaphore::new(serve::MAX_STREAMS)),
        started_at_seconds,
        began: clock::now(),
        log_hooks,
        sandbox,
    });
    let reloader = Arc::new(Reloader {
        read,
        fixed,
        table: Arc::clone(&shared.table),
        web: Arc::clone(&endpoints.access.web),
        health: Arc::clone(&shared.reloads),
    });
    let mut account = health_log::Account::new(interval);
    manager.ready();
    let served = runtime.serve(endpoints, &shared, reloader, || {
        let sums = sums.borrow();
        account.look(&sums.health, &health, clock::now());
        account.look_at_clock(clock::unix_offset_ns());
        manager.show_life(sums.health.published);
        watching.is_finished() || reading.is_finished() || writing.is_finished()
    });
    manager.stopping();
    stop.store(true, Ordering::Relaxed);
    let watched = watching.join();
    // The watching thread has let go of the queue: what is in it is written.
    let written = writing.finish();
    account.finish(&sums.borrow().health, &health, clock::now());
    served.and_then(|()| ended(watched, written, reading))
}

/// How the threads have ended.
fn ended(
    watched: thread::Result<Result<(), watch::Error>>,
    written: thread::Result<()>,
    reading: JoinHandle<()>,
) -> Result<(), Error> {
    watched
        .map_err(|_| Error::ended("watching thread", PANICKED))?
        .map_err(|cause| Error::ended("watching thread", cause))?;
    written.map_err(|_| Error::ended("history thread", PANICKED))?;
    reading.join().map_err(|_| Error::ended("thread that reads processes", PANICKED))
}

/// Gives up what is beyond reach. Threads that are there already would keep it.
fn bounded(endpoints: &Endpoints, file: Option<&Path>, state: &Path, host: &Path) -> Sandbox {
    let config = file.unwrap_or_else(|| Path::new(config::DEFAULT_FILE)).to_owned();
    let read: Vec<PathBuf> = endpoints.files().into_iter().chain([config]).collect();
    Sandbox::enter(&reach::of_agent(&read, &endpoints.socket(), state, host))
}

/// Starts the watching thread.
fn begin(
    watch: Watch<Servers>,
    stop: Arc<AtomicBool>,
) -> io::Result<JoinHandle<Result<(), watch::Error>>> {
    thread::Builder::new().name("watch".to_owned()).spawn(move || watch.run(&stop))
}

/// What it runs with.
fn announce(
    endpoints: &Endpoints,
    file: Option<&Path>,
    totals: &Totals,
    interval: Duration,
    folder: &Path,
    kept: CapabilitySet,
    sandbox: &Sandbox,
) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %reload::shown(file),
        sockets = totals.n_tracked,
        interval_seconds = interval.as_secs_f64(),
        metrics = endpoints.url(),
        api = %endpoints.socket().display(),
        history = %folder.display(),
        capabilities = host::names_of(kept),
        sandbox = sandbox.in_force(),
        "watching"
    );
}

/// What is known of a thread that panicked; the log has the rest.
const PANICKED: &str = "it panicked";

/// Parts of news that a slow reader of the stream may be behind: some seconds.
const NEWS_KEPT: usize = 256;
/// Happenings of a part. All that is kept for slow readers, whatever the host does, is some 20 MiB.
const PART: usize = 128;

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
            for part in news.parts(PART) {
                self.news.send(Arc::new(part)).ok();
            }
        }
    }

    fn lost(&mut self, n: u64) {
        self.writer.take_loss(n);
    }

    fn met(&mut self, processes: &[(u32, u64)]) {
        self.clues.meet(processes, clock::now());
    }

    fn totals(&mut self, totals: Totals) {
        self.publish.send_replace(Arc::new(totals));
    }

    fn lasting_calls(&mut self, calls: Vec<(Happening, Arc<Surroundings>)>) {
        self.writer.take_lasting_calls(calls);
    }

    fn learned(&mut self, lessons: Vec<Lesson>, rows: Vec<LearnedRow>) {
        self.writer.learn(lessons, rows);
    }
}
