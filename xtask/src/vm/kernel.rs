//! The kernels that guests boot: Debian's, the newest of each series, fetched once and kept.

use super::module;
use crate::{
    apt::{Apt, Suites},
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
}

/// The series that are tested, each Debian release's own and the newest.
pub(crate) const KERNELS: [GuestKernel; 5] = [
    GuestKernel { series: "5.10" },
    GuestKernel { series: "6.1" },
    GuestKernel { series: "6.12" },
    GuestKernel { series: "6.18" },
    GuestKernel { series: "7.2" },
];

/// The suites that have them; those of security too, where the machine has a mirror of it.
const SUITES: [&str; 5] = ["bullseye", "bookworm", "trixie", "trixie-backports", "sid"];
const SECURITY_SUITES: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];
/// The packages of one release, as Debian cuts it: the second and third since 7.1.
const PACKAGES: [&str; 3] = ["linux-image", "linux-binary", "linux-modules"];
const FLAVOUR: &str = "-cloud-amd64";

impl GuestKernel {
    /// `vmlinuz` and the modules, in the order in which they load.
    pub(crate) fn folder(&self) -> PathBuf {
        folder().join(self.series)
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

fn folder() -> PathBuf {
    place::root().join("target/vm/kernels")
}

/// What a kernel's folder was made for: another list of modules makes it anew.
fn stamp() -> String {
    module::WANTED.join(" ")
}

/// Fetches those that are not here.
pub(crate) fn fetch() -> Result<()> {
    let missing: Vec<&GuestKernel> = KERNELS.iter().filter(|kernel| !kernel.is_here()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let suites = Suites::named(&SUITES, &SECURITY_SUITES);
    let apt = Apt::new(place::root().join("target/vm/apt"), suites)?;
    let known = apt.names("linux-")?;
    let unpacked = place::root().join("target/vm/unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).context("remove what an earlier run left")?;
    }
    for kernel in missing {
        let release = newest(&known, kernel.series).with_context(|| {
            format!(
                "no suite has a kernel {}; help: change KERNELS in xtask/src/vm/kernel.rs",
                kernel.series
            )
        })?;
        let packages = PACKAGES.map(|package| format!("{package}-{release}{FLAVOUR}"));
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
pub(crate) fn lines() -> Vec<String> {
    let names = KERNELS.map(|kernel| format!("linux-image-{}.*{FLAVOUR}", kernel.series));
    vec![
        format!("apt-get update # with lists of its own: {}", SUITES.join(", ")),
        format!("apt-get download {}", names.join(" ")),
        "dpkg-deb --extract PACKAGE.deb target/vm".into(),
    ]
}

/// The newest release of a series, from the names of packages: `6.1.0-56` of
/// `linux-image-6.1.0-56-cloud-amd64`.
fn newest<'a>(packages: &'a [String], series: &str) -> Option<&'a str> {
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
            name.strip_suffix(FLAVOUR)
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
        assert_eq!(newest(&names, "6.1"), Some("6.1.0-56"));
        assert_eq!(newest(&names, "6.12"), Some("6.12.115+deb13.1"));
        assert_eq!(newest(&names, "7.2"), Some("7.2.13+deb14"));
        assert_eq!(newest(&names, "5.10"), None);
    }
}
