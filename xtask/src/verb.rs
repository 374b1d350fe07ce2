//! The verbs: each is a module with its options and `run`.

use crate::{bench, cases, chaos, ci, codegen, dist, fresh, fuzz, run, setup, test, tidy, vm};
use anyhow::Result;
use clap::Parser;
use std::process::ExitCode;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "What a developer or CI runs")]
pub(crate) enum Verb {
    Setup(setup::SetupOptions),
    Run(run::RunOptions),
    Test(test::TestOptions),
    Vm(vm::VmOptions),
    Bench(bench::BenchOptions),
    Cases(cases::CasesOptions),
    Chaos(chaos::ChaosOptions),
    Codegen(codegen::CodegenOptions),
    Dist(dist::DistOptions),
    Fresh(fresh::FreshOptions),
    Fuzz(fuzz::FuzzOptions),
    Image(dist::image::ImageOptions),
    Tidy(tidy::TidyOptions),
    Ci(ci::CiOptions),
}

impl Verb {
    pub(crate) fn perform(self) -> Result<ExitCode> {
        match self {
            Self::Setup(options) => setup::run(&options),
            Self::Run(options) => run::run(options),
            Self::Test(options) => test::run(options),
            Self::Vm(options) => vm::run(&options),
            Self::Bench(options) => bench::run(options),
            Self::Cases(options) => cases::run(&options),
            Self::Chaos(options) => chaos::run(&options),
            Self::Codegen(options) => codegen::run(&options),
            Self::Dist(options) => dist::run(&options),
            Self::Fresh(options) => fresh::run(&options),
            Self::Fuzz(options) => fuzz::run(&options),
            Self::Image(options) => dist::image::run(&options),
            Self::Tidy(options) => tidy::run(&options),
            Self::Ci(options) => ci::run(&options),
        }
    }
}
