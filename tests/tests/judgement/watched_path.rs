//! A path, and an agent that looks at it each second.

use keepwatch_tests::{
    answer::{
        agent::{Agent, keepwatch},
        row::SocketLine,
    },
    network::path::NetworkPath,
    wait::{until, within},
};
use std::{net::SocketAddr, time::Duration};

/// The path is taken to forget a connection after this time.
pub(crate) const LIMIT_SECONDS: f64 = 8.0;
/// A look each second.
const ARGS: [&str; 4] = ["--idle-limit", "8s", "--interval", "1s"];
const SOON: Duration = Duration::from_mins(1);

/// A path, and an agent that watches it.
pub(crate) struct WatchedPath {
    pub(crate) path: NetworkPath,
    pub(crate) agent: Agent,
}

impl WatchedPath {
    #[track_caller]
    pub(crate) fn of(path: NetworkPath) -> Self {
        Self { path, agent: Agent::start(&ARGS) }
    }

    /// The agent is on the router, as on a node of a cluster whose pods are the near hosts.
    #[track_caller]
    pub(crate) fn from_node(path: NetworkPath) -> Self {
        let agent = path.middle().run(|| Agent::start(&ARGS));
        Self { path, agent }
    }

    #[track_caller]
    pub(crate) fn cable() -> Self {
        Self::of(NetworkPath::cable())
    }

    /// The near end of a connection, as the agent shows it.
    #[track_caller]
    pub(crate) fn row(&self, local: SocketAddr) -> Option<SocketLine> {
        let netns = self.path.near.inode().to_string();
        let rows = self.agent.sockets(&["--netns", &netns]);
        rows.into_iter().find(|row| row.local == local && row.remote == self.path.entrance())
    }

    /// Waits until the agent says this of it.
    #[track_caller]
    pub(crate) fn until(
        &self,
        local: SocketAddr,
        what: &str,
        mut is: impl FnMut(&SocketLine) -> bool,
    ) -> SocketLine {
        until(format!("{local} {what}"), SOON, || self.row(local).filter(|row| is(row)))
    }

    /// The answer at night to this word, in one line.
    pub(crate) fn why(&self, word: &str) -> String {
        let mut why = keepwatch(["why", word, "--socket"]);
        let output = why.arg(self.agent.socket()).output().expect("start keepwatch");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Looks at it for this long: it must always be so.
    #[track_caller]
    pub(crate) fn always(
        &self,
        local: SocketAddr,
        time: Duration,
        is: impl Fn(&SocketLine) -> bool,
    ) {
        within(time, || {
            let row = self.row(local).expect("it lives");
            assert!(is(&row), "{row:#?}");
            None::<()>
        });
    }
}
