//! How much is seen when much happens: events a second that keepwatch takes without loss, and what is
//! left of a burst of connections.

use crate::{
    budget::budget,
    call::{Caller, stay_on_one_cpu},
    observer::{Observer, Watching},
};
use keepwatch_tests::{
    answer::{agent::Agent, metrics::Metrics},
    kernel::netns::NetworkNamespace,
    wait::{now, until},
};
use std::{thread, time::Duration};

/// Events a second, without loss.
const EVENTS: f64 = 200_000.0;
/// What is tried, and at last as fast as one core can.
const RATES: [f64; 5] = [100_000.0, EVENTS, 300_000.0, 400_000.0, f64::INFINITY];
const FLOOD_SECONDS: f64 = 2.0;
/// Tries, of which the best counts: the host is not ours alone.
const N_TRIES: u32 = 5;

const N_CONNECTIONS: u32 = 20_000;
const N_BURSTS: u32 = 3;

/// Whether the budget is met.
pub(crate) fn run() -> bool {
    let netns = NetworkNamespace::new();
    let caller = Caller::new(&netns);
    let fast_enough = floods(&netns, &caller);
    bursts(&netns, &caller);
    fast_enough
}

/// setsockopt calls from one core, each of them an event.
fn floods(netns: &NetworkNamespace, caller: &Caller) -> bool {
    println!("\nsetsockopt calls of one thread, each an event; the agent as it starts by itself");
    println!("{:>10} {:>10} {:>9} {:>9}", "called/s", "decoded/s", "lost", "agent CPU");
    let agent = Agent::start(&[]);
    let mut taken = 0.0_f64;
    for rate in RATES {
        let tries = (0..N_TRIES).map(|_| flood(&agent, netns, caller, rate));
        let Some(best) = tries.min_by(|one, other| one.lost.total_cmp(&other.lost)) else {
            continue;
        };
        let Flooded { called, decoded, lost, cpu } = best;
        println!("{called:10.0} {decoded:10.0} {lost:9.0} {:8.0} %", cpu * 100.0);
        if lost == 0.0 {
            taken = taken.max(decoded);
        }
    }
    // Pacing is never exact.
    budget("events a second decoded without loss", taken, taken >= 0.99 * EVENTS, EVENTS)
}

/// Of one flood, a second; `lost` as a whole.
struct Flooded {
    called: f64,
    decoded: f64,
    lost: f64,
    cpu: f64,
}

fn flood(agent: &Agent, netns: &NetworkNamespace, caller: &Caller, rate: f64) -> Flooded {
    /// Made at once, between two looks at the clock.
    const N_AT_ONCE: u32 = 50;
    let before = FlowCounts::settled(agent, |_| true);
    let (n_called, seconds) = netns.run(|| {
        stay_on_one_cpu();
        let (began, mut n_called) = (now(), 0.0);
        loop {
            let seconds = began.elapsed().as_secs_f64();
            if seconds >= FLOOD_SECONDS {
                return (n_called, seconds);
            }
            if n_called <= seconds * rate {
                (0..N_AT_ONCE).for_each(|_| caller.set_keepalive());
                n_called += f64::from(N_AT_ONCE);
            }
        }
    });
    let after = FlowCounts::settled(agent, |flow| flow.seen >= before.seen + n_called);
    Flooded {
        called: n_called / seconds,
        decoded: (after.decoded - before.decoded) / seconds,
        lost: after.lost - before.lost,
        cpu: (after.cpu_seconds - before.cpu_seconds) / seconds,
    }
}

