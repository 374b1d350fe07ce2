//! The agent: the one place that knows every part. Everything that needs a privilege or can be
//! refused happens first, in the main thread; then capabilities are given up; then it watches and
//! serves.

mod listen;
pub mod watch;

use crate::{
    kernel::{
        clock,
        hooks::{self, Hooks, LogLevel, Mechanism, Scope, Signal},
        host, memory,
    },
    model::{
        learned::{Lesson, LimitRow},
        snapshot::Snapshot,
        table::{Bounds, Table},
        verdict::Policy,
    },
    owner::Resolver,
    serve::{self, Shared},
    store,
    talk::say,
};
use rustix::thread::CapabilitySet;
use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{broadcast, watch as channel},
};
use watch::{Audience, News, Watch};

/// What the options mean on this host.
#[derive(Debug)]
pub struct Config {
    /// Address of the metrics endpoint.
    pub listen: SocketAddr,
    /// Path of the API socket.
    pub socket: PathBuf,
    /// Group that may use it.
    pub socket_group: Option<String>,
    /// What verdicts depend on.
    pub policy: Policy,
    /// Time between snapshots.
    pub interval: Duration,
    /// Size of the ring buffer.
    pub ring_bytes: u32,
    /// How hooks are attached.
    pub mechanism: Mechanism,
    /// What of the hooks' own troubles is logged.
    pub log_hooks: LogLevel,
    /// Bounds of the table.
    pub bounds: Bounds,
    /// What finds owners.
    pub resolver: Resolver,
    /// The history on disk.
    pub history: store::Options,
}

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address or a path is not to be had.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// The hooks do not load.
    #[error(transparent)]
    Hooks(#[from] hooks::Error),
    /// The first snapshot failed.
    #[error(transparent)]
    Watch(#[from] watch::Error),
    /// The system refused something ordinary.
    #[error("cannot {attempt}")]
    System {
        /// What was tried.
        attempt: &'static str,
        #[source]
        /// What was answered.
        cause: io::Error,
    },
}

fn system(attempt: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |cause| Error::System { attempt, cause }
}

/// Runs until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), Error> {
    let Config {
        listen,
        socket,
        socket_group,
        policy,
        interval,
        ring_bytes,
        mechanism,
        log_hooks,
        bounds,
        resolver,
        history,
    } = config;
    memory::keep_little();
    Hooks::check()?;
    let api = listen::Api::bind(&socket, socket_group.as_deref())?;
    let metrics = listen::metrics(listen)?;
    store::make_folder(&history.folder);
    let scope = Scope::Events { ring_bytes, mechanism, log: log_hooks };
    let mut hooks = Hooks::load(scope)?.require(Signal::Snapshot)?;
    for status in hooks.status() {
        if let Some(failure) = &status.failure {
            say(&format!("warning: blind to {}: {failure}", status.signal.blind_without()));
        }
    }
    memory::give_back();
    let kept = give_up_capabilities(&mut hooks).map_err(system("give up capabilities"))?;
    let mut table = Table::new(policy, bounds);
    let folder = history.folder.clone();
    let (writer, writing, health, lessons) =
        store::Writer::start(history).map_err(system("start a thread"))?;
    table.remember(lessons, clock::unix_offset_ns() / 1_000_000, clock::now());
    let table = Arc::new(Mutex::new(table));
    let (publish, snapshot) = channel::channel(Arc::new(Snapshot::default()));
    let news = broadcast::Sender::new(NEWS_KEPT);
    let servers = Servers { publish, news: news.clone(), writer };
    let mut watch = Watch::new(hooks, Arc::clone(&table), servers, resolver, interval)?;
    watch.walk()?;
    let n_sockets = snapshot.borrow().n_tracked;
    say(&format!(
        "watching {n_sockets} {}, metrics on http://{listen}/metrics, API on {}, \
         capabilities kept: {}",
        if n_sockets == 1 { "socket" } else { "sockets" },
        socket.display(),
        if kept.is_empty() { "none" } else { "CAP_BPF, CAP_PERFMON" }
    ));
    let stop = Arc::new(AtomicBool::new(false));
    let watching = {
        let stop = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || watch.run(&stop))
            .map_err(system("start a thread"))?
    };
    let started_at_seconds = clock::unix_seconds();
    let history = serve::History { folder, health };
    let log_hooks = log_hooks.as_str();
    let shared = Arc::new(Shared { snapshot, table, news, history, started_at_seconds, log_hooks });
    let served = serve(metrics, &api, &shared, &watching);
    stop.store(true, Ordering::Relaxed);
    let watched = watching.join().map_err(|_| {
        let cause = io::Error::other("the watching thread panicked");
        Error::System { attempt: "watch", cause }
    })?;
    // The watching thread has let go of the queue: what is in it is written.
    writing.finish();
    served?;
    Ok(watched?)
}

