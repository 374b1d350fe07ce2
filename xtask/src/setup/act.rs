//! Doing one step of the plan: the commands, and where what they give is put.

use super::plan::{LINKER, LLVM, NIGHTLY, Step, TOOLCHAIN};
use crate::{
    command::{self, announced, cargo, line},
    outcome::talk,
    place,
    vm::kernel,
};
use anyhow::{Context as _, Result};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

/// rustup may refuse, for there is another way; whatever else fails is an error.
pub(crate) fn perform(step: &Step) -> Result<()> {
    match step {
        Step::AskRustup => ask_rustup(),
        Step::Install { packages, .. } => {
            refresh();
            announced(&mut install(packages), "read what apt-get says above")?;
        }
        Step::Link { sysroot } => announced(&mut link(sysroot), "read what rustup says above")?,
        Step::BuildLinker => announced(&mut build_linker(), "read what cargo says above")?,
        Step::UnpackPrometheus => unpack_prometheus()?,
        Step::FetchKernels => {
            refresh();
            kernel::fetch()?;
        }
    }
    Ok(())
}

/// The commands of a step, as one would type them.
pub(crate) fn lines(step: &Step) -> Vec<String> {
    match step {
        Step::Install { packages, .. } => vec![line(&update()), line(&install(packages))],
        Step::AskRustup => vec![line(&rustup_install())],
        Step::Link { sysroot } => vec![line(&link(sysroot))],
        Step::BuildLinker => vec![line(&build_linker())],
        Step::UnpackPrometheus => {
            let [download, unpack] = prometheus(Path::new("prometheus_VERSION.deb"));
            vec![line(&update()), line(&download), line(&unpack)]
        }
        Step::FetchKernels => kernel::lines(),
    }
}

fn update() -> Command {
    let mut command = place::as_root(Path::new("apt-get"));
    command.args(["update", "--quiet"]);
    command
}

/// Once, before the first use of apt: a new machine has old lists or none. Should it fail, apt-get
/// may still find everything.
fn refresh() {
    static REFRESHED: AtomicBool = AtomicBool::new(false);
    if REFRESHED.swap(true, Ordering::Relaxed) {
        return;
    }
    if let Err(error) = announced(&mut update(), "trying with the lists that are here") {
        talk(format_args!("warning: {error:#}"));
    }
}

fn install(packages: &[&str]) -> Command {
    let mut command = place::as_root(Path::new("apt-get"));
    // Never at the cost of what is installed: Debian's rustup and its rustc exclude each other.
    command
        .args(["install", "--yes", "--quiet", "--no-install-recommends", "--no-remove"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    command
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

fn link(sysroot: &Path) -> Command {
    let mut command = command::new("rustup");
    command.args(["toolchain", "link", TOOLCHAIN]).arg(sysroot);
    command
}

fn build_linker() -> Command {
    let (name, feature) = (format!("bpf-linker@{LINKER}"), format!("llvm-{LLVM}"));
    let mut command = cargo(["install", &name, "--locked", "--no-default-features"]);
    command.args(["--features", &feature]).env("LLVM_PREFIX", format!("/usr/lib/llvm-{LLVM}"));
    command
}

fn downloads() -> PathBuf {
    place::tools().join("download")
}

fn unpacked() -> PathBuf {
    downloads().join("unpacked")
}

fn prometheus(package: &Path) -> [Command; 2] {
    let (mut download, mut unpack) = (command::new("apt-get"), command::new("dpkg-deb"));
    download.args(["download", "--quiet", "prometheus"]).current_dir(downloads());
    unpack.arg("--extract").arg(package).arg(unpacked());
    [download, unpack]
}

/// Renamed into place as the last thing: half a download never looks like the whole.
fn unpack_prometheus() -> Result<()> {
    let home = place::tools().join("prometheus");
    for leftover in [&downloads(), &home] {
        if leftover.exists() {
            fs::remove_dir_all(leftover)
                .with_context(|| format!("remove {}", leftover.display()))?;
        }
    }
    fs::create_dir_all(downloads()).with_context(|| format!("create {}", downloads().display()))?;
    refresh();
    let [mut download, _] = prometheus(Path::new(""));
    announced(&mut download, "apt-get must reach a mirror")?;
    let [_, mut unpack] = prometheus(&package()?);
    announced(&mut unpack, "is the disk full?")?;
    fs::rename(unpacked(), &home).with_context(|| format!("rename to {}", home.display()))?;
    fs::remove_dir_all(downloads()).context("remove the downloaded package")
}

fn package() -> Result<PathBuf> {
    let files = fs::read_dir(downloads()).context("list what was downloaded")?;
    let mut paths = files.filter_map(|file| Some(file.ok()?.path()));
    paths
        .find(|path| path.extension() == Some(OsStr::new("deb")))
        .context("apt-get downloaded no package")
}
