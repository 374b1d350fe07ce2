//! The kernels that guests boot: Debian's, the newest of each series, fetched once and kept.

use super::module;
use crate::{
    command::{self, announced},
    place,
};
use anyhow::{Context as _, Result, bail};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A series of kernels, and the one of it that is here.
pub(crate) struct Kernel {
    /// As users name it: `6.12`.
    pub(crate) series: &'static str,
}

/// The series that are tested, each Debian release's own and the newest.
pub(crate) const KERNELS: [Kernel; 5] = [
    Kernel { series: "5.10" },
    Kernel { series: "6.1" },
    Kernel { series: "6.12" },
    Kernel { series: "6.18" },
    Kernel { series: "7.2" },
];

/// The suites that have them; those of security too, where the machine has a mirror of it.
const SUITES: [&str; 5] = ["bullseye", "bookworm", "trixie", "trixie-backports", "sid"];
const SECURITY_SUITES: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The packages of one release, as Debian cuts it: the second and third since 7.1.
const PACKAGES: [&str; 3] = ["linux-image", "linux-binary", "linux-modules"];
const FLAVOUR: &str = "-cloud-amd64";

impl Kernel {
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
    let missing: Vec<&Kernel> = KERNELS.iter().filter(|kernel| !kernel.is_here()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let apt = Apt::new(place::root().join("target/vm/apt"))?;
    let known = apt.packages()?;
    for kernel in missing {
        let release = newest(&known, kernel.series).with_context(|| {
            format!(
                "no suite has a kernel {}; help: change KERNELS in xtask/src/vm/kernel.rs",
                kernel.series
            )
        })?;
        let packages = PACKAGES.map(|package| format!("{package}-{release}{FLAVOUR}"));
        let packages: Vec<&String> = packages.iter().filter(|name| known.contains(name)).collect();
        let unpacked = apt.unpacked(&packages)?;
        keep(&unpacked, &kernel.folder())
            .with_context(|| format!("keep what guests need of {release}"))?;
        fs::remove_dir_all(&unpacked).context("remove the rest of the packages")?;
    }
    fs::remove_dir_all(&apt.folder).context("remove apt's lists")
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

/// apt with a state of its own: nothing of the machine's is touched.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// With the lists of all suites that have our kernels.
    fn new(folder: PathBuf) -> Result<Self> {
        for part in ["lists/partial", "archives/partial"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("create {}", part.display()))?;
        }
        let targets = command::stdout(command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(LABEL) $(REPO_URI)",
            "Created-By: Packages",
            "Origin: Debian",
        ]));
        let sources = sources(&targets.unwrap_or_default());
        if sources.is_empty() {
            bail!(
                "apt knows no mirror of Debian; help: run `apt-get update`, and read what it says"
            );
        }
        let place = folder.display();
        let config = format!(
            "Dir::State \"{place}\";\nDir::State::status \"{place}/status\";\nDir::Cache \"{place}\";\n\
             Dir::Etc::SourceList \"{place}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
             Acquire::Languages \"none\";\nAcquire::Check-Valid-Until \"false\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\nAPT::Sandbox::User \"root\";\n"
        );
        for (file, text) in
            [("apt.conf", &config), ("sources.list", &sources), ("status", &String::new())]
        {
            fs::write(folder.join(file), text).with_context(|| format!("write {file}"))?;
        }
        let apt = Self { folder };
        announced(
            apt.command("apt-get").args(["update", "--quiet"]),
            "apt-get must reach the mirror that this machine uses",
        )?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command::new(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).current_dir(&self.folder);
        command
    }

    /// The names of all packages of kernels.
    fn packages(&self) -> Result<Vec<String>> {
        let names = command::stdout(self.command("apt-cache").args(["pkgnames", "linux-"]));
        let names = names.context("apt-cache does not list packages")?;
        Ok(names.lines().filter(|name| name.ends_with(FLAVOUR)).map(Into::into).collect())
    }

    /// Downloads packages and unpacks them into a folder.
    fn unpacked(&self, packages: &[&String]) -> Result<PathBuf> {
        announced(
            self.command("apt-get").args(["download", "--quiet"]).args(packages),
            "apt-get must reach the mirror that this machine uses",
        )?;
        let unpacked = self.folder.join("unpacked");
        for file in fs::read_dir(&self.folder).context("list what was downloaded")? {
            let path = file.context("list what was downloaded")?.path();
            if path.extension() == Some(OsStr::new("deb")) {
                let mut unpack = self.command("dpkg-deb");
                unpack.arg("--extract").arg(&path).arg(&unpacked);
                announced(&mut unpack, "is the disk full?")?;
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
            }
        }
        Ok(unpacked)
    }
}

/// Lines for sources.list, from the label and address of each list that the machine's apt has.
fn sources(targets: &str) -> String {
    let mirror =
        |label: &str| targets.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(' '));
    let lines = |mirror: Option<&str>, suites: &[&str]| {
        let line = |mirror: &str, suite: &str| {
            format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n")
        };
        mirror.map(|mirror| suites.iter().map(|suite| line(mirror, suite)).collect::<String>())
    };
    let own = lines(mirror("Debian"), &SUITES).unwrap_or_default();
    own + &lines(mirror("Debian-Security"), &SECURITY_SUITES).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{newest, sources};

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

    #[test]
    fn mirrors_are_those_that_the_machine_uses() {
        let targets = "Debian-Security http://near/security/\nDebian http://near/debian/\nDebian http://far/debian/\n";
        let sources = sources(targets);
        assert!(sources.contains("] http://near/debian/ bullseye main\n"), "{sources}");
        assert!(sources.contains("] http://near/security/ trixie-security main\n"), "{sources}");
        assert_eq!(super::sources("Other http://other/\n"), "");
    }
}
