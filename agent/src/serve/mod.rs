//! What the agent shows: metrics over TCP, and its API over a unix socket. Both read what the
//! watching thread publishes; nothing here writes to it, but an answer may ask it for a snapshot.

mod api;
mod basic_auth;
pub(crate) mod client;
mod client_limits;
mod events;
mod fresh_look;
mod host_check;
mod metrics_endpoint;
mod past;
mod places;
mod scrape_cache;
mod status;
mod tls_listener;
mod top_api;

pub(crate) use api::serve_api;
pub(crate) use fresh_look::FreshLook;
pub(crate) use metrics_endpoint::{MetricsAccess, serve_http};
pub(crate) use status::AgentStatus;

use crate::{
    advice::kept_clues::KeptClues,
    config::ReloadHealth,
    kernel::{clock, hooks::Signal, sandbox::Sandbox},
    model::{
        judgement::given_limits::GivenPath,
        observed::socket::Time,
        table::{
            Table,
            agent_health::{AgentHealth, HostView, WithoutEbpf},
            happening::News,
            sums::Totals,
        },
        text::duration::seconds,
    },
    store,
};
use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Semaphore, broadcast, watch::Receiver};

/// What both servers read.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The sums, as last published.
    pub snapshot: Receiver<Arc<Totals>>,
    /// Every known socket.
    pub table: Arc<Mutex<Table>>,
    /// What asks for a snapshot before an answer.
    pub fresh_look: Arc<FreshLook>,
    /// Events, for clients that stream them.
    pub news: broadcast::Sender<Arc<News>>,
    /// What is on disk.
    pub history: HistoryAccess,
    /// What processes showed of themselves.
    pub clues: Arc<KeptClues>,
    /// What reloads of the configuration came to.
    pub reloads: Arc<ReloadHealth>,
    /// Streams of events that are open.
    pub streams: Arc<Semaphore>,
    /// Unix time of the agent's start.
    pub started_at_seconds: f64,
    /// The same by the clock that nobody sets.
    pub began: Time,
    /// Down to which level its hooks' own troubles are logged.
    pub log_hooks: &'static str,
    /// What the agent has given up.
    pub sandbox: Sandbox,
}

/// The history on disk.
#[derive(Debug, Default)]
pub(crate) struct HistoryAccess {
    /// Path of the state directory.
    pub folder: PathBuf,
    /// The counters of the writing thread.
    pub health: Arc<store::Health>,
}

impl Shared {
    /// The sums that hold until the next are published.
    fn totals(&self) -> Arc<Totals> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Unix time of the agent's start. Deaths are dated by the wall clock of their time: where that was set since, by the earlier
    /// of both, so that none of this agent's is before it.
    fn started(&self) -> f64 {
        let ms_ago = clock::now().ms_since(self.began);
        self.started_at_seconds.min(clock::unix_seconds() - seconds(ms_ago))
    }

    /// The paths of the configuration.
    fn configured_paths(&self) -> Vec<GivenPath> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.surroundings().limits.paths().map(Into::into).collect()
    }

    /// Why what is shown is not the whole truth now; none if it is.
    fn unready(&self) -> Option<String> {
        unready(&self.totals().health, clock::now())
    }
}

/// The part of a request that handlers take.
type SharedState = State<Arc<Shared>>;

