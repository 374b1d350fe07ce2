//! `cargo xtask ci`: everything that must hold before a change is taken, tests last.

use crate::{
    command::{self, announced, cargo, stdout},
    outcome::talk,
    purpose::Purpose,
    setup, test, tidy, vm,
};
use anyhow::{Context as _, Result};
use std::{env, path::Path, process::ExitCode, time::Instant};

/// The last release that the workspace's Rust builds and that reads our `deny.toml`.
const CARGO_DENY: &str = "0.20.2";

/// Sets up, checks everything and tests, in the order of what fails fastest.
#[derive(clap::Args)]
pub(crate) struct CiOptions {}

#[expect(clippy::disallowed_methods, reason = "this is a stopwatch for the reader")]
pub(crate) fn run(_: &CiOptions) -> Result<ExitCode> {
    let start = Instant::now();
    let announce = |step: &str| {
        let seconds = start.elapsed().as_secs();
        talk(format_args!("ci {:02}:{:02} {step}", seconds / 60, seconds % 60));
    };
    announce("tidy");
    tidy::check()?;
    announce("format");
    announced(&mut cargo(["fmt", "--all", "--check"]), "run `cargo fmt --all`")?;
    announce("setup");
    setup::prepare(Purpose::Guests)?;
    announce("clippy");
    let mut clippy = cargo(["clippy", "--workspace", "--all-targets", "--locked"]);
    // The tests build the hooks; here an empty object will do.
    clippy.args(["--", "-D", "warnings"]).env("AYA_BUILD_SKIP", "1");
    announced(&mut clippy, "fix what clippy says")?;
    announce("deny");
    deny()?;
    announce("fresh: set-up of the tests' programs, where packages conflict with them");
    fresh()?;
    announce("test: all of them, generated docs included");
    let mut sum = test::all(test::TestOptions::default())?;
    announce("vm: the kernel's tests on five kernels, in brief");
    sum += vm::all(&vm::VmOptions::in_brief())?;
    test::conclude(&sum)
}

/// The part that takes two minutes: the others compile a linker, and the agent, in each root.
fn fresh() -> Result<()> {
    // As whoever we are, so that target/tools has one owner.
    setup::prepare_tools(Purpose::Roots)?;
    let this = env::current_exe().context("where is xtask itself?")?;
    // sudo has a path of its own, without rustup.
    let mut as_root = command::as_root(Path::new("env"));
    as_root.arg(format!("PATH={}", env::var("PATH").context("PATH")?)).arg(this);
    announced(as_root.args(["fresh", "--quick"]), "read what it says above")
}

/// Licences, sources and who may depend on what. Advisories need a database that CI cannot reach.
fn deny() -> Result<()> {
    let installed = stdout(&mut cargo(["deny", "--version"]));
    if installed.is_none_or(|version| version.trim() != format!("cargo-deny {CARGO_DENY}")) {
        let name = format!("cargo-deny@{CARGO_DENY}");
        announced(
            &mut cargo(["install", &name, "--locked"]),
            "cargo must reach the Rust registry; read what it says above",
        )?;
    }
    // Offline needs every crate of the lock file, those of other systems too.
    announced(&mut cargo(["fetch", "--locked"]), "cargo must reach the Rust registry")?;
    announced(
        &mut cargo(["deny", "--offline", "check", "bans", "licenses", "sources"]),
        "read the reason under the error, and `deny.toml`",
    )
}
