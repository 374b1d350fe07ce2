//! The agent dies without a chance to clean up.

use keepwatch::tested::Query;
use keepwatch_tests::{
    answer::{agent::Agent, history},
    kernel::{churn::ChurningConnections, kernel_ids::KernelIds, netns::NetworkNamespace},
    network::{ending, path::NetworkPath},
    tool::TemporaryFolder,
    wait::{StopAtEnd, for_a_moment, until},
};
use std::{fs, os::fd::AsRawFd as _, thread, time::Duration};

const SOON: Duration = Duration::from_mins(2);
const OPTIONS: [&str; 2] = ["--interval", "1h"];
const N_KILLS: usize = 50;

pub(crate) fn fifty_times() -> String {
    let (netns, path) = (NetworkNamespace::new(), NetworkPath::cable());
    let traffic = ChurningConnections::default();
    let mut folder = TemporaryFolder::new();
    let agent = thread::scope(|scope| {
        let stop = StopAtEnd(&traffic.stopped);
        scope.spawn(|| netns.run(|| traffic.run()));
        for n in 0..N_KILLS {
            let mut victim = Agent::spawn_in(std::mem::take(&mut folder), &OPTIONS);
            if n.is_multiple_of(5) {
                // So that the history has something to lose.
                victim.wait();
                ending::reset_by_peer(&path);
            }
            for_a_moment(Duration::from_millis(1500));
            victim.freeze();
            let ids = KernelIds::of(victim.pid());
            folder = victim.kill();
            until("programs, maps and links are gone", SOON, || ids.are_gone().then_some(()));
        }
        let next = Agent::start_in(std::mem::take(&mut folder), &OPTIONS);
        drop(stop);
        next
    });
    let alive = traffic.alive();
    let in_netns = netns.inode().to_string();
    until("every live socket is in the table", SOON, || {
        let rows = agent.sockets(&["--all", "--netns", &in_netns]);
        let is_there = |number: u32| rows.iter().any(|row| row.is_held(std::process::id(), number));
        alive.iter().all(|fd| is_there(fd.as_raw_fd().cast_unsigned())).then_some(())
    });
    let n_deaths = history::deaths(&agent.state(), &Query::default()).len();
    assert!(n_deaths > 0, "the history has no death");
    let entries = fs::read_dir(agent.state()).expect("the state folder").flatten();
    let aside = entries.filter(|entry| entry.file_name().to_string_lossy().contains("corrupt"));
    assert_eq!(aside.count(), 0, "a history was set aside");
    format!(
        "{N_KILLS} kills, {} of {} live sockets known, {n_deaths} deaths in one history",
        alive.len(),
        alive.len()
    )
}
