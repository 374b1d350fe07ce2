//! `cargo xtask setup`: looks at the machine, does what the plan says next, looks again.

mod act;
mod machine;
mod plan;

use crate::outcome::talk;
use anyhow::{Result, bail};
use machine::Machine;
pub(crate) use plan::Purpose;
use plan::Step;
use std::process::ExitCode;

/// Brings a machine with only Rust to where the hooks compile and the tests run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Say what would be done, and why, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let Options { dry_run } = options;
    if *dry_run {
        rehearse()?;
    } else {
        prepare(Purpose::Guests)?;
        for fact in plan::facts(&Machine::examine(), Purpose::Guests) {
            talk(format_args!("setup: ok, {fact}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a verb calls before it builds. Says nothing where nothing is to do.
pub(crate) fn prepare(purpose: Purpose) -> Result<()> {
    let mut machine = Machine::examine();
    let mut done = Vec::new();
    while let Some(step) = plan::next(&machine, purpose)? {
        talk(format_args!("setup: {}", step.why()));
        if done.contains(&step) {
            bail!("setup: it was done and did not help; help: read what it said above");
        }
        act::perform(&step)?;
        done.push(step);
        let rustup_asked = done.contains(&Step::AskRustup);
        machine = Machine { rustup_asked, ..Machine::examine() };
    }
    Ok(())
}

/// What [`prepare`] would do if every step worked.
fn rehearse() -> Result<()> {
    let mut machine = Machine::examine();
    for fact in plan::facts(&machine, Purpose::Guests) {
        talk(format_args!("setup: ok, {fact}"));
    }
    while let Some(step) = plan::next(&machine, Purpose::Guests)? {
        talk(format_args!("setup: would, because {}", step.why()));
        for line in act::lines(&step) {
            talk(format_args!("  $ {line}"));
        }
        machine = machine.after(&step);
    }
    Ok(())
}
