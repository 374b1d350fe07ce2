//! Debian's packages, downloaded by an apt with a state of its own and unpacked: nothing is installed,
//! nothing of the machine's apt and dpkg is touched, and no root is needed.

use crate::{
    architecture::Architecture,
    command::{self, announced},
};
use anyhow::{Context as _, Result, bail};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The keys with which Debian signs its archive.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const REACH: &str = "apt-get must reach the mirror that this machine uses";
/// What needs no unpacking although packages depend on it: it is for installing and for compiling.
const PRESENT: [&str; 8] = [
    "adduser",
    "binutils",
    "debconf",
    "dpkg",
    "gcc",
    "init-system-helpers",
    "libc-dev",
    "libc6-dev",
];
/// Nor does this where the machine itself runs what is unpacked: the C library is its own, and must be (it fits no
/// other loader than its own).
const PRESENT_HERE: &str = "libc6";

/// What nothing runs: docs, translations, and the pages of Prometheus, larger than all programs.
const UNUSED: [&str; 4] =
    ["usr/share/doc", "usr/share/javascript", "usr/share/locale", "usr/share/man"];

/// The suites that are looked into.
pub(crate) struct Suites {
    main: Vec<String>,
    security: Vec<String>,
}

impl Suites {
    /// Those of the machine's own release: what is unpacked runs with the machine's C library.
    pub(crate) fn own() -> Result<Self> {
        let name = codename_of_this_machine()?;
        let (updates, security) = (format!("{name}-updates"), format!("{name}-security"));
        Ok(Self { main: vec![name, updates], security: vec![security] })
    }

    /// Those of these names.
    pub(crate) fn named(main: &[&str], security: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self { main: owned(main), security: owned(security) }
    }

    fn names(&self) -> String {
        self.main.iter().chain(&self.security).map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// The name of the machine's release: `bookworm`.
pub(crate) fn codename_of_this_machine() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let name = codename(&release).map(Into::into);
    name.context("/etc/os-release names no release: there is no VERSION_CODENAME in it")
}

fn codename(os_release: &str) -> Option<&str> {
    let line = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(line.trim_matches('"')).filter(|name| !name.is_empty())
}

/// An apt with a state of its own.
pub(crate) struct Apt {
    folder: PathBuf,
    suites: Suites,
    /// As Debian names it, if it is not this machine's.
    foreign: Option<&'static str>,
}

impl Apt {
    /// With the lists of these suites, in a folder for them alone: packages that this machine runs.
    pub(crate) fn new(folder: PathBuf, suites: Suites) -> Result<Self> {
        Self::with_lists(folder, suites, None)
    }

    /// The same, of packages for an architecture.
    pub(crate) fn of(architecture: Architecture, folder: PathBuf, suites: Suites) -> Result<Self> {
        let foreign = architecture.is_foreign().then(|| architecture.debian());
        Self::with_lists(folder, suites, foreign)
    }

