//! A root of Debian to work in: made by debootstrap, entered in a mount namespace of its own, so that
//! what is mounted is gone when the last program in it ends, however it ends.

use crate::{
    apt,
    command::{self, announced},
    place, tool,
};
use anyhow::{Context as _, Result, bail};
use std::{
    env,
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What the README says that people have.
pub(crate) const PACKAGES: &str = "ca-certificates,gcc,git,libc6-dev,python3";
/// Longer than any step takes.
const SECONDS: &str = "3600";
const USER: &str = "keeper";
const NUMBER: &str = "1000";
/// Mounts what programs need, then runs one in the root: ROOT TOOLCHAIN ITS-PLACE IDS ENV...
const ENTER: &str = r#"
set -e
root=$1 toolchain=$2 place=$3 ids=$4
shift 4
for folder in dev proc sys; do mount --rbind "/$folder" "$root/$folder"; done
mkdir --parents "$root$place"
mount --bind "$toolchain" "$root$place"
mount -o remount,bind,ro "$root$place"
exec chroot --userspec="$ids" "$root" /usr/bin/env -i "$@"
"#;

/// The folder that holds the roots, and the one from which all are copied. Removed when dropped.
pub(crate) struct Bed {
    folder: PathBuf,
}

impl Bed {
    /// Makes a Debian with little more than these packages in the folder, by debootstrap.
    pub(crate) fn new(folder: PathBuf, packages: &str) -> Result<Self> {
        let bed = Self { folder };
        bed.clear()?;
        fs::create_dir_all(&bed.folder)
            .with_context(|| format!("create {}", bed.folder.display()))?;
        let mut debootstrap = command::new(tool::path("debootstrap")?);
        let unpacked = tool::tree().join("usr/share/debootstrap");
        if unpacked.is_dir() {
            debootstrap.env("DEBOOTSTRAP_DIR", unpacked);
        }
        debootstrap
            .args(["--variant=minbase", "--include", packages, "--keyring", apt::KEYRING])
            .arg(apt::codename_of_this_machine()?)
            .arg(bed.base())
            .arg(apt::mirror()?)
            .env("PATH", tool::search_path(&tool::bin())?)
            .stdout(File::create(bed.folder.join("debootstrap.log")).context("a log")?);
        let log = bed.folder.join("debootstrap.log");
        announced(&mut debootstrap, &format!("read {}", log.display()))?;
        let archives = bed.base().join("var/cache/apt/archives");
        for package in place::files_below(&archives)? {
            fs::remove_file(&package).with_context(|| format!("remove {}", package.display()))?;
        }
        Ok(bed)
    }

    /// A copy of what debootstrap made.
    pub(crate) fn copied(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        let mut copy = command::new("cp");
        copy.args(["--archive", "--reflink=auto"]).arg(self.base()).arg(&folder);
        command::checked(&mut copy, "is the disk full?")?;
        Ok(folder)
    }

    /// What debootstrap made.
    pub(crate) fn base(&self) -> PathBuf {
        self.folder.join("base")
    }

    fn clear(&self) -> Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        fs::remove_dir_all(&self.folder).with_context(|| format!("clear {}", self.folder.display()))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // The next run clears what this one cannot.
        drop(self.clear());
    }
}

/// A copy of the base with Rust and a clean clone of the last commit.
pub(crate) struct DebianRoot {
    folder: PathBuf,
    log: PathBuf,
    as_user: bool,
    /// rustup's toolchain here, which is mounted there.
    toolchain: PathBuf,
}

impl DebianRoot {
    pub(crate) fn new(bed: &Bed, name: &str, as_user: bool) -> Result<Self> {
        let sysroot = command::stdout(command::new("rustc").args(["--print", "sysroot"]));
        let root = Self {
            folder: bed.copied(name)?,
            log: place::root().join(format!("target/fresh-{name}.log")),
            as_user,
            toolchain: sysroot.context("rustc does not run")?.trim().into(),
        };
        File::create(&root.log).with_context(|| format!("create {}", root.log.display()))?;
        root.reach_out()?;
        if as_user {
            root.as_root(&format!("useradd --create-home --uid {NUMBER} {USER}"))?;
        }
        root.add_rust()?;
        root.clone_workspace()?;
        if as_user {
            // The toolchain there is this machine's.
            let own = "-path '*/toolchains/*' -prune -o -exec chown --no-dereference";
            root.as_root(&format!("find /home/{USER} {own} {USER}:{USER} {{}} +"))?;
        }
        Ok(root)
    }

    fn home(&self) -> String {
        if self.as_user { format!("/home/{USER}") } else { "/root".into() }
    }

    fn path(&self, within: &str) -> PathBuf {
        self.folder.join(within.trim_start_matches('/'))
    }

    /// Names and certificates are those of this machine, and so is the way to mirrors.
    fn reach_out(&self) -> Result<()> {
        for file in ["/etc/hosts", "/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"] {
            if let Ok(content) = fs::read(file) {
                let to = self.path(file);
                fs::write(&to, content).with_context(|| format!("write {}", to.display()))?;
            }
        }
        let file = self.path("/etc/apt/apt.conf.d/as-outside");
        fs::write(&file, apt::way_to_mirrors()).with_context(|| format!("write {}", file.display()))
    }

