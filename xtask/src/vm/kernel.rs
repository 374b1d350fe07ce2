//! The kernels that guests boot: Debian's, the newest of each series, fetched once and kept.

use super::module;
use crate::{
    apt::{Apt, Suites},
    architecture::Architecture,
    place,
};
use anyhow::{Context as _, Result};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

/// A series of kernels, and the one of it that is here.
pub(crate) struct GuestKernel {
    /// As users name it: `6.12`.
    pub(crate) series: &'static str,
    pub(crate) architecture: Architecture,
}

const fn on_x86_64(series: &'static str) -> GuestKernel {
    GuestKernel { series, architecture: Architecture::X86_64 }
}

const fn on_aarch64(series: &'static str) -> GuestKernel {
    GuestKernel { series, architecture: Architecture::Aarch64 }
}

static ON_X86_64: [GuestKernel; 5] =
    [on_x86_64("5.10"), on_x86_64("6.1"), on_x86_64("6.12"), on_x86_64("6.18"), on_x86_64("7.2")];
static ON_AARCH64: [GuestKernel; 4] =
    [on_aarch64("6.1"), on_aarch64("6.12"), on_aarch64("6.18"), on_aarch64("7.2")];

/// The series that are tested, each Debian release's own and the newest, oldest first.
pub(crate) fn kernels(architecture: Architecture) -> &'static [GuestKernel] {
    match architecture {
        Architecture::X86_64 => &ON_X86_64,
        Architecture::Aarch64 => &ON_AARCH64,
    }
}

/// One of them.
pub(crate) fn kernel(architecture: Architecture, series: &str) -> Option<&'static GuestKernel> {
    kernels(architecture).iter().find(|kernel| kernel.series == series)
}

/// The suites that have them; those of security too, where the machine has a mirror of it.
const SUITES: [&str; 5] = ["bullseye", "bookworm", "trixie", "trixie-backports", "sid"];
const SECURITY_SUITES: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];
/// The packages of one release, as Debian cuts it: the second and third since 7.1.
const PACKAGES: [&str; 3] = ["linux-image", "linux-binary", "linux-modules"];

impl GuestKernel {
    /// `vmlinuz` and the modules, in the order in which they load.
    pub(crate) fn folder(&self) -> PathBuf {
        folder(self.architecture).join("kernels").join(self.series)
    }

    /// Everything is here that the guests load.
    pub(crate) fn is_here(&self) -> bool {
        let here = fs::read_to_string(self.folder().join("fetched"));
        here.is_ok_and(|wanted| wanted == stamp())
    }

    /// Paths of its modules, in the order in which they load.
    pub(crate) fn modules(&self) -> Result<Vec<PathBuf>> {
        let folder = self.folder().join("modules");
        let files = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        let mut paths: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
        paths.sort();
        Ok(paths)
    }
}

/// What ends the names of their packages.
fn flavour(architecture: Architecture) -> String {
    format!("-cloud-{}", architecture.debian())
}

/// Where all is that guests of an architecture need of others.
pub(super) fn folder(architecture: Architecture) -> PathBuf {
    place::root().join("target/vm").join(architecture.debian())
}

/// What a kernel's folder was made for: another list of modules makes it anew.
fn stamp() -> String {
    [module::WANTED.join(" "), module::WANTED_IF_MODULES.join(" ")].join(" ")
}

