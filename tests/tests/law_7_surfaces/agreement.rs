//! Every surface beside every other, while connections live and when they have died.

use super::population::{EveryCondition, Fate, LIMIT_SECONDS, PATH, Seed};
use super::{
    ends,
    surfaces::{self, Surfaces, said_of},
};
use keepwatch_tests::{
    answer::{agent::Agent, trace::Trace, truth::process_name},
    wait::{StopAtEnd, until, within},
};
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Kept takes three limits of watching.
const SETTLED_WITHIN: Duration = Duration::from_mins(2);
/// Walks often: what a walk sees is as old as the last one.
const OPTIONS: [&str; 4] = ["--interval", "500ms", "--path", PATH];

#[test]
fn every_surface_says_the_same_of_every_connection_in_every_condition_and_of_every_death() {
    let seed = Seed::new();
    eprintln!("KEEPWATCH_SEED={}", seed.0);
    // Metrics have no filter: the owner's name tells these connections from others.
    fs::write("/proc/self/comm", format!("law7-{}", std::process::id())).unwrap();
    let agent = Agent::start(&OPTIONS);
    let mut population = EveryCondition::new(seed);
    let stop = AtomicBool::new(false);
    let talking = population.talking();
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        scope.spawn(|| talking.go_on_until(|| stop.load(Ordering::Relaxed)));
        population.darken();
        settle(&agent, &population);
        compare(&agent);
    });
    drop(talking);
    let traces = [population.light(), population.dark()]
        .map(|path| Trace::of(&path.near, &["--path", PATH]));
    let ending = ends::end_each(&mut population);
    ends::compare(&agent, &traces, &ending);
}

/// Waits until each connection is what it was made to be.
#[track_caller]
fn settle(agent: &Agent, population: &EveryCondition) {
    let mut off = String::new();
    let settled = within(SETTLED_WITHIN, || {
        let rows = surfaces::sockets(agent).of;
        let is_settled = |(id, kind): (&str, Fate)| {
            let said = rows.get(id).map(|row| (row.verdict.as_str(), row.condition.as_str()));
            said == Some(kind.truth())
        };
        let others: Vec<_> = population.known().filter(|&one| !is_settled(one)).collect();
        off = format!(
            "{:#?}",
            others.iter().map(|(id, kind)| (kind, rows.get(*id))).collect::<Vec<_>>()
        );
        others.is_empty().then_some(())
    });
    assert!(settled.is_some(), "not what they were made to be: {off}");
}

/// Asks everything between two answers of `sockets`, until nothing changed in between.
#[track_caller]
fn compare(agent: &Agent) {
    let mut n_rounds = 0;
    let surfaces = until("nothing changes while all are asked", SETTLED_WITHIN, || {
        n_rounds += 1;
        let surfaces = Surfaces::ask(agent);
        surfaces.is_of_one_moment().then_some(surfaces)
    });
    let name = process_name("self");
    let differences: Vec<String> =
        said_of(&surfaces).chain(surfaces.metrics_that_differ(&name)).collect();
    assert!(
        differences.is_empty(),
        "{} after {n_rounds} rounds: {differences:#?}",
        differences.len()
    );
    let first = &surfaces.first.of;
    assert!(first.len() >= 2 * Fate::ALL.len(), "{} connections", first.len());
    for kind in Fate::ALL {
        let (verdict, condition) = kind.truth();
        let is_one = |it: &surfaces::Statement| it.verdict == verdict && it.condition == condition;
        assert!(first.values().any(is_one), "no {verdict} {condition} among them");
    }
    let is_of_path = |it: &surfaces::Statement| it.limit_seconds == u64::from(LIMIT_SECONDS);
    assert!(first.values().any(is_of_path) && !first.values().all(is_of_path), "limits differ");
}