    fn with_lists(folder: PathBuf, suites: Suites, foreign: Option<&'static str>) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
        }
        for part in ["lists/partial", "archives/partial"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| format!("create {}", part.display()))?;
        }
        let mirrors = Mirrors::of_this_machine()?;
        let apt = Self { folder, suites, foreign };
        apt.write("apt.conf", &config(&apt.folder, &apt.architecture()?))?;
        apt.write("status", "")?;
        apt.write("sources.list", &mirrors.sources(&apt.suites))?;
        let updated = apt.update();
        if updated.is_err() && mirrors.security_is_guessed {
            let known = Mirrors { security: None, ..mirrors };
            apt.write("sources.list", &known.sources(&apt.suites))?;
            apt.update()?;
        } else {
            updated?;
        }
        Ok(apt)
    }

    /// As Debian names it.
    fn architecture(&self) -> Result<String> {
        self.foreign.map_or_else(own_architecture, |name| Ok(name.to_owned()))
    }

    fn update(&self) -> Result<()> {
        announced(self.command("apt-get").args(["update", "--quiet", "--error-on=any"]), REACH)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command::new(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).current_dir(&self.folder);
        command
    }

    /// The names of the packages that begin with this.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = command::stdout(self.command("apt-cache").args(["pkgnames", prefix]));
        let names = names.context("apt-cache does not list packages")?;
        Ok(names.lines().map(Into::into).collect())
    }

    /// Downloads these packages alone and unpacks them.
    pub(crate) fn unpack(&self, packages: &[&str], into: &Path) -> Result<()> {
        self.demand(packages)?;
        let archives = self.folder.join("archives");
        let mut download = self.command("apt-get");
        download.args(["download", "--quiet"]).args(packages).current_dir(&archives);
        announced(&mut download, REACH)?;
        self.extract(into).map(drop)
    }

    /// Downloads packages with all that they depend on, but for what is unpacked there already, and
    /// unpacks them. The file `unpacked` beside them remembers which, as dpkg's own would.
    pub(crate) fn unpack_with_dependencies(&self, packages: &[&str], into: &Path) -> Result<()> {
        self.demand(packages)?;
        fs::create_dir_all(into).with_context(|| format!("create {}", into.display()))?;
        let unpacked = into.join("unpacked");
        let before = fs::read_to_string(&unpacked).unwrap_or_default();
        self.write("status", &(present(&self.architecture()?, self.foreign.is_none()) + &before))?;
        let mut download = self.command("apt-get");
        download.args(["install", "--download-only", "--yes", "--quiet"]).args(packages);
        announced(&mut download, REACH)?;
        let after = merged(&before, &self.extract(into)?);
        for folder in UNUSED.map(|folder| into.join(folder)).iter().filter(|path| path.exists()) {
            fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        fs::write(&unpacked, after).with_context(|| format!("write {}", unpacked.display()))
    }

    /// An error that names the suites if a package is in none of them.
    fn demand(&self, packages: &[&str]) -> Result<()> {
        for package in packages {
            if !self.names(package)?.iter().any(|name| name == package) {
                let sources = fs::read_to_string(self.folder.join("sources.list"));
                bail!(absence(package, &self.suites, &sources.unwrap_or_default()));
            }
        }
        Ok(())
    }

    /// Unpacks and removes all that was downloaded; returns how dpkg would remember it.
    fn extract(&self, into: &Path) -> Result<String> {
        let archives = self.folder.join("archives");
        let mut unpacked = String::new();
        for file in fs::read_dir(&archives).context("list what was downloaded")? {
            let path = file.context("list what was downloaded")?.path();
            if path.extension() != Some(OsStr::new("deb")) {
                continue;
            }
            let mut extract = self.command("dpkg-deb");
            extract.arg("--extract").arg(&path).arg(into);
            command::checked(&mut extract, "is the disk full?")?;
            let control = command::stdout(self.command("dpkg-deb").arg("--field").arg(&path));
            let control =
                control.with_context(|| format!("dpkg-deb cannot read {}", path.display()))?;
            unpacked += &format!("{}\n{INSTALLED}\n\n", control.trim_end());
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
        Ok(unpacked)
    }

    /// Removes its state, lists and all.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("remove apt's lists in {}", self.folder.display()))
    }
}

/// What to say of a package that is in no suite.
fn absence(package: &str, suites: &Suites, sources: &str) -> String {
    let names = suites.names();
    let missing: Vec<&str> = suites
        .main
        .iter()
        .chain(&suites.security)
        .map(String::as_str)
        .filter(|suite| !sources.contains(&format!(" {suite} main")))
        .collect();
    if missing.is_empty() {
        return format!(
            "no package {package} in {names}; help: is this machine's mirror complete?"
        );
    }
    let missing = missing.join(", ");
    format!(
        "no package {package}: it may be in {missing}, for which no mirror is known here; help: add a \
         line `deb MIRROR SUITE main` for it to /etc/apt/sources.list, and run `apt-get update`"
    )
}

/// apt's settings: of the machine's own only how it reaches mirrors. Neither pins nor holds, nor other
/// architectures, nor what runs after an update.
fn config(folder: &Path, architecture: &str) -> String {
    let place = folder.display();
    format!(
        "{}Dir::Etc::Main \"/dev/null\";\nDir::Etc::Parts \"/dev/null\";\n\
         Dir::Etc::Preferences \"/dev/null\";\nDir::Etc::PreferencesParts \"/dev/null\";\n\
         Dir::Etc::SourceList \"{place}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
         Dir::State \"{place}\";\nDir::State::status \"{place}/status\";\nDir::Cache \"{place}\";\n\
         Dir::Cache::pkgcache \"\";\nDir::Cache::srcpkgcache \"\";\n\
         Acquire::Languages \"none\";\nAcquire::Check-Valid-Until \"false\";\n\
         Acquire::GzipIndexes \"true\";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         APT::Install-Recommends \"false\";\nAPT::Sandbox::User \"root\";\n\
         APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n",
        way_to_mirrors(),
    )
}

