//! Playing cases side by side, each in network namespaces of its own, before one agent.

use crate::{
    case::{Play, TriedCase},
    document::{self, Played, Versions},
    family,
    kit::SoftwareKit,
    needed::Needed,
    report::CaseReport,
    stage::CaseStage,
    words::CaseWords,
};
use keepwatch_tests::{
    answer::{agent::Agent, http},
    kernel::netns::require_root,
    wait::now,
};
use std::{
    fs,
    panic::{self, AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    thread,
};

const SIDE_BY_SIDE: usize = 6;
/// Of what broke a case off.
const MOST_LETTERS: usize = 700;

/// Plays what is asked for, prints the table, writes the document. Whether all is right.
pub(crate) fn all(asked: &CaseWords) -> bool {
    require_root();
    let cases: Vec<_> = family::all().filter(|case| asked.wants(case.name)).collect();
    assert!(!cases.is_empty(), "no case has one of {:?} in its name", asked.names);
    let kit = SoftwareKit::find();
    let needs = cases.iter().flat_map(|case| case.needs);
    let versions: Versions = needs.map(|&needed| (needed, kit.version(needed))).collect();
    let agent = CaseStage::agent();
    // What breaks a case off is in its report.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |broken| {
        if thread::current().name() == Some("main") {
            hook(broken);
        }
    }));
    let began = now();
    let played = side_by_side(&cases, &agent, &kit, &versions);
    println!("{} cases in {} s", played.len(), began.elapsed().as_secs());
    if let Some(lost) = lost_events(&agent) {
        println!("events were lost, cases may be wrong because of that:\n{lost}");
    }
    let (ended, agent_said) = agent.stop();
    if !ended.success() {
        println!("WRONG: the agent ended with {ended}: {agent_said}");
    }
    print!("{}", document::summary(&played));
    if let Some(path) = &asked.document {
        fs::write(path, document::text(&played, &versions)).expect("write the document");
    }
    let may_lack = |report: &CaseReport| report.missing.iter().all(|name| asked.may_lack(name));
    ended.success()
        && played.iter().all(|(_, report)| {
            report.is_right() || (!report.missing.is_empty() && may_lack(report))
        })
}

/// What of the host's events did not reach the agent, if any.
fn lost_events(agent: &Agent) -> Option<String> {
    let metrics = http::get(agent.address(), "/metrics", "text/plain");
    let text = metrics.map(|answer| answer.body).unwrap_or_default();
    let lost = text.lines().filter(|line| {
        line.starts_with("keepwatch_events_lost_total")
            && line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()).is_some_and(|n| n > 0.0)
    });
    let lost: Vec<_> = lost.collect();
    (!lost.is_empty()).then(|| lost.join("\n"))
}

fn side_by_side(
    cases: &[&'static TriedCase],
    agent: &Agent,
    kit: &SoftwareKit,
    versions: &Versions,
) -> Vec<Played> {
    let waiting = Mutex::new((1..).zip(cases.iter().copied()).collect::<Vec<(u8, _)>>());
    let played = Mutex::new(Vec::new());
    let work = || {
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some((number, case)) = next() {
            let report = play(case, number, agent, kit, versions);
            println!("{}", document::line(case, &report));
            played.lock().unwrap_or_else(PoisonError::into_inner).push((number, (case, report)));
        }
    };
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(work);
        }
    });
    let mut played = played.into_inner().unwrap_or_else(PoisonError::into_inner);
    played.sort_by_key(|(number, _)| *number);
    played.into_iter().map(|(_, played)| played).collect()
}

fn play(
    case: &'static TriedCase,
    number: u8,
    agent: &Agent,
    kit: &SoftwareKit,
    versions: &Versions,
) -> CaseReport {
    let is_missing = |needed: &&Needed| versions.get(needed).is_none_or(Option::is_none);
    let mut report = CaseReport {
        missing: case.needs.iter().filter(is_missing).map(|needed| needed.name()).collect(),
        ..CaseReport::default()
    };
    if !report.missing.is_empty() {
        return report;
    }
    let Some(stage) = CaseStage::new(case.path, number, agent, kit) else {
        report.missing.push("nf_tables and conntrack of the kernel");
        return report;
    };
    let steps = catch_unwind(AssertUnwindSafe(|| match case.play {
        Play::Steps(steps) => steps(&stage, &mut report),
        Play::Advice(trial) => trial.play(&stage, &mut report),
        Play::ServerAdvice(trial) => trial.play(&stage, &mut report),
    }));
    if let Err(panic) = steps {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let text: String = text.unwrap_or("without a word").chars().take(MOST_LETTERS).collect();
        report.wrong.push(format!("the case broke off: {text}"));
    }
    report
}
