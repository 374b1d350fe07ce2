//! The servers, and what ends them: a signal, or a part that has ended by itself.

use super::{Error, PANICKED, endpoints::Endpoints, reload::Reloader, system};
use crate::serve::{self, Shared};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::{JoinError, JoinHandle},
    time::{Instant, MissedTickBehavior},
};
use tracing::info;

/// Between two looks at the other threads, and at what is to be said.
const LOOK: Duration = Duration::from_secs(1);
/// A scrape that hangs does not keep the agent from ending.
const PATIENCE: Duration = Duration::from_secs(2);

/// A server that runs: its name, and its task.
type Server = (&'static str, JoinHandle<io::Result<()>>);

/// What runs the servers. From the first moment SIGHUP is a reload, and no end.
pub(super) struct ServerRuntime {
    runtime: Runtime,
    hangup: Signal,
}

impl ServerRuntime {
    pub(super) fn new() -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(system("start the server"))?;
        let inside = runtime.enter();
        let hangup = signal(SignalKind::hangup()).map_err(system("handle SIGHUP"))?;
        drop(inside);
        Ok(Self { runtime, hangup })
    }

    /// Serves until SIGTERM, SIGINT or the end of a part. `look` is called once a second; true ends it.
    pub(super) fn serve(
        self,
        endpoints: Endpoints,
        shared: &Arc<Shared>,
        reloader: Arc<Reloader>,
        look: impl FnMut() -> bool,
    ) -> Result<(), Error> {
        let Self { runtime, hangup } = self;
        let Endpoints { metrics, access, api, .. } = endpoints;
        let served = runtime.block_on(async {
            tokio::spawn(reloader.run(hangup));
            let mut terminate =
                signal(SignalKind::terminate()).map_err(system("handle SIGTERM"))?;
            let mut interrupt = signal(SignalKind::interrupt()).map_err(system("handle SIGINT"))?;
            let asked = async {
                tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                }
            };
            let end = watch::Sender::new(false);
            let until_end = || {
                let mut ended = end.subscribe();
                async move { drop(ended.wait_for(|&ended| ended).await) }
            };
            let listener = api.listener().map_err(system("use the API socket"))?;
            let http = serve::serve_http(metrics, Arc::clone(shared), access, until_end());
            let unix = serve::serve_api(listener, Arc::clone(shared), until_end());
            let servers =
                [("metrics server", tokio::spawn(http)), ("API server", tokio::spawn(unix))];
            supervise(servers, &end, asked, look).await
        });
        // A password that is being checked, or a file that hangs, does not keep the agent from ending.
        runtime.shutdown_background();
        served
    }
}

async fn supervise(
    servers: [Server; 2],
    end: &watch::Sender<bool>,
    asked: impl Future<Output = &'static str>,
    mut look: impl FnMut() -> bool,
) -> Result<(), Error> {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked = std::pin::pin!(asked);
    loop {
        tokio::select! {
            signal = &mut asked => {
                info!(signal, "stopping");
                break;
            }
            _ = ticks.tick() => {
                let is_over = look();
                if is_over || servers.iter().any(|(_, server)| server.is_finished()) {
                    break;
                }
            }
        }
    }
    let servers = servers.map(|(part, server)| (part, server.is_finished(), server));
    end.send_replace(true);
    let deadline = Instant::now() + PATIENCE;
    let mut ended = Ok(());
    for (part, by_itself, server) in servers {
        if let Ok(result) = tokio::time::timeout_at(deadline, server).await {
            ended = ended.and(how(part, by_itself, result));
        }
    }
    ended
}

/// How a server has ended.
fn how(
    part: &'static str,
    by_itself: bool,
    result: Result<io::Result<()>, JoinError>,
) -> Result<(), Error> {
    match result {
        Err(_) => Err(Error::ended(part, PANICKED)),
        Ok(Err(cause)) => Err(Error::ended(part, cause)),
        Ok(Ok(())) if by_itself => Err(Error::ended(part, "it does not say why")),
        Ok(Ok(())) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::pending, panic::resume_unwind};

    /// How it ends with such a server beside one that ends when it is asked to.
    fn ending<S>(
        server: S,
        asked: impl Future<Output = &'static str>,
        look: impl FnMut() -> bool,
    ) -> Result<(), Error>
    where
        S: Future<Output = io::Result<()>> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let end = watch::Sender::new(false);
            let mut ended = end.subscribe();
            let other = tokio::spawn(async move {
                ended.wait_for(|&ended| ended).await.unwrap();
                Ok(())
            });
            let servers = [("server", tokio::spawn(server)), ("other", other)];
            supervise(servers, &end, asked, look).await
        })
    }

    fn cause(ended: Result<(), Error>) -> String {
        let Err(Error::Ended { part, cause }) = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(part, "server");
        cause.to_string()
    }

    #[test]
    fn a_server_that_panics_fails_or_just_ends_is_an_error() {
        // Without the panic hook, which would write to the output of the tests.
        let panics = async { resume_unwind(Box::new("a test")) };
        assert_eq!(cause(ending(panics, pending(), || false)), PANICKED);
        let fails = async { Err(io::Error::other("no descriptors")) };
        assert_eq!(cause(ending(fails, pending(), || false)), "no descriptors");
        assert!(cause(ending(async { Ok(()) }, pending(), || false)).contains("why"));
    }

    #[test]
    fn an_end_that_was_asked_for_is_no_failure_even_if_a_scrape_hangs() {
        ending(pending(), async { "SIGTERM" }, || false).unwrap();
    }

    #[test]
    fn what_fails_after_it_was_asked_to_end_is_an_error() {
        let late = async {
            tokio::task::yield_now().await;
            resume_unwind(Box::new("a test"))
        };
        assert_eq!(cause(ending(late, async { "SIGTERM" }, || false)), PANICKED);
    }

    #[test]
    fn where_the_watching_has_ended_serving_ends_too() {
        let mut n_looks = 0;
        let look = || {
            n_looks += 1;
            true
        };
        ending(pending(), pending(), look).unwrap();
        assert_eq!(n_looks, 1);
    }
}
