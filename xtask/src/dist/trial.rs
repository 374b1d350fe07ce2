//! The packages, tried: installed, run, upgraded and removed in roots of a bare Debian, by dpkg and by rpm.

use super::{
    Architecture, Made, VERSION, again, boot,
    contents::{self, Item},
    deb,
    revision::Revision,
    rpm,
};
use crate::{
    command::{self, line},
    fresh::root::Bed,
    outcome::{CannotRunHere, talk},
    place,
    purpose::Purpose,
    setup,
};
use anyhow::{Context as _, Result, bail};
use std::{fs, path::Path, path::PathBuf, process::Command};

/// The version that is upgraded.
const OLDER: &str = "0.0.1";
/// Runs a command for `sh` in a root: ROOT SCRIPT. What is mounted is gone with the last program in it.
const ENTER: &str = r#"
for folder in dev proc sys; do mount --rbind "/$folder" "$1/$folder"; done
exec timeout --kill-after=10 300 chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C sh -ec "$2"
"#;
/// An agent that watches and has a history, until it is ended.
const RUN: &str = "
keepwatch run & agent=$!
for second in $(seq 60); do [ -S /run/keepwatch/keepwatch.sock ] && break; sleep 1; done
keepwatch sockets --source agent > /dev/null
kill $agent
wait $agent
rm -rf /run/keepwatch
test -s /var/lib/keepwatch/history.db";
/// What an administrator writes into the config file.
const CHANGED: &str = "echo 'idle_limit = \"azure\"' >> /etc/keepwatch/config.toml";
const STILL_CHANGED: &str =
    "grep -q '^idle_limit = \"azure\"' /etc/keepwatch/config.toml; keepwatch config check";

/// The users of the units, made by what both packages run.
const USERS: &str =
    "getent passwd keepwatch keepwatch-fix keepwatch-verify; getent group keepwatch";

/// What is tried: the packages, and an older version of each, with another config file.
pub(super) struct PackageTrial<'a> {
    dist: &'a Path,
    revision: &'a Revision,
    architecture: Architecture,
    older: PathBuf,
    older_items: Vec<Item>,
}

impl<'a> PackageTrial<'a> {
    pub(super) fn prepare(dist: &'a Path, made: &Made, revision: &'a Revision) -> Result<Self> {
        if !command::is_root() {
            let why = "debootstrap and mounts need root: run `cargo xtask dist` with --try and --boot as root";
            return Err(CannotRunHere(why.into()).into());
        }
        let this = Architecture::of_this_machine().and_then(|this| Some((this, made.get(&this)?)));
        let (architecture, items) =
            this.context("the packages of this machine's architecture were not built")?;
        let older = dist.join("work/older");
        contents::make(&older)?;
        let older_items = as_it_was(items, &older)?;
        Ok(Self { dist, revision, architecture, older, older_items })
    }

    /// The older package and the new one.
    fn debs(&self) -> Result<(PathBuf, PathBuf)> {
        let Self { dist, revision, architecture, older, older_items } = self;
        let old = deb::make(older, older_items, *architecture, OLDER, revision)?;
        let new = format!("keepwatch_{VERSION}_{}.deb", architecture.debian());
        Ok((older.join(old), dist.join(new)))
    }

    fn rpms(&self) -> Result<(PathBuf, PathBuf)> {
        let Self { dist, revision, architecture, older, older_items } = self;
        let old = rpm::make(older, older_items, *architecture, OLDER, revision)?;
        let new = format!("keepwatch-{VERSION}-1.{}.rpm", architecture.name());
        Ok((older.join(old), dist.join(new)))
    }

    /// By dpkg and by rpm, where no systemd runs.
    pub(super) fn in_roots(&self) -> Result<()> {
        setup::prepare_tools(Purpose::Roots)?;
        // Both without systemd: of it there is only what makes users.
        let packages = "man-db,systemd-standalone-sysusers";
        let bed = Bed::new(place::root().join("target/dist-try"), packages)?;
        let (old, new) = self.debs()?;
        by_dpkg(&bed, &old, &new, self.revision)?;
        let (old, new) = self.rpms()?;
        by_rpm(&bed, &old, &new)
    }

