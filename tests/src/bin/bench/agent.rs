//! The agent while it tracks many sockets: its memory, and what a scrape costs.

use crate::budget::budget;
use keepwatch_tests::{
    answer::{agent::Agent, http, metrics::Metrics},
    kernel::{crowd::Crowds, netns::NetworkNamespace},
    measure::memory_mib,
    wait::{now, until},
};
use std::time::Duration;

const N_SCRAPES: u32 = 20;
const IDLE_MIB: f64 = 17.0;
const MIB: f64 = 120.0;
const SCRAPE_MS: f64 = 10.0;
const SCRAPE_KIB: f64 = 200.0;

/// Whether every budget is met.
pub(crate) fn run(n_sockets: u32) -> bool {
    let netns = NetworkNamespace::new();
    let agent = Agent::start(&[]);
    let idle = memory_mib(agent.pid(), "VmRSS");
    let mut crowds = Crowds::default();
    crowds.grow(&netns, n_sockets);
    let metrics = until("all sockets are tracked", Duration::from_mins(3), || {
        let metrics = Metrics::of(&agent);
        let walked = metrics.sum("keepwatch_snapshots_total", "") >= 2.0;
        let all = metrics.sum("keepwatch_sockets_tracked", "") >= f64::from(n_sockets);
        (walked && all).then_some(metrics)
    });
    let tracked = metrics.sum("keepwatch_sockets_tracked", "");
    let mut scrape_ms = f64::INFINITY;
    let mut scrape_kib = 0.0_f64;
    for _ in 0..N_SCRAPES {
        let began = now();
        let answer = http::get(agent.address(), "/metrics", "text/plain").expect("an answer");
        scrape_ms = scrape_ms.min(began.elapsed().as_secs_f64() * 1e3);
        let len = u32::try_from(answer.body.len()).expect("a short answer");
        scrape_kib = scrape_kib.max(f64::from(len) / 1024.0);
    }
    let resident = memory_mib(agent.pid(), "VmRSS");
    println!("{tracked} sockets tracked; the least of {N_SCRAPES} scrapes");
    [
        budget("MiB resident, idle", idle, idle <= IDLE_MIB, IDLE_MIB),
        budget("MiB resident", resident, resident <= MIB, MIB),
        budget("ms a scrape", scrape_ms, scrape_ms <= SCRAPE_MS, SCRAPE_MS),
        budget("KiB a scrape", scrape_kib, scrape_kib <= SCRAPE_KIB, SCRAPE_KIB),
    ]
    .into_iter()
    .all(|met| met)
}
