//! Many connections, in processes of their own: one process may hold no more descriptors than its
//! hard limit. The processes run `src/bin/crowd.rs`.

use crate::{kernel::netns::NetworkNamespace, tool};
use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr},
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
    /// Starts `crowd WORDS` in a namespace: `serve`, `connect`, `both` or `idle`, an address, and how many
    /// connections.
    pub fn start(
        netns: &NetworkNamespace,
        what: &str,
        address: SocketAddr,
        n_connections: u32,
    ) -> Self {
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

    /// The id of the process that holds the sockets.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Connections on loopback by the hundred thousand, in a namespace, half of them with SO_KEEPALIVE: two
/// sockets each.
#[derive(Debug, Default)]
pub struct Crowds(Vec<Crowd>);

impl Crowds {
    /// Each process holds both ends of this number of connections, below the usual hard limit of 20,000 descriptors.
    const CONNECTIONS_EACH: u32 = 9_000;

    /// The processes that hold them.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(Crowd::pid)
    }

    /// Makes that many more sockets.
    pub fn grow(&mut self, netns: &NetworkNamespace, n_sockets: u32) {
        let mut n_connections = n_sockets / 2;
        let begin = self.0.len();
        while n_connections > 0 {
            let n_here = n_connections.min(Self::CONNECTIONS_EACH);
            n_connections -= n_here;
            // An address for each: otherwise they would share one range of ephemeral ports.
            let number = u8::try_from(self.0.len() + 1).expect("fewer than 256 processes");
            let address = SocketAddr::new(Ipv4Addr::new(127, 0, number, 1).into(), 7000);
            self.0.push(Crowd::start(netns, "both", address, n_here));
        }
        self.0.iter_mut().skip(begin).for_each(|crowd| crowd.wait_for("ready"));
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.hold.take());
        drop(self.child.wait());
    }
}
