//! `cases [--list] [--document FILE] [--allow-missing NAME]... [NAME]...`: real software on paths that forget, what is
//! true of its connections, what keepwatch says of them, and whether its advice works. `cargo xtask cases` runs it.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a developer's tool: its output is its purpose, and what fails ends the case"
)]

mod case;
mod document;
mod family;
mod kit;
mod needed;
mod program;
mod report;
mod run;
mod said;
mod seen_by_ss;
mod server_trial;
mod stage;
mod trial;
mod tried_path;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    let asked = words::CaseWords::from(std::env::args().skip(1));
    if asked.list {
        for case in family::all().filter(|case| asked.wants(case.name)) {
            println!("{}", case.name);
        }
        return ExitCode::SUCCESS;
    }
    if run::all(&asked) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