/// Connections that come and go from two threads as fast as they can.
fn bursts(netns: &NetworkNamespace, caller: &Caller) {
    println!(
        "\n{N_BURSTS} bursts of {N_CONNECTIONS} connections from two threads; of each what was lost"
    );
    println!("{:22} {:>14} {:>9} {:>9}", "", "connections/s", "seen", "lost");
    let others = Observer::others().into_iter().filter(|one| *one == Observer::Tcplife);
    for observer in [Observer::Nobody, Observer::Keepwatch("auto")].into_iter().chain(others) {
        let watching = match observer {
            // As it starts by itself.
            Observer::Keepwatch(_) => Watching::Keepwatch(Agent::start(&[])),
            other => other.start(netns, caller),
        };
        let mut fastest = 0.0_f64;
        let mut ports = Vec::new();
        let before = flow_of(&watching);
        for _ in 0..N_BURSTS {
            let (seconds, two) = burst(netns);
            ports.extend(two);
            fastest = fastest.max(f64::from(N_CONNECTIONS) / seconds);
        }
        let n_ends = f64::from(2 * N_BURSTS * N_CONNECTIONS);
        let (seen, lost) = match (watching, before) {
            (Watching::Keepwatch(agent), Some(before)) => {
                let after = FlowCounts::settled(&agent, |flow| flow.ended >= before.ended + n_ends);
                let lost = after.lost - before.lost;
                (
                    format!("{:.0} events", after.submitted - before.submitted),
                    lost / (after.submitted - before.submitted + lost),
                )
            }
            (Watching::Other(other), _) => {
                let said = other.stop();
                let n_lines =
                    said.lines().filter(|line| ports.iter().any(|port| names(line, *port))).count();
                let n_lines = f64::from(u32::try_from(n_lines).unwrap_or(u32::MAX));
                (format!("{n_lines:.0} ends"), 1.0 - n_lines / n_ends)
            }
            _ => ("-".into(), 0.0),
        };
        println!("{:22} {fastest:14.0} {seen:>16} {:8.2} %", observer.name(), lost * 100.0);
    }
}

fn flow_of(watching: &Watching) -> Option<FlowCounts> {
    match watching {
        Watching::Keepwatch(agent) => Some(FlowCounts::settled(agent, |_| true)),
        _ => None,
    }
}

/// How long it took, and the ports that were connected to.
fn burst(netns: &NetworkNamespace) -> (f64, [u16; 2]) {
    let callers = [Caller::new(netns), Caller::new(netns)];
    let began = now();
    thread::scope(|scope| {
        for caller in &callers {
            scope.spawn(move || {
                netns.run(|| (0..N_CONNECTIONS / 2).for_each(|_| caller.connect_and_close()));
            });
        }
    });
    (began.elapsed().as_secs_f64(), callers.map(|caller| caller.address().port()))
}

/// Whether a line of `tcplife` is of a connection with this port at one end.
fn names(line: &str, port: u16) -> bool {
    let port = port.to_string();
    // PID COMM LADDR LPORT RADDR RPORT ...; a name may have spaces.
    line.split_whitespace().any(|word| word == port)
}

/// What the agent has counted so far.
struct FlowCounts {
    seen: f64,
    submitted: f64,
    decoded: f64,
    /// Ends of connections, counted also where the record was lost.
    ended: f64,
    lost: f64,
    cpu_seconds: f64,
}

impl FlowCounts {
    /// Waits until all is seen that is waited for, and all that was seen has gone its way.
    fn settled(agent: &Agent, is_all: impl Fn(&Self) -> bool) -> Self {
        /// What others on this host make meanwhile.
        const A_FEW: f64 = 50.0;
        until("the agent has counted all events", Duration::from_mins(1), || {
            let metrics = Metrics::of(agent);
            let stage =
                |stage| metrics.sum("keepwatch_events_total", &format!("stage=\"{stage}\""));
            let flow = Self {
                seen: stage("seen"),
                submitted: stage("submitted"),
                decoded: stage("decoded"),
                ended: metrics.sum("keepwatch_connections_ended_total", ""),
                lost: metrics.sum("keepwatch_events_lost_total", ""),
                cpu_seconds: metrics.sum("process_cpu_seconds_total", ""),
            };
            (is_all(&flow) && flow.submitted - flow.decoded < A_FEW).then_some(flow)
        })
    }
}
