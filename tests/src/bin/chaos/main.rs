//! `chaos [--list] [--document FILE] [--soak MINUTES] [NAME]...`: what is done to a host and its agent that nobody should do, and what
//! holds all the same. `cargo xtask chaos` runs it.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a developer's tool: its output is its purpose, and what fails ends the trial"
)]

mod document;
mod figures;
mod floods;
mod kills;
mod owners;
mod pressure;
mod soak;
mod trial;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    let asked = words::ChaosWords::from(std::env::args().skip(1));
    let chosen: Vec<_> = trial::all().into_iter().filter(|trial| asked.wants(trial.name)).collect();
    if asked.list {
        chosen.iter().map(|trial| trial.name).for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let tried = trial::play(&chosen, asked.soak_minutes);
    if let Some(page) = &asked.page {
        document::write(page, &tried);
    }
    let holds = tried.iter().all(|(_, outcome)| outcome.is_ok());
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