/// Rounds of news that a slow reader of the stream may be behind: some seconds.
const NEWS_KEPT: usize = 64;

/// The servers, as the watching thread sees them.
struct Servers {
    publish: channel::Sender<Arc<Snapshot>>,
    news: broadcast::Sender<Arc<News>>,
    writer: store::Writer,
}

impl Audience for Servers {
    fn news(&mut self, news: News) {
        self.writer.take(&news.moments, &news.policy);
        if self.news.receiver_count() > 0 {
            self.news.send(Arc::new(news)).ok();
        }
    }

    fn picture(&mut self, picture: Snapshot) {
        self.publish.send_replace(Arc::new(picture));
    }

    fn learned(&mut self, lessons: Vec<Lesson>, limits: Vec<LimitRow>) {
        self.writer.learn(lessons, limits);
    }
}

/// Serves until a signal, or until there is nothing to serve because watching has failed.
fn serve(
    metrics: std::net::TcpListener,
    api: &listen::Api,
    shared: &Arc<Shared>,
    watching: &std::thread::JoinHandle<Result<(), watch::Error>>,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start the server"))?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(system("handle SIGTERM"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system("handle SIGINT"))?;
        let mut check = tokio::time::interval(Duration::from_secs(1));
        let (end, ended) = channel::channel(false);
        let until_end = || {
            let mut ended = ended.clone();
            async move { drop(ended.wait_for(|&ended| ended).await) }
        };
        let api = api.listener().map_err(system("use the API socket"))?;
        let http = tokio::spawn(serve::serve_http(metrics, Arc::clone(shared), until_end()));
        let unix = tokio::spawn(serve::serve_api(api, Arc::clone(shared), until_end()));
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = check.tick() => if watching.is_finished() || http.is_finished() || unix.is_finished() {
                    break;
                },
            }
        }
        end.send_replace(true);
        // A scrape that hangs does not keep the agent from ending.
        let both = async { (http.await, unix.await) };
        match tokio::time::timeout(Duration::from_secs(2), both).await {
            Ok((Ok(Err(cause)), _) | (_, Ok(Err(cause)))) => Err(system("serve")(cause)),
            _ => Ok(()),
        }
    })
}

/// Gives up every capability that the kernel does not want to see again. Since 5.17 or so none is
/// needed to begin a snapshot with hooks that are loaded; before, `bpf(2)` as a whole may be closed
/// (`kernel.unprivileged_bpf_disabled`). Whichever: a thread without any tries it.
fn give_up_capabilities(hooks: &mut Hooks) -> io::Result<CapabilitySet> {
    let none = CapabilitySet::empty();
    let works = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                host::keep_only(none).is_ok() && hooks.snapshot().is_ok() && hooks.counts().is_ok()
            })
            .join()
            .unwrap_or(false)
    });
    let kept = if works { none } else { CapabilitySet::BPF | CapabilitySet::PERFMON };
    host::keep_only(kept)?;
    Ok(kept)
}
