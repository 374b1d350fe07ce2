//! The package for Fedora, Red Hat, SUSE and their relatives, by rpmbuild of Debian's package `rpm`.

use super::{
    contents::{self, FileLayout, Item},
    revision::Revision,
};
use crate::{
    architecture::Architecture,
    command::{self, announced},
    place, tool,
};
use anyhow::{Context as _, Result};
use std::{fs, path::Path, process::Command};

/// Makes the package in a folder, and returns its name.
pub(super) fn make(
    dist: &Path,
    items: &[Item],
    architecture: Architecture,
    version: &str,
    revision: &Revision,
) -> Result<String> {
    let (root, work) = (dist.join("work/rpm"), dist.join("work/rpmbuild"));
    contents::lay_out(items, FileLayout::Rpm, &root)?;
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("clear {}", work.display()))?;
    }
    let mut build = program("rpmbuild")?;
    build.args(["-bb", "--quiet", "--target", &format!("{}-linux", architecture.name())]);
    for (name, value) in [
        ("_topdir", work.display().to_string()),
        ("_tmppath", work.join("tmp").display().to_string()),
        // The database of this machine, if it has one, is not asked.
        ("_dbpath", work.join("db").display().to_string()),
        ("tree", root.display().to_string()),
        ("its_version", version.to_owned()),
    ] {
        build.arg("--define").arg(format!("{name} {value}"));
    }
    build.arg(place::root().join("deploy/packages/keepwatch.spec"));
    announced(revision.dated(&mut build), "read what rpmbuild says above")?;
    let name = format!("keepwatch-{version}-1.{}.rpm", architecture.name());
    let made = work.join("RPMS").join(architecture.name()).join(&name);
    fs::copy(&made, dist.join(&name)).with_context(|| format!("copy {}", made.display()))?;
    Ok(name)
}

/// A program of rpm's with its settings: if it is unpacked, they are where it does not look.
pub(super) fn program(name: &str) -> Result<Command> {
    let mut program = command::new(tool::path(name)?);
    let settings = tool::tree().join("usr/lib/rpm");
    if settings.is_dir() {
        program.env("RPM_CONFIGDIR", settings);
    }
    Ok(program)
}
