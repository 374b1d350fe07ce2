//! What may be concluded, by real packets: each rule with the case, and with what looks like it and is not.
#![expect(clippy::expect_used, clippy::panic, reason = "a test")]

mod cause;
mod condition;
mod promise;

use keepwatch_tests::{
    answer::{agent::Agent, row::SocketLine},
    network::path::NetworkPath,
    wait::until,
};
use std::{net::SocketAddr, time::Duration};

/// The path is taken to forget a connection after this time.
const LIMIT_SECONDS: f64 = 8.0;
/// A look each second.
const ARGS: [&str; 4] = ["--idle-limit", "8s", "--interval", "1s"];
const SOON: Duration = Duration::from_mins(1);

/// A path, and an agent that watches it.
struct WatchedPath {
    path: NetworkPath,
    agent: Agent,
}

impl WatchedPath {
    #[track_caller]
    fn of(path: NetworkPath) -> Self {
        Self { path, agent: Agent::start(&ARGS) }
    }

    #[track_caller]
    fn cable() -> Self {
        Self::of(NetworkPath::cable())
    }

    /// The near end of a connection, as the agent shows it.
    #[track_caller]
    fn row(&self, local: SocketAddr) -> Option<SocketLine> {
        let netns = self.path.near.inode().to_string();
        let rows = self.agent.sockets(&["--netns", &netns]);
        rows.into_iter().find(|row| row.local == local && row.remote == self.path.server)
    }

    /// Waits until the agent says this of it.
    #[track_caller]
    fn until(
        &self,
        local: SocketAddr,
        what: &str,
        mut is: impl FnMut(&SocketLine) -> bool,
    ) -> SocketLine {
        until(format!("{local} {what}"), SOON, || self.row(local).filter(|row| is(row)))
    }

    /// Looks at it for this long: it must always be so.
    #[track_caller]
    fn always(&self, local: SocketAddr, time: Duration, is: impl Fn(&SocketLine) -> bool) {
        let began = keepwatch_tests::wait::now();
        while began.elapsed() < time {
            let row = self.row(local).expect("it lives");
            assert!(is(&row), "{row:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