    /// rustup and a stable Rust; what cargo has downloaded saves time.
    fn add_rust(&self) -> Result<()> {
        let home = self.home();
        let bin = self.path(&format!("{home}/.cargo/bin"));
        fs::create_dir_all(&bin)?;
        let rustup = place::program("rustup").context("there is no rustup")?;
        fs::copy(&rustup, bin.join("rustup"))
            .with_context(|| format!("copy {}", rustup.display()))?;
        for name in ["cargo", "rustc", "rustdoc"] {
            std::os::unix::fs::symlink("rustup", bin.join(name))?;
        }
        let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo_home = cargo_home
            .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
            .context("neither CARGO_HOME nor HOME is set")?;
        let registry = self.path(&format!("{home}/.cargo/registry"));
        fs::create_dir_all(&registry)?;
        for part in ["cache", "index"] {
            let part = cargo_home.join("registry").join(part);
            if part.is_dir() {
                let mut copy = command::new("cp");
                copy.arg("--recursive").arg(&part).arg(&registry);
                command::checked(&mut copy, "is the disk full?")?;
            }
        }
        let rustup_home = self.path(&format!("{home}/.rustup"));
        fs::create_dir_all(self.path(&self.place_of_toolchain()?))?;
        let settings = format!(
            "version = \"12\"\nprofile = \"minimal\"\ndefault_toolchain = \"{}\"\n",
            self.name_of_toolchain()?
        );
        fs::write(rustup_home.join("settings.toml"), settings)?;
        Ok(())
    }

    fn name_of_toolchain(&self) -> Result<&str> {
        let name = self.toolchain.file_name().and_then(|name| name.to_str());
        name.context("rustc's sysroot has no name; help: is it rustup's?")
    }

    fn place_of_toolchain(&self) -> Result<String> {
        Ok(format!("{}/.rustup/toolchains/{}", self.home(), self.name_of_toolchain()?))
    }

    fn clone_workspace(&self) -> Result<()> {
        let mut clone = command::new("git");
        clone
            .args(["-c", "safe.directory=*", "clone", "--quiet", "--no-hardlinks"])
            .arg(place::root())
            .arg(self.path(&format!("{}/keepwatch", self.home())));
        announced(&mut clone, "only what is committed is tried")
    }

    /// A command for `sh`, as root; before it, all suites of the release are named to apt if the main one
    /// alone is not what is tried.
    pub(crate) fn prepare(&self, script: &str, all_suites: bool) -> Result<()> {
        if all_suites {
            let file = self.path("/etc/apt/sources.list");
            fs::write(&file, apt::sources_of_own_release()?)
                .with_context(|| format!("write {}", file.display()))?;
        }
        self.as_root(script)
    }

    fn as_root(&self, script: &str) -> Result<()> {
        self.enter("0:0", script, 0)
    }

    /// A command for `sh` in the clone, and the exit code that it must have.
    pub(crate) fn run(&self, script: &str, exit_code: i32) -> Result<()> {
        let ids = if self.as_user { format!("{NUMBER}:{NUMBER}") } else { "0:0".into() };
        self.enter(&ids, &format!("cd ~/keepwatch\n{script}"), exit_code)
    }

    fn enter(&self, ids: &str, script: &str, exit_code: i32) -> Result<()> {
        let log = OpenOptions::new().append(true).open(&self.log).context("open the log")?;
        let home = self.home();
        let mut enter = Command::new("timeout");
        enter
            .args(["--kill-after=10", SECONDS, "unshare", "--mount", "sh", "-c", ENTER, "sh"])
            .arg(&self.folder)
            .arg(&self.toolchain)
            .arg(self.place_of_toolchain()?)
            .arg(ids)
            .args([&format!("HOME={home}"), "LC_ALL=C.UTF-8", "TERM=dumb", "RUSTUP_AUTO_INSTALL=0"])
            .arg(format!("PATH={home}/.cargo/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"));
        for (name, value) in env::vars() {
            if name.to_lowercase().ends_with("_proxy") {
                enter.arg(format!("{name}={value}"));
            }
        }
        enter.args(["sh", "-ec", script]).stdin(Stdio::null());
        let status = enter.stdout(log.try_clone()?).stderr(log).status();
        let status =
            status.context("`timeout unshare` does not start; help: install util-linux")?;
        if status.code() != Some(exit_code) {
            bail!(
                "`{}` ended with {status}, not with {exit_code}; the end of {}:\n{}",
                script.trim(),
                self.log.display(),
                tail(&self.log)
            );
        }
        Ok(())
    }

    /// What dpkg says is installed.
    pub(crate) fn packages(&self) -> Result<String> {
        let mut query = command::new("chroot");
        query.arg(&self.folder).args([
            "dpkg-query",
            "--show",
            "--showformat=${Package}:${Architecture} ${Version} ${db:Status-Abbrev}\n",
        ]);
        command::stdout(&mut query).context("dpkg-query does not run in the root")
    }

    /// How many packages set-up unpacked. Their names are in the log, where apt-get says them.
    pub(crate) fn n_unpacked(&self) -> usize {
        let list = self.path(&format!("{}/keepwatch/target/tools/debian/unpacked", self.home()));
        let list = fs::read_to_string(list).unwrap_or_default();
        list.lines().filter(|line| line.starts_with("Package: ")).count()
    }

    /// Path of the log of everything printed in it.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Removes the root, to make room for the next one.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("remove {}", self.folder.display()))
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
}