/// Why what is shown is not the whole truth yet, or no longer; none if it is.
fn unready(health: &AgentHealth, now: Time) -> Option<String> {
    /// One may fail: the kernel broke it off.
    const FAILED: u64 = 3;
    /// The watching thread publishes each second; a snapshot of a million sockets on a busy host holds it up.
    const SILENT_MS: u64 = 120_000;
    let AgentHealth { n_walks, n_failed_in_a_row, published, host_view, .. } = *health;
    if n_walks == 0 {
        return Some("the first snapshot is not finished".to_owned());
    }
    if now.ms_since(published) >= SILENT_MS {
        let seconds = now.ms_since(published) / 1000;
        return Some(format!(
            "the watching thread has said nothing for {seconds} s: restart the agent"
        ));
    }
    if n_failed_in_a_row >= FAILED {
        return Some(format!("the last {n_failed_in_a_row} snapshots failed: the log says why"));
    }
    if let Some(without) = &health.without_ebpf
        && let Some(reason) = unready_without_ebpf(without)
    {
        return Some(reason);
    }
    match host_view {
        HostView::Whole => {}
        // Beside the programs of a pod it sees just these, and is meant to.
        HostView::OtherPidNamespace if health.without_ebpf.is_some() => {}
        HostView::OtherPidNamespace => {
            return Some(
                "only processes of this container are seen: give it the host's pid namespace \
                 (Kubernetes: hostPID: true)"
                    .to_owned(),
            );
        }
        HostView::NoProc => {
            return Some(
                "there is no /proc: no connection has a unit, container or pod".to_owned(),
            );
        }
    }
    // A signal may have several mechanisms; one that is attached carries it.
    let mut carried: BTreeMap<&str, bool> = BTreeMap::new();
    for (signal, attached) in needed_hooks(health) {
        *carried.entry(signal).or_default() |= attached;
    }
    let blind: Vec<_> =
        carried.into_iter().filter_map(|(signal, carried)| (!carried).then_some(signal)).collect();
    (!blind.is_empty())
        .then(|| format!("no hook carries {}: see `keepwatch doctor`", blind.join(", ")))
}

/// The same of one without eBPF, which sees less by design: it is unready if nobody asked for that, or if it sees nothing.
fn unready_without_ebpf(without: &WithoutEbpf) -> Option<String> {
    let WithoutEbpf { refused, not_seen, n_processes } = without;
    if let Some(cause) = refused {
        return Some(format!(
            "eBPF is refused ({cause}): connections are read from /proc, and events and causes of death are not seen; \
             if this is meant, start it with --source proc"
        ));
    }
    // One of them is the agent itself.
    (*n_processes <= 1 && not_seen.processes > 0).then(|| {
        let hidden = not_seen.words().into_iter().next().unwrap_or_default();
        format!("no process shows what it has open: not seen are {hidden}")
    })
}

/// Signals without which connections or events can go unseen, and whether a hook is attached for each.
fn needed_hooks(health: &AgentHealth) -> impl Iterator<Item = (&'static str, bool)> {
    let is_needed =
        |name: &str| !Signal::ALL.iter().any(|it| it.as_str() == name && !it.is_needed());
    let hooks = health.hooks.iter().map(|&(signal, _, attached)| (signal, attached));
    hooks.filter(move |(signal, _)| is_needed(signal))
}

