//! More happens than anybody can read.

use crate::figures::ProcessFigures;
use keepwatch_tests::{
    answer::{
        agent::{Agent, sockets_from_kernel},
        metrics::Metrics,
        row::SocketLine,
    },
    kernel::{
        flood::Flood,
        netns::NetworkNamespace,
        socket::{self, Family, Plan},
    },
    tool,
    wait::{until, within},
};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_mins(2);
const N_FLOOD: u64 = 100_000;
const N_PROCESSES: usize = 2000;
/// At the same time.
const N_AT_ONCE: usize = 50;
const MOST_MIB: f64 = 24.0;

pub(crate) fn ring_overflow() -> String {
    let netns = NetworkNamespace::new();
    let agent = Agent::start(&["--ring-bytes", "4096", "--interval", "1h"]);
    let flood = Flood::start(2);
    let family = Family::V4;
    let held = netns.run(|| {
        let listener = socket::listener(family, family.loopback(), 64, &Plan::NOTHING);
        let address = socket::local_address(&listener);
        let pair =
            |_| [socket::connected(family, address, &Plan::NOTHING), socket::accepted(&listener)];
        (0..30).flat_map(pair).collect::<Vec<_>>()
    });
    while flood.n_made() < N_FLOOD {
        flood.wait_for(1000);
    }
    let n_made = flood.n_made();
    drop(flood);
    let sums = until("each event is accounted for", SOON, || {
        let metrics = Metrics::of(&agent);
        let stage =
            |stage: &str| metrics.sum("keepwatch_events_total", &format!("stage=\"{stage}\""));
        let lost =
            |stage: &str| metrics.sum("keepwatch_events_lost_total", &format!("stage=\"{stage}\""));
        let (seen, submitted) = (stage("seen"), stage("submitted"));
        let rest = seen - submitted - stage("filtered") - lost("ring_full");
        let read = submitted - stage("decoded") - lost("undecodable");
        (seen > 0.0 && rest.abs() < 0.5 && read.abs() < 0.5)
            .then(|| (seen, submitted, lost("ring_full")))
    });
    assert!(sums.2 > 0.0, "nothing was lost, which was the point");
    let inode = netns.inode().to_string();
    let args = ["--netns", &inode, "--state", "established"];
    let ends = |rows: Vec<SocketLine>| -> BTreeSet<(SocketAddr, SocketAddr)> {
        rows.into_iter().map(|row| (row.local, row.remote)).collect()
    };
    let truth = ends(sockets_from_kernel(&args));
    assert_eq!(truth.len(), held.len());
    until("the table is what the kernel says", SOON, || {
        (ends(agent.sockets(&args)) == truth).then_some(())
    });
    format!(
        "{n_made} connections: {} events seen, {} submitted, {} lost, none unaccounted for",
        sums.0, sums.1, sums.2
    )
}

pub(crate) fn short_processes() -> String {
    let netns = NetworkNamespace::new();
    let agent = Agent::start(&["--interval", "1s"]);
    let before = ProcessFigures::of(&agent);
    let opened = || Metrics::of(&agent).sum("keepwatch_connections_ended_total", "");
    let ended_before = opened();
    let family = Family::V4;
    let listener = netns.run(|| socket::listener(family, family.loopback(), 128, &Plan::NOTHING));
    let address = socket::local_address(&listener).to_string();
    let mut left = N_PROCESSES;
    while left > 0 {
        let n = left.min(N_AT_ONCE);
        let start = |_| {
            let mut command = Command::new(tool::beside("crowd"));
            command.args(["connect", &address, "1"]).stdin(Stdio::null()).stdout(Stdio::null());
            netns.run(|| command.spawn()).expect("start crowd")
        };
        let children: Vec<_> = (0..n).map(start).collect();
        for mut child in children {
            drop(socket::accepted(&listener));
            drop(child.wait());
        }
        left -= n;
    }
    let inode = netns.inode().to_string();
    until("only the listener is left", SOON, || {
        let rows = agent.sockets(&["--all", "--netns", &inode]);
        (rows.len() == 1 && rows.iter().all(|row| row.state == "listen")).then_some(())
    });
    let n_ends = until("each connection has ended at both ends", SOON, || {
        let n = opened() - ended_before;
        let wanted = f64::from(u32::try_from(2 * N_PROCESSES).expect("a number"));
        (n >= wanted).then_some(n)
    });
    let fell = within(SOON, || {
        let now = ProcessFigures::of(&agent);
        (now.resident_mib < before.resident_mib + MOST_MIB).then_some(now)
    });
    let after = fell.unwrap_or_else(|| {
        panic!("memory: before {before:?}, now {:?}", ProcessFigures::of(&agent))
    });
    format!(
        "{n_ends} ends for 2 x {N_PROCESSES}; {:.1} MiB before, {:.1} after, {:.1} at most",
        before.resident_mib, after.resident_mib, after.peak_mib
    )
}
