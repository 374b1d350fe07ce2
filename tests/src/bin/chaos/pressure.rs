//! Memory that the kernel does not give.

use crate::figures::ProcessFigures;
use keepwatch_tests::{
    answer::{agent::Agent, metrics::Metrics},
    kernel::{
        cgroup::Hierarchy,
        flood::Flood,
        netns::NetworkNamespace,
        socket::{self, Family, Plan},
    },
    wait::until,
};
use std::time::Duration;

const SOON: Duration = Duration::from_mins(2);
/// What it may take beside what it had when it was bounded: less than `MemoryMax=` of the unit leaves it.
const MORE_MIB: u64 = 48;
const N_HELD: usize = 10_000;
const N_FLOOD: u64 = 100_000;

pub(crate) fn bounded_memory() -> String {
    socket::allow_many();
    let (hierarchy, limit) = Hierarchy::of_memory().expect("cgroups bound memory here");
    let cgroup = hierarchy.cgroup("bounded");
    cgroup.set(limit, MORE_MIB << 20);
    let agent = Agent::start(&["--interval", "2s"]);
    let before = ProcessFigures::of(&agent);
    // What it has is charged to where it was: the bound is on what comes.
    cgroup.take(agent.pid());
    let netns = NetworkNamespace::new();
    let family = Family::V4;
    let _held: Vec<_> = netns.run(|| {
        let listener = socket::listener(family, family.loopback(), 64, &Plan::NOTHING);
        let address = socket::local_address(&listener);
        let pair =
            |_| [socket::connected(family, address, &Plan::NOTHING), socket::accepted(&listener)];
        (0..N_HELD / 2).flat_map(pair).collect()
    });
    let flood = Flood::start(1);
    flood.wait_for(1000);
    while flood.n_made() < N_FLOOD {
        flood.wait_for(1000);
        Metrics::of(&agent);
    }
    drop(flood);
    let inode = netns.inode().to_string();
    until("each connection that is held is listed", SOON, || {
        let rows = agent.sockets(&["--netns", &inode, "--state", "established"]);
        (rows.len() == N_HELD).then_some(())
    });
    let after = ProcessFigures::of(&agent);
    let most = cgroup.most_memory();
    let (status, said) = agent.stop();
    assert!(status.success(), "it ended with {status}: {said}");
    let charged = most.map_or_else(String::new, |bytes| {
        format!(", of which {} MiB were taken at most, the history's pages included", bytes >> 20)
    });
    format!(
        "{MORE_MIB} MiB beside what it had{charged}; {N_HELD} connections held, {N_FLOOD} that came and went: {:.1} MiB before, {:.1} \
         after, {:.1} at most",
        before.resident_mib, after.resident_mib, after.peak_mib
    )
}