/// What every route has in common: nothing but reading, and one request a connection, for one that
/// waits for its next request would hold a place that somebody else needs.
async fn in_and_out(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    let mut response = if has_body {
        (StatusCode::PAYLOAD_TOO_LARGE, "keepwatch takes no request body\n").into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Streams of events at a time: the other places of the API are for short answers.
pub(crate) const MAX_STREAMS: usize = 16;

/// A server with a table to try.
#[cfg(test)]
mod tests_support {
    use super::*;
    use crate::model::{
        judgement::{
            idle_limit::{IdleLimit, Limits},
            verdict::Surroundings,
        },
        observed::{
            event::Event,
            socket::{Socket, SocketId, tests_support::socket},
        },
        table::Bounds,
    };
    use std::{io, thread};
    use tokio::sync::{oneshot, watch};

    /// A table of `n_sockets` connections, and sums that say that a walk is done.
    pub(super) fn shared(n_sockets: u64) -> Arc<Shared> {
        let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
        let mut table = Table::new(Surroundings::new(limits, 250), Bounds::new(1_000_000, 1000));
        table.begin_walk(false);
        for id in 1..=n_sockets {
            table.apply(Event::Seen(Socket { id: SocketId(id), ..socket() }));
        }
        table.end_walk();
        let mut totals = table.totals();
        totals.health =
            AgentHealth { n_walks: 1, published: clock::now(), ..AgentHealth::default() };
        let table = Arc::new(Mutex::new(table));
        let snapshot = watch::channel(Arc::new(totals)).1;
        let news = broadcast::Sender::new(4);
        let history = HistoryAccess::default();
        Arc::new(Shared {
            snapshot,
            table,
            fresh_look: Arc::new(FreshLook::new().unwrap()),
            news,
            history,
            clues: Arc::default(),
            reloads: Arc::new(ReloadHealth::new(1.7e9)),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            started_at_seconds: 1.7e9,
            began: clock::now(),
            log_hooks: "off",
            sandbox: Sandbox::off(),
        })
    }

    /// Runs what `server` makes of a signal to stop, until `client` is done.
    pub(super) fn while_serving<T, S>(
        server: impl FnOnce(oneshot::Receiver<()>) -> S + Send + 'static,
        client: impl FnOnce() -> T,
    ) -> T
    where
        S: Future<Output = io::Result<()>>,
    {
        let (stop, stopped) = oneshot::channel();
        let serving = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(server(stopped)).unwrap();
        });
        let result = client();
        stop.send(()).unwrap();
        serving.join().unwrap();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::table::agent_health::NotSeen;

    /// What has nothing to be said against it, at that moment.
    fn good() -> AgentHealth {
        AgentHealth { n_walks: 1, published: NOW, ..AgentHealth::default() }
    }

    const NOW: Time = Time(1_000_000_000_000);

    #[test]
    fn ready_means_that_a_walk_is_done_and_every_signal_has_a_hook() {
        let mut health = AgentHealth { n_walks: 0, hooks: vec![("destroy", "a", false)], ..good() };
        assert!(unready(&health, NOW).unwrap().contains("first snapshot"));
        health.n_walks = 1;
        assert!(unready(&health, NOW).unwrap().contains("destroy"));
        health.hooks.push(("destroy", "b", true));
        // Kernels before 6.1 never have it.
        health.hooks.push(("process_files", "c", false));
        assert_eq!(unready(&health, NOW), None);
    }

    #[test]
    fn an_agent_whose_snapshots_all_fail_is_not_ready_and_one_of_which_one_failed_is() {
        let failed = |n_failed_in_a_row| {
            unready(&AgentHealth { n_failed_in_a_row, n_failed_walks: 9, ..good() }, NOW)
        };
        assert_eq!((failed(0), failed(1), failed(2)), (None, None, None));
        assert!(failed(3).unwrap().contains("3 snapshots failed"));
    }

    #[test]
    fn an_agent_whose_watching_hangs_is_not_ready_and_one_that_takes_its_time_is() {
        let later = |seconds: u64| unready(&good(), Time(NOW.0 + seconds * 1_000_000_000));
        assert_eq!(later(60), None);
        assert!(later(300).unwrap().contains("300 s"));
    }

    #[test]
    fn an_agent_without_ebpf_is_ready_if_that_was_asked_for_and_it_sees_something() {
        let of = |refused: Option<&str>, n_processes, hiding| {
            let not_seen = NotSeen { processes: hiding, ..NotSeen::NONE };
            let refused = refused.map(str::to_owned);
            let without_ebpf = Some(WithoutEbpf { refused, not_seen, n_processes });
            let host_view = HostView::OtherPidNamespace;
            unready(&AgentHealth { host_view, without_ebpf, ..good() }, NOW)
        };
        assert_eq!(of(None, 3, 0), None);
        assert_eq!(of(None, 3, 2), None, "the pause container is another user's");
        assert!(of(None, 1, 2).unwrap().contains("2 processes"));
        let refused = of(Some("needs CAP_BPF"), 3, 0).unwrap();
        assert!(refused.contains("CAP_BPF") && refused.contains("--source proc"), "{refused}");
    }

    #[test]
    fn an_agent_that_does_not_see_the_hosts_processes_is_not_ready() {
        let of = |host_view| unready(&AgentHealth { host_view, ..good() }, NOW);
        assert_eq!(of(HostView::Whole), None);
        assert!(of(HostView::OtherPidNamespace).unwrap().contains("hostPID"));
        assert!(of(HostView::NoProc).unwrap().contains("/proc"));
    }
}
