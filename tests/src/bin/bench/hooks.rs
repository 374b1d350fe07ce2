//! What watching costs those who are watched, and how much keepwatch can take.

use crate::{
    budget::budget,
    call::{Caller, MeasuredCall, NOTHING, Nanoseconds, least},
    flood,
    observer::Observer,
};
use keepwatch_tests::{
    kernel::{kernel_ids::watching_programs, netns::NetworkNamespace},
    wait::until,
};
use std::time::Duration;

const N_ROUNDS: u32 = 12;
const N_WINDOWS: u32 = 15;
/// What an emulated processor takes a hundred times as long for.
const N_ROUNDS_ALONE: u32 = 6;

/// Nanoseconds that another system call may take longer, with tracepoints.
const OTHER_CALLS: f64 = 15.0;
/// Nanoseconds that a setsockopt may take longer.
const SETSOCKOPT: f64 = 400.0;
/// Part by which connecting and closing may take longer.
const CONNECTION: f64 = 0.05;

/// Whether every budget is met.
pub(crate) fn run() -> bool {
    let mut observers = vec![Observer::Nobody, Observer::Keepwatch("tracepoint")];
    observers.extend(Observer::others());
    let costs = measure(&observers, N_ROUNDS);
    show(&costs);
    let calls_are_cheap = budgets(&costs, OTHER_CALLS);
    let nothing_is_lost = flood::run();
    calls_are_cheap && nothing_is_lost
}

/// The calls alone, with some mechanisms: what a guest is asked. Its numbers are compared with each
/// other only.
pub(crate) fn calls_alone(mechanisms: &[&str]) -> bool {
    let mut observers = vec![Observer::Nobody];
    observers.extend(mechanisms.iter().copied().map(Observer::Keepwatch));
    show(&measure(&observers, N_ROUNDS_ALONE));
    true
}

type Costs<'a> = Vec<(Observer<'a>, Nanoseconds)>;

/// The observers take turns, so that all meet the same disturbances.
fn measure<'a>(observers: &[Observer<'a>], n_rounds: u32) -> Costs<'a> {
    let netns = NetworkNamespace::new();
    let caller = Caller::new(&netns);
    let mut costs: Costs<'_> = observers.iter().map(|observer| (*observer, NOTHING)).collect();
    for _ in 0..n_rounds {
        for (observer, so_far) in &mut costs {
            let measured = alone(|| {
                let watching = observer.start(&netns, &caller);
                let programs = watching_programs();
                let calls = caller.measure(&netns, N_WINDOWS);
                let undisturbed = watching_programs() == programs;
                drop(watching);
                undisturbed.then_some(calls)
            });
            *so_far = least(*so_far, measured);
        }
    }
    costs
}

/// Measures while nobody else watches: others' hooks cost as much as ours.
fn alone<T>(mut measure: impl FnMut() -> Option<T>) -> T {
    const PATIENCE: Duration = Duration::from_mins(20);
    until("nobody else on this host has hooks attached", PATIENCE, || {
        if watching_programs().is_empty() { measure() } else { None }
    })
}

fn show(costs: &Costs<'_>) {
    println!(
        "nanoseconds a call, and how many more than with nobody watching; the least of many windows"
    );
    let heading =
        MeasuredCall::ALL.map(|call| format!("{:>10} {:>8} {:>6}", call.name(), "more", "times"));
    println!("{:22} {}", "", heading.join(" "));
    let nobody = costs.first().map_or(NOTHING, |(_, alone)| *alone);
    for (observer, calls) in costs {
        let cells: Vec<String> = calls
            .iter()
            .zip(nobody)
            .map(|(call, alone)| format!("{call:10.1} {:8.1} {:6.2}", call - alone, call / alone))
            .collect();
        println!("{:22} {}", observer.name(), cells.join(" "));
    }
}

fn budgets(costs: &Costs<'_>, other_calls: f64) -> bool {
    let [(_, nobody), (keepwatch, watched), ..] = costs.as_slice() else {
        return false;
    };
    let [getppid, setsockopt, connection] = *watched;
    let [alone_getppid, alone_setsockopt, alone_connection] = *nobody;
    let name = keepwatch.name();
    let (more, more_setsockopt) = (getppid - alone_getppid, setsockopt - alone_setsockopt);
    let slower = connection / alone_connection - 1.0;
    let met = [
        budget(
            &format!("ns more for another system call, {name}"),
            more,
            more <= other_calls,
            other_calls,
        ),
        budget(
            &format!("ns more for a setsockopt, {name}"),
            more_setsockopt,
            more_setsockopt <= SETSOCKOPT,
            SETSOCKOPT,
        ),
        budget(
            &format!("of connect and close more, {name}"),
            slower,
            slower <= CONNECTION,
            CONNECTION,
        ),
    ];
    met.into_iter().all(|met| met)
}