/// Proxies, timeouts and certificates, from what `apt-config dump` says.
fn acquire(dump: &str) -> String {
    let wanted = |line: &&str| {
        let kept = ["Acquire::http::", "Acquire::https::", "Acquire::Retries", "Acquire::ForceIP"];
        kept.iter().any(|prefix| line.starts_with(prefix))
    };
    dump.lines().filter(wanted).flat_map(|line| [line, "\n"]).collect()
}

/// What is remembered once newer paragraphs came: one for each package.
fn merged(before: &str, new: &str) -> String {
    let name = |paragraph: &&str| {
        let line = paragraph.lines().find_map(|line| line.strip_prefix("Package: "));
        line.map(str::to_owned)
    };
    let paragraphs = |text| str::split(text, "\n\n").filter(|one| !one.trim().is_empty());
    let replaced: BTreeSet<_> = paragraphs(new).map(|one| name(&one)).collect();
    let kept = paragraphs(before).filter(|one| !replaced.contains(&name(one)));
    kept.chain(paragraphs(new)).flat_map(|one| [one, "\n\n"]).collect()
}

const INSTALLED: &str = "Status: install ok installed";

/// How dpkg would remember what needs no unpacking: newer than whatever is asked for.
fn present(architecture: &str, runs_here: bool) -> String {
    let entry = |name: &str| {
        format!(
            "Package: {name}\n{INSTALLED}\nArchitecture: {architecture}\nMulti-Arch: allowed\n\
             Version: 999:0\nMaintainer: -\nDescription: -\n\n"
        )
    };
    PRESENT.into_iter().chain(runs_here.then_some(PRESENT_HERE)).map(entry).collect()
}

/// As Debian names this machine's: `amd64`.
fn own_architecture() -> Result<String> {
    let name = command::stdout(command::new("dpkg").arg("--print-architecture"));
    Ok(name.context("`dpkg --print-architecture` does not run")?.trim().to_owned())
}

/// Where this machine gets Debian from.
#[derive(Debug, PartialEq, Eq)]
struct Mirrors {
    main: String,
    security: Option<String>,
    /// No source names the mirror of security: it is taken to be beside the main one.
    security_is_guessed: bool,
}

impl Mirrors {
    fn of_this_machine() -> Result<Self> {
        let targets = |options: &[&str]| {
            let mut ask = command::new("apt-get");
            ask.args(["indextargets", "Created-By: Packages", "Component: main"]).args(options);
            command::stdout(&mut ask).unwrap_or_default()
        };
        // Lists that were never fetched have no label, and apt leaves them out unless asked like this.
        let known = targets(&["--format", "$(LABEL)|$(REPO_URI)"]);
        let all = targets(&["--no-release-info", "--format", "|$(REPO_URI)"]);
        Self::from_targets(&(known + &all)).context(
            "apt knows no mirror of Debian; help: name one in /etc/apt/sources.list, with a line \
             `deb MIRROR SUITE main`",
        )
    }

    /// From `LABEL|ADDRESS` of each list that apt would get. It knows labels of those that it has only.
    fn from_targets(targets: &str) -> Option<Self> {
        let targets: Vec<_> = targets.lines().filter_map(|line| line.split_once('|')).collect();
        let find = |wanted: &str, folder: &str| {
            let labelled = targets.iter().find(|(label, _)| *label == wanted);
            let by_folder = || {
                let ends = |uri: &str| uri.trim_end_matches('/').ends_with(folder);
                targets.iter().find(|(label, uri)| label.is_empty() && ends(uri))
            };
            labelled.or_else(by_folder).map(|(_, uri)| (*uri).to_owned())
        };
        let main = find("Debian", "/debian")?;
        let known = find("Debian-Security", "/debian-security");
        let security_is_guessed = known.is_none();
        let beside = || {
            let folder = main.trim_end_matches('/');
            folder.ends_with("/debian").then(|| format!("{folder}-security/"))
        };
        let security = known.or_else(beside);
        Some(Self { main, security, security_is_guessed })
    }

    /// Lines for sources.list.
    fn sources(&self, suites: &Suites) -> String {
        let lines = |mirror: &str, suites: &[String]| -> String {
            let line = |suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
            suites.iter().map(line).collect()
        };
        let security = self.security.as_deref().map(|mirror| lines(mirror, &suites.security));
        lines(&self.main, &suites.main) + &security.unwrap_or_default()
    }
}

/// For a root of the machine's own release: its main mirror.
pub(crate) fn mirror() -> Result<String> {
    Mirrors::of_this_machine().map(|mirrors| mirrors.main)
}

/// For the same, lines for sources.list with all suites.
pub(crate) fn sources_of_own_release() -> Result<String> {
    Ok(Mirrors::of_this_machine()?.sources(&Suites::own()?))
}