/// Fetches those that are not here.
pub(crate) fn fetch(architecture: Architecture) -> Result<()> {
    let missing: Vec<&GuestKernel> =
        kernels(architecture).iter().filter(|kernel| !kernel.is_here()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let suites = Suites::named(&SUITES, &SECURITY_SUITES);
    let (folder, flavour) = (folder(architecture), flavour(architecture));
    let apt = Apt::of(architecture, folder.join("apt"), suites)?;
    let known = apt.names("linux-")?;
    let unpacked = folder.join("unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).context("remove what an earlier run left")?;
    }
    for kernel in missing {
        let release = newest(&known, kernel.series, &flavour).with_context(|| {
            format!(
                "no suite has a kernel {} for {}; help: change the list in xtask/src/vm/kernel.rs",
                kernel.series,
                architecture.debian()
            )
        })?;
        let packages = PACKAGES.map(|package| format!("{package}-{release}{flavour}"));
        let packages: Vec<&str> =
            packages.iter().filter(|name| known.contains(name)).map(String::as_str).collect();
        apt.unpack(&packages, &unpacked)?;
        keep(&unpacked, &kernel.folder())
            .with_context(|| format!("keep what guests need of {release}"))?;
        fs::remove_dir_all(&unpacked).context("remove the rest of the packages")?;
    }
    apt.remove()
}

/// What [`fetch`] does, as one would type it.
pub(crate) fn lines(architecture: Architecture) -> Vec<String> {
    let flavour = flavour(architecture);
    let name = |kernel: &GuestKernel| format!("linux-image-{}.*{flavour}", kernel.series);
    let names: Vec<_> = kernels(architecture).iter().map(name).collect();
    vec![
        format!("apt-get update # with lists of its own: {}", SUITES.join(", ")),
        format!("apt-get download {}", names.join(" ")),
        "dpkg-deb --extract PACKAGE.deb target/vm".into(),
    ]
}

/// The newest release of a series, from the names of packages: `6.1.0-56` of
/// `linux-image-6.1.0-56-cloud-amd64`.
fn newest<'a>(packages: &'a [String], series: &str, flavour: &str) -> Option<&'a str> {
    let of_series = |release: &&str| {
        release.strip_prefix(series).is_some_and(|rest| rest.starts_with('.'))
            // Backports to older Debians are another build of it.
            && !release.contains(".deb")
    };
    packages
        .iter()
        .filter_map(|package| {
            let with_image = ["linux-image-", "linux-binary-"];
            let name = with_image.iter().find_map(|prefix| package.strip_prefix(prefix))?;
            name.strip_suffix(flavour)
        })
        .filter(of_series)
        .max_by_key(|release| numbers(release))
}

fn numbers(release: &str) -> Vec<u32> {
    release.split(|letter: char| !letter.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
}

/// Takes the image and the modules out of unpacked packages.
fn keep(unpacked: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let modules = folder.join("modules");
    fs::create_dir_all(&modules).with_context(|| format!("create {}", modules.display()))?;
    let files = place::files_below(unpacked)?;
    let image = files.iter().find(|path| {
        path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with("vmlinuz"))
    });
    fs::copy(image.context("no vmlinuz in the packages")?, folder.join("vmlinuz"))?;
    for (number, (name, bytes)) in module::in_order(&files)?.iter().enumerate() {
        fs::write(modules.join(format!("{number:02}-{name}.ko")), bytes)?;
    }
    fs::write(folder.join("fetched"), stamp())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::newest;

    #[test]
    fn the_newest_release_of_a_series_is_taken_by_number() {
        let names = [
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-0.deb11.99-cloud-amd64",
            "linux-image-6.12.99+deb13-cloud-amd64",
            "linux-image-6.12.115+deb13-cloud-amd64",
            "linux-image-6.12.115+deb13.1-cloud-amd64",
            "linux-binary-7.2.13+deb14-cloud-amd64",
            "linux-image-7.2.9+deb13-cloud-amd64",
            "linux-modules-7.2.14+deb14-cloud-amd64",
            "linux-image-6.12.200+deb13-cloud-amd64-dbg",
        ]
        .map(String::from);
        let newest = |series| newest(&names, series, "-cloud-amd64");
        assert_eq!(newest("6.1"), Some("6.1.0-56"));
        assert_eq!(newest("6.12"), Some("6.12.115+deb13.1"));
        assert_eq!(newest("7.2"), Some("7.2.13+deb14"));
        assert_eq!(newest("5.10"), None);
    }
}
