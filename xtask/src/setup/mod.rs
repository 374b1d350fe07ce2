//! `cargo xtask setup`: looks at the machine, does what the plan says next, looks again.

mod act;
mod machine;
mod pinned;
mod plan;

use crate::{architecture::Architecture, command, outcome::talk, purpose::Purpose};
use anyhow::{Context as _, Result, bail};
use machine::Machine;
use plan::Step;
use std::{path::Path, process::ExitCode};

/// Gets what a machine with only Rust lacks to compile the hooks and run the tests.
#[derive(clap::Args)]
pub(crate) struct SetupOptions {
    /// Say what would be done, and why, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Only get the programs that tests and guests run: neither the compiler for the hooks nor kernels.
    #[arg(long, conflicts_with = "dry_run")]
    tools: bool,
}

pub(crate) fn run(options: &SetupOptions) -> Result<ExitCode> {
    let SetupOptions { dry_run, tools } = options;
    if *dry_run {
        rehearse()?;
    } else if *tools {
        prepare_tools(Purpose::Guests)?;
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
    prepare_for(purpose, 0).map(drop)
}

/// Gets the programs that a purpose needs, and nothing else.
pub(crate) fn prepare_tools(purpose: Purpose) -> Result<()> {
    if let Some(step) = plan::next_of_tools(&Machine::examine(), purpose)? {
        talk(format_args!("setup: {}", step.why()));
        act::perform(&step)?;
    }
    Ok(())
}

/// Gets Rust's standard library of another architecture, for the compiler of the agent and the tests.
pub(crate) fn prepare_target(architecture: Architecture) -> Result<()> {
    let target = architecture.target();
    let mut ask = command::new("rustc");
    ask.args(["--print", "target-libdir", "--target", &target]);
    let folder = command::stdout(&mut ask).context("`rustc --print target-libdir` failed")?;
    if Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    let mut add = command::new("rustup");
    add.args(["target", "add", &target]);
    let help =
        format!("read what rustup says above: it must have the standard library of {target}");
    command::announced(&mut add, &help)
}

/// [`prepare`] for a verb with steps of its own, which are counted too.
pub(crate) fn prepare_for(purpose: Purpose, n_after: usize) -> Result<Progress> {
    let mut machine = Machine::examine();
    let mut done = Vec::new();
    while let Some(step) = plan::next(&machine, purpose)? {
        let n_left = plan::rest(&machine, purpose).map_or(1, |steps| steps.len());
        let progress = Progress { n_done: done.len(), n_all: done.len() + n_left + n_after };
        progress.say(&format!("setup: {}", step.why()));
        if done.contains(&step) {
            bail!("setup: it was done and did not help; help: read what it said above");
        }
        act::perform(&step)?;
        done.push(step);
        let rustup_asked = done.contains(&Step::AskRustup);
        machine = Machine { rustup_asked, ..Machine::examine() };
    }
    Ok(Progress { n_done: done.len(), n_all: done.len() + n_after })
}

/// How many steps of how many are done.
pub(crate) struct Progress {
    n_done: usize,
    n_all: usize,
}

impl Progress {
    /// Begins the next step.
    pub(crate) fn begin(&mut self, step: &str) {
        self.say(step);
        self.n_done += 1;
    }

    fn say(&self, step: &str) {
        talk(format_args!("[{}/{}] {step}", self.n_done + 1, self.n_all));
    }
}

/// What [`prepare`] would do if every step worked.
fn rehearse() -> Result<()> {
    let machine = Machine::examine();
    for fact in plan::facts(&machine, Purpose::Guests) {
        talk(format_args!("setup: ok, {fact}"));
    }
    for step in plan::rest(&machine, Purpose::Guests)? {
        talk(format_args!("setup: would, because {}", step.why()));
        for line in act::lines(&step)? {
            talk(format_args!("  $ {line}"));
        }
    }
    Ok(())
}
