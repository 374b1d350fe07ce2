//! `cargo xtask dist`: what is handed out: a static binary with man pages, completions, dashboards and documents, as
//! an archive and as packages, their bill of materials and their checksums.

mod again;
mod archive;
mod boot;
mod boot_steps;
mod build;
mod contents;
mod deb;
mod elf;
pub(crate) mod image;
mod revision;
mod rpm;
mod sbom;
mod trial;

use crate::{
    architecture::Architecture,
    command::{new, said},
    outcome::talk,
    place,
    purpose::Purpose,
    setup,
};
use anyhow::{Context as _, Result};
use contents::Item;
use revision::Revision;
use std::{collections::BTreeMap, fs, path::Path, process::ExitCode};
use trial::PackageTrial;

/// What is built, unless a trial of upgrades wants another.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The checksums of all files.
const SUMS: &str = "SHA256SUMS";

/// Builds static binaries and packs them into target/dist: .tar.gz, .deb and .rpm, with checksums.
#[derive(clap::Args)]
pub(crate) struct DistOptions {
    /// Build for this architecture; may be repeated. Without it: for this machine's.
    #[arg(long)]
    arch: Vec<Architecture>,
    /// Build with this profile: `dev` is built sooner, larger and slower.
    #[arg(long, default_value = SHIPPED)]
    profile: String,
    /// Build the last commit a second time, in another folder, and compare the checksums.
    #[arg(long)]
    verify: bool,
    /// Then install, upgrade, run and remove the packages in roots of a bare Debian (root).
    #[arg(long = "try")]
    try_out: bool,
    /// Then start, reload, upgrade and purge the .deb under systemd, in a guest whose root is made by debootstrap (root).
    #[arg(long)]
    boot: bool,
}

pub(crate) fn run(options: &DistOptions) -> Result<ExitCode> {
    let DistOptions { arch, profile, verify, try_out, boot } = options;
    setup::prepare(Purpose::Build)?;
    let foreign = arch.iter().any(|one| one.is_foreign());
    setup::prepare_tools(if foreign { Purpose::ForeignPackages } else { Purpose::Packages })?;
    arch.iter().try_for_each(|one| setup::prepare_target(*one))?;
    let revision = Revision::of_workspace()?;
    let dist = place::root().join("target/dist");
    if dist.exists() {
        fs::remove_dir_all(&dist).with_context(|| format!("clear {}", dist.display()))?;
    }
    contents::make(&dist)?;
    let made = all(&dist, arch, profile, &revision)?;
    if *verify {
        again::verify(&dist, arch, profile, &revision)?;
    }
    if *try_out || *boot {
        let trial = PackageTrial::prepare(&dist, &made, &revision)?;
        if *try_out {
            trial.in_roots()?;
        }
        if *boot {
            trial.under_systemd()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is handed out is optimised as a whole, which takes long to build.
const SHIPPED: &str = "shipped";

/// For each architecture, what is packed.
type Made = BTreeMap<Architecture, Vec<Item>>;

/// Builds and packs all, and writes the checksums.
fn all(dist: &Path, asked: &[Architecture], profile: &str, revision: &Revision) -> Result<Made> {
    let this = Architecture::of_this_machine()
        .context("packages are built on x86_64 and aarch64; help: use such a machine")?;
    let asked = if asked.is_empty() { &[this] } else { asked };
    // Man pages and completions are written by the program, and only this machine's own runs here.
    let own = build::build(this, profile, revision)?;
    let written = dist.join("work/written");
    contents::make(&written)?;
    let mut common = contents::of_workspace()?;
    common.extend(contents::written_by(&own, &written)?);
    let (mut made, mut names) = (Made::new(), Vec::new());
    for &architecture in asked {
        let program = match architecture {
            one if one == this => own.clone(),
            other => build::build(other, profile, revision)?,
        };
        let mut items = common.clone();
        items.push(Item::program(&program));
        let bill = dist.join(format!("keepwatch-{VERSION}-{}.cdx.json", architecture.name()));
        let text = sbom::document(architecture, VERSION, revision)?;
        fs::write(&bill, text).with_context(|| format!("write {}", bill.display()))?;
        names.extend(bill.file_name().and_then(|name| name.to_str()).map(str::to_owned));
        items.push(Item::bill_of_materials(bill));
        names.extend(pack(dist, &items, architecture, VERSION, revision)?);
        made.insert(architecture, items);
    }
    let sums = sums(dist, &names)?;
    talk(format_args!("target/dist:\n{}", sums.trim_end()));
    Ok(made)
}

/// Packs for one architecture; returns the names of the files.
fn pack(
    dist: &Path,
    items: &[Item],
    architecture: Architecture,
    version: &str,
    revision: &Revision,
) -> Result<Vec<String>> {
    let folder = format!("keepwatch-{version}-{}", architecture.target());
    let unpacked = dist.join(&folder);
    contents::lay_out(items, contents::FileLayout::Archive, &unpacked)?;
    let archive = archive::pack(dist, &folder, revision)?;
    let deb = deb::make(dist, items, architecture, version, revision)?;
    let rpm = rpm::make(dist, items, architecture, version, revision)?;
    Ok(vec![archive, deb, rpm])
}

/// Writes the checksums as `sha256sum --check` reads them, and returns them.
fn sums(dist: &Path, names: &[String]) -> Result<String> {
    let mut names = names.to_vec();
    names.sort_unstable();
    let sums = said(new("sha256sum").current_dir(dist).args(&names), "it is of coreutils")?;
    let file = dist.join(SUMS);
    fs::write(&file, &sums).with_context(|| format!("write {}", file.display()))?;
    Ok(sums)
}
