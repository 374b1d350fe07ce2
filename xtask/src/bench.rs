//! `cargo xtask bench NAME`: measures with an optimised build, as root.

use crate::{
    command::{self, announced, become_it, cargo, checked},
    outcome::talk,
    place,
    purpose::Purpose,
    setup,
    test::say,
    vm,
};
use anyhow::{Result, bail};
use std::{ffi::OsString, process::ExitCode};

/// The guest in which mechanisms are measured that the host may not have.
const GUEST: &str = "6.12";

/// The profile of what is handed out, in Cargo.toml.
const PROFILE: &str = "shipped";

/// Sets up, builds with optimisation and runs one benchmark.
#[derive(clap::Args)]
pub(crate) struct BenchOptions {
    /// The benchmark: `snapshot` (beside `ss`), `agent` (its memory and its scrape), `history` (`why` over a
    /// full one), `fix` (beside the bare calls), `without-ebpf` (the same of `--source proc`), `hooks` (beside bpftrace and
    /// libbpf-tools), or `calls`: of `hooks` the part in a guest.
    name: String,
    /// Arguments for the benchmark.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(options: BenchOptions) -> Result<ExitCode> {
    let BenchOptions { name, args } = options;
    if name == "calls" {
        return in_guest().map(|()| ExitCode::SUCCESS);
    }
    setup::prepare(Purpose::Tests)?;
    let mut build = cargo(["build", "--profile", PROFILE, "--bins"]);
    build.args(["-p", "keepwatch", "-p", "keepwatch-tests"]);
    announced(&mut build, "fix what the compiler says")?;
    let mut bench = command::as_root(&place::binary(PROFILE, "bench"));
    bench
        .arg(&name)
        .args(args)
        .env("KEEPWATCH_BIN", place::binary(PROFILE, "keepwatch"))
        .env("KEEPWATCH_TOOLS", place::tools());
    let help = "run this as root, or get sudo";
    if name != "hooks" {
        return become_it(&mut bench, help);
    }
    let on_host = checked(&mut bench, "a budget is not met, or read what it says above");
    in_guest()?;
    on_host.map(|()| ExitCode::SUCCESS)
}

/// The calls with every mechanism, on an emulated processor.
fn in_guest() -> Result<()> {
    talk(format_args!("bench: a guest with {GUEST}, whose processor is emulated"));
    let (said, success) = vm::bench(GUEST, "calls fentry kprobe tracepoint")?;
    say(&format!(
        "\nthe same in a guest with {GUEST}: emulation (tcg) inflates every figure, and most the hooks', \
         which are compiled anew; compare the mechanisms with each other only\n{}\n",
        said.join("\n")
    ))?;
    if !success {
        bail!("the benchmark failed in the guest; help: read what it said above");
    }
    Ok(())
}
