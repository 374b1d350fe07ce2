//! keepwatch beside `ss`, on the same sockets: by itself, and through an agent.
//!
//! The sockets are connections on loopback in a namespace of their own, held by processes that end with
//! this one.

use crate::budget::budget;
use keepwatch_tests::{
    answer::{
        agent::{self, Agent},
        metrics::Metrics,
    },
    kernel::{crowd::Crowds, netns::NetworkNamespace},
    measure::{Cost, cpu_seconds, measure},
    wait::until,
};
use std::{process::Command, time::Duration};

const ROUNDS: usize = 5;
/// Above this many `ss -p`, whose time grows with the square of the sockets, takes minutes a run.
const MANY: u32 = 200_000;
const KEEPWATCH: &str = "keepwatch sockets --json --source kernel";
const THROUGH_AGENT: &str = "keepwatch sockets --json --source agent";
const SS_WITH_OWNERS: &str = "ss -H -O -tanop";
/// CPU that a snapshot may take, for each 100,000 sockets.
const CPU_SECONDS_PER_100K: f64 = 0.15;
/// How much less CPU than `ss -tanop`.
const TIMES_FASTER: f64 = 50.0;
/// CPU that the same rows may take from an agent, of both processes together, beside those of a walk.
const THROUGH_AGENT_TIMES: f64 = 1.0;
/// How much more memory ten times the sockets may take, when rows are streamed.
const GROWTH_MIB: f64 = 1.0;

/// Whether every budget is met.
pub(crate) fn run(n_sockets: u32) -> bool {
    let netns = NetworkNamespace::new();
    let mut crowds = Crowds::default();
    let n_few = n_sockets / 10;
    crowds.grow(&netns, n_few);
    let few = measure_all(&netns, None, &[KEEPWATCH]);
    crowds.grow(&netns, n_sockets - n_few);
    let agent = agent_that_knows(n_sockets);
    let mut programs = vec![KEEPWATCH, THROUGH_AGENT, "ss -H -tano", "ss -H -O -tanoi"];
    if n_sockets <= MANY {
        programs.push(SS_WITH_OWNERS);
    }
    let costs = measure_all(&netns, Some(&agent), &programs);
    drop(agent);
    drop(crowds);
    let of = |costs: &[(&str, Cost)], program| {
        costs.iter().find_map(|(words, cost)| (*words == program).then_some(*cost))
    };
    let few = of(&few, KEEPWATCH).expect("keepwatch was measured");
    let keepwatch = of(&costs, KEEPWATCH).expect("keepwatch was measured");
    let through_agent = of(&costs, THROUGH_AGENT).expect("the agent was measured");
    println!("{n_sockets} sockets; the least of {ROUNDS} runs each");
    println!("{:42} {:>8} {:>8} {:>9} {:>7}", "", "CPU s", "wall s", "peak MiB", "CPU x");
    for (words, cost) in &costs {
        let Cost { cpu_seconds, wall_seconds, peak_mib } = cost;
        let times = cpu_seconds / keepwatch.cpu_seconds;
        println!("{words:42} {cpu_seconds:8.3} {wall_seconds:8.3} {peak_mib:9.1} {times:7.1}");
    }
    let allowed = CPU_SECONDS_PER_100K * f64::from(n_sockets) / 100_000.0;
    let grown = keepwatch.peak_mib - few.peak_mib;
    let times = through_agent.cpu_seconds / keepwatch.cpu_seconds;
    let mut met = vec![
        budget("CPU seconds", keepwatch.cpu_seconds, keepwatch.cpu_seconds <= allowed, allowed),
        budget(
            &format!("MiB more than at {n_few} sockets ({:.1} MiB)", few.peak_mib),
            grown,
            grown <= GROWTH_MIB,
            GROWTH_MIB,
        ),
        budget(
            "times the CPU of the walk, the agent and the command that asks it together",
            times,
            times <= THROUGH_AGENT_TIMES,
            THROUGH_AGENT_TIMES,
        ),
    ];
    if let Some(ss) = of(&costs, SS_WITH_OWNERS) {
        let times = ss.cpu_seconds / keepwatch.cpu_seconds;
        let what = format!("times less CPU than {SS_WITH_OWNERS}");
        met.push(budget(&what, times, times >= TIMES_FASTER, TIMES_FASTER));
    }
    met.into_iter().all(|met| met)
}

/// An agent that has all sockets in its table, and does not walk again meanwhile.
fn agent_that_knows(n_sockets: u32) -> Agent {
    let agent = Agent::start(&["--interval", "1h"]);
    until("the agent knows all sockets", Duration::from_mins(3), || {
        let tracked = Metrics::of(&agent).sum("keepwatch_sockets_tracked", "");
        (tracked >= f64::from(n_sockets)).then_some(())
    });
    agent
}

/// The least cost of each program. They take turns, so that all meet the same disturbances.
fn measure_all<'a>(
    netns: &NetworkNamespace,
    agent: Option<&Agent>,
    programs: &[&'a str],
) -> Vec<(&'a str, Cost)> {
    let cost = |words| match agent {
        Some(agent) if words == THROUGH_AGENT => {
            let before = cpu_seconds(agent.pid());
            let mut cost = measure(netns, command(words).arg("--socket").arg(agent.socket()));
            cost.cpu_seconds += cpu_seconds(agent.pid()) - before;
            cost
        }
        _ => measure(netns, &mut command(words)),
    };
    let round = || programs.iter().map(|words| (*words, cost(words)));
    let mut least: Vec<_> = round().collect();
    for _ in 1..ROUNDS {
        for ((_, least), (_, cost)) in least.iter_mut().zip(round()) {
            *least = least.least(cost);
        }
    }
    least
}

fn command(words: &str) -> Command {
    match words.split(' ').collect::<Vec<_>>().as_slice() {
        ["keepwatch", args @ ..] => agent::keepwatch(args),
        [program, args @ ..] => {
            let mut command = Command::new(program);
            command.args(args);
            command
        }
        [] => panic!("no program"),
    }
}
