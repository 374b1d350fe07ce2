//! `cargo xtask VERB`: set-up, tests, checks. Each verb is a module with `Options` and `run`.

mod bench;
mod ci;
mod codegen;
mod command;
mod outcome;
mod pictures;
mod place;
mod run;
mod setup;
mod summary;
mod test;
mod tidy;
mod vm;

use clap::Parser;
use std::process::ExitCode;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "What a developer or CI runs")]
enum Verb {
    Setup(setup::Options),
    Run(run::Options),
    Test(test::Options),
    Vm(vm::Options),
    Bench(bench::Options),
    Codegen(codegen::Options),
    Pictures(pictures::Options),
    Tidy(tidy::Options),
    Ci(ci::Options),
}

fn main() -> ExitCode {
    outcome::exit_code(match Verb::parse() {
        Verb::Setup(options) => setup::run(&options),
        Verb::Run(options) => run::run(options),
        Verb::Test(options) => test::run(options),
        Verb::Vm(options) => vm::run(&options),
        Verb::Bench(options) => bench::run(options),
        Verb::Codegen(options) => codegen::run(&options),
        Verb::Pictures(options) => pictures::run(&options),
        Verb::Tidy(options) => tidy::run(&options),
        Verb::Ci(options) => ci::run(&options),
    })
}
