//! `cargo xtask VERB`: set-up, tests, checks.

mod apt;
mod architecture;
mod bench;
mod cases;
mod chaos;
#[cfg(test)]
mod chart;
mod ci;
mod codegen;
mod command;
mod dist;
mod fresh;
mod fuzz;
mod outcome;
mod place;
mod purpose;
mod run;
mod setup;
mod test;
mod tidy;
mod tool;
mod verb;
mod vm;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    outcome::exit_code(verb::Verb::parse().perform())
}
