//! A path whose connections are fixed, and what keepwatch says of each.

use keepwatch_tests::{
    answer::agent::once, kernel::netns::require_root, network::path::NetworkPath,
    tool::TemporaryFolder,
};
use rustix::net::sockopt;
use serde_json::Value;
use std::{net::SocketAddr, os::fd::OwnedFd, process::Output, time::Duration};

pub(crate) const SOON: Duration = Duration::from_mins(1);

/// A folder for the journal, and the path that is fixed.
pub(crate) struct Fixer {
    pub(crate) path: NetworkPath,
    pub(crate) state: TemporaryFolder,
}

impl Fixer {
    pub(crate) fn new(path: NetworkPath) -> Self {
        require_root();
        Self { path, state: TemporaryFolder::new() }
    }

    pub(crate) fn words(&self, more: &[&str]) -> Vec<String> {
        let state = self.state.file("state").display().to_string();
        let mut words =
            ["fix", "--json", "--source", "kernel", "--state-dir"].map(str::to_owned).to_vec();
        words.extend([state, "--netns".to_owned(), self.path.near.inode().to_string()]);
        words.extend(more.iter().map(|word| (*word).to_owned()));
        words
    }

    pub(crate) fn run(&self, more: &[&str]) -> Output {
        once(self.words(more))
    }

    /// What it says of each connection, by our end.
    #[track_caller]
    pub(crate) fn outcomes(&self, more: &[&str]) -> Vec<(SocketAddr, String, Value)> {
        outcomes(&self.run(more))
    }
}

#[track_caller]
pub(crate) fn outcomes(output: &Output) -> Vec<(SocketAddr, String, Value)> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() < Some(2), "keepwatch ended with {}: {said}", output.status);
    let lines = std::str::from_utf8(&output.stdout).expect("UTF-8").lines();
    let mut rows: Vec<_> = lines
        .map(|line| {
            let row: Value = serde_json::from_str(line).expect("JSON");
            let text = |key: &str| row.get(key).and_then(Value::as_str).expect("a word");
            (text("local").parse().expect("an address"), text("outcome").to_owned(), row.clone())
        })
        .collect();
    rows.sort_by_key(|(local, ..)| *local);
    rows
}

#[track_caller]
pub(crate) fn outcome_of(rows: &[(SocketAddr, String, Value)], local: SocketAddr) -> (&str, &str) {
    let found = rows.iter().find(|(of, ..)| *of == local);
    let (_, outcome, row) = found.unwrap_or_else(|| panic!("{local} is not in {rows:?}"));
    (outcome, row.get("reason").and_then(Value::as_str).unwrap_or_default())
}

/// SO_KEEPALIVE, idle, interval and count, as the program reads them.
pub(crate) fn options(fd: &OwnedFd) -> (bool, u64, u64, u32) {
    let seconds = |time: Duration| time.as_secs();
    (
        sockopt::socket_keepalive(fd).expect("SO_KEEPALIVE"),
        seconds(sockopt::tcp_keepidle(fd).expect("TCP_KEEPIDLE")),
        seconds(sockopt::tcp_keepintvl(fd).expect("TCP_KEEPINTVL")),
        sockopt::tcp_keepcnt(fd).expect("TCP_KEEPCNT"),
    )
}

/// The options of a connection whose program has set nothing.
pub(crate) const UNSET: (bool, u64, u64, u32) = (false, 7200, 75, 9);
