//! `bench snapshot|agent|fix [SOCKETS]`, `bench history`, `bench without-ebpf`, `bench hooks`, `bench calls MECHANISM ...`: what keepwatch costs,
//! beside others in one run. Exit code 1 when a budget (docs/ARCHITECTURE.md#budgets) is not met.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a developer's tool: its output is its purpose, and what fails ends it"
)]

mod agent;
mod budget;
mod call;
mod fix;
mod flood;
mod history;
mod hooks;
mod observer;
mod snapshot;
mod without_ebpf;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let sockets = |number: &[&str]| number.first().map(|n| n.parse().expect("a number of sockets"));
    let met = match words.as_slice() {
        ["snapshot", number @ ..] => snapshot::run(sockets(number).unwrap_or(100_000)),
        ["agent", number @ ..] => agent::run(sockets(number).unwrap_or(1_000_000)),
        ["fix", number @ ..] => fix::run(sockets(number).unwrap_or(20_000)),
        ["without-ebpf"] => without_ebpf::run(100_000),
        ["history"] => history::run(),
        ["hooks"] => hooks::run(),
        ["calls", mechanisms @ ..] => hooks::calls_alone(mechanisms),
        _ => panic!("expected a benchmark, as the first lines of bench/main.rs name them"),
    };
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
