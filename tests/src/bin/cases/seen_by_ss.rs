//! What `ss` shows of a connection: the truth, without keepwatch.

use keepwatch_tests::{kernel::netns::NetworkNamespace, tool};
use std::{net::SocketAddr, process::Command};

/// A line of `ss -tinoH`, with the line of details below it.
#[derive(Clone, Debug)]
pub(crate) struct SeenBySs {
    pub(crate) state: String,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// As `ss` has it: `timer:(keepalive,2.9sec,0)`; empty if none runs.
    pub(crate) timer: String,
    /// Since data was sent, data was received, an ACK was received.
    pub(crate) quiet_ms: u64,
    pub(crate) unacked: u64,
    pub(crate) backoff: u64,
}

impl SeenBySs {
    /// All connections of a network namespace with this port at the other end.
    #[track_caller]
    pub(crate) fn all(netns: &NetworkNamespace, port: u16) -> Vec<Self> {
        let mut all = Self::of(netns);
        all.retain(|seen| seen.remote.port() == port);
        all
    }

    /// Whether a program listens on this port.
    #[track_caller]
    pub(crate) fn listens(netns: &NetworkNamespace, port: u16) -> bool {
        let ask = || Command::new(tool::program("ss")).args(["-tlnH"]).output();
        let output = netns.run(ask).expect("the command `ss` of iproute2");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let end = format!(":{port}");
        text.lines().any(|line| {
            line.split_whitespace().nth(3).is_some_and(|address| address.ends_with(&end))
        })
    }

    /// All connections of a network namespace.
    #[track_caller]
    pub(crate) fn of(netns: &NetworkNamespace) -> Vec<Self> {
        let ask = || Command::new(tool::program("ss")).args(["-tinoH", "state", "all"]).output();
        let output = netns.run(ask).expect("the command `ss` of iproute2");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let pairs = lines.iter().zip(lines.iter().skip(1));
        let pairs = pairs.filter(|(_, details)| details.starts_with(['\t', ' ']));
        pairs.filter_map(|(line, details)| Self::parse(line, details)).collect()
    }

    fn parse(line: &str, details: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let state = words.next()?.to_owned();
        let mut words = words.skip(2);
        let local = address(words.next()?)?;
        let remote = address(words.next()?)?;
        let timer = words.find(|word| word.starts_with("timer:")).unwrap_or_default().to_owned();
        let number = |name: &str| {
            let mut words = details.split_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.parse::<u64>().ok())
        };
        // What `ss` leaves out is 0.
        let clocks = ["lastsnd:", "lastrcv:", "lastack:"].map(|name| number(name).unwrap_or(0));
        Some(Self {
            state,
            local,
            remote,
            timer,
            quiet_ms: clocks.into_iter().min().unwrap_or(0),
            unacked: number("unacked:").unwrap_or(0),
            backoff: number("backoff:").unwrap_or(0),
        })
    }

    /// In words, for the table.
    pub(crate) fn in_words(&self) -> String {
        let mut words = vec![self.state.clone()];
        if !self.timer.is_empty() {
            words.push(self.timer.clone());
        }
        if self.unacked > 0 {
            words.push(format!("unacked:{} backoff:{}", self.unacked, self.backoff));
        }
        format!("ss: {}", words.join(" "))
    }
}

/// An address; IPv4 in a socket of IPv6 is IPv4.
fn address(text: &str) -> Option<SocketAddr> {
    let address: SocketAddr = text.parse().ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}
