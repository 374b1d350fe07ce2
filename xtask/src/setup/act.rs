//! Doing one step of the plan: the commands, and where what they give is put.

use super::{
    pinned::{COMPILER_PACKAGES, LINKER, LLVM, NIGHTLY, TOOLCHAIN},
    plan::Step,
};
use crate::{
    architecture::Architecture,
    command::{self, announced, cargo, line},
    outcome::talk,
    place, tool,
    vm::kernel,
};
use anyhow::{Context as _, Result};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// rustup may refuse, for there is another way; whatever else fails is an error.
pub(crate) fn perform(step: &Step) -> Result<()> {
    match step {
        Step::AskRustup => {
            ask_rustup();
            Ok(())
        }
        Step::UnpackCompiler => tool::unpack_rust(&COMPILER_PACKAGES),
        Step::Link { toolchain } => announced(&mut link(toolchain), "read what rustup says above"),
        Step::UnpackLlvm => tool::unpack_llvm(LLVM),
        Step::BuildLinker => build_and_wrap_linker(),
        Step::UnpackTools { packages } => tool::unpack(packages),
        Step::FetchKernels => kernel::fetch(Architecture::own()),
    }
}

/// The commands of a step, as one would type them.
pub(crate) fn lines(step: &Step) -> Result<Vec<String>> {
    Ok(match step {
        Step::AskRustup => vec![line(&rustup_install())],
        Step::UnpackCompiler => unpacking(&COMPILER_PACKAGES.join(" ")),
        Step::Link { toolchain } => vec![line(&link(toolchain))],
        Step::UnpackLlvm => unpacking(&tool::llvm_package(LLVM)),
        Step::BuildLinker => vec![line(&build_linker()?)],
        Step::UnpackTools { packages } => unpacking(&packages.join(" ")),
        Step::FetchKernels => kernel::lines(Architecture::own()),
    })
}

fn unpacking(packages: &str) -> Vec<String> {
    vec![
        "apt-get update # with lists and a state of its own".into(),
        format!("apt-get install --download-only {packages} # as if nothing were installed"),
        "dpkg-deb --extract PACKAGE.deb target/tools/debian".into(),
    ]
}

/// In limits of time, and without touching rustup itself.
fn rustup_install() -> Command {
    let mut command = command::new("timeout");
    command
        .args(["600", "rustup", "toolchain", "install", NIGHTLY, "--no-self-update"])
        .args(["--profile", "minimal", "--component", "rust-src"])
        .stdin(Stdio::null());
    command
}

fn ask_rustup() {
    if let Err(error) = announced(&mut rustup_install(), "none needed, Debian has a compiler too") {
        talk(format_args!("setup: {error:#}"));
    }
}

fn link(toolchain: &Path) -> Command {
    let mut command = command::new("rustup");
    command.args(["toolchain", "link", TOOLCHAIN]).arg(toolchain);
    command
}

/// Where cargo puts the linker.
fn linker_home() -> PathBuf {
    place::tools().join("bpf-linker")
}

fn build_linker() -> Result<Command> {
    let (name, feature) = (format!("bpf-linker@{LINKER}"), format!("llvm-{LLVM}"));
    let mut command = cargo(["install", &name, "--locked", "--no-default-features"]);
    command.args(["--features", &feature, "--force", "--root"]).arg(linker_home());
    let llvm = tool::llvm(LLVM).unwrap_or_else(|| format!("/usr/lib/llvm-{LLVM}").into());
    // cargo would ask for this folder on PATH, which nobody needs there.
    command.env("PATH", tool::search_path(&linker_home().join("bin"))?);
    // The library path is for the C linker, which looks for what LLVM itself is linked to.
    command.env("LLVM_PREFIX", llvm).env("LD_LIBRARY_PATH", tool::library_path()?);
    Ok(command)
}

fn build_and_wrap_linker() -> Result<()> {
    announced(&mut build_linker()?, "read what cargo says above")?;
    tool::write_script(&tool::bin().join("bpf-linker"), &linker_home().join("bin/bpf-linker"))
        .context("put bpf-linker where the build looks")
}
