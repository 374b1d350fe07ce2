//! Many connections, in processes of their own: one process may hold no more descriptors than its
//! hard limit. The processes run `src/bin/crowd.rs`.

use crate::{netns::Netns, tool};
use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// A process that holds connections until it is dropped.
#[derive(Debug)]
pub struct Crowd {
    child: Child,
    /// It ends when this is closed.
    hold: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl Crowd {
    /// Starts `crowd WORDS` in a namespace: `serve`, `connect` or `both`, an address, and how many
    /// connections.
    pub fn start(netns: &Netns, what: &str, address: SocketAddr, n_connections: u32) -> Self {
        let mut child = netns
            .run(|| {
                Command::new(tool::beside("crowd"))
                    .args([what, &address.to_string(), &n_connections.to_string()])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
            })
            .expect("start crowd, built beside the tests");
        let hold = child.stdin.take();
        let said = BufReader::new(child.stdout.take().expect("its stdout"));
        Self { child, hold, said }
    }

    /// Waits until it says this word: `listening`, `ready`.
    #[track_caller]
    pub fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("read what crowd says");
        assert_eq!(line.trim_end(), word, "what crowd says");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.hold.take());
        drop(self.child.wait());
    }
}