    pub(super) fn under_systemd(&self) -> Result<()> {
        if self.architecture != Architecture::X86_64 {
            let why =
                "guests boot kernels for x86_64: run `cargo xtask dist --boot` on such a machine";
            return Err(CannotRunHere(why.into()).into());
        }
        let (old, new) = self.debs()?;
        boot::run(self.dist, &old, &new)
    }
}

/// The same files, with another config file: an upgrade brings a new one.
fn as_it_was(items: &[Item], folder: &Path) -> Result<Vec<Item>> {
    let config = folder.join("config.toml");
    fs::write(&config, "# As an older version had it.\n")
        .with_context(|| format!("write {}", config.display()))?;
    Ok(items.iter().map(|item| item.clone().with_config(&config)).collect())
}

fn by_dpkg(bed: &Bed, old: &Path, new: &Path, revision: &Revision) -> Result<()> {
    talk(format_args!("try: dpkg"));
    let root = TrialRoot { folder: bed.copied("dpkg")? };
    let before = root.files("var/lib/dpkg")?;
    root.bring(old, "old.deb")?;
    root.bring(new, "new.deb")?;
    let version = format!("keepwatch --version | grep -q 'commit: {}'", revision.commit);
    for (what, script) in [
        (
            "install",
            "dpkg -i /old.deb; test \"$(dpkg-query -W -f '${Version}' keepwatch)\" = 0.0.1",
        ),
        ("it names its commit", &version),
        ("its users are there", USERS),
        ("its files are what was packed", "dpkg --verify keepwatch"),
        (
            "man pages, completions, units, dashboards",
            "man -w keepwatch-why; test -s /usr/share/bash-completion/completions/keepwatch; test -s /usr/lib/systemd/system/keepwatch.service; test -s /usr/share/keepwatch/dashboards/generated/node.json; test -s /usr/share/keepwatch/deploy/kubernetes/base/daemon-set.yaml; test -s /usr/share/doc/keepwatch/docs/RUNBOOK.md",
        ),
        ("the agent runs, and keeps a history", RUN),
        ("the administrator changes the config", CHANGED),
        (
            "upgrade",
            "dpkg --force-confold -i /new.deb; test -e /etc/keepwatch/config.toml.dpkg-dist",
        ),
        ("the config is as it was changed", STILL_CHANGED),
        ("the history is there, and the agent runs", RUN),
        (
            "remove",
            "dpkg -r keepwatch; if command -v keepwatch; then exit 1; fi; test -e /etc/keepwatch/config.toml; test -e /var/lib/keepwatch/history.db",
        ),
        ("install again", "dpkg --force-confold -i /new.deb; keepwatch config check"),
        ("purge", "dpkg -P keepwatch; rm /old.deb /new.deb"),
    ] {
        root.run(what, script)?;
    }
    root.must_be_as(&before, "var/lib/dpkg")
}

fn by_rpm(bed: &Bed, old: &Path, new: &Path) -> Result<()> {
    talk(format_args!("try: rpm"));
    let root = TrialRoot { folder: bed.copied("rpm")? };
    let before = root.files("var/lib/rpm")?;
    let rpm = |what: &str, arguments: &[&str], file: Option<&Path>| {
        let mut rpm = rpm::program("rpm")?;
        rpm.arg("--root")
            .arg(&root.folder)
            .args(["--dbpath", "/var/lib/rpm"])
            .args(arguments)
            .args(file);
        said(what, &mut rpm)
    };
    // What is in a Debian, sh for one, its database does not know.
    rpm("install", &["--install", "--nodeps"], Some(old))?;
    let version = rpm("list", &["--query", "keepwatch"], None)?;
    if !version.starts_with("keepwatch-0.0.1-1.") {
        bail!("rpm lists {version}");
    }
    rpm("its files are what was packed", &["--verify", "--nodeps", "keepwatch"], None)?;
    root.run("its users are there", USERS)?;
    root.run("the agent runs, and keeps a history", RUN)?;
    root.run("the administrator changes the config", CHANGED)?;
    rpm("upgrade", &["--upgrade", "--nodeps"], Some(new))?;
    root.run("the config is as it was changed", STILL_CHANGED)?;
    root.run("the new one is beside it", "test -e /etc/keepwatch/config.toml.rpmnew")?;
    root.run("the history is there, and the agent runs", RUN)?;
    rpm("erase", &["--erase", "keepwatch"], None)?;
    // rpm keeps what was changed, and what it did not bring: docs/INSTALL.md says how it is removed.
    root.run("what rpm leaves", "rm -r /etc/keepwatch /var/lib/keepwatch")?;
    let users = "for user in keepwatch keepwatch-fix keepwatch-verify; do userdel $user; done";
    root.run("the users that rpm leaves", users)?;
    root.must_be_as(&before, "var/lib/rpm")
}