/// For the same, apt's settings of how mirrors are reached.
pub(crate) fn way_to_mirrors() -> String {
    let dump = command::stdout(command::new("apt-config").args(["dump", "Acquire"]));
    dump.as_deref().map(acquire).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Mirrors, Suites, absence, acquire, codename, merged, present};

    fn mirrors(targets: &str) -> Mirrors {
        Mirrors::from_targets(targets).expect("a mirror")
    }

    #[test]
    fn mirrors_are_those_that_the_machine_uses() {
        let mirrors = mirrors(
            "Debian-Security|http://near/security/\nDebian|http://near/debian/\nDebian|http://far/debian/\n",
        );
        let sources = mirrors.sources(&Suites::named(&["bullseye"], &["trixie-security"]));
        assert!(sources.contains("] http://near/debian/ bullseye main\n"), "{sources}");
        assert!(sources.contains("] http://near/security/ trixie-security main\n"), "{sources}");
        assert!(!mirrors.security_is_guessed);
    }

    #[test]
    fn a_machine_that_never_updated_its_lists_is_known_by_addresses() {
        let mirrors =
            mirrors("|http://other/tool/\n|http://near/debian/\n|http://s/debian-security/\n");
        assert_eq!(mirrors.main, "http://near/debian/");
        assert_eq!(mirrors.security.as_deref(), Some("http://s/debian-security/"));
    }

    #[test]
    fn other_repositories_are_no_mirror_of_debian() {
        assert_eq!(
            Mirrors::from_targets("Other|http://other/debian/\n|http://other/tool/\n"),
            None
        );
        assert_eq!(Mirrors::from_targets(""), None);
    }

    #[test]
    fn the_mirror_of_security_is_taken_to_be_beside_the_main_one() {
        let guessed = mirrors("Debian|http://near/debian/\n");
        assert_eq!(guessed.security.as_deref(), Some("http://near/debian-security/"));
        assert!(guessed.security_is_guessed);
        let nowhere = mirrors("Debian|http://near/\n");
        assert_eq!(nowhere.security, None);
        let sources = nowhere.sources(&Suites::named(&["sid"], &["trixie-security"]));
        assert!(!sources.contains("security"), "{sources}");
    }

    #[test]
    fn a_package_that_is_in_no_suite_names_the_suite_that_has_no_mirror() {
        let suites = Suites::named(&["bookworm"], &["bookworm-security"]);
        let main = "deb [signed-by=K] http://near/ bookworm main\n";
        let said = absence("libllvm22", &suites, main);
        assert!(said.contains("libllvm22: it may be in bookworm-security, for which"), "{said}");
        let both = format!("{main}deb [signed-by=K] http://near/ bookworm-security main\n");
        let said = absence("libllvm22", &suites, &both);
        assert!(said.contains("no package libllvm22 in bookworm, bookworm-security"), "{said}");
    }

    #[test]
    fn the_release_is_named_by_the_system() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n"), Some("bookworm"));
        assert_eq!(codename("VERSION_CODENAME=\"noble\"\n"), Some("noble"));
        assert_eq!(codename("ID=arch\n"), None);
        assert_eq!(codename("VERSION_CODENAME=\n"), None);
    }

    #[test]
    fn of_the_machines_settings_only_the_way_to_mirrors_is_kept() {
        let dump = "Acquire \"\";\nAcquire::http::Proxy \"http://proxy:1\";\nAcquire::Languages:: \"de\";\n";
        assert_eq!(acquire(dump), "Acquire::http::Proxy \"http://proxy:1\";\n");
    }

    #[test]
    fn a_newer_version_takes_the_place_of_an_older_one() {
        let before = "Package: a\nVersion: 1\n\nPackage: b\nVersion: 1\n\n";
        let after = merged(before, "Package: a\nVersion: 2\nDescription: x\n .\n y\n\n");
        assert_eq!(
            after,
            "Package: b\nVersion: 1\n\nPackage: a\nVersion: 2\nDescription: x\n .\n y\n\n"
        );
        assert_eq!(merged("", "Package: a\n\n"), "Package: a\n\n");
        assert_eq!(merged(before, ""), before);
    }

    #[test]
    fn the_c_library_is_the_machines_own_unless_another_machine_runs_what_is_unpacked() {
        let entries = present("amd64", true);
        let libc = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\n";
        assert!(entries.contains(libc), "{entries}");
        let foreign = present("arm64", false);
        assert!(!foreign.contains("Package: libc6\n") && foreign.contains("Package: dpkg\n"));
        assert!(!entries.contains("Package: libstdc++6\n"), "{entries}");
    }
}
