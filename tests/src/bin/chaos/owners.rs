//! Namespaces, cgroups and processes in numbers, and ids that are used again.

use crate::figures::ProcessFigures;
use keepwatch_tests::{
    answer::agent::Agent,
    kernel::{
        cgroup::{Cgroup, Hierarchy, Holder},
        netns::NetworkNamespace,
        socket::{self, Family, Plan},
    },
    wait::{until, within},
};
use std::{collections::BTreeSet, fs, os::fd::OwnedFd, time::Duration};

const SOON: Duration = Duration::from_mins(4);
const EACH: usize = 1000;
const MOST_MIB: f64 = 24.0;
/// Processes of the host may take the id first.
const MOST_TRIES: usize = 50;

/// A connection on loopback: both ends.
fn connection() -> [OwnedFd; 2] {
    let family = Family::V4;
    let listener = socket::listener(family, family.loopback(), 1, &Plan::NOTHING);
    let client = socket::connected(family, socket::local_address(&listener), &Plan::NOTHING);
    [client, socket::accepted(&listener)]
}

pub(crate) fn by_the_thousand() -> String {
    socket::allow_many();
    let agent = Agent::start(&["--interval", "2s"]);
    let before = ProcessFigures::of(&agent);
    let namespaces: Vec<NetworkNamespace> = (0..EACH).map(|_| NetworkNamespace::new()).collect();
    let ends: Vec<_> = namespaces.iter().map(|netns| netns.run(connection)).collect();
    let wanted: BTreeSet<u32> = namespaces.iter().map(NetworkNamespace::inode).collect();
    let listed = || -> BTreeSet<u32> {
        let rows = agent.sockets(&["--all", "--process", "chaos"]);
        rows.iter().map(|row| row.netns).filter(|inode| wanted.contains(inode)).collect()
    };
    until("connections of each namespace are listed", SOON, || (listed() == wanted).then_some(()));
    drop(ends);
    until("none of them is left", SOON, || listed().is_empty().then_some(()));
    drop(namespaces);

    let hierarchy = Hierarchy::usable().into_iter().next().expect("cgroups can be made here");
    let home = NetworkNamespace::new();
    let made: Vec<(Holder, Cgroup, OwnedFd)> = (0..EACH)
        .map(|n| {
            let cgroup = hierarchy.cgroup(&format!("chaos-{n}.service"));
            let [client, server] = home.run(connection);
            (Holder::in_cgroup(&cgroup, client), cgroup, server)
        })
        .collect();
    let inode = home.inode().to_string();
    let units = || -> BTreeSet<String> {
        let rows = agent.sockets(&["--all", "--netns", &inode]);
        rows.into_iter().filter_map(|row| row.unit).collect()
    };
    until("each cgroup's connection is listed with its unit", SOON, || {
        (units().len() == EACH).then_some(())
    });
    drop(made);
    until("none of them is left", SOON, || units().is_empty().then_some(()));
    let calm = within(SOON, || {
        let now = ProcessFigures::of(&agent);
        let is_calm = now.resident_mib < before.resident_mib + MOST_MIB
            && now.n_descriptors <= before.n_descriptors + 2;
        is_calm.then_some(now)
    });
    let after =
        calm.unwrap_or_else(|| panic!("before {before:?}, now {:?}", ProcessFigures::of(&agent)));
    format!(
        "{EACH} namespaces, {EACH} units; {:.1} MiB before, {:.1} after, {:.1} at most; descriptors {} and {}",
        before.resident_mib,
        after.resident_mib,
        after.peak_mib,
        before.n_descriptors,
        after.n_descriptors
    )
}

pub(crate) fn process_id_used_again() -> String {
    let agent = Agent::start(&["--interval", "1s"]);
    let hierarchy = Hierarchy::usable().into_iter().next().expect("cgroups can be made here");
    let netns = NetworkNamespace::new();
    let inode = netns.inode().to_string();
    let unit_of = |pid: u32| {
        let rows = agent.sockets(&["--all", "--netns", &inode]);
        let mut rows = rows.into_iter().filter(|row| row.state == "established");
        rows.find(|row| row.owners.iter().any(|owner| owner.pid == pid)).and_then(|row| row.unit)
    };
    for n_tries in 1..=MOST_TRIES {
        let first_cgroup = hierarchy.cgroup("first.service");
        let [client, _server] = netns.run(connection);
        let first = Holder::in_cgroup(&first_cgroup, client);
        let pid = first.pid();
        until("the first is known", SOON, || (unit_of(pid)? == "first.service").then_some(()));
        drop(first);
        let second_cgroup = hierarchy.cgroup("second.service");
        let [client, _server] = netns.run(connection);
        // The kernel gives the next one, unless another process is quicker (`alloc_pid` in kernel/pid.c).
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())
            .expect("ask for the id again");
        let second = Holder::in_cgroup(&second_cgroup, client);
        if second.pid() != pid {
            continue;
        }
        until("the second is known by its own unit", SOON, || {
            (unit_of(pid)? == "second.service").then_some(())
        });
        return format!(
            "process {pid} was first.service, then second.service, at the {n_tries}. try"
        );
    }
    panic!("the id was not given again in {MOST_TRIES} tries")
}
