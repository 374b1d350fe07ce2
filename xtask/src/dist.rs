//! `cargo xtask dist`: what is handed out: a static binary, man pages, completions, in one archive.

use crate::{
    codegen,
    command::{announced, cargo, new, said},
    outcome::talk,
    place,
    purpose::Purpose,
    setup,
};
use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The one target whose standard library is to be had everywhere with a static C library.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What each shell calls its file, in a folder of its name.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "keepwatch"), ("zsh", "_keepwatch"), ("fish", "keepwatch.fish")];

/// Files of the workspace that go along.
const ALONG: [&str; 5] =
    ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "CHANGELOG.md", "deploy/keepwatch.service"];

/// Builds the static release binary, man pages and completions into target/dist, and an archive.
#[derive(clap::Args)]
pub(crate) struct DistOptions {}

pub(crate) fn run(_: &DistOptions) -> Result<ExitCode> {
    setup::prepare(Purpose::Build)?;
    let binary = build()?;
    let bytes = fs::read(&binary).with_context(|| format!("read {}", binary.display()))?;
    if !is_static(&bytes) {
        bail!("{} asks for an interpreter: it is not static", binary.display());
    }
    let name = format!("keepwatch-{}-{TARGET}", env!("CARGO_PKG_VERSION"));
    let dist = place::root().join("target/dist");
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    let man = made(folder.join("man/man1"))?;
    let program = folder.join("keepwatch");
    copy(&binary, &program)?;
    let mut pages =
        cargo(["test", "--locked", "--package", "keepwatch", "--lib", "man_pages_name"]);
    codegen::write(pages.env("KEEPWATCH_MAN", &man), "read what the test says above")?;
    for (shell, file) in COMPLETIONS {
        let script = said(new(&program).args(["completions", shell]), "it prints completions")?;
        let path = made(folder.join("completions").join(shell))?.join(file);
        fs::write(&path, script).with_context(|| format!("write {}", path.display()))?;
    }
    for file in ALONG {
        let from = place::root().join(file);
        copy(&from, &folder.join(from.file_name().unwrap_or(from.as_os_str())))?;
    }
    pack(&dist, &name)?;
    Ok(ExitCode::SUCCESS)
}

/// The release binary for the target: of what is built for this machine on the way, nothing is static.
fn build() -> Result<PathBuf> {
    let mut build =
        cargo(["build", "--profile=shipped", "--locked", "-p", "keepwatch", "--target", TARGET]);
    build
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_PROFILE_SHIPPED_STRIP", "debuginfo");
    announced(&mut build, "read what the compiler says above")?;
    Ok(place::binary(&format!("{TARGET}/shipped"), "keepwatch"))
}

fn made(folder: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("copy {} to {}", from.display(), to.display()))
}

/// The same folder makes the same archive, whoever packs it.
fn pack(dist: &Path, name: &str) -> Result<()> {
    let archive = format!("{name}.tar.gz");
    let mut tar = new("tar");
    tar.current_dir(dist).args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.args(["--mtime=@0", "--use-compress-program=gzip -9n", "-cf", &archive, name]);
    announced(&mut tar, "tar and gzip are part of every system")?;
    let sum = said(new("sha256sum").current_dir(dist).arg(&archive), "it is of coreutils")?;
    let file = dist.join(format!("{archive}.sha256"));
    fs::write(&file, &sum).with_context(|| format!("write {}", file.display()))?;
    talk(format_args!("target/dist/{archive}: {}", sum.trim_end()));
    Ok(())
}

/// Whether an ELF file asks for no interpreter: then the kernel alone starts it, on any distribution.
pub(crate) fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let word = |at: usize, len: usize| {
        let bytes = elf.get(at..at.checked_add(len)?)?;
        let number = bytes.iter().rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        usize::try_from(number).ok()
    };
    let segments = || -> Option<bool> {
        let (offset, size, count) = (word(32, 8)?, word(54, 2)?, word(56, 2)?);
        let kinds = (0..count).map(|n| word(offset + n * size, 4));
        let mut any = false;
        for kind in kinds {
            any = true;
            if kind? == usize::try_from(PT_INTERP).ok()? {
                return Some(false);
            }
        }
        Some(any)
    };
    elf.starts_with(b"\x7fELF\x02\x01") && segments().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::is_static;

    #[test]
    fn a_program_that_needs_a_loader_is_not_static() {
        let this = std::env::current_exe().unwrap();
        assert!(!is_static(&std::fs::read(this).unwrap()), "cargo links tests dynamically");
        assert!(!is_static(b"#!/bin/sh\n"));
        // A header and one segment that is to be loaded, or that names an interpreter.
        let elf = |kind: u8| {
            let mut elf = vec![0; 64 + 56];
            elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
            (elf[32], elf[54], elf[56], elf[64]) = (64, 56, 1, kind);
            elf
        };
        assert!(is_static(&elf(1)));
        assert!(!is_static(&elf(3)));
    }
}