/// A root to work in.
struct TrialRoot {
    folder: PathBuf,
}

impl TrialRoot {
    fn bring(&self, file: &Path, name: &str) -> Result<()> {
        fs::copy(file, self.folder.join(name))
            .map(drop)
            .with_context(|| format!("copy {}", file.display()))
    }

    /// A command for `sh` in it.
    fn run(&self, what: &str, script: &str) -> Result<()> {
        let mut enter = Command::new("unshare");
        enter.args(["--mount", "sh", "-ec", ENTER, "sh"]).arg(&self.folder).arg(script);
        said(what, &mut enter).map(drop)
    }

    /// Every file in it with its kind, owner, mode and size, but for a package manager's own book.
    fn files(&self, book: &str) -> Result<String> {
        let mut find = Command::new("find");
        find.arg(&self.folder).args(["-path"]).arg(self.folder.join(book)).args(["-prune", "-o"]);
        // Of folders neither size nor time says what is in them.
        find.args([
            "-type",
            "d",
            "-printf",
            "%P %y %u:%g %m\n",
            "-o",
            "-printf",
            "%P %y %u:%g %m %s %l\n",
        ]);
        let files = command::stdout(&mut find)
            .with_context(|| format!("list {}", self.folder.display()))?;
        let kept = files.lines().filter(|line| !is_log(line));
        let mut kept: Vec<_> = kept.map(str::to_owned).collect();
        kept.sort_unstable();
        Ok(kept.join("\n"))
    }

    fn must_be_as(&self, before: &str, book: &str) -> Result<()> {
        let after = self.files(book)?;
        let left = again::differences(before, &after);
        if !left.is_empty() {
            bail!("after all was removed {} differs: {}", self.folder.display(), left.join(", "));
        }
        talk(format_args!(
            "  nothing is left, and nothing else was changed: {} files",
            after.lines().count()
        ));
        Ok(())
    }
}

/// What is written about the work itself; in /etc/passwd- and its like is what stood there before the last change of users.
fn is_log(line: &str) -> bool {
    let path = line.split(' ').next().unwrap_or_default();
    ["var/log/dpkg.log", "var/log/alternatives.log", "etc/.pwd.lock"].contains(&path)
        || path.starts_with("var/cache/man")
        || path.starts_with("etc/") && path.ends_with('-')
}

/// Runs a step; what it printed is shown if it fails.
fn said(what: &str, step: &mut Command) -> Result<String> {
    let output = step.output().with_context(|| format!("`{}` does not start", line(step)))?;
    let [out, err] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    if !output.status.success() {
        bail!("try: {what}: `{}` ended with {}:\n{out}{err}", line(step), output.status);
    }
    talk(format_args!("  {what}"));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::{ENTER, is_log};

    #[test]
    fn only_logs_of_the_work_itself_are_left_out_of_the_comparison() {
        assert!(is_log("var/log/dpkg.log f root:root 644 12 "));
        assert!(!is_log("var/log/keepwatch.log f root:root 644 12 "));
        assert!(
            is_log("etc/passwd- f root:root 644 12 ") && !is_log("etc/passwd f root:root 644 12 ")
        );
        assert!(!is_log("var/lib/keepwatch d root:root 755"));
        assert!(ENTER.contains("chroot \"$1\""));
    }
}
